//! Writing a configuration: the example, with some values filled in, so that
//! every file that we write explains itself.

use std::fmt::Write;
use std::path::Path;

use strongroom_core::{Error, Result};

use super::{EXAMPLE, ProtectionType, SecretRef, StoreType};
use crate::Home;

/// What is chosen when a configuration is first written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewConfig {
    /// `[scope] account`
    pub account: String,
    /// `[store] type`
    pub store: StoreType,
    /// `[kek] protection`
    pub protection: ProtectionType,
    /// `[kek] passphrase`
    pub passphrase: Option<SecretRef>,
    /// `[kek] credential`
    pub credential: Option<String>,
    /// Whether the sidecar's own user may do everything through its socket.
    pub allow_owner: bool,
}

/// The rule for [`NewConfig::allow_owner`].
const OWNER_RULE: &str = "
# The user that the sidecar runs as, who could open the store without it.
[[sidecar.allow]]
owner = true
names = [\"**\"]
verbs = [\"all\"]
";

impl Default for NewConfig {
    fn default() -> Self {
        let config = super::Config::default();
        Self {
            account: config.scope.account,
            store: config.store.kind,
            protection: config.kek.protection,
            passphrase: None,
            credential: None,
            allow_owner: true,
        }
    }
}

impl NewConfig {
    /// The text of a configuration for `home`, with every key explained. Files
    /// below the configuration's own folder get relative paths, so that the
    /// folder can be moved.
    ///
    /// # Errors
    /// `Configuration` if a path of `home` is not UTF-8, which TOML needs.
    pub fn to_text(&self, home: &Home) -> Result<String> {
        let base = home.config.parent().unwrap_or(Path::new(""));
        let path = |path: &Path| {
            let short = path.strip_prefix(base).unwrap_or(path);
            short.to_str().map(quoted).ok_or_else(|| {
                let path = path.display();
                Error::configuration(format!("{path} cannot stand in a configuration: not UTF-8"))
            })
        };
        let mut values = vec![
            ("scope", "account", quoted(&self.account)),
            ("store", "type", quoted(self.store.as_str())),
            ("store", "path", path(&home.records)?),
            ("kek", "key_file", path(&home.key_file)?),
            ("kek", "protection", quoted(self.protection.as_str())),
            ("audit", "path", path(&home.audit)?),
        ];
        if let Some(reference) = &self.passphrase {
            values.push(("kek", "passphrase", quoted(&reference.to_string())));
        }
        if let Some(credential) = &self.credential {
            values.push(("kek", "credential", quoted(credential)));
        }
        values.push(("sidecar", "socket", path(&home.socket)?));
        let mut text = fill(&values);
        if self.allow_owner {
            text.push_str(OWNER_RULE);
        }
        Ok(text)
    }
}

/// The example with other values: each of `values` is a section, a key and the
/// TOML text of its value. A key that the example does not have is left out.
#[must_use]
fn fill(values: &[(&str, &str, String)]) -> String {
    let mut section = "";
    let mut out = String::with_capacity(EXAMPLE.len() + 256);
    for line in EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        }
        if let Some(name) = line.strip_prefix("#[[").and_then(|line| line.strip_suffix("]]")) {
            section = name;
        }
        let key = key_of(line);
        let value = values.iter().find(|(s, k, _)| *s == section && Some(*k) == key);
        match value {
            Some((_, key, value)) => drop(writeln!(out, "{key} = {value}")),
            None => drop(writeln!(out, "{line}")),
        }
    }
    out
}

/// A text as TOML writes it.
#[must_use]
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The key that a line sets, or that it would set if it were not switched off
/// with a `#` directly before it.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix('#').unwrap_or(line).split_once(" = ")?;
    let good = |c: char| c.is_ascii_lowercase() || c == '_';
    (!key.is_empty() && key.chars().all(good)).then_some(key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Config;
    use super::super::parse::{known_keys, known_lists};
    use super::*;

    fn all_switched_on() -> String {
        let on = |line: &str| match key_of(line) {
            Some(_) => line.strip_prefix('#').unwrap_or(line).to_owned(),
            None if line.starts_with("#[[") => line.replacen('#', "", 1),
            None => line.to_owned(),
        };
        EXAMPLE.lines().map(on).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_as_it_stands_is_the_default() {
        assert_eq!(Config::parse(EXAMPLE).expect("the example parses"), Config::default());
    }

    #[test]
    fn the_example_has_every_key_and_no_other() {
        let table: toml::Table = all_switched_on().parse().expect("TOML");
        let found: BTreeSet<_> = table
            .iter()
            .flat_map(|(section, keys)| {
                let keys = keys.as_table().expect("a section").keys();
                keys.map(move |key| (section.clone(), key.clone()))
            })
            .collect();
        let known: BTreeSet<_> = known_keys()
            .into_iter()
            .flat_map(|(section, keys)| keys.iter().map(move |k| (section.into(), (*k).into())))
            .collect();
        assert_eq!(found, known);
    }

    #[test]
    fn the_example_explains_every_key_of_a_list() {
        for (place, keys) in known_lists() {
            let before = match place {
                "sidecar.allow" => "# Who may do what",
                "store.references" => "# External stores",
                "aws.connectors" => "# Connectors to AWS",
                "vault.connectors" => "# Connectors to HashiCorp Vault",
                _ => "# Further KEKs",
            };
            let (_, text) = EXAMPLE.split_once(before).expect(place);
            for key in keys {
                let mut words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
                assert!(words.any(|word| word == *key), "{place} {key}");
            }
        }
    }

    #[test]
    fn the_keys_of_a_list_are_left_alone() {
        let home = Home::at(Path::new("/h"));
        let text = NewConfig::default().to_text(&home).expect("text");
        let (_, more) = text.split_once("#[[kek.more]]").expect("the list");
        assert!(more.contains("\n#key_file = \"/media"), "{more}");
    }

    #[test]
    fn a_new_configuration_lets_its_owner_in_unless_told_otherwise() {
        let home = Home::at(Path::new("/h"));
        let mut new = NewConfig::default();
        let config = Config::parse(&new.to_text(&home).expect("text")).expect("valid");
        assert!(config.sidecar.allow.len() == 1 && config.sidecar.allow[0].owner);
        new.allow_owner = false;
        let config = Config::parse(&new.to_text(&home).expect("text")).expect("valid");
        assert!(config.sidecar.allow.is_empty());
    }

    /// The text without the lines that set one of `keys`.
    fn without(text: &str, keys: &[&str]) -> String {
        let stays = |line: &&str| !keys.iter().any(|key| line.starts_with(&format!("{key} = ")));
        text.lines().filter(stays).collect::<Vec<_>>().join("\n")
    }

    /// What excludes each other is tried in turn.
    #[test]
    fn every_value_of_the_example_is_valid() {
        let text = all_switched_on();
        let (text, vault) = text.rsplit_once("[[vault.connectors]]").expect("the last section");
        let (text, aws) = text.rsplit_once("[[aws.connectors]]").expect("the one before");
        let of_kms =
            ["connector", "key", "replicas", "former_keys", "kms_key", "mount", "engine_version"];
        let local = without(text, &of_kms);
        for (protection, other) in [("passphrase", "credential"), ("credential", "passphrase")] {
            let is = format!("protection = \"{protection}\"");
            let text = without(&local, &[other]).replace("protection = \"none\"", &is);
            Config::parse(&text).expect(protection);
        }
        if cfg!(feature = "aws") {
            let of_others = ["passphrase", "credential", "rotate_after", "kms_key"];
            let kms = without(text, &[&of_others[..], &["mount", "engine_version"]].concat());
            // The first is that of [store].
            let kms = kms.replacen("connector = \"aws\"", "", 1);
            // The first is that of [kek].
            let kms = kms.replacen("type = \"local\"", "type = \"aws-kms\"", 1);
            let key = ["access_key_id", "secret_access_key", "session_token"];
            let role = ["role_arn", "token", "token_file", "token_command"];
            for (credential, unused) in [
                ("host", [&key[..], &role].concat()),
                ("access-key", role.to_vec()),
                ("irsa", [&key[..], &["token", "token_command"]].concat()),
                ("oidc", [&key[..], &["token", "token_command"]].concat()),
                ("oidc", [&key[..], &["token", "token_file"]].concat()),
                ("oidc", [&key[..], &["token_file", "token_command"]].concat()),
            ] {
                let is = format!("credential = \"{credential}\"");
                let aws = without(aws, &unused).replace("credential = \"host\"", &is);
                let text = format!("{kms}\n[[aws.connectors]]\n{aws}");
                Config::parse(&text).expect(credential);
            }
            let cloud = without(text, &["passphrase", "credential", "moving_to", "key"]);
            let cloud = without(&cloud, &["replicas", "former_keys", "mount", "engine_version"])
                .replace("type = \"redb\"", "type = \"aws-secrets-manager\"");
            let at = cloud.rfind("connector = \"aws\"").expect("that of [kek]");
            let cloud = format!("{}#{}", &cloud[..at], &cloud[at..]);
            let connector = "[[aws.connectors]]\nname = \"aws\"\nregion = \"eu-central-1\"\n";
            Config::parse(&format!("{cloud}\n{connector}")).expect("in a cloud");
        }
        if cfg!(feature = "vault") {
            let base = "[kek]\ntype = \"vault-transit\"\nkey = \"k\"\nmount = \"m\"\n";
            let tls = ["client_certificate", "client_key"];
            let of_login = [
                ("token", &["token"][..]),
                ("approle", &["auth_mount", "role_id", "secret_id", "secret_id_wrapped"]),
                ("kubernetes", &["auth_mount", "role", "token_file"]),
                ("jwt", &["auth_mount", "role", "jwt"]),
                ("aws", &["auth_mount", "role", "aws_connector", "server_id"]),
                ("certificate", &["auth_mount", "role"]),
                ("agent", &["token_file"]),
            ];
            for (auth, used) in of_login {
                let all = of_login.iter().flat_map(|(_, keys)| *keys);
                let unused: Vec<_> = all.filter(|key| !used.contains(key)).copied().collect();
                let is = format!("auth = \"{auth}\"");
                let vault = without(vault, &unused).replace("auth = \"token\"", &is);
                let references = "[[store.references]]\nname = \"x\"\nconfig = \"x.toml\"\n";
                let aws = "[[aws.connectors]]\nname = \"aws\"\nregion = \"eu-central-1\"\n";
                let aws = if cfg!(feature = "aws") { aws } else { "" };
                let text = format!("{base}{references}{aws}[[vault.connectors]]\n{vault}");
                Config::parse(&text).expect(auth);
                if auth != "certificate" {
                    let text = without(&text, &tls);
                    Config::parse(&text).expect(auth);
                }
            }
        }
    }

    #[test]
    fn values_are_filled_in_and_escaped() {
        let account = "a\"\\b";
        let text = fill(&[
            ("store", "type", quoted("redb")),
            ("scope", "org", quoted("ops")),
            ("store", "path", quoted(account)),
        ]);
        let config = Config::parse(&text).expect("valid");
        assert_eq!(config.store.kind, super::super::StoreType::Redb);
        assert_eq!(config.scope.org.as_deref(), Some("ops"));
        assert_eq!(config.store.path, std::path::Path::new(account));
        assert_eq!(config.kek, Config::default().kek);
    }
}
