//! Names and scopes: who a secret belongs to. Both are validated when they are
//! made, so that nothing behind this module meets a name that it must escape
//! with suspicion.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The longest identifier of an account, org, project or secret, in bytes.
pub const MAX_IDENTIFIER_BYTES: usize = 128;

/// Whom a secret belongs to: an account, an org in it, or a project in that.
///
/// A scope sees its own secrets and those of its parents, never a child's.
/// Cloning is cheap: every name in a scope shares it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(Arc<Parts>);

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Parts {
    account: String,
    org: Option<String>,
    project: Option<String>,
}

impl Scope {
    /// The scope of an account.
    pub fn account(account: &str) -> Result<Self> {
        identifier("account", account)?;
        Ok(Self::of(account, None, None))
    }

    /// The scope of `org` in this scope's account.
    pub fn org(&self, org: &str) -> Result<Self> {
        identifier("org", org)?;
        Ok(Self::of(self.account_id(), Some(org), None))
    }

    /// The scope of `project` in this scope's org; an account has no projects
    /// of its own.
    pub fn project(&self, project: &str) -> Result<Self> {
        identifier("project", project)?;
        if self.org_id().is_none() {
            return Err(Error::invalid_name(format!(
                "project {project} needs an org: projects live in an org, not in an account"
            )));
        }
        Ok(Self::of(self.account_id(), self.org_id(), Some(project)))
    }

    fn of(account: &str, org: Option<&str>, project: Option<&str>) -> Self {
        let (org, project) = (org.map(str::to_owned), project.map(str::to_owned));
        Self(Arc::new(Parts { account: account.to_owned(), org, project }))
    }

    /// The account's identifier.
    #[must_use]
    pub fn account_id(&self) -> &str {
        &self.0.account
    }

    /// The org's identifier, unless this is an account's scope.
    #[must_use]
    pub fn org_id(&self) -> Option<&str> {
        self.0.org.as_deref()
    }

    /// The project's identifier, if this is a project's scope.
    #[must_use]
    pub fn project_id(&self) -> Option<&str> {
        self.0.project.as_deref()
    }

    /// The identifiers from the account down: one, two or three.
    pub fn identifiers(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.account_id()).chain(self.org_id()).chain(self.project_id())
    }

    /// Whether secrets of `other` are visible from here: its own and its
    /// parents', never a child's or a sibling's.
    #[must_use]
    pub fn sees(&self, other: &Self) -> bool {
        let (own, other) = (&*self.0, &*other.0);
        own.account == other.account
            && (other.org.is_none() || other.org == own.org)
            && (other.project.is_none() || other.project == own.project)
    }

    /// Reads a name as it is written in this scope: `account.NAME`, `org.NAME`,
    /// or `NAME` for the project.
    pub fn resolve(&self, written: &str) -> Result<SecretName> {
        let (level, rest) = match written.split_once('.') {
            Some((level @ ("account" | "org"), rest)) => (level, rest),
            _ => ("project", written),
        };
        let (org, project) = (self.org_id(), self.project_id());
        let scope = match level {
            "account" if org.is_none() => Some(self.clone()),
            "account" => Some(Self::of(self.account_id(), None, None)),
            "org" if project.is_none() => org.map(|_| self.clone()),
            "org" => Some(Self::of(self.account_id(), org, None)),
            _ => project.map(|_| self.clone()),
        };
        let scope = scope.ok_or_else(|| {
            Error::invalid_name(format!(
                "`{}` names a secret of {}, and {self} has none: write {}",
                printable(written),
                if level == "org" { "an org" } else { "a project" },
                if org.is_some() { "org.NAME or account.NAME" } else { "account.NAME" },
            ))
        })?;
        SecretName::new(scope, rest)
    }

    /// Appends the scope's unambiguous encoding: its depth, then each
    /// identifier with its length. `a_b`+`c` and `a`+`b_c` differ, and no
    /// scope's encoding is a prefix of another's.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let depth = 1 + u8::from(self.org_id().is_some()) + u8::from(self.project_id().is_some());
        out.push(depth);
        for id in self.identifiers() {
            push_text(out, id);
        }
    }
}

impl Scope {
    /// Reads what [`encode_into`](Self::encode_into) wrote, and gives what follows
    /// it; `None` for anything else.
    pub(crate) fn decode(encoded: &[u8]) -> Option<(Self, &[u8])> {
        let (&depth, mut rest) = encoded.split_first()?;
        let mut scope = Self::account(take_text(&mut rest)?).ok()?;
        if depth > 1 {
            scope = scope.org(take_text(&mut rest)?).ok()?;
        }
        if depth > 2 {
            scope = scope.project(take_text(&mut rest)?).ok()?;
        }
        (1..=3).contains(&depth).then_some((scope, rest))
    }
}

impl FromStr for Scope {
    type Err = Error;

    /// Reads `account`, `account/org` or `account/org/project`.
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split('/');
        let mut scope = Self::account(parts.next().unwrap_or_default())?;
        if let Some(org) = parts.next() {
            scope = scope.org(org)?;
        }
        if let Some(project) = parts.next() {
            scope = scope.project(project)?;
        }
        if parts.next().is_some() {
            return Err(Error::invalid_name(format!(
                "scope `{}` has more than three parts: write account/org/project",
                printable(text)
            )));
        }
        Ok(scope)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.account_id())?;
        for id in self.identifiers().skip(1) {
            write!(f, "/{id}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({self})")
    }
}

/// A secret's full name: its scope and its identifier there.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretName {
    scope: Scope,
    id: String,
}

impl SecretName {
    /// The name `id` in `scope`.
    ///
    /// `id` is 1 to 128 of the characters `A-Z a-z 0-9 _ - . $`, begins with a
    /// letter, a digit or `_`, and does not begin with `account.` or `org.`,
    /// which would read as another scope.
    pub fn new(scope: Scope, id: &str) -> Result<Self> {
        identifier("name", id)?;
        if id.starts_with("account.") || id.starts_with("org.") {
            return Err(Error::invalid_name(format!(
                "name `{id}` begins with a scope's prefix; choose a name that does not"
            )));
        }
        Ok(Self { scope, id: id.to_owned() })
    }

    /// Whom the secret belongs to.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The identifier within the scope.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Appends the unambiguous encoding: the scope's, then the identifier with
    /// its length.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        self.scope.encode_into(out);
        push_text(out, &self.id);
    }
}

impl SecretName {
    /// Reads what [`encode_into`](Self::encode_into) wrote, and gives what
    /// follows it; `None` for anything else.
    pub(crate) fn decode(encoded: &[u8]) -> Option<(Self, &[u8])> {
        let (scope, mut rest) = Scope::decode(encoded)?;
        let name = Self::new(scope, take_text(&mut rest)?).ok()?;
        Some((name, rest))
    }
}

/// Reads what [`push_text`] appended, and moves past it.
pub(crate) fn take_text<'a>(encoded: &mut &'a [u8]) -> Option<&'a str> {
    let (length, rest) = encoded.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    *encoded = rest;
    std::str::from_utf8(text).ok()
}

impl fmt::Display for SecretName {
    /// As it is written in its own scope: `account.NAME`, `org.NAME`, `NAME`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match (self.scope.org_id(), self.scope.project_id()) {
            (None, _) => "account.",
            (Some(_), None) => "org.",
            _ => "",
        };
        write!(f, "{prefix}{}", self.id)
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretName({}:{})", self.scope, self.id)
    }
}

/// Appends a text with its length as two bytes, little-endian.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    // Every text that comes here is at most 1 KiB by its own validation.
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn identifier(what: &str, text: &str) -> Result<()> {
    let first = text.bytes().next().ok_or_else(|| {
        Error::invalid_name(format!("{what} is empty: give 1 to {MAX_IDENTIFIER_BYTES} characters"))
    })?;
    if text.len() > MAX_IDENTIFIER_BYTES {
        return Err(Error::invalid_name(format!(
            "{what} has {} bytes: {MAX_IDENTIFIER_BYTES} are allowed",
            text.len()
        )));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'$');
    let good_start = first.is_ascii_alphanumeric() || first == b'_';
    if !good_start || !text.bytes().all(allowed) {
        return Err(Error::invalid_name(format!(
            "{what} `{}` is not well-formed: letters, digits and _ - . $ are allowed, \
             and it begins with a letter, a digit or _",
            printable(text)
        )));
    }
    Ok(())
}

/// The text with control characters escaped and cut to a sane length: it may
/// come from anywhere and goes to a terminal.
fn printable(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> Scope {
        "acme/ops/web".parse().expect("a valid scope")
    }

    #[test]
    fn names_resolve_from_the_scope_they_are_written_in() {
        let cases = [
            ("account.db", "acme", "db"),
            ("org.db", "acme/ops", "db"),
            ("db", "acme/ops/web", "db"),
            ("db.password", "acme/ops/web", "db.password"),
            ("account", "acme/ops/web", "account"),
        ];
        for (written, scope, id) in cases {
            let name = project().resolve(written).expect(written);
            assert_eq!((name.scope().to_string().as_str(), name.id()), (scope, id));
            assert_eq!(name.to_string(), written);
        }
    }

    #[test]
    fn a_scope_has_no_names_below_it() {
        let account: Scope = "acme".parse().expect("a valid scope");
        for written in ["db", "org.db"] {
            let error = account.resolve(written).expect_err(written);
            assert!(error.to_string().contains("account.NAME"), "{error}");
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        let long = "x".repeat(MAX_IDENTIFIER_BYTES + 1);
        let bad = ["", "account.", "-x", ".x", "a b", "a/b", "é", "a\0", "a\u{1b}[2J", &long];
        for written in bad.into_iter().chain(["account.account.x", "account.org.x"]) {
            assert!(project().resolve(written).is_err(), "{written:?}");
        }
        for scope in ["", "a//b", "a/b/c/d", "a/", "/a", "a b"] {
            assert!(scope.parse::<Scope>().is_err(), "{scope:?}");
        }
    }

    #[test]
    fn a_parent_never_sees_a_childs_secrets() {
        let sees = [
            ("a/b/c", "a", true),
            ("a/b/c", "a/b", true),
            ("a/b/c", "a/b/c", true),
            ("a", "a/b", false),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b/d", false),
            ("a/b/c", "a/x", false),
            ("a", "b", false),
        ];
        for (viewer, owner, expected) in sees {
            let (v, o): (Scope, Scope) =
                (viewer.parse().expect("valid"), owner.parse().expect("valid"));
            assert_eq!(v.sees(&o), expected, "{viewer} sees {owner}");
        }
    }

    #[test]
    fn encodings_never_collide() {
        let encode = |scope: &str, id: &str| {
            let mut out = Vec::new();
            let scope = scope.parse().expect("valid");
            SecretName::new(scope, id).expect("valid").encode_into(&mut out);
            out
        };
        assert_ne!(encode("a_b/c", "d"), encode("a/b_c", "d"));
        assert_ne!(encode("a/b", "c"), encode("a/b/c", "c"));
        assert_ne!(encode("a", "bc"), encode("ab", "c"));
    }
}
