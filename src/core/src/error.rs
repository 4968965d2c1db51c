//! One error type for everything above guarded memory: a kind that programs
//! act on, whether a retry may help, and where it happened. It never carries
//! a secret's value.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of every fallible operation of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the terms that a caller can act on.
///
/// Each kind maps to one gRPC status and to one exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// No secret of this name, or no such version, or it is deleted.
    NotFound,
    /// A secret of this name exists already.
    AlreadyExists,
    /// A precondition failed: somebody else changed the secret in between.
    Conflict,
    /// The name, scope, version or caller's context is not well-formed.
    InvalidName,
    /// The caller is known and not allowed to do this.
    AccessDenied,
    /// The caller, or our own credential, was not accepted.
    Unauthenticated,
    /// The backend cannot be reached or does not answer in time.
    Unavailable,
    /// The backend asks to slow down.
    Throttled,
    /// Stored bytes are not what was written: altered, moved, truncated or
    /// passed off as something else.
    Tampered,
    /// The key that would open the record cannot be had.
    KeyUnavailable,
    /// The store cannot do this at all; see its capabilities.
    Unsupported,
    /// A limit on size, number or locked memory was reached.
    LimitExceeded,
    /// The configuration is wrong, or does not fit what is stored.
    Configuration,
    /// A fault of the machine or of this program.
    Internal,
}

impl ErrorKind {
    /// Every kind, in the order of their exit codes.
    pub const ALL: [Self; 14] = [
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::InvalidName,
        Self::AccessDenied,
        Self::Unauthenticated,
        Self::Unavailable,
        Self::Throttled,
        Self::Tampered,
        Self::KeyUnavailable,
        Self::Unsupported,
        Self::LimitExceeded,
        Self::Configuration,
        Self::Internal,
    ];

    /// The stable name used in JSON, audit lines and gRPC error details.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::InvalidName => "invalid_name",
            Self::AccessDenied => "access_denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::Throttled => "throttled",
            Self::Tampered => "tampered",
            Self::KeyUnavailable => "key_unavailable",
            Self::Unsupported => "unsupported",
            Self::LimitExceeded => "limit_exceeded",
            Self::Configuration => "configuration",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error with its kind, retryability, place and cause.
///
/// It is cheap to move (one pointer) and can be cloned, because one failed
/// flight of the cache answers many waiting readers.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    retryable: bool,
    retry_after: Option<Duration>,
    operation: Option<&'static str>,
    store: Option<String>,
    secret: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`. `message` says what was wrong and what to do; it
    /// must not contain a secret's value.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            retryable: matches!(kind, ErrorKind::Unavailable | ErrorKind::Throttled),
            retry_after: None,
            operation: None,
            store: None,
            secret: None,
            source: None,
        }))
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// Names the operation, unless an inner layer did already.
    #[must_use]
    pub fn during(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Names the store, unless an inner layer did already.
    #[must_use]
    pub fn in_store(mut self, store: &str) -> Self {
        self.0.store.get_or_insert_with(|| store.to_owned());
        self
    }

    /// Names the secret, unless an inner layer did already.
    #[must_use]
    pub fn about(mut self, secret: &impl fmt::Display) -> Self {
        self.0.secret.get_or_insert_with(|| secret.to_string());
        self
    }

    /// Says whether a retry may help, where the kind's default is wrong.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// The backend named the time after which a retry may help.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.0.retryable = true;
        self.0.retry_after = Some(wait);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later without anybody changing it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// How long the backend asked to wait, if it did.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The operation that failed, if it is known.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The store that failed, if it is known.
    #[must_use]
    pub fn store(&self) -> Option<&str> {
        self.0.store.as_deref()
    }

    /// The name of the secret concerned, if there is one.
    #[must_use]
    pub fn secret(&self) -> Option<&str> {
        self.0.secret.as_deref()
    }

    /// The message alone, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        impl Error {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(message: impl Into<Cow<'static, str>>) -> Self {
                Self::new(ErrorKind::$kind, message)
            })*
        }
    };
}

constructors! {
    /// [`ErrorKind::NotFound`]
    not_found => NotFound;
    /// [`ErrorKind::AlreadyExists`]
    already_exists => AlreadyExists;
    /// [`ErrorKind::Conflict`]
    conflict => Conflict;
    /// [`ErrorKind::InvalidName`]
    invalid_name => InvalidName;
    /// [`ErrorKind::AccessDenied`]
    access_denied => AccessDenied;
    /// [`ErrorKind::Unauthenticated`]
    unauthenticated => Unauthenticated;
    /// [`ErrorKind::Unavailable`]
    unavailable => Unavailable;
    /// [`ErrorKind::Tampered`]
    tampered => Tampered;
    /// [`ErrorKind::KeyUnavailable`]
    key_unavailable => KeyUnavailable;
    /// [`ErrorKind::Unsupported`]
    unsupported => Unsupported;
    /// [`ErrorKind::LimitExceeded`]
    limit_exceeded => LimitExceeded;
    /// [`ErrorKind::Configuration`]
    configuration => Configuration;
    /// [`ErrorKind::Internal`]
    internal => Internal;
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = self.0.operation {
            f.write_str(operation)?;
            if let Some(secret) = &self.0.secret {
                write!(f, " {secret}")?;
            }
            f.write_str(": ")?;
        } else if let Some(secret) = &self.0.secret {
            write!(f, "{secret}: ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(store) = &self.0.store {
            write!(f, " ({store})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind).field("message", &self.to_string());
        out.field("retryable", &self.0.retryable);
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<strongroom_guard::Error> for Error {
    /// A lock limit is the operator's to raise; anything else is the kernel's.
    fn from(source: strongroom_guard::Error) -> Self {
        use strongroom_guard::Error as Guard;
        let kind = match source {
            Guard::LockLimit { .. } | Guard::Limit { .. } => ErrorKind::LimitExceeded,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, source.to_string()).with_source(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_the_place_and_never_repeats_it() {
        let error = Error::not_found("no secret has this name")
            .during("get")
            .about(&"account.db")
            .in_store("sled store at /var/lib/x")
            .during("outer")
            .in_store("outer");
        assert_eq!(
            error.to_string(),
            "get account.db: no secret has this name (sled store at /var/lib/x)"
        );
    }

    #[test]
    fn only_outages_are_retryable_by_default() {
        for kind in ErrorKind::ALL {
            let expected = matches!(kind, ErrorKind::Unavailable | ErrorKind::Throttled);
            assert_eq!(Error::new(kind, "x").is_retryable(), expected, "{kind}");
        }
    }
}
