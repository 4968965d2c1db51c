//! From text to [`Config`], with errors that name file, line and key. They
//! never quote a value: somebody may have written a passphrase there.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::value::Error as PlainError;
use serde::de::{Deserializer, Error as _, Visitor};
use strongroom_core::{Error, Result};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    AllowRule, AuditSection, CacheSection, Config, ExternalSection, KekSection, MemorySection,
    MoreKek, ScopeSection, SidecarSection, StoreSection,
};
#[cfg(feature = "aws")]
use super::{AwsConnector, AwsSection};
#[cfg(feature = "vault")]
use super::{VaultConnector, VaultSection};

impl Config {
    /// Reads the configuration at `path`. A configuration that can be written
    /// by others is theirs: it is refused.
    ///
    /// # Errors
    /// `Configuration`, with the file, the line and the key.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_alone(path)?.without_circles()
    }

    /// The same, whatever other configurations lead back to this one.
    pub(super) fn load_alone(path: &Path) -> Result<Self> {
        let shown = path.display();
        let path = std::path::absolute(path).map_err(|e| {
            Error::configuration(format!("{shown} is not a usable path")).with_source(e)
        })?;
        let failed = |error: io::Error| {
            let what = match error.kind() {
                io::ErrorKind::NotFound => format!("there is no configuration at {shown}"),
                _ => format!("{shown} cannot be read: {error}"),
            };
            Error::configuration(what).with_source(error)
        };
        let mut file = File::open(&path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(Error::configuration(format!(
                "{shown} can be written by others, who could send your secrets elsewhere: run \
                 chmod go-w {shown}"
            )));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        Self::parse_in(&text, &shown.to_string(), Some(path))
    }

    /// Reads a configuration from text. Its relative paths begin at the current
    /// directory. No file is opened, so that circles over others are not found.
    ///
    /// # Errors
    /// `Configuration`, with the line and the key.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_in(text, "the configuration", None)?.without_circles()
    }

    fn parse_in(text: &str, shown: &str, file: Option<PathBuf>) -> Result<Self> {
        let place = |offset: usize| {
            let before = text.get(..offset).unwrap_or(text);
            let line = 1 + before.matches('\n').count();
            format!("{shown}, line {line}")
        };
        let failed = |error: &toml::de::Error| match error.span() {
            Some(span) => format!("{}: {}", place(span.start), error.message()),
            None => format!("{shown}: {}", error.message()),
        };
        let table = DeTable::parse(text).map_err(|e| Error::configuration(failed(&e)))?;
        if let Some((offset, problem)) = unknown_key(table.get_ref()) {
            return Err(Error::configuration(format!("{}: {problem}", place(offset))));
        }
        let config: Self = toml::from_str(text).map_err(|error| {
            let key = error.span().and_then(|span| key_at(table.get_ref(), span.start));
            let prefix = key.map(|key| format!(" ({key})")).unwrap_or_default();
            let at = error.span().map_or_else(|| shown.to_owned(), |span| place(span.start));
            Error::configuration(format!("{at}{prefix}: {}", error.message()))
        })?;
        let config = Self { file, ..config };
        config.check().map_err(|e| Error::configuration(format!("{shown}: {}", e.message())))?;
        Ok(config)
    }
}

/// The sections with their keys, as the types have them.
pub(super) fn known_keys() -> Vec<(&'static str, &'static [&'static str])> {
    vec![
        ("scope", fields_of::<ScopeSection>()),
        ("store", fields_of::<StoreSection>()),
        ("kek", fields_of::<KekSection>()),
        ("cache", fields_of::<CacheSection>()),
        ("audit", fields_of::<AuditSection>()),
        ("memory", fields_of::<MemorySection>()),
        ("sidecar", fields_of::<SidecarSection>()),
        #[cfg(feature = "aws")]
        ("aws", fields_of::<AwsSection>()),
        #[cfg(feature = "vault")]
        ("vault", fields_of::<VaultSection>()),
    ]
}

/// The lists of tables: where one stands, and the keys of its entries.
pub(super) fn known_lists() -> Vec<(&'static str, &'static [&'static str])> {
    vec![
        ("sidecar.allow", fields_of::<AllowRule>()),
        ("kek.more", fields_of::<MoreKek>()),
        ("store.references", fields_of::<ExternalSection>()),
        #[cfg(feature = "aws")]
        ("aws.connectors", fields_of::<AwsConnector>()),
        #[cfg(feature = "vault")]
        ("vault.connectors", fields_of::<VaultConnector>()),
    ]
}

/// Where the first unknown key stands, and what is said about it.
fn unknown_key(table: &DeTable<'_>) -> Option<(usize, String)> {
    let known = known_keys();
    let mut found: Vec<(usize, String)> = Vec::new();
    for (section, content) in table {
        let name: &str = section.get_ref();
        let Some((_, keys)) = known.iter().find(|(known, _)| *known == name) else {
            let sections: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            let what =
                if matches!(content.get_ref(), DeValue::Table(_)) { "section" } else { "key" };
            // A key before every section most likely belongs into one.
            let place = known.iter().find(|(_, keys)| keys.contains(&name));
            let hint = match place {
                Some((place, _)) => format!(": did you mean `{name}` in [{place}]?"),
                None => suggestion(name, &sections),
            };
            found.push((section.span().start, format!("unknown {what} `{}`{hint}", shown(name))));
            continue;
        };
        let DeValue::Table(content) = content.get_ref() else { continue };
        for key in content.keys().filter(|key| !keys.contains(&&**key.get_ref())) {
            let hint = suggestion(key.get_ref(), keys);
            let what = format!("unknown key `{}` in [{name}]{hint}", shown(key.get_ref()));
            found.push((key.span().start, what));
        }
        for (place, known) in known_lists() {
            let list = place.strip_prefix(name).and_then(|list| list.strip_prefix('.'));
            if let Some(entries) = list.and_then(|list| content.get(list)) {
                unknown_keys_of_list(entries.get_ref(), place, known, &mut found);
            }
        }
    }
    found.into_iter().min()
}

/// The same for a list of tables.
fn unknown_keys_of_list(
    entries: &DeValue<'_>,
    place: &str,
    known: &[&str],
    found: &mut Vec<(usize, String)>,
) {
    let DeValue::Array(entries) = entries else { return };
    for entry in entries {
        let DeValue::Table(entry) = entry.get_ref() else { continue };
        for key in entry.keys().filter(|key| !known.contains(&&**key.get_ref())) {
            let (name, hint) = (shown(key.get_ref()), suggestion(key.get_ref(), known));
            found.push((key.span().start, format!("unknown key `{name}` in [[{place}]]{hint}")));
        }
    }
}

/// A key may be any text: it is shown on a terminal.
fn shown(key: &str) -> String {
    key.chars().take(64).flat_map(char::escape_debug).collect()
}

pub(super) fn suggestion(name: &str, known: &[&str]) -> String {
    let near = known.iter().map(|known| (strsim::jaro_winkler(name, known), *known));
    let near = near.filter(|(likeness, _)| *likeness > 0.7);
    match near.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((_, known)) => format!(": did you mean `{known}`?"),
        None => format!(": known are {}", known.join(", ")),
    }
}

/// The key whose value covers the byte `offset`.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<String> {
    let covers = |value: &Spanned<DeValue<'_>>| value.span().contains(&offset);
    table.iter().find_map(|(section, content)| {
        let name = shown(section.get_ref());
        let DeValue::Table(keys) = content.get_ref() else {
            return covers(content).then_some(name);
        };
        let key = keys.iter().find(|(_, value)| covers(value))?.0;
        Some(format!("[{name}] {}", shown(key.get_ref())))
    })
}

/// The names of a struct's fields, as serde knows them, so that no second list
/// can fall behind.
fn fields_of<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    struct Fields<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = PlainError;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, PlainError> {
            Err(PlainError::custom("only structs have fields"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, PlainError> {
            *self.0 = fields;
            Err(PlainError::custom("only the fields were asked for"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
            bytes byte_buf option unit unit_struct newtype_struct seq tuple
            tuple_struct map enum identifier ignored_any
        }
    }
    let mut fields: &'static [&'static str] = &[];
    let _ = T::deserialize(Fields(&mut fields));
    fields
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    fn error(text: &str) -> String {
        let error = Config::parse(text).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Configuration, "{text}");
        error.to_string()
    }

    #[test]
    fn the_sections_are_those_of_the_type() {
        let sections: Vec<_> = known_keys().iter().map(|(name, _)| *name).collect();
        assert_eq!(sections, fields_of::<Config>());
        assert!(known_keys().iter().all(|(_, keys)| !keys.is_empty()));
    }

    #[test]
    fn an_empty_configuration_is_the_default() {
        assert_eq!(Config::parse("").expect("valid"), Config::default());
    }

    #[test]
    fn unknown_keys_name_their_line_and_the_nearest_known_one() {
        let said = error("[scope]\naccount = \"a\"\n\n[store]\ntype = \"sled\"\n\npth = \"x\"\n");
        assert_eq!(
            said,
            "the configuration, line 7: unknown key `pth` in [store]: did you mean `path`?"
        );
        assert!(error("[stroe]\n").contains("unknown section `stroe`: did you mean `store`?"));
        assert!(error("account = \"x\"").contains("did you mean `account` in [scope]?"));
        assert!(error("[kek]\nzzzz = 1").contains("known are type, key_file, protection"));
        assert!(error("[kek]\n\"\\u001b[2J\" = 1").contains("\\u{1b}"));
    }

    #[test]
    fn wrong_values_name_their_line_and_key() {
        let said = error("[store]\n\ntype = \"slde\"\n");
        assert!(said.contains("line 3 ([store] type)"), "{said}");
        assert!(said.contains("`sled`") && said.contains("`redb`"), "{said}");
        for (key, text) in [
            ("[store] recovery_window", "[store]\nrecovery_window = \"soon\""),
            ("[store] suite", "[store]\nsuite = \"rot13\""),
            ("[store] max_value_bytes", "[store]\nmax_value_bytes = -1"),
            ("[cache] jitter", "[cache]\njitter = 1.5"),
            ("[memory] secret_memory", "[memory]\nsecret_memory = 1"),
        ] {
            let said = error(text);
            assert!(said.contains(&format!("line 2 ({key})")), "{said}");
        }
    }

    #[test]
    fn a_passphrase_in_clear_is_refused_and_not_repeated() {
        for value in
            ["\"hunter2\"", "\"hunter2:x\"", "\"env:\"", "hunter2", "'hunter2", "[\"hunter2\"]"]
        {
            let said = error(&format!("[kek]\nprotection = \"passphrase\"\npassphrase = {value}"));
            assert!(!said.contains("hunter2"), "{said}");
            assert!(said.contains("line 3"), "{said}");
        }
        for value in ["71077345", "71077345.5", "71077345-01-01"] {
            let said = error(&format!("[kek]\nprotection = \"passphrase\"\npassphrase = {value}"));
            assert!(!said.contains("71077345"), "{said}");
        }
    }

    #[test]
    fn settings_that_have_no_use_together_are_refused() {
        assert!(error("[kek]\npassphrase = \"env:X\"").contains("protection = \"passphrase\""));
        assert!(error("[kek]\ncredential = \"X\"").contains("protection = \"credential\""));
        assert!(error("[kek]\nprotection = \"credential\"").contains("needs credential"));
        assert!(error("[scope]\nproject = \"web\"").contains("needs an org"));
    }
}
