//! What a store remembers about itself, so that a changed configuration is
//! refused instead of writing what nobody can read: account, format and KEK.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use strongroom_guard::SecretBytes;

use super::head::derive;
use super::{Header, Record, Suite, keys, seal};
use crate::clock::Timestamp;
use crate::context::{EncryptionContext, FORMAT_VERSION};
use crate::error::{Error, Result};
use crate::record::{Batch, Precondition, RecordStore};
use crate::secret::Kind;
use crate::wrapper::{KekState, KeyWrapper, are_current, base_kek};

const LABEL: &str = "store-identity";
const MAC_LABEL: &[u8] = b"strongroom identity v1";
const AUDIT_LABEL: &[u8] = b"strongroom audit v1";
const ID_LABEL: &[u8] = b"strongroom store id v1";
const ID_BYTES: usize = 16;
const MAC_BYTES: usize = 32;

/// What a store is, in clear; authenticated by the store key.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    format: u8,
    account: String,
    kek: String,
    created: Timestamp,
}

/// The identity of an opened store: proof that the KEK is the right one.
#[derive(Debug)]
pub(super) struct Identity {
    /// Keys the store's audit log.
    pub(super) audit_key: SecretBytes,
    /// Tells this store from every other; public.
    pub(super) id: String,
    /// Keys what is derived for a single use.
    store_key: SecretBytes,
}

impl Identity {
    /// Gives an empty store its identity; `AlreadyExists` if it has one.
    pub(super) async fn create(
        records: &dyn RecordStore,
        wrapper: &dyn KeyWrapper,
        account: &str,
        now: Timestamp,
    ) -> Result<Self> {
        let claims = Claims {
            format: FORMAT_VERSION,
            account: account.to_owned(),
            kek: base_kek(wrapper.identity()).to_owned(),
            created: now,
        };
        let mut store_key = SecretBytes::zeroed(32)?;
        crate::random::fill(store_key.expose_mut())?;
        let header = Header::of_value(Suite::default(), Kind::File, now);
        let context = EncryptionContext::internal(account, LABEL);
        let record = seal(wrapper, &context, &header, store_key.expose()).await?;

        let value = encode(&claims, &store_key, &record.bytes)?;
        let batch = Batch::new()
            .require(keys::IDENTITY.to_vec(), Precondition::Absent)
            .require(keys::RESTORE.to_vec(), Precondition::Absent)
            .write(keys::IDENTITY.to_vec(), value);
        match records.commit(batch).await {
            Err(error) if error.kind() == crate::ErrorKind::Conflict => {}
            Err(error) => return Err(error),
            Ok(()) => return Self::from_key(&store_key),
        }
        if records.get(keys::RESTORE).await?.is_some() {
            return Err(Error::configuration(
                "a backup is half restored here: restore it again, or remove the records",
            ));
        }
        Err(Error::already_exists("the store exists already: nothing was changed"))
    }

    /// Compares the store with the configuration and proves, by unwrapping the
    /// store key, that the KEK is the one that it was made with. `None` when
    /// the store has no identity yet.
    pub(super) async fn open(
        records: &dyn RecordStore,
        wrapper: &dyn KeyWrapper,
        account: &str,
    ) -> Result<Option<Self>> {
        match records.get(keys::IDENTITY).await? {
            Some(stored) => Self::open_value(&stored.value, wrapper, account).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same for an identity that is read elsewhere.
    pub(super) async fn open_value(
        value: &[u8],
        wrapper: &dyn KeyWrapper,
        account: &str,
    ) -> Result<Self> {
        let (claims_bytes, expected_mac, record) = split(value).ok_or_else(damaged)?;
        let claims: Claims = serde_json::from_slice(claims_bytes).map_err(|_| damaged())?;
        let record = Record::parse(record)?;
        let known = record.wraps().any(|wrapped| wrapper.knows(&wrapped.kek));
        claims.compare(known, wrapper.identity(), account)?;
        let context = EncryptionContext::internal(account, LABEL);
        let store_key = record.open(wrapper, &context).await?;
        mac(&store_key, claims_bytes)?.verify_slice(expected_mac).map_err(|_| damaged())?;
        Self::from_key(&store_key)
    }

    /// Wraps the store key anew where its wraps are not current, and names the
    /// preferred KEK as the one that the store is under.
    pub(super) async fn rewrap(
        records: &dyn RecordStore,
        wrapper: &dyn KeyWrapper,
        account: &str,
        keks: &[KekState],
    ) -> Result<()> {
        let Some(stored) = records.get(keys::IDENTITY).await? else { return Err(damaged()) };
        let (claims_bytes, expected_mac, record) = split(&stored.value).ok_or_else(damaged)?;
        let mut claims: Claims = serde_json::from_slice(claims_bytes).map_err(|_| damaged())?;
        let record = Record::parse(record)?;
        // The store key stands in no scope, so that it has no branch key.
        let direct = |kek: &KekState| KekState {
            identity: base_kek(&kek.identity).to_owned(),
            ..kek.clone()
        };
        let direct: Vec<_> = keks.iter().map(direct).collect();
        let preferred = base_kek(wrapper.identity());
        if are_current(record.wraps(), &direct) && claims.kek == preferred {
            return Ok(());
        }
        let context = EncryptionContext::internal(account, LABEL);
        let old: Vec<_> = record.wraps().collect();
        let wraps = wrapper.rewrap_all(&old, &context).await?;
        let store_key = record.open(wrapper, &context).await?;
        mac(&store_key, claims_bytes)?.verify_slice(expected_mac).map_err(|_| damaged())?;
        preferred.clone_into(&mut claims.kek);
        let value = encode(&claims, &store_key, &record.with_wraps(&wraps.deks)?)?;
        let batch = Batch::new()
            .require(keys::IDENTITY.to_vec(), Precondition::At(stored.revision))
            .write(keys::IDENTITY.to_vec(), value);
        records.commit(batch).await
    }

    /// The KEKs and their versions that the store key is wrapped under.
    pub(super) async fn keks(records: &dyn RecordStore) -> Result<Vec<(String, String)>> {
        let Some(stored) = records.get(keys::IDENTITY).await? else { return Err(damaged()) };
        let (_, _, record) = split(&stored.value).ok_or_else(damaged)?;
        let wraps = Record::parse(record)?.wraps();
        Ok(wraps.map(|one| (one.kek.into_owned(), one.kek_version.into_owned())).collect())
    }

    fn from_key(store_key: &SecretBytes) -> Result<Self> {
        let mut audit_key = SecretBytes::zeroed(32)?;
        derive(store_key.expose(), AUDIT_LABEL, audit_key.expose_mut())?;
        // A one-way function of the key with a label of its own: it says nothing of
        // the key, and whoever restores the store elsewhere has the same.
        let mut id = [0; ID_BYTES];
        derive(store_key.expose(), ID_LABEL, &mut id)?;
        let id = format!("{:032x}", u128::from_be_bytes(id));
        Ok(Self { audit_key, id, store_key: store_key.try_clone()? })
    }

    /// A key for one purpose, derived from the store key.
    pub(super) fn derived(&self, label: &[u8]) -> Result<SecretBytes> {
        let mut key = SecretBytes::zeroed(32)?;
        derive(self.store_key.expose(), label, key.expose_mut())?;
        Ok(key)
    }
}

impl Claims {
    fn compare(&self, is_known: bool, kek: &str, account: &str) -> Result<()> {
        let differs = |what: &str, stored: &str, configured: &str| {
            Err(Error::configuration(format!(
                "the store was made for {what} {stored}, and the configuration says {configured}: \
                 nothing was read or written; correct the configuration, or point it at another \
                 store"
            )))
        };
        if self.format > FORMAT_VERSION {
            return Err(Error::unsupported(format!(
                "the store has format {}, and this build knows {FORMAT_VERSION}: use a newer release",
                self.format
            )));
        }
        if self.account != account {
            return differs("account", &self.account, account);
        }
        if !is_known {
            return differs("KEK", &self.kek, base_kek(kek));
        }
        Ok(())
    }
}

fn encode(claims: &Claims, store_key: &SecretBytes, record: &[u8]) -> Result<Vec<u8>> {
    let claims = serde_json::to_vec(claims)
        .map_err(|e| Error::internal("the store's identity has no JSON").with_source(e))?;
    let mut value = Vec::new();
    value.extend_from_slice(&(claims.len() as u16).to_le_bytes());
    value.extend_from_slice(&claims);
    value.extend_from_slice(&mac(store_key, &claims)?.finalize().into_bytes());
    value.extend_from_slice(record);
    Ok(value)
}

fn split(value: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = value.split_first_chunk::<2>()?;
    let (claims, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    let (mac, record) = rest.split_at_checked(MAC_BYTES)?;
    Some((claims, mac, record))
}

fn mac(store_key: &SecretBytes, claims: &[u8]) -> Result<Hmac<Sha256>> {
    let mut key = SecretBytes::zeroed(32)?;
    derive(store_key.expose(), MAC_LABEL, key.expose_mut())?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose())
        .map_err(|_| Error::internal("HMAC takes keys of any length"))?;
    mac.update(claims);
    Ok(mac)
}

pub(super) fn damaged() -> Error {
    Error::tampered("the store's identity is damaged or forged")
}
