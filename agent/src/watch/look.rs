//! One look at the whole storage directory after the other, and what follows from each.

use super::files::{ShardFiles, Suspect};
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

/// Shards that the coordinator is told of: some 70 bytes each after every look.
const MOST_TOLD: usize = 10_000;

/// What is known of a storage directory.
#[derive(Debug)]
pub(super) struct Storage {
    root: PathBuf,
    /// Where the shards are, by the newest listing that was whole.
    places: BTreeMap<LogKey, PathBuf>,
    shards: BTreeMap<LogKey, Shard>,
    /// Collections of that listing; `None` before it.
    collections: Option<BTreeSet<CollectionName>>,
    /// When the look before began.
    before: Option<Instant>,
    /// Shards that Qdrant served although their folders were not there, when that was last compared.
    missed: BTreeSet<LogKey>,
    bytes: Room,
    inodes: Room,
    troubles: Troubles,
    looks: u64,
}

/// What is known of one shard.
#[derive(Debug, Default)]
struct Shard {
    /// Of the newest look that saw all of it.
    files: Option<ShardFiles>,
    /// Files that were lost, if this look says so as well.
    suspects: BTreeSet<Suspect>,
    touched: u64,
    touched_per_sec: u64,
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
            places: BTreeMap::new(),
            shards: BTreeMap::new(),
            collections: None,
            before: None,
            missed: BTreeSet::new(),
            bytes: Room::default(),
            inodes: Room::default(),
            troubles: Troubles::default(),
            looks: 0,
        }
    }

    /// Looks at everything, which blocks. `served` are the shards that Qdrant said it has, and when it was asked.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        served: Option<(Instant, &BTreeSet<LogKey>)>,
    ) -> Looked {
        let began = Instant::now();
        let other_shards = self.list(now);
        let unseen = self.look_at(now, began);
        self.compare(now, served);
        self.before = Some(began);
        self.looks += 1;
        let mut told = self.told(now);
        self.measure(&mut told, now);
        told.unseen_shards = unseen;
        told.troubles = self.troubles.told(now);
        told.look_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Looked {
            told,
            folders: self.folders(),
            other_shards,
        }
    }

    /// Lists collections and shards. What can't be listed is where it was. Returns whether there are others.
    fn list(&mut self, now: Timestamp) -> bool {
        let found = match scan(&self.root) {
            Ok(found) => found,
            Err(error) => {
                self.troubles.note(now, &error.to_string());
                return false;
            }
        };
        let mut places = BTreeMap::new();
        for (collection, found) in &found {
            for shard in found.logs.keys() {
                let folder = found.folder.join(shard.0.to_string());
                places.insert(key(collection, *shard), folder);
            }
        }
        let collections: BTreeSet<_> = found.into_keys().collect();
        let others = self.collections.as_ref() != Some(&collections)
            || !self.places.keys().eq(places.keys());
        self.places = places;
        self.collections = Some(collections);
        others
    }

    /// Looks at each shard. Returns of how many not everything was seen.
    fn look_at(&mut self, now: Timestamp, began: Instant) -> u64 {
        let since = self.before.map(|before| began.duration_since(before));
        let places = &self.places;
        self.shards.retain(|key, _| places.contains_key(key));
        let (mut left, mut unseen) = (MAX_FILES, 0);
        for (key, folder) in &self.places {
            let files = ShardFiles::look(folder, left);
            left = left.saturating_sub(files.len());
            let shard = self.shards.entry(key.clone()).or_default();
            for error in &files.errors {
                self.troubles.note(now, error);
            }
            if files.is_whole() {
                let lost = shard.take(files, now, since);
                self.troubles.note_lost(now, key, &lost);
            } else {
                unseen += 1;
            }
        }
        unseen
    }

    /// Shards that Qdrant serves and whose folders are not there: one that is made or dropped just now is missed once at most.
    fn compare(&mut self, now: Timestamp, served: Option<(Instant, &BTreeSet<LogKey>)>) {
        let (Some((asked, served)), Some(before)) = (served, self.before) else {
            return;
        };
        // It was asked after the look before: whoever is in neither look was not there in between.
        if asked < before {
            return;
        }
        let missing: BTreeSet<LogKey> = served
            .iter()
            .filter(|key| !self.places.contains_key(key))
            .cloned()
            .collect();
        for key in &missing {
            if self.missed.contains(key) {
                let words = format!(
                    "{}/{}: Qdrant serves it, and its folder is not in {}",
                    key.collection,
                    key.shard,
                    self.root.display()
                );
                self.troubles.note(now, &words);
            }
        }
        self.missed = missing;
    }

    /// Folders in which it means something when something comes or goes.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let mut folders = BTreeSet::from([self.root.join("collections")]);
        let collections = self.collections.iter().flatten();
        folders.extend(collections.map(|name| self.root.join("collections").join(name.as_str())));
        for folder in self.places.values() {
            folders.extend([folder.clone(), folder.join("segments")]);
        }
        folders
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
        let shards = self.shards.iter().map(|(key, shard)| {
            let files = shard.files.as_ref();
            v1::WatchedShard {
                collection: key.collection.to_string(),
                shard_id: key.shard.0,
                stored_bytes: files.map_or(0, ShardFiles::stored),
                files: files.map_or(0, |files| files.len() as u64),
                segments: files.map_or(0, |files| files.segments() as u64),
                touched_bytes: shard.touched,
                touched_per_sec: shard.touched_per_sec,
                new_segments: shard.new_segments,
                gone_segments: shard.gone_segments,
                changed_us: shard.changed.map_or(0, Timestamp::as_micros),
            }
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
    /// Takes a look that saw everything. Returns what is lost for certain.
    fn take(&mut self, files: ShardFiles, now: Timestamp, since: Option<Duration>) -> Vec<Suspect> {
        let Some(before) = self.files.replace(files) else {
            return Vec::new();
        };
        let Some(files) = &self.files else {
            return Vec::new();
        };
        let changes = files.since(&before);
        self.touched = self.touched.saturating_add(changes.touched);
        let micros = since.map_or(0, |since| since.as_micros()).max(1);
        let rate = u128::from(changes.touched) * 1_000_000 / micros;
        self.touched_per_sec = u64::try_from(rate).unwrap_or(u64::MAX);
        self.new_segments += changes.new_segments;
        self.gone_segments += changes.gone_segments;
        if changes.touched > 0 || changes.gone_segments > 0 {
            self.changed = Some(now);
        }
        self.suspects.retain(|suspect| files.confirms(suspect));
        let lost = self.suspects.iter().cloned().collect();
        self.suspects.extend(changes.suspects);
        lost
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
mod tests;
