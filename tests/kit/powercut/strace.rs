//! Reads the log of `strace -f -xx -y`: one [`Call`] for each system call, with
//! the moments at which it started and returned.
//!
//! Every string in such a log is hexadecimal, so that a quote, a comma or a
//! bracket always belongs to strace and never to the data.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Longest string that strace prints in full; a longer one is an error here.
pub(super) const MAX_STRING_BYTES: usize = 2 << 20;

/// What the recorder asks strace to trace. `?` marks a call that this
/// architecture may not have. Calls that the model does not know are traced
/// too, so that they are refused and not overlooked.
pub(super) const TRACED: &str = "trace=?open,openat,?openat2,?creat,close,?dup,?dup2,dup3,fcntl,\
    read,readv,lseek,write,writev,pwrite64,pwritev,?pwritev2,truncate,ftruncate,fallocate,\
    fsync,fdatasync,sync,syncfs,sync_file_range,?rename,?renameat,renameat2,?unlink,unlinkat,\
    ?link,linkat,?symlink,symlinkat,?mkdir,mkdirat,?rmdir,\
    mmap,copy_file_range,sendfile,splice,?io_uring_setup,io_setup,?fork,?vfork,clone,?clone3,execve";

/// One system call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub name: &'a str,
    args: Vec<&'a str>,
    pub start: usize,
    /// `None`: the process ended first.
    pub end: Option<usize>,
    result: &'a str,
}

/// A file descriptor argument: its number and the path that it stood for.
#[derive(Debug)]
pub(super) struct Descriptor {
    /// `None` for `AT_FDCWD`.
    pub number: Option<i32>,
    pub path: PathBuf,
}

/// All calls of a log. Moments are counted from `first`: line `n` starts a call
/// at `first + 2n` and ends one at `first + 2n + 1`. Returns the calls, in the
/// order in which they started, and the next free moment.
pub(super) fn calls(log: &str, first: usize) -> Result<(Vec<Call<'_>>, usize), String> {
    let mut calls = Vec::new();
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    let mut moment = first;
    for line in log.lines() {
        let start = moment;
        moment += 2;
        let (thread, text) = line.split_once(' ').ok_or_else(|| format!("no thread id: {line}"))?;
        let text = text.trim_start();
        if text.starts_with("+++") || text.starts_with("---") {
            continue;
        }
        if text.starts_with("<...") {
            let index = unfinished
                .remove(thread)
                .ok_or_else(|| format!("a call resumes that never started: {}", brief(text)))?;
            let call: &mut Call<'_> = &mut calls[index];
            call.result = result(text)?;
            call.end = (!call.result.starts_with('?')).then_some(start + 1);
            continue;
        }
        let (name, rest) =
            text.split_once('(').ok_or_else(|| format!("not a call: {}", brief(text)))?;
        let (rest, result, end) = if let Some(rest) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, calls.len());
            (rest, "?", None)
        } else {
            let result = result(rest)?;
            (rest, result, (!result.starts_with('?')).then_some(start + 1))
        };
        calls.push(Call { name, args: split(rest), start, end, result });
    }
    Ok((calls, moment))
}

impl Call<'_> {
    /// Whether the call returned an error, or is going to be restarted by the
    /// kernel: then it had no effect.
    pub(super) fn failed(&self) -> bool {
        self.result.starts_with('-') || self.result.starts_with("? ERESTART")
    }

    /// The number that the call returned; `None` if it never returned.
    pub(super) fn returned(&self) -> Option<u64> {
        let end = self.result.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.result.len());
        self.result[..end].parse().ok()
    }

    /// The path of the descriptor that the call returned.
    pub(super) fn returned_path(&self) -> Option<PathBuf> {
        annotation(self.result)
    }

    /// An argument as strace wrote it: flags, a structure.
    pub(super) fn text(&self, index: usize) -> &str {
        self.args.get(index).copied().unwrap_or_default()
    }

    pub(super) fn number(&self, index: usize) -> Result<u64, String> {
        self.text(index).parse().map_err(|_| self.complain(index, "a number"))
    }

    pub(super) fn descriptor(&self, index: usize) -> Result<Descriptor, String> {
        let text = self.text(index);
        let number = text.split('<').next().unwrap_or_default();
        let number = match number {
            "AT_FDCWD" => None,
            number => Some(number.parse().map_err(|_| self.complain(index, "a descriptor"))?),
        };
        Ok(Descriptor { number, path: annotation(text).unwrap_or_default() })
    }

    pub(super) fn path(&self, index: usize) -> Result<PathBuf, String> {
        Ok(PathBuf::from(OsString::from_vec(self.bytes(index)?)))
    }

    /// Every string in the argument, joined: one for `write`, several for `writev`.
    pub(super) fn bytes(&self, index: usize) -> Result<Vec<u8>, String> {
        let text = self.text(index);
        if text.contains("\"...") || text.contains("...]") {
            return Err(format!("{} passes more than {MAX_STRING_BYTES} bytes", self.name));
        }
        let mut bytes = Vec::with_capacity(text.len() / 4);
        for string in text.split('"').skip(1).step_by(2) {
            unhex(string, &mut bytes).ok_or_else(|| self.complain(index, "a string"))?;
        }
        Ok(bytes)
    }

    fn complain(&self, index: usize, wanted: &str) -> String {
        format!("{} at {}: argument {index} is not {wanted}", self.name, self.start)
    }
}

/// What stands after the last ` = `.
fn result(text: &str) -> Result<&str, String> {
    let at = text.rfind(" = ").ok_or_else(|| format!("no result: {}", brief(text)))?;
    Ok(text[at + 3..].trim())
}

/// Splits at the commas between arguments, not at those inside brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut args) = (0_usize, 0, Vec::new());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' | b'(' | b'<' => depth += 1,
            b')' if depth == 0 => {
                args.push(text[from..at].trim());
                return args;
            }
            b']' | b'}' | b')' | b'>' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                args.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    args.push(text[from..].trim());
    args
}

/// The path in `3<\x2f\x74…>`.
fn annotation(text: &str) -> Option<PathBuf> {
    let inside = text.split_once('<')?.1.split_once('>')?.0;
    let mut bytes = Vec::new();
    unhex(inside, &mut bytes)?;
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

fn unhex(text: &str, into: &mut Vec<u8>) -> Option<()> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    for four in text.as_bytes().chunks(4) {
        let [b'\\', b'x', high, low] = *four else { return None };
        into.push(digit(high)? << 4 | digit(low)?);
    }
    Some(())
}

/// The start of a line, for a message: the rest may be a megabyte of data.
fn brief(text: &str) -> &str {
    text.get(..80).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_split_by_another_thread_keeps_both_moments() {
        let log = "7 fdatasync(3<\\x2f\\x61> <unfinished ...>\n\
                   8 write(4<\\x2f\\x62>, \"\\x68\\x69\", 2) = 2\n\
                   7 <... fdatasync resumed>) = 0\n";
        let (calls, next) = calls(log, 0).unwrap();
        assert_eq!(next, 6);
        assert_eq!((calls[0].name, calls[0].start, calls[0].end), ("fdatasync", 0, Some(5)));
        assert_eq!((calls[1].start, calls[1].end), (2, Some(3)));
        assert_eq!(calls[1].bytes(1).unwrap(), b"hi");
        assert_eq!(calls[1].descriptor(0).unwrap().path, PathBuf::from("/b"));
    }

    #[test]
    fn gathered_writes_are_joined_and_a_shortened_string_is_refused() {
        let log = "7 writev(3<\\x2f\\x61>, [{iov_base=\"\\x61\", iov_len=1}, {iov_base=\"\\x62\", iov_len=1}], 2) = 2\n\
                   7 write(3<\\x2f\\x61>, \"\\x61\"..., 9) = 9\n";
        let (calls, _) = calls(log, 0).unwrap();
        assert_eq!(calls[0].bytes(1).unwrap(), b"ab");
        assert!(calls[1].bytes(1).unwrap_err().contains("more than"));
    }

    #[test]
    fn a_call_that_never_returns_has_no_end() {
        let log =
            "7 write(3<\\x2f\\x61>, \"\\x61\", 1 <unfinished ...>\n7 +++ killed by SIGKILL +++\n";
        let (calls, _) = calls(log, 10).unwrap();
        assert_eq!((calls[0].start, calls[0].end, calls[0].returned()), (10, None, None));
        assert!(!calls[0].failed());
    }
}
