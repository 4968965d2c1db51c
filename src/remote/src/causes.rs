//! What client libraries say of a failure.

use std::error::Error;
use std::fmt::Write;

/// What lies behind an error, in one line.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut told = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(told, ": {cause}");
        next = cause.source();
    }
    told
}
