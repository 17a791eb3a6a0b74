//! What servers do to their files, and what they don't.

use super::{Changes, ShardFiles};
use fs_err as fs;
use std::path::Path;

const MOST: usize = 100;
const CHUNK: &str = "segments/a/vector_storage/vectors/chunk_0.mmap";
const OTHER: &str = "segments/a/vector_storage/vectors/chunk_1.mmap";
const IDS: &str = "segments/a/mutable_id_tracker.mappings";

fn write(shard: &Path, path: &str, bytes: usize) {
    let path = shard.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, vec![7; bytes]).unwrap();
}

fn cut(shard: &Path, path: &str, len: u64) {
    let file = fs::OpenOptions::new().write(true).open(shard.join(path));
    file.unwrap().set_len(len).unwrap();
}

fn shard() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for path in [CHUNK, OTHER, IDS] {
        write(dir.path(), path, 10_000);
    }
    write(dir.path(), "segments/a/segment.json", 10);
    write(dir.path(), "wal/open-1", 50_000);
    write(dir.path(), "shard_config.json", 10);
    dir
}

/// What `change` changes.
fn after(change: impl FnOnce(&Path)) -> (ShardFiles, Changes) {
    let dir = shard();
    let before = ShardFiles::look(dir.path(), MOST);
    assert_eq!((before.len(), before.segments()), (6, 1));
    assert!(before.is_whole() && before.stored() >= 80_010);
    change(dir.path());
    let now = ShardFiles::look(dir.path(), MOST);
    let changes = now.since(&before);
    (now, changes)
}

fn suspects(change: impl FnOnce(&Path)) -> Vec<String> {
    let (_, changes) = after(change);
    let paths = changes.suspects.iter();
    paths.map(|suspect| suspect.path.to_string()).collect()
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
    assert_eq!(changes.suspects.len(), 0);
}

#[test]
fn segments_come_and_go() {
    let (now, changes) = after(|shard| {
        write(shard, "segments/b/vector_storage/vectors/chunk_0.mmap", 1);
        write(shard, "segments/c/segment.json", 1);
        fs::remove_dir_all(shard.join("segments/a")).unwrap();
    });
    assert_eq!((changes.new_segments, changes.gone_segments), (2, 1));
    assert_eq!(changes.suspects.len(), 0, "as an optimizer does");
    assert_eq!(now.segments(), 2);
}

#[test]
fn what_no_server_does_is_suspicious() {
    for lost in [OTHER, IDS, "segments/a/segment.json"] {
        let found = suspects(|shard| fs::remove_file(shard.join(lost)).unwrap());
        assert_eq!(found, [lost]);
    }
    assert_eq!(suspects(|shard| cut(shard, CHUNK, 100)), [CHUNK]);
}

#[test]
fn a_suspicion_ends_when_the_file_is_back_or_its_segment_goes() {
    let dir = shard();
    let before = ShardFiles::look(dir.path(), MOST);
    fs::remove_file(dir.path().join(OTHER)).unwrap();
    cut(dir.path(), CHUNK, 100);
    let now = ShardFiles::look(dir.path(), MOST);
    let suspects = now.since(&before).suspects;
    assert_eq!(suspects.len(), 2);
    assert!(suspects.iter().all(|suspect| now.confirms(suspect)));
    let confirmed = |change: &dyn Fn()| {
        change();
        let later = ShardFiles::look(dir.path(), MOST);
        suspects
            .iter()
            .filter(|suspect| later.confirms(suspect))
            .count()
    };
    assert_eq!(confirmed(&|| write(dir.path(), OTHER, 5)), 1);
    assert_eq!(confirmed(&|| cut(dir.path(), CHUNK, 10_000)), 0);
    fs::remove_file(dir.path().join(OTHER)).unwrap();
    let segment = dir.path().join("segments/a");
    let removed = dir.path().join("segments/a.deleted");
    assert_eq!(confirmed(&|| fs::rename(&segment, &removed).unwrap()), 0);
}

#[test]
fn what_servers_do_is_not_suspicious() {
    let none = Vec::<String>::new();
    // A vector is dropped, the log is cut, ids are compacted, a file is replaced by a shorter one.
    let found = suspects(|shard| {
        fs::remove_dir_all(shard.join("segments/a/vector_storage")).unwrap();
        write(shard, "wal/open-2", 10);
        fs::rename(shard.join("wal/open-2"), shard.join("wal/open-1")).unwrap();
        cut(shard, IDS, 10);
        write(shard, "segments/a/segment.json", 5);
    });
    assert_eq!(found, none);
    // A segment is on its way out.
    let found = suspects(|shard| {
        let segments = shard.join("segments");
        fs::rename(segments.join("a"), segments.join("a.deleted")).unwrap();
        fs::remove_file(segments.join("a.deleted/vector_storage/vectors/chunk_0.mmap")).unwrap();
    });
    assert_eq!(found, none);
    // The shard is being removed: its description goes first.
    let found = suspects(|shard| {
        fs::remove_file(shard.join("shard_config.json")).unwrap();
        fs::remove_file(shard.join(OTHER)).unwrap();
    });
    assert_eq!(found, none);
    // The shard was recovered from a snapshot: its log is another folder, and a segment of the same name may have fewer files.
    let found = suspects(|shard| {
        fs::rename(shard.join("wal"), shard.join("old")).unwrap();
        write(shard, "wal/open-1", 50_000);
        fs::remove_dir_all(shard.join("old")).unwrap();
        fs::remove_file(shard.join(OTHER)).unwrap();
    });
    assert_eq!(found, none);
}

#[test]
fn a_look_knows_whether_it_saw_everything() {
    let dir = shard();
    let now = ShardFiles::look(dir.path(), 1);
    assert!(now.cut && !now.is_whole());
    let gone = ShardFiles::look(&dir.path().join("none"), MOST);
    assert!(gone.is_whole() && gone.len() == 0);
}
