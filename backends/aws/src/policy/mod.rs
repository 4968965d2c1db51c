//! Documents for IAM: what a role has to be allowed for a purpose, and who may assume
//! it.
//!
//! A policy holds what is called and no more, on the resources that the [`PolicyScope`]
//! names. `*` stands where AWS knows no resources for an action, and where the scope
//! says that any will do.

mod deploy;
mod document;
mod error;
pub(crate) mod names;
mod own;
mod scope;
mod serverless;
mod storage;
mod trust;

use std::fmt;

pub use self::document::{MANAGED_POLICY_CHARACTERS, Policy, Statement, TRUST_POLICY_CHARACTERS};
pub use self::error::{Input, PolicyError, PolicyResult};
pub use self::names::Partition;
pub use self::scope::PolicyScope;
pub use self::trust::{CrossAccountTrust, OidcTrust, SessionTag};

pub(crate) use self::error::invalid;
pub(crate) use self::names::{account, cluster, external_id, role_arn, session_name};

use self::scope::Checked;

/// What a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicyFor {
    /// Nothing but the connection: who it is, which regions there are, and roles to
    /// assume. Every policy has this.
    Connector,
    /// DEKs under KMS keys.
    Kms,
    /// Secrets in Secrets Manager.
    SecretsManager,
    /// Objects of S3, read.
    S3Read,
    /// Objects of S3, written and deleted.
    S3Write,
    /// Images of ECR, pulled.
    EcrPull,
    /// Images of ECR, pushed.
    EcrPush,
    /// Hosts on EC2, listed.
    Ec2,
    /// Networks, created.
    Vpc,
    /// Auto Scaling groups, deployed.
    AutoScaling,
    /// Stacks of `CloudFormation`, deployed.
    CloudFormation,
    /// Clusters of EKS, found.
    Eks,
    /// Clusters of EKS with their nodes, created.
    EksProvision,
    /// Services and tasks in a cluster of ECS, deployed.
    Ecs,
    /// Functions of Lambda, deployed.
    Lambda,
    /// Services of the Serverless Framework, deployed.
    Serverless,
}

impl PolicyFor {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Connector,
        Self::Kms,
        Self::SecretsManager,
        Self::S3Read,
        Self::S3Write,
        Self::EcrPull,
        Self::EcrPush,
        Self::Ec2,
        Self::Vpc,
        Self::AutoScaling,
        Self::CloudFormation,
        Self::Eks,
        Self::EksProvision,
        Self::Ecs,
        Self::Lambda,
        Self::Serverless,
    ];

    /// The name that it goes by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connector => "connector",
            Self::Kms => "kms",
            Self::SecretsManager => "secrets-manager",
            Self::S3Read => "s3-read",
            Self::S3Write => "s3-write",
            Self::EcrPull => "ecr-pull",
            Self::EcrPush => "ecr-push",
            Self::Ec2 => "ec2",
            Self::Vpc => "vpc",
            Self::AutoScaling => "autoscaling",
            Self::CloudFormation => "cloudformation",
            Self::Eks => "eks",
            Self::EksProvision => "eks-provision",
            Self::Ecs => "ecs",
            Self::Lambda => "lambda",
            Self::Serverless => "serverless",
        }
    }

    /// What it is for, in a few words.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Connector => "nothing but the connection, and roles to assume",
            Self::Kms => "DEKs under KMS keys",
            Self::SecretsManager => "secrets in Secrets Manager",
            Self::S3Read => "read objects of S3",
            Self::S3Write => "write and delete objects of S3",
            Self::EcrPull => "pull images from ECR",
            Self::EcrPush => "pull and push images",
            Self::Ec2 => "list hosts on EC2",
            Self::Vpc => "create networks, as stacks do",
            Self::AutoScaling => "deploy Auto Scaling groups",
            Self::CloudFormation => "deploy stacks",
            Self::Eks => "find clusters of EKS",
            Self::EksProvision => "create clusters of EKS with their nodes",
            Self::Ecs => "deploy services and tasks to ECS",
            Self::Lambda => "deploy functions",
            Self::Serverless => "deploy with the Serverless Framework",
        }
    }

    fn statements(self, scope: &PolicyScope) -> PolicyResult<Vec<Statement>> {
        let checked = Checked::new(scope)?.of(self);
        match self {
            Self::Connector => Ok(Vec::new()),
            Self::Kms => own::kms(&checked),
            Self::SecretsManager => own::secrets_manager(&checked),
            Self::S3Read => storage::s3_read(&checked),
            Self::S3Write => storage::s3_write(&checked),
            Self::EcrPull => storage::ecr_pull(&checked),
            Self::EcrPush => storage::ecr_push(&checked),
            Self::Ec2 => Ok(deploy::ec2()),
            Self::Vpc => deploy::vpc(&checked),
            Self::AutoScaling => deploy::autoscaling(&checked),
            Self::CloudFormation => deploy::cloudformation(&checked),
            Self::Eks => deploy::eks(&checked),
            Self::EksProvision => deploy::eks_provision(&checked),
            Self::Ecs => deploy::ecs(&checked),
            Self::Lambda => deploy::lambda(&checked),
            Self::Serverless => serverless::serverless(&checked),
        }
    }
}

impl fmt::Display for PolicyFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for PolicyFor {
    type Err = PolicyError;

    fn from_str(text: &str) -> PolicyResult<Self> {
        let found = Self::ALL.into_iter().find(|purpose| purpose.as_str() == text);
        found.ok_or_else(|| invalid("a purpose", text, "one is kms, secrets-manager or s3-read"))
    }
}

impl Policy {
    /// What a credential needs for `purposes`, however long that gets: see
    /// [`Policy::within`] and [`Policy::split`].
    ///
    /// # Errors
    /// `Missing` if a purpose needs what `scope` does not have, `Invalid` if something in
    /// it is not of its form, `Partitions` if it is of several.
    pub fn allowing(purposes: &[PolicyFor], scope: &PolicyScope) -> PolicyResult<Self> {
        let mut statements = own::connector(&Checked::new(scope)?);
        for purpose in purposes {
            statements.extend(purpose.statements(scope)?);
        }
        Ok(Self::of(statements))
    }
}
