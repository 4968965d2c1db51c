//! [`VaultLeases`]: credentials that Vault makes when they are read, and ends.

mod held;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::future::join_all;
use strongroom_core::{Error, ExternalStore, ExternalValue, Kind, Result, Timestamp};
use strongroom_remote::Renewing;

use self::held::{Lease, Reader, Taken, revoke};
use crate::connection::Vault;

/// How often a lease is read again because the session has ended meanwhile.
const TRIES: usize = 3;

/// What is read, and what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseOptions {
    /// Only paths that begin with one of these; all if there is none.
    pub only_below: Vec<String>,
    /// Whether leases are revoked when they are not used any more, which needs a policy
    /// with `update` on `sys/leases/revoke`. Otherwise they end by themselves.
    pub revoke_on_close: bool,
}

/// Dynamic secrets: credentials for a database or a cloud that Vault makes when they are
/// read, and removes at the end of their lease.
///
/// A path is that of a role's credentials, such as `database/creds/app` or
/// `aws/creds/deploy`. The value is what Vault gives, as JSON: a reference says with its
/// keys which part is meant (`#username`, `#password`). What has no lease is refused,
/// since Vault has other things at paths that look the same.
///
/// Whoever asks again gets the same credentials while their lease lasts, and they are
/// renewed when half of that is over: there are not more of them than are needed,
/// however often a cache asks. A value says how long it is good for. When it cannot be
/// renewed any further, there are others; who has the former ones may use them until
/// the end that was told.
///
/// Leases end with the token that they were read with: a value is good for no longer
/// than the session, and in another session there are other credentials.
pub struct VaultLeases {
    vault: Vault,
    options: LeaseOptions,
    leases: Mutex<BTreeMap<String, Renewing<Lease>>>,
    taken: Taken,
    description: String,
}

impl VaultLeases {
    /// What can be read at `vault`.
    #[must_use]
    pub fn new(vault: &Vault, options: LeaseOptions) -> Self {
        let description = format!("Vault's dynamic secrets at {}", vault.address());
        let (leases, taken) = (Mutex::default(), Taken::default());
        Self { vault: vault.clone(), options, leases, taken, description }
    }

    /// Revokes every lease that has not ended, and forgets them: who reads again gets
    /// other credentials.
    ///
    /// # Errors
    /// What Vault says of the first lease that it did not revoke; the others it did.
    pub async fn revoke_all(&self) -> Result<()> {
        self.lock().clear();
        let (ids, asking) = (self.taken.take(), self.vault.asking().clone());
        let revoking = async move {
            let all = join_all(ids.iter().map(|id| revoke(&asking, id))).await;
            all.into_iter().collect()
        };
        self.vault.run(revoking).await
    }

    async fn read_path(&self, path: &str) -> Result<ExternalValue> {
        self.allows(path)?;
        for _ in 0..TRIES {
            let asking = self.vault.asking().clone();
            let session = self.vault.run(async move { asking.session().await }).await?;
            let renewing = self.renewing(path);
            let lease = self.current(path, &renewing).await?;
            if !lease.is_of(&session) {
                renewing.forget(&lease);
                continue;
            }
            let ends = session.ends.map_or(lease.ends, |ends| ends.min(lease.ends));
            let valid_for = Some(ends.since(self.now()));
            return Ok(ExternalValue {
                value: lease.value.try_clone()?,
                kind: Kind::Text,
                valid_for,
            });
        }
        Err(Error::unavailable("the session at Vault changes all the time"))
    }

    async fn current(&self, path: &str, renewing: &Renewing<Lease>) -> Result<Arc<Lease>> {
        let of_path = renewing.clone();
        let lease = self.vault.run(async move { of_path.get().await }).await;
        if lease.is_err() && renewing.held().is_none() {
            self.lock().remove(path);
        }
        lease
    }

    fn renewing(&self, path: &str) -> Renewing<Lease> {
        let mut leases = self.lock();
        if let Some(known) = leases.get(path) {
            return known.clone();
        }
        let now = self.now();
        // What holds nothing is being read.
        leases.retain(|_, one| one.held().is_none_or(|lease| lease.ends > now));
        let reader = Reader {
            path: path.to_owned(),
            asking: self.vault.asking().clone(),
            clock: Arc::clone(self.vault.clock()),
            taken: self.taken.clone(),
        };
        let renewing = Renewing::new(Box::new(reader), Arc::clone(self.vault.clock()));
        leases.insert(path.to_owned(), renewing.clone());
        renewing
    }

    fn allows(&self, path: &str) -> Result<()> {
        let is_part =
            |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
        if !path.split('/').all(is_part) {
            return Err(Error::invalid_name(
                "a path of Vault is written without slashes around it: database/creds/ROLE",
            ));
        }
        let below = &self.options.only_below;
        if below.is_empty() || below.iter().any(|prefix| path.starts_with(prefix)) {
            return Ok(());
        }
        Err(Error::access_denied("references to this path of Vault are not allowed here"))
    }

    fn now(&self) -> Timestamp {
        self.vault.clock().now()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Renewing<Lease>>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ExternalStore for VaultLeases {
    fn describe(&self) -> &str {
        &self.description
    }

    async fn read(&self, path: &str) -> Result<ExternalValue> {
        self.read_path(path).await.map_err(|error| error.in_store(&self.description))
    }
}

impl Drop for VaultLeases {
    fn drop(&mut self) {
        let ids = self.taken.take();
        if ids.is_empty() || !self.options.revoke_on_close {
            return;
        }
        let asking = self.vault.asking().clone();
        self.vault.farewell(async move {
            // What is not revoked ends by itself.
            join_all(ids.iter().map(|id| revoke(&asking, id))).await;
        });
    }
}

impl fmt::Debug for VaultLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("VaultLeases");
        out.field("store", &self.description).field("options", &self.options);
        out.finish_non_exhaustive()
    }
}
