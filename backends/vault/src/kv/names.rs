//! Our names as paths of Vault, and back.
//!
//! `BASE/ACCOUNT/ORG/PROJECT/@NAME`: each part as it is. The last part alone begins with
//! `@`, so that an org and a secret of the same name stand side by side, and what a
//! policy allows by prefix is one scope (`strongroom/acme/ops/@*`) or a scope with all
//! below it (`strongroom/acme/ops/*`). No identifier of ours has a slash or an `@`.

use strongroom_core::{Error, Result, Scope, SecretName};

/// The longest base, in bytes: with four identifiers it stays far below what any
/// storage of Vault takes as a key.
const MAX_BASE_BYTES: usize = 256;

#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Empty, or with a slash at its end.
    base: String,
    account: String,
}

impl Names {
    /// # Errors
    /// `Configuration` if no path of Vault can begin so.
    pub(super) fn new(base: &str, account: &str) -> Result<Self> {
        if base.is_empty() {
            return Ok(Self { base: String::new(), account: account.to_owned() });
        }
        if !is_path(base) || base.len() > MAX_BASE_BYTES {
            return Err(Error::configuration(format!(
                "{base:?} cannot begin a path in Vault: write at most {MAX_BASE_BYTES} letters, \
                 digits and _ - . @ = : $ ~, in parts with a slash between them"
            )));
        }
        Ok(Self { base: format!("{base}/"), account: account.to_owned() })
    }

    /// Where `name` is.
    pub(super) fn to_vault(&self, name: &SecretName) -> Result<String> {
        Ok(format!("{}/@{}", self.folder(Some(name.scope()))?, name.id()))
    }

    /// The folder of `scope`, or of the whole store, without a slash at its end.
    pub(super) fn folder(&self, scope: Option<&Scope>) -> Result<String> {
        let Some(scope) = scope else { return Ok(format!("{}{}", self.base, self.account)) };
        if scope.account_id() != self.account {
            return Err(Error::access_denied(format!(
                "this store has the secrets of account {}, not of {}",
                self.account,
                scope.account_id()
            )));
        }
        let parts: Vec<_> = scope.identifiers().collect();
        Ok(format!("{}{}", self.base, parts.join("/")))
    }

    /// The name whose secret is at `path`; `None` if that is none of this store's.
    pub(super) fn of_vault(&self, path: &str) -> Option<SecretName> {
        let (folder, id) = path.rsplit_once("/@")?;
        SecretName::new(self.scope_of(folder)?, id).ok()
    }

    /// The scope whose folder this is.
    pub(super) fn scope_of(&self, folder: &str) -> Option<Scope> {
        let mut parts = folder.strip_prefix(&self.base)?.split('/');
        let mut scope = Scope::account(parts.next()?).ok()?;
        if scope.account_id() != self.account {
            return None;
        }
        if let Some(org) = parts.next() {
            scope = scope.org(org).ok()?;
        }
        if let Some(project) = parts.next() {
            scope = scope.project(project).ok()?;
        }
        parts.next().is_none().then_some(scope)
    }

    /// A path that no secret has.
    pub(super) fn of_no_secret(&self) -> String {
        format!("{}{}/=check", self.base, self.account)
    }
}

/// Whether this is a path of Vault that is the same in a URL and in a policy, where `+`
/// and `*` would mean more than they say.
pub(super) fn is_path(path: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_-.@=:$~".contains(&b);
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(good);
    path.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_core::ErrorKind;

    use super::*;

    fn name(scope: &str, id: &str) -> SecretName {
        SecretName::new(scope.parse().expect("a scope"), id).expect("a name")
    }

    fn names(base: &str) -> Names {
        Names::new(base, "acme").expect("a base")
    }

    #[test]
    fn a_name_is_read_at_a_glance() {
        let names = names("strongroom");
        for (scope, id, path) in [
            ("acme", "db", "strongroom/acme/@db"),
            ("acme/ops", "db", "strongroom/acme/ops/@db"),
            ("acme/ops/web", "a.b$c-d_e", "strongroom/acme/ops/web/@a.b$c-d_e"),
        ] {
            assert_eq!(names.to_vault(&name(scope, id)).expect("ours"), path);
            assert_eq!(names.of_vault(path), Some(name(scope, id)));
        }
        assert_eq!(self::names("").to_vault(&name("acme", "db")).expect("ours"), "acme/@db");
        let scope = "acme/ops".parse().expect("a scope");
        assert_eq!(names.folder(Some(&scope)).expect("ours"), "strongroom/acme/ops");
        assert_eq!(names.scope_of("strongroom/acme/ops"), Some(scope));
        assert_eq!(names.folder(None).expect("ours"), "strongroom/acme");
    }

    #[test]
    fn what_is_not_ours_is_none() {
        let names = names("strongroom");
        for path in [
            "strongroom/acme/db",
            "strongroom/other/@db",
            "strongroom/acme/@",
            "strongroom/acme/@@db",
            "strongroom/acme/a/b/c/@db",
            "strongroom/acme//@db",
            "strongroom/acme/@a b",
            "strongroom/acme/@a/@b",
            "strongroom//acme/@db",
            "acme/@db",
            "",
        ] {
            assert_eq!(names.of_vault(path), None, "{path}");
        }
        assert_eq!(names.of_vault(&names.of_no_secret()), None);
        let other = "other".parse().expect("a scope");
        let denied = names.folder(Some(&other)).expect_err("another account");
        assert_eq!(denied.kind(), ErrorKind::AccessDenied);
    }

    #[test]
    fn a_base_is_a_path() {
        for bad in ["/", "a/", "/a", "a//b", "a b", "ä", "a*", "+", "a/../b", ".", "a?b", "a%2f"] {
            let error = Names::new(bad, "acme").expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Configuration);
        }
        for good in ["", "a", "team-1/prod_2", "a.b=c@d$e~f:g"] {
            let names = Names::new(good, "acme").expect(good);
            let db = name("acme", "db");
            assert_eq!(names.of_vault(&names.to_vault(&db).expect("ours")), Some(db));
        }
    }

    fn identifier() -> impl Strategy<Value = String> {
        "[A-Za-z0-9_][A-Za-z0-9_.$-]{0,12}"
    }

    fn any_name() -> impl Strategy<Value = SecretName> {
        let parts = (proptest::option::of(identifier()), proptest::option::of(identifier()));
        (parts, identifier()).prop_filter_map("a name", |((org, project), id)| {
            let mut scope = Scope::account("acme").ok()?;
            if let Some(org) = org {
                scope = scope.org(&org).ok()?;
                if let Some(project) = project {
                    scope = scope.project(&project).ok()?;
                }
            }
            SecretName::new(scope, &id).ok()
        })
    }

    proptest! {
        #[test]
        fn every_name_comes_back_and_is_a_path(name in any_name()) {
            let names = names("p");
            let path = names.to_vault(&name).expect("ours");
            prop_assert!(is_path(&path));
            prop_assert_eq!(names.of_vault(&path), Some(name));
        }

        #[test]
        fn two_names_are_two_paths(a in any_name(), b in any_name()) {
            let names = names("p");
            let same = names.to_vault(&a).expect("ours") == names.to_vault(&b).expect("ours");
            prop_assert_eq!(same, a == b);
        }

        #[test]
        fn what_is_read_is_what_is_written(path in "p/acme(/[A-Za-z0-9_+=.@$-]{0,4}){1,5}") {
            let names = names("p");
            if let Some(name) = names.of_vault(&path) {
                prop_assert_eq!(names.to_vault(&name).expect("ours"), path);
            }
        }
    }
}
