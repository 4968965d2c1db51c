//! Paths, as far as it matters whether two are the same.

use std::io;
use std::path::{Component, Path, PathBuf};

use strongroom_core::{Error, Result};

/// The path without links and `..`, as far as it exists; `..` in the rest is
/// taken by its letters.
pub(crate) fn real(path: &Path) -> Result<PathBuf> {
    let unusable = |e: io::Error| {
        Error::configuration(format!("{} is not a usable path: {e}", path.display())).with_source(e)
    };
    let absolute = std::path::absolute(path).map_err(unusable)?;
    let mut rest = Vec::new();
    let mut existing = absolute.as_path();
    loop {
        match existing.canonicalize() {
            Ok(mut found) => {
                for part in rest.iter().rev() {
                    match part {
                        Component::ParentDir => drop(found.pop()),
                        part => found.push(part),
                    }
                }
                return Ok(found);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (Some(parent), Some(last)) =
                    (existing.parent(), existing.components().next_back())
                else {
                    return Err(unusable(error));
                };
                rest.push(last);
                existing = parent;
            }
            Err(error) => return Err(unusable(error)),
        }
    }
}
