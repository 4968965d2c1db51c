//! The calls of AWS Secrets Manager that are used, each with what its failure means.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::operation::list_secret_version_ids::ListSecretVersionIdsOutput;
use aws_sdk_secretsmanager::operation::list_secrets::ListSecretsOutput;
use aws_sdk_secretsmanager::primitives::DateTime;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, SecretValueEntry};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures_util::future::BoxFuture;
use strongroom_core::{Error, Metadata, Result, Timestamp};
use strongroom_remote::Runtime;

use super::metadata::{Difference, tags};
use super::value::{Given, Sent};
use crate::connection::Aws;
use crate::error::Call;

pub(super) const CURRENT: &str = "AWSCURRENT";
pub(super) const PREVIOUS: &str = "AWSPREVIOUS";
/// How many secrets one call of `BatchGetSecretValue` takes.
pub(super) const BATCH: usize = 20;
/// How many items one call of a list gives.
const PAGE: i32 = 100;

/// Staging labels of versions.
pub(super) type Stages = HashMap<String, Vec<String>>;

/// The version that has a staging label.
pub(super) fn at_stage<'a>(stages: Option<&'a Stages>, stage: &str) -> Option<&'a str> {
    let mut all = stages?.iter();
    let found = all.find(|(_, stages)| stages.iter().any(|known| known == stage));
    found.map(|(version, _)| version.as_str())
}

pub(super) fn timestamp(time: &DateTime) -> Option<Timestamp> {
    u64::try_from(time.to_millis().ok()?).ok().map(Timestamp)
}

/// Which version is meant.
#[derive(Clone, Debug)]
pub(super) enum Which {
    Stage(String),
    Version(String),
}

/// A version as AWS gave it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) arn: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) stages: Vec<String>,
    pub(super) created: Option<Timestamp>,
    pub(super) value: Given,
}

/// The client.
pub(super) struct Api {
    client: Client,
    runtime: Arc<Runtime>,
    region: String,
}

impl Api {
    pub(super) fn new(aws: &Aws) -> Self {
        let client = aws.secrets_manager();
        Self { client, runtime: Arc::clone(&aws.runtime), region: aws.region().to_owned() }
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    pub(super) async fn value(&self, id: &str, which: &Which) -> Result<Found> {
        let request = self.client.get_secret_value().secret_id(id);
        let request = match which {
            Which::Stage(stage) => request.version_stage(stage),
            Which::Version(version) => request.version_id(version),
        };
        let answer = self.ask("secretsmanager:GetSecretValue", id, request.send()).await?;
        let value = Given::take(answer.secret_string, answer.secret_binary)?;
        let (created, stages) = (answer.created_date, answer.version_stages);
        found(answer.arn, answer.name, answer.version_id, stages, created.as_ref(), value)
    }

    /// The current versions of at most [`BATCH`] secrets; those that are missing are
    /// not there, or are to be asked for one by one.
    pub(super) async fn values(&self, ids: Vec<String>) -> Result<Vec<Found>> {
        let what = format!("{} secrets", ids.len());
        let request = self.client.batch_get_secret_value().set_secret_id_list(Some(ids));
        let answer = self.ask("secretsmanager:BatchGetSecretValue", &what, request.send()).await?;
        let entries = answer.secret_values.unwrap_or_default().into_iter();
        // Every value is taken, whatever is wrong with one of them.
        let all: Vec<_> = entries.map(found_in_batch).collect();
        all.into_iter().collect()
    }

    pub(super) async fn describe(&self, id: &str) -> Result<DescribeSecretOutput> {
        let request = self.client.describe_secret().secret_id(id);
        let answer = self.ask("secretsmanager:DescribeSecret", id, request.send()).await?;
        same(answer.name(), id)?;
        Ok(answer)
    }

    pub(super) async fn create(
        &self,
        id: &str,
        version: &str,
        value: Sent,
        metadata: Option<&Metadata>,
        kms_key_id: Option<&str>,
    ) -> Result<()> {
        let request = self.client.create_secret().name(id).client_request_token(version);
        let mut request = match value {
            Sent::Text(text) => request.secret_string(text),
            Sent::Bytes(bytes) => request.secret_binary(bytes),
        };
        if let Some(metadata) = metadata.filter(|metadata| !metadata.description().is_empty()) {
            request = request.description(metadata.description());
        }
        if let Some(metadata) = metadata.filter(|metadata| !metadata.tags().is_empty()) {
            request = request.set_tags(Some(tags(metadata)));
        }
        let request = request.set_kms_key_id(kms_key_id.map(str::to_owned));
        let answer = self.ask("secretsmanager:CreateSecret", id, request.send()).await?;
        same(answer.name(), id)?;
        same(answer.version_id(), version)
    }

    /// Writes a version and gives it the label `stage`.
    pub(super) async fn put(
        &self,
        id: &str,
        version: &str,
        value: Sent,
        stage: &str,
    ) -> Result<()> {
        let request = self.client.put_secret_value().secret_id(id).client_request_token(version);
        let request = match value {
            Sent::Text(text) => request.secret_string(text),
            Sent::Bytes(bytes) => request.secret_binary(bytes),
        };
        let request = request.version_stages(stage);
        let answer = self.ask("secretsmanager:PutSecretValue", id, request.send()).await?;
        same(answer.name(), id)?;
        same(answer.version_id(), version)
    }

    /// Writes a version that is the current one.
    pub(super) async fn update(&self, id: &str, version: &str, value: Sent) -> Result<()> {
        let request = self.client.update_secret().secret_id(id).client_request_token(version);
        let request = match value {
            Sent::Text(text) => request.secret_string(text),
            Sent::Bytes(bytes) => request.secret_binary(bytes),
        };
        let answer = self.ask("secretsmanager:UpdateSecret", id, request.send()).await?;
        same(answer.name(), id)?;
        same(answer.version_id(), version)
    }

    /// Takes a label from one version, which has to have it, and gives it to another;
    /// without the one, no version may have it.
    pub(super) async fn move_stage(
        &self,
        id: &str,
        stage: &str,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<()> {
        let request = self
            .client
            .update_secret_version_stage()
            .secret_id(id)
            .version_stage(stage)
            .set_remove_from_version_id(from.map(str::to_owned))
            .set_move_to_version_id(to.map(str::to_owned));
        self.ask("secretsmanager:UpdateSecretVersionStage", id, request.send()).await.map(drop)
    }

    pub(super) async fn change_metadata(&self, id: &str, what: Difference) -> Result<()> {
        if !what.set.is_empty() {
            let request = self.client.tag_resource().secret_id(id).set_tags(Some(what.set));
            self.ask("secretsmanager:TagResource", id, request.send()).await?;
        }
        if !what.remove.is_empty() {
            let request = self.client.untag_resource().secret_id(id);
            let request = request.set_tag_keys(Some(what.remove));
            self.ask("secretsmanager:UntagResource", id, request.send()).await?;
        }
        if let Some(description) = what.description {
            let request = self.client.update_secret().secret_id(id).description(description);
            self.ask("secretsmanager:UpdateSecret", id, request.send()).await?;
        }
        Ok(())
    }

    /// Deletes a secret; without a window for good, whatever state it is in.
    pub(super) async fn delete(&self, id: &str, window_days: Option<u8>) -> Result<()> {
        let request = self.client.delete_secret().secret_id(id);
        let request = match window_days {
            Some(days) => request.recovery_window_in_days(days.into()),
            None => request.force_delete_without_recovery(true),
        };
        self.ask("secretsmanager:DeleteSecret", id, request.send()).await.map(drop)
    }

    pub(super) async fn restore(&self, id: &str) -> Result<()> {
        let request = self.client.restore_secret().secret_id(id);
        self.ask("secretsmanager:RestoreSecret", id, request.send()).await.map(drop)
    }

    /// Some of the secrets whose names begin with `prefix`, in no order.
    pub(super) async fn list(
        &self,
        prefix: &str,
        include_deleted: bool,
        after: Option<String>,
        limit: usize,
    ) -> Result<ListSecretsOutput> {
        let filter = Filter::builder().key(FilterNameStringType::Name).values(prefix).build();
        let limit = i32::try_from(limit).unwrap_or(PAGE).clamp(1, PAGE);
        let request = self
            .client
            .list_secrets()
            .filters(filter)
            .include_planned_deletion(include_deleted)
            .max_results(limit)
            .set_next_token(after);
        let mut answer = self.ask("secretsmanager:ListSecrets", prefix, request.send()).await?;
        answer.next_token = answer.next_token.filter(|token| !token.is_empty());
        Ok(answer)
    }

    /// Some of the versions of a secret, those without labels too.
    pub(super) async fn versions(
        &self,
        id: &str,
        after: Option<String>,
    ) -> Result<ListSecretVersionIdsOutput> {
        let request = self
            .client
            .list_secret_version_ids()
            .secret_id(id)
            .include_deprecated(true)
            .max_results(PAGE)
            .set_next_token(after);
        let answer = self.ask("secretsmanager:ListSecretVersionIds", id, request.send()).await;
        let mut answer = answer?;
        same(answer.name(), id)?;
        answer.next_token = answer.next_token.filter(|token| !token.is_empty());
        Ok(answer)
    }

    /// Sends over there. The library's futures are large, and not kept in ours.
    fn ask<T, E>(
        &self,
        action: &'static str,
        about: &str,
        send: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>>
    where
        T: Send + 'static,
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let (resource, region) = (about.to_owned(), self.region.clone());
        let call = Call { service: "AWS Secrets Manager", action, resource, region };
        let runtime = Arc::clone(&self.runtime);
        Box::pin(async move {
            let work = async move { send.await.map_err(|error| call.failed(error)) };
            runtime.run(work).await
        })
    }
}

fn found_in_batch(entry: SecretValueEntry) -> Result<Found> {
    let value = Given::take(entry.secret_string, entry.secret_binary)?;
    let (created, stages) = (entry.created_date, entry.version_stages);
    found(entry.arn, entry.name, entry.version_id, stages, created.as_ref(), value)
}

fn found(
    arn: Option<String>,
    name: Option<String>,
    version: Option<String>,
    stages: Option<Vec<String>>,
    created: Option<&DateTime>,
    value: Given,
) -> Result<Found> {
    let (Some(arn), Some(name), Some(version)) = (arn, name, version) else {
        return Err(nonsense("a secret has no ARN, name or version"));
    };
    let (created, stages) = (created.and_then(timestamp), stages.unwrap_or_default());
    Ok(Found { arn, name, version, stages, created, value })
}

/// Whether an answer is about what was asked.
pub(super) fn same(answered: Option<&str>, asked: &str) -> Result<()> {
    match answered {
        Some(answered) if answered == asked => Ok(()),
        Some(answered) => Err(Error::tampered(format!(
            "AWS Secrets Manager was asked about {asked} and answered about {answered}"
        ))),
        None => Err(nonsense("it does not say what it is about")),
    }
}

pub(super) fn nonsense(what: &'static str) -> Error {
    Error::internal(format!("the answer of AWS Secrets Manager makes no sense: {what}"))
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("region", &self.region).finish_non_exhaustive()
    }
}
