//! moto, the services of AWS in one local process, for those tests that ask for it.
//! It ends with the process that started it, however that ends.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::python;
use crate::server::Server;

const REQUIREMENTS: &str = "moto[server]==5.2.5\nboto3==1.44.5\nbotocore==1.44.5\n";

/// What moto does otherwise than AWS, put right, and then the server.
const SERVE: &str = concat!(
    include_str!("moto/corrections.py"),
    include_str!("moto/metadata.py"),
    include_str!("moto/serve.py")
);

/// The region of whoever does not name another.
pub const REGION: &str = "eu-central-1";

/// A policy that allows everything.
pub const ALLOW_ALL: &str = r#"{"Version": "2012-10-17", "Statement":
    [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#;

/// An access key of moto's.
#[derive(Clone)]
pub struct AccessKey {
    /// `AKIA...`, or `ASIA...` of a session.
    pub id: String,
    /// It signs with this.
    pub secret: String,
    /// Of a session.
    pub token: Option<String>,
}

/// A moto that serves. It has a state of its own. Dropping it kills it.
///
/// It is the metadata service of an EC2 instance, too, in version 2: the instance's role
/// is `default-role`, once there is one of that name.
#[derive(Debug)]
pub struct Moto {
    python: PathBuf,
    endpoint: String,
    admin: AccessKey,
    server: Server,
}

/// Serves over TLS what a server serves without, until it is dropped.
#[derive(Debug)]
pub struct TlsFront {
    endpoint: String,
    _server: Server,
}

impl Moto {
    /// The one of this process, which lets everybody do everything; what it needs is
    /// installed below `within`, once.
    #[must_use]
    pub fn shared(within: &Path) -> &'static Self {
        static MOTO: OnceLock<Moto> = OnceLock::new();
        MOTO.get_or_init(|| Self::start(within))
    }

    /// Another one, which lets everybody do everything too.
    ///
    /// # Panics
    /// If it does not serve: it says why.
    #[must_use]
    pub fn start(within: &Path) -> Self {
        let python = python::with(REQUIREMENTS, within);
        let (server, port) =
            launch(&python, SERVE).unwrap_or_else(|why| panic!("moto does not serve: {why}"));
        let admin = AccessKey::new("AKIDEXAMPLE", "not-a-real-secret");
        Self { python, endpoint: format!("http://127.0.0.1:{port}"), admin, server }
    }

    /// Another one, which authenticates its callers, with a user that may do what
    /// `policy` says. What moto does not look at: a policy's `Condition`; a resource
    /// other than `*`, which allows nothing but to assume a role; in the trust policy
    /// of a role the `Effect`, a principal that is an account, and conditions other
    /// than `StringEquals`; the time of a signature; a session's own policy and
    /// its end; the token of a web identity; whether a role to be assumed is there.
    #[must_use]
    pub fn with_auth(within: &Path, policy: &str) -> (Self, AccessKey) {
        let mut moto = Self::start(within);
        moto.admin = moto.create_user("admin", ALLOW_ALL);
        let user = moto.create_user("user", policy);
        moto.boto3(include_str!("moto/auth.py"), &[]);
        (moto, user)
    }

    /// Where it serves.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// This server over TLS: its certificate is by a CA of its own, written to `ca`.
    ///
    /// # Panics
    /// If it does not serve: it says why.
    #[must_use]
    pub fn over_tls(&self, ca: &Path) -> TlsFront {
        let (_, port) = self.endpoint.rsplit_once(':').expect("a port");
        let script = concat!(include_str!("certificates.py"), include_str!("moto/tls.py"));
        let script = format!("UPSTREAM, CA = {port}, {:?}\n{script}", ca.display().to_string());
        let (server, port) = launch(&self.python, &script)
            .unwrap_or_else(|why| panic!("the TLS front does not serve: {why}"));
        TlsFront { endpoint: format!("https://127.0.0.1:{port}"), _server: server }
    }

    /// Who may do everything.
    #[must_use]
    pub fn admin(&self) -> &AccessKey {
        &self.admin
    }

    /// The last lines of its log: the requests, and what broke it.
    #[must_use]
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Makes the alias, and a key for it, unless they are there.
    pub fn alias(&self, alias: &str) {
        self.boto3(include_str!("moto/alias.py"), &[alias, ""]);
    }

    /// Points the alias at a new key.
    pub fn repoint(&self, alias: &str) {
        self.boto3(include_str!("moto/alias.py"), &[alias, "anew"]);
    }

    /// Makes a user that may do what `policy` says.
    ///
    /// # Panics
    /// If there is one of that name.
    #[must_use]
    pub fn create_user(&self, name: &str, policy: &str) -> AccessKey {
        let told = self.boto3(include_str!("moto/user.py"), &[name, policy]);
        let (id, secret) = told.trim().split_once(' ').expect("an access key");
        AccessKey::new(id, secret)
    }

    /// Makes a role that may do what `inline_policy` says and can be assumed by whom
    /// `trust_policy` says: its ARN.
    ///
    /// # Panics
    /// If there is one of that name.
    #[must_use]
    pub fn create_role(&self, name: &str, trust_policy: &str, inline_policy: &str) -> String {
        let arguments = [name, trust_policy, inline_policy];
        self.boto3(include_str!("moto/role.py"), &arguments).trim().to_owned()
    }

    /// What a Python script prints whose boto3 calls this server as who may do
    /// everything.
    ///
    /// # Panics
    /// If the script fails: it says why.
    pub fn boto3(&self, script: &str, arguments: &[&str]) -> String {
        self.boto3_as(&self.admin, &self.endpoint, script, arguments)
    }

    /// The same with another access key and by way of another endpoint, such as a
    /// proxy's.
    ///
    /// # Panics
    /// If the script fails: it says why.
    pub fn boto3_as(
        &self,
        key: &AccessKey,
        endpoint: &str,
        script: &str,
        arguments: &[&str],
    ) -> String {
        let mut command = Command::new(&self.python);
        command.args(["-c", script]).args(arguments).stdin(Stdio::null());
        // Nothing of the user's own account gets near it.
        command.env_clear().env("AWS_ENDPOINT_URL", endpoint).env("AWS_DEFAULT_REGION", REGION);
        command.env("AWS_ACCESS_KEY_ID", &key.id).env("AWS_SECRET_ACCESS_KEY", &key.secret);
        command.envs(key.token.as_ref().map(|token| ("AWS_SESSION_TOKEN", token)));
        command.env("AWS_CONFIG_FILE", "/dev/null");
        command.env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        let output = command.output().expect("Python starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}\nmoto:\n{}", output.status, self.log());
        String::from_utf8(output.stdout).expect("text")
    }
}

impl TlsFront {
    /// Where it serves.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl AccessKey {
    /// A long-lived one.
    #[must_use]
    pub fn new(id: &str, secret: &str) -> Self {
        Self { id: id.to_owned(), secret: secret.to_owned(), token: None }
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The process and its port, or what it says instead.
fn launch(python: &Path, script: &str) -> Result<(Server, u16), String> {
    Server::launch(Command::new(python).args(["-c", script]), |line| line.parse().ok())
}
