//! Our metadata as AWS's: the description is its description, and a tag is its tag.
//!
//! AWS may have more than we may: longer texts, 50 tags, some of its own. What cannot
//! be ours is left alone, and not shown.

use std::collections::BTreeMap;

use aws_sdk_secretsmanager::types::Tag;
use strongroom_core::{Error, Metadata, Result};

/// Whether AWS can hold these tags of metadata. The limits of ours are below its own
/// (2048 characters, 50 tags of 128 and 256 characters); but its tags have letters,
/// digits, blanks and `_ . : / = + - @` only, and none that begins with `aws:` (user
/// guide, "Tagging secrets").
///
/// # Errors
/// `InvalidName`, and which tag it is.
pub(super) fn check(tags: &[Tag]) -> Result<()> {
    let good = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    for tag in tags {
        let (key, value) = (tag.key().unwrap_or_default(), tag.value().unwrap_or_default());
        if is_reserved(key) {
            return Err(Error::invalid_name(format!(
                "the tag {key} begins with aws:, as those of AWS itself do"
            )));
        }
        if !key.chars().chain(value.chars()).all(good) {
            return Err(Error::invalid_name(format!(
                "the tag {key} cannot be kept in AWS: its tags have letters, digits, blanks and \
                 _ . : / = + - @"
            )));
        }
    }
    Ok(())
}

fn is_reserved(key: &str) -> bool {
    key.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("aws:"))
}

/// What AWS has of metadata, as far as it can be ours.
pub(super) fn given(description: Option<&str>, tags: Option<&[Tag]>) -> Metadata {
    let mut text = String::new();
    for c in description.unwrap_or_default().chars() {
        if text.len() + c.len_utf8() > Metadata::MAX_DESCRIPTION_BYTES {
            break;
        }
        if !c.is_control() || matches!(c, '\n' | '\t') {
            text.push(c);
        }
    }
    let pairs = tags.unwrap_or_default().iter().filter_map(|tag| {
        let (key, value) = (tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned());
        let one = BTreeMap::from([(key.clone(), value.clone())]);
        let is_ours = !is_reserved(&key) && Metadata::new("", one).is_ok();
        is_ours.then_some((key, value))
    });
    let mut pairs: BTreeMap<_, _> = pairs.collect();
    while pairs.len() > Metadata::MAX_TAGS {
        pairs.pop_last();
    }
    // Every part was looked at: this does not fail.
    Metadata::new(text, pairs).unwrap_or_default()
}

/// `metadata` as they are sent.
pub(super) fn tags(metadata: &Metadata) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
    metadata.tags().iter().map(tag).collect()
}

/// What to send to make `new` of `old`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Difference {
    pub(super) description: Option<String>,
    pub(super) set: Vec<Tag>,
    pub(super) remove: Vec<String>,
}

pub(super) fn difference(old: &Metadata, new: &Metadata) -> Difference {
    let is_other = old.description() != new.description();
    let set = tags(new).into_iter().filter(|tag| {
        tag.key().is_none_or(|key| old.tags().get(key).map(String::as_str) != tag.value())
    });
    let remove = old.tags().keys().filter(|key| !new.tags().contains_key(*key));
    Difference {
        description: is_other.then(|| new.description().to_owned()),
        set: set.collect(),
        remove: remove.cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    fn metadata(description: &str, tags: &[(&str, &str)]) -> Metadata {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Metadata::new(description, tags.collect()).expect("valid")
    }

    fn tag(key: &str, value: &str) -> Tag {
        Tag::builder().key(key).value(value).build()
    }

    #[test]
    fn what_aws_does_not_take_is_told_by_its_key() {
        let good = metadata("any \u{1f512}", &[("a b_.:/+-@", "z\u{fc}rich=1"), ("label", "")]);
        check(&tags(&good)).expect("good");
        for (key, value) in [("a&b", ""), ("owner", "a, b"), ("aws:x", ""), ("AWS:x", "")] {
            let error = check(&tags(&metadata("", &[(key, value)]))).expect_err(key);
            assert_eq!(error.kind(), ErrorKind::InvalidName);
            assert!(error.message().contains(key), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_ours_is_not_shown() {
        let long = "x".repeat(200);
        let foreign = [
            tag("a=b", ""),
            tag("aws:cloudformation:x", "1"),
            tag("ours", "1"),
            tag("long", &long),
        ];
        let text = format!("\u{7}{}", "\u{fc}".repeat(2048));
        let found = given(Some(&text), Some(&foreign));
        assert_eq!(found.tags().len(), 1);
        assert_eq!(found.description(), "\u{fc}".repeat(512));
        let many: Vec<_> = (0..50).map(|n| tag(&format!("{n:02}"), "")).collect();
        assert_eq!(given(None, Some(&many)).tags().len(), Metadata::MAX_TAGS);
        assert_eq!(given(None, None), Metadata::default());
        let all = metadata("d\n", &[("a", "1"), ("b", "")]);
        assert_eq!(given(Some(all.description()), Some(&tags(&all))), all);
    }

    #[test]
    fn only_what_is_different_is_sent() {
        let old = metadata("d", &[("a", "1"), ("b", "2"), ("c", "3")]);
        let new = metadata("d", &[("a", "1"), ("b", "3"), ("d", "")]);
        let Difference { description, set, remove } = difference(&old, &new);
        assert_eq!((description, set), (None, vec![tag("b", "3"), tag("d", "")]));
        assert_eq!(remove, ["c"]);
        let all = difference(&old, &Metadata::default());
        assert_eq!((all.description.as_deref(), all.remove.len()), (Some(""), 3));
    }
}
