//! What a program did to a directory: every change and every sync in one total
//! order, each with the moment from which a power cut cannot undo it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A file or directory, whatever its name is at the moment. 0 is the root.
pub(super) type Inode = usize;

/// A moment that never comes.
pub(super) const NEVER: usize = usize::MAX;

/// One change. A change is pending from `start` on and safe from `durable` on.
#[derive(Debug)]
pub(super) struct Change {
    pub start: usize,
    pub end: usize,
    pub durable: usize,
    pub what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Write { file: Inode, offset: u64, data: Vec<u8> },
    Resize { file: Inode, size: u64 },
    Link { to: Name, inode: Inode },
    Unlink { from: Name, inode: Inode },
    Rename { from: Name, to: Name, inode: Inode },
}

/// An entry of a directory.
pub(super) type Name = (Inode, std::ffi::OsString);

#[derive(Debug)]
pub(super) struct Sync {
    pub start: usize,
    pub end: usize,
    /// `None`: everything (`sync`, `syncfs`).
    pub inode: Option<Inode>,
}

/// The recorded history of one directory.
#[derive(Debug)]
pub struct Trace {
    pub(super) base: PathBuf,
    /// In the order in which they took effect for the programs.
    pub(super) changes: Vec<Change>,
    pub(super) directories: Vec<bool>,
    /// Lines of standard output, each with the moment its write started.
    pub(super) output: Vec<(usize, String)>,
    pub(super) length: usize,
    pub(super) syncs: Vec<Sync>,
    pub(super) sizes: Vec<u64>,
    pub(super) names: HashMap<PathBuf, Inode>,
    pub(super) range_syncs: usize,
}

impl Trace {
    /// The trace of a directory that is empty and durable itself.
    pub(super) fn new(base: PathBuf) -> Self {
        Self {
            names: HashMap::from([(base.clone(), 0)]),
            base,
            changes: Vec::new(),
            directories: vec![true],
            output: Vec::new(),
            length: 0,
            syncs: Vec::new(),
            sizes: vec![0],
            range_syncs: 0,
        }
    }

    /// Bytes written so far.
    pub fn written_bytes(&self) -> usize {
        self.changes.iter().map(|change| change.data().map_or(0, <[u8]>::len)).sum()
    }

    /// Number of writes.
    pub fn writes(&self) -> usize {
        self.changes.iter().filter(|change| change.data().is_some()).count()
    }

    /// Number of syncs that returned success.
    pub fn syncs(&self) -> usize {
        self.syncs.len()
    }

    /// Number of `sync_file_range` calls: they make nothing durable.
    pub fn range_syncs(&self) -> usize {
        self.range_syncs
    }

    /// When each sync started and returned.
    pub(super) fn sync_moments(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.syncs.iter().map(|sync| (sync.start, sync.end))
    }

    /// Puts what is on the disk already before everything else, as durable.
    pub(super) fn start_with(&mut self, dir: &Path) -> std::io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let is_dir = path.is_dir();
            let (Ok(name), inode) = (self.name(&path), self.new_inode(is_dir)) else { continue };
            self.names.insert(path.clone(), inode);
            self.push_at(0, 0, What::Link { to: name, inode });
            if is_dir {
                self.start_with(&path)?;
            } else {
                let data = std::fs::read(&path)?;
                self.sizes[inode] = data.len() as u64;
                self.push_at(0, 0, What::Write { file: inode, offset: 0, data });
            }
        }
        for change in &mut self.changes {
            change.durable = 0;
        }
        self.length = 1;
        Ok(())
    }

    /// A sync makes durable what had returned before the sync started, and does
    /// so when it returns.
    pub(super) fn settle(&mut self) {
        let everything: Vec<&Sync> = self.syncs.iter().filter(|s| s.inode.is_none()).collect();
        let mut by_inode: HashMap<Inode, Vec<&Sync>> = HashMap::new();
        for sync in &self.syncs {
            if let Some(inode) = sync.inode {
                by_inode.entry(inode).or_default().push(sync);
            }
        }
        // Both lists are in the order of their ends.
        let first_in = |list: &[&Sync], after: usize| {
            let list = &list[list.partition_point(|sync| sync.end <= after)..];
            list.iter().find(|sync| sync.start >= after).map_or(NEVER, |sync| sync.end)
        };
        let first = |inode: Inode, after: usize| {
            let own = by_inode.get(&inode).map_or(&[][..], Vec::as_slice);
            first_in(own, after).min(first_in(&everything, after))
        };
        for change in self.changes.iter_mut().filter(|change| change.durable == NEVER) {
            change.durable = match &change.what {
                What::Write { file, .. } | What::Resize { file, .. } => first(*file, change.end),
                What::Link { to: (dir, _), .. } | What::Unlink { from: (dir, _), .. } => {
                    first(*dir, change.end)
                }
                What::Rename { from, to, .. } => {
                    first(from.0, change.end).max(first(to.0, change.end))
                }
            };
        }
    }

    pub(super) fn name(&self, path: &Path) -> Result<Name, String> {
        let parent = path.parent().and_then(|parent| self.names.get(parent));
        match (parent, path.file_name()) {
            (Some(parent), Some(name)) => Ok((*parent, name.to_owned())),
            _ => Err(format!("{} has no known parent", path.display())),
        }
    }

    pub(super) fn new_inode(&mut self, is_dir: bool) -> Inode {
        self.directories.push(is_dir);
        self.sizes.push(0);
        self.sizes.len() - 1
    }

    pub(super) fn push_at(&mut self, start: usize, end: usize, what: What) {
        self.changes.push(Change { start, end, durable: NEVER, what });
    }
}

impl Change {
    /// The bytes of a write.
    pub(super) fn data(&self) -> Option<&[u8]> {
        match &self.what {
            What::Write { data, .. } => Some(data),
            _ => None,
        }
    }

    /// The file whose contents change; `None` for a change of names.
    pub(super) fn file(&self) -> Option<Inode> {
        match self.what {
            What::Write { file, .. } | What::Resize { file, .. } => Some(file),
            _ => None,
        }
    }
}
