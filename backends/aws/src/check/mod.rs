//! What a check asks of AWS: who calls, and which regions there are.

mod regions;

use strongroom_core::{Error, Result};

use crate::connection::Aws;
use crate::error::Call;

/// Who calls, as AWS sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caller {
    /// The account: 12 digits.
    pub account: String,
    /// The ARN of the user, or of the role's session.
    pub arn: String,
    /// The id of the user, or of the role and its session.
    pub user_id: String,
}

/// A call that was made to see whether it can be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Probe {
    /// The permission that it needs.
    pub action: &'static str,
    /// Where it was made.
    pub region: String,
    /// What it was about.
    pub resource: String,
    /// What there is to say of it; or why it failed, or was not made.
    pub outcome: Result<String>,
}

impl Probe {
    /// A call and what became of it.
    #[must_use]
    pub fn new(
        action: &'static str,
        region: &str,
        resource: &str,
        outcome: Result<String>,
    ) -> Self {
        Self { action, region: region.to_owned(), resource: resource.to_owned(), outcome }
    }
}

impl Aws {
    /// Asks STS who calls. No policy is needed for it.
    ///
    /// # Errors
    /// `Unauthenticated` if there is no credential or AWS does not take it;
    /// `Unavailable` or `Throttled` if STS does not answer.
    pub async fn caller(&self) -> Result<Caller> {
        let call = Call {
            service: "AWS STS",
            action: "sts:GetCallerIdentity",
            resource: "the credential".to_owned(),
            region: self.region().to_owned(),
        };
        let request = self.sts().get_caller_identity();
        let asked = async move {
            let answer = request.send().await.map_err(|error| call.failed(error))?;
            match (answer.account, answer.arn, answer.user_id) {
                (Some(account), Some(arn), Some(user_id)) => Ok(Caller { account, arn, user_id }),
                _ => Err(Error::unavailable(format!("the answer to {call} makes no sense"))),
            }
        };
        self.runtime.run(asked).await
    }
}
