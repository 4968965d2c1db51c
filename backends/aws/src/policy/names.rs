//! What goes into a document, looked at before: whatever is not of its form could
//! widen a pattern or be taken for a variable (IAM User Guide, "Policy variables").

use super::error::{PolicyResult, invalid};

/// A partition of AWS: credentials, ARNs and regions of one are nothing in another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partition {
    /// The public regions.
    #[default]
    Aws,
    /// `GovCloud`.
    UsGov,
    /// China.
    China,
}

impl Partition {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aws, Self::UsGov, Self::China];

    /// As an ARN has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::UsGov => "aws-us-gov",
            Self::China => "aws-cn",
        }
    }

    /// That of a region.
    ///
    /// # Errors
    /// `Invalid` if it is no region, or one of a partition that is not known here.
    pub fn of_region(region: &str) -> PolicyResult<Self> {
        const EXPECTED: &str = "a region is eu-central-1, us-gov-west-1 or cn-north-1";
        let mut parts: Vec<_> = region.split('-').collect();
        let number = parts.pop().unwrap_or_default();
        let is_word =
            |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
        let is_number =
            (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        if !is_number || !(2..=3).contains(&parts.len()) || !parts.iter().all(is_word) {
            return Err(invalid("a region", region, EXPECTED));
        }
        match parts[..] {
            ["cn", _] => Ok(Self::China),
            ["us", "gov", _] => Ok(Self::UsGov),
            [area, _] if area.len() == 2 => Ok(Self::Aws),
            _ => Err(invalid("a region of a known partition", region, EXPECTED)),
        }
    }

    /// The name of a service, where roles and keys know it by one. In China some go by
    /// one and some by the other, and both are AWS's.
    pub(crate) fn service_names(self, service: &str) -> Vec<String> {
        let name = format!("{service}.amazonaws.com");
        match self {
            Self::China => vec![format!("{name}.cn"), name],
            _ => vec![name],
        }
    }
}

impl std::str::FromStr for Partition {
    type Err = super::PolicyError;

    fn from_str(text: &str) -> PolicyResult<Self> {
        let found = Self::ALL.into_iter().find(|partition| partition.as_str() == text);
        found.ok_or_else(|| invalid("a partition", text, "one is aws, aws-us-gov or aws-cn"))
    }
}

/// The parts of an ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    pub(crate) partition: Partition,
    pub(crate) service: &'a str,
    pub(crate) region: &'a str,
    pub(crate) account: &'a str,
    pub(crate) resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Parses `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.
    pub(crate) fn parse(arn: &'a str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let mut next = || parts.next().unwrap_or_default();
        let (head, partition, service) = (next(), next(), next());
        let (region, account, resource) = (next(), next(), next());
        let partition = partition.parse().ok()?;
        (head == "arn" && is_account(account) && !resource.is_empty()).then_some(Self {
            partition,
            service,
            region,
            account,
            resource,
        })
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn only(text: &str, length: std::ops::RangeInclusive<usize>, others: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    length.contains(&text.len()) && text.chars().all(allowed)
}

/// The number of an AWS account.
pub(crate) fn account(text: &str) -> PolicyResult {
    let error = || invalid("an AWS account", text, "one has 12 digits");
    is_account(text).then_some(()).ok_or_else(error)
}

/// The ARN of a role.
pub(crate) fn role_arn(text: &str) -> PolicyResult<Partition> {
    principal_arn(text, &["role/"])
        .ok_or_else(|| invalid("a role", text, "one is arn:aws:iam::ACCOUNT:role/NAME"))
}

/// The ARN of a role, of a user, or of an account as a whole.
pub(crate) fn principal(text: &str) -> PolicyResult<Partition> {
    const EXPECTED: &str = "one is an account's 12 digits or arn:aws:iam::ACCOUNT:role/NAME";
    let of_account = |arn: &Arn<'_>| arn.service == "iam" && arn.region.is_empty();
    let root = Arn::parse(text).filter(|arn| of_account(arn) && arn.resource == "root");
    root.map(|arn| arn.partition)
        .or_else(|| principal_arn(text, &["role/", "user/"]))
        .ok_or_else(|| invalid("a principal", text, EXPECTED))
}

fn principal_arn(text: &str, kinds: &[&str]) -> Option<Partition> {
    let arn = Arn::parse(text)?;
    let name = kinds.iter().find_map(|kind| arn.resource.strip_prefix(kind))?;
    // A path is up to 512 characters, a name up to 64.
    let plain = only(name, 1..=576, "/+=,.@_-") && !name.starts_with('/') && !name.ends_with('/');
    (plain && arn.service == "iam" && arn.region.is_empty()).then_some(arn.partition)
}

/// A bucket of S3 ("Bucket naming rules").
pub(crate) fn bucket(text: &str) -> PolicyResult {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
    let edges = !text.starts_with(['.', '-']) && !text.ends_with(['.', '-']);
    let good = (3..=63).contains(&text.len()) && text.chars().all(lower) && edges;
    let error = || invalid("a bucket", text, "3 to 63 of a-z, 0-9, . and -, and no ARN");
    good.then_some(()).ok_or_else(error)
}

/// A repository of ECR.
pub(crate) fn repository(text: &str) -> PolicyResult {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._/-".contains(c);
    let edges = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && !text.ends_with('/');
    let good = (2..=256).contains(&text.len()) && text.chars().all(lower) && edges;
    let error = || invalid("a repository", text, "2 to 256 of a-z, 0-9, . _ / and -");
    good.then_some(()).ok_or_else(error)
}

/// A cluster of EKS or ECS.
pub(crate) fn cluster(text: &str) -> PolicyResult {
    let good = only(text, 1..=255, "_-") && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let error = || invalid("a cluster", text, "up to 255 letters, digits, _ and -, and no ARN");
    good.then_some(()).ok_or_else(error)
}

/// The prefix of secrets in Secrets Manager (API reference, `CreateSecret`).
pub(crate) fn secret_prefix(text: &str) -> PolicyResult {
    let error =
        || invalid("a prefix of secrets", text, "1 to 505 letters, digits and / _ + = . @ -");
    only(text, 1..=505, "/_+=.@-").then_some(()).ok_or_else(error)
}

/// The prefix of stacks, and with them of what they contain.
pub(crate) fn name_prefix(text: &str) -> PolicyResult {
    let good = only(text, 1..=128, "_-") && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let error = || invalid("a prefix", text, "1 to 128 letters, digits, _ and -, without *");
    good.then_some(()).ok_or_else(error)
}

/// An external id (STS API reference, `AssumeRole`).
pub(crate) fn external_id(text: &str) -> PolicyResult {
    let error =
        || invalid("an external id", text, "2 to 1224 letters, digits and _ + = , . @ : / -");
    only(text, 2..=1224, "_+=,.@:/-").then_some(()).ok_or_else(error)
}

/// The name of a session (STS API reference, `AssumeRole`).
pub(crate) fn session_name(text: &str) -> PolicyResult {
    let error = || invalid("a session's name", text, "2 to 64 letters, digits and _ + = , . @ -");
    only(text, 2..=64, "_+=,.@-").then_some(()).ok_or_else(error)
}

/// The key of a session tag (STS API reference, `Tag`), without spaces.
pub(crate) fn tag_key(text: &str) -> PolicyResult {
    let error = || invalid("a tag's key", text, "1 to 128 letters, digits and _ . : / = + @ -");
    only(text, 1..=128, "_.:/=+@-").then_some(()).ok_or_else(error)
}

/// A key of KMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    /// Of one region and account.
    Arn(Arn<'a>),
    /// `key/ID` or `alias/NAME`, wherever the document is for.
    Resource(String),
}

impl<'a> Key<'a> {
    /// Takes an ARN, an alias ARN, a key id or an alias.
    pub(crate) fn parse(text: &'a str) -> PolicyResult<Self> {
        const EXPECTED: &str = "one is an ARN, a key id, alias/NAME or an alias ARN";
        let error = || invalid("a KMS key", text, EXPECTED);
        if let Some(arn) = Arn::parse(text) {
            let region = Partition::of_region(arn.region)?;
            let good = arn.service == "kms" && is_key_resource(arn.resource);
            return (good && region == arn.partition).then_some(Self::Arn(arn)).ok_or_else(error);
        }
        let is_alias = text.starts_with("alias/");
        let resource = if is_alias { text.to_owned() } else { format!("key/{text}") };
        is_key_resource(&resource).then_some(Self::Resource(resource)).ok_or_else(error)
    }
}

fn is_key_resource(resource: &str) -> bool {
    if let Some(alias) = resource.strip_prefix("alias/") {
        return only(alias, 1..=250, "/_-");
    }
    // A UUID, or mrk- and 32 hexadecimal digits.
    let id = resource.strip_prefix("key/").unwrap_or_default();
    let digits = id.strip_prefix("mrk-").unwrap_or(id);
    let hex = |c: char| c.is_ascii_hexdigit() || c == '-';
    (32..=36).contains(&digits.len()) && digits.chars().all(hex)
}
