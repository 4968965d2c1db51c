//! What is told about a secret besides its name: a description and tags. They
//! are no secret: a list shows them, and no key is needed to read them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::error::{Error, Result};

/// A description and tags. Equal metadata have equal bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Metadata {
    description: String,
    tags: BTreeMap<String, String>,
}

impl Metadata {
    /// The longest description, in bytes.
    pub const MAX_DESCRIPTION_BYTES: usize = 1024;
    /// The most tags.
    pub const MAX_TAGS: usize = 32;
    /// The longest key of a tag, and the longest value of one, in bytes.
    pub const MAX_TAG_BYTES: usize = 128;

    /// A description, which may be empty, and tags. A tag with an empty value is
    /// a label.
    ///
    /// # Errors
    /// `InvalidName` for control characters (a description may have line ends
    /// and tabs), for a key that is empty or has a `=`; `LimitExceeded` beyond the
    /// limits above.
    pub fn new(description: impl Into<String>, tags: BTreeMap<String, String>) -> Result<Self> {
        let metadata = Self { description: description.into(), tags };
        metadata.check()?;
        Ok(metadata)
    }

    /// What the secret is for; empty if nobody said.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The tags, ordered by the bytes of their keys.
    #[must_use]
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    /// Whether there is neither description nor tag.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.description.is_empty() && self.tags.is_empty()
    }

    /// Whether there is a tag `key`, with this value if one is asked for.
    #[must_use]
    pub fn has_tag(&self, key: &str, value: Option<&str>) -> bool {
        self.tags.get(key).is_some_and(|found| value.is_none_or(|value| value == found))
    }

    fn check(&self) -> Result<()> {
        let limit = |what: &str, has: usize, most: usize| {
            Err(Error::limit_exceeded(format!("{what} {has}: {most} are allowed")))
        };
        let bytes = self.description.len();
        if bytes > Self::MAX_DESCRIPTION_BYTES {
            return limit("bytes of the description:", bytes, Self::MAX_DESCRIPTION_BYTES);
        }
        if self.description.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err(Error::invalid_name("the description has control characters"));
        }
        if self.tags.len() > Self::MAX_TAGS {
            return limit("tags of a secret:", self.tags.len(), Self::MAX_TAGS);
        }
        for (key, value) in &self.tags {
            if key.is_empty() || key.contains('=') {
                return Err(Error::invalid_name(
                    "the key of a tag is one character or more, no `=`",
                ));
            }
            if key.chars().chain(value.chars()).any(char::is_control) {
                return Err(Error::invalid_name("a tag has control characters"));
            }
            let bytes = key.len().max(value.len());
            if bytes > Self::MAX_TAG_BYTES {
                return limit("bytes of a tag's key or value:", bytes, Self::MAX_TAG_BYTES);
            }
        }
        Ok(())
    }

    /// Appends the bytes that a head keeps; `FORMAT.md` defines them.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        // `check` holds: every length fits.
        out.extend_from_slice(&(self.description.len() as u16).to_le_bytes());
        out.extend_from_slice(self.description.as_bytes());
        out.push(self.tags.len() as u8);
        for text in self.tags.iter().flat_map(|(key, value)| [key, value]) {
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// Reads what [`encode_into`](Self::encode_into) wrote, and nothing else:
    /// tags out of order, or bytes that follow, are `None`.
    pub(crate) fn decode(mut encoded: &[u8]) -> Option<Self> {
        fn take<'a>(from: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
            let (taken, rest) = from.split_at_checked(bytes)?;
            *from = rest;
            Some(taken)
        }
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let length = take(&mut encoded, 2)?.try_into().ok().map(u16::from_le_bytes)?;
        let description = text(take(&mut encoded, length.into())?)?;
        let mut tags = BTreeMap::new();
        for _ in 0..*take(&mut encoded, 1)?.first()? {
            let mut part = || {
                let length = *take(&mut encoded, 1)?.first()?;
                text(take(&mut encoded, length.into())?)
            };
            let (key, value) = (part()?, part()?);
            if tags.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return None;
            }
            tags.insert(key, value);
        }
        encoded.is_empty().then(|| Self::new(description, tags).ok())?
    }
}

/// What is to change of a secret's metadata, in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataChange {
    /// Whether to begin with nothing instead of with what is there.
    pub replace: bool,
    /// The description from now on; `None` leaves it.
    pub description: Option<String>,
    /// The keys of tags that go.
    pub remove: BTreeSet<String>,
    /// Tags that are added, or get another value.
    pub tags: BTreeMap<String, String>,
}

impl MetadataChange {
    /// What becomes of `old`.
    ///
    /// # Errors
    /// As [`Metadata::new`].
    pub fn apply(&self, old: &Metadata) -> Result<Metadata> {
        let Metadata { mut description, mut tags } =
            if self.replace { Metadata::default() } else { old.clone() };
        if let Some(new) = &self.description {
            description.clone_from(new);
        }
        tags.retain(|key, _| !self.remove.contains(key));
        tags.extend(self.tags.clone());
        Metadata::new(description, tags)
    }
}

impl From<Metadata> for MetadataChange {
    /// The change that leaves nothing but `metadata`.
    fn from(Metadata { description, tags }: Metadata) -> Self {
        Self { replace: true, description: Some(description), remove: BTreeSet::new(), tags }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ErrorKind;

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn limits_and_control_characters_are_told() {
        let longest = "ä".repeat(Metadata::MAX_TAG_BYTES / 2);
        let most: BTreeMap<_, _> =
            (0..Metadata::MAX_TAGS).map(|n| (n.to_string(), longest.clone())).collect();
        let good = Metadata::new("x\n\t".repeat(341), most.clone()).expect("within the limits");
        let mut bytes = Vec::new();
        good.encode_into(&mut bytes);
        assert_eq!(Metadata::decode(&bytes), Some(good));

        let mut more = most;
        more.insert("one".to_owned(), String::new());
        let (limit, invalid) = (ErrorKind::LimitExceeded, ErrorKind::InvalidName);
        for (description, tags, kind) in [
            ("x".repeat(Metadata::MAX_DESCRIPTION_BYTES + 1), BTreeMap::new(), limit),
            (String::new(), more, limit),
            (String::new(), tags(&[("k", &format!("{longest}x"))]), limit),
            (String::new(), tags(&[(&format!("{longest}x"), "")]), limit),
            ("a\u{1b}[2J".to_owned(), BTreeMap::new(), invalid),
            (String::new(), tags(&[("", "v")]), invalid),
            (String::new(), tags(&[("a=b", "v")]), invalid),
            (String::new(), tags(&[("a", "v\n")]), invalid),
        ] {
            assert_eq!(Metadata::new(description, tags).expect_err("refused").kind(), kind);
        }
    }

    #[test]
    fn changes_are_applied_to_what_is_there() {
        let old = Metadata::new("old", tags(&[("a", "1"), ("b", "2")])).expect("valid");
        let change = MetadataChange {
            remove: ["a".to_owned()].into(),
            tags: tags(&[("b", "3"), ("c", "")]),
            ..MetadataChange::default()
        };
        let new = change.apply(&old).expect("valid");
        assert_eq!((new.description(), new.tags()), ("old", &tags(&[("b", "3"), ("c", "")])));
        assert!(new.has_tag("b", Some("3")) && new.has_tag("c", None));
        assert!(!new.has_tag("b", Some("2")) && !new.has_tag("a", None));
        assert_eq!(MetadataChange::from(new.clone()).apply(&old).expect("valid"), new);
        assert_eq!(MetadataChange::default().apply(&old).expect("valid"), old);
    }

    #[test]
    fn there_is_one_encoding_of_each() {
        let metadata = Metadata::new("d", tags(&[("a", "1"), ("b", "")])).expect("valid");
        let mut bytes = Vec::new();
        metadata.encode_into(&mut bytes);
        assert_eq!(bytes, b"\x01\0d\x02\x01a\x011\x01b\0");
        for bad in [
            &b"\x01\0d\x02\x01b\0\x01a\x011"[..],
            b"\x01\0d\x02\x01a\0\x01a\0",
            b"\x01\0d\x00x",
            b"\x01\0d",
            b"\x01\0\xff\x00",
            b"\0\0\x01\0\x01v",
        ] {
            assert_eq!(Metadata::decode(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_decodes_is_what_it_encodes_to(bytes in proptest::collection::vec(0u8..6, 0..24)) {
            if let Some(metadata) = Metadata::decode(&bytes) {
                let mut again = Vec::new();
                metadata.encode_into(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
