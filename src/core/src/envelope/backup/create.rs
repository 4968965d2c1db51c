//! Making a backup: of one moment where the record store has those, otherwise
//! secret by secret, each of which is read again if it changed meanwhile.

use super::super::head::Head;
use super::super::store::EnvelopeStore;
use super::super::{identity, keys};
use super::chain::{Chain, FRAME_BYTES, Frame, Header, ID_BYTES, KEY_LABEL, push_entry};
use super::{BackupInfo, BackupSink};
use crate::error::{Error, Result};
use crate::name::SecretName;
use crate::record::{PageLimit, RecordPage, RecordStore, Snapshot, Stored};
use crate::upkeep::{Observer, Progress};

const PAGE: PageLimit = PageLimit { entries: 4096, bytes: 2 << 20 };
/// How often a secret is read again that others write all the time.
const ATTEMPTS: usize = 64;

/// Where a backup reads.
enum Reader<'a> {
    Moment(Box<dyn Snapshot>),
    Live(&'a dyn RecordStore),
}

impl Reader<'_> {
    async fn get(&self, key: &[u8]) -> Result<Option<Stored>> {
        match self {
            Self::Moment(moment) => moment.get(key).await,
            Self::Live(records) => records.get(key).await,
        }
    }

    async fn scan(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<RecordPage> {
        match self {
            Self::Moment(moment) => moment.scan(prefix, after, PAGE).await,
            Self::Live(records) => records.scan(prefix, after, PAGE).await,
        }
    }
}

/// The file that comes of it.
struct Writer<'a> {
    chain: Chain,
    out: &'a mut dyn BackupSink,
    body: Vec<u8>,
    info: BackupInfo,
    /// Of the secret that is being written.
    entries: u64,
}

impl Writer<'_> {
    async fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        push_entry(&mut self.body, key, value);
        self.entries += 1;
        if self.body.len() >= FRAME_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        if self.body.is_empty() {
            return Ok(());
        }
        let body = std::mem::take(&mut self.body);
        self.frame(Frame::Entries, &body).await
    }

    async fn frame(&mut self, kind: Frame, body: &[u8]) -> Result<()> {
        let bytes = self.chain.frame(kind, body)?;
        self.info.bytes += bytes.len() as u64;
        self.out.write(&bytes).await
    }
}

impl EnvelopeStore {
    pub(in super::super) async fn write_backup(
        &self,
        out: &mut dyn BackupSink,
        observer: &Observer<'_>,
    ) -> Result<BackupInfo> {
        let records = self.records();
        let reader = match records.snapshot().await? {
            Some(moment) => Reader::Moment(moment),
            None => Reader::Live(&**records),
        };
        let stored = reader.get(keys::IDENTITY).await?.ok_or_else(identity::damaged)?;
        let header = Header {
            id: crate::random::array::<ID_BYTES>()?,
            created: self.now(),
            one_moment: matches!(reader, Reader::Moment(_)),
            identity: stored.value,
        };
        let key = self.identity().derived(&[KEY_LABEL, &header.id[..]].concat())?;
        let chain = Chain::begin(key, &header)?;
        let (created, one_moment) = (header.created, header.one_moment);
        let bytes = header.encode();
        out.write(&bytes).await?;
        let info =
            BackupInfo { created, one_moment, names: 0, entries: 0, bytes: bytes.len() as u64 };
        let mut writer = Writer { chain, out, body: Vec::new(), info, entries: 0 };
        let total = count(&reader).await?;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = reader.scan(keys::ALL_HEADS, after.as_deref()).await?;
            for (key, stored) in page.entries {
                let name = keys::parse_head(&key)?;
                writer.secret(&reader, &name, &key, stored).await?;
                let done = writer.info.names;
                observer(&Progress { done, total: Some(total.max(done)), ..Progress::default() });
                after = Some(key);
            }
            if !page.more {
                break;
            }
        }
        writer.flush().await?;
        let counts = [writer.info.names.to_le_bytes(), writer.info.entries.to_le_bytes()].concat();
        writer.frame(Frame::End, &counts).await?;
        Ok(writer.info)
    }
}

async fn count(reader: &Reader<'_>) -> Result<u64> {
    let (mut after, mut count) = (None::<Vec<u8>>, 0);
    loop {
        let page = reader.scan(keys::ALL_HEADS, after.as_deref()).await?;
        count += page.entries.len() as u64;
        after = page.entries.into_iter().next_back().map(|(key, _)| key).or(after);
        if !page.more {
            return Ok(count);
        }
    }
}

impl Writer<'_> {
    /// One secret: records and segments, and its head last.
    async fn secret(
        &mut self,
        reader: &Reader<'_>,
        name: &SecretName,
        key: &[u8],
        stored: Stored,
    ) -> Result<()> {
        let mut head = Some(stored);
        for _ in 0..ATTEMPTS {
            let Some(stored) = head.take() else { return Ok(()) };
            Head::parse(&stored.value).map_err(|error| error.about(name))?;
            self.entries = 0;
            // Segments before markers: an upload that begins meanwhile has both, or
            // its segments are not here.
            for prefix in [keys::versions(name), keys::files(name), keys::uploads_of(name)] {
                let mut after: Option<Vec<u8>> = None;
                loop {
                    let page = reader.scan(&prefix, after.as_deref()).await?;
                    for (key, stored) in page.entries {
                        self.entry(&key, &stored.value).await?;
                        after = Some(key);
                    }
                    if !page.more {
                        break;
                    }
                }
            }
            let now = match reader {
                Reader::Moment(_) => None,
                Reader::Live(records) => Some(records.get(key).await?),
            };
            match now {
                Some(now) if now.as_ref().map(|now| now.revision) != Some(stored.revision) => {
                    self.flush().await?;
                    self.frame(Frame::Retract, key).await?;
                    head = now;
                }
                _ => {
                    self.entry(key, &stored.value).await?;
                    self.info.names += 1;
                    self.info.entries += self.entries;
                    return Ok(());
                }
            }
        }
        let busy = Error::conflict("others write this secret all the time: try again");
        Err(busy.retryable(true).about(name))
    }
}
