//! `[sidecar]`: the socket, its limits, and who may do what through it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use strongroom_core::{Error, Result};

use super::value;
use crate::Home;

/// `[sidecar]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SidecarSection {
    /// The Unix socket, in a directory that only its owner may write to.
    pub socket: PathBuf,
    /// The socket's permissions, in octal: 0600 for its owner and root, 0660 for
    /// its group too, 0666 for everybody. The rules count in any case.
    #[serde(deserialize_with = "value::socket_mode")]
    pub socket_mode: u32,
    /// Where metrics are served to Prometheus, as `ADDRESS:PORT`; without it,
    /// nowhere.
    pub metrics: Option<std::net::SocketAddr>,
    /// The most connections at one time.
    pub max_connections: usize,
    /// The most connections of one user at one time.
    pub max_connections_per_user: usize,
    /// The most requests of one connection at one time.
    pub max_streams: u32,
    /// The most requests of one user at one time; what is more is refused.
    pub max_requests_per_user: usize,
    /// The most watches of one user at one time.
    pub max_watches_per_user: usize,
    /// The most bytes of messages, in memory for one user at one time.
    pub max_bytes_per_user: usize,
    /// The longest that a request may take, and that an upload may go no further;
    /// a caller's own deadline may be shorter.
    #[serde(with = "value::duration")]
    pub request_timeout: Duration,
    /// How long a client may leave its side unread, or its first request
    /// unfinished, before its connection is closed.
    #[serde(with = "value::duration")]
    pub stall_timeout: Duration,
    /// How long requests that are under way may take once the sidecar ends.
    #[serde(with = "value::duration")]
    pub drain_timeout: Duration,
    /// Whether the serving thread looks out for the next request for some 50 µs
    /// instead of sleeping, while requests follow each other closely: a client
    /// that asks for one secret after the other has each in half of the time.
    pub busy_poll: bool,
    /// Who may do what. What no rule allows is denied.
    pub allow: Vec<AllowRule>,
}

/// `[[sidecar.allow]]`: callers, names and verbs. A rule is about a caller if
/// everything that it says of callers is true of him.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AllowRule {
    /// The user that the sidecar itself runs as.
    pub owner: bool,
    /// Everybody who can open the socket.
    pub anyone: bool,
    /// The caller's user, by number.
    pub uid: Option<u32>,
    /// The caller's user, by name.
    pub user: Option<String>,
    /// The caller's primary group, by number.
    pub gid: Option<u32>,
    /// The caller's primary group, by name.
    pub group: Option<String>,
    /// The program that the caller runs, as an absolute path.
    pub executable: Option<PathBuf>,
    /// The scope that `names` are written in; the configured one, if absent.
    pub scope: Option<String>,
    /// Names, in which `*` stands for any characters: `db-*`, `org.shared`,
    /// `account.*`. `**` alone is every name in every scope of the account.
    pub names: Vec<String>,
    /// What may be done with them.
    pub verbs: Vec<Verb>,
}

/// What a caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verb {
    /// `Get`, `BatchGet` and `Download`.
    Get,
    /// `Put`, `Upload` and `Describe`.
    Put,
    /// `List`.
    List,
    /// `Versions`.
    Versions,
    /// `Delete`.
    Delete,
    /// `Restore`.
    Restore,
    /// `Purge`.
    Purge,
    /// `Watch`.
    Watch,
    /// `Seal`.
    Seal,
    /// `Open`.
    Open,
    /// `Status`, of secrets.
    Status,
    /// `Rotate`, `Rewrap`, `Reencrypt` and `ReportKeys`; for `**` only.
    Upkeep,
    /// `DestroyKeyVersion`; for `**` only.
    Destroy,
    /// Every verb.
    All,
}

impl Verb {
    /// Every verb but [`All`](Self::All).
    pub const EACH: [Self; 13] = [
        Self::Get,
        Self::Put,
        Self::List,
        Self::Versions,
        Self::Delete,
        Self::Restore,
        Self::Purge,
        Self::Watch,
        Self::Seal,
        Self::Open,
        Self::Status,
        Self::Upkeep,
        Self::Destroy,
    ];

    /// The name in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::List => "list",
            Self::Versions => "versions",
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::Purge => "purge",
            Self::Watch => "watch",
            Self::Seal => "seal",
            Self::Open => "open",
            Self::Status => "status",
            Self::Upkeep => "upkeep",
            Self::Destroy => "destroy",
            Self::All => "all",
        }
    }
}

impl Default for SidecarSection {
    fn default() -> Self {
        Self {
            socket: Home::SOCKET.into(),
            socket_mode: 0o600,
            metrics: None,
            max_connections: 4_096,
            max_connections_per_user: 1_024,
            max_streams: 256,
            max_requests_per_user: 1_024,
            max_watches_per_user: 4_096,
            max_bytes_per_user: 64 << 20,
            request_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            busy_poll: true,
            allow: Vec::new(),
        }
    }
}

impl SidecarSection {
    /// What no single value shows.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::configuration(format!("[sidecar] {what}")));
        let limits = [
            ("max_connections", self.max_connections),
            ("max_connections_per_user", self.max_connections_per_user),
            ("max_streams", self.max_streams as usize),
            ("max_requests_per_user", self.max_requests_per_user),
            ("max_watches_per_user", self.max_watches_per_user),
            ("max_bytes_per_user", self.max_bytes_per_user),
        ];
        if let Some((name, _)) = limits.into_iter().find(|(_, limit)| *limit == 0) {
            return refuse(format!("{name} is 0: nobody could do anything"));
        }
        if self.request_timeout.is_zero() || self.stall_timeout.is_zero() {
            return refuse("request_timeout and stall_timeout are longer than 0".into());
        }
        for (index, rule) in self.allow.iter().enumerate() {
            if let Err(what) = rule.check() {
                return refuse(format!("allow, rule {}: {what}", index + 1));
            }
        }
        Ok(())
    }
}

impl AllowRule {
    fn check(&self) -> Result<(), String> {
        let said = [
            self.uid.is_some(),
            self.user.is_some(),
            self.gid.is_some(),
            self.group.is_some(),
            self.executable.is_some(),
        ];
        let narrowed = said.contains(&true);
        if self.anyone && (self.owner || narrowed) {
            return Err("anyone = true excludes saying who".into());
        }
        if !self.anyone && !self.owner && !narrowed {
            return Err("say who: owner = true, uid, user, gid, group, executable, or \
                        anyone = true"
                .into());
        }
        if self.executable.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err("executable is not an absolute path".into());
        }
        if self.names.is_empty() {
            return Err("names is empty: write those that may be used, or [\"**\"]".into());
        }
        if self.verbs.is_empty() {
            return Err("verbs is empty: write those that may be used, or [\"all\"]".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn refused(text: &str) -> String {
        Config::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_rule_says_who_what_and_how() {
        let good = "[[sidecar.allow]]\nuid = 7\nnames = [\"account.*\"]\nverbs = [\"get\"]\n";
        let config = Config::parse(good).expect("valid");
        assert_eq!(config.sidecar.allow[0].verbs, [Verb::Get]);
        for (text, said) in [
            ("names = [\"x\"]\nverbs = [\"get\"]", "rule 1: say who"),
            ("uid = 7\nverbs = [\"get\"]", "names is empty"),
            ("uid = 7\nnames = [\"x\"]", "verbs is empty"),
            ("anyone = true\nuid = 7\nnames = [\"x\"]\nverbs = [\"get\"]", "excludes"),
            ("executable = \"x\"\nnames = [\"x\"]\nverbs = [\"get\"]", "absolute"),
            ("uid = 7\nnames = [\"x\"]\nverbs = [\"gte\"]", "line 4"),
            ("uidd = 7", "line 2: unknown key `uidd` in [[sidecar.allow]]: did you mean `uid`?"),
        ] {
            let found = refused(&format!("[[sidecar.allow]]\n{text}"));
            assert!(found.contains(said), "{text}: {found}");
        }
    }

    #[test]
    fn limits_that_stop_everything_are_refused() {
        for key in ["max_connections", "max_streams", "max_requests_per_user"] {
            assert!(refused(&format!("[sidecar]\n{key} = 0")).contains(key));
        }
        assert!(refused("[sidecar]\nrequest_timeout = \"0s\"").contains("longer than 0"));
    }

    #[test]
    fn verbs_have_the_names_that_they_are_read_by() {
        for verb in Verb::EACH.into_iter().chain([Verb::All]) {
            let text = format!(
                "[[sidecar.allow]]\nuid = 1\nnames = [\"x\"]\nverbs = [\"{}\"]",
                verb.as_str()
            );
            assert_eq!(Config::parse(&text).expect("valid").sidecar.allow[0].verbs, [verb]);
        }
    }
}
