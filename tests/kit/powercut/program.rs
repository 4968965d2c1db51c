//! Follows one program through its system calls and adds to the [`Trace`] what
//! they did to the recorded directory. What it cannot follow is an error: a
//! record with a hole proves nothing.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use super::strace::{Call, Descriptor, calls};
use super::trace::{Inode, NEVER, Sync, Trace, What};

/// A running program: its open files are its own and end with it.
#[derive(Debug)]
pub(super) struct Program<'t> {
    trace: &'t mut Trace,
    descriptors: HashMap<i32, usize>,
    descriptions: Vec<Description>,
    unfinished_line: Vec<u8>,
}

/// An open file description, shared by duplicated descriptors.
#[derive(Debug)]
struct Description {
    inode: Inode,
    position: u64,
    append: bool,
    writes_through: bool,
    writable: bool,
    /// Up to when a call that moves the position is under way.
    busy_until: usize,
}

impl<'t> Program<'t> {
    pub(super) fn new(trace: &'t mut Trace) -> Self {
        let (descriptors, descriptions) = (HashMap::new(), Vec::new());
        Self { trace, descriptors, descriptions, unfinished_line: Vec::new() }
    }

    /// Adds what the program did, from its strace log. What it has not synced
    /// stays pending.
    pub(super) fn follow(mut self, log: &str) -> Result<(), String> {
        let (calls, next) = calls(log, self.trace.length)?;
        let moment = |call: &Call<'_>| match call.end {
            _ if counts_from_start(call.name) => call.start,
            end => end.unwrap_or(NEVER),
        };
        let mut steps: Vec<&Call<'_>> = calls.iter().filter(|call| !call.failed()).collect();
        steps.sort_by_key(|call| moment(call));
        // The first execve is strace starting the program.
        let mut started = false;
        for call in steps {
            if call.name == "execve" && !started {
                started = true;
                continue;
            }
            self.apply(call).map_err(|why| format!("{why} ({} at {})", call.name, call.start))?;
        }
        self.trace.length = next;
        self.trace.settle();
        Ok(())
    }

    fn apply(&mut self, call: &Call<'_>) -> Result<(), String> {
        let at = usize::from(matches!(call.name, "openat" | "mkdirat" | "unlinkat"));
        match call.name {
            "open" | "openat" | "creat" => self.open(call, at),
            "close" => {
                if let Some(number) = call.descriptor(0)?.number {
                    self.descriptors.remove(&number);
                }
                Ok(())
            }
            "dup" | "dup2" | "dup3" => self.duplicate(call),
            "fcntl" if call.text(1).starts_with("F_DUPFD") => self.duplicate(call),
            "fcntl" if call.text(1) == "F_SETFL" && self.description(call, 0)?.is_some() => {
                Err("F_SETFL on a recorded file is not modelled".into())
            }
            "lseek" => {
                if let (Some(id), Some(to)) = (self.description(call, 0)?, call.returned()) {
                    self.descriptions[id].position = to;
                }
                Ok(())
            }
            "read" | "readv" => {
                if let (Some(id), Some(count)) = (self.description(call, 0)?, call.returned()) {
                    self.descriptions[id].position += count;
                }
                Ok(())
            }
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => self.write(call),
            "ftruncate" => match self.description(call, 0)? {
                Some(id) => {
                    let size = call.number(1)?;
                    self.resize(call, self.descriptions[id].inode, size);
                    Ok(())
                }
                None => Ok(()),
            },
            "truncate" => match self.trace.names.get(&resolve(call, 0, 0)?) {
                Some(inode) => {
                    let size = call.number(1)?;
                    self.resize(call, *inode, size);
                    Ok(())
                }
                None => self.outside(&resolve(call, 0, 0)?),
            },
            "fallocate" => self.allocate(call),
            "fsync" | "fdatasync" => match (self.description(call, 0)?, call.end) {
                (Some(id), Some(end)) => {
                    let inode = Some(self.descriptions[id].inode);
                    self.trace.syncs.push(Sync { start: call.start, end, inode });
                    Ok(())
                }
                _ => Ok(()),
            },
            "sync" | "syncfs" => {
                if let Some(end) = call.end {
                    self.trace.syncs.push(Sync { start: call.start, end, inode: None });
                }
                Ok(())
            }
            "sync_file_range" => {
                self.trace.range_syncs += usize::from(self.description(call, 0)?.is_some());
                Ok(())
            }
            "mkdir" | "mkdirat" => {
                let path = argument_path(call, at)?;
                self.make(call, path, true).map(drop)
            }
            "unlink" | "rmdir" | "unlinkat" => {
                let path = argument_path(call, at)?;
                self.unlink(call, &path)
            }
            "rename" | "renameat" | "renameat2" => self.rename(call),
            "link" | "linkat" => self.link(call),
            "mmap" => {
                // What maps a file writable has opened it for writing.
                let shared = call.text(3).contains("MAP_SHARED");
                match (shared, self.description(call, 4)) {
                    (true, Ok(Some(id))) if self.descriptions[id].writable => {
                        Err("a shared mapping of a file open for writing is not modelled".into())
                    }
                    _ => Ok(()),
                }
            }
            "clone" | "clone3" if call.text(0).contains("CLONE_FILES") => Ok(()),
            "clone" if (0..8).any(|index| call.text(index).contains("CLONE_FILES")) => Ok(()),
            "fork" | "vfork" | "clone" | "clone3" | "execve" => {
                Err("a program that starts another one is not modelled".into())
            }
            "io_uring_setup" | "io_setup" => Err("asynchronous I/O is not modelled".into()),
            "copy_file_range" | "sendfile" | "splice" | "openat2" | "symlink" | "symlinkat" => {
                let touches =
                    (0..4).any(|index| matches!(self.description(call, index), Ok(Some(_))));
                let named = call.name == "openat2" || call.name.starts_with("symlink");
                if touches || named { Err("the call is not modelled".into()) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, call: &Call<'_>, at: usize) -> Result<(), String> {
        let flags =
            if call.name == "creat" { "O_WRONLY|O_CREAT|O_TRUNC" } else { call.text(at + 1) };
        let has = |flag| flags.split('|').any(|one| one == flag);
        let asked = argument_path(call, at)?;
        // Where the file really is: links on the way are resolved.
        let path = call.returned_path().unwrap_or(asked);
        if !path.starts_with(&self.trace.base) {
            return Ok(());
        }
        if has("O_TMPFILE") {
            return Err("O_TMPFILE is not modelled".into());
        }
        let inode = match self.trace.names.get(&path) {
            Some(inode) => *inode,
            None if has("O_CREAT") => self.make(call, path, false)?,
            None => return Err(format!("{} is open, but was never created", path.display())),
        };
        if has("O_TRUNC") && self.trace.sizes[inode] > 0 {
            self.resize(call, inode, 0);
        }
        if let Some(number) = call.returned() {
            self.descriptors.insert(number as i32, self.descriptions.len());
            self.descriptions.push(Description {
                inode,
                position: 0,
                append: has("O_APPEND"),
                writes_through: has("O_SYNC") || has("O_DSYNC"),
                writable: has("O_WRONLY") || has("O_RDWR"),
                busy_until: 0,
            });
        }
        Ok(())
    }

    fn duplicate(&mut self, call: &Call<'_>) -> Result<(), String> {
        let Some(number) = call.returned() else { return Ok(()) };
        match self.description(call, 0)? {
            Some(id) => self.descriptors.insert(number as i32, id),
            None => self.descriptors.remove(&(number as i32)),
        };
        Ok(())
    }

    fn write(&mut self, call: &Call<'_>) -> Result<(), String> {
        let Some(id) = self.description(call, 0)? else {
            if call.descriptor(0)?.number == Some(1) {
                let bytes = call.bytes(1)?;
                self.print(call, &bytes);
            }
            return Ok(());
        };
        let mut data = call.bytes(1)?;
        data.truncate(call.returned().map_or(data.len(), |count| count as usize));
        let description = &mut self.descriptions[id];
        let inode = description.inode;
        let offset = if call.name.starts_with("pwrite") {
            if description.append {
                return Err("pwrite on a file opened with O_APPEND is not modelled".into());
            }
            call.number(3)?
        } else {
            if description.busy_until > call.start {
                return Err("two threads write at one file position at once".into());
            }
            description.busy_until = call.end.unwrap_or(NEVER);
            let offset =
                if description.append { self.trace.sizes[inode] } else { description.position };
            description.position = offset + data.len() as u64;
            offset
        };
        let through = description.writes_through || call.text(4).contains("SYNC");
        self.trace.sizes[inode] = self.trace.sizes[inode].max(offset + data.len() as u64);
        self.push(call, What::Write { file: inode, offset, data });
        if let (true, Some(change)) = (through, self.trace.changes.last_mut()) {
            change.durable = change.end;
        }
        Ok(())
    }

    fn print(&mut self, call: &Call<'_>, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                let line = String::from_utf8_lossy(&self.unfinished_line).into_owned();
                self.trace.output.push((call.start, line));
                self.unfinished_line.clear();
            } else {
                self.unfinished_line.push(*byte);
            }
        }
    }

    fn allocate(&mut self, call: &Call<'_>) -> Result<(), String> {
        let Some(id) = self.description(call, 0)? else { return Ok(()) };
        let (inode, end) = (self.descriptions[id].inode, call.number(2)? + call.number(3)?);
        match call.text(1) {
            "0" => {
                if end > self.trace.sizes[inode] {
                    self.resize(call, inode, end);
                }
                Ok(())
            }
            "FALLOC_FL_KEEP_SIZE" => Ok(()),
            _ => Err("this mode of fallocate is not modelled".into()),
        }
    }

    fn resize(&mut self, call: &Call<'_>, file: Inode, size: u64) {
        self.trace.sizes[file] = size;
        self.push(call, What::Resize { file, size });
    }

    fn make(&mut self, call: &Call<'_>, path: PathBuf, is_dir: bool) -> Result<Inode, String> {
        if !path.starts_with(&self.trace.base) {
            return Ok(0);
        }
        let to = self.trace.name(&path)?;
        let inode = self.trace.new_inode(is_dir);
        self.trace.names.insert(path, inode);
        self.push(call, What::Link { to, inode });
        Ok(inode)
    }

    fn unlink(&mut self, call: &Call<'_>, path: &Path) -> Result<(), String> {
        let Some(inode) = self.trace.names.remove(path) else { return self.outside(path) };
        let from = self.trace.name(path)?;
        self.push(call, What::Unlink { from, inode });
        Ok(())
    }

    fn rename(&mut self, call: &Call<'_>) -> Result<(), String> {
        let at = usize::from(call.name != "rename");
        let from = argument_path(call, at)?;
        let to = second_path(call, at)?;
        if call.text(4).contains("EXCHANGE") || call.text(4).contains("WHITEOUT") {
            return Err("this rename is not modelled".into());
        }
        let Some(inode) = self.trace.names.get(&from).copied() else {
            self.outside(&from)?;
            return self.outside(&to);
        };
        let what = What::Rename { from: self.trace.name(&from)?, to: self.trace.name(&to)?, inode };
        let moved: Vec<PathBuf> =
            self.trace.names.keys().filter(|path| path.starts_with(&from)).cloned().collect();
        for old in moved {
            let below = old.strip_prefix(&from).map_err(|_| "not below its parent")?;
            let new = if below.as_os_str().is_empty() { to.clone() } else { to.join(below) };
            if let Some(inode) = self.trace.names.remove(&old) {
                self.trace.names.insert(new, inode);
            }
        }
        self.push(call, what);
        Ok(())
    }

    fn link(&mut self, call: &Call<'_>) -> Result<(), String> {
        let at = usize::from(call.name == "linkat");
        let from = argument_path(call, at)?;
        let to = second_path(call, at)?;
        let Some(inode) = self.trace.names.get(&from).copied() else {
            self.outside(&from)?;
            return self.outside(&to);
        };
        let what = What::Link { to: self.trace.name(&to)?, inode };
        self.trace.names.insert(to, inode);
        self.push(call, what);
        Ok(())
    }

    /// The recorded file behind a descriptor; `None` if it is none of ours.
    fn description(&self, call: &Call<'_>, index: usize) -> Result<Option<usize>, String> {
        let Descriptor { number, path } = call.descriptor(index)?;
        match number.and_then(|number| self.descriptors.get(&number)) {
            Some(id) => Ok(Some(*id)),
            None => self.outside(&path).map(|()| None),
        }
    }

    /// An error for a path that should be known: what is below the base and was
    /// not seen before makes the record incomplete.
    fn outside(&self, path: &Path) -> Result<(), String> {
        if path.starts_with(&self.trace.base) {
            return Err(format!("{} was never seen before", path.display()));
        }
        Ok(())
    }

    fn push(&mut self, call: &Call<'_>, what: What) {
        self.trace.push_at(call.start, call.end.unwrap_or(NEVER), what);
    }
}

/// Calls that count from their start: another thread may see their effect
/// before they return. `close` frees its number at once. The others are known
/// only by what they return.
fn counts_from_start(name: &str) -> bool {
    name.contains("write") || name.contains("truncate") || matches!(name, "close" | "fallocate")
}

fn argument_path(call: &Call<'_>, at: usize) -> Result<PathBuf, String> {
    resolve(call, 0, at)
}

/// The new name of a rename or link: `(from, to)` or `(dir, from, dir, to)`.
fn second_path(call: &Call<'_>, at: usize) -> Result<PathBuf, String> {
    if at == 0 { resolve(call, 1, 1) } else { resolve(call, 2, 3) }
}

/// The path in argument `at`, seen from the directory in argument
/// `directory`, if that is another argument.
fn resolve(call: &Call<'_>, directory: usize, at: usize) -> Result<PathBuf, String> {
    let path = call.path(at)?;
    let from = if directory == at { PathBuf::new() } else { call.descriptor(directory)?.path };
    if path.is_relative() && from.as_os_str().is_empty() {
        return Err("a path relative to the working directory is not modelled".into());
    }
    Ok(absolute(from, &path))
}

fn absolute(from: PathBuf, path: &Path) -> PathBuf {
    let mut whole = from;
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(whole.pop()),
            Component::RootDir => whole = PathBuf::from("/"),
            part => whole.push(part),
        }
    }
    whole
}

#[cfg(test)]
mod tests;
