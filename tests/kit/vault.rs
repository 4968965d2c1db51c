//! A real Vault, for those tests that ask for it. It ends with the process that started
//! it, however that ends.

mod http;
mod program;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use self::http::Answer;
use self::program::{Node, serve};
use crate::python;
use crate::server::Server;

/// hvac, and what signs the tokens and makes the certificates that tests log in with.
const REQUIREMENTS: &str = "hvac==2.4.0\nPyJWT==2.15.1\ncryptography==50.0.2\n";

/// After this time a node that is not ready will not be.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a node is left alone before it is asked again whether it is ready: Vault
/// has nothing that would tell.
const PAUSE: Duration = Duration::from_millis(20);

/// What a node does with requests while it stands by.
#[derive(Clone, Copy, Debug)]
pub enum Standby {
    /// It sends the client to the active one, with 307: as a Vault does whose
    /// configuration has `disable_clustering`.
    Redirects,
    /// It asks the active one in the client's place, as Vault does by default; it
    /// redirects a client that sends `X-Vault-No-Request-Forwarding`.
    Forwards,
}

/// A Vault that serves. It has a state of its own. Dropping it kills it.
pub struct Vault {
    python: PathBuf,
    folder: Option<PathBuf>,
    arguments: Vec<String>,
    nodes: Vec<Node>,
    keys: Keys,
    server: Mutex<Server>,
}

/// What initialization gave.
struct Keys {
    root_token: String,
    unseal: String,
}

impl Vault {
    /// The one of this process; what it needs is installed below `within`, once, and
    /// Vault itself is built once for all, which takes minutes.
    #[must_use]
    pub fn shared(within: &Path) -> &'static Self {
        static VAULT: OnceLock<Vault> = OnceLock::new();
        VAULT.get_or_init(|| Self::start(within))
    }

    /// Another one. Its data are in memory.
    ///
    /// # Panics
    /// If it does not serve: it says why.
    #[must_use]
    pub fn start(within: &Path) -> Self {
        Self::launch(within, None, Vec::new())
    }

    /// Another one, whose data are in a directory that is empty before: it can be
    /// restarted.
    ///
    /// # Panics
    /// If it does not serve: it says why.
    #[must_use]
    pub fn in_directory(within: &Path, directory: &Path) -> Self {
        Self::launch(within, None, vec!["-directory".to_owned(), directory.display().to_string()])
    }

    /// Another one, which serves over TLS. Into `folder` come the certificates and keys:
    /// `ca.pem`, `client.pem`, and `client-key.pem`, with which a client may say who it
    /// is; and `stranger.pem` and `stranger-key.pem`, which are by another CA.
    ///
    /// # Panics
    /// If it does not serve: it says why.
    #[must_use]
    pub fn over_tls(within: &Path, folder: &Path) -> Self {
        let python = python::with(REQUIREMENTS, within);
        let script =
            concat!(include_str!("certificates.py"), include_str!("vault/certificates.py"));
        let mut command = Command::new(python);
        run(command.args(["-c", script]).arg(folder).env_clear());
        let file = |name: &str| folder.join(name).display().to_string();
        let arguments = ["-certificate", &file("server.pem"), "-key", &file("server-key.pem")];
        Self::launch(within, Some(folder), arguments.map(str::to_owned).to_vec())
    }

    /// Another one with two nodes, of which the first is active and the second stands
    /// by, until the first steps down or is sealed.
    ///
    /// # Panics
    /// If it does not serve: it says why.
    #[must_use]
    pub fn with_standby(within: &Path, standby: Standby) -> Self {
        let standby = match standby {
            Standby::Redirects => "redirects",
            Standby::Forwards => "forwards",
        };
        Self::launch(within, None, vec!["-standby".to_owned(), standby.to_owned()])
    }

    /// Where it serves; its first node, if it has two.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.nodes[0].address
    }

    /// Where its nodes serve.
    #[must_use]
    pub fn addresses(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| node.address.as_str()).collect()
    }

    /// The token that may do everything.
    #[must_use]
    pub fn root_token(&self) -> &str {
        &self.keys.root_token
    }

    /// Seals the active node.
    pub fn seal(&self) {
        self.api("PUT", "sys/seal", &Value::Null);
    }

    /// Unseals whatever is sealed, and returns once there is an active node.
    pub fn unseal(&self) {
        for node in 0..self.nodes.len() {
            let answer = self.ask(node, "", "PUT", "sys/unseal", &json!({"key": self.keys.unseal}));
            answer.expect("Vault is not unsealed");
            self.active();
        }
    }

    /// Makes the active node stand by, and returns once it does; the other may not be
    /// active yet.
    pub fn step_down(&self) {
        let node = self.active();
        self.api("PUT", "sys/step-down", &Value::Null);
        self.wait("the node is still active", || (!self.is_active(node)).then_some(()));
    }

    /// Kills it.
    pub fn kill(&self) {
        self.server().end();
    }

    /// Starts it again where it was, with the data of its directory.
    ///
    /// # Panics
    /// If it does not serve: it says why.
    pub fn restart(&self) {
        self.restart_sealed();
        self.unseal();
    }

    /// The same, and leaves it sealed.
    ///
    /// # Panics
    /// If it does not serve: it says why.
    pub fn restart_sealed(&self) {
        let mut server = self.server();
        server.end();
        let mut arguments = self.arguments.clone();
        let (_, port) = self.nodes[0].plain.rsplit_once(':').expect("a port");
        arguments.extend(["-port".to_owned(), port.to_owned()]);
        *server = serve(&arguments).0;
    }

    /// What it answers the root token, at the active node.
    ///
    /// # Panics
    /// If it refuses: with its words.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        let node = if self.nodes.len() == 1 { 0 } else { self.active() };
        self.ask(node, self.root_token(), method, path, body).expect(&format!("{method} {path}"))
    }

    /// What a node answers to any token; the first is 0.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn ask(&self, node: usize, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        http::ask(&self.nodes[node].plain, token, method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}; Vault:\n{}", self.log()))
    }

    /// The active node; waits until there is one.
    ///
    /// # Panics
    /// If there will be none.
    pub fn active(&self) -> usize {
        let nodes = 0..self.nodes.len();
        self.wait("no node is active", || nodes.clone().find(|node| self.is_active(*node)))
    }

    /// The last lines of its log: warnings and errors.
    #[must_use]
    pub fn log(&self) -> String {
        self.server().log()
    }

    /// What a Python script prints whose hvac calls this server as root. It has `PyJWT`
    /// and `cryptography` too.
    ///
    /// # Panics
    /// If the script fails: it says why.
    pub fn hvac(&self, script: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.python);
        command.args(["-c", script]).args(arguments).env_clear();
        command.env("VAULT_ADDR", self.address()).env("VAULT_TOKEN", self.root_token());
        command.envs(self.folder.as_ref().map(|folder| ("VAULT_CACERT", folder.join("ca.pem"))));
        run(&mut command)
    }

    /// Makes a policy, in HCL.
    pub fn policy(&self, name: &str, hcl: &str) {
        self.api("PUT", &format!("sys/policies/acl/{name}"), &json!({"policy": hcl}));
    }

    /// Makes a token that may do what the policies say, for whole seconds.
    #[must_use]
    pub fn token(&self, policies: &[&str], ttl: Duration, renewable: bool) -> String {
        let ttl = format!("{}s", ttl.as_secs());
        let wanted = json!({"policies": policies, "ttl": ttl, "renewable": renewable});
        let made = self.api("POST", "auth/token/create", &wanted);
        made["auth"]["client_token"].as_str().expect("a token").to_owned()
    }

    /// Mounts a secrets engine: `kv` has versions with `{"version": "2"}`.
    pub fn mount(&self, path: &str, kind: &str, options: &Value) {
        self.api("POST", &format!("sys/mounts/{path}"), &json!({"type": kind, "options": options}));
    }

    /// Mounts an auth method.
    pub fn auth_mount(&self, path: &str, kind: &str) {
        self.api("POST", &format!("sys/auth/{path}"), &json!({"type": kind}));
    }

    fn launch(within: &Path, folder: Option<&Path>, arguments: Vec<String>) -> Self {
        let python = python::with(REQUIREMENTS, within);
        let (server, nodes) = serve(&arguments);
        let shares = json!({"secret_shares": 1, "secret_threshold": 1});
        let made = http::ask(&nodes[0].plain, "", "PUT", "sys/init", &shares)
            .unwrap_or_else(|error| panic!("{error}; Vault:\n{}", server.log()))
            .expect("Vault is not initialized");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let keys =
            Keys { root_token: text(&made["root_token"]), unseal: text(&made["keys_base64"][0]) };
        let folder = folder.map(Path::to_owned);
        let vault = Self { python, folder, arguments, nodes, keys, server: Mutex::new(server) };
        vault.unseal();
        vault
    }

    fn is_active(&self, node: usize) -> bool {
        self.ask(node, "", "GET", "sys/health", &Value::Null).status == 200
    }

    /// What `ready` gives, asked again and again until it gives something.
    fn wait<T>(&self, otherwise: &str, mut ready: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = ready() {
                return value;
            }
            assert!(Instant::now() < end, "{otherwise}; Vault:\n{}", self.log());
            thread::sleep(PAUSE);
        }
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

/// What it prints.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("Python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout).expect("text")
}
