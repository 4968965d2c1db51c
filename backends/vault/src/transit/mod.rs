//! [`VaultTransit`]: DEKs wrapped under a key of the Transit engine.

mod ciphertext;
mod key;
mod place;
mod refusal;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};
use strongroom_core::wrapper::KekVersion;
use strongroom_core::{
    Dek, EncryptionContext, Error, ErrorKind, KeyWrapper, Result, SecretBytes, WrappedDek,
};

use self::key::{Binding, Description, Key};
use self::place::Place;
use self::refusal::{Refusal, Refused};
use crate::connection::Vault;
use crate::guarded::{self, Exposed, GuardedText};
use crate::message::{Answer, Request, nonsense};

/// How long what Vault said of the key is taken for what it is.
const CURRENT_FOR: Duration = Duration::from_mins(1);

/// No encoded context begins so, since that begins with its format's number.
const OF_NO_SECRET: &[u8] = b"strongroom:check";
const OF_NO_OTHER_SECRET: &[u8] = b"strongroom:check of another";

/// A key wrapper on a symmetric key of the Transit engine, whose versions Vault counts.
///
/// # Which key
/// One with `derived=true`: `vault write -f transit/keys/NAME derived=true`. From each
/// encryption context Vault derives another key then, also when it makes a DEK or wraps
/// one anew. A generated DEK is one request, and a rewrap leaves the DEK in Vault.
///
/// A key that is not derived takes the context as associated data, which Vault (since
/// 1.13) knows when it encrypts and decrypts, but not for `datakey` and `rewrap`: a DEK
/// is made here, and a rewrap decrypts and encrypts it by way of this process's guarded
/// memory. [`about`](Self::about) tells which of them it is.
///
/// # What a policy has to allow
/// `read` on `transit/keys/NAME`, and `update` on `transit/decrypt/NAME`,
/// `transit/encrypt/NAME` and, if it is derived, `transit/datakey/plaintext/NAME` and
/// `transit/rewrap/NAME`; `update` on `transit/keys/NAME/rotate` for a rotation from
/// here. Not `create` on `encrypt`: whoever may do that makes a key that is missing.
pub struct VaultTransit {
    vault: Vault,
    place: Place,
    identity: String,
    known: Mutex<Option<Known>>,
}

/// What Vault told of the key.
#[derive(Clone)]
struct Known {
    key: Arc<Key>,
    /// When, by the monotonic clock; `None` if it has changed since.
    learnt: Option<Duration>,
}

/// What a request to Transit says.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<Exposed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    associated_data: Option<String>,
}

impl VaultTransit {
    /// The key `name` of the engine at `mount`, which is `transit` if it was not put
    /// elsewhere. Nobody is asked yet.
    ///
    /// # Errors
    /// `Configuration` if this cannot be a mount or the name of a key, or both together
    /// are too long for a record.
    pub fn new(vault: &Vault, mount: &str, name: &str) -> Result<Self> {
        let place = Place::new(mount, name)?;
        let identity = place.identity(vault.namespace())?;
        Ok(Self { vault: vault.clone(), place, identity, known: Mutex::default() })
    }

    /// Asks Vault about the key: type, version, and whether it is derived, in a line.
    ///
    /// # Errors
    /// As of [`KeyWrapper`]; `Configuration` if it is of a type that cannot wrap DEKs.
    pub async fn about(&self) -> Result<String> {
        Ok(format!("{}: {}", self.place, self.describe().await?.told()))
    }

    // === what is known of the key ===

    fn known(&self) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key as it was a short while ago.
    async fn key(&self) -> Result<Arc<Key>> {
        let now = self.vault.clock().monotonic();
        let is_recent = |learnt: Option<Duration>| {
            learnt.is_some_and(|at| now.saturating_sub(at) < CURRENT_FOR)
        };
        match self.known() {
            Some(known) if is_recent(known.learnt) => Ok(known.key),
            _ => self.describe().await,
        }
    }

    /// The key as it was when it was described: whether it is derived cannot change.
    async fn key_of_old(&self) -> Result<Arc<Key>> {
        match self.known() {
            Some(known) => Ok(known.key),
            None => self.describe().await,
        }
    }

    async fn describe(&self) -> Result<Arc<Key>> {
        let answer = self.ask(Request::get(self.place.to_string())).await;
        let answer = answer.map_err(|refused| refused.told(&self.place))?;
        let key = Arc::new(Key::of(answer.data::<Description>()?, &self.place)?);
        let learnt = Some(self.vault.clock().monotonic());
        let known = Known { key: Arc::clone(&key), learnt };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Ok(key)
    }

    /// Whoever asks next asks Vault.
    fn has_changed(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_mut() {
            known.learnt = None;
        }
    }

    // === requests ===

    async fn encrypt(&self, dek: &Dek, context: &[u8]) -> Result<WrappedDek<'static>> {
        let key = self.key().await?;
        let plaintext = guarded::base64(dek.expose())?;
        let mut body = Body::bound(&key, context);
        body.plaintext = Exposed::new(&plaintext);
        let request = Request::post(self.place.path("encrypt"), &body)?.repeatable();
        let error = match self.ask(request).await {
            Ok(answer) => return self.wrapped(&answer, &key),
            Err(refused) => refused.told(&self.place),
        };
        // To encrypt with a key that is not there is to make one, which is not allowed.
        if error.kind() == ErrorKind::AccessDenied {
            self.describe().await?;
        }
        Err(error)
    }

    async fn data_key(&self, key: &Key, context: &[u8]) -> Result<(Dek, WrappedDek<'static>)> {
        let body = Body::bound(key, context);
        let request = Request::post(self.place.path("datakey/plaintext"), &body)?.repeatable();
        let answer = self.ask(request).await;
        let answer = answer.map_err(|refused| refused.told(&self.place))?;
        Ok((dek(&answer)?, self.wrapped(&answer, key)?))
    }

    async fn new_dek(&self, context: &[u8]) -> Result<(Dek, WrappedDek<'static>)> {
        let key = self.key().await?;
        if key.binding == Binding::Derivation {
            return self.data_key(&key, context).await;
        }
        let dek = Dek::random()?;
        let wrapped = self.encrypt(&dek, context).await?;
        Ok((dek, wrapped))
    }

    async fn decrypt(&self, wrapped: &WrappedDek<'_>, context: &[u8]) -> Result<Dek> {
        let version = self.version_of(wrapped)?;
        let key = self.key_of_old().await?;
        let mut body = Body::bound(&key, context);
        body.ciphertext = Some(ciphertext::write(version, &wrapped.bytes));
        let request = Request::post(self.place.path("decrypt"), &body)?.repeatable();
        match self.ask(request).await {
            Ok(answer) => dek(&answer),
            Err(refused) => Err(self.told_of(version, refused).await),
        }
    }

    async fn ask(&self, request: Request) -> Result<Answer, Refused> {
        let asked = request.to_string();
        self.vault.ask(request).await.map_err(|error| {
            let refused = Refused::of(&asked, error);
            if refused.refusal.is_some() {
                self.has_changed();
            }
            refused
        })
    }

    /// The error of a request about what `version` wrapped.
    async fn told_of(&self, version: u64, refused: Refused) -> Error {
        // Whether the version can be had again, only the key's description tells.
        let key = match refused.refusal {
            Some(Refusal::TooOld) => self.describe().await.ok(),
            _ => None,
        };
        refused.told_of(version, key.as_deref(), &self.place)
    }

    /// The version that wrapped, if this key did.
    fn version_of(&self, wrapped: &WrappedDek<'_>) -> Result<u64> {
        self.expect_own(&wrapped.kek)?;
        ciphertext::version(&wrapped.kek_version).ok_or_else(|| {
            Error::key_unavailable(format!(
                "{} has no version {}: they are numbers from 1",
                self.identity,
                wrapped.kek_version.escape_debug()
            ))
        })
    }

    fn expect_own(&self, kek: &str) -> Result<()> {
        if kek == self.identity {
            return Ok(());
        }
        Err(Error::key_unavailable(format!(
            "the DEK was wrapped by {}, and this is {}",
            kek.escape_debug(),
            self.identity
        )))
    }

    fn wrapped(&self, answer: &Answer, key: &Key) -> Result<WrappedDek<'static>> {
        #[derive(Deserialize)]
        struct Encrypted {
            ciphertext: String,
        }
        let Encrypted { ciphertext } = answer.data()?;
        let (version, bytes) = ciphertext::parse(&ciphertext)
            .ok_or_else(|| nonsense("what it encrypted is not as Vault writes it"))?;
        if version != key.latest {
            self.has_changed();
        }
        Ok(WrappedDek {
            kek: Cow::Owned(self.identity.clone()),
            kek_version: Cow::Owned(version.to_string()),
            bytes: Cow::Owned(bytes),
        })
    }
}

#[async_trait]
impl KeyWrapper for VaultTransit {
    fn identity(&self) -> &str {
        &self.identity
    }

    async fn wrap(&self, dek: &Dek, context: &EncryptionContext) -> Result<WrappedDek<'static>> {
        self.encrypt(dek, context.as_bytes()).await
    }

    async fn unwrap(&self, wrapped: &WrappedDek<'_>, context: &EncryptionContext) -> Result<Dek> {
        self.decrypt(wrapped, context.as_bytes()).await
    }

    async fn generate(&self, context: &EncryptionContext) -> Result<(Dek, WrappedDek<'static>)> {
        self.new_dek(context.as_bytes()).await
    }

    /// The DEK does not leave Vault if the key is derived.
    async fn rewrap(
        &self,
        wrapped: &WrappedDek<'_>,
        context: &EncryptionContext,
    ) -> Result<WrappedDek<'static>> {
        let version = self.version_of(wrapped)?;
        let key = self.key().await?;
        if key.binding == Binding::AssociatedData {
            let dek = self.unwrap(wrapped, context).await?;
            return self.wrap(&dek, context).await;
        }
        let mut body = Body::bound(&key, context.as_bytes());
        body.ciphertext = Some(ciphertext::write(version, &wrapped.bytes));
        let request = Request::post(self.place.path("rewrap"), &body)?.repeatable();
        match self.ask(request).await {
            Ok(answer) => self.wrapped(&answer, &key),
            Err(refused) => Err(self.told_of(version, refused).await),
        }
    }

    async fn current_version(&self) -> Result<String> {
        Ok(self.key().await?.latest.to_string())
    }

    /// Makes a DEK that nobody uses, opens it, and sees that another context does not.
    async fn check(&self) -> Result<()> {
        self.describe().await?;
        let (made, wrapped) = self.new_dek(OF_NO_SECRET).await?;
        let opened = self.decrypt(&wrapped, OF_NO_SECRET).await?;
        if made.expose() != opened.expose() {
            return Err(nonsense("it does not decrypt what it encrypted"));
        }
        match self.decrypt(&wrapped, OF_NO_OTHER_SECRET).await {
            Err(error) if error.kind() == ErrorKind::Tampered => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(Error::configuration(format!(
                "the server takes no associated data, which the key {} needs: use Vault 1.13 or \
                 later, or a key with derived=true",
                self.place
            ))),
        }
    }

    async fn rotate(&self, kek: &str) -> Result<String> {
        self.expect_own(kek)?;
        let request = Request::post_nothing(format!("{}/rotate", self.place))?;
        self.ask(request).await.map_err(|refused| refused.told(&self.place))?;
        Ok(self.describe().await?.latest.to_string())
    }

    async fn versions(&self, kek: &str) -> Result<Vec<KekVersion>> {
        self.expect_own(kek)?;
        Ok(self.describe().await?.versions())
    }

    /// Vault destroys no single version, but all below one.
    async fn destroy_version(&self, kek: &str, version: &str) -> Result<()> {
        self.expect_own(kek)?;
        let key = self.describe().await?;
        let place = &self.place;
        if version == key.latest.to_string() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("version {version} is the one of the key {place} that wraps: rotate it"),
            ));
        }
        let Some(next) = ciphertext::version(version).and_then(|number| number.checked_add(1))
        else {
            let version = version.escape_debug();
            let what = format!("{} has no version {version}", self.identity);
            return Err(Error::key_unavailable(what));
        };
        Err(Error::unsupported(format!(
            "Vault destroys a version only with all that are older: set min_decryption_version \
             and min_encryption_version of the key to {next} (vault write {place}/config), and \
             trim it (vault write {place}/trim min_available_version={next})"
        )))
    }
}

impl Body<'_> {
    /// What says for whom it is.
    fn bound(key: &Key, context: &[u8]) -> Self {
        let context = Base64::encode_string(context);
        let (context, associated_data) = match key.binding {
            Binding::Derivation => (Some(context), None),
            Binding::AssociatedData => (None, Some(context)),
        };
        Self { plaintext: None, ciphertext: None, context, associated_data }
    }
}

/// The DEK in an answer.
fn dek(answer: &Answer) -> Result<Dek> {
    #[derive(Deserialize)]
    struct Decrypted {
        plaintext: GuardedText,
    }
    let Decrypted { plaintext } = answer.data()?;
    let dek: Option<SecretBytes> = guarded::from_base64(plaintext.0.expose())?;
    Dek::from_secret(dek.ok_or_else(|| nonsense("a DEK is no Base64"))?)
}

impl fmt::Debug for VaultTransit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultTransit").field("identity", &self.identity).finish_non_exhaustive()
    }
}
