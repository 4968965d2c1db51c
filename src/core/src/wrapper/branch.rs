//! [`BranchKeys`]: between a KEK and the DEKs of a scope stands a branch key, so
//! that ten thousand secrets of one scope are read with a handful of KMS calls.
//!
//! A wrapped DEK carries the branch key that wrapped it, itself wrapped under
//! the KEK: nothing has to be kept, found or backed up beside the records. The
//! bytes are defined in `envelope/FORMAT.md`.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hkdf::Hkdf;
use lru::LruCache;
use sha2::Sha256;
use strongroom_guard::SecretBytes;

use super::cached::{CachedKeys, KeyCacheOptions, KeyCacheStats};
use super::{DEK_BYTES, Dek, KekState, KekVersion, KeyWrapper, WrappedDek, base_kek};
use crate::clock::Clock;
use crate::context::EncryptionContext;
use crate::envelope::Suite;
use crate::error::{Error, Result};
use crate::name::Scope;
use crate::random;

/// What the name of a KEK begins with where a branch key stands between it and
/// the DEK. Another format of the bytes will have another.
pub const BRANCH_PREFIX: &str = "branch:";

const SUITE: Suite = Suite::Aes256Gcm;
const LABEL: &[u8; 25] = b"strongroom branch wrap v1";
const ID_BYTES: usize = 16;
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// What follows the wrapped branch key.
const TAIL_BYTES: usize = SALT_BYTES + DEK_BYTES + TAG_BYTES;
/// How many scopes' branch keys are at hand for new wraps.
const MAX_SCOPES: usize = 1024;
/// How many rewrapped branch keys a rewrap remembers.
const MAX_REWRAPPED: usize = 1024;

/// How long a branch key is used.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BranchOptions {
    /// Whether new DEKs are wrapped under branch keys. Those that are can be
    /// unwrapped in any case.
    pub enabled: bool,
    /// How long a process wraps with one branch key.
    pub max_age: Duration,
    /// How many DEKs it wraps with one.
    pub max_uses: u64,
    /// How soon a KEK that its KMS rotated is noticed when wrapping.
    pub version_check: Duration,
    /// How long unwrapped branch keys are kept.
    pub keys: KeyCacheOptions,
}

impl Default for BranchOptions {
    /// On; a day, a million DEKs, a minute.
    fn default() -> Self {
        Self {
            enabled: true,
            max_age: Duration::from_hours(24),
            max_uses: 1_000_000,
            version_check: Duration::from_mins(1),
            keys: KeyCacheOptions::default(),
        }
    }
}

/// A [`KeyWrapper`] that wraps DEKs under branch keys, and those under a KEK.
///
/// A branch key belongs to one scope: it is wrapped with that scope as its
/// encryption context, so that whoever may use the KEK for one scope only, by a
/// condition on the context, gets no other scope's. Each DEK is wrapped under a
/// key of its own, derived from the branch key and a random salt, as the AWS
/// Encryption SDK's hierarchical keyring does; the number of wraps of one branch
/// key is thereby no matter of nonces.
pub struct BranchKeys {
    /// The KEK itself, for what has no branch key.
    kek: Arc<dyn KeyWrapper>,
    /// The same, with what it unwrapped kept: branch keys.
    inner: CachedKeys,
    identity: String,
    options: BranchOptions,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    current: LruCache<Scope, Arc<Current>>,
    /// By the bytes that it had, what became of a wrapped branch key.
    rewrapped: LruCache<Vec<u8>, Embedded<'static>>,
    version_checked: Duration,
}

/// The branch key that wraps for a scope now.
struct Current {
    id: [u8; ID_BYTES],
    key: Dek,
    wrapped: WrappedDek<'static>,
    made: Duration,
    uses: std::sync::atomic::AtomicU64,
}

/// A branch key as it stands in a wrapped DEK.
#[derive(Clone)]
struct Embedded<'a> {
    kek_version: Cow<'a, str>,
    bytes: Cow<'a, [u8]>,
}

/// The parts of a DEK that a branch key wrapped.
struct Parts<'a> {
    id: &'a [u8; ID_BYTES],
    branch: &'a [u8],
    tail: &'a [u8],
}

impl BranchKeys {
    /// Branch keys under the KEK of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn KeyWrapper>, options: BranchOptions, clock: Arc<dyn Clock>) -> Self {
        let identity = format!("{BRANCH_PREFIX}{}", inner.identity());
        let most = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        let state = State {
            current: LruCache::new(most(MAX_SCOPES)),
            rewrapped: LruCache::new(most(MAX_REWRAPPED)),
            version_checked: clock.monotonic(),
        };
        let (kek, keys) = (Arc::clone(&inner), options.keys.clone());
        let inner = CachedKeys::new(inner, keys, Arc::clone(&clock));
        Self { kek, inner, identity, options, clock, state: Mutex::new(state) }
    }

    /// How often unwrapped branch keys were at hand.
    #[must_use]
    pub fn stats(&self) -> KeyCacheStats {
        self.inner.stats()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The scope whose branch key wraps in this context; what the engine keeps
    /// for itself has none, and goes to the KEK.
    fn scope<'a>(&self, context: &'a EncryptionContext) -> Option<&'a Scope> {
        context.scope().filter(|_| self.options.enabled)
    }

    /// The branch key for new wraps in `scope`.
    async fn current(&self, scope: &Scope) -> Result<Arc<Current>> {
        use std::sync::atomic::Ordering::Relaxed;
        let now = self.clock.monotonic();
        self.notice_rotation(now).await?;
        let found = self.state().current.get(scope).cloned();
        let is_good = |current: &Arc<Current>| {
            now.saturating_sub(current.made) < self.options.max_age
                && current.uses.fetch_add(1, Relaxed) < self.options.max_uses
        };
        if let Some(current) = found.filter(is_good) {
            return Ok(current);
        }
        let id = random::array::<ID_BYTES>()?;
        let context = EncryptionContext::branch(scope, &id);
        let (key, wrapped) = self.inner.generate(&context).await?;
        let current = Arc::new(Current { id, key, wrapped, made: now, uses: 1.into() });
        self.state().current.put(scope.clone(), Arc::clone(&current));
        Ok(current)
    }

    /// Lets go of branch keys under older versions of the KEK, so that what is
    /// wrapped from now on is under the current one.
    async fn notice_rotation(&self, now: Duration) -> Result<()> {
        {
            let mut state = self.state();
            if now.saturating_sub(state.version_checked) < self.options.version_check {
                return Ok(());
            }
            state.version_checked = now;
        }
        let version = self.inner.current_version().await?;
        self.forget_but(&version);
        Ok(())
    }

    fn forget_but(&self, version: &str) {
        let mut state = self.state();
        let old = state.current.iter();
        let old = old.filter(|(_, current)| current.wrapped.kek_version != version);
        for scope in old.map(|(scope, _)| scope.clone()).collect::<Vec<_>>() {
            state.current.pop(&scope);
        }
    }

    /// `wrapped` with its branch key under the current version of the KEK. What
    /// the branch key wrapped stays as it is, so that the KMS is asked once for
    /// each branch key and never for a DEK.
    async fn rewrap_branch(
        &self,
        wrapped: &WrappedDek<'_>,
        context: &EncryptionContext,
    ) -> Result<WrappedDek<'static>> {
        let scope = context.scope().ok_or_else(misplaced)?;
        let parts = Parts::parse(&wrapped.bytes)?;
        let known = self.state().rewrapped.get(parts.branch).cloned();
        let embedded = match known {
            Some(embedded) if self.inner.current_version().await? == embedded.kek_version => {
                embedded
            }
            _ => {
                let branch_context = EncryptionContext::branch(scope, parts.id);
                let branch = self.branch(wrapped, &parts);
                let fresh = self.inner.rewrap(&branch, &branch_context).await?;
                let embedded = Embedded {
                    kek_version: Cow::Owned(fresh.kek_version.into_owned()),
                    bytes: Cow::Owned(fresh.bytes.into_owned()),
                };
                self.state().rewrapped.put(parts.branch.to_vec(), embedded.clone());
                embedded
            }
        };
        let rewrapped = self.wrapped(parts.id, &embedded, parts.tail)?;
        // A forged DEK is told now, and not when somebody needs it.
        self.unwrap(&rewrapped, context).await?;
        Ok(rewrapped)
    }

    /// The branch key in `wrapped`, as the KEK wrapped it.
    fn branch<'a>(&'a self, wrapped: &'a WrappedDek<'_>, parts: &Parts<'a>) -> WrappedDek<'a> {
        WrappedDek {
            kek: Cow::Borrowed(self.inner.identity()),
            kek_version: Cow::Borrowed(&wrapped.kek_version),
            bytes: Cow::Borrowed(parts.branch),
        }
    }

    fn wrapped(
        &self,
        id: &[u8; ID_BYTES],
        branch: &Embedded<'_>,
        tail: &[u8],
    ) -> Result<WrappedDek<'static>> {
        let length = u16::try_from(branch.bytes.len())
            .map_err(|_| Error::internal("a wrapped branch key is too long for a record"))?;
        let mut bytes = Vec::with_capacity(ID_BYTES + 2 + branch.bytes.len() + tail.len());
        bytes.extend_from_slice(id);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&branch.bytes);
        bytes.extend_from_slice(tail);
        Ok(WrappedDek {
            kek: Cow::Owned(self.identity.clone()),
            kek_version: Cow::Owned(branch.kek_version.clone().into_owned()),
            bytes: Cow::Owned(bytes),
        })
    }
}

impl<'a> Parts<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let split = || {
            let (id, rest) = bytes.split_first_chunk::<ID_BYTES>()?;
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let (branch, tail) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
            (tail.len() == TAIL_BYTES).then_some(Self { id, branch, tail })
        };
        split().ok_or_else(damaged)
    }
}

/// The key and nonce of one wrap (HKDF-Expand, RFC 5869 §2.3).
fn derive(branch: &Dek, salt: &[u8]) -> Result<SecretBytes> {
    let mut out = SecretBytes::zeroed(DEK_BYTES + NONCE_BYTES)?;
    Hkdf::<Sha256>::from_prk(branch.expose())
        .ok()
        .and_then(|hkdf| hkdf.expand_multi_info(&[LABEL, salt], out.expose_mut()).ok())
        .ok_or_else(|| Error::internal("HKDF refused the length of a key"))?;
    Ok(out)
}

fn aad(id: &[u8; ID_BYTES], context: &EncryptionContext) -> Vec<u8> {
    [&LABEL[..], id, context.as_bytes()].concat()
}

fn split(key: &SecretBytes) -> (&[u8], [u8; NONCE_BYTES]) {
    let (key, tail) = key.expose().split_at(DEK_BYTES);
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(tail);
    (key, nonce)
}

#[async_trait]
impl KeyWrapper for BranchKeys {
    /// The KEK's own name where branch keys are off.
    fn identity(&self) -> &str {
        if self.options.enabled { &self.identity } else { self.inner.identity() }
    }

    async fn wrap(&self, dek: &Dek, context: &EncryptionContext) -> Result<WrappedDek<'static>> {
        let Some(scope) = self.scope(context) else { return self.kek.wrap(dek, context).await };
        let current = self.current(scope).await?;
        let salt = random::array::<SALT_BYTES>()?;
        let derived = derive(&current.key, &salt)?;
        let (key, nonce) = split(&derived);
        let mut tail = Vec::with_capacity(TAIL_BYTES);
        tail.extend_from_slice(&salt);
        tail.resize(SALT_BYTES + dek.expose().len(), 0);
        let (aad, sealed) = (aad(&current.id, context), &mut tail[SALT_BYTES..]);
        let tag = SUITE.seal_into(key, &nonce, &aad, dek.expose(), sealed)?;
        tail.extend_from_slice(&tag);
        let embedded = Embedded {
            kek_version: Cow::Borrowed(&current.wrapped.kek_version),
            bytes: Cow::Borrowed(&current.wrapped.bytes),
        };
        self.wrapped(&current.id, &embedded, &tail)
    }

    async fn generate(&self, context: &EncryptionContext) -> Result<(Dek, WrappedDek<'static>)> {
        if self.scope(context).is_none() {
            return self.kek.generate(context).await;
        }
        let dek = Dek::random()?;
        let wrapped = self.wrap(&dek, context).await?;
        Ok((dek, wrapped))
    }

    async fn unwrap(&self, wrapped: &WrappedDek<'_>, context: &EncryptionContext) -> Result<Dek> {
        if wrapped.kek != self.identity {
            return self.kek.unwrap(wrapped, context).await;
        }
        let scope = context.scope().ok_or_else(misplaced)?;
        let parts = Parts::parse(&wrapped.bytes)?;
        let branch_context = EncryptionContext::branch(scope, parts.id);
        let branch = self.inner.unwrap(&self.branch(wrapped, &parts), &branch_context).await?;
        let (salt, rest) = parts.tail.split_at(SALT_BYTES);
        let (sealed, tag) = rest.split_at(DEK_BYTES);
        let tag = tag.try_into().map_err(|_| damaged())?;
        let derived = derive(&branch, salt)?;
        let (key, nonce) = split(&derived);
        let aad = aad(parts.id, context);
        Dek::from_secret(SUITE.open_detached(key, &nonce, &aad, sealed, tag)?)
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDek<'_>,
        context: &EncryptionContext,
    ) -> Result<WrappedDek<'static>> {
        match (wrapped.kek == self.identity, self.scope(context)) {
            (true, Some(_)) => self.rewrap_branch(wrapped, context).await,
            (false, None) => self.kek.rewrap(wrapped, context).await,
            _ => {
                let dek = self.unwrap(wrapped, context).await?;
                self.wrap(&dek, context).await
            }
        }
    }

    async fn current_version(&self) -> Result<String> {
        self.inner.current_version().await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    async fn rotate(&self, kek: &str) -> Result<String> {
        let version = self.inner.rotate(base_kek(kek)).await?;
        self.forget_but(&version);
        Ok(version)
    }

    async fn versions(&self, kek: &str) -> Result<Vec<KekVersion>> {
        self.inner.versions(base_kek(kek)).await
    }

    async fn destroy_version(&self, kek: &str, version: &str) -> Result<()> {
        self.inner.destroy_version(base_kek(kek), version).await
    }

    fn knows(&self, kek: &str) -> bool {
        kek == self.identity || self.inner.knows(kek)
    }

    async fn keks(&self) -> Result<Vec<KekState>> {
        let current = Some(self.inner.current_version().await?);
        Ok(vec![KekState { identity: self.identity().to_owned(), current }])
    }
}

fn misplaced() -> Error {
    Error::tampered("a branch key's DEK stands where no scope's secret is")
}

fn damaged() -> Error {
    Error::tampered("the wrapped DEK is damaged or truncated")
}

impl fmt::Debug for BranchKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BranchKeys")
            .field("kek", &self.kek)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
