//! The states in which a power cut can leave the directory.
//!
//! POSIX promises only what a sync has returned for, so the model gives a store
//! nothing more: contents and size of a file are safe after fsync or fdatasync
//! of that file, a name after fsync of its directory. Anything else may be
//! there, be missing, or be torn at sectors of 512 bytes, in any combination.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::random::Random;
use super::trace::{Change, Inode, Name, Trace, What};

const SECTOR: u64 = 512;

/// What became of the contents that no sync had covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// All lost.
    Nothing,
    /// All there.
    Everything,
    /// Only the last change is there: reordering at its worst.
    OnlyLast,
    /// Only the first change is missing.
    AllButFirst,
    /// The first few, the next one torn: a disk that works in order.
    Prefix,
    /// Any of them, each whole.
    Subset,
    /// Any of them, each torn into any of its sectors.
    Torn,
    /// As `Torn`, and what was added to a file but not written reads as garbage.
    Garbage,
}

/// What became of names (create, rename, unlink) that no sync had covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// All lost.
    Nothing,
    /// All there.
    Everything,
    /// The first few of all directories, as a journal keeps them.
    Prefix,
    /// Any of them; a rename still needs its source.
    Subset,
}

/// The part of the history that no later cut can change any more, applied.
#[derive(Debug)]
pub(super) struct Floor<'t> {
    trace: &'t Trace,
    files: HashMap<Inode, FloorFile>,
    names: Vec<usize>,
    settled_names: usize,
    tree: BTreeMap<Name, Inode>,
}

#[derive(Debug, Default)]
struct FloorFile {
    changes: Vec<usize>,
    settled: usize,
    image: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Lost,
    /// The file has its new size, but not the data.
    Grown,
    Whole,
    Torn,
}

impl<'t> Floor<'t> {
    pub(super) fn new(trace: &'t Trace) -> Self {
        let mut files: HashMap<Inode, FloorFile> = HashMap::new();
        let mut names = Vec::new();
        for (index, change) in trace.changes.iter().enumerate() {
            match change.file() {
                Some(file) => files.entry(file).or_default().changes.push(index),
                None => names.push(index),
            }
        }
        Self { trace, files, names, settled_names: 0, tree: BTreeMap::new() }
    }

    /// Moves on to a later cut.
    pub(super) fn advance(&mut self, cut: usize) {
        let changes = &self.trace.changes;
        let safe = |index: usize| changes[index].start <= cut && changes[index].durable <= cut;
        for file in self.files.values_mut() {
            while let Some(index) = file.changes.get(file.settled).filter(|index| safe(**index)) {
                match &changes[*index].what {
                    What::Write { offset, data, .. } => {
                        let (from, to) = (*offset as usize, *offset as usize + data.len());
                        file.image.resize(file.image.len().max(to), 0);
                        file.image[from..to].copy_from_slice(data);
                    }
                    What::Resize { size, .. } => file.image.resize(*size as usize, 0),
                    _ => {}
                }
                file.settled += 1;
            }
        }
        while let Some(index) = self.names.get(self.settled_names).filter(|index| safe(**index)) {
            apply_name(&mut self.tree, &changes[*index].what);
            self.settled_names += 1;
        }
    }

    /// How many changes are pending at the cut: of contents and of names.
    pub(super) fn pending(&self, cut: usize) -> (usize, usize) {
        (self.pending_contents(cut).len(), self.pending_names(cut).count())
    }

    /// Builds one state in `root`, an empty directory.
    pub(super) fn build(
        &self,
        root: &Path,
        cut: usize,
        contents: Contents,
        names: Names,
        seed: u64,
    ) -> io::Result<()> {
        let mut random = Random::new(seed);
        let fates = self.fates(cut, contents, &mut random);
        let tree = self.tree(cut, names, &mut random);
        let mut stack = vec![(0, root.to_owned())];
        let mut written: HashMap<Inode, std::path::PathBuf> = HashMap::new();
        while let Some((dir, path)) = stack.pop() {
            let from = (dir, std::ffi::OsString::new());
            for ((_, name), inode) in tree.range(from..).take_while(|((of, _), _)| *of == dir) {
                let path = path.join(name);
                if self.trace.directories[*inode] {
                    fs::create_dir(&path)?;
                    stack.push((*inode, path));
                } else if let Some(other) = written.get(inode) {
                    fs::hard_link(other, &path)?;
                } else {
                    self.build_file(&path, *inode, cut, &fates, contents, &mut random)?;
                    written.insert(*inode, path);
                }
            }
        }
        Ok(())
    }

    fn change(&self, index: usize) -> &'t Change {
        &self.trace.changes[index]
    }

    fn pending_contents(&self, cut: usize) -> Vec<usize> {
        let tails = self.files.values().flat_map(|file| &file.changes[file.settled..]);
        let mut pending: Vec<usize> = tails
            .copied()
            .filter(|index| self.change(*index).start <= cut && self.change(*index).durable > cut)
            .collect();
        pending.sort_unstable();
        pending
    }

    fn pending_names(&self, cut: usize) -> impl Iterator<Item = usize> + '_ {
        let tail = self.names[self.settled_names..].iter().copied();
        tail.filter(move |index| {
            self.change(*index).start <= cut && self.change(*index).durable > cut
        })
    }

    fn fates(&self, cut: usize, contents: Contents, random: &mut Random) -> HashMap<usize, Fate> {
        let pending = self.pending_contents(cut);
        let last = pending.len().saturating_sub(1);
        let torn = random.below(pending.len() + 1);
        // Nearly all, half, nearly none: each finds other faults.
        let eighths = [1, 4, 7][random.below(3)];
        let fate = |(at, index): (usize, usize)| {
            let fate = match contents {
                Contents::Everything => Fate::Whole,
                Contents::OnlyLast if at == last => Fate::Whole,
                Contents::AllButFirst if at != 0 => Fate::Whole,
                Contents::Prefix if at < torn => Fate::Whole,
                Contents::Prefix if at == torn => Fate::Torn,
                Contents::Nothing
                | Contents::OnlyLast
                | Contents::AllButFirst
                | Contents::Prefix => Fate::Lost,
                _ if !random.chance(eighths) && random.chance(2) => Fate::Grown,
                _ if !random.chance(eighths) => Fate::Lost,
                Contents::Subset => Fate::Whole,
                Contents::Torn | Contents::Garbage => Fate::Torn,
            };
            (index, fate)
        };
        pending.into_iter().enumerate().map(fate).collect()
    }

    fn tree(&self, cut: usize, names: Names, random: &mut Random) -> BTreeMap<Name, Inode> {
        let pending: HashSet<usize> = self.pending_names(cut).collect();
        let mut first_lost = 0;
        if names == Names::Prefix {
            // A journal keeps order: what was safe takes all before it along.
            let started = |index: &usize| self.change(*index).start <= cut;
            let tail: Vec<usize> =
                self.names[self.settled_names..].iter().copied().filter(started).collect();
            let safe =
                tail.iter().rposition(|index| !pending.contains(index)).map_or(0, |at| at + 1);
            let kept = safe + random.below(tail.len() - safe + 1);
            first_lost = tail.get(kept).copied().unwrap_or(usize::MAX);
        }
        let mut tree = self.tree.clone();
        for index in &self.names[self.settled_names..] {
            let kept = match names {
                _ if self.change(*index).start > cut => false,
                Names::Prefix => *index < first_lost,
                _ if !pending.contains(index) => true,
                Names::Nothing => false,
                Names::Everything => true,
                Names::Subset => random.chance(4),
            };
            if kept {
                apply_name(&mut tree, &self.change(*index).what);
            }
        }
        tree
    }

    fn build_file(
        &self,
        path: &Path,
        inode: Inode,
        cut: usize,
        fates: &HashMap<usize, Fate>,
        contents: Contents,
        random: &mut Random,
    ) -> io::Result<()> {
        let file = File::create_new(path)?;
        let Some(floor) = self.files.get(&inode) else { return Ok(()) };
        // Holes stay holes: a preallocated store is mostly zeros.
        file.set_len(floor.image.len() as u64)?;
        for (at, chunk) in floor.image.chunks(1 << 16).enumerate() {
            if chunk.iter().any(|byte| *byte != 0) {
                file.write_all_at(chunk, (at as u64) << 16)?;
            }
        }
        let mut size = floor.image.len() as u64;
        let garbage = contents == Contents::Garbage;
        let grow = |file: &File, size: &mut u64, to: u64, random: &mut Random| {
            if garbage && to > *size {
                let mut noise = vec![0; (to - *size) as usize];
                random.fill(&mut noise);
                file.write_all_at(&noise, *size)?;
            } else if to > *size {
                file.set_len(to)?;
            }
            *size = to.max(*size);
            io::Result::Ok(())
        };
        for index in &floor.changes[floor.settled..] {
            let change = self.change(*index);
            if change.start > cut {
                continue;
            }
            let fate = fates.get(index).copied().unwrap_or(Fate::Whole);
            match (&change.what, fate) {
                (_, Fate::Lost) => {}
                (What::Resize { size: to, .. }, _) if *to < size => {
                    file.set_len(*to)?;
                    size = *to;
                }
                (What::Resize { size: to, .. }, _) => grow(&file, &mut size, *to, random)?,
                (What::Write { offset, data, .. }, Fate::Grown) => {
                    grow(&file, &mut size, offset + data.len() as u64, random)?;
                }
                (What::Write { offset, data, .. }, Fate::Whole) => {
                    grow(&file, &mut size, *offset, random)?;
                    file.write_all_at(data, *offset)?;
                    size = size.max(offset + data.len() as u64);
                }
                (What::Write { offset, data, .. }, Fate::Torn) => {
                    if random.chance(4) {
                        grow(&file, &mut size, offset + data.len() as u64, random)?;
                    }
                    let mut from = 0;
                    while from < data.len() {
                        let position = offset + from as u64;
                        let to = ((SECTOR - position % SECTOR) as usize + from).min(data.len());
                        if random.chance(4) {
                            grow(&file, &mut size, position, random)?;
                            file.write_all_at(&data[from..to], position)?;
                            size = size.max(offset + to as u64);
                        }
                        from = to;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn apply_name(tree: &mut BTreeMap<Name, Inode>, what: &What) {
    match what {
        What::Link { to, inode } => {
            tree.insert(to.clone(), *inode);
        }
        What::Unlink { from, inode } if tree.get(from) == Some(inode) => {
            tree.remove(from);
        }
        What::Rename { from, to, inode } if tree.get(from) == Some(inode) => {
            tree.remove(from);
            tree.insert(to.clone(), *inode);
        }
        _ => {}
    }
}
