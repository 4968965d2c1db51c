//! What becomes of a request.

use std::fmt;
use std::sync::Arc;

use crate::faults::Gate;

/// What becomes of one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This answer; the upstream is not asked.
    Status {
        /// The HTTP status.
        code: u16,
        /// The body.
        body: Vec<u8>,
        /// Further headers.
        headers: Vec<(String, String)>,
    },
    /// An error as AWS puts it, in the protocol that the request is in; the upstream
    /// is not asked.
    AwsError {
        /// The HTTP status.
        status: u16,
        /// Its name.
        code: String,
    },
    /// The connection is reset; the upstream is not asked.
    Reset,
    /// The upstream does its work, then the connection is reset.
    ResetAfterForwarding,
    /// The upstream's answer breaks off after so many bytes of the body, before its
    /// last one in any case. It announces all of them. An empty body stays whole.
    Truncate {
        /// How much of the body comes.
        bytes: usize,
    },
    /// 200, and a body that is neither JSON nor XML nor text; the upstream is not
    /// asked.
    Garbage,
    /// Bytes that are no HTTP, and the end of the connection; the upstream is not
    /// asked.
    NotHttp,
    /// No answer, until the client closes the connection, the faults are cleared or
    /// the proxy is dropped; the upstream is not asked. While it is there for every
    /// request, a connection that speaks something else is kept too.
    BlackHole,
    /// The request waits at the gate, then goes on.
    Delay(Gate),
    /// The request waits at the gate, and then this becomes of it.
    After(Gate, Box<Fault>),
    /// The upstream does its work, and its answer waits at the gate.
    DelayAnswer(Gate),
    /// The upstream's answer has another body.
    Rewrite(Rewrite),
}

impl Fault {
    /// An answer without a body.
    #[must_use]
    pub fn status(code: u16) -> Self {
        Self::Status { code, body: Vec::new(), headers: Vec::new() }
    }

    /// An error of AWS.
    #[must_use]
    pub fn aws_error(status: u16, code: &str) -> Self {
        Self::AwsError { status, code: code.to_owned() }
    }

    /// What AWS answers if there were too many requests. The services have their own
    /// names and statuses for it.
    #[must_use]
    pub fn throttling() -> Self {
        Self::aws_error(400, "ThrottlingException")
    }

    /// What AWS answers if it fails. The services have their own names for it.
    #[must_use]
    pub fn internal_error() -> Self {
        Self::aws_error(500, "InternalFailure")
    }

    /// What AWS answers during an outage.
    #[must_use]
    pub fn service_unavailable() -> Self {
        Self::aws_error(503, "ServiceUnavailable")
    }

    /// 429, as most other services put it.
    #[must_use]
    pub fn too_many_requests() -> Self {
        Self::status(429)
    }

    /// The same, once the gate is open.
    #[must_use]
    pub fn after(self, gate: &Gate) -> Self {
        Self::After(gate.clone(), Box::new(self))
    }

    /// Changes the body of the upstream's answer.
    #[must_use]
    pub fn rewrite(change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) -> Self {
        Self::Rewrite(Rewrite(Arc::new(change)))
    }
}

/// A change of a body.
#[derive(Clone)]
pub struct Rewrite(Arc<Change>);

type Change = dyn Fn(&mut Vec<u8>) + Send + Sync;

impl Rewrite {
    pub(super) fn apply(&self, body: &mut Vec<u8>) {
        (self.0)(body);
    }
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewrite").finish_non_exhaustive()
    }
}
