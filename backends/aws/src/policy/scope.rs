//! What a policy is about, and the ARNs that follow.

use super::PolicyFor;
use super::error::{Input, PolicyError, PolicyResult};
use super::names::{self, Arn, Key, Partition};

/// What a policy is about. What is left empty is not allowed; a purpose that cannot do
/// without says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyScope {
    /// The partition, where no region or ARN tells.
    pub partition: Option<Partition>,
    /// The regions.
    pub regions: Vec<String>,
    /// The AWS account that the resources are in: 12 digits.
    pub aws_account: Option<String>,
    /// KMS keys that wrap DEKs: ARNs, key ids, aliases, alias ARNs.
    pub kms_keys: Vec<String>,
    /// The accounts of Strongroom whose DEKs they wrap. With none, those of all.
    pub accounts: Vec<String>,
    /// What the names of secrets in Secrets Manager begin with.
    pub secret_prefixes: Vec<String>,
    /// KMS keys that Secrets Manager encrypts them with, unless it is AWS's own key.
    pub secret_keys: Vec<String>,
    /// S3 buckets.
    pub buckets: Vec<String>,
    /// ECR repositories.
    pub repositories: Vec<String>,
    /// Clusters of EKS or ECS.
    pub clusters: Vec<String>,
    /// What the names of stacks, and of all that they create, begin with.
    pub name_prefixes: Vec<String>,
    /// Roles that are given to what is created: ARNs.
    pub pass_roles: Vec<String>,
    /// Roles that are assumed, also of other accounts: ARNs.
    pub assume_roles: Vec<String>,
    /// Whether their sessions get tags.
    pub session_tags: bool,
    /// Whether secrets are only read.
    pub read_only: bool,
    /// Whether what is left empty means any, and no error.
    pub any_resource: bool,
}

impl PolicyScope {
    /// This and what `other` is about, so that a configuration and a command line
    /// add up. A single value is `self`'s, if it has one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        fn joined(mut one: Vec<String>, other: Vec<String>) -> Vec<String> {
            for text in other {
                if !one.contains(&text) {
                    one.push(text);
                }
            }
            one
        }
        Self {
            partition: self.partition.or(other.partition),
            regions: joined(self.regions, other.regions),
            aws_account: self.aws_account.or(other.aws_account),
            kms_keys: joined(self.kms_keys, other.kms_keys),
            accounts: joined(self.accounts, other.accounts),
            secret_prefixes: joined(self.secret_prefixes, other.secret_prefixes),
            secret_keys: joined(self.secret_keys, other.secret_keys),
            buckets: joined(self.buckets, other.buckets),
            repositories: joined(self.repositories, other.repositories),
            clusters: joined(self.clusters, other.clusters),
            name_prefixes: joined(self.name_prefixes, other.name_prefixes),
            pass_roles: joined(self.pass_roles, other.pass_roles),
            assume_roles: joined(self.assume_roles, other.assume_roles),
            session_tags: self.session_tags || other.session_tags,
            read_only: self.read_only || other.read_only,
            any_resource: self.any_resource || other.any_resource,
        }
    }
}

/// A scope that was looked at, for one purpose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked<'a> {
    pub(super) scope: &'a PolicyScope,
    pub(super) partition: Partition,
    pub(super) purpose: PolicyFor,
}

/// KMS keys as a policy names them.
#[derive(Debug)]
pub(super) struct KeyResources {
    pub(super) arns: Vec<String>,
    /// The alias, which is no resource to IAM: any key of the place, if it has the alias
    /// (KMS Developer Guide, "Use aliases to control access to KMS keys").
    pub(super) aliases: Vec<String>,
}

impl<'a> Checked<'a> {
    /// Looks at all of the scope.
    pub(super) fn new(scope: &'a PolicyScope) -> PolicyResult<Self> {
        scope.aws_account.iter().try_for_each(|account| names::account(account))?;
        let each = |texts: &[String], check: fn(&str) -> PolicyResult| {
            texts.iter().try_for_each(|text| check(text))
        };
        each(&scope.buckets, names::bucket)?;
        each(&scope.repositories, names::repository)?;
        each(&scope.clusters, names::cluster)?;
        each(&scope.secret_prefixes, names::secret_prefix)?;
        each(&scope.name_prefixes, names::name_prefix)?;
        each(&scope.accounts, |account| {
            let valid = strongroom_core::Scope::account(account);
            let invalid =
                |_| super::error::invalid("an account of Strongroom", account, "see `init`");
            valid.map(drop).map_err(invalid)
        })?;
        let mut found = Vec::from_iter(scope.partition);
        for region in &scope.regions {
            found.push(Partition::of_region(region)?);
        }
        for role in scope.pass_roles.iter().chain(&scope.assume_roles) {
            found.push(names::role_arn(role)?);
        }
        for key in scope.kms_keys.iter().chain(&scope.secret_keys) {
            if let Key::Arn(arn) = Key::parse(key)? {
                found.push(arn.partition);
            }
        }
        let partition = found.first().copied().unwrap_or_default();
        if let Some(other) = found.into_iter().find(|other| *other != partition) {
            return Err(PolicyError::Partitions(partition.as_str(), other.as_str()));
        }
        Ok(Self { scope, partition, purpose: PolicyFor::Connector })
    }

    pub(super) fn of(self, purpose: PolicyFor) -> Self {
        Self { purpose, ..self }
    }

    fn or_any<'b>(&self, given: &'b [String], input: Input) -> PolicyResult<Vec<&'b str>> {
        if !given.is_empty() {
            return Ok(given.iter().map(String::as_str).collect());
        }
        let missing = PolicyError::Missing { purpose: self.purpose, input };
        self.scope.any_resource.then(|| vec!["*"]).ok_or(missing)
    }

    pub(super) fn regions(&self) -> PolicyResult<Vec<&'a str>> {
        self.or_any(&self.scope.regions, Input::Region)
    }

    pub(super) fn account(&self) -> PolicyResult<&'a str> {
        let given = self.scope.aws_account.as_slice();
        Ok(self.or_any(given, Input::Account)?.first().copied().unwrap_or("*"))
    }

    /// `ARN:SERVICE:REGION:ACCOUNT:RESOURCE` in each region.
    pub(super) fn arns(&self, service: &str, resources: &[String]) -> PolicyResult<Vec<String>> {
        let (partition, account) = (self.partition.as_str(), self.account()?);
        let regions = self.regions()?;
        let arn =
            |(region, resource)| format!("arn:{partition}:{service}:{region}:{account}:{resource}");
        let places =
            regions.iter().flat_map(|region| resources.iter().map(move |one| (region, one)));
        Ok(places.map(arn).collect())
    }

    /// The same for what belongs to no account.
    pub(super) fn global_arns(&self, service: &str, resource: &str) -> PolicyResult<Vec<String>> {
        let partition = self.partition.as_str();
        let arn = |region| format!("arn:{partition}:{service}:{region}:{resource}");
        Ok(self.regions()?.into_iter().map(arn).collect())
    }

    /// The same for IAM, which has no regions.
    pub(super) fn iam(&self, resources: &[String]) -> PolicyResult<Vec<String>> {
        let (partition, account) = (self.partition.as_str(), self.account()?);
        let arn = |resource| format!("arn:{partition}:iam::{account}:{resource}");
        Ok(resources.iter().map(arn).collect())
    }

    /// The same for S3, whose buckets are of no region and account.
    pub(super) fn s3(&self, resources: &[String]) -> Vec<String> {
        let partition = self.partition.as_str();
        resources.iter().map(|resource| format!("arn:{partition}:s3:::{resource}")).collect()
    }

    pub(super) fn buckets(&self) -> PolicyResult<Vec<String>> {
        Ok(owned(self.or_any(&self.scope.buckets, Input::Bucket)?, "", ""))
    }

    pub(super) fn repositories(&self) -> PolicyResult<Vec<String>> {
        Ok(owned(self.or_any(&self.scope.repositories, Input::Repository)?, "repository/", ""))
    }

    /// `BEFORE CLUSTER AFTER` for each.
    pub(super) fn clusters(&self, before: &str, after: &str) -> PolicyResult<Vec<String>> {
        Ok(owned(self.or_any(&self.scope.clusters, Input::Cluster)?, before, after))
    }

    pub(super) fn secrets(&self) -> PolicyResult<Vec<String>> {
        let prefixes = self.or_any(&self.scope.secret_prefixes, Input::SecretPrefix)?;
        self.arns("secretsmanager", &starred(prefixes, "secret:", ""))
    }

    /// `BEFORE PREFIX* AFTER` for each.
    pub(super) fn created(&self, before: &str, after: &str) -> PolicyResult<Vec<String>> {
        let prefixes = self.or_any(&self.scope.name_prefixes, Input::NamePrefix)?;
        Ok(starred(prefixes, before, after))
    }

    /// The keys, sorted by how a policy names them: by ARN, and by alias for each place.
    pub(super) fn keys(&self, given: &[String]) -> PolicyResult<Vec<KeyResources>> {
        let mut plain = KeyResources { arns: Vec::new(), aliases: Vec::new() };
        let mut aliased: Vec<KeyResources> = Vec::new();
        let mut add = |arns: Vec<String>, resource: &str, any: Vec<String>| {
            if !resource.starts_with("alias/") {
                plain.arns.extend(arns);
                return;
            }
            let alias = resource.to_owned();
            match aliased.iter_mut().find(|place| place.arns == any) {
                Some(place) => place.aliases.push(alias),
                None => aliased.push(KeyResources { arns: any, aliases: vec![alias] }),
            }
        };
        for key in given {
            match Key::parse(key)? {
                Key::Arn(Arn { partition, region, account, resource, .. }) => {
                    let partition = partition.as_str();
                    let arn = |what| format!("arn:{partition}:kms:{region}:{account}:{what}");
                    add(vec![arn(resource)], resource, vec![arn("key/*")]);
                }
                Key::Resource(resource) => {
                    let arns = self.arns("kms", std::slice::from_ref(&resource))?;
                    add(arns, &resource, self.arns("kms", &["key/*".to_owned()])?);
                }
            }
        }
        let plain = Some(plain).filter(|plain| !plain.arns.is_empty());
        Ok(plain.into_iter().chain(aliased).collect())
    }

    /// The keys that wrap.
    pub(super) fn kms_keys(&self) -> PolicyResult<Vec<KeyResources>> {
        if !self.scope.kms_keys.is_empty() {
            return self.keys(&self.scope.kms_keys);
        }
        self.or_any(&[], Input::KmsKey)?;
        Ok(vec![KeyResources {
            arns: self.arns("kms", &["key/*".to_owned()])?,
            aliases: Vec::new(),
        }])
    }
}

fn owned(texts: Vec<&str>, before: &str, after: &str) -> Vec<String> {
    texts.into_iter().map(|text| format!("{before}{text}{after}")).collect()
}

fn starred(prefixes: Vec<&str>, before: &str, after: &str) -> Vec<String> {
    let pattern = |prefix: &str| prefix.trim_end_matches('*').to_owned() + "*";
    let each = prefixes.into_iter().map(|prefix| format!("{before}{}{after}", pattern(prefix)));
    each.collect()
}
