//! Upkeep of the store behind a sidecar: calls that last, and tell how far they
//! are.

use strongroom_core::upkeep::{KeyReport, Observer, Outcome, Reencrypt, Selection};
use strongroom_core::wrapper::KekVersion;
use strongroom_core::{Error, Result};
use strongroom_rpc::v1::task_event::Event;
use strongroom_rpc::{
    kek_version_from_wire, key_report_from_wire, outcome_from_wire, progress_from_wire, v1,
};
use tonic::{Request, Response, Status, Streaming};

use crate::Client;
use crate::fault::nonsense;

impl Client {
    /// Makes a new version of `kek`, or of the preferred KEK, that is used from
    /// now on.
    pub async fn rotate(&self, kek: Option<&str>) -> Result<KekVersion> {
        let request = v1::RotateRequest { kek: kek.unwrap_or_default().to_owned() };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.rotate(self.request(request)).await };
        let answer = self.answer("rotate", call).await?;
        let version = answer.version.ok_or_else(|| nonsense("a version of a KEK is missing"))?;
        Ok(kek_version_from_wire(version))
    }

    /// Wraps anew what is not under the current version of every KEK. Dropped, it
    /// ends, and the next call does the rest.
    pub async fn rewrap(&self, observer: &Observer<'_>) -> Result<Outcome> {
        let mut grpc = self.grpc.clone();
        let call = async { grpc.rewrap(Request::new(v1::RewrapRequest {})).await };
        self.outcome("rewrap", call, observer).await
    }

    /// Gives versions a fresh DEK and a fresh ciphertext, as
    /// [`rewrap`](Self::rewrap) does its work.
    pub async fn reencrypt(&self, what: &Reencrypt, observer: &Observer<'_>) -> Result<Outcome> {
        let (mut names, mut within) = (Vec::new(), String::new());
        match &what.selection {
            Selection::All => {}
            Selection::Within(scope) => within.clone_from(scope),
            Selection::Names(full) => names.extend(full.iter().cloned()),
        }
        let suite = what.suite.map(|suite| suite.as_str().to_owned()).unwrap_or_default();
        let request = v1::ReencryptRequest { names, within, suite, restart: what.restart };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.reencrypt(Request::new(request)).await };
        self.outcome("re-encrypt", call, observer).await
    }

    /// Which versions of which KEKs are needed by how many versions.
    pub async fn key_report(&self, observer: &Observer<'_>) -> Result<KeyReport> {
        let mut grpc = self.grpc.clone();
        let call = async { grpc.report_keys(Request::new(v1::ReportKeysRequest {})).await };
        match self.task("report keys", call, observer).await? {
            Event::Keys(report) => Ok(key_report_from_wire(report)),
            _ => Err(other_end()),
        }
    }

    /// Destroys a version of `kek`, or of the preferred KEK, that no record needs.
    pub async fn destroy_key_version(
        &self,
        kek: Option<&str>,
        version: &str,
        observer: &Observer<'_>,
    ) -> Result<()> {
        let (kek, version) = (kek.unwrap_or_default().to_owned(), version.to_owned());
        let request = v1::DestroyKeyVersionRequest { kek, version };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.destroy_key_version(Request::new(request)).await };
        match self.task("destroy a key version", call, observer).await? {
            Event::Destroyed(_) => Ok(()),
            _ => Err(other_end()),
        }
    }

    async fn outcome(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<Response<Streaming<v1::TaskEvent>>, Status>>,
        observer: &Observer<'_>,
    ) -> Result<Outcome> {
        match self.task(operation, call, observer).await? {
            Event::Outcome(outcome) => {
                outcome_from_wire(outcome).map_err(|_| nonsense("an outcome is malformed"))
            }
            _ => Err(other_end()),
        }
    }

    /// Reads progress until the end, which it returns. There is no deadline: the
    /// sidecar answers at once, and then as long as it works.
    async fn task(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<Response<Streaming<v1::TaskEvent>>, Status>>,
        observer: &Observer<'_>,
    ) -> Result<Event> {
        let mut events = self.answer(operation, call).await?;
        loop {
            let next = events.message().await;
            let event = next.map_err(|status| self.fault(status).during(operation))?;
            match event.and_then(|event| event.event) {
                Some(Event::Progress(progress)) => observer(&progress_from_wire(&progress)),
                Some(end) => return Ok(end),
                None => {
                    let ended = Error::unavailable("the sidecar ended before the operation did");
                    return Err(ended.during(operation));
                }
            }
        }
    }
}

fn other_end() -> Error {
    nonsense("an operation ended with the answer of another")
}
