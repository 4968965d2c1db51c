//! Our metadata as `custom_metadata` of KV 2: a tag is a key of its own, and so is the
//! description, in pieces if it is long.
//!
//! Vault takes values of 1 to 512 bytes, keys of 1 to 128, and neither with what cannot
//! be printed (API documentation, "Create/Update metadata"). A value that is not so is
//! kept with `strongroom-escaped:` before it and each such character as `%XX`. What
//! others wrote that cannot be ours is left alone, and not shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use strongroom_core::{Error, Metadata, Result};

use super::data::RESERVED;

/// What Vault has of metadata.
pub(super) type Custom = BTreeMap<String, String>;
/// What is to change of it: `None` takes a key away.
pub(super) type Change = BTreeMap<String, Option<String>>;

const DESCRIPTION: &str = "strongroom-description";
const ESCAPED: &str = "strongroom-escaped:";
/// The longest value, in bytes.
const MAX_BYTES: usize = 512;
/// The pieces of the longest description, with each of its bytes escaped as three, and
/// up to three bytes left free at the end of a piece.
const MAX_PIECES: usize =
    (3 * Metadata::MAX_DESCRIPTION_BYTES + ESCAPED.len()).div_ceil(MAX_BYTES - 3);

/// Whether Vault can hold these metadata.
///
/// # Errors
/// `InvalidName`, and which tag it is.
pub(super) fn check(metadata: &Metadata) -> Result<()> {
    for key in metadata.tags().keys() {
        if key.starts_with(RESERVED) {
            return Err(Error::invalid_name(format!(
                "the tag {key} begins with {RESERVED}, as what Strongroom itself keeps there does"
            )));
        }
        if !key.chars().all(is_printable) {
            return Err(Error::invalid_name(format!(
                "the tag {} cannot be kept in Vault: its key has what cannot be printed",
                key.escape_debug()
            )));
        }
    }
    Ok(())
}

/// What Vault has, as far as it can be ours.
pub(super) fn given(custom: &Custom) -> Metadata {
    let pieces = (0..MAX_PIECES).map_while(|number| custom.get(&piece(number)));
    let mut description = String::new();
    for c in unescaped(&pieces.map(String::as_str).collect::<String>()).chars() {
        if description.len() + c.len_utf8() > Metadata::MAX_DESCRIPTION_BYTES {
            break;
        }
        if !c.is_control() || matches!(c, '\n' | '\t') {
            description.push(c);
        }
    }
    let tags = custom.iter().filter(|(key, _)| !key.starts_with(RESERVED));
    let tags = tags.map(|(key, value)| (key.clone(), unescaped(value)));
    let is_ours = |(key, value): &(String, String)| {
        Metadata::new("", BTreeMap::from([(key.clone(), value.clone())])).is_ok()
    };
    let mut tags: BTreeMap<_, _> = tags.filter(is_ours).collect();
    while tags.len() > Metadata::MAX_TAGS {
        tags.pop_last();
    }
    // Every part was looked at: this does not fail.
    Metadata::new(description, tags).unwrap_or_default()
}

/// What to send to make `new` of `old`, which is in what Vault has.
pub(super) fn change(old: &Metadata, new: &Metadata) -> Change {
    let mut change = Change::new();
    if old.description() != new.description() {
        let pieces = pieces(new.description());
        for number in 0..MAX_PIECES {
            // Also those that are not there: another change may have made them meanwhile.
            change.insert(piece(number), pieces.get(number).cloned());
        }
    }
    for key in old.tags().keys().filter(|key| !new.tags().contains_key(*key)) {
        change.insert(key.clone(), None);
    }
    for (key, value) in new.tags().iter().filter(|(key, value)| old.tags().get(*key) != Some(value))
    {
        change.insert(key.clone(), Some(escaped(value)));
    }
    change
}

/// What to send to leave nothing but `new`, whatever there is and whoever wrote it.
pub(super) fn replacement(custom: &Custom, new: &Metadata) -> Change {
    let mut all: Change = custom.keys().map(|key| (key.clone(), None)).collect();
    all.extend(change(&Metadata::default(), new));
    all
}

fn piece(number: usize) -> String {
    match number {
        0 => DESCRIPTION.to_owned(),
        number => format!("{DESCRIPTION}:{}", number + 1),
    }
}

fn pieces(description: &str) -> Vec<String> {
    if description.is_empty() {
        return Vec::new();
    }
    let (mut rest, mut pieces) = (&*escaped(description), Vec::new());
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(rest.floor_char_boundary(MAX_BYTES));
        pieces.push(head.to_owned());
        rest = tail;
    }
    pieces
}

/// `value` as Vault takes it.
fn escaped(value: &str) -> String {
    let is_plain = !value.is_empty() && value.chars().all(is_printable);
    if is_plain && !value.starts_with(ESCAPED) {
        return value.to_owned();
    }
    let mut text = ESCAPED.to_owned();
    for c in value.chars() {
        if c != '%' && is_printable(c) {
            text.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// What [`escaped`] made of a value; what it did not make is what it is.
fn unescaped(text: &str) -> String {
    let decode = || {
        let mut parts = text.strip_prefix(ESCAPED)?.split('%');
        let mut bytes = parts.next()?.as_bytes().to_vec();
        for part in parts {
            let (digits, rest) = part.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            bytes.extend_from_slice(rest.as_bytes());
        }
        String::from_utf8(bytes).ok()
    };
    decode().unwrap_or_else(|| text.to_owned())
}

/// What Vault takes for printable (Go's `unicode.IsPrint`), or a little less.
fn is_printable(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_core::ErrorKind;

    use super::*;

    fn metadata(description: &str, tags: &[(&str, &str)]) -> Metadata {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Metadata::new(description, tags.collect()).expect("valid")
    }

    /// What a merge patch (RFC 7396) makes of what is there.
    fn patched(custom: &Custom, change: Change) -> Custom {
        let mut custom = custom.clone();
        for (key, value) in change {
            match value {
                Some(value) => drop(custom.insert(key, value)),
                None => drop(custom.remove(&key)),
            }
        }
        custom
    }

    fn kept(metadata: &Metadata) -> Custom {
        patched(&Custom::new(), change(&Metadata::default(), metadata))
    }

    #[test]
    fn what_can_be_read_stays_readable() {
        let custom = kept(&metadata("z\u{fc}rich \"100%\"", &[("a b", "x=\\1"), ("pci", "")]));
        let expected = [
            ("a b", "x=\\1"),
            ("pci", "strongroom-escaped:"),
            ("strongroom-description", "z\u{fc}rich \"100%\""),
        ];
        assert!(custom.iter().map(|(key, value)| (&**key, &**value)).eq(expected), "{custom:?}");
        let escaped = kept(&metadata("a\n50%\u{a0}", &[]));
        assert_eq!(escaped["strongroom-description"], "strongroom-escaped:a%0A50%25%C2%A0");
    }

    #[test]
    fn what_cannot_be_ours_is_not_shown() {
        let long = "x".repeat(200);
        let foreign = [
            ("a=b", ""),
            ("long", &*long),
            ("ours", "1"),
            ("escaped", "strongroom-escaped:%zz"),
            ("strongroom-else", "1"),
        ];
        let mut custom: Custom =
            foreign.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        custom.insert(piece(0), "\u{fc}".repeat(400));
        custom.insert(piece(1), "\u{fc}".repeat(400));
        let found = given(&custom);
        assert_eq!(found.tags().keys().collect::<Vec<_>>(), ["escaped", "ours"]);
        assert_eq!(found.description(), "\u{fc}".repeat(512));
        let many: Custom = (0..60).map(|n| (format!("{n:02}"), "1".to_owned())).collect();
        assert_eq!(given(&many).tags().len(), Metadata::MAX_TAGS);
    }

    #[test]
    fn what_vault_does_not_take_as_a_key_is_told() {
        check(&metadata("", &[("a b:c/\u{fc}", "x")])).expect("good");
        for key in ["strongroom-kind", "a\u{a0}b", "\u{200b}"] {
            let error = check(&metadata("", &[(key, "")])).expect_err(key);
            assert_eq!(error.kind(), ErrorKind::InvalidName);
        }
    }

    #[test]
    fn only_what_is_different_is_sent() {
        let old = metadata("d", &[("a", "1"), ("b", "2"), ("c", "3")]);
        let new = metadata("d", &[("a", "1"), ("b", "3"), ("d", "")]);
        let change = change(&old, &new);
        assert_eq!(change.keys().collect::<Vec<_>>(), ["b", "c", "d"]);
        assert_eq!(change["c"], None);
    }

    fn any_metadata() -> impl Strategy<Value = Metadata> {
        let text = "[ -~\u{a0}-\u{17f}\u{200b}\u{1f512}%\n\t]{0,400}";
        let tag = ("[a-z ]{1,9}", "(strongroom-escaped:)?[ -~\u{a0}-\u{ff}%]{0,20}");
        (text, proptest::collection::btree_map(tag.0, tag.1, 0..5))
            .prop_filter_map("valid", |(text, tags)| Metadata::new(text, tags).ok())
    }

    proptest! {
        #[test]
        fn metadata_come_back_and_vault_takes_them(old in any_metadata(), new in any_metadata()) {
            let custom = kept(&old);
            for (key, value) in &custom {
                prop_assert!((1..=128).contains(&key.len()), "{key}");
                prop_assert!((1..=MAX_BYTES).contains(&value.len()), "{value}");
                prop_assert!(key.chars().chain(value.chars()).all(is_printable), "{value}");
            }
            prop_assert_eq!(&given(&custom), &old);
            let changed = patched(&custom, change(&old, &new));
            prop_assert_eq!(&given(&changed), &new);
            let replaced = patched(&custom, replacement(&custom, &new));
            prop_assert_eq!(replaced, kept(&new));
        }
    }
}
