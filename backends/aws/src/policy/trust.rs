//! Who may assume a role: a role's trust policy.

use strongroom_core::Scope;

use super::document::{Policy, Statement, TRUST_POLICY_CHARACTERS};
use super::error::{PolicyError, PolicyResult, invalid};
use super::names::{self, Partition};

/// The audience that STS goes by in every partition, also in China (EKS's webhook asks
/// for tokens with it everywhere).
const AUDIENCE: &str = "sts.amazonaws.com";

/// A tag of a session that may be set, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionTag {
    /// The key.
    pub key: String,
    /// The one value, or any.
    pub value: Option<String>,
}

/// Trust in the tokens of an OIDC provider that IAM knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcTrust {
    /// The issuer's address, as its tokens have it: `https://HOST/PATH`.
    pub issuer: String,
    /// The account that knows the provider: 12 digits.
    pub aws_account: String,
    /// The account's partition.
    pub partition: Partition,
    /// The audiences, of which a token has to have one. With none, STS's own.
    pub audiences: Vec<String>,
    /// The subjects, of which a token has to have one; `*` and `?` stand for others.
    pub subjects: Vec<String>,
    /// Whether any subject of the issuer is trusted, where `subjects` is empty.
    pub any_subject: bool,
    /// Tags that tokens may set on a session.
    pub session_tags: Vec<SessionTag>,
}

impl OidcTrust {
    /// Trust in `issuer` that `aws_account` knows; nobody yet.
    #[must_use]
    pub fn new(issuer: &str, aws_account: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            aws_account: aws_account.to_owned(),
            partition: Partition::default(),
            audiences: Vec::new(),
            subjects: Vec::new(),
            any_subject: false,
            session_tags: Vec::new(),
        }
    }

    /// Trust in one service account of a Kubernetes cluster whose issuer this is (IAM
    /// roles for service accounts).
    ///
    /// # Errors
    /// `Invalid` if they are no names of Kubernetes.
    pub fn service_account(mut self, namespace: &str, name: &str) -> PolicyResult<Self> {
        let bad = |what, value| invalid(what, value, "a-z, 0-9 and -, as Kubernetes has it");
        if !is_kubernetes_name(namespace, 63) || namespace.contains('.') {
            return Err(bad("a namespace", namespace));
        }
        if !is_kubernetes_name(name, 253) {
            return Err(bad("a service account", name));
        }
        self.subjects.push(format!("system:serviceaccount:{namespace}:{name}"));
        Ok(self)
    }

    /// The subject of tokens that the manager's issuer gives a connector of `scope`.
    #[must_use]
    pub fn subject_of(scope: &Scope) -> String {
        let (org, project) = (scope.org_id(), scope.project_id());
        let (org, project) = (org.unwrap_or_default(), project.unwrap_or_default());
        format!("account/{}:org/{org}:project/{project}", scope.account_id())
    }

    /// The role's trust policy.
    ///
    /// # Errors
    /// `Invalid` if something is not of its form, or if nobody or everybody is trusted
    /// without its being said; `TooLarge`.
    pub fn policy(&self) -> PolicyResult<Policy> {
        names::account(&self.aws_account)?;
        let provider = provider(&self.issuer)?;
        let (partition, account) = (self.partition.as_str(), &self.aws_account);
        let arn = format!("arn:{partition}:iam::{account}:oidc-provider/{provider}");
        let mut audiences = self.audiences.clone();
        if audiences.is_empty() {
            audiences.push(AUDIENCE.to_owned());
        }
        audiences.iter().try_for_each(|audience| literal("an audience", audience))?;
        let mut trust = Statement::allow("TrustTokens", &["sts:AssumeRoleWithWebIdentity"])
            .to("Federated", [arn.clone()])
            .only_if("StringEquals", &format!("{provider}:aud"), audiences);
        if let Some((operator, subjects)) = self.subjects()? {
            trust = trust.only_if(operator, &format!("{provider}:sub"), subjects);
        }
        let tags = session_tags(&self.session_tags)?;
        let tags = tags.map(|tags| tags.to("Federated", [arn]));
        Policy::of([trust].into_iter().chain(tags)).within(TRUST_POLICY_CHARACTERS)
    }

    fn subjects(&self) -> PolicyResult<Option<(&'static str, Vec<String>)>> {
        const EVERYBODY: &str = "say so if any subject of the issuer is to be trusted";
        for subject in &self.subjects {
            literal("a subject", subject)?;
            if subject.chars().all(|c| matches!(c, '*' | '?')) {
                return Err(invalid("a subject", subject, EVERYBODY));
            }
        }
        if self.subjects.is_empty() {
            let error = || PolicyError::NotGiven { what: "subject", expected: EVERYBODY };
            return self.any_subject.then_some(None).ok_or_else(error);
        }
        // Both operators on one key would both have to hold.
        let is_pattern = self.subjects.iter().any(|subject| subject.contains(['*', '?']));
        let operator = if is_pattern { "StringLike" } else { "StringEquals" };
        Ok(Some((operator, self.subjects.clone())))
    }
}

/// Trust in another account, or in roles and users of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrossAccountTrust {
    /// Whom: an account's 12 digits, or the ARN of a role or user.
    pub principals: Vec<String>,
    /// The partition, of which all have to be; a role of one cannot trust another.
    pub partition: Partition,
    /// What they have to say, one of these, against the confused deputy.
    pub external_ids: Vec<String>,
    /// Tags that they may set on a session.
    pub session_tags: Vec<SessionTag>,
}

impl CrossAccountTrust {
    /// The role's trust policy.
    ///
    /// # Errors
    /// `Invalid` if something is not of its form, or nobody is trusted; `Partitions`;
    /// `TooLarge`.
    pub fn policy(&self) -> PolicyResult<Policy> {
        if self.principals.is_empty() {
            let expected = "give an account's 12 digits, or the ARN of a role or user";
            return Err(PolicyError::NotGiven { what: "principal", expected });
        }
        let mut principals = Vec::new();
        for principal in &self.principals {
            let partition = self.partition.as_str();
            let arn = match names::account(principal) {
                Ok(()) => format!("arn:{partition}:iam::{principal}:root"),
                Err(_) => principal.clone(),
            };
            let found = names::principal(&arn)?;
            if found != self.partition {
                return Err(PolicyError::Partitions(partition, found.as_str()));
            }
            principals.push(arn);
        }
        self.external_ids.iter().try_for_each(|id| names::external_id(id))?;
        let whom = principals.iter().cloned();
        let mut trust = Statement::allow("TrustAccounts", &["sts:AssumeRole"]).to("AWS", whom);
        if !self.external_ids.is_empty() {
            trust =
                trust.only_if("StringEquals", "sts:ExternalId", self.external_ids.iter().cloned());
        }
        let tags = session_tags(&self.session_tags)?;
        let tags = tags.map(|tags| tags.to("AWS", principals));
        Policy::of([trust].into_iter().chain(tags)).within(TRUST_POLICY_CHARACTERS)
    }
}

/// The permission to set these tags and no others. It is a statement of its own, as an
/// external id is unknown where it is asked for (IAM User Guide, "Pass session tags").
fn session_tags(tags: &[SessionTag]) -> PolicyResult<Option<Statement>> {
    if tags.is_empty() {
        return Ok(None);
    }
    tags.iter().try_for_each(|tag| names::tag_key(&tag.key))?;
    let keys = tags.iter().map(|tag| tag.key.clone());
    let mut statement = Statement::allow("SessionTags", &["sts:TagSession"]).only_if(
        "ForAllValues:StringEquals",
        "aws:TagKeys",
        keys,
    );
    for SessionTag { key, value } in tags {
        let Some(value) = value else { continue };
        literal("a tag's value", value)?;
        let key = format!("aws:RequestTag/{key}");
        statement = statement.only_if("StringEquals", &key, [value.clone()]);
    }
    Ok(Some(statement))
}

/// The issuer as IAM names the provider: without `https://`.
fn provider(issuer: &str) -> PolicyResult<&str> {
    const EXPECTED: &str = "one is https://HOST/PATH, without port, query or user";
    let error = || invalid("an issuer", issuer, EXPECTED);
    let provider = issuer.strip_prefix("https://").ok_or_else(error)?;
    let (host, path) = provider.split_once('/').unwrap_or((provider, ""));
    let host_is = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
    let path_is = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    let good = host.contains('.')
        && !host.starts_with(['.', '-'])
        && !host.ends_with(['.', '-'])
        && host.chars().all(host_is)
        && path.chars().all(path_is)
        && issuer.len() <= 255;
    good.then_some(provider).ok_or_else(error)
}

/// Text that IAM takes as it is: what begins a policy variable would be replaced.
fn literal(what: &'static str, text: &str) -> PolicyResult {
    let plain = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    let good = plain && !text.is_empty() && text.len() <= 256 && !text.contains("${");
    let error = || invalid(what, text, "up to 256 printable characters, without ${");
    good.then_some(()).ok_or_else(error)
}

fn is_kubernetes_name(text: &str, longest: usize) -> bool {
    let is = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let edges = edge(text.chars().next()) && edge(text.chars().last());
    edges && text.len() <= longest && text.chars().all(is)
}
