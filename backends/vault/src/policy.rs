//! [`Policy`]: what a token has to be allowed, path by path, and as the HCL that Vault
//! reads.
//!
//! It is built from what is configured, and allows that and no more: a store its own
//! directory, a key wrapper its own key. Policies of several parts are joined with
//! [`Policy::and`].

use std::collections::BTreeSet;
use std::fmt;

use strongroom_core::{Error, Result};

/// What may be done at a path (Vault's documentation, "Policies").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// Write what is not there.
    Create,
    /// Read.
    Read,
    /// Write what is there, or call.
    Update,
    /// Change some fields.
    Patch,
    /// Delete.
    Delete,
    /// List what is below.
    List,
}

impl Capability {
    /// As a policy has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What has to be allowed at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// Below `/v1/`; with `*` at its end it stands for everything that begins so.
    pub path: String,
    /// What has to be allowed there.
    pub capabilities: BTreeSet<Capability>,
    /// What for.
    pub purpose: &'static str,
}

/// What a token has to be allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// Where a KV engine keeps what a policy is about.
#[derive(Clone, Copy, Debug)]
pub struct KvDirectory<'a> {
    /// The engine's mount, such as `secret`.
    pub mount: &'a str,
    /// The engine's version: 1 or 2.
    pub version: u8,
    /// The directory, such as `strongroom/acme`; everything in the engine if it is empty.
    pub path: &'a str,
}

/// A key of a Transit engine.
#[derive(Clone, Copy, Debug)]
pub struct TransitKey<'a> {
    /// The engine's mount, such as `transit`.
    pub mount: &'a str,
    /// The key's name.
    pub key: &'a str,
    /// Whether the key is derived: then Vault rewraps by itself.
    pub derived: bool,
}

impl Policy {
    /// What a store in this directory needs; of a read-only one, nothing that writes.
    ///
    /// # Errors
    /// `Configuration` if a path cannot stand in a policy.
    pub fn kv_store(at: KvDirectory<'_>, read_only: bool) -> Result<Self> {
        use Capability::{Create, Delete, List, Patch, Read, Update};
        let mut policy = Self::default();
        if at.version == 1 {
            let all = [Read, List, Create, Update, Delete];
            let capabilities = if read_only { &all[..2] } else { &all };
            policy.add(at.below("")?, capabilities, "values, and their names");
            return Ok(policy);
        }
        let all = [Read, Create, Update, Delete];
        let of_data = if read_only { &all[..1] } else { &all };
        policy.add(at.below("data")?, of_data, "values");
        let all = [Read, List, Patch];
        let of_metadata = if read_only { &all[..2] } else { &all };
        policy.add(at.below("metadata")?, of_metadata, "names, versions, descriptions, tags");
        policy.add(at.below("subkeys")?, &[Read], "kinds, without values");
        if !read_only {
            policy.add(at.below("undelete")?, &[Update], "restoring");
            policy.add(at.below("destroy")?, &[Update], "purging");
        }
        Ok(policy)
    }

    /// What references to values in this directory need.
    ///
    /// # Errors
    /// `Configuration` if a path cannot stand in a policy.
    pub fn kv_references(at: KvDirectory<'_>) -> Result<Self> {
        let mut policy = Self::default();
        let kind = if at.version == 1 { "" } else { "data" };
        policy.add(at.below(kind)?, &[Capability::Read], "references");
        Ok(policy)
    }

    /// What a key wrapper on this key needs; a read-only one only opens what is there.
    ///
    /// # Errors
    /// `Configuration` if a path cannot stand in a policy.
    pub fn transit(at: TransitKey<'_>, read_only: bool) -> Result<Self> {
        use Capability::{Read, Update};
        let mut policy = Self::default();
        policy.add(at.path("keys")?, &[Read], "type and versions of the key");
        policy.add(at.path("decrypt")?, &[Update], "unwrapping");
        if !read_only {
            policy.add(at.path("encrypt")?, &[Update], "wrapping");
        }
        if !read_only && at.derived {
            policy.add(at.path("datakey/plaintext")?, &[Update], "new DEKs");
            policy.add(at.path("rewrap")?, &[Update], "rewrapping, which no DEK leaves Vault for");
        }
        Ok(policy)
    }

    /// What it takes to rotate that key.
    ///
    /// # Errors
    /// `Configuration` if a path cannot stand in a policy.
    pub fn transit_rotation(at: TransitKey<'_>) -> Result<Self> {
        let mut policy = Self::default();
        let path = format!("{}/rotate", at.path("keys")?);
        policy.add(path, &[Capability::Update], "rotating the key");
        Ok(policy)
    }

    /// What it takes to read `path`, which makes a secret that is leased, such as
    /// `database/creds/app`.
    ///
    /// # Errors
    /// `Configuration` if the path cannot stand in a policy.
    pub fn leased(path: &str) -> Result<Self> {
        let mut policy = Self::default();
        policy.add(joined(&[path])?, &[Capability::Read], "making a secret");
        let update = &[Capability::Update];
        policy.add("sys/leases/renew".to_owned(), update, "renewing it while it is in use");
        policy.add("sys/leases/revoke".to_owned(), update, "ending it");
        Ok(policy)
    }

    /// What a session needs, whatever it is for. Vault's policy `default` has it too.
    #[must_use]
    pub fn session() -> Self {
        use Capability::{Read, Update};
        let mut policy = Self::default();
        policy.add("auth/token/lookup-self".to_owned(), &[Read], "knowing how long it lasts");
        policy.add("auth/token/renew-self".to_owned(), &[Update], "making it last");
        policy.add("auth/token/revoke-self".to_owned(), &[Update], "ending it");
        policy.add("sys/capabilities-self".to_owned(), &[Update], "strongroom vault check");
        policy
    }

    /// Both of them. A path that is in both has the capabilities of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for rule in other.rules {
            match self.rules.iter_mut().find(|own| own.path == rule.path) {
                Some(own) => own.capabilities.extend(rule.capabilities),
                None => self.rules.push(rule),
            }
        }
        self
    }

    /// Path by path, each once.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Only these paths.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(&Rule) -> bool) -> Self {
        self.rules.retain(keep);
        self
    }

    /// As `vault policy write` takes it.
    #[must_use]
    pub fn to_hcl(&self) -> String {
        let paragraphs: Vec<String> = self.rules.iter().map(Rule::to_hcl).collect();
        paragraphs.join("\n")
    }

    fn add(&mut self, path: String, capabilities: &[Capability], purpose: &'static str) {
        let capabilities = capabilities.iter().copied().collect();
        self.rules.push(Rule { path, capabilities, purpose });
    }
}

impl Rule {
    fn to_hcl(&self) -> String {
        let quoted: Vec<_> = self.capabilities.iter().map(|one| format!("\"{one}\"")).collect();
        let path = self.path.replace('\\', "\\\\").replace('"', "\\\"");
        let capabilities = quoted.join(", ");
        format!("# {}\npath \"{path}\" {{\n  capabilities = [{capabilities}]\n}}\n", self.purpose)
    }
}

impl KvDirectory<'_> {
    /// Everything in the directory, as the API has it below `kind`.
    fn below(&self, kind: &str) -> Result<String> {
        let parts: Vec<_> =
            [self.mount, kind, self.path].into_iter().filter(|part| !part.is_empty()).collect();
        joined(&parts).map(|directory| format!("{directory}/*"))
    }
}

impl TransitKey<'_> {
    fn path(&self, verb: &str) -> Result<String> {
        joined(&[self.mount, verb, self.key])
    }
}

/// A path that stands for itself in a policy. There, `+` is any part of a path, `*` at the
/// end is anything, and braces are filled in.
fn joined(parts: &[&str]) -> Result<String> {
    let path = parts.iter().map(|part| part.trim_matches('/')).collect::<Vec<_>>().join("/");
    let part = |part: &str| !part.is_empty() && part != "+";
    let stands_for_itself = path.split('/').all(part)
        && !path.ends_with('*')
        && !path.contains("{{")
        && !path.contains("${")
        && !path.chars().any(char::is_control);
    if stands_for_itself {
        return Ok(path);
    }
    Err(Error::configuration(format!(
        "{} cannot stand in a policy of Vault: there, an empty part, a part + and braces mean \
         something else, and * at the end too",
        path.escape_debug()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(version: u8, path: &str) -> KvDirectory<'_> {
        KvDirectory { mount: "secret", version, path }
    }

    #[test]
    fn a_read_only_policy_allows_nothing_that_writes() {
        let of_kv = [1, 2].map(|version| Policy::kv_store(at(version, "base/acme"), true));
        for policy in of_kv.into_iter().chain([Policy::kv_references(at(2, "base"))]) {
            for rule in policy.expect("a policy").rules() {
                let writes =
                    |one: &&Capability| !matches!(**one, Capability::Read | Capability::List);
                assert_eq!(rule.capabilities.iter().find(writes), None, "{rule:?}");
            }
        }
        let key = TransitKey { mount: "transit", key: "key", derived: true };
        let policy = Policy::transit(key, true).expect("a policy");
        let paths: Vec<_> = policy.rules().iter().map(|rule| &*rule.path).collect();
        assert_eq!(paths, ["transit/keys/key", "transit/decrypt/key"]);
    }

    #[test]
    fn hcl_is_a_paragraph_for_each_path() {
        let policy = Policy::kv_references(at(2, "/a \"b\"/")).expect("a policy");
        assert_eq!(
            policy.to_hcl(),
            "# references\npath \"secret/data/a \\\"b\\\"/*\" {\n  capabilities = [\"read\"]\n}\n"
        );
        let whole = Policy::kv_store(at(1, ""), true).expect("a policy");
        assert_eq!(whole.rules()[0].path, "secret/*");
    }

    #[test]
    fn a_path_of_two_parts_is_there_once() {
        let store = Policy::kv_store(at(2, "a"), true).expect("a policy");
        let both = store.clone().and(Policy::kv_store(at(2, "a"), false).expect("a policy"));
        let data: Vec<_> =
            both.rules().iter().filter(|rule| rule.path == "secret/data/a/*").collect();
        assert_eq!(data.len(), 1);
        assert_eq!(data[0].capabilities.len(), 4);
        assert_eq!(both.clone().and(store), both);
    }

    #[test]
    fn what_a_policy_would_take_for_something_else_is_refused() {
        for path in ["a/+/b", "+", "a//b", "a*", "{{identity.entity.id}}", "${x}", "a\nb"] {
            let error = Policy::leased(path).expect_err(path);
            assert!(error.message().contains("cannot stand in a policy"), "{error}");
        }
        for path in ["a/b+c", "a*b", "ä b/{c}"] {
            Policy::leased(path).expect(path);
        }
    }
}
