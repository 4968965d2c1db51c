//! Regions, the partitions that they belong to, and the parts of an ARN.

use strongroom_core::{Error, Result};

use crate::policy::Partition;
use crate::policy::names::Arn;

/// Refuses what is no name of a region.
pub(crate) fn check(region: &str) -> Result<()> {
    Partition::of_region(region).map(drop).map_err(|_| {
        let shown = region.escape_debug();
        Error::configuration(format!("{shown} is no region: one is eu-central-1"))
    })
}

/// The partition that a region belongs to.
pub(crate) fn partition(region: &str) -> &'static str {
    Partition::of_region(region).unwrap_or_default().as_str()
}

/// The ARN of a KMS key: `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyArn<'a> {
    pub(crate) partition: &'static str,
    pub(crate) region: &'a str,
    account: &'a str,
    /// `key/ID` or `alias/NAME`.
    pub(crate) resource: &'a str,
}

impl<'a> KeyArn<'a> {
    pub(crate) fn parse(arn: &'a str) -> Option<Self> {
        let Arn { partition, service, region, account, resource } = Arn::parse(arn)?;
        let is_key = service == "kms"
            && Partition::of_region(region) == Ok(partition)
            && (resource.starts_with("key/") || resource.starts_with("alias/"))
            && !resource.contains(':');
        is_key.then_some(Self { partition: partition.as_str(), region, account, resource })
    }

    /// Whether there may be the same key in other regions (KMS Developer Guide,
    /// "Multi-Region keys": their ids begin so).
    pub(crate) fn is_multi_region(&self) -> bool {
        self.resource.starts_with("key/mrk-")
    }

    /// The replica in `region`.
    pub(crate) fn in_region(&self, region: &str) -> String {
        let Self { partition, account, resource, .. } = self;
        format!("arn:{partition}:kms:{region}:{account}:{resource}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_belong_to_partitions() {
        for (region, of) in [
            ("eu-central-1", "aws"),
            ("us-east-1", "aws"),
            ("us-gov-west-1", "aws-us-gov"),
            ("cn-north-1", "aws-cn"),
            ("ap-southeast-10", "aws"),
        ] {
            assert!(check(region).is_ok(), "{region}");
            assert_eq!(partition(region), of);
        }
        for bad in [
            "",
            "eu",
            "eu-central",
            "eu-central-x",
            "EU-central-1",
            "eu-central-1a",
            "1-1-1",
            "eu-central-1-2",
            "eu--1",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_arn_names_account_and_region() {
        let text = "arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-1";
        let arn = KeyArn::parse(text).expect("an ARN");
        assert_eq!((arn.partition, arn.region), ("aws-cn", "cn-north-1"));
        assert!(arn.is_multi_region());
        assert_eq!(
            arn.in_region("cn-northwest-1"),
            "arn:aws-cn:kms:cn-northwest-1:123456789012:key/mrk-1"
        );
        for bad in [
            "",
            "alias/x",
            "arn:aws:s3:eu-central-1:123456789012:key/x",
            "arn:aws:kms:eu-central-1::key/x",
            "arn:aws:kms:eu-central-1:123456789012:grant/x",
            "arn:aws:kms:eu-central-1:123456789012:key/x:y",
        ] {
            assert_eq!(KeyArn::parse(bad), None, "{bad}");
        }
    }
}
