//! What other tools export in plain text: names and values are taken out of it,
//! the values straight into guarded memory.
//!
//! | format | is |
//! |---|---|
//! | [`Env`](Format::Env) | `NAME=value` lines, as of dotenv, Doppler, Infisical |
//! | [`Json`](Format::Json) | an object, nested ones joined with `.`, as of Doppler, `sops -d`, `bw` |
//! | [`Vault`](Format::Vault) | `vault kv get -format=json`, version 1 and 2 of the engine |
//! | [`OnePassword`](Format::OnePassword) | `op item get --format json`: the fields that have a value |

mod env;
mod json;

use std::fmt;
use std::str::FromStr;

use strongroom_guard::SecretBytes;

use self::json::Node;
use crate::error::{Error, Result};
use crate::name::{MAX_IDENTIFIER_BYTES, Scope, SecretName};

/// What a file that is imported is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Lines of `NAME=value`.
    Env,
    /// A JSON object.
    Json,
    /// What Vault's `kv get` gives as JSON.
    Vault,
    /// What 1Password's `item get` gives as JSON.
    OnePassword,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Env, Self::Json, Self::Vault, Self::OnePassword];

    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Json => "json",
            Self::Vault => "vault",
            Self::OnePassword => "1password",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| Error::configuration("the formats are env, json, vault and 1password"))
    }
}

/// One value of a file.
#[derive(Debug)]
pub struct Item {
    /// What the file calls it.
    pub key: String,
    /// The value.
    pub value: SecretBytes,
}

/// Every value of a file, in its order.
///
/// # Errors
/// `Configuration` names the line or the place where the file is not what it
/// should be; never what stands there.
pub fn parse(format: Format, file: &SecretBytes) -> Result<Vec<Item>> {
    let parsed = match format {
        Format::Env => env::parse(file.expose()),
        Format::Json => json::parse(file.expose()).and_then(flat),
        Format::Vault => json::parse(file.expose()).and_then(vault),
        Format::OnePassword => json::parse(file.expose()).and_then(one_password),
    };
    parsed.map_err(|error| error.during("import"))
}

/// The name that `key` gets in `scope`: what may not stand in a name becomes `_`.
pub fn name_of(scope: &Scope, prefix: &str, key: &str) -> Result<SecretName> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
    let mut id: String =
        prefix.chars().chain(key.chars()).map(|c| if allowed(c) { c } else { '_' }).collect();
    if id.starts_with(['-', '.', '$']) {
        id.replace_range(..1, "_");
    }
    for reserved in ["account.", "org."] {
        if id.starts_with(reserved) {
            id.replace_range(reserved.len() - 1..reserved.len(), "_");
        }
    }
    if id.len() > MAX_IDENTIFIER_BYTES {
        return Err(Error::invalid_name(format!(
            "it would be a name of {} characters, and {MAX_IDENTIFIER_BYTES} are allowed",
            id.len()
        )));
    }
    SecretName::new(scope.clone(), &id)
}

/// The leaves of an object, by their paths.
fn flat(node: Node) -> Result<Vec<Item>> {
    let Node::Object(_) = &node else { return Err(shape("an object")) };
    let mut items = Vec::new();
    flatten(String::new(), node, &mut items);
    Ok(items)
}

fn flatten(key: String, node: Node, items: &mut Vec<Item>) {
    let below = |part: &str| if key.is_empty() { part.to_owned() } else { format!("{key}.{part}") };
    match node {
        Node::Null => {}
        Node::Value(value) => items.push(Item { key, value }),
        Node::Object(fields) => {
            for (name, node) in fields {
                flatten(below(&name), node, items);
            }
        }
        Node::Array(nodes) => {
            for (index, node) in nodes.into_iter().enumerate() {
                flatten(below(&index.to_string()), node, items);
            }
        }
    }
}

/// Version 2 has the values in `data.data`, beside `data.metadata`.
fn vault(node: Node) -> Result<Vec<Item>> {
    let data = node.field("data").ok_or_else(|| shape("Vault's answer: it has no `data`"))?;
    let is_second = matches!(&data, Node::Object(fields)
        if fields.iter().any(|(name, _)| name == "metadata")
            && fields.iter().any(|(name, node)| name == "data" && matches!(node, Node::Object(_))));
    flat(if is_second { data.field("data").ok_or_else(|| shape("Vault's answer"))? } else { data })
}

fn one_password(node: Node) -> Result<Vec<Item>> {
    let Some(Node::Array(fields)) = node.field("fields") else {
        return Err(shape("an item of 1Password: it has no `fields`"));
    };
    let mut items = Vec::new();
    for field in fields {
        let Node::Object(parts) = field else { return Err(shape("an item of 1Password")) };
        let (mut key, mut value) = (None, None);
        for (name, node) in parts {
            match (name.as_str(), node) {
                ("label", Node::Value(label)) => key = label_of(&label).or(key),
                ("id", Node::Value(id)) => key = key.or_else(|| label_of(&id)),
                ("value", Node::Value(found)) => value = Some(found),
                _ => {}
            }
        }
        if let (Some(key), Some(value)) = (key, value) {
            items.push(Item { key, value });
        }
    }
    Ok(items)
}

/// A label is the name of a field, which is no secret.
fn label_of(label: &SecretBytes) -> Option<String> {
    let text = std::str::from_utf8(label.expose()).ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn shape(what: &str) -> Error {
    Error::configuration(format!("the file is not {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(format: Format, text: &str) -> Result<Vec<(String, String)>> {
        let file = SecretBytes::copy_from(text.as_bytes()).expect("memory");
        let text = |item: Item| {
            (item.key, String::from_utf8(item.value.expose().to_vec()).expect("text of a test"))
        };
        Ok(parse(format, &file)?.into_iter().map(text).collect())
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn json_is_flattened() {
        let text =
            r#"{"A":"x","db":{"user":"u","ports":[1,-2.5e3],"tls":true,"none":null},"E":""}"#;
        let expected = [
            ("A", "x"),
            ("db.user", "u"),
            ("db.ports.0", "1"),
            ("db.ports.1", "-2.5e3"),
            ("db.tls", "true"),
            ("E", ""),
        ];
        assert_eq!(items(Format::Json, text).expect("parsed"), pairs(&expected));
        for bad in ["[]", "\"x\"", "1"] {
            assert!(items(Format::Json, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn vault_gives_its_data_of_either_version() {
        let second = r#"{"request_id":"r","data":{"data":{"a":"1","b":"2"},
            "metadata":{"version":3}},"warnings":null}"#;
        let first = r#"{"data":{"a":"1","b":"2"}}"#;
        for text in [second, first] {
            let expected = pairs(&[("a", "1"), ("b", "2")]);
            assert_eq!(items(Format::Vault, text).expect("parsed"), expected);
        }
        assert!(items(Format::Vault, r#"{"a":"1"}"#).is_err());
    }

    #[test]
    fn one_password_gives_its_fields_by_their_labels() {
        let text = r#"{"title":"db","fields":[
            {"id":"username","type":"STRING","label":"user name","value":"u"},
            {"id":"password","value":"p"},
            {"id":"notesPlain","label":"notes"}]}"#;
        let expected = pairs(&[("user name", "u"), ("password", "p")]);
        assert_eq!(items(Format::OnePassword, text).expect("parsed"), expected);
    }

    #[test]
    fn keys_become_names() {
        let scope: Scope = "acme".parse().expect("valid");
        for (prefix, key, expected) in [
            ("", "DB_URL", "DB_URL"),
            ("app-", "db.user", "app-db.user"),
            ("", "user name/ü", "user_name__"),
            ("", "-x", "_x"),
            ("", "account.x", "account_x"),
            ("", "org.x", "org_x"),
        ] {
            assert_eq!(name_of(&scope, prefix, key).expect("valid").id(), expected);
        }
        assert!(name_of(&scope, "", "").is_err());
        assert!(name_of(&scope, "", &"x".repeat(129)).is_err());
    }
}
