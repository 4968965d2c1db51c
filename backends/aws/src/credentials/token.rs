//! [`Token`]: where a token of an OIDC issuer comes from.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use strongroom_core::{Error, Result, SecretBytes};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::runtime::Handle;

use super::shown;

/// The longest token that STS takes (API reference of `AssumeRoleWithWebIdentity`).
const MAX_TOKEN_BYTES: usize = 20_000;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a token comes from. It is taken anew for each session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Token {
    /// A file that somebody renews.
    File(PathBuf),
    /// What a program prints: its path and its arguments. No shell has a part in it.
    Command(Vec<String>),
    /// Whoever else gives tokens.
    Source(Arc<dyn TokenSource>),
}

/// Gives tokens of an OIDC issuer.
#[async_trait]
pub trait TokenSource: Send + Sync + fmt::Debug {
    /// A token that is valid now. It may block: it has a thread for itself.
    async fn token(&self) -> Result<SecretBytes>;
}

impl Token {
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Command(words) if words.first().is_none_or(String::is_empty) => {
                Err(Error::configuration("the command that prints a token names no program"))
            }
            _ => Ok(()),
        }
    }

    /// A token, without blanks around it.
    pub(super) async fn take(&self) -> Result<SecretBytes> {
        let (token, of) = match self {
            Self::File(path) => (read_file(path.clone()).await?, shown(path)),
            Self::Command(words) => (run(words).await?, words[0].clone()),
            Self::Source(source) => {
                (ask(Arc::clone(source)).await?, "the token's source".to_owned())
            }
        };
        let text = token.expose().trim_ascii();
        if text.is_empty() || text.len() > MAX_TOKEN_BYTES || !text.iter().all(u8::is_ascii_graphic)
        {
            return Err(Error::unauthenticated(format!(
                "{of} gave no token: 1 to {MAX_TOKEN_BYTES} printable characters are one"
            )));
        }
        Ok(SecretBytes::copy_from(text)?)
    }
}

async fn read_file(path: PathBuf) -> Result<SecretBytes> {
    let read = move || {
        let failed = |error: std::io::Error| {
            let what = format!("the token file {} cannot be read: {error}", path.display());
            Error::unauthenticated(what).with_source(error)
        };
        let file = std::fs::File::open(&path).map_err(failed)?;
        let mut bytes = SecretBytes::zeroed(MAX_TOKEN_BYTES + 64)?;
        let mut limited = file.take(bytes.len() as u64);
        let mut filled = 0;
        loop {
            match limited.read(&mut bytes.expose_mut()[filled..]).map_err(failed)? {
                0 => return Ok(SecretBytes::copy_from(&bytes.expose()[..filled])?),
                count => filled += count,
            }
        }
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|_| Err(Error::internal("reading the token file panicked")))
}

async fn ask(source: Arc<dyn TokenSource>) -> Result<SecretBytes> {
    let runtime = Handle::current();
    let asked = tokio::task::spawn_blocking(move || runtime.block_on(source.token())).await;
    asked.unwrap_or_else(|_| Err(Error::internal("taking a token panicked")))
}

async fn run(words: &[String]) -> Result<SecretBytes> {
    let program = &words[0];
    let failed =
        |why: String| Error::unauthenticated(format!("the command {program} gave no token: {why}"));
    let mut command = Command::new(program);
    // What it says on standard error is for whoever runs us; a token it is not.
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let output = child.stdout.take().ok_or_else(|| failed("it has no output".to_owned()))?;
    let mut bytes = SecretBytes::zeroed(MAX_TOKEN_BYTES + 64)?;
    let mut limited = output.take(bytes.len() as u64);
    let work = async {
        let mut filled = 0;
        loop {
            let read = limited.read(&mut bytes.expose_mut()[filled..]).await;
            match read.map_err(|error| failed(error.to_string()))? {
                0 => break,
                count => filled += count,
            }
        }
        // Whoever prints more than a token would wait for a reader.
        drop(limited);
        let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
        if status.success() { Ok(filled) } else { Err(failed(format!("it ended with {status}"))) }
    };
    let filled = tokio::time::timeout(PATIENCE, work).await;
    let filled = filled.map_err(|_| failed(format!("it took more than {PATIENCE:?}")))??;
    Ok(SecretBytes::copy_from(&bytes.expose()[..filled])?)
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    fn words(words: &[&str]) -> Token {
        Token::Command(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[tokio::test]
    async fn a_token_comes_from_a_file_or_a_command() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("token");
        std::fs::write(&file, "a.b.c\n").expect("written");
        let token = Token::File(file.clone()).take().await.expect("a token");
        assert!(token.expose() == b"a.b.c");
        std::fs::write(&file, "d.e.f").expect("written");
        let token = Token::File(file).take().await.expect("the new token");
        assert!(token.expose() == b"d.e.f");
        let token = words(&["printf", "a.%s\\n", "x;y"]).take().await.expect("a token");
        assert!(token.expose() == b"a.x;y");
    }

    #[tokio::test]
    async fn what_gives_no_token_is_named_and_not_what_it_gave() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("token");
        for bad in ["", "  \n", "zq zq", &"zq".repeat(MAX_TOKEN_BYTES), "zq\u{1b}zq"] {
            std::fs::write(&file, bad).expect("written");
            let error = Token::File(file.clone()).take().await.expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(error.message().contains(file.to_str().expect("text")), "{error}");
            assert!(!error.to_string().contains("zq"), "{error}");
        }
        for (bad, said) in [
            (&["false"][..], "ended with"),
            (&["no-such-program-as-this"], "No such file"),
            (&["sh", "-c", "echo token; exit 3"], "exit status: 3"),
            (&["head", "-c", "100000", "/dev/zero"], "gave no token"),
        ] {
            let error = words(bad).take().await.expect_err(bad[0]);
            assert!(error.message().contains(said), "{error}");
        }
    }
}
