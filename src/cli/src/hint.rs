//! What to do about an error.

use strongroom::{Error, ErrorKind};

/// One sentence, or nothing where the error says it all.
pub(crate) fn hint(error: &Error) -> Option<&'static str> {
    let message = error.message();
    Some(match (error.kind(), error.operation()) {
        (ErrorKind::AccessDenied, Some("check AWS")) if message.contains("kms:") => {
            "`strongroom aws policy --for kms --key KEY` writes a policy that allows what it needs"
        }
        (ErrorKind::AccessDenied, Some("check AWS")) => {
            "`strongroom aws policy --for connector` writes a policy that allows what it needs"
        }
        (ErrorKind::AccessDenied, Some("check Vault")) => {
            "`strongroom vault policy` writes the whole policy"
        }
        (_, Some("check AWS" | "check Vault")) => return None,
        (ErrorKind::NotFound, _) if message.contains("audit log") => {
            "the log is written with the first operation; see [audit] in the configuration"
        }
        (ErrorKind::NotFound, _) if message.contains("field") || message.contains("reference") => {
            return None;
        }
        (ErrorKind::NotFound, _) if message.contains("was moved to") => {
            "use the configuration of the store that it was moved to"
        }
        (ErrorKind::NotFound, _) => {
            "`strongroom list` shows the names of a scope, and with --deleted those that \
             `strongroom restore` brings back"
        }
        (ErrorKind::AlreadyExists, Some("put")) => {
            "without --if-absent a new version is written; a deleted secret is restored or \
             purged first"
        }
        (ErrorKind::AlreadyExists, Some("write a file")) => "--force replaces it",
        (ErrorKind::AlreadyExists, _) => {
            "use it as it is, or choose another folder with STRONGROOM_HOME or --config"
        }
        (ErrorKind::Conflict, Some("put")) => {
            "read the latest version, decide anew, and put with --if-version again"
        }
        (ErrorKind::InvalidName, _) if ABOUT_VALUES.iter().any(|what| message.contains(what)) => {
            return None;
        }
        (ErrorKind::InvalidName, _) => {
            "a name is account.NAME, org.NAME, or NAME for a project; --scope a/b/c says where \
             you are"
        }
        (ErrorKind::AccessDenied, _) if message.contains("rules") => {
            "[[sidecar.allow]] in the sidecar's configuration says who may do what"
        }
        (ErrorKind::AccessDenied, _) if message.contains("open the socket") => {
            "socket_mode under [sidecar] in the configuration says who may open it"
        }
        // Whoever refuses it is another program, and the error says what it has to be told.
        (ErrorKind::AccessDenied, _) if message.contains("a policy has to") => return None,
        (ErrorKind::AccessDenied, _) => "the account is set in the configuration, under [scope]",
        (ErrorKind::Unauthenticated, _) if message.contains("serves the socket") => {
            "if that user is to run the sidecar, say so with --socket-user"
        }
        (ErrorKind::Unauthenticated, _) => "check [kek] and the passphrase or credential it names",
        (ErrorKind::Unavailable, _)
            if message.contains("there is no socket") || message.contains("nobody serves") =>
        {
            "`strongroom serve` starts a sidecar; --socket names another one's socket"
        }
        (ErrorKind::Unavailable, _) if message.contains("in use by another sidecar") => {
            "end that one first, or choose another [sidecar] socket"
        }
        (ErrorKind::Unavailable, _) if message.contains("in use by") => {
            "--wait 30s waits longer for the other process"
        }
        (ErrorKind::Tampered, Some("verify the backup" | "restore the backup")) => {
            "nothing of this file is used: take another backup"
        }
        (ErrorKind::Tampered, _) => {
            "nothing was given out; `strongroom audit verify` shows what else is not as it was \
             written, and a backup has the last good state"
        }
        (ErrorKind::KeyUnavailable, _) => {
            "bring the key file back from its backup, or correct [kek] key_file: without the key \
             nothing can be read"
        }
        (ErrorKind::LimitExceeded, _) if message.contains("lock") => {
            "raise the limit of locked memory (ulimit -l)"
        }
        (ErrorKind::LimitExceeded, _) if message.contains("as a file") => {
            "`strongroom get NAME --output FILE` takes files of any length"
        }
        (ErrorKind::LimitExceeded, Some("make the document")) => {
            "a policy is written as several with --split; a trust policy has to name fewer"
        }
        (ErrorKind::LimitExceeded, _) => {
            "see max_value_bytes and max_file_bytes under [store] in the configuration"
        }
        (ErrorKind::Configuration, _) if message.contains("there is no configuration") => {
            "`strongroom init` makes one; STRONGROOM_HOME or --config point at another"
        }
        (ErrorKind::Configuration, Some("migrate")) if message.contains("not moving") => {
            "--to PATH names the configuration of the other store for this once"
        }
        (ErrorKind::Internal, _) => "this is a bug, or the machine is failing: please report it",
        _ => return None,
    })
}

/// What stands in a message about a value, its parts or what is said of it, and not
/// about a name.
const ABOUT_VALUES: [&str; 7] =
    ["login", "certificate", "SSH key", "PEM", "reference", "description", "tag"];
