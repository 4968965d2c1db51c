//! [`AwsKms`]: DEKs wrapped under a symmetric key of AWS KMS.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeyMetadata};
use strongroom_core::{
    Clock, Dek, EncryptionContext, Error, KeyWrapper, Result, SecretBytes, SystemClock, WrappedDek,
};

use crate::connection::Aws;
use crate::error::Call;
use crate::runtime::Runtime;

/// How long what KMS said of the key is taken for what it is.
const CURRENT_FOR: Duration = Duration::from_mins(1);
const SERVICE: &str = "AWS KMS";

/// An encryption context, as KMS takes it.
type Pairs = HashMap<String, String>;

/// A key wrapper on a symmetric key of AWS KMS. The encryption context goes along
/// with every call, and KMS authenticates it.
///
/// The key is named by ARN, key id, alias ARN or alias. Records name the very key
/// that wrapped, by ARN and, where KMS tells, the id of its key material; it is
/// demanded when they are opened. So an alias may be pointed at another key, and a
/// key may rotate by itself: both are a new version, and a rewrap moves the records.
/// A key of another account is never asked to open anything.
pub struct AwsKms {
    client: Client,
    runtime: Arc<Runtime>,
    region: String,
    key: String,
    identity: String,
    account: String,
    clock: Arc<dyn Clock>,
    current: Mutex<Option<Current>>,
}

/// What wraps now.
#[derive(Clone)]
struct Current {
    version: String,
    /// When that was learnt, by the monotonic clock.
    learnt: Duration,
}

impl AwsKms {
    /// The key that `key` names, which is asked for its ARN.
    ///
    /// # Errors
    /// Those of [`KeyWrapper`]; and `Configuration` if the key cannot wrap, or the
    /// name is too long for a record.
    pub async fn open(aws: &Aws, key: &str) -> Result<Self> {
        let client = Client::new(&aws.config);
        let (runtime, region) = (Arc::clone(&aws.runtime), aws.region().to_owned());
        let clock = SystemClock::shared();
        let identity = format!("aws-kms:{key}");
        if identity.len() > 255 {
            return Err(Error::configuration("the name of a KMS key has at most 247 bytes"));
        }
        let (key, account, current) = (key.to_owned(), String::new(), Mutex::default());
        let mut kms = Self { client, runtime, region, key, identity, account, clock, current };
        let found = kms.describe().await?;
        kms.account = account_of(found.arn().unwrap_or_default())?.to_owned();
        kms.learn(&found)?;
        Ok(kms)
    }

    fn call(&self, action: &'static str, resource: &str) -> Call {
        let (resource, region) = (resource.to_owned(), self.region.clone());
        Call { service: SERVICE, action, resource, region }
    }

    async fn describe(&self) -> Result<KeyMetadata> {
        let call = self.call("kms:DescribeKey", &self.key);
        let request = self.client.describe_key().key_id(&self.key);
        let answer = self.ask(async move { request.send().await.map_err(|e| call.failed(e)) });
        let answer = answer.await?;
        answer.key_metadata.ok_or_else(|| nonsense("the key's description is missing"))
    }

    async fn ask<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.runtime.run(call).await
    }

    async fn data_key(&self, context: Pairs) -> Result<(Dek, WrappedDek<'static>)> {
        let call = self.call("kms:GenerateDataKey", &self.key);
        let request = self
            .client
            .generate_data_key()
            .key_id(&self.key)
            .key_spec(DataKeySpec::Aes256)
            .set_encryption_context(Some(context));
        let answer = self.ask(async move { request.send().await.map_err(|e| call.failed(e)) });
        let answer = answer.await?;
        let (arn, material) = (answer.key_id(), answer.key_material_id());
        let wrapped = self.wrapped(arn, material, answer.ciphertext_blob.clone())?;
        Ok((dek(answer.plaintext)?, wrapped))
    }

    async fn decrypt(&self, wrapped: &WrappedDek<'_>, context: Pairs) -> Result<Dek> {
        let key = self.key_of(wrapped)?;
        let call = self.call("kms:Decrypt", &key);
        let request = self
            .client
            .decrypt()
            .key_id(&key)
            .ciphertext_blob(Blob::new(wrapped.bytes.as_ref()))
            .set_encryption_context(Some(context));
        let answer = self.ask(async move { request.send().await.map_err(|e| call.failed(e)) });
        let answer = answer.await?;
        if answer.key_id() != Some(key.as_str()) {
            return Err(nonsense("another key has decrypted than the one that was asked for"));
        }
        dek(answer.plaintext)
    }

    /// Takes note of what wraps from now on.
    fn learn(&self, key: &KeyMetadata) -> Result<String> {
        let arn = key.arn().ok_or_else(|| nonsense("a key has no ARN"))?;
        let version = version(arn, key.current_key_material_id());
        let learnt = self.clock.monotonic();
        let current = Current { version: version.clone(), learnt };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(current);
        Ok(version)
    }

    fn known(&self) -> Option<String> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let age = self.clock.monotonic().saturating_sub(current.learnt);
        (age < CURRENT_FOR).then_some(current.version)
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
            kek_version: Cow::Owned(version(arn, material)),
            bytes: Cow::Owned(blob.into_inner()),
        })
    }

    /// The ARN of the key that wrapped, if it is one that may be asked.
    fn key_of(&self, wrapped: &WrappedDek<'_>) -> Result<String> {
        if wrapped.kek != self.identity {
            return Err(Error::key_unavailable(format!(
                "the DEK was wrapped by {}, and this is {}",
                wrapped.kek, self.identity
            )));
        }
        let arn = wrapped.kek_version.split('#').next().unwrap_or_default();
        match account_of(arn) {
            Ok(account) if account == self.account => Ok(arn.to_owned()),
            _ => Err(Error::key_unavailable(format!(
                "the DEK names the key {arn}, which is not of account {}",
                self.account
            ))),
        }
    }
}

#[async_trait]
impl KeyWrapper for AwsKms {
    fn identity(&self) -> &str {
        &self.identity
    }

    async fn wrap(&self, dek: &Dek, context: &EncryptionContext) -> Result<WrappedDek<'static>> {
        // Encrypt does not tell the key material.
        let current = self.current_version().await?;
        let call = self.call("kms:Encrypt", &self.key);
        let request = self
            .client
            .encrypt()
            .key_id(&self.key)
            .plaintext(Blob::new(dek.expose()))
            .set_encryption_context(Some(pairs(context)));
        let answer = self.ask(async move { request.send().await.map_err(|e| call.failed(e)) });
        let answer = answer.await?;
        let (arn, material) = (answer.key_id(), material_of(&current));
        let material = material.filter(|_| arn.is_some_and(|arn| current.starts_with(arn)));
        self.wrapped(arn, material, answer.ciphertext_blob.clone())
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
        let from = self.key_of(wrapped)?;
        let call = self.call("kms:ReEncryptFrom and kms:ReEncryptTo", &from);
        let request = self
            .client
            .re_encrypt()
            .ciphertext_blob(Blob::new(wrapped.bytes.as_ref()))
            .source_key_id(&from)
            .set_source_encryption_context(Some(pairs(context)))
            .destination_key_id(&self.key)
            .set_destination_encryption_context(Some(pairs(context)));
        let answer = self.ask(async move { request.send().await.map_err(|e| call.failed(e)) });
        let answer = answer.await?;
        self.wrapped(
            answer.key_id(),
            answer.destination_key_material_id(),
            answer.ciphertext_blob.clone(),
        )
    }

    async fn current_version(&self) -> Result<String> {
        match self.known() {
            Some(version) => Ok(version),
            None => self.learn(&self.describe().await?),
        }
    }

    /// Makes a DEK that nobody uses, and opens it.
    async fn check(&self) -> Result<()> {
        self.learn(&self.describe().await?)?;
        // No secret has such a context.
        let probe = || HashMap::from([("strongroom:check".to_owned(), "1".to_owned())]);
        let (made, wrapped) = self.data_key(probe()).await?;
        let opened = self.decrypt(&wrapped, probe()).await?;
        if made.expose() == opened.expose() {
            return Ok(());
        }
        Err(nonsense("it does not decrypt what it encrypted"))
    }
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

/// The account in `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`.
fn account_of(arn: &str) -> Result<&str> {
    let mut parts = arn.split(':');
    let (head, service, account, key) = (parts.next(), parts.nth(1), parts.nth(1), parts.next());
    let is_key = key.is_some_and(|key| key.starts_with("key/"));
    match (head, service, account) {
        (Some("arn"), Some("kms"), Some(account)) if is_key && !account.is_empty() => Ok(account),
        _ => Err(nonsense("the ARN of the key is none")),
    }
}

fn nonsense(what: &'static str) -> Error {
    Error::internal(format!("the answer of AWS KMS makes no sense: {what}"))
}

impl fmt::Debug for AwsKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("AwsKms");
        out.field("key", &self.key).field("region", &self.region).finish_non_exhaustive()
    }
}
