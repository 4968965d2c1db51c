//! The exit codes. They are part of the interface: a code is never given
//! another meaning.

use strongroom::ErrorKind;

use crate::failure::Failure;

/// A fault of the machine or of this program.
pub(crate) const INTERNAL: u8 = 1;
/// The command line itself was wrong.
pub(crate) const USAGE: u8 = 2;
/// A command was found and cannot be run, as shells have it.
pub(crate) const NOT_RUN: u8 = 126;
/// A command was not found.
pub(crate) const NOT_FOUND: u8 = 127;
/// What a shell shows for a process that a signal ended: this plus its number.
const SIGNALLED: u8 = 128;
const SIGPIPE: u8 = 13;

/// One line for each code, for `--help` and the manual page.
pub(crate) const HELP: &str = "\
Exit codes:
   0  done
   1  internal error
   2  wrong usage of the command line
   3  not found: no such secret or version, or it is deleted
   4  already exists
   5  conflict: somebody else changed the secret in between
   6  invalid name, scope or version
   7  access denied
   8  unauthenticated: a passphrase or credential was not accepted
   9  unavailable: the store is in use, the disk is full; a retry may help
  10  throttled
  11  tampered: what is stored is not what was written
  12  key unavailable: the key that opens the record cannot be had
  13  unsupported by this store
  14  limit exceeded: size, number or locked memory
  15  configuration is wrong, or does not fit the store
 126  the command of `run` cannot be run
 127  the command of `run` is not found
 130  interrupted at a prompt (128 and the signal's number)
 141  the reader of our output went away
`run` otherwise ends with the code of its command.";

pub(crate) fn code_of(failure: &Failure) -> u8 {
    match failure {
        Failure::Engine(error) => code(error.kind()),
        Failure::Usage(_) => USAGE,
        Failure::Signalled(signal) => SIGNALLED.saturating_add(*signal),
        Failure::Ended(code) | Failure::NotRun { code, .. } => *code,
        Failure::BrokenPipe => SIGNALLED + SIGPIPE,
    }
}

/// The code for a process that a signal ended.
pub(crate) fn signalled(signal: i32) -> u8 {
    SIGNALLED.saturating_add(u8::try_from(signal).unwrap_or(u8::MAX))
}

/// The code of an error's kind.
pub(crate) fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::NotFound => 3,
        ErrorKind::AlreadyExists => 4,
        ErrorKind::Conflict => 5,
        ErrorKind::InvalidName => 6,
        ErrorKind::AccessDenied => 7,
        ErrorKind::Unauthenticated => 8,
        ErrorKind::Unavailable => 9,
        ErrorKind::Throttled => 10,
        ErrorKind::Tampered => 11,
        ErrorKind::KeyUnavailable => 12,
        ErrorKind::Unsupported => 13,
        ErrorKind::LimitExceeded => 14,
        ErrorKind::Configuration => 15,
        _ => INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_code_of_its_own_and_the_help_names_it() {
        let mut codes: Vec<_> = ErrorKind::ALL.into_iter().map(code).collect();
        codes.sort_unstable();
        let expected: Vec<u8> = [1].into_iter().chain(3..=15).collect();
        assert_eq!(codes, expected);
        for kind in ErrorKind::ALL {
            let name = kind.as_str().replace('_', " ");
            let line = HELP.lines().find(|line| line.contains(&name)).expect(&name);
            assert!(line.trim_start().starts_with(&format!("{} ", code(kind))), "{line}");
        }
    }
}
