//! Each call that a key needs, made to see whether it can be made.

use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeyMetadata, KeySpec, KeyState, KeyUsageType};
use strongroom_core::{Error, ErrorKind, Result, SecretBytes};

use super::regions::Target;
use super::{AwsKms, nonsense, of_no_secret};
use crate::check::Probe;
use crate::region::KeyArn;

const DESCRIBE: &str = "kms:DescribeKey";
const GENERATE: &str = "kms:GenerateDataKey";
const ENCRYPT: &str = "kms:Encrypt";
const DECRYPT: &str = "kms:Decrypt";
const RE_ENCRYPT: &str = "kms:ReEncryptFrom and kms:ReEncryptTo";

/// What KMS has encrypted, and what it has to give back.
struct Encrypted {
    blob: Blob,
    plaintext: SecretBytes,
    key: String,
}

/// The calls in one region.
struct Probing<'a> {
    kms: &'a AwsKms,
    target: &'a Target,
    key: String,
    probes: Vec<Probe>,
}

impl AwsKms {
    /// Makes each call that the key needs in each of its regions, with a context that no
    /// secret has and bytes that nobody uses, and says what becomes of it. A call that
    /// fails does not stop the others, unless the region does not answer.
    ///
    /// With `read_only`, those that writing needs are left out. Former keys are not
    /// asked: there is nothing for them to decrypt.
    pub async fn probe(&self, read_only: bool) -> Vec<Probe> {
        let mut probes = Vec::new();
        for target in self.regions.targets() {
            let key = match KeyArn::parse(&self.key) {
                Some(arn) if arn.is_multi_region() => arn.in_region(&target.region),
                _ => self.key.clone(),
            };
            let mut probing = Probing { kms: self, target, key, probes: Vec::new() };
            probing.make_all(read_only).await;
            probes.append(&mut probing.probes);
        }
        probes
    }
}

impl Probing<'_> {
    async fn make_all(&mut self, read_only: bool) {
        let described = self.describe().await;
        self.note(DESCRIBE, described);
        let generated = self.generate().await;
        let generated = self.keep(GENERATE, generated);
        let encrypted = if read_only {
            None
        } else {
            let encrypted = self.encrypt().await;
            self.keep(ENCRYPT, encrypted)
        };
        let encrypted = generated.or(encrypted);
        let decrypted = self.decrypt(encrypted.as_ref()).await;
        self.note(DECRYPT, decrypted);
        if !read_only {
            let re_encrypted = self.re_encrypt(encrypted.as_ref()).await;
            self.note(RE_ENCRYPT, re_encrypted);
        }
    }

    fn note(&mut self, action: &'static str, outcome: Result<String>) {
        self.probes.push(Probe::new(action, &self.target.region, &self.key, outcome));
    }

    fn keep(&mut self, action: &'static str, outcome: Result<Encrypted>) -> Option<Encrypted> {
        match outcome {
            Ok(encrypted) => {
                self.note(action, Ok(String::new()));
                Some(encrypted)
            }
            Err(error) => {
                self.note(action, Err(error));
                None
            }
        }
    }

    /// Each call would wait as long as the first one has.
    fn goes_on(&self) -> Result<()> {
        let is_gone = |probe: &&Probe| {
            let error = probe.outcome.as_ref().err();
            error.is_some_and(|error| error.kind() == ErrorKind::Unavailable)
        };
        match self.probes.iter().find(is_gone) {
            None => Ok(()),
            Some(Probe { action, region, .. }) => Err(Error::unavailable(format!(
                "not tried, because AWS KMS in {region} did not answer {action}"
            ))),
        }
    }

    async fn describe(&self) -> Result<String> {
        let call = self.target.call(DESCRIBE, &self.key);
        let request = self.target.client.describe_key().key_id(&self.key);
        let asked = async move { request.send().await.map_err(|error| call.failed(error)) };
        let answer = self.kms.regions.run(asked).await?;
        usable(&answer.key_metadata.ok_or_else(|| nonsense("the key's description is missing"))?)
    }

    async fn generate(&self) -> Result<Encrypted> {
        self.goes_on()?;
        let call = self.target.call(GENERATE, &self.key);
        let request = self
            .target
            .client
            .generate_data_key()
            .key_id(&self.key)
            .key_spec(DataKeySpec::Aes256)
            .set_encryption_context(Some(of_no_secret()));
        let asked = async move { request.send().await.map_err(|error| call.failed(error)) };
        let answer = self.kms.regions.run(asked).await?;
        let (Some(plaintext), Some(blob), Some(key)) =
            (answer.plaintext, answer.ciphertext_blob, answer.key_id)
        else {
            return Err(nonsense("a data key is not whole"));
        };
        Ok(Encrypted { blob, plaintext: SecretBytes::take(plaintext.into_inner())?, key })
    }

    async fn encrypt(&self) -> Result<Encrypted> {
        self.goes_on()?;
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| Error::internal(format!("there is no randomness: {error}")))?;
        let call = self.target.call(ENCRYPT, &self.key);
        let request = self
            .target
            .client
            .encrypt()
            .key_id(&self.key)
            .plaintext(Blob::new(bytes))
            .set_encryption_context(Some(of_no_secret()));
        let asked = async move { request.send().await.map_err(|error| call.failed(error)) };
        let answer = self.kms.regions.run(asked).await?;
        let (Some(blob), Some(key)) = (answer.ciphertext_blob, answer.key_id) else {
            return Err(nonsense("what was encrypted or the key's ARN is missing"));
        };
        Ok(Encrypted { blob, plaintext: SecretBytes::copy_from(&bytes)?, key })
    }

    async fn decrypt(&self, encrypted: Option<&Encrypted>) -> Result<String> {
        self.goes_on()?;
        let Encrypted { blob, plaintext, key } = encrypted.ok_or_else(nothing)?;
        let call = self.target.call(DECRYPT, &self.key);
        let request = self
            .target
            .client
            .decrypt()
            .key_id(key)
            .ciphertext_blob(blob.clone())
            .set_encryption_context(Some(of_no_secret()));
        let asked = async move { request.send().await.map_err(|error| call.failed(error)) };
        let answer = self.kms.regions.run(asked).await?;
        let opened = answer.plaintext.map(|opened| SecretBytes::take(opened.into_inner()));
        let opened = opened.transpose()?;
        if opened.is_some_and(|opened| opened.expose() == plaintext.expose()) {
            return Ok(String::new());
        }
        Err(nonsense("it does not decrypt what it encrypted"))
    }

    async fn re_encrypt(&self, encrypted: Option<&Encrypted>) -> Result<String> {
        self.goes_on()?;
        let Encrypted { blob, key, .. } = encrypted.ok_or_else(nothing)?;
        let call = self.target.call(RE_ENCRYPT, &self.key);
        let request = self
            .target
            .client
            .re_encrypt()
            .ciphertext_blob(blob.clone())
            .source_key_id(key)
            .set_source_encryption_context(Some(of_no_secret()))
            .destination_key_id(&self.key)
            .set_destination_encryption_context(Some(of_no_secret()));
        let asked = async move { request.send().await.map_err(|error| call.failed(error)) };
        let answer = self.kms.regions.run(asked).await?;
        match answer.ciphertext_blob {
            Some(_) => Ok(String::new()),
            None => Err(nonsense("what was encrypted anew is missing")),
        }
    }
}

/// Whether DEKs can be wrapped with the key.
fn usable(key: &KeyMetadata) -> Result<String> {
    let spec = key.key_spec().map_or("unknown", KeySpec::as_str);
    let usage = key.key_usage().map_or("unknown", KeyUsageType::as_str);
    // AWS tells both; what stands in for it may not.
    if key.key_spec().is_some_and(|spec| *spec != KeySpec::SymmetricDefault)
        || key.key_usage().is_some_and(|usage| *usage != KeyUsageType::EncryptDecrypt)
    {
        return Err(Error::configuration(format!(
            "the key is for {usage} with {spec}: it has to be for ENCRYPT_DECRYPT with \
             SYMMETRIC_DEFAULT"
        )));
    }
    let state = key.key_state().map_or("unknown", KeyState::as_str);
    if key.key_state() != Some(&KeyState::Enabled) {
        let what = format!("the key's state is {state}: it has to be Enabled");
        return Err(Error::key_unavailable(what));
    }
    let reach = if key.multi_region() == Some(true) { ", multi-Region" } else { "" };
    Ok(format!("{} is {state}, {spec}{reach}", key.arn().unwrap_or("the key")))
}

fn nothing() -> Error {
    Error::key_unavailable("not tried, because nothing could be encrypted")
}
