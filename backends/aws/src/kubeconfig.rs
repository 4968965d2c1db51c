//! A kubeconfig for a cluster of EKS, whose tokens `aws-iam-authenticator` makes.

use aws_smithy_types::base64;
use serde::Serialize;

use crate::policy::{
    Partition, PolicyError, PolicyResult, cluster, external_id, invalid, role_arn, session_name,
};

/// A cluster of EKS, and as whom it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EksCluster {
    /// The cluster's name.
    pub cluster: String,
    /// The address of its API server: `https://…`.
    pub endpoint: String,
    /// The certificates of its authority: PEM, or base64 of it as EKS gives it.
    pub certificate_authority: Vec<u8>,
    /// The region.
    pub region: String,
    /// The account that the cluster is in. With it, the context is named by the
    /// cluster's ARN, and otherwise by its name.
    pub aws_account: Option<String>,
    /// A role to assume before a token is made.
    pub role_arn: Option<String>,
    /// What that role's trust policy asks for.
    pub external_id: Option<String>,
    /// The name of that role's session.
    pub session_name: Option<String>,
}

/// A kubeconfig. It serializes to the form that `kubectl` reads; there is no secret
/// in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kubeconfig {
    api_version: &'static str,
    kind: &'static str,
    clusters: [Named<ClusterEntry>; 1],
    contexts: [Named<ContextEntry>; 1],
    #[serde(rename = "current-context")]
    current_context: String,
    users: [Named<UserEntry>; 1],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Named<T> {
    name: String,
    #[serde(flatten)]
    entry: T,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ClusterEntry {
    cluster: Cluster,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ContextEntry {
    context: Context,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct UserEntry {
    user: User,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct User {
    exec: Exec,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Exec {
    api_version: &'static str,
    command: &'static str,
    args: Vec<String>,
    env: Vec<Variable>,
    interactive_mode: &'static str,
    install_hint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Variable {
    name: &'static str,
    value: String,
}

impl EksCluster {
    /// The kubeconfig.
    ///
    /// # Errors
    /// `Invalid` if something is not of its form, `Partitions` if the role is of another
    /// partition than the region.
    pub fn kubeconfig(&self) -> PolicyResult<Kubeconfig> {
        cluster(&self.cluster)?;
        let server = endpoint(&self.endpoint)?.to_owned();
        let partition = Partition::of_region(&self.region)?;
        let certificate_authority_data = authority(&self.certificate_authority)?;
        let name = self.name(partition)?;
        let mut args = vec!["token".to_owned(), "--cluster-id".to_owned(), self.cluster.clone()];
        let mut option = |name: &str, value: &Option<String>| {
            args.extend(value.iter().flat_map(|value| [name.to_owned(), value.clone()]));
        };
        option("--role", &self.role(partition)?);
        option("--external-id", &self.external_id);
        option("--session-name", &self.session_name);
        let variable = |name, value: &str| Variable { name, value: value.to_owned() };
        let exec = Exec {
            api_version: "client.authentication.k8s.io/v1beta1",
            command: "aws-iam-authenticator",
            args,
            // Older ones have no --region. Without the second, some of them sign for the
            // one endpoint in us-east-1, which the cluster may not reach.
            env: vec![
                variable("AWS_REGION", &self.region),
                variable("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
            ],
            // It asks for the code of a second factor, where a profile has one.
            interactive_mode: "IfAvailable",
            install_hint: "aws-iam-authenticator makes the tokens for this cluster and is not installed",
        };
        let entry = Cluster { server, certificate_authority_data };
        let context = Context { cluster: name.clone(), user: name.clone() };
        Ok(Kubeconfig {
            api_version: "v1",
            kind: "Config",
            clusters: [Named { name: name.clone(), entry: ClusterEntry { cluster: entry } }],
            contexts: [Named { name: name.clone(), entry: ContextEntry { context } }],
            current_context: name.clone(),
            users: [Named { name, entry: UserEntry { user: User { exec } } }],
        })
    }

    fn name(&self, partition: Partition) -> PolicyResult<String> {
        let Some(account) = &self.aws_account else { return Ok(self.cluster.clone()) };
        crate::policy::account(account)?;
        let (partition, region, cluster) = (partition.as_str(), &self.region, &self.cluster);
        Ok(format!("arn:{partition}:eks:{region}:{account}:cluster/{cluster}"))
    }

    fn role(&self, partition: Partition) -> PolicyResult<Option<String>> {
        self.external_id.iter().try_for_each(|id| external_id(id))?;
        self.session_name.iter().try_for_each(|name| session_name(name))?;
        let Some(role) = &self.role_arn else {
            let lonely = self.external_id.as_ref().or(self.session_name.as_ref());
            let expected = "an external id and a session's name go with one";
            return match lonely {
                Some(_) => Err(PolicyError::NotGiven { what: "role", expected }),
                None => Ok(None),
            };
        };
        let found = role_arn(role)?;
        if found != partition {
            return Err(PolicyError::Partitions(partition.as_str(), found.as_str()));
        }
        Ok(Some(role.clone()))
    }
}

impl Kubeconfig {
    /// The name of its one context.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.current_context
    }
}

fn endpoint(text: &str) -> PolicyResult<&str> {
    const EXPECTED: &str = "one is https://HOST, with a port and path if need be";
    let error = || invalid("an endpoint", text, EXPECTED);
    let rest = text.strip_prefix("https://").ok_or_else(error)?;
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = place.split_once(':').unwrap_or((place, "443"));
    let host_is = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    let path_is = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    let good = !host.is_empty()
        && !host.starts_with(['.', '-'])
        && host.chars().all(host_is)
        && port.parse::<u16>().is_ok_and(|port| port > 0)
        && path.chars().all(path_is)
        && text.len() <= 2048;
    good.then_some(text).ok_or_else(error)
}

/// Certificates in PEM, as a kubeconfig has them.
fn authority(given: &[u8]) -> PolicyResult<String> {
    const EXPECTED: &str = "PEM with certificates and nothing else, or base64 of that";
    let error = |why: &str| invalid("a certificate authority", why, EXPECTED);
    let text = std::str::from_utf8(given).map_err(|_| error("no text"))?;
    if text.trim_start().starts_with("-----BEGIN ") {
        certificates(text).ok_or_else(|| error("PEM"))?;
        return Ok(base64::encode(text));
    }
    let packed: String = text.split_ascii_whitespace().collect();
    let decoded = base64::decode(&packed).map_err(|_| error("no base64"))?;
    let pem = std::str::from_utf8(&decoded).map_err(|_| error("base64 of no text"))?;
    certificates(pem).ok_or_else(|| error("base64 of no certificate"))?;
    Ok(packed)
}

/// How many there are, if there is nothing else: a private key must not come in.
fn certificates(pem: &str) -> Option<usize> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut count = 0;
    let mut rest = pem.trim();
    while !rest.is_empty() {
        let (body, after) = rest.strip_prefix(BEGIN)?.split_once(END)?;
        let packed: String = body.split_ascii_whitespace().collect();
        // A SEQUENCE in DER (X.690 §8.9).
        base64::decode(&packed).ok().filter(|der| der.first() == Some(&0x30))?;
        count += 1;
        rest = after.trim_start();
    }
    (count > 0).then_some(count)
}
