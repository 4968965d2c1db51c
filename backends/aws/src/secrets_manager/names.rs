//! Our names as AWS's, and back.
//!
//! `PREFIX/ACCOUNT/ORG/PROJECT/@NAME`: each part as it is but for `$`, which AWS does
//! not take and which is written `+`. The last part alone begins with `@`. So the
//! depth of a name is plain, and what AWS filters by prefix, and a policy of IAM
//! allows by prefix, is one scope (`strongroom/acme/ops/@`) or a scope with all below
//! it (`strongroom/acme/ops/`). No identifier of ours has a slash, a `+` or an `@`.

use strongroom_core::{Error, Result, Scope, SecretName};

/// The longest name (API reference, `CreateSecret`).
const MAX_NAME_BYTES: usize = 512;

/// What the name of no secret of ours ends with.
pub(super) const NO_SECRET: &str = "=check";

#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Empty, or with a slash at its end.
    prefix: String,
    account: String,
}

impl Names {
    /// # Errors
    /// `Configuration` if no name of AWS can begin so.
    pub(super) fn new(prefix: &str, account: &str) -> Result<Self> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"/_+=.@-".contains(&b);
        let has_empty_part = !prefix.is_empty() && prefix.split('/').any(str::is_empty);
        if !prefix.bytes().all(good) || has_empty_part || prefix.len() > MAX_NAME_BYTES / 2 {
            return Err(Error::configuration(format!(
                "{prefix:?} cannot begin a name in AWS Secrets Manager: write at most {} letters, \
                 digits and _ + = . @ -, in parts with a slash between them",
                MAX_NAME_BYTES / 2
            )));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { prefix, account: account.to_owned() })
    }

    /// What AWS calls `name`.
    pub(super) fn to_aws(&self, name: &SecretName) -> Result<String> {
        let mut aws = self.of_exactly(name.scope())?;
        push(&mut aws, name.id());
        if aws.len() > MAX_NAME_BYTES {
            return Err(Error::limit_exceeded(format!(
                "a name in AWS Secrets Manager has at most {MAX_NAME_BYTES} bytes, and this one \
                 has {} with its scope and prefix",
                aws.len()
            )));
        }
        Ok(aws)
    }

    /// What the names of exactly `scope` begin with.
    pub(super) fn of_exactly(&self, scope: &Scope) -> Result<String> {
        let mut aws = self.below(Some(scope))?;
        aws.push('@');
        Ok(aws)
    }

    /// What the names of `scope`, or of the whole store, and of scopes below begin with.
    pub(super) fn below(&self, scope: Option<&Scope>) -> Result<String> {
        let mut aws = self.prefix.clone();
        match scope {
            None => push(&mut aws, &self.account),
            Some(scope) => {
                if scope.account_id() != self.account {
                    return Err(Error::access_denied(format!(
                        "this store has the secrets of account {}, not of {}",
                        self.account,
                        scope.account_id()
                    )));
                }
                for (place, id) in scope.identifiers().enumerate() {
                    if place > 0 {
                        aws.push('/');
                    }
                    push(&mut aws, id);
                }
            }
        }
        aws.push('/');
        Ok(aws)
    }

    /// The name that AWS calls `aws`; `None` if that is none of this store's.
    pub(super) fn of_aws(&self, aws: &str) -> Option<SecretName> {
        let (scope, id) = aws.strip_prefix(&self.prefix)?.rsplit_once("/@")?;
        let read = |part: &str| part.replace('+', "$");
        let mut parts = scope.split('/');
        let mut scope = Scope::account(&read(parts.next()?)).ok()?;
        if let Some(org) = parts.next() {
            scope = scope.org(&read(org)).ok()?;
        }
        if let Some(project) = parts.next() {
            scope = scope.project(&read(project)).ok()?;
        }
        let name = SecretName::new(scope, &read(id)).ok()?;
        // Nothing but what is written so: no part too many, no other account.
        (self.to_aws(&name).ok()? == aws).then_some(name)
    }

    /// A name that no secret has.
    pub(super) fn of_no_secret(&self) -> Result<String> {
        Ok(format!("{}{NO_SECRET}", self.below(None)?))
    }
}

fn push(aws: &mut String, part: &str) {
    aws.extend(part.chars().map(|c| if c == '$' { '+' } else { c }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_core::ErrorKind;

    use super::*;

    fn name(scope: &str, id: &str) -> SecretName {
        SecretName::new(scope.parse().expect("a scope"), id).expect("a name")
    }

    fn names(prefix: &str) -> Names {
        Names::new(prefix, "acme").expect("a prefix")
    }

    #[test]
    fn a_name_is_read_at_a_glance() {
        let names = names("strongroom");
        for (scope, id, aws) in [
            ("acme", "db", "strongroom/acme/@db"),
            ("acme/ops", "db", "strongroom/acme/ops/@db"),
            ("acme/ops/web", "a.b$c-d_e", "strongroom/acme/ops/web/@a.b+c-d_e"),
            ("acme/o$", "x", "strongroom/acme/o+/@x"),
        ] {
            assert_eq!(names.to_aws(&name(scope, id)).expect("short"), aws);
            assert_eq!(names.of_aws(aws), Some(name(scope, id)));
        }
        assert_eq!(super::tests::names("").to_aws(&name("acme", "db")).expect("short"), "acme/@db");
        let scope = "acme/ops".parse().expect("a scope");
        assert_eq!(names.of_exactly(&scope).expect("ours"), "strongroom/acme/ops/@");
        assert_eq!(names.below(Some(&scope)).expect("ours"), "strongroom/acme/ops/");
        assert_eq!(names.below(None).expect("ours"), "strongroom/acme/");
    }

    #[test]
    fn what_is_not_ours_is_none() {
        let names = names("strongroom");
        for aws in [
            "strongroom/acme/db",
            "strongroom/other/@db",
            "strongroom/acme/@",
            "strongroom/acme/@@db",
            "strongroom/acme/a/b/c/@db",
            "strongroom/acme//@db",
            "strongroom/acme/@a$b",
            "strongroom/acme/@a b",
            "strongroom//acme/@db",
            "acme/@db",
            "strongroom/acme/=check",
            "",
        ] {
            assert_eq!(names.of_aws(aws), None, "{aws}");
        }
        assert_eq!(names.of_aws(&names.of_no_secret().expect("ours")), None);
        let other = "other".parse().expect("a scope");
        let denied = names.below(Some(&other)).expect_err("another account");
        assert_eq!(denied.kind(), ErrorKind::AccessDenied);
    }

    #[test]
    fn a_name_that_is_too_long_for_aws_is_told() {
        let (id, names) = ("x".repeat(128), names(&"p".repeat(256)));
        let scope = format!("acme/{id}");
        let error = names.to_aws(&name(&scope, &id)).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        names.to_aws(&name("acme", &id)).expect("short");
    }

    #[test]
    fn a_prefix_has_parts_that_aws_takes() {
        for bad in ["/", "a/", "/a", "a//b", "a b", "ä", "a$", &"x".repeat(257)] {
            let error = Names::new(bad, "acme").expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Configuration);
        }
        for good in ["", "a", "team-1/prod_2", "a.b+c=d@e"] {
            let names = Names::new(good, "acme").expect(good);
            let db = name("acme", "db");
            assert_eq!(names.of_aws(&names.to_aws(&db).expect("short")), Some(db));
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
        fn every_name_comes_back_and_aws_takes_it(name in any_name()) {
            let names = names("p");
            let aws = names.to_aws(&name).expect("short");
            prop_assert!(aws.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+=.@-".contains(&b)));
            prop_assert_eq!(names.of_aws(&aws), Some(name));
        }

        #[test]
        fn two_names_are_two_in_aws(a in any_name(), b in any_name()) {
            let names = names("p");
            let same = names.to_aws(&a).expect("short") == names.to_aws(&b).expect("short");
            prop_assert_eq!(same, a == b);
        }

        #[test]
        fn what_is_read_is_what_is_written(aws in "p/acme(/[A-Za-z0-9_+=.@$-]{0,4}){1,5}") {
            let names = names("p");
            if let Some(name) = names.of_aws(&aws) {
                prop_assert_eq!(names.to_aws(&name).expect("short"), aws);
            }
        }

        #[test]
        fn a_scope_has_a_prefix_of_its_own(a in any_name(), b in any_name()) {
            let names = names("p");
            let aws = names.to_aws(&b).expect("short");
            let exactly = names.of_exactly(a.scope()).expect("ours");
            prop_assert_eq!(aws.starts_with(&exactly), a.scope() == b.scope());
        }
    }
}
