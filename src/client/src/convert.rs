//! Messages and the engine's types.

use bytes::Bytes;
use strongroom_core::{
    Capabilities, Error, Expect, Kind, Listing, Metadata, Page, PageRequest, Result, Scope, Secret,
    SecretBytes, Select, Version, VersionInfo,
};
use strongroom_rpc::{from_duration, from_timestamp, kind_from_wire, metadata_from_wire, v1};

use crate::fault::nonsense;

/// A value lent to gRPC; wiped when the last part of the message is gone.
struct Lent(SecretBytes);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

/// The value as a message takes it, still in guarded memory.
pub(crate) fn lend(value: SecretBytes) -> Bytes {
    Bytes::from_owner(Lent(value))
}

/// A value out of a message, which is dropped here.
pub(crate) fn keep(value: Bytes) -> Result<SecretBytes> {
    let kept = SecretBytes::copy_from(&value);
    drop(value);
    Ok(kept?)
}

pub(crate) fn version_text(select: &Select) -> String {
    match select {
        Select::Latest => String::new(),
        Select::Version(version) => version.as_str().to_owned(),
    }
}

pub(crate) fn secret(message: v1::GetResponse) -> Result<Secret> {
    let value = keep(message.value)?;
    let info = info(&message.version, message.kind, message.created)?;
    let age = message.age.map(from_duration).unwrap_or_default();
    let VersionInfo { version, kind, created, .. } = info;
    let stale = message.stale;
    Ok(Secret { age, stale, ..Secret::fresh(value, kind, version, created) })
}

pub(crate) fn info(
    version: &str,
    kind: i32,
    created: Option<prost_types::Timestamp>,
) -> Result<VersionInfo> {
    Ok(VersionInfo::new(
        answered(version)?,
        kind_from_wire(kind, Kind::Text)?,
        from_timestamp(created.ok_or_else(|| nonsense("a time is missing"))?),
    ))
}

/// A version that the sidecar gave.
pub(crate) fn answered(version: &str) -> Result<Version> {
    Version::new(version).map_err(|_| nonsense("a version is malformed"))
}

pub(crate) fn put_expect(expect: &Expect) -> Option<v1::put_request::Expect> {
    match expect {
        Expect::Any => None,
        Expect::Absent => Some(v1::put_request::Expect::IfAbsent(true)),
        Expect::Latest(version) => {
            Some(v1::put_request::Expect::IfVersion(version.as_str().to_owned()))
        }
    }
}

pub(crate) fn upload_expect(expect: &Expect) -> Option<v1::upload_start::Expect> {
    match expect {
        Expect::Any => None,
        Expect::Absent => Some(v1::upload_start::Expect::IfAbsent(true)),
        Expect::Latest(version) => {
            Some(v1::upload_start::Expect::IfVersion(version.as_str().to_owned()))
        }
    }
}

/// A page's size and place, as requests have them.
pub(crate) fn page_of(page: &PageRequest) -> (i32, String) {
    let size = i32::try_from(page.limit).unwrap_or(i32::MAX);
    (size, page.after.clone().unwrap_or_default())
}

/// A page of an answer.
pub(crate) fn page<M, T>(
    messages: Vec<M>,
    next: String,
    item: impl FnMut(M) -> Result<T>,
) -> Result<Page<T>> {
    let items = messages.into_iter().map(item).collect::<Result<_>>()?;
    Ok(Page { items, next: Some(next).filter(|next| !next.is_empty()) })
}

pub(crate) fn listing(scope: &Scope, message: &v1::Listing) -> Result<Listing> {
    let name = scope.resolve(&message.name);
    let updated = message.updated.ok_or_else(|| nonsense("a time is missing"))?;
    Ok(Listing {
        name: name.map_err(|_| nonsense("a name is not of the scope that was listed"))?,
        latest: answered(&message.version)?,
        kind: kind_from_wire(message.kind, Kind::Text)?,
        updated: from_timestamp(updated),
        metadata: metadata(message.metadata.clone())?,
        deleted: message.deleted.map(from_timestamp),
    })
}

/// Metadata that the sidecar gave; none is none.
pub(crate) fn metadata(message: Option<v1::Metadata>) -> Result<Metadata> {
    let metadata = metadata_from_wire(message.unwrap_or_default());
    metadata.map_err(|_| nonsense("metadata are malformed"))
}

pub(crate) fn capabilities(message: &v1::Capabilities) -> Capabilities {
    Capabilities {
        write: message.write,
        versions: message.versions,
        compare_and_swap: message.compare_and_swap,
        soft_delete: message.soft_delete,
        restore: message.restore,
        purge: message.purge,
        list: message.list,
        // The sidecar does these itself.
        names: false,
        transfer: false,
        seal: message.seal,
        metadata: message.metadata,
        references: message.references,
        max_value_bytes: usize::try_from(message.max_value_bytes).unwrap_or(usize::MAX),
        max_file_bytes: message.max_file_bytes,
    }
}

/// A scope that the sidecar named.
pub(crate) fn scope(text: &str) -> Result<Scope> {
    text.parse().map_err(|_: Error| nonsense("its scope is malformed"))
}
