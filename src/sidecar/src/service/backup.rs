//! `Backup`: the store as a stream of chunks, made as fast as they are read.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use strongroom::config::Verb;
use strongroom::envelope::backup::{BackupInfo, BackupSink};
use strongroom::{Error, Progress, Result};
use strongroom_rpc::{CHUNK_BYTES, backup_info_to_wire, progress_to_wire, status_of, v1};
use tokio::sync::mpsc;
use tonic::Status;

use super::{Counted, Service};
use crate::offload::AbortOnDrop;

/// What a backup is read as.
pub(super) type Pieces = Pin<Box<dyn Stream<Item = Result<v1::BackupResponse, Status>> + Send>>;

/// What one backup keeps in memory: the frame that is put together, the page that
/// it comes from, and the chunks on their way.
const HELD_BYTES: usize = 4 << 20;

impl Service {
    pub(super) async fn backup_store(&self, counted: Counted) -> Result<Pieces, Status> {
        let engine = self.keeper("backup", Verb::Upkeep).await.map_err(|e| status_of(&e))?;
        let limits = &self.session().current.limits;
        if let Some(counted) = &counted {
            counted.try_hold(HELD_BYTES, limits).map_err(|over| over.status(limits))?;
        }
        let (sender, chunks) = mpsc::channel(1);
        let now = Arc::<Mutex<Progress>>::default();
        let mut sink = Chunks { sender, now: Arc::clone(&now) };
        let task = self.shared.backend.spawn(async move {
            let _counted = counted;
            let observer = |progress: &Progress| {
                *now.lock().unwrap_or_else(PoisonError::into_inner) = *progress;
            };
            engine.backup(&mut sink, &observer).await
        });
        let state = Some((AbortOnDrop(task), chunks));
        Ok(Box::pin(stream::unfold(state, |state| async move {
            let (task, mut chunks) = state?;
            // The channel ends with the work.
            match chunks.recv().await {
                Some(piece) => Some((Ok(piece), Some((task, chunks)))),
                None => Some((ended(task.await), None)),
            }
        })))
    }
}

fn ended(end: Result<BackupInfo>) -> Result<v1::BackupResponse, Status> {
    let info = end.map_err(|error| status_of(&error))?;
    Ok(v1::BackupResponse {
        info: Some(backup_info_to_wire(&info)),
        ..v1::BackupResponse::default()
    })
}

/// Sends what it takes, with how far the backup is, once there is room for it.
struct Chunks {
    sender: mpsc::Sender<v1::BackupResponse>,
    now: Arc<Mutex<Progress>>,
}

#[async_trait]
impl BackupSink for Chunks {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let now = *self.now.lock().unwrap_or_else(PoisonError::into_inner);
            let piece = v1::BackupResponse {
                chunk: Bytes::copy_from_slice(chunk),
                progress: Some(progress_to_wire(&now)),
                info: None,
            };
            let gone = |_| Error::unavailable("the caller has gone");
            self.sender.send(piece).await.map_err(gone)?;
        }
        Ok(())
    }
}
