//! How Vault writes what it has encrypted: `vault:v3:BASE64`.
//!
//! Records hold the version and the bytes. Vault reads more than it writes, such as
//! `v03` and `v0` for versions 3 and 1: here each has one form, so that nothing in a
//! record can be altered unnoticed.

use base64ct::{Base64, Encoding};

const PREFIX: &str = "vault:v";

/// Version and bytes, if `text` is as Vault writes it.
pub(super) fn parse(text: &str) -> Option<(u64, Vec<u8>)> {
    let (number, base64) = text.strip_prefix(PREFIX)?.split_once(':')?;
    Some((version(number)?, Base64::decode_vec(base64).ok()?))
}

/// As Vault writes it.
pub(super) fn write(version: u64, bytes: &[u8]) -> String {
    format!("{PREFIX}{version}:{}", Base64::encode_string(bytes))
}

/// A version's number, from 1; `None` for anything that is written in another way.
pub(super) fn version(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    // Vault's numbers are signed.
    text.parse().ok().filter(|number| is_plain && i64::try_from(*number).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vault_writes_is_read_and_nothing_else_is() {
        for (text, version, bytes) in [
            ("vault:v1:AAEC", 1, &[0, 1, 2][..]),
            ("vault:v12:/+8=", 12, &[0xff, 0xef]),
            ("vault:v9223372036854775807:AA==", 9_223_372_036_854_775_807, &[0]),
        ] {
            assert_eq!(parse(text), Some((version, bytes.to_vec())), "{text}");
            assert_eq!(write(version, bytes), text);
        }
        for text in [
            "",
            "vault:v1",
            "vault:v:AAEC",
            "vault:v0:AAEC",
            "vault:v01:AAEC",
            "vault:v+1:AAEC",
            "vault:v-1:AAEC",
            "vault:v 1:AAEC",
            "vault:v9223372036854775808:AAEC",
            "vault:v1:AAE",
            "vault:v1:AB==",
            "vault:v1:AA\n==",
            "Vault:v1:AAEC",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
