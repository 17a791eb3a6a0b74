//! One look at the whole storage directory after the other, and what follows from each.

use super::files::{Changes, ShardFiles};
use super::forecast::Room;
use super::trouble::Troubles;
use crate::tail::{LogKey, scan};
use holdfast_proto::v1;
use holdfast_types::{CollectionName, ShardId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Files that are looked at in one look, all shards together: about 100 bytes of memory each, twice while they are compared.
const MAX_FILES: usize = 500_000;

/// Shards that the coordinator is told of: some 70 bytes each in every heartbeat.
const MOST_TOLD: usize = 10_000;

/// What is known of a storage directory.
#[derive(Debug)]
pub(super) struct Storage {
    root: PathBuf,
    shards: BTreeMap<LogKey, Shard>,
    /// Collections of the last look; `None` before it.
    collections: Option<BTreeSet<CollectionName>>,
    bytes: Room,
    inodes: Room,
    troubles: Troubles,
    looks: u64,
}

/// What is known of one shard.
#[derive(Debug, Default)]
struct Shard {
    files: ShardFiles,
    touched: u64,
    new_segments: u64,
    gone_segments: u64,
    /// When something was last seen to have changed.
    changed: Option<Timestamp>,
}

/// What one look found.
#[derive(Debug)]
pub(super) struct Looked {
    /// For the coordinator.
    pub(super) told: v1::StorageWatch,
    /// Folders in which events mean something.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Whether a collection or a shard came or went.
    pub(super) other_shards: bool,
}

impl Storage {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            shards: BTreeMap::new(),
            collections: None,
            bytes: Room::default(),
            inodes: Room::default(),
            troubles: Troubles::default(),
            looks: 0,
        }
    }

    /// Looks at everything, which blocks.
    pub(super) fn look(&mut self, now: Timestamp) -> Looked {
        let began = Instant::now();
        let mut folders = BTreeSet::from([self.root.join("collections")]);
        let other_shards = match scan(&self.root) {
            Ok(found) => {
                let mut places = BTreeMap::new();
                for (collection, found) in &found {
                    folders.insert(found.folder.clone());
                    for shard in found.logs.keys() {
                        let folder = found.folder.join(shard.0.to_string());
                        folders.extend([folder.clone(), folder.join("segments")]);
                        places.insert(key(collection, *shard), folder);
                    }
                }
                self.look_at(places, now) | self.compare(found.into_keys().collect())
            }
            Err(error) => {
                self.troubles.note(now, &error.to_string());
                false
            }
        };
        self.looks += 1;
        let mut told = self.told(now);
        self.measure(&mut told, now);
        told.troubles = self.troubles.told(now);
        told.look_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Looked {
            told,
            folders,
            other_shards,
        }
    }

    /// Looks at each shard. Returns whether there are others than before.
    fn look_at(&mut self, places: BTreeMap<LogKey, PathBuf>, now: Timestamp) -> bool {
        let before = self.shards.len();
        self.shards.retain(|key, _| places.contains_key(key));
        let mut others = self.shards.len() != before;
        let mut left = MAX_FILES;
        for (key, folder) in places {
            let files = ShardFiles::look(&folder, left);
            left = left.saturating_sub(files.len());
            for error in &files.errors {
                self.troubles.note(now, error);
            }
            if files.cut {
                let words = format!(
                    "more than {MAX_FILES} files in {}: of some shards it is not seen what changes",
                    self.root.display()
                );
                self.troubles.note(now, &words);
            }
            match self.shards.get_mut(&key) {
                Some(shard) => {
                    let changes = shard.take(files, now);
                    self.troubles.note_changes(now, &key, &changes);
                }
                None => {
                    others = true;
                    let new = Shard {
                        files,
                        ..Shard::default()
                    };
                    self.shards.insert(key, new);
                }
            }
        }
        others
    }

    /// Whether there are other collections than at the look before.
    fn compare(&mut self, collections: BTreeSet<CollectionName>) -> bool {
        let before = self.collections.replace(collections);
        before.is_some() && before != self.collections
    }

    /// Room on the volume, and for how long it lasts.
    fn measure(&mut self, told: &mut v1::StorageWatch, now: Timestamp) {
        let stat = match rustix::fs::statvfs(&self.root) {
            Ok(stat) => stat,
            Err(error) => {
                let words = format!("{}: {error}", self.root.display());
                return self.troubles.note(now, &words);
            }
        };
        let at = Instant::now();
        told.total_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
        told.free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        self.bytes.note(at, told.free_bytes);
        told.bytes_last_secs = self.bytes.lasts().map(|left| left.as_secs());
        // Some file systems make inodes as they need them, and say that there are none.
        if stat.f_files > 0 {
            (told.total_inodes, told.free_inodes) = (stat.f_files, stat.f_favail);
            self.inodes.note(at, told.free_inodes);
            told.inodes_last_secs = self.inodes.lasts().map(|left| left.as_secs());
        }
    }

    fn told(&self, now: Timestamp) -> v1::StorageWatch {
        let shards = self.shards.iter().map(|(key, shard)| v1::WatchedShard {
            collection: key.collection.to_string(),
            shard_id: key.shard.0,
            stored_bytes: shard.files.stored(),
            files: shard.files.len() as u64,
            segments: shard.files.segments() as u64,
            touched_bytes: shard.touched,
            new_segments: shard.new_segments,
            gone_segments: shard.gone_segments,
            changed_us: shard.changed.map_or(0, Timestamp::as_micros),
        });
        v1::StorageWatch {
            looked_us: now.as_micros(),
            looks: self.looks,
            shards: shards.take(MOST_TOLD).collect(),
            ..v1::StorageWatch::default()
        }
    }
}

impl Shard {
    fn take(&mut self, files: ShardFiles, now: Timestamp) -> Changes {
        let changes = files.since(&self.files);
        self.touched = self.touched.saturating_add(changes.touched);
        self.new_segments += changes.new_segments;
        self.gone_segments += changes.gone_segments;
        if changes.touched > 0 || changes.gone_segments > 0 {
            self.changed = Some(now);
        }
        self.files = files;
        changes
    }
}

fn key(collection: &CollectionName, shard: ShardId) -> LogKey {
    LogKey {
        collection: collection.clone(),
        shard,
    }
}

/// How long to wait after a look that took so long: a hundredth of the time is spent on looks at most, whatever is configured.
pub(super) fn pause(every: Duration, took: Duration) -> Duration {
    every.max(took.saturating_mul(100))
}

#[cfg(test)]
mod tests {
    use super::{Storage, pause};
    use fs_err as fs;
    use holdfast_types::Timestamp;
    use std::time::Duration;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_micros(secs * 1_000_000)
    }

    fn write(dir: &tempfile::TempDir, path: &str, bytes: usize) {
        let path = dir.path().join("collections").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![1; bytes]).unwrap();
    }

    #[test]
    fn what_changes_is_counted_by_shard() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "docs/0/wal/open-1", 10_000);
        write(&dir, "docs/1/wal/open-1", 10_000);
        let mut storage = Storage::new(dir.path());
        let first = storage.look(at(1));
        assert!(first.other_shards);
        assert_eq!(first.folders.len(), 1 + 1 + 2 * 2);
        assert_eq!(first.told.shards.len(), 2);
        assert_eq!(first.told.shards[0].touched_bytes, 0, "what was there");
        let second = storage.look(at(2));
        assert!(!second.other_shards);
        assert_eq!(second.told.shards, first.told.shards);

        write(&dir, "docs/1/segments/a/vector_storage/chunk_0.mmap", 5000);
        let third = storage.look(at(3));
        assert!(!third.other_shards);
        let [quiet, busy] = third.told.shards.as_slice() else {
            panic!("{:?}", third.told.shards);
        };
        assert_eq!((quiet.touched_bytes, quiet.changed_us), (0, 0));
        assert!(busy.touched_bytes >= 5000, "{busy:?}");
        assert_eq!(busy.changed_us, at(3).as_micros());
        assert_eq!(
            (busy.segments, busy.new_segments, busy.gone_segments),
            (1, 1, 0)
        );
        assert_eq!(third.told.looks, 3);
        assert!(third.told.free_bytes > 0 && third.told.free_bytes <= third.told.total_bytes);
        assert_eq!(third.told.troubles, []);
    }

    #[test]
    fn collections_and_shards_that_come_and_go_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "docs/0/wal/open-1", 1);
        let mut storage = Storage::new(dir.path());
        storage.look(at(1));
        let mut differs = |change: &dyn Fn()| {
            change();
            storage.look(at(2)).other_shards
        };
        let collections = dir.path().join("collections");
        assert!(!differs(&|| ()));
        assert!(differs(&|| write(&dir, "docs/1/wal/open-1", 1)));
        assert!(differs(&|| fs::create_dir(collections.join("new")).unwrap()));
        assert!(differs(
            &|| fs::remove_dir_all(collections.join("docs/0")).unwrap()
        ));
        assert!(differs(
            &|| fs::remove_dir_all(collections.join("docs")).unwrap()
        ));
        assert!(!differs(&|| write(&dir, "new/config.json", 1)));
    }

    #[test]
    fn what_is_lost_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let chunk = "docs/0/segments/a/vector_storage/chunk_0.mmap";
        write(&dir, "docs/0/wal/open-1", 1);
        write(&dir, chunk, 5000);
        write(&dir, "docs/0/segments/a/vector_storage/chunk_1.mmap", 5000);
        let mut storage = Storage::new(dir.path());
        storage.look(at(1));
        fs::remove_file(dir.path().join("collections").join(chunk)).unwrap();
        let told = storage.look(at(2)).told.troubles;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].at_us, at(2).as_micros());
        let words = &told[0].message;
        assert!(words.contains("docs/0"), "{words}");
        assert!(
            words.contains("segments/a/vector_storage/chunk_0.mmap"),
            "{words}"
        );
        fs::remove_dir_all(dir.path()).unwrap();
        let told = storage.look(at(3)).told.troubles;
        assert_eq!(told.len(), 2, "the directory is gone: {told:?}");
    }

    #[test]
    fn looks_take_a_hundredth_of_the_time() {
        let secs = Duration::from_secs;
        assert_eq!(pause(secs(10), Duration::from_millis(5)), secs(10));
        assert_eq!(pause(secs(10), secs(1)), secs(100));
    }
}
