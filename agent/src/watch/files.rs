//! What stands in a shard's folder, by a look at each file's size and times, and what has changed since the look before.
//!
//! Nothing is opened. Qdrant writes through memory maps, which raises no events; but the kernel moves a file's modification time when a
//! mapped page is written for the first time after it was written back.

use fs_err as fs;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Folders in folders are looked into so far below the shard's.
const MAX_DEPTH: usize = 8;
/// Bytes of a block, as `stat` counts them.
const BLOCK: u64 = 512;
/// Errors of one look that are kept in words.
const ERRORS: usize = 4;

/// A file as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    /// Bytes that it takes on the disk.
    stored: u64,
    modified: (i64, i64),
}

/// A shard's files by their paths below its folder, and its segments.
#[derive(Clone, Debug, Default)]
pub(super) struct ShardFiles {
    files: BTreeMap<Box<str>, Stamp>,
    /// Inodes of the folders that say whether it still is the same shard, and the same segment: `wal`, `segments/ID`.
    folders: BTreeMap<Box<str>, u64>,
    /// What could not be looked at, in words: some of it.
    pub(super) errors: Vec<String>,
    /// Whether there were more files than are looked at.
    pub(super) cut: bool,
}

/// What is different between two looks at a shard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Bytes on the disk of the files that are new or were written to: at least what has changed.
    pub(super) touched: u64,
    /// Segments that came.
    pub(super) new_segments: u64,
    /// Segments that went.
    pub(super) gone_segments: u64,
    /// Files that no server loses so, if they still are lost at the next look.
    pub(super) suspects: BTreeSet<Suspect>,
}

/// A file that may be lost, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Suspect {
    /// Its path below the shard's folder.
    pub(super) path: Box<str>,
    /// Inode of its segment's folder, and of the shard's log.
    place: (u64, u64),
    /// It was so long, in bytes, and is shorter; `None` if it is gone.
    pub(super) was: Option<u64>,
}

/// What a server does with a file of a segment while the segment lives.
enum Habit {
    /// It is only ever made longer: vectors and payloads.
    Grows,
    /// It stays there: ids, and what says that there is a segment.
    Stays,
    /// Anything: indexes, the log, what is being built.
    Any,
}

impl ShardFiles {
    /// Looks at everything below `folder`, but at no more than `most` files.
    pub(super) fn look(folder: &Path, most: usize) -> Self {
        let mut seen = Self::default();
        seen.descend(folder, "", 0, most);
        seen
    }

    /// Files that were seen.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Bytes that they take on the disk.
    pub(super) fn stored(&self) -> u64 {
        self.files.values().map(|stamp| stamp.stored).sum()
    }

    /// Segments that were seen.
    pub(super) fn segments(&self) -> usize {
        self.segment_folders().count()
    }

    /// Whether everything was seen.
    pub(super) fn is_whole(&self) -> bool {
        !self.cut && self.errors.is_empty()
    }

    fn segment_folders(&self) -> impl Iterator<Item = &Box<str>> {
        self.folders.keys().filter(|path| &***path != "wal")
    }

    fn descend(&mut self, folder: &Path, below: &str, depth: usize, most: usize) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.failed(&error),
        };
        for entry in entries {
            if self.files.len() >= most {
                self.cut = true;
                return;
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.failed(&error),
            };
            let name = entry.file_name();
            let path = if below.is_empty() {
                name.to_string_lossy().into_owned()
            } else {
                format!("{below}/{}", name.to_string_lossy())
            };
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                Err(error) => {
                    self.failed(&error);
                    continue;
                }
            };
            if meta.is_dir() && depth < MAX_DEPTH {
                if below == "segments" || path == "wal" {
                    self.folders.insert(path.clone().into(), meta.ino());
                }
                self.descend(&entry.path(), &path, depth + 1, most);
            } else if meta.is_file() {
                let stamp = Stamp {
                    inode: meta.ino(),
                    size: meta.len(),
                    stored: meta.blocks().saturating_mul(BLOCK),
                    modified: (meta.mtime(), meta.mtime_nsec()),
                };
                self.files.insert(path.into(), stamp);
            }
        }
    }

    /// That something has gone between listing and looking is no failure.
    fn failed(&mut self, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound && self.errors.len() < ERRORS {
            self.errors.push(error.to_string());
        }
    }

    /// What is different from the look before. Both saw everything.
    pub(super) fn since(&self, before: &Self) -> Changes {
        let mut changes = Changes::default();
        let mut segments: BTreeSet<_> = before.segment_folders().collect();
        for segment in self.segment_folders() {
            if !segments.remove(segment) {
                changes.new_segments += 1;
            }
        }
        changes.gone_segments = segments.len() as u64;
        for (path, stamp) in &self.files {
            let old = before.files.get(path);
            if old != Some(stamp) {
                changes.touched = changes.touched.saturating_add(stamp.stored);
            }
            let shorter = old.filter(|old| old.inode == stamp.inode && old.size > stamp.size);
            if let (Some(old), Habit::Grows) = (shorter, habit(path)) {
                let suspect = before.suspect(path, Some(old.size));
                changes.suspects.extend(suspect);
            }
        }
        let gone = before.files.keys();
        let gone = gone.filter(|path| !self.files.contains_key(*path));
        let gone = gone.filter(|path| !matches!(habit(path), Habit::Any));
        let gone = gone.filter_map(|path| before.suspect(path, None));
        changes.suspects.extend(gone);
        changes.suspects.retain(|suspect| self.confirms(suspect));
        changes
    }

    /// A file of this look that is found lost at the next.
    fn suspect(&self, path: &str, was: Option<u64>) -> Option<Suspect> {
        Some(Suspect {
            path: path.into(),
            place: self.place_of(path)?,
            was,
        })
    }

    /// The folders that a file's segment has to stay in for its loss to be one.
    fn place_of(&self, path: &str) -> Option<(u64, u64)> {
        let mut parts = path.split('/');
        let segment = parts.nth(1)?;
        let folder = format!("segments/{segment}");
        Some((
            *self.folders.get(folder.as_str())?,
            *self.folders.get("wal")?,
        ))
    }

    /// Whether a file still is lost: its shard is not being removed and was not recovered, its segment is the same, and other files of its
    /// folder stand. Of a part of a segment that is gone whole, as a vector that was dropped, nothing is said.
    pub(super) fn confirms(&self, suspect: &Suspect) -> bool {
        let path = &*suspect.path;
        let stands = self.files.contains_key("shard_config.json")
            && self.place_of(path) == Some(suspect.place);
        let lost = match (self.files.get(path), suspect.was) {
            (None, None) => self.has_folder_of(path),
            (Some(stamp), Some(was)) => stamp.size < was,
            (None, Some(_)) | (Some(_), None) => false,
        };
        stands && lost
    }

    fn has_folder_of(&self, path: &str) -> bool {
        let Some((folder, _)) = path.rsplit_once('/') else {
            return true;
        };
        let beside = format!("{folder}/");
        let from = (Bound::Excluded(beside.as_str()), Bound::Unbounded);
        let next = self.files.range::<str, _>(from).next();
        next.is_some_and(|(next, _)| next.starts_with(&beside))
    }
}

fn habit(path: &str) -> Habit {
    let mut parts = path.split('/');
    let (Some("segments"), Some(segment), Some(part)) = (parts.next(), parts.next(), parts.next())
    else {
        return Habit::Any;
    };
    // `ID.deleted` is a segment that is being removed.
    if segment.contains('.') || path.ends_with(".tmp") {
        return Habit::Any;
    }
    let starts = |names: &[&str]| names.iter().any(|name| part.starts_with(name));
    if starts(&["vector_storage", "payload_storage"]) {
        Habit::Grows
    } else if starts(&[
        "id_tracker",
        "mutable_id_tracker",
        "segment.json",
        "version.info",
    ]) {
        Habit::Stays
    } else {
        Habit::Any
    }
}

#[cfg(test)]
mod tests;
