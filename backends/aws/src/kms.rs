//! [`AwsKms`]: DEKs wrapped under a symmetric key of AWS KMS.

mod probe;
mod regions;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeyMetadata};
use strongroom_core::{
    Clock, Dek, EncryptionContext, Error, KeyWrapper, Result, SecretBytes, WrappedDek,
};

pub use self::regions::Replica;
use self::regions::{Regions, Target};
use crate::connection::Aws;
use crate::region::{self, KeyArn};

/// How long what KMS said of the key is taken for what it is.
const CURRENT_FOR: Duration = Duration::from_mins(1);

/// The longest identity that a record takes, in bytes.
const MAX_IDENTITY_BYTES: usize = 255;

/// An encryption context, as KMS takes it.
type Pairs = HashMap<String, String>;

/// A key wrapper on a symmetric key of AWS KMS. The encryption context goes along
/// with every call, and KMS authenticates it.
///
/// The key is named by ARN, key id, alias ARN or alias. Records name the very key
/// that wrapped, by ARN and, where KMS tells, the id of its key material. A key that
/// rotates by itself has a new version then, and a rewrap moves the records.
///
/// Only the key that is named now opens records, and those that the settings name as
/// former ones: whoever can write records and use another key of the account, which
/// this credential may use too, shall not forge any. So an alias may be pointed at
/// another key once the settings name the one that it leaves.
///
/// A multi-Region key has replicas. Where the settings name some, a call that its
/// region does not answer is made in the next one; records name the key as it is
/// in the first region, whichever of them wrapped.
pub struct AwsKms {
    regions: Regions,
    key: String,
    former_keys: Vec<String>,
    identity: String,
    clock: Arc<dyn Clock>,
    current: Mutex<Option<Current>>,
}

/// What else is to be known of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KmsOptions {
    /// Where a multi-Region key has replicas.
    pub replicas: Vec<Replica>,
    /// The ARNs of keys that wrapped before, and still open.
    pub former_keys: Vec<String>,
}

/// What wraps now.
#[derive(Clone)]
struct Current {
    /// The key, as the first region has it.
    arn: String,
    version: String,
    /// When that was learnt, by the monotonic clock.
    learnt: Duration,
}

impl AwsKms {
    /// The key that `key` names. Nobody is asked yet.
    ///
    /// # Errors
    /// `Configuration` if `key` is too long, an ARN of another region or partition, or
    /// not an ARN of a multi-Region key although there are replicas.
    pub fn new(aws: &Aws, key: &str, options: KmsOptions) -> Result<Self> {
        let KmsOptions { replicas, former_keys } = options;
        let arn = KeyArn::parse(key);
        if key.starts_with("arn:") && arn.is_none() {
            return Err(Error::configuration(format!(
                "{} is no ARN of a KMS key or of an alias",
                key.escape_debug()
            )));
        }
        if let Some(arn) = arn
            && arn.region != aws.region()
        {
            let (own, partition) = (aws.region(), region::partition(aws.region()));
            let hint = if arn.partition == partition {
                ""
            } else {
                ": standard regions, GovCloud and China do not know each other's keys"
            };
            return Err(Error::configuration(format!(
                "the key {key} is in {}, and the connector in {own}{hint}",
                arn.region
            )));
        }
        if !replicas.is_empty() && !arn.is_some_and(|arn| arn.is_multi_region()) {
            return Err(Error::configuration(
                "replicas need a multi-Region key, named by its ARN: \
                 arn:aws:kms:REGION:ACCOUNT:key/mrk-ID",
            ));
        }
        for former in &former_keys {
            let is_here =
                |arn: KeyArn<'_>| arn.resource.starts_with("key/") && arn.region == aws.region();
            if !KeyArn::parse(former).is_some_and(is_here) {
                return Err(Error::configuration(format!(
                    "{} is no ARN of a KMS key in {}, as a former key needs",
                    former.escape_debug(),
                    aws.region()
                )));
            }
        }
        let identity = match arn {
            Some(_) => format!("aws-kms:{key}"),
            None => format!("aws-kms:{}:{key}", aws.region()),
        };
        if key.is_empty() || identity.len() > MAX_IDENTITY_BYTES {
            let most = MAX_IDENTITY_BYTES + key.len() - identity.len();
            let what = format!("the name of a KMS key has 1 to {most} bytes");
            return Err(Error::configuration(what));
        }
        let (regions, key) = (Regions::new(aws, &replicas)?, key.to_owned());
        let (clock, current) = (Arc::clone(&aws.clock), Mutex::default());
        Ok(Self { regions, key, former_keys, identity, clock, current })
    }

    async fn describe(&self) -> Result<KeyMetadata> {
        let what = |target: &Target, key: String| {
            let call = target.call("kms:DescribeKey", &key);
            let request = target.client.describe_key().key_id(key);
            async move { request.send().await.map_err(|e| call.failed(e)) }
        };
        let answer = self.ask(&self.key, what).await?;
        answer.key_metadata.ok_or_else(|| nonsense("the key's description is missing"))
    }

    /// Asks the regions for the key, one after the other, until one answers.
    async fn ask<T, F>(
        &self,
        key: &str,
        call: impl Fn(&Target, String) -> F + Send + Sync,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let here = |target: &Target| match KeyArn::parse(key) {
            Some(arn) if arn.is_multi_region() => arn.in_region(&target.region),
            _ => key.to_owned(),
        };
        self.regions.ask(|target| call(target, here(target))).await
    }

    async fn data_key(&self, context: Pairs) -> Result<(Dek, WrappedDek<'static>)> {
        let what = |target: &Target, key: String| {
            let call = target.call("kms:GenerateDataKey", &key);
            let request = target
                .client
                .generate_data_key()
                .key_id(key)
                .key_spec(DataKeySpec::Aes256)
                .set_encryption_context(Some(context.clone()));
            async move { request.send().await.map_err(|e| call.failed(e)) }
        };
        let answer = self.ask(&self.key, what).await?;
        let (arn, material) = (answer.key_id(), answer.key_material_id());
        let wrapped = self.wrapped(arn, material, answer.ciphertext_blob.clone())?;
        Ok((dek(answer.plaintext)?, wrapped))
    }

    async fn decrypt(&self, wrapped: &WrappedDek<'_>, context: Pairs) -> Result<Dek> {
        let key = self.key_of(wrapped).await?;
        let what = |target: &Target, key: String| {
            let call = target.call("kms:Decrypt", &key);
            let request = target
                .client
                .decrypt()
                .key_id(&key)
                .ciphertext_blob(Blob::new(wrapped.bytes.as_ref()))
                .set_encryption_context(Some(context.clone()));
            async move {
                let answer = request.send().await.map_err(|e| call.failed(e))?;
                if answer.key_id() == Some(key.as_str()) {
                    return dek(answer.plaintext);
                }
                Err(nonsense("another key has decrypted than the one that was asked for"))
            }
        };
        self.ask(&key, what).await
    }

    /// Takes note of what wraps from now on.
    fn learn(&self, key: &KeyMetadata) -> Result<Current> {
        let arn = key.arn().ok_or_else(|| nonsense("a key has no ARN"))?;
        let arn = self.in_first_region(arn)?;
        let version = version(&arn, key.current_key_material_id());
        let current = Current { arn, version, learnt: self.clock.monotonic() };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(current.clone());
        Ok(current)
    }

    async fn current(&self) -> Result<Current> {
        let known = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let age = |current: &Current| self.clock.monotonic().saturating_sub(current.learnt);
        match known {
            Some(current) if age(&current) < CURRENT_FOR => Ok(current),
            _ => self.learn(&self.describe().await?),
        }
    }

    /// A key that answered, as the first region has it.
    fn in_first_region(&self, arn: &str) -> Result<String> {
        let parsed = KeyArn::parse(arn).filter(|arn| arn.resource.starts_with("key/"));
        let parsed = parsed.ok_or_else(|| nonsense("the ARN of the key is none"))?;
        Ok(if parsed.is_multi_region() {
            parsed.in_region(self.regions.first())
        } else {
            arn.to_owned()
        })
    }

    fn wrapped(
        &self,
        arn: Option<&str>,
        material: Option<&str>,
        blob: Option<Blob>,
    ) -> Result<WrappedDek<'static>> {
        let (Some(arn), Some(blob)) = (arn, blob) else {
            return Err(nonsense("a wrapped DEK or the key's ARN is missing"));
        };
        Ok(WrappedDek {
            kek: Cow::Owned(self.identity.clone()),
            kek_version: Cow::Owned(version(&self.in_first_region(arn)?, material)),
            bytes: Cow::Owned(blob.into_inner()),
        })
    }

    /// The ARN of the key that wrapped, if it is one that may be asked.
    async fn key_of(&self, wrapped: &WrappedDek<'_>) -> Result<String> {
        if wrapped.kek != self.identity {
            return Err(Error::key_unavailable(format!(
                "the DEK was wrapped by {}, and this is {}",
                wrapped.kek, self.identity
            )));
        }
        let arn = wrapped.kek_version.split('#').next().unwrap_or_default();
        let is_known = arn == self.key || self.former_keys.iter().any(|former| former == arn);
        if is_known || self.names_now(arn).await? {
            return Ok(arn.to_owned());
        }
        Err(Error::key_unavailable(format!(
            "the DEK names the key {}, and {} is another one: if it was that one before, name \
             it in former_keys",
            arn.escape_debug(),
            self.key
        )))
    }

    /// Whether the alias or id that this key is named by means `arn`.
    async fn names_now(&self, arn: &str) -> Result<bool> {
        let is_key = KeyArn::parse(arn).is_some_and(|arn| arn.resource.starts_with("key/"));
        let is_fixed = KeyArn::parse(&self.key).is_some_and(|k| k.resource.starts_with("key/"));
        if !is_key || is_fixed {
            return Ok(false);
        }
        // Somebody may have pointed the alias at it since.
        let means = self.current().await?.arn;
        Ok(means == arn || self.learn(&self.describe().await?)?.arn == arn)
    }
}

#[async_trait]
impl KeyWrapper for AwsKms {
    fn identity(&self) -> &str {
        &self.identity
    }

    async fn wrap(&self, dek: &Dek, context: &EncryptionContext) -> Result<WrappedDek<'static>> {
        // Encrypt does not tell the key material.
        let current = self.current().await?;
        let what = |target: &Target, key: String| {
            let call = target.call("kms:Encrypt", &key);
            let request = target
                .client
                .encrypt()
                .key_id(key)
                .plaintext(Blob::new(dek.expose()))
                .set_encryption_context(Some(pairs(context)));
            async move { request.send().await.map_err(|e| call.failed(e)) }
        };
        let answer = self.ask(&self.key, what).await?;
        let arn = answer.key_id().map(|arn| self.in_first_region(arn)).transpose()?;
        let is_current = arn.as_ref() == Some(&current.arn);
        let material = material_of(&current.version).filter(|_| is_current);
        self.wrapped(answer.key_id(), material, answer.ciphertext_blob.clone())
    }

    async fn unwrap(&self, wrapped: &WrappedDek<'_>, context: &EncryptionContext) -> Result<Dek> {
        self.decrypt(wrapped, pairs(context)).await
    }

    async fn generate(&self, context: &EncryptionContext) -> Result<(Dek, WrappedDek<'static>)> {
        self.data_key(pairs(context)).await
    }

    /// The DEK does not leave KMS.
    async fn rewrap(
        &self,
        wrapped: &WrappedDek<'_>,
        context: &EncryptionContext,
    ) -> Result<WrappedDek<'static>> {
        let from = self.key_of(wrapped).await?;
        let what = |target: &Target, to: String| {
            let from = match KeyArn::parse(&from) {
                Some(arn) if arn.is_multi_region() => arn.in_region(&target.region),
                _ => from.clone(),
            };
            let call = target.call("kms:ReEncryptFrom and kms:ReEncryptTo", &from);
            let request = target
                .client
                .re_encrypt()
                .ciphertext_blob(Blob::new(wrapped.bytes.as_ref()))
                .source_key_id(from)
                .set_source_encryption_context(Some(pairs(context)))
                .destination_key_id(to)
                .set_destination_encryption_context(Some(pairs(context)));
            async move { request.send().await.map_err(|e| call.failed(e)) }
        };
        let answer = self.ask(&self.key, what).await?;
        self.wrapped(
            answer.key_id(),
            answer.destination_key_material_id(),
            answer.ciphertext_blob.clone(),
        )
    }

    async fn current_version(&self) -> Result<String> {
        Ok(self.current().await?.version)
    }

    /// Makes a DEK that nobody uses, and opens it.
    async fn check(&self) -> Result<()> {
        self.learn(&self.describe().await?)?;
        let (made, wrapped) = self.data_key(of_no_secret()).await?;
        let opened = self.decrypt(&wrapped, of_no_secret()).await?;
        if made.expose() == opened.expose() {
            return Ok(());
        }
        Err(nonsense("it does not decrypt what it encrypted"))
    }
}

/// A context that no secret has.
fn of_no_secret() -> Pairs {
    HashMap::from([("strongroom:check".to_owned(), "1".to_owned())])
}

/// As KMS takes it. None of it is secret; the trail of the account has it.
fn pairs(context: &EncryptionContext) -> Pairs {
    context.pairs().into_iter().map(|(key, value)| (key.into_owned(), value)).collect()
}

/// What the library keeps of it is wiped where its process runs on a wiping allocator.
fn dek(plaintext: Option<Blob>) -> Result<Dek> {
    let plaintext = plaintext.ok_or_else(|| nonsense("a DEK is missing"))?;
    Dek::from_secret(SecretBytes::take(plaintext.into_inner())?)
}

fn version(arn: &str, material: Option<&str>) -> String {
    match material {
        Some(material) => format!("{arn}#{material}"),
        None => arn.to_owned(),
    }
}

fn material_of(version: &str) -> Option<&str> {
    version.split_once('#').map(|(_, material)| material)
}

/// A service that answers so may be another one tomorrow.
fn nonsense(what: &'static str) -> Error {
    Error::unavailable(format!("the answer of AWS KMS makes no sense: {what}"))
}

impl fmt::Debug for AwsKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("AwsKms");
        out.field("key", &self.key).field("regions", &self.regions).finish_non_exhaustive()
    }
}
