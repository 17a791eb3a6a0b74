//! What stands in a shard's folder, by a look at each file's size and times, and what has changed since the look before.
//!
//! Nothing is opened. Qdrant writes through memory maps, which raises no events; but the kernel moves a file's modification time when a
//! mapped page is written for the first time after it was written back.

use fs_err as fs;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Folders in folders are looked into so far below the shard's.
const MAX_DEPTH: usize = 8;
/// Bytes of a block, as `stat` counts them.
const BLOCK: u64 = 512;

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
    segments: BTreeSet<Box<str>>,
    /// What could not be looked at, in words.
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
    /// Files that are shorter than before.
    pub(super) shrunk: Vec<String>,
    /// Files that are missing in a segment that is still there.
    pub(super) vanished: Vec<String>,
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
        self.segments.len()
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
                if below == "segments" {
                    self.segments.insert(path.clone().into());
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
        if error.kind() != io::ErrorKind::NotFound {
            self.errors.push(error.to_string());
        }
    }

    /// What is different from the look before. Of a look that did not see everything, nothing is said to be missing.
    pub(super) fn since(&self, before: &Self) -> Changes {
        let mut changes = Changes {
            new_segments: count(&self.segments, &before.segments),
            gone_segments: count(&before.segments, &self.segments),
            ..Changes::default()
        };
        for (path, stamp) in &self.files {
            let old = before.files.get(path);
            if old != Some(stamp) {
                changes.touched += stamp.stored;
            }
            if old.is_some_and(|old| old.inode == stamp.inode && old.size > stamp.size)
                && is_core(path)
            {
                changes.shrunk.push(path.to_string());
            }
        }
        let whole = !self.cut && !before.cut && self.errors.is_empty();
        if whole {
            let gone = before.files.keys();
            let gone = gone.filter(|path| {
                !self.files.contains_key(*path) && is_core(path) && self.has_folder_of(path)
            });
            changes.vanished = gone.map(ToString::to_string).collect();
        }
        changes
    }

    /// Whether files stand beside it: of a part of a segment that is gone whole, as a vector that was dropped, nothing is said.
    fn has_folder_of(&self, path: &str) -> bool {
        let Some((folder, _)) = path.rsplit_once('/') else {
            return true;
        };
        let beside = format!("{folder}/");
        let from = (
            std::ops::Bound::Excluded(beside.as_str()),
            std::ops::Bound::Unbounded,
        );
        let next = self.files.range::<str, _>(from).next();
        next.is_some_and(|(next, _)| next.starts_with(&beside))
    }
}

fn count(of: &BTreeSet<Box<str>>, without: &BTreeSet<Box<str>>) -> u64 {
    of.difference(without).count() as u64
}

/// Whether a file is one that Qdrant only ever makes longer while the segment lives: vectors, payloads, ids. Everything else it
/// replaces and removes as it likes: indexes, its log, what it is still building.
fn is_core(path: &str) -> bool {
    let mut parts = path.split('/');
    let (Some("segments"), Some(segment), Some(part)) = (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let stores = part.starts_with("vector_storage")
        || part.starts_with("payload_storage")
        || part.starts_with("id_tracker");
    // `ID.deleted` is a segment that is being removed.
    stores && !segment.contains('.') && !path.ends_with(".tmp")
}

#[cfg(test)]
mod tests {
    use super::{Changes, ShardFiles};
    use fs_err as fs;
    use std::path::Path;

    const MOST: usize = 100;
    const CHUNK: &str = "segments/a/vector_storage/vectors/chunk_0.mmap";
    const OTHER: &str = "segments/a/vector_storage/vectors/chunk_1.mmap";

    fn write(shard: &Path, path: &str, bytes: usize) {
        let path = shard.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![7; bytes]).unwrap();
    }

    fn shard() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), CHUNK, 10_000);
        write(dir.path(), OTHER, 10_000);
        write(dir.path(), "segments/a/segment.json", 10);
        write(dir.path(), "wal/open-1", 50_000);
        dir
    }

    /// What `change` changes.
    fn after(change: impl FnOnce(&Path)) -> (ShardFiles, Changes) {
        let dir = shard();
        let before = ShardFiles::look(dir.path(), MOST);
        assert_eq!((before.len(), before.segments()), (4, 1));
        assert!(before.stored() >= 70_010, "{}", before.stored());
        change(dir.path());
        let now = ShardFiles::look(dir.path(), MOST);
        let changes = now.since(&before);
        (now, changes)
    }

    #[test]
    fn nothing_has_changed() {
        let (_, changes) = after(|_| ());
        assert_eq!(changes, Changes::default());
    }

    #[test]
    fn what_was_written_through_a_memory_map_counts() {
        use std::os::unix::fs::FileExt as _;
        // A write of the same length in its middle, as the kernel sees one of a mapped page.
        let (_, changes) = after(|shard| {
            let file = fs::OpenOptions::new()
                .write(true)
                .open(shard.join("wal/open-1"));
            let file = file.unwrap();
            file.file().write_all_at(b"new", 100).unwrap();
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
            file.file().set_modified(later).unwrap();
        });
        assert!((50_000..70_000).contains(&changes.touched), "{changes:?}");
        assert_eq!((changes.shrunk, changes.vanished), (vec![], vec![]));
    }

    #[test]
    fn segments_come_and_go() {
        let (now, changes) = after(|shard| {
            write(shard, "segments/b/vector_storage/vectors/chunk_0.mmap", 1);
            write(shard, "segments/c/segment.json", 1);
            fs::remove_dir_all(shard.join("segments/a")).unwrap();
        });
        assert_eq!((changes.new_segments, changes.gone_segments), (2, 1));
        assert_eq!(
            changes.vanished,
            Vec::<String>::new(),
            "as an optimizer does"
        );
        assert_eq!(now.segments(), 2);
    }

    #[test]
    fn what_no_server_does_is_told() {
        let (_, changes) = after(|shard| fs::remove_file(shard.join(OTHER)).unwrap());
        assert_eq!(changes.vanished, [OTHER]);
        let (_, changes) = after(|shard| {
            let file = fs::OpenOptions::new().write(true).open(shard.join(CHUNK));
            file.unwrap().set_len(100).unwrap();
        });
        assert_eq!(
            (changes.shrunk, changes.vanished),
            (vec![CHUNK.to_owned()], vec![])
        );
    }

    #[test]
    fn what_servers_do_is_not_told() {
        let (_, changes) = after(|shard| {
            // A vector is dropped, its log is cut, a segment is on its way out, a file is replaced by a shorter one.
            fs::remove_dir_all(shard.join("segments/a/vector_storage")).unwrap();
            write(shard, "wal/open-2", 10);
            fs::rename(shard.join("wal/open-2"), shard.join("wal/open-1")).unwrap();
            write(shard, "segments/a/segment.json", 5);
        });
        assert_eq!((changes.shrunk, changes.vanished), (vec![], vec![]));
        let (_, changes) = after(|shard| {
            let segment = shard.join("segments");
            fs::rename(segment.join("a"), segment.join("a.deleted")).unwrap();
            fs::remove_file(segment.join("a.deleted/vector_storage/vectors/chunk_0.mmap")).unwrap();
        });
        assert_eq!((changes.shrunk, changes.vanished), (vec![], vec![]));
    }

    #[test]
    fn a_look_that_was_cut_says_nothing_of_what_is_missing() {
        let dir = shard();
        let before = ShardFiles::look(dir.path(), MOST);
        let now = ShardFiles::look(dir.path(), 1);
        assert!(now.cut);
        assert_eq!(now.since(&before).vanished, Vec::<String>::new());
        let gone = ShardFiles::look(&dir.path().join("none"), MOST);
        assert_eq!((gone.len(), gone.errors), (0, vec![]));
    }
}
