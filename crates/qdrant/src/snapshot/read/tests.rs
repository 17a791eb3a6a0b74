use crate::fixture::{Files, SEGMENT_A, SEGMENT_B, flat, frame, nested, read, sample};
use crate::snapshot::{FileSink, ReadError, SnapshotError, read_shard_stream, read_stored_shard};
use crate::tar::{Region, header_blocks, padding};
use proptest::prelude::*;
use std::convert::Infallible;

fn snapshot_error(archive: &[u8]) -> SnapshotError {
    match read(archive) {
        Err(ReadError::Snapshot(error)) => error,
        Err(ReadError::Sink(never)) => match never {},
        Ok(_) => panic!("the archive was accepted"),
    }
}

/// An archive of these entries, in this order, with a trailer.
fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, content) in entries {
        let len = content.len() as u64;
        out.extend(header_blocks(path, len, &[Region { offset: 0, len }]));
        out.extend(content);
        out.resize(out.len() + padding(len), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// The entries of a flat archive of [`sample`].
fn entries() -> Vec<(String, Vec<u8>)> {
    let mut entries: Vec<(String, Vec<u8>)> = sample()
        .into_iter()
        .map(|(path, content)| {
            let path = path
                .strip_prefix("segments/")
                .and_then(|p| p.split_once('/'))
                .map(|(id, file)| format!("segments/{id}/files/{file}"))
                .unwrap_or(path);
            (path, content)
        })
        .collect();
    // The two files that come last: of a segment, and of all.
    entries.sort_by_key(|(path, _)| (path == "shard_config.json", path.ends_with("version.info")));
    entries
}

#[test]
fn both_kinds_yield_the_files_and_the_same_contents() {
    let files = sample();
    let (from_flat, flat_contents) = read(&flat(&files)).unwrap();
    let (from_nested, nested_contents) = read(&nested(&files)).unwrap();
    assert_eq!(from_flat, files);
    assert_eq!(from_nested, files);
    assert_eq!(flat_contents, nested_contents);
    assert_eq!(flat_contents.next_operation, Some(23));
    assert_eq!(flat_contents.files, files.len() as u64);
    assert_eq!(
        flat_contents.logical_bytes,
        files.values().map(|c| c.len() as u64).sum::<u64>()
    );
    let ids: Vec<&str> = flat_contents
        .segments
        .iter()
        .map(|s| s.id.as_str())
        .collect();
    assert_eq!(ids, [SEGMENT_A, SEGMENT_B]);
    assert_eq!(flat_contents.segments[0].storage_version, "0.6.0");
    assert_eq!(flat_contents.segments[0].files, 7);
    assert_eq!(flat_contents.shard_config["type"], "ReplicaSet");
    assert!(flat_contents.clocks.is_some());
}

#[test]
fn a_shard_without_clocks_is_whole() {
    let mut files = sample();
    files.remove("newest_clocks.json");
    files.remove("oldest_clocks.json");
    let (_, contents) = read(&flat(&files)).unwrap();
    assert_eq!(contents.clocks, None);
}

#[test]
fn a_log_with_entries_keeps_its_seed_and_has_no_next_operation() {
    let mut files = sample();
    let log = files.get_mut("wal/closed-23").unwrap();
    log[4..12].copy_from_slice(b"abcdefgh");
    let (found, contents) = read(&flat(&files)).unwrap();
    assert_eq!(found, files);
    assert_eq!(contents.next_operation, None);
}

/// The bytes of an archive up to its trailer; the rest is padding that nobody misses.
fn without_padding(archive: &[u8]) -> usize {
    let content = archive.iter().rposition(|b| *b != 0).unwrap() + 1;
    content.next_multiple_of(512) + 1024
}

#[test]
fn cut_anywhere_is_truncated() {
    for archive in [flat(&sample()), nested(&sample())] {
        let whole = without_padding(&archive);
        assert!(read(&archive[..whole]).is_ok());
        // Every block boundary (so every entry boundary), and places within blocks.
        for block in (0..whole).step_by(512) {
            for cut in [block, block + 1, block + 200, block + 511] {
                let error = snapshot_error(&archive[..cut.min(whole - 1)]);
                assert!(
                    matches!(error, SnapshotError::Truncated(_)),
                    "{cut}: {error}"
                );
                assert_eq!(error.code(), "snapshot-truncated");
                assert!(error.is_retryable());
            }
        }
    }
}

#[test]
fn cut_between_entries_names_the_last_one() {
    let whole = archive(&entries());
    let error = snapshot_error(&whole[..whole.len() - 1024]).to_string();
    assert!(error.contains("without its trailer"), "{error}");
    assert!(error.contains("shard_config.json"), "{error}");
    let error = snapshot_error(b"").to_string();
    assert!(error.contains("after the start"), "{error}");
}

#[test]
fn half_a_trailer_is_truncated() {
    let whole = archive(&entries());
    let error = snapshot_error(&whole[..whole.len() - 512]);
    assert!(matches!(error, SnapshotError::Truncated(_)), "{error}");
}

#[test]
fn a_segment_archive_cut_inside_a_whole_archive_is_truncated() {
    let inner_entries: Vec<(String, Vec<u8>)> = entries()
        .into_iter()
        .filter_map(|(path, content)| {
            let file = path.strip_prefix(&format!("segments/{SEGMENT_A}/files/"))?;
            Some((format!("snapshot/files/{file}"), content))
        })
        .collect();
    let inner = archive(&inner_entries);
    let outer = |inner: &[u8]| {
        let mut all = vec![(format!("segments/{SEGMENT_A}.tar"), inner.to_vec())];
        let shard = entries()
            .into_iter()
            .filter(|(p, _)| !p.starts_with("segments/"));
        all.extend(shard);
        archive(&all)
    };
    let content = inner.len() - 1024;
    assert!(read(&outer(&inner)).is_ok());
    assert!(
        read(&outer(&inner[..content])).is_ok(),
        "servers leave out the inner trailer"
    );
    for cut in (0..inner.len()).step_by(256).filter(|c| *c != content) {
        let error = snapshot_error(&outer(&inner[..cut]));
        assert!(
            matches!(error, SnapshotError::Truncated(_)),
            "{cut}: {error}"
        );
        assert!(error.to_string().contains(SEGMENT_A), "{error}");
    }
}

/// Without an inner trailer only the order shows that nothing is missing.
#[test]
fn a_segment_archive_without_trailer_must_end_with_the_version() {
    let id = SEGMENT_A;
    let file = |name: &str| (format!("snapshot/files/{name}"), b"0.6.0".to_vec());
    let mut inner = archive(&[
        file("version.info"),
        (format!("snapshot/files/{}", "segment.json"), b"{}".to_vec()),
    ]);
    inner.truncate(inner.len() - 1024);
    let mut all = vec![(format!("segments/{id}.tar"), inner)];
    all.extend(
        entries()
            .into_iter()
            .filter(|(p, _)| !p.starts_with("segments/")),
    );
    let error = snapshot_error(&archive(&all));
    assert!(matches!(error, SnapshotError::Truncated(_)), "{error}");
}

#[test]
fn every_required_file_is_missed() {
    for missing in [
        &format!("segments/{SEGMENT_A}/files/segment.json"),
        &format!("segments/{SEGMENT_B}/files/version.info"),
        "wal/closed-23",
        "replica_state.json",
        "shard_config.json",
    ] {
        let left: Vec<_> = entries()
            .into_iter()
            .filter(|(p, _)| p != missing)
            .collect();
        let error = snapshot_error(&archive(&left));
        let SnapshotError::Incomplete(what) = &error else {
            panic!("{missing}: {error}");
        };
        let name = missing.rsplit('/').next().unwrap();
        assert!(what.contains(name) || what.contains("wal/"), "{what}");
    }
    let left: Vec<_> = entries()
        .into_iter()
        .filter(|(p, _)| !p.starts_with("segments/"))
        .collect();
    assert!(matches!(
        snapshot_error(&archive(&left)),
        SnapshotError::Incomplete(_)
    ));
}

/// The server writes segments first: an archive that lacks its last entries lacks the shard's own.
#[test]
fn missing_last_entries_with_a_trailer_are_incomplete() {
    let mut entries = entries();
    let order = |p: &str| {
        (
            !p.starts_with("segments/"),
            p == "replica_state.json",
            p == "shard_config.json",
        )
    };
    entries.sort_by_key(|(p, _)| order(p));
    for left in 0..entries.len() {
        let error = snapshot_error(&archive(&entries[..left]));
        assert!(
            matches!(error, SnapshotError::Incomplete(_)),
            "{left}: {error}"
        );
    }
}

#[test]
fn a_partial_snapshot_is_told_from_a_full_one() {
    let manifest = |files: &str| {
        let content = format!(
            r#"{{"segment_id":"{SEGMENT_A}","segment_version":5,"file_versions":{{{files}}}}}"#
        );
        (
            format!("segments/{SEGMENT_A}/files/segment_manifest.json"),
            content.into_bytes(),
        )
    };
    let mut with = entries();
    with.insert(
        0,
        manifest(r#""mutable_id_tracker.versions":null,"payload_storage/page_0.dat":7"#),
    );
    assert_eq!(
        read(&archive(&with)).unwrap().0,
        sample(),
        "the manifest is left out"
    );
    with[0] = manifest(r#""vector_storage/vectors/chunk_9.mmap":null"#);
    let error = snapshot_error(&archive(&with));
    assert!(
        matches!(&error, SnapshotError::Partial { file, .. } if file.ends_with("chunk_9.mmap")),
        "{error}"
    );
    assert!(!error.is_retryable());
}

#[test]
fn what_no_server_writes_is_malformed() {
    let with = |path: &str, content: &[u8]| {
        let mut all = entries();
        all.insert(0, (path.to_owned(), content.to_vec()));
        snapshot_error(&archive(&all))
    };
    let inside = |file: &str| format!("segments/{SEGMENT_A}/files/{file}");
    for error in [
        with("../evil", b"x"),
        with("/etc/passwd", b"x"),
        with(&format!("segments/{SEGMENT_A}/version.info"), b"0.6.0"),
        with("segments/other.tar", b"x"),
        with("shard_config.json", b"{}"),
        with(&inside("version.info"), b"0.6.0"),
        with(&inside("segment_manifest.json"), b"{"),
    ] {
        assert!(matches!(error, SnapshotError::Malformed(_)), "{error}");
        assert_eq!(error.code(), "qdrant-error");
    }
    for (path, content) in [
        (inside("version.info"), &b"\0\0\0\0\0"[..]),
        (inside("segment.json"), b"\0\0\0"),
        (inside("segment.json"), b"[]"),
        ("replica_state.json".to_owned(), b"{\"is_lo"),
    ] {
        let mut all = entries();
        all.iter_mut().find(|(p, _)| *p == path).unwrap().1 = content.to_vec();
        let error = snapshot_error(&archive(&all));
        assert!(
            matches!(error, SnapshotError::Malformed(_)),
            "{path}: {error}"
        );
    }
    let mut after = entries();
    after.push(("late.json".to_owned(), b"{}".to_vec()));
    assert!(matches!(
        snapshot_error(&archive(&after)),
        SnapshotError::Malformed(_)
    ));
}

#[test]
fn a_sink_that_refuses_stops_the_reading() {
    struct Full;
    impl FileSink for Full {
        type Error = &'static str;
        fn begin(&mut self, _: &str, _: u64) -> Result<(), &'static str> {
            Ok(())
        }
        fn data(&mut self, _: &[u8]) -> Result<(), &'static str> {
            Err("full")
        }
        fn zeros(&mut self, _: u64) -> Result<(), &'static str> {
            Ok(())
        }
        fn end(&mut self) -> Result<(), &'static str> {
            Ok(())
        }
    }
    let stopped = read_shard_stream(&flat(&sample())[..], &mut Full);
    assert!(matches!(stopped, Err(ReadError::Sink("full"))));
    let stopped = read_stored_shard(&nested(&sample())[..], &mut Full);
    assert!(matches!(stopped, Err(ReadError::Sink("full"))));
}

/// Runs of zeros and of other bytes; long ones, so that holes come out of it.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let run = (any::<bool>(), 0usize..30_000, any::<u8>());
    prop::collection::vec(run, 0..12).prop_map(|runs| {
        let mut content = Vec::new();
        for (zeros, len, seed) in runs {
            let byte = |i: usize| u8::try_from(i % 251).unwrap() ^ seed;
            content.extend((0..len).map(|i| if zeros { 0 } else { byte(i) }));
        }
        content
    })
}

fn shard() -> impl Strategy<Value = Files> {
    let name = prop_oneof![
        "[a-z]{1,12}",
        "[a-z]{1,8}/[a-z]{1,8}\\.dat",
        "[a-zäß ]{60,130}/[a-z]{1,60}"
    ];
    let file = (any::<bool>(), name, content());
    prop::collection::vec(file, 0..6).prop_map(|named| {
        let mut files = frame(&[SEGMENT_A, SEGMENT_B]);
        for (i, (second, name, content)) in named.into_iter().enumerate() {
            let id = if second { SEGMENT_B } else { SEGMENT_A };
            files.insert(format!("segments/{id}/{i}{name}"), content);
        }
        files
    })
}

/// Reads in small, odd pieces.
struct Trickle<'a>(&'a [u8], usize);

impl std::io::Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let len = self.1.min(self.0.len()).min(out.len());
        let (now, later) = self.0.split_at(len);
        out[..len].copy_from_slice(now);
        self.0 = later;
        Ok(len)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_holes_and_sizes_both_ways_yield_the_files(files in shard(), step in 1usize..3000) {
        let (flat, nested) = (flat(&files), nested(&files));
        let mut sink = crate::fixture::MemorySink::default();
        let contents = read_shard_stream(Trickle(&flat, step), &mut sink).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(&sink.files, &files);
        let mut sink = crate::fixture::MemorySink::default();
        let stored: Result<_, ReadError<Infallible>> = read_stored_shard(Trickle(&nested, step), &mut sink);
        prop_assert_eq!(&sink.files, &files);
        prop_assert_eq!(stored.map_err(|e| TestCaseError::fail(e.to_string()))?, contents);
    }

    #[test]
    fn flipped_bytes_never_panic(at in 0usize..60_000, flip in 1u8..) {
        let mut archive = nested(&sample());
        let at = at % archive.len();
        archive[at] ^= flip;
        let _ = read(&archive);
    }
}
