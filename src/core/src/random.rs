//! Randomness.
use crate::error::Result;
/// Fills `out` with random bytes.
pub fn fill(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out).map_err(|e| crate::Error::internal(e.to_string()))
}
