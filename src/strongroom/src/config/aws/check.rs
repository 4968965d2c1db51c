//! Whether a connector, and the KEKs that use it, may do what they have to.

use strongroom_aws::{Aws, AwsKms, KmsOptions, Probe, Replica};
use strongroom_core::{Error, ErrorKind};

use super::AwsConnector;
use crate::config::{Config, ExternalSection, KekSpec, KekType, ReferenceType, StoreType};

impl Config {
    /// Makes each call that `connector` needs, and that KEKs, store and references which use
    /// it need, and says what becomes of it. Nothing that is stored is touched. With
    /// `read_only`, the calls that only writing needs are left out.
    ///
    /// What cannot even be prepared is a probe too: that of no permission, with an error.
    pub async fn check_aws(&self, connector: &AwsConnector, read_only: bool) -> Vec<Probe> {
        let region = &connector.region;
        let aws = match self.connect_aws(connector).await {
            Ok(aws) => aws,
            Err(error) => return vec![Probe::new("connect", region, "*", Err(error))],
        };
        let caller = aws.caller().await;
        // Every other call would say the same.
        let is_nobody = caller.as_ref().is_err_and(|e| e.kind() == ErrorKind::Unauthenticated);
        let caller = caller.map(|caller| format!("{}, account {}", caller.arn, caller.account));
        let mut probes = vec![Probe::new("sts:GetCallerIdentity", region, "*", caller)];
        if is_nobody {
            return probes;
        }
        probes.push(regions(&aws, connector).await);
        let keks = if self.store.kind.is_embedded() { self.keks() } else { Vec::new() };
        for spec in keks.iter().filter(|spec| self.uses(spec, connector)) {
            let key = spec.key.unwrap_or_default();
            let mut options = KmsOptions::default();
            options.replicas = spec.replicas.iter().map(|r| Replica::new(r)).collect();
            options.former_keys = spec.former_keys.to_vec();
            match AwsKms::new(&aws, key, options) {
                Ok(kms) => probes.append(&mut kms.probe(read_only).await),
                Err(error) => probes.push(Probe::new("connect", region, key, Err(error))),
            }
        }
        probes.append(&mut self.probe_store(&aws, connector, read_only).await);
        for entry in self.aws_references(connector) {
            let made = self.external_secrets(&aws, entry).probes().await;
            probes.extend(made.into_iter().map(|probe| of_reference(probe, entry)));
        }
        probes
    }

    async fn probe_store(
        &self,
        aws: &Aws,
        connector: &AwsConnector,
        read_only: bool,
    ) -> Vec<Probe> {
        let of_store = self.aws.connector(self.store.connector.as_deref());
        if self.store.kind == StoreType::AwsSecretsManager
            && of_store.is_ok_and(|of| of.name == connector.name)
        {
            return match self.secrets_manager(aws) {
                Ok(store) => store.probes(read_only).await,
                Err(error) => vec![Probe::new("connect", &connector.region, "*", Err(error))],
            };
        }
        Vec::new()
    }

    /// What `[[store.references]]` reaches by way of `connector`.
    fn aws_references(&self, connector: &AwsConnector) -> impl Iterator<Item = &ExternalSection> {
        self.store.references.iter().filter(|entry| {
            let of_entry = self.aws.connector(entry.connector.as_deref());
            entry.kind == ReferenceType::AwsSecretsManager
                && of_entry.is_ok_and(|of| of.name == connector.name)
        })
    }

    pub(super) fn uses(&self, spec: &KekSpec<'_>, connector: &AwsConnector) -> bool {
        spec.kind == KekType::AwsKms
            && self.aws.connector(spec.connector).is_ok_and(|of| of.name == connector.name)
    }
}

/// The probe, with what it was made for.
fn of_reference(mut probe: Probe, entry: &ExternalSection) -> Probe {
    let name = &entry.name;
    probe.outcome = match probe.outcome {
        Ok(said) => Ok(format!("{said}, for references to {name}://")),
        Err(error) if error.kind() == ErrorKind::AccessDenied && entry.below.is_none() => {
            // Nobody can tell which secrets are meant.
            Err(Error::access_denied(format!(
                "{}; if only some may be read, by names that begin alike, tell [[store.references]] \
                 {name} with below = \"…\"",
                error.message()
            ))
            .with_source(error))
        }
        failed => failed,
    };
    probe
}

async fn regions(aws: &Aws, connector: &AwsConnector) -> Probe {
    let own = &connector.region;
    let test_region = connector.test_region.as_deref().unwrap_or(aws.default_test_region());
    let outcome = aws.describe_regions(Some(test_region)).await.and_then(|regions| {
        if regions.contains(own) {
            return Ok(format!("{} regions, and {own} is one of them", regions.len()));
        }
        Err(Error::configuration(format!(
            "{own} is not one of the {} regions that the account has enabled",
            regions.len()
        )))
    });
    Probe::new("ec2:DescribeRegions", test_region, "*", outcome)
}
