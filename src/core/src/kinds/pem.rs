//! Certificates and SSH keys: texts of PEM blocks (RFC 7468).

use strongroom_guard::SecretBytes;

use crate::error::{Error, Result};

/// A certificate chain and the private key of its first certificate.
#[derive(Debug)]
pub struct Certificate {
    /// The `CERTIFICATE` blocks, in the order in which they were given.
    pub chain: SecretBytes,
    /// The block of the private key.
    pub key: SecretBytes,
}

impl Certificate {
    /// Reads the bytes of a certificate.
    ///
    /// # Errors
    /// `InvalidName` if they are none.
    pub fn parse(value: &SecretBytes) -> Result<Self> {
        let text = text(value)?;
        let (mut chain, mut key, mut rest) = (Vec::new(), None, text);
        while let Some((block, behind)) = block(rest)? {
            match block.label {
                "CERTIFICATE" => chain.push(block.text),
                label if is_private_key(label) && key.is_none() => key = Some(block.text),
                label if is_private_key(label) => {
                    return Err(Error::invalid_name("a certificate has one private key, not more"));
                }
                _ => {
                    return Err(Error::invalid_name(
                        "a certificate has blocks of certificates and of one private key, and no \
                         others",
                    ));
                }
            }
            rest = behind;
        }
        let missing = |what| Error::invalid_name(format!("the certificate has no {what} block"));
        let key = key.ok_or_else(|| missing("PRIVATE KEY"))?;
        if chain.is_empty() {
            return Err(missing("CERTIFICATE"));
        }
        Ok(Self { chain: joined(&chain)?, key: joined(&[key])? })
    }

    /// The bytes that are stored for a chain and a key that stand in two texts.
    pub fn encode(chain: &SecretBytes, key: &SecretBytes) -> Result<SecretBytes> {
        joined(&[text(chain)?, text(key)?])
    }
}

/// An SSH private key, and its public key if that was stored with it.
#[derive(Debug)]
pub struct SshKey {
    /// The block of the private key.
    pub private_key: SecretBytes,
    /// The line of the public key, as in `authorized_keys`.
    pub public_key: Option<SecretBytes>,
}

impl SshKey {
    /// Reads the bytes of an SSH key.
    ///
    /// # Errors
    /// `InvalidName` if they are none.
    pub fn parse(value: &SecretBytes) -> Result<Self> {
        let no_key = || Error::invalid_name("an SSH key begins with the block of a private key");
        let (block, behind) = block(text(value)?)?.ok_or_else(no_key)?;
        if !is_private_key(block.label) {
            return Err(no_key());
        }
        let line = behind.trim();
        if !line.is_empty() && !is_public_key(line) {
            return Err(Error::invalid_name(
                "behind the private key stands nothing but one line with the public key, or \
                 nothing",
            ));
        }
        let public_key = (!line.is_empty()).then(|| joined(&[line])).transpose()?;
        Ok(Self { private_key: joined(&[block.text])?, public_key })
    }
}

/// `PRIVATE KEY`, and with the name of an algorithm, of OpenSSH or of encryption
/// before it.
fn is_private_key(label: &str) -> bool {
    label.strip_suffix("PRIVATE KEY").is_some_and(|kind| kind.is_empty() || kind.ends_with(' '))
}

/// An algorithm, Base64 and perhaps a comment (RFC 4253 §6.6, as OpenSSH writes it).
fn is_public_key(line: &str) -> bool {
    let mut words = line.split(' ');
    let algorithm = words.next().unwrap_or_default();
    let key = words.next().unwrap_or_default();
    let known = ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| algorithm.starts_with(prefix));
    known && is_base64(key.bytes()) && !line.chars().any(char::is_control)
}

struct Block<'a> {
    label: &'a str,
    /// From the first dash of its begin to the last of its end.
    text: &'a str,
}

/// The block that `text` begins with, after blanks, and what is behind it; `None`
/// if it does not begin with one, and there is nothing or a line of something else.
fn block(text: &str) -> Result<Option<(Block<'_>, &str)>> {
    let text = text.trim_start();
    if text.is_empty() {
        return Ok(None);
    }
    let damaged = |what: &'static str| Error::invalid_name(what);
    let stray = || damaged("between and around PEM blocks there is nothing but blanks");
    let after = text.strip_prefix("-----BEGIN ").ok_or_else(stray)?;
    let (label, inner) = after.split_once("-----").ok_or_else(stray)?;
    let good = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
    if label.is_empty() || !label.chars().all(good) || !inner.starts_with(['\n', '\r']) {
        return Err(damaged("a PEM block has a begin that is not well-formed"));
    }
    let open = || damaged("a PEM block has no end of its own");
    let (body, tail) = inner.split_once("-----END ").ok_or_else(open)?;
    let behind = tail.strip_prefix(label).and_then(|tail| tail.strip_prefix("-----"));
    let behind = behind.ok_or_else(open)?;
    if !behind.is_empty() && !behind.starts_with(['\n', '\r']) {
        return Err(open());
    }
    check_body(body)?;
    let text = &text[..text.len() - behind.len()];
    Ok(Some((Block { label, text }, behind)))
}

/// Base64, after headers such as those of an encrypted key (RFC 1421 §4.4), which
/// end with an empty line.
fn check_body(body: &str) -> Result<()> {
    let body = body.trim_start_matches(['\r', '\n']);
    let is_header = |line: &str| line.contains(": ") || line.starts_with([' ', '\t']);
    let mut lines = body.lines().peekable();
    if lines.peek().is_some_and(|line| line.contains(": ")) {
        while lines.next_if(|line| is_header(line)).is_some() {}
        if lines.next().is_none_or(|line| !line.trim().is_empty()) {
            return Err(Error::invalid_name("the headers of a PEM block end with an empty line"));
        }
    }
    let digits = lines.flat_map(str::bytes).filter(|byte| !byte.is_ascii_whitespace());
    if is_base64(digits) {
        return Ok(());
    }
    Err(Error::invalid_name("what a PEM block holds is not Base64"))
}

/// At least four digits, padded (RFC 4648 §4). What they stand for is not looked
/// at, so that nothing is decoded.
fn is_base64(digits: impl Iterator<Item = u8>) -> bool {
    let (mut count, mut padding) = (0_usize, 0_usize);
    for digit in digits {
        count += 1;
        match digit {
            b'=' => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => {}
            _ => return false,
        }
    }
    count >= 4 && count.is_multiple_of(4) && padding <= 2
}

fn text(value: &SecretBytes) -> Result<&str> {
    let text = std::str::from_utf8(value.expose()).ok();
    text.ok_or_else(|| Error::invalid_name("PEM is text, and these bytes are not UTF-8"))
}

/// The parts in guarded memory, each with a line end of its own.
fn joined(parts: &[&str]) -> Result<SecretBytes> {
    let length = |part: &&str| part.len() + usize::from(!part.ends_with('\n'));
    let mut out = SecretBytes::zeroed(parts.iter().map(length).sum())?;
    let mut rest = out.expose_mut();
    for part in parts {
        let (place, behind) = std::mem::take(&mut rest).split_at_mut(length(part));
        place[..part.len()].copy_from_slice(part.as_bytes());
        place[part.len()..].fill(b'\n');
        rest = behind;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::{check, field};
    use super::*;
    use crate::{ErrorKind, Kind};

    const CERTIFICATE: &str =
        "-----BEGIN CERTIFICATE-----\nQUJD\nREVG\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nR0hJ\n-----END PRIVATE KEY-----\n";
    const LEGACY: &str = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
        DEK-Info: AES-128-CBC,00\n\nR0hJ\n-----END RSA PRIVATE KEY-----";
    const OPENSSH: &str =
        "-----BEGIN OPENSSH PRIVATE KEY-----\r\nR0hJSg==\r\n-----END OPENSSH PRIVATE KEY-----\r\n";

    fn bytes(text: &str) -> SecretBytes {
        SecretBytes::copy_from(text.as_bytes()).expect("memory")
    }

    fn is_field(kind: Kind, value: &str, name: &str, expected: &str) -> bool {
        field(kind, &bytes(value), name).expect("a field").expose() == expected.as_bytes()
    }

    #[test]
    fn a_certificate_is_a_chain_and_a_key_in_any_order() {
        let chain = [CERTIFICATE, CERTIFICATE].concat();
        for text in [
            format!("{chain}{KEY}"),
            format!("{KEY}\n{chain}"),
            format!("\n{CERTIFICATE}{KEY}\n{CERTIFICATE}"),
        ] {
            check(Kind::Certificate, &bytes(&text)).expect("a certificate");
            assert!(is_field(Kind::Certificate, &text, "certificate", &chain));
            assert!(is_field(Kind::Certificate, &text, "key", KEY));
        }
        let encoded = Certificate::encode(&bytes(CERTIFICATE.trim()), &bytes(LEGACY));
        let encoded = encoded.expect("memory");
        let parsed = Certificate::parse(&encoded).expect("a certificate");
        assert!(parsed.chain.expose() == CERTIFICATE.as_bytes());
        assert!(parsed.key.expose() == format!("{LEGACY}\n").as_bytes());
    }

    #[test]
    fn an_ssh_key_has_a_public_key_or_none() {
        let public = "ssh-ed25519 QUJDRA== me@host";
        for private in [OPENSSH, KEY, LEGACY] {
            let both = format!("{private}\n{public}\n");
            let shown = format!("{}\n", private.trim_end());
            for text in [private, &both] {
                check(Kind::SshKey, &bytes(text)).expect("an SSH key");
                assert!(is_field(Kind::SshKey, text, "private-key", &shown));
            }
            assert!(is_field(Kind::SshKey, &both, "public-key", &format!("{public}\n")));
            let none = field(Kind::SshKey, &bytes(private), "public-key").expect_err("none");
            assert_eq!(none.kind(), ErrorKind::NotFound);
        }
    }

    #[test]
    fn what_is_neither_is_refused_without_being_quoted() {
        let canary = "-----BEGIN CANARY-----\nQUJD\n-----END CANARY-----\n";
        for bad in [
            String::new(),
            "CANARY".to_owned(),
            CERTIFICATE.to_owned(),
            KEY.to_owned() + KEY + CERTIFICATE,
            format!("{CERTIFICATE}{KEY}CANARY"),
            format!("{CERTIFICATE}{KEY}{canary}"),
            format!("{CERTIFICATE}{}", KEY.replace("R0hJ", "CANARY!!")),
            format!("{CERTIFICATE}{}", KEY.replace("R0hJ", "R0h")),
            format!("{CERTIFICATE}{}", KEY.replace("R0hJ", "")),
            format!("{CERTIFICATE}{}", KEY.replace("END PRIVATE", "END CANARY")),
            format!("{CERTIFICATE}{}", KEY.replace("-----END PRIVATE KEY-----", "")),
            LEGACY.replace("\n\n", "\n"),
            format!("{KEY}CANARY\n"),
            format!("{KEY}ssh-rsa QUJD\nssh-rsa QUJD\n"),
            format!("ssh-rsa QUJD\n{KEY}"),
        ] {
            for kind in [Kind::Certificate, Kind::SshKey] {
                if kind == Kind::SshKey && bad == KEY {
                    continue;
                }
                let error = check(kind, &bytes(&bad)).expect_err("refused");
                assert_eq!(error.kind(), ErrorKind::InvalidName);
                assert!(!format!("{error:?}").contains("CANARY"), "a value is quoted");
            }
        }
        let error = check(Kind::SshKey, &SecretBytes::copy_from(b"\xff").expect("memory"));
        assert_eq!(error.expect_err("no text").kind(), ErrorKind::InvalidName);
    }
}
