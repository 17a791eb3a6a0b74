//! Looks at a directory that stands for Qdrant's.

use super::{Looked, Storage, key, pause};
use crate::tail::LogKey;
use fs_err as fs;
use holdfast_types::{ShardId, Timestamp};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

struct World {
    dir: tempfile::TempDir,
    storage: Storage,
    /// Seconds.
    now: i64,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::new(dir.path());
        Self {
            dir,
            storage,
            now: 0,
        }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join("collections").join(path)
    }

    fn write(&self, path: &str, bytes: usize) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![1; bytes]).unwrap();
    }

    /// A shard as a server makes one.
    fn shard(&self, shard: &str) {
        self.write(&format!("{shard}/wal/open-1"), 10_000);
        self.write(&format!("{shard}/shard_config.json"), 10);
    }

    fn look(&mut self) -> Looked {
        self.now += 1;
        self.storage.look(at(self.now), None)
    }

    /// Qdrant, asked just now, serves these shards of docs.
    fn look_served(&mut self, shards: &[u32]) -> Vec<String> {
        let docs = "docs".parse().unwrap();
        let served: BTreeSet<LogKey> = shards.iter().map(|n| key(&docs, ShardId(*n))).collect();
        self.now += 1;
        let looked = self
            .storage
            .look(at(self.now), Some((Instant::now(), &served)));
        let troubles = looked.told.troubles.into_iter();
        troubles.map(|trouble| trouble.message).collect()
    }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_micros(secs * 1_000_000)
}

#[test]
fn what_changes_is_counted_by_shard() {
    let mut world = World::new();
    world.shard("docs/0");
    world.shard("docs/1");
    let first = world.look();
    assert!(first.other_shards);
    assert_eq!(first.folders.len(), 1 + 1 + 2 * 2);
    assert_eq!(first.told.shards.len(), 2);
    assert_eq!(first.told.shards[0].touched_bytes, 0, "what was there");
    let second = world.look();
    assert!(!second.other_shards);
    assert_eq!(second.told.shards, first.told.shards);

    world.write("docs/1/segments/a/vector_storage/chunk_0.mmap", 5000);
    let third = world.look();
    assert!(!third.other_shards);
    let [quiet, busy] = third.told.shards.as_slice() else {
        panic!("{:?}", third.told.shards);
    };
    assert_eq!((quiet.touched_bytes, quiet.changed_us), (0, 0));
    assert!(busy.touched_bytes >= 5000, "{busy:?}");
    assert!(busy.touched_per_sec > 0, "{busy:?}");
    assert_eq!(busy.changed_us, at(3).as_micros());
    let segments = (busy.segments, busy.new_segments, busy.gone_segments);
    assert_eq!(segments, (1, 1, 0));
    assert_eq!((third.told.looks, third.told.unseen_shards), (3, 0));
    assert!(third.told.free_bytes > 0 && third.told.free_bytes <= third.told.total_bytes);
    assert_eq!(third.told.troubles, []);
    assert_eq!(world.look().told.shards[1].touched_per_sec, 0, "now");
}

#[test]
fn collections_and_shards_that_come_and_go_are_noticed() {
    let mut world = World::new();
    world.shard("docs/0");
    world.look();
    assert!(!world.look().other_shards);
    world.shard("docs/1");
    assert!(world.look().other_shards);
    fs::create_dir(world.path("new")).unwrap();
    assert!(world.look().other_shards);
    fs::remove_dir_all(world.path("docs/0")).unwrap();
    assert!(world.look().other_shards);
    fs::remove_dir_all(world.path("docs")).unwrap();
    assert!(world.look().other_shards);
    world.write("new/config.json", 1);
    let last = world.look();
    assert!(!last.other_shards);
    assert_eq!(last.told.troubles, []);
}

#[test]
fn what_is_lost_is_told_when_a_second_look_finds_it_lost_and_as_long_as_it_is() {
    let mut world = World::new();
    let chunk = "docs/0/segments/a/vector_storage/chunk_0.mmap";
    world.shard("docs/0");
    world.write(chunk, 5000);
    world.write("docs/0/segments/a/vector_storage/chunk_1.mmap", 5000);
    world.look();
    fs::remove_file(world.path(chunk)).unwrap();
    assert_eq!(world.look().told.troubles, []);
    for _ in 0..2 {
        let told = world.look().told.troubles;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].at_us, at(world.now).as_micros());
        let words = &told[0].message;
        assert!(words.contains("docs/0"), "{words}");
        assert!(words.contains("vector_storage/chunk_0.mmap"), "{words}");
    }
    world.write(chunk, 5000);
    let back = world.look().told.troubles;
    assert_eq!(back[0].at_us, at(world.now - 1).as_micros(), "seen last");
    fs::remove_dir_all(world.dir.path()).unwrap();
    let told = world.look().told.troubles;
    assert_eq!(told.len(), 2, "the directory is gone: {told:?}");
}

#[test]
fn a_shard_that_is_served_and_not_there_is_told() {
    let mut world = World::new();
    let none = Vec::<String>::new();
    world.shard("docs/0");
    assert_eq!(world.look_served(&[0]), none);
    // Made or dropped just now: missed once.
    assert_eq!(world.look_served(&[0, 1]), none);
    assert_eq!(world.look_served(&[0]), none);
    fs::remove_dir_all(world.path("docs")).unwrap();
    assert_eq!(world.look_served(&[0]), none);
    let told = world.look_served(&[0]);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("docs/0: Qdrant serves it"), "{told:?}");
}

#[test]
fn an_answer_of_before_the_look_before_is_not_compared() {
    let mut world = World::new();
    let asked = Instant::now();
    let docs = "docs".parse().unwrap();
    let served = BTreeSet::from([key(&docs, ShardId(0))]);
    for _ in 0..3 {
        let looked = world.storage.look(at(1), Some((asked, &served)));
        assert_eq!(looked.told.troubles, []);
    }
}

#[test]
fn looks_take_a_hundredth_of_the_time() {
    let secs = Duration::from_secs;
    assert_eq!(pause(secs(10), Duration::from_millis(5)), secs(10));
    assert_eq!(pause(secs(10), secs(1)), secs(100));
}
