//! Who may do what: the rules of `[[sidecar.allow]]`, and what they allow one
//! caller. What no rule allows is denied.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Group, User};
use strongroom::config::{AllowRule, SidecarSection, Verb};
use strongroom::{Error, Result, Scope, SecretName};
use strongroom_rpc::Peer;

/// The rules of a configuration.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<(Who, Arc<What>)>,
}

/// What one caller may do: the rules that are about him.
#[derive(Clone, Debug, Default)]
pub struct Grants(Vec<Arc<What>>);

#[derive(Debug)]
struct Who {
    uid: Option<u32>,
    /// The sidecar's own user.
    owner: Option<u32>,
    gid: Option<u32>,
    executable: Option<PathBuf>,
}

#[derive(Debug)]
struct What {
    patterns: Vec<Pattern>,
    verbs: Verbs,
}

/// A set of verbs.
#[derive(Clone, Copy, Debug)]
struct Verbs(u32);

/// Names in one scope, or, without a scope, every name.
#[derive(Debug, PartialEq, Eq)]
struct Pattern(Option<(Scope, String)>);

impl Rules {
    /// Reads the rules of `section`, whose names are written in `scope` unless
    /// they say otherwise.
    ///
    /// # Errors
    /// `Configuration`, with the rule's number: a user or group that does not
    /// exist, a scope of another account, a name that is not well-formed.
    pub fn new(section: &SidecarSection, scope: &Scope) -> Result<Self> {
        let compiled = section.allow.iter().enumerate().map(|(index, rule)| {
            compile(rule, scope).map_err(|what| {
                Error::configuration(format!("[sidecar] allow, rule {}: {what}", index + 1))
            })
        });
        Ok(Self { rules: compiled.collect::<Result<_>>()? })
    }

    /// What `peer` may do.
    #[must_use]
    pub fn grants(&self, peer: &Peer) -> Grants {
        let about = self.rules.iter().filter(|(who, _)| who.is(peer));
        Grants(about.map(|(_, what)| Arc::clone(what)).collect())
    }
}

impl Grants {
    /// Whether the caller may do `verb` with `name`.
    #[must_use]
    pub fn allow(&self, verb: Verb, name: &SecretName) -> bool {
        self.0.iter().any(|what| {
            what.verbs.contain(verb)
                && what.patterns.iter().any(|pattern| pattern.matches(name.scope(), name.id()))
        })
    }

    /// Whether there may be names in `scope` with which the caller may do `verb`.
    #[must_use]
    pub fn reach(&self, verb: Verb, scope: &Scope) -> bool {
        self.0.iter().any(|what| {
            what.verbs.contain(verb) && what.patterns.iter().any(|pattern| pattern.reaches(scope))
        })
    }

    /// Whether the caller may do `verb` with every name, and so with the store as
    /// a whole.
    #[must_use]
    pub fn allow_all(&self, verb: Verb) -> bool {
        self.0.iter().any(|what| what.verbs.contain(verb) && what.patterns.contains(&Pattern(None)))
    }

    /// Whether no rule is about the caller at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Who {
    fn is(&self, peer: &Peer) -> bool {
        let id = |wanted: Option<u32>, is: u32| wanted.is_none_or(|wanted| wanted == is);
        let program = |wanted: &Path| peer.executable.as_deref() == Some(wanted);
        id(self.uid, peer.uid)
            && id(self.owner, peer.uid)
            && id(self.gid, peer.gid)
            && self.executable.as_deref().is_none_or(program)
    }
}

impl Verbs {
    fn of(verbs: &[Verb]) -> Self {
        if verbs.contains(&Verb::All) {
            return Self(u32::MAX);
        }
        Self(verbs.iter().fold(0, |set, verb| set | 1 << *verb as u32))
    }

    fn contain(self, verb: Verb) -> bool {
        self.0 & 1 << verb as u32 != 0
    }
}

impl Pattern {
    fn parse(written: &str, scope: &Scope) -> Result<Self> {
        if written == "**" {
            return Ok(Self(None));
        }
        // A name of the same shape says which scope is meant, and that the
        // characters around the stars are those of a name.
        let shape = scope.resolve(&written.replace('*', "0"))?;
        let own = shape.scope() == scope && scope.project_id().is_some();
        let prefixed = written.split_once('.').filter(|_| !own);
        let id = prefixed.map_or(written, |(_, id)| id);
        Ok(Self(Some((shape.scope().clone(), id.to_owned()))))
    }

    fn matches(&self, scope: &Scope, id: &str) -> bool {
        match &self.0 {
            None => true,
            Some((of, pattern)) => of == scope && matches(pattern, id),
        }
    }

    fn reaches(&self, scope: &Scope) -> bool {
        self.0.as_ref().is_none_or(|(of, _)| of == scope)
    }
}

fn compile(rule: &AllowRule, scope: &Scope) -> Result<(Who, Arc<What>), String> {
    let user = rule.user.as_deref().map(user_id).transpose()?;
    if let (Some(named), Some(numbered)) = (user, rule.uid)
        && named != numbered
    {
        return Err(format!("user is number {named} and uid is {numbered}: nobody is both"));
    }
    let group = rule.group.as_deref().map(group_id).transpose()?;
    if let (Some(named), Some(numbered)) = (group, rule.gid)
        && named != numbered
    {
        return Err(format!("group is number {named} and gid is {numbered}: nobody has both"));
    }
    let who = Who {
        uid: user.or(rule.uid),
        owner: rule.owner.then(|| rustix::process::geteuid().as_raw()),
        gid: group.or(rule.gid),
        executable: rule.executable.clone(),
    };
    let scope = match &rule.scope {
        None => scope.clone(),
        Some(text) => {
            let written: Scope = text.parse().map_err(|e: Error| e.message().to_owned())?;
            if written.account_id() != scope.account_id() {
                return Err(format!("scope {written} is not in account {}", scope.account_id()));
            }
            written
        }
    };
    let patterns = rule.names.iter().map(|name| {
        Pattern::parse(name, &scope).map_err(|e| format!("name {name:?}: {}", e.message()))
    });
    let patterns = patterns.collect::<Result<_, _>>()?;
    Ok((who, Arc::new(What { patterns, verbs: Verbs::of(&rule.verbs) })))
}

fn user_id(name: &str) -> Result<u32, String> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(format!("there is no user {name:?}")),
        Err(error) => Err(format!("user {name:?} cannot be looked up: {error}")),
    }
}

fn group_id(name: &str) -> Result<u32, String> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!("there is no group {name:?}")),
        Err(error) => Err(format!("group {name:?} cannot be looked up: {error}")),
    }
}

/// Whether `text` is `pattern`, in which each `*` stands for any characters.
/// It takes at most pattern times text steps, whatever they are: on a mismatch
/// only the last star takes one character more.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, taken)) = star else { return false };
                star = Some((after, taken + 1));
                (p, t) = (after, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use strongroom::Config;

    use super::*;

    fn rules(text: &str) -> Result<Rules> {
        let config = Config::parse(&format!(
            "[scope]\naccount = \"acme\"\norg = \"ops\"\nproject = \"web\"\n{text}"
        ))?;
        Rules::new(&config.sidecar, &config.scope()?)
    }

    fn peer(uid: u32) -> Peer {
        Peer { uid, gid: 100, pid: Some(1), executable: Some("/usr/bin/app".into()) }
    }

    fn name(scope: &str, id: &str) -> SecretName {
        SecretName::new(scope.parse().expect("a scope"), id).expect("a name")
    }

    #[test]
    fn nothing_is_allowed_without_a_rule() {
        let grants = rules("").expect("valid").grants(&peer(0));
        assert!(grants.is_empty());
        for verb in Verb::EACH {
            assert!(!grants.allow(verb, &name("acme", "db")));
            assert!(!grants.reach(verb, &name("acme", "db").scope().clone()));
        }
    }

    #[test]
    fn a_rule_gives_its_verbs_on_its_names_and_no_other() {
        let rules = rules(
            "[[sidecar.allow]]\nuid = 7\nnames = [\"db-*\", \"account.shared\", \"org.*\"]\n\
             verbs = [\"get\", \"list\"]\n",
        );
        let grants = rules.expect("valid").grants(&peer(7));
        let allowed = [
            ("acme/ops/web", "db-1"),
            ("acme/ops/web", "db-"),
            ("acme", "shared"),
            ("acme/ops", "anything"),
        ];
        let denied = [
            ("acme/ops/web", "db"),
            ("acme/ops/web", "adb-1"),
            ("acme/ops/web", "shared"),
            ("acme", "shared2"),
            ("acme", "db-1"),
            ("acme/ops/other", "db-1"),
            ("other/ops/web", "db-1"),
        ];
        for (scope, id) in allowed {
            assert!(grants.allow(Verb::Get, &name(scope, id)), "{scope} {id}");
            assert!(!grants.allow(Verb::Put, &name(scope, id)), "{scope} {id}");
        }
        for (scope, id) in denied {
            assert!(!grants.allow(Verb::Get, &name(scope, id)), "{scope} {id}");
        }
        assert!(grants.reach(Verb::List, &"acme".parse().expect("a scope")));
        assert!(!grants.reach(Verb::List, &"acme/ops/x".parse().expect("a scope")));
        assert!(!grants.reach(Verb::Put, &"acme".parse().expect("a scope")));
    }

    #[test]
    fn a_caller_is_all_that_a_rule_says() {
        let on = |who: &str| {
            let text = format!("[[sidecar.allow]]\n{who}\nnames = [\"**\"]\nverbs = [\"all\"]\n");
            rules(&text).expect(who)
        };
        let own = rustix::process::geteuid().as_raw();
        let cases = [
            ("anyone = true", true),
            ("uid = 7", true),
            ("uid = 8", false),
            ("gid = 100", true),
            ("gid = 101", false),
            ("uid = 7\ngid = 101", false),
            ("executable = \"/usr/bin/app\"", true),
            ("executable = \"/usr/bin/app2\"", false),
            ("uid = 7\nexecutable = \"/usr/bin/other\"", false),
            ("user = \"root\"", false),
            ("group = \"root\"", false),
        ];
        for (who, expected) in cases {
            assert_eq!(!on(who).grants(&peer(7)).is_empty(), expected, "{who}");
        }
        assert!(on("owner = true").grants(&peer(own.wrapping_add(1))).is_empty());
        assert!(!on("owner = true").grants(&peer(own)).is_empty());
        assert!(!on("user = \"root\"").grants(&peer(0)).is_empty());
        let hidden = Peer { executable: None, ..peer(7) };
        assert!(on("executable = \"/usr/bin/app\"").grants(&hidden).is_empty());
    }

    #[test]
    fn two_stars_are_every_scope_of_the_account() {
        let text = "[[sidecar.allow]]\nanyone = true\nnames = [\"**\"]\nverbs = [\"all\"]\n";
        let grants = rules(text).expect("valid").grants(&peer(1));
        for scope in ["acme", "acme/ops", "acme/ops/web", "acme/x/y"] {
            for verb in Verb::EACH {
                assert!(grants.allow(verb, &name(scope, "x")));
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_rules_number() {
        let bad = [
            ("user = \"no-such-user-here\"", "no user"),
            ("group = \"no-such-group-here\"", "no group"),
            ("user = \"root\"\nuid = 5", "nobody is both"),
            ("uid = 1\nscope = \"other\"", "not in account"),
            ("uid = 1\nscope = \"a//b\"", "rule 1"),
        ];
        for (who, said) in bad {
            let text = format!("[[sidecar.allow]]\n{who}\nnames = [\"**\"]\nverbs = [\"all\"]\n");
            let error = rules(&text).expect_err(who).to_string();
            assert!(error.contains("rule 1") && error.contains(said), "{error}");
        }
        for bad in ["a b", "", "account.", "x/y", "account.*/"] {
            let text =
                format!("[[sidecar.allow]]\nuid = 1\nnames = [\"{bad}\"]\nverbs = [\"all\"]");
            assert!(rules(&text).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a*", "a", true),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXcYb", false),
            ("a**b", "ab", true),
            ("abc", "abcd", false),
            ("abcd", "abc", false),
            ("*ab", "aab", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        // Exponential in a naive matcher.
        assert!(!matches(&"a*".repeat(60), &format!("{}b", "a".repeat(10))));
        assert!(!matches(&format!("{}b", "*a".repeat(60)), &"a".repeat(120)));
    }
}
