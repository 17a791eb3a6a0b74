//! What is read of an extra's files, and what is refused.

use super::{ReadExtra, read};
use crate::capture::reader::{Gate, Stage};
use crate::config::ExtraSection;
use crate::job::Halt;
use crate::pace::Pace;
use crate::progress::Meter;
use holdfast_archive::{ChunkEvent, ChunkKey, FileChunker, FileClass};
use holdfast_proto::limits::MAX_RECIPE_BYTES;
use holdfast_service::failure::Code;
use holdfast_types::ByteCount;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

fn section(paths: &[&Path]) -> ExtraSection {
    ExtraSection {
        name: "files".parse().unwrap(),
        paths: paths.iter().map(|path| path.to_path_buf()).collect(),
        config: false,
        before: None,
        after: None,
        timeout: Duration::from_secs(10),
        required: false,
        limit: ByteCount::mib(64),
    }
}

async fn take(section: ExtraSection) -> Result<ReadExtra, String> {
    let (batches, mut taken) = mpsc::channel(1);
    let taking = tokio::spawn(async move { while taken.recv().await.is_some() {} });
    let reading = tokio::task::spawn_blocking(move || {
        let stage = Stage {
            key: ChunkKey::from_bytes([7; 32]),
            gate: Gate::new(),
            batches,
            meter: Arc::new(Meter::default()),
            pace: Arc::new(Pace::free()),
            shard: "extra files".to_owned(),
            recipe_limit: MAX_RECIPE_BYTES,
        };
        read(&section, &stage)
    });
    let read = reading.await.unwrap();
    taking.await.unwrap();
    read.map_err(|halt| match halt {
        Halt::Failed(failed) => {
            assert_eq!(failed.code, Code::ExtraFailed);
            failed.message
        }
        other @ (Halt::Stopped | Halt::Broken(_)) => panic!("{other:?}"),
    })
}

/// Paths below `dir` of a recipe's files, the listing among them.
fn paths(dir: &Path, read: &ReadExtra) -> Vec<String> {
    let prefix = format!("files{}/", dir.display());
    let files = read.recipe.files.iter();
    files
        .map(|file| {
            file.path
                .strip_prefix(&prefix)
                .unwrap_or(&file.path)
                .to_owned()
        })
        .collect()
}

fn put(path: PathBuf, content: &str) -> PathBuf {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

#[tokio::test]
async fn files_and_directories_are_read_and_links_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    put(at("q/config.yaml"), "service: {}");
    put(at("q/deep/er/file"), "x");
    std::fs::create_dir(at("q/empty")).unwrap();
    symlink("/etc/shadow", at("q/link")).unwrap();
    let elsewhere = put(at("elsewhere"), "named");
    symlink(&elsewhere, at("named")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("q/sock")).unwrap();
    let found = take(section(&[&at("q"), &at("named")])).await.unwrap();
    assert_eq!(
        paths(dir.path(), &found),
        ["named", "q/config.yaml", "q/deep/er/file", "listing.json"]
    );
    assert_eq!((found.files, found.bytes), (3, 17));
    assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
    assert!(
        found.warnings[0].contains("q/sock is a socket"),
        "{:?}",
        found.warnings
    );
}

#[tokio::test]
async fn equal_files_give_an_equal_recipe() {
    let dir = tempfile::tempdir().unwrap();
    let file = put(dir.path().join("a"), "content");
    let first = take(section(&[dir.path()])).await.unwrap().recipe;
    assert_eq!(take(section(&[dir.path()])).await.unwrap().recipe, first);
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, mode).unwrap();
    assert_ne!(
        take(section(&[dir.path()])).await.unwrap().recipe,
        first,
        "modes count"
    );
}

#[tokio::test]
async fn what_is_missing_too_large_or_no_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let error = take(section(&[&at("gone")])).await.unwrap_err();
    assert!(
        error.contains("gone") && error.contains("must be there"),
        "{error}"
    );
    let _socket = std::os::unix::net::UnixListener::bind(at("sock")).unwrap();
    let error = take(section(&[&at("sock")])).await.unwrap_err();
    assert!(error.contains("neither a file nor a directory"), "{error}");
    put(at("big/a"), &"x".repeat(700));
    put(at("big/b"), &"x".repeat(400));
    let small = |limit| ExtraSection {
        limit: ByteCount(limit),
        ..section(&[&at("big")])
    };
    let error = take(small(1099)).await.unwrap_err();
    assert!(error.contains("(max_mib)"), "{error}");
    assert_eq!(take(small(1100)).await.unwrap().bytes, 1100);
    put(at("odd/a\nb"), "x");
    let error = take(section(&[&at("odd")])).await.unwrap_err();
    assert!(error.contains("can't be captured"), "{error}");
}

/// Changes a file again and again until told to stop.
fn restless(path: &Path, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<u32> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut written = 0;
        while !stop.load(Ordering::Relaxed) {
            file.write_all(b"x").unwrap();
            written += 1;
            std::thread::sleep(Duration::from_micros(300));
        }
        written
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_does_not_hold_still_is_no_capture() {
    let dir = tempfile::tempdir().unwrap();
    let file = put(dir.path().join("busy"), &"0123456789abcdef".repeat(1 << 20));
    let stop = Arc::new(AtomicBool::new(false));
    let writing = restless(&file, &stop);
    let error = take(section(&[&file])).await.unwrap_err();
    stop.store(true, Ordering::Relaxed);
    assert!(writing.join().unwrap() > 0);
    assert!(error.contains("busy changed each time"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_comes_to_rest_is_read_as_it_is_then() {
    let dir = tempfile::tempdir().unwrap();
    let file = put(dir.path().join("busy"), &"0123456789abcdef".repeat(1 << 20));
    let stop = Arc::new(AtomicBool::new(false));
    let writing = restless(&file, &stop);
    let taking = tokio::spawn(take(section(&[&file])));
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.store(true, Ordering::Relaxed);
    let written = writing.join().unwrap();
    let found = taking.await.unwrap().unwrap();
    assert!(written > 0);
    assert_eq!(found.bytes, (16 << 20) + u64::from(written));
    // Nothing of the readings that were given up is in it.
    assert_eq!(found.recipe.files.len(), 2);
    assert_eq!(found.recipe.files[0].size, found.bytes);
    let content = std::fs::read(&file).unwrap();
    let chunker = |bytes: &[u8]| {
        let mut chunker = FileChunker::new(FileClass::General, ChunkKey::from_bytes([7; 32]));
        chunker.push(bytes, &mut |_: ChunkEvent<'_>| {});
        chunker
            .finish(&mut |_: ChunkEvent<'_>| {})
            .at("x".to_owned())
            .extents
    };
    assert_eq!(found.recipe.files[0].extents, chunker(&content));
}
