//! Where an installation keeps its files when nobody says otherwise.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use strongroom_core::{Error, Result};

/// The files of one installation: in one folder, or by the XDG Base Directory
/// Specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The configuration file.
    pub config: PathBuf,
    /// The key file of the local KEK.
    pub key_file: PathBuf,
    /// The directory of the record store.
    pub records: PathBuf,
    /// The audit log.
    pub audit: PathBuf,
    /// The sidecar's socket.
    pub socket: PathBuf,
}

impl Home {
    /// The configuration's file name.
    pub const CONFIG_FILE: &str = "strongroom.toml";
    /// The key file below the folder of keys and configuration.
    pub const KEY_FILE: &str = "keys/local.kek";
    /// The record store's directory below the folder of data.
    pub const RECORDS: &str = "records";
    /// The audit log below the folder of state.
    pub const AUDIT: &str = "audit/audit.log";
    /// The sidecar's socket below the folder of what lasts while the machine runs.
    pub const SOCKET: &str = "run/sidecar.sock";

    /// Everything below one folder.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self::spread(folder, folder, folder, folder)
    }

    /// Below `$STRONGROOM_HOME` if it is set. Otherwise configuration and keys
    /// are below `$XDG_CONFIG_HOME/strongroom`, records below
    /// `$XDG_DATA_HOME/strongroom`, and the audit log below
    /// `$XDG_STATE_HOME/strongroom`, each with the specification's default; the
    /// socket is below `$XDG_RUNTIME_DIR/strongroom`, or with the audit log where
    /// that is not set.
    ///
    /// # Errors
    /// `Configuration` if there is no home directory to begin from.
    pub fn discover() -> Result<Self> {
        Self::from_variables(|name| env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let folder = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(home) = folder("STRONGROOM_HOME") {
            let home = std::path::absolute(&home).map_err(|e| {
                Error::configuration("STRONGROOM_HOME is not a usable path").with_source(e)
            })?;
            return Ok(Self::at(&home));
        }
        let xdg = |name: &str, default: &str| {
            // "If an implementation encounters a relative path in any of these
            // variables it should consider the path invalid and ignore it."
            let set = folder(name).filter(|path| path.is_absolute());
            let base = set.or_else(|| folder("HOME").map(|home| home.join(default)));
            base.map(|base| base.join("strongroom")).ok_or_else(|| {
                Error::configuration(format!(
                    "neither STRONGROOM_HOME nor {name} nor HOME is set: there is no folder for \
                     the configuration"
                ))
            })
        };
        let state = xdg("XDG_STATE_HOME", ".local/state")?;
        let runtime = folder("XDG_RUNTIME_DIR").filter(|path| path.is_absolute());
        let runtime = runtime.map_or_else(|| state.clone(), |path| path.join("strongroom"));
        Ok(Self::spread(
            &xdg("XDG_CONFIG_HOME", ".config")?,
            &xdg("XDG_DATA_HOME", ".local/share")?,
            &state,
            &runtime,
        ))
    }

    fn spread(config: &Path, data: &Path, state: &Path, runtime: &Path) -> Self {
        Self {
            config: config.join(Self::CONFIG_FILE),
            key_file: config.join(Self::KEY_FILE),
            records: data.join(Self::RECORDS),
            audit: state.join(Self::AUDIT),
            socket: runtime.join(Self::SOCKET),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(variables: &[(&str, &str)]) -> Result<Home> {
        Home::from_variables(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn one_folder_holds_everything_where_it_is_named() {
        let found = home(&[("STRONGROOM_HOME", "/s"), ("HOME", "/h")]).expect("a home");
        assert_eq!(found, Home::at(Path::new("/s")));
        assert_eq!(found.key_file, Path::new("/s/keys/local.kek"));
    }

    #[test]
    fn xdg_folders_are_used_and_have_defaults() {
        let found = home(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d"), ("XDG_STATE_HOME", "rel")]);
        let found = found.expect("a home");
        assert_eq!(found.config, Path::new("/h/.config/strongroom/strongroom.toml"));
        assert_eq!(found.key_file, Path::new("/h/.config/strongroom/keys/local.kek"));
        assert_eq!(found.records, Path::new("/d/strongroom/records"));
        assert_eq!(found.audit, Path::new("/h/.local/state/strongroom/audit/audit.log"));
        assert_eq!(found.socket, Path::new("/h/.local/state/strongroom/run/sidecar.sock"));
        let found = home(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r")]).expect("a home");
        assert_eq!(found.socket, Path::new("/r/strongroom/run/sidecar.sock"));
        assert!(home(&[("STRONGROOM_HOME", "")]).is_err());
    }
}
