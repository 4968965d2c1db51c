//! [`SecretText`]: a secret that a login needs, and where it is.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use strongroom_core::{Error, Result, SecretBytes};

/// The longest secret of a login, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// A secret that a login needs. What is not given is read at each login, since it may
/// have been replaced.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SecretText {
    /// It is here.
    Given(Arc<SecretBytes>),
    /// A file has it, perhaps with a line end behind it.
    File(PathBuf),
    /// Somebody else gives it.
    Read(Arc<dyn ReadSecret>),
}

/// Who gives a secret for a login.
#[async_trait]
pub trait ReadSecret: Send + Sync + fmt::Debug {
    /// The secret as it is now.
    async fn read(&self) -> Result<SecretBytes>;
}

impl SecretText {
    pub(crate) async fn read(&self) -> Result<Arc<SecretBytes>> {
        match self {
            Self::Given(secret) => Ok(Arc::clone(secret)),
            Self::File(path) => read_file(path).map(Arc::new),
            Self::Read(from) => {
                let mut secret = from.read().await?;
                cut_line_end(&mut secret);
                Ok(Arc::new(secret))
            }
        }
    }
}

/// What stands in `path`, without the line end behind it.
pub(super) fn read_file(path: &Path) -> Result<SecretBytes> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Error::unauthenticated(format!("{shown} cannot be read: {error}")).with_source(error)
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut secret = SecretBytes::zeroed(MAX_BYTES + 1)?;
    let mut length = 0;
    loop {
        let read = file.read(&mut secret.expose_mut()[length..]).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        length += read;
    }
    if length > MAX_BYTES {
        let what = format!("{shown} has more than {MAX_BYTES} bytes, and is no secret of a login");
        return Err(Error::configuration(what));
    }
    secret.truncate(length);
    cut_line_end(&mut secret);
    if secret.is_empty() {
        return Err(Error::unauthenticated(format!("{shown} is empty")));
    }
    Ok(secret)
}

fn cut_line_end(secret: &mut SecretBytes) {
    let end = secret.expose().iter().rposition(|b| !matches!(b, b'\n' | b'\r'));
    secret.truncate(end.map_or(0, |last| last + 1));
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    #[test]
    fn a_file_is_read_without_its_line_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        for (text, read) in
            [("s.abc", "s.abc"), ("s.abc\n", "s.abc"), ("a\r\n\n", "a"), ("\na", "\na")]
        {
            std::fs::write(&path, text).expect("written");
            assert!(read_file(&path).expect("read").expose() == read.as_bytes());
        }
        for (text, kind) in [
            (String::new(), ErrorKind::Unauthenticated),
            ("\n".to_owned(), ErrorKind::Unauthenticated),
            ("x".repeat(MAX_BYTES + 1), ErrorKind::Configuration),
        ] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(read_file(&path).expect_err("refused").kind(), kind);
        }
        std::fs::remove_file(&path).expect("removed");
        let error = read_file(&path).expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }
}
