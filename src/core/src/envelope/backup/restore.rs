//! Making a store of a backup. Its identity is written last: what a killed
//! restore has left is no store, and is begun anew.

use std::sync::Arc;

use super::super::head::Head;
use super::super::identity::Identity;
use super::super::keys;
use super::super::store::EnvelopeStore;
use super::BackupInfo;
use super::chain::{Chain, Frame, Header, KEY_LABEL, altered, take_entry};
use crate::error::{Error, ErrorKind, Result};
use crate::file::FileSource;
use crate::record::{Batch, PageLimit, Precondition, RecordStore};
use crate::upkeep::{Observer, Progress};
use crate::wrapper::KeyWrapper;

const WIPE: PageLimit = PageLimit { entries: 256, bytes: 4 << 20 };
const ONE: PageLimit = PageLimit { entries: 1, bytes: 1 };
/// The most bytes of one commit, if the record store takes that many.
const MAX_COMMIT_BYTES: usize = 4 << 20;

/// A backup that is being read.
struct Reader<'a> {
    source: &'a mut dyn FileSource,
    header: Header,
    chain: Chain,
    info: BackupInfo,
}

impl<'a> Reader<'a> {
    async fn begin(
        source: &'a mut dyn FileSource,
        wrapper: &dyn KeyWrapper,
        account: &str,
    ) -> Result<Self> {
        let header = Header::read(source).await?;
        let identity = Identity::open_value(&header.identity, wrapper, account).await?;
        let key = identity.derived(&[KEY_LABEL, &header.id[..]].concat())?;
        let chain = Chain::begin(key, &header)?;
        let info = BackupInfo {
            created: header.created,
            names: 0,
            entries: 0,
            bytes: header.encode().len() as u64,
            one_moment: header.one_moment,
        };
        Ok(Self { source, header, chain, info })
    }

    /// The next frame of entries; `None` after the end, which is the end of the
    /// file too.
    async fn next(&mut self) -> Result<Option<(Frame, Vec<u8>)>> {
        let (frame, body, bytes) = self.chain.read(self.source).await?;
        self.info.bytes += bytes;
        if frame != Frame::End {
            return Ok(Some((frame, body)));
        }
        let (names, entries) = body.split_first_chunk::<8>().ok_or_else(altered)?;
        let entries: &[u8; 8] = entries.try_into().map_err(|_| altered())?;
        self.info.names = u64::from_le_bytes(*names);
        self.info.entries = u64::from_le_bytes(*entries);
        if self.source.fill(&mut [0]).await? != 0 {
            return Err(Error::tampered("something follows the backup's end"));
        }
        Ok(None)
    }
}

impl EnvelopeStore {
    /// Whether a backup is whole and as it was written, read to its end. Its
    /// records stay sealed.
    ///
    /// # Errors
    /// `Tampered` for a backup that was altered, cut off, or put together;
    /// `Configuration` for that of another account or KEK; `Unsupported` for what
    /// is none.
    pub async fn verify_backup(
        source: &mut dyn FileSource,
        wrapper: &dyn KeyWrapper,
        account: &str,
    ) -> Result<BackupInfo> {
        let verified = async {
            let mut reader = Reader::begin(source, wrapper, account).await?;
            while let Some((frame, body)) = reader.next().await? {
                if frame == Frame::Entries {
                    let mut rest = &body[..];
                    while !rest.is_empty() {
                        check_entry(take_entry(&mut rest)?)?;
                    }
                }
            }
            Ok(reader.info)
        };
        verified.await.map_err(|error: Error| error.during("verify the backup"))
    }

    /// Makes a store of a backup in `records`, which hold none. Killed at any
    /// moment, it is no store; called again, it begins anew.
    ///
    /// # Errors
    /// As [`verify_backup`](Self::verify_backup), with nothing that could be
    /// opened as a store; `AlreadyExists` if there is one; `LimitExceeded` if a
    /// record is longer than this record store takes.
    pub async fn restore_backup(
        records: &Arc<dyn RecordStore>,
        source: &mut dyn FileSource,
        wrapper: &dyn KeyWrapper,
        account: &str,
        observer: &Observer<'_>,
    ) -> Result<BackupInfo> {
        let restored = async {
            let mut reader = Reader::begin(source, wrapper, account).await?;
            begin(&**records).await?;
            let most = records.max_batch_bytes().min(MAX_COMMIT_BYTES);
            let (mut batch, mut bytes, mut done) = (Batch::new(), 0, 0);
            while let Some((frame, body)) = reader.next().await? {
                if frame == Frame::Retract {
                    records.commit(std::mem::take(&mut batch)).await?;
                    bytes = 0;
                    retract(&**records, &body).await?;
                    continue;
                }
                let mut rest = &body[..];
                while !rest.is_empty() {
                    let (key, value) = take_entry(&mut rest)?;
                    check_entry((key, value))?;
                    let more = key.len() + value.len() + 32;
                    if bytes > 0 && bytes + more > most {
                        records.commit(std::mem::take(&mut batch)).await?;
                        bytes = 0;
                    }
                    bytes += more;
                    done += u64::from(key.starts_with(keys::ALL_HEADS));
                    batch = batch.write(key.to_vec(), value.to_vec());
                }
                observer(&Progress { done, ..Progress::default() });
            }
            records.commit(batch).await?;
            // Only now is it a store.
            let last = Batch::new()
                .require(keys::IDENTITY.to_vec(), Precondition::Absent)
                .write(keys::IDENTITY.to_vec(), std::mem::take(&mut reader.header.identity))
                .delete(keys::RESTORE.to_vec());
            records.commit(last).await?;
            Ok(reader.info)
        };
        restored
            .await
            .map_err(|error: Error| error.during("restore the backup").in_store(records.describe()))
    }
}

/// Marks the store as one that is being restored, and removes what an earlier
/// attempt has written.
async fn begin(records: &dyn RecordStore) -> Result<()> {
    if records.get(keys::IDENTITY).await?.is_some() {
        return Err(Error::already_exists(
            "there is a store here: restore the backup into a new one",
        ));
    }
    if records.get(keys::RESTORE).await?.is_none() {
        if !records.scan(b"", None, ONE).await?.entries.is_empty() {
            return Err(Error::configuration(
                "the record store is not empty, and holds no restore that was cut short",
            ));
        }
        let mark = Batch::new()
            .require(keys::IDENTITY.to_vec(), Precondition::Absent)
            .write(keys::RESTORE.to_vec(), vec![1]);
        records.commit(mark).await?;
    }
    wipe(records, b"", &[keys::RESTORE]).await
}

async fn wipe(records: &dyn RecordStore, prefix: &[u8], but: &[&[u8]]) -> Result<()> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = records.scan(prefix, after.as_deref(), WIPE).await?;
        after = page.entries.last().map(|(key, _)| key.clone()).or(after);
        let gone = page.entries.into_iter().map(|(key, _)| key);
        let gone = gone.filter(|key| !but.contains(&&key[..]));
        records.commit(gone.fold(Batch::new(), Batch::delete)).await?;
        if !page.more {
            return Ok(());
        }
    }
}

async fn retract(records: &dyn RecordStore, head: &[u8]) -> Result<()> {
    let name = keys::parse_head(head)?;
    for prefix in [keys::versions(&name), keys::files(&name), keys::uploads_of(&name)] {
        wipe(records, &prefix, &[]).await?;
    }
    match records.commit(Batch::new().delete(head.to_vec())).await {
        Err(error) if error.kind() != ErrorKind::Conflict => Err(error),
        _ => Ok(()),
    }
}

/// Only what a secret is made of: a backup brings no identity and no job.
fn check_entry((key, value): (&[u8], &[u8])) -> Result<()> {
    if key.starts_with(keys::ALL_HEADS) {
        keys::parse_head(key)?;
        return Head::parse(value).map(drop);
    }
    if key.starts_with(keys::ALL_VERSIONS) {
        return keys::parse_version(key).map(drop);
    }
    if key.starts_with(keys::ALL_SEGMENTS) || key.starts_with(keys::UPLOADS) {
        return Ok(());
    }
    Err(altered())
}
