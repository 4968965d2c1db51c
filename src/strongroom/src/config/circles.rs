//! Connectors that wait for each other: the secret of one lies in a store that the other
//! one reaches, and so on, back to the first. Nobody could ever connect, so that such a
//! configuration is refused, also where the circle leads over other configurations.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use strongroom_core::{Error, Reference, Result};

use super::connector::ConnectorSpec;
use super::{Config, ReferenceType};
use crate::paths::real;

impl Config {
    /// This configuration, unless its connectors wait for each other. A text without a
    /// file opens none: only what stands in it is looked at. Of another configuration that
    /// cannot be read, whoever needs it says so.
    pub(crate) fn without_circles(self) -> Result<Self> {
        if !self.connectors().iter().any(ConnectorSpec::leads_into_stores) {
            return Ok(self);
        }
        let mut walk = Walk::default();
        if self.file().is_some() {
            walk.reads_others = true;
            walk.in_use = self.stores_in_use();
        }
        for connector in self.connectors() {
            walk.connector(&self, &connector).map_err(|error| {
                let shown = self.file().map(Path::display);
                let shown = shown.map_or_else(|| "the configuration".to_owned(), |f| f.to_string());
                Error::configuration(format!("{shown}: {}", error.message()))
            })?;
        }
        Ok(self)
    }

    /// The embedded stores that whoever works with this configuration has open, so that
    /// nobody else can open them.
    fn stores_in_use(&self) -> Vec<PathBuf> {
        let target = self.moving_to().and_then(|path| Self::load_alone(&path).ok());
        let all = [Some(self), target.as_ref()];
        all.into_iter().flatten().filter_map(Self::embedded_path).collect()
    }

    fn embedded_path(&self) -> Option<PathBuf> {
        self.store.kind.is_embedded().then(|| real(&self.store_path()).ok()).flatten()
    }
}

/// A walk from what is to be reached to what is needed for it.
#[derive(Default)]
struct Walk {
    reads_others: bool,
    /// The stores that are open while connectors connect.
    in_use: Vec<PathBuf>,
    trail: Vec<Step>,
    /// What leads into no circle.
    done: BTreeSet<Id>,
}

/// A connector: the file that it stands in, its list, and its name.
type Id = (PathBuf, &'static str, String);

/// What the walk came by.
struct Step {
    shown: String,
    connector: Option<Id>,
}

impl Walk {
    fn connector(&mut self, config: &Config, connector: &ConnectorSpec<'_>) -> Result<()> {
        let id = (identity(config), connector.list, connector.name.to_owned());
        let before = self.trail.iter().position(|step| step.connector.as_ref() == Some(&id));
        if let Some(first) = before {
            let circle = self.shown_from(first, connector.name);
            return Err(Error::configuration(format!(
                "connectors wait for each other: {circle}. Keep the secret of one of them in a \
                 store that none of them reaches, or in env:NAME or file:PATH"
            )));
        }
        if self.done.contains(&id) {
            return Ok(());
        }
        self.trail.push(Step { shown: connector.name.to_owned(), connector: Some(id.clone()) });
        for (_, reference) in connector.references() {
            self.reference(config, reference)?;
        }
        self.trail.pop();
        self.done.insert(id);
        Ok(())
    }

    fn reference(&mut self, config: &Config, reference: &Reference) -> Result<()> {
        let Some(entry) = config.external_section(reference.store()) else { return Ok(()) };
        self.trail.push(Step { shown: format!("{}://", entry.name), connector: None });
        for connector in config.connectors_of_external(entry) {
            self.connector(config, &connector)?;
        }
        if entry.kind == ReferenceType::Strongroom && self.reads_others {
            let file = config.base().join(&entry.config);
            self.configuration(&file, true)?;
        }
        self.trail.pop();
        Ok(())
    }

    /// The store of another configuration, and the one that its secrets are moving to.
    fn configuration(&mut self, file: &Path, may_move: bool) -> Result<()> {
        let Ok(config) = Config::load_alone(file) else { return Ok(()) };
        let shown = identity(&config).display().to_string();
        self.trail.push(Step { shown: shown.clone(), connector: None });
        for connector in config.connectors_of_store() {
            self.connector(&config, &connector)?;
        }
        if let Some(target) = config.moving_to().filter(|_| may_move) {
            self.configuration(&target, false)?;
        }
        self.trail.pop();
        if config.embedded_path().is_some_and(|path| self.in_use.contains(&path)) {
            let way = self.shown_from(0, &shown);
            return Err(Error::configuration(format!(
                "{way} is the store of this configuration, which is open already while \
                 connectors connect: keep the secret in another store, or in env:NAME or file:PATH"
            )));
        }
        Ok(())
    }

    /// `a -> store:// -> b -> last`
    fn shown_from(&self, first: usize, last: &str) -> String {
        let steps = self.trail[first..].iter().map(|step| &*step.shown);
        steps.chain([last]).collect::<Vec<_>>().join(" -> ")
    }
}

/// What makes a configuration that one and no other.
fn identity(config: &Config) -> PathBuf {
    let file = config.file().unwrap_or(Path::new(""));
    file.canonicalize().unwrap_or_else(|_| file.to_owned())
}

#[cfg(all(test, feature = "aws", feature = "local"))]
mod tests {
    use std::fs;

    use strongroom_core::ErrorKind;

    use super::*;

    /// A connector, and the store that it reaches; its secret is at `secret`.
    fn connector(name: &str, secret: &str) -> String {
        format!(
            "[[store.references]]\nname = \"of-{name}\"\ntype = \"aws-secrets-manager\"\n\
             connector = \"{name}\"\n[[aws.connectors]]\nname = \"{name}\"\nregion = \"r\"\n\
             credential = \"access-key\"\naccess_key_id = \"x\"\nsecret_access_key = \"{secret}\"\n"
        )
    }

    fn other(name: &str, config: &str) -> String {
        format!("[[store.references]]\nname = \"{name}\"\nconfig = \"{config}\"\n")
    }

    fn refused(parsed: Result<Config>) -> String {
        let error = parsed.expect_err("a circle");
        assert_eq!(error.kind(), ErrorKind::Configuration);
        error.message().to_owned()
    }

    #[test]
    fn a_circle_is_named_from_its_first_connector_on() {
        let own = refused(Config::parse(&connector("a", "of-a://x")));
        assert!(own.contains("wait for each other: a -> of-a:// -> a."), "{own}");
        let three = [("a", "of-b://x"), ("b", "of-c://x#y"), ("c", "of-b://z")];
        let three = three.map(|(name, secret)| connector(name, secret)).concat();
        let said = refused(Config::parse(&three));
        // Nobody waits for a.
        assert!(said.contains(": b -> of-c:// -> c -> of-b:// -> b."), "{said}");
        assert!(said.contains("env:NAME or file:PATH"), "{said}");
        let alone = [connector("a", "of-b://x"), connector("b", "env:X")].concat();
        assert!(Config::parse(&alone).is_ok());
        // Two that need the same one are no circle.
        assert!(Config::parse(&(alone + &connector("c", "of-b://x"))).is_ok());
    }

    #[test]
    fn the_other_secrets_of_a_connector_count_too() {
        let circle = |change: &str| connector("a", "env:X") + change;
        assert!(Config::parse(&circle("")).is_ok());
        for key in ["session_token", "proxy"] {
            let said = refused(Config::parse(&circle(&format!("{key} = \"of-a://x\"\n"))));
            assert!(said.contains("a -> of-a:// -> a"), "{said}");
        }
        let token = circle("").replace("access-key", "oidc").replace("access_key_id", "role_arn");
        let token = token.replace("secret_access_key = \"env:X\"", "token = \"of-a://x\"");
        assert!(refused(Config::parse(&token)).contains("a -> of-a:// -> a"));
    }

    /// A directory with configurations that may lead to each other.
    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a directory"))
        }

        fn write(&self, name: &str, text: &str) {
            let dir = self.0.path().join(name);
            fs::create_dir_all(&dir).expect("made");
            fs::write(dir.join("strongroom.toml"), text).expect("written");
        }

        fn load(&self, name: &str) -> Result<Config> {
            Config::load(&self.0.path().join(name).join("strongroom.toml"))
        }
    }

    const KMS: &str = "[kek]\ntype = \"aws-kms\"\nkey = \"k\"\n";

    #[test]
    fn a_circle_over_another_configuration_is_found_from_both() {
        let folder = Folder::new();
        let to_b = other("b", "../b/strongroom.toml") + &connector("of-one", "b://account.x");
        folder.write("a", &format!("{KMS}connector = \"of-one\"\n{to_b}"));
        assert!(folder.load("a").is_ok(), "the other one does not exist yet");
        // Its secrets are of use there for references only, which are not followed.
        let to_a = other("a", "../a/strongroom.toml") + &connector("of-two", "a://account.y");
        folder.write("b", &to_a);
        assert!(folder.load("a").is_ok());
        folder.write("b", &format!("{KMS}connector = \"of-two\"\n{to_a}"));
        for (name, first, last) in [("a", "of-one", "of-two"), ("b", "of-two", "of-one")] {
            let said = refused(folder.load(name));
            assert!(said.contains(&format!("each other: {first} -> ")), "{said}");
            assert!(said.contains(&format!("/strongroom.toml -> {last} -> ")), "{said}");
            assert!(said.contains(&format!(" -> {first}.")), "{said}");
        }
        // So is one over the store that secrets are moving to.
        let moving = "[store]\nmoving_to = \"../b/strongroom.toml\"\npath = \"c\"\n";
        folder.write("c", moving);
        let to_c = other("c", "../c/strongroom.toml") + &connector("of-two", "c://account.y");
        folder.write("b", &format!("{KMS}connector = \"of-two\"\n{to_c}"));
        let said = refused(folder.load("a"));
        assert!(said.contains("each other: of-two -> c:// -> "), "{said}");
    }

    #[test]
    fn a_secret_of_a_connector_lies_in_no_store_that_is_open_by_then() {
        let folder = Folder::new();
        let to_own = |config: &str| other("own", config) + &connector("one", "own://account.x");
        folder.write("a", &to_own("strongroom.toml"));
        let said = refused(folder.load("a"));
        assert!(said.contains("one -> own:// -> ") && said.contains("another store"), "{said}");
        // By another name.
        folder.write("b", "[store]\npath = \"../a/records\"\n");
        folder.write("a", &to_own("../b/strongroom.toml"));
        assert!(refused(folder.load("a")).contains("is the store of this configuration"));
        // Where its secrets are moving to.
        folder.write("b", "[store]\npath = \"elsewhere\"\n");
        assert!(folder.load("a").is_ok());
        let text = to_own("../b/strongroom.toml");
        folder.write("a", &format!("[store]\nmoving_to = \"../b/strongroom.toml\"\n{text}"));
        assert!(refused(folder.load("a")).contains("is the store of this configuration"));
        folder.write("a", &text);
        let target = folder.0.path().join("b/strongroom.toml");
        let moving = folder.load("a").expect("valid").with_moving_to(target);
        assert!(refused(moving).contains("is the store of this configuration"));
    }
}
