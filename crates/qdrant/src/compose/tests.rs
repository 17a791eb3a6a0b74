//! Tests of composed archives.

use super::{ArchiveFile, ComposeError, ComposedArchive};
use crate::fixture::{Files, SEGMENT_A, read, sample};
use crate::snapshot::{FileSink, ShardContents, read_shard_snapshot};
use holdfast_types::ShardId;
use proptest::prelude::*;

/// Every file whole, without holes.
fn dense(files: &Files) -> Vec<ArchiveFile> {
    files
        .iter()
        .map(|(path, content)| ArchiveFile::dense(path, content.len() as u64))
        .collect()
}

/// Runs of at least `min` zeros.
fn holes(content: &[u8], min: usize) -> Vec<(u64, u64)> {
    let mut holes = Vec::new();
    let mut start = 0;
    for (i, b) in content.iter().chain(&[1]).enumerate() {
        if *b != 0 {
            if i - start >= min && i > start {
                holes.push((start as u64, (i - start) as u64));
            }
            start = i + 1;
        }
    }
    holes
}

fn sparse(files: &Files, min: usize) -> Vec<ArchiveFile> {
    files
        .iter()
        .map(|(path, content)| {
            ArchiveFile::with_holes(path, content.len() as u64, &holes(content, min)).unwrap()
        })
        .collect()
}

/// Writes the plan, giving runs of at least `min` zeros as zeros, and checks the announced length.
fn write(plan: &ComposedArchive, files: &Files, min: usize) -> Vec<u8> {
    let mut writer = plan.writer(Vec::new());
    while let Some(file) = writer.next_file() {
        let content = &files[file.path()];
        writer.begin(file.path(), file.size()).unwrap();
        let mut at = 0;
        let end = [(content.len() as u64, 0)];
        for (offset, len) in holes(content, min).into_iter().chain(end) {
            let offset = usize::try_from(offset).unwrap();
            for part in content[at..offset].chunks(1000) {
                writer.data(part).unwrap();
            }
            if len > 0 {
                writer.zeros(len).unwrap();
            }
            at = offset + usize::try_from(len).unwrap();
        }
        writer.end().unwrap();
    }
    let archive = writer.finish().unwrap();
    assert_eq!(archive.len() as u64, plan.archive_len());
    archive
}

fn unpacked(archive: &[u8]) -> Files {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = tar::Archive::new(archive);
    reader.set_overwrite(false);
    reader.unpack(dir.path()).unwrap();
    let mut files = Files::new();
    for (path, content) in read(archive).unwrap().0 {
        let on_disk = match path
            .strip_prefix("segments/")
            .and_then(|p| p.split_once('/'))
        {
            Some((id, file)) => format!("segments/{id}/files/{file}"),
            None => path.clone(),
        };
        assert_eq!(
            std::fs::read(dir.path().join(on_disk)).unwrap(),
            content,
            "{path}"
        );
        files.insert(path, content);
    }
    files
}

#[test]
fn comes_back_through_our_reader_and_through_the_server_s() {
    let files = sample();
    let plan = ComposedArchive::new(dense(&files)).unwrap();
    assert_eq!(unpacked(&write(&plan, &files, usize::MAX)), files);
    for min in [1, 512, 4096] {
        let plan = ComposedArchive::new(sparse(&files, min)).unwrap();
        assert_eq!(
            unpacked(&write(&plan, &files, min)),
            files,
            "holes of {min}"
        );
    }
}

#[test]
fn holes_are_not_sent() {
    let files = sample();
    let plan = ComposedArchive::new(sparse(&files, 4096)).unwrap();
    let whole = ComposedArchive::new(dense(&files)).unwrap();
    assert!(plan.archive_len() + 150_000 < whole.archive_len());
}

#[test]
fn keeps_the_server_s_order() {
    let plan = ComposedArchive::new(dense(&sample())).unwrap();
    let paths: Vec<&str> = plan.files().iter().map(ArchiveFile::path).collect();
    assert_eq!(paths.last(), Some(&"shard_config.json"));
    assert_eq!(paths[paths.len() - 2], "replica_state.json");
    assert_eq!(paths[paths.len() - 3], "wal/closed-23");
    assert_eq!(paths[6], format!("segments/{SEGMENT_A}/version.info"));
}

#[test]
fn zeros_may_be_given_for_stored_bytes_and_lengths_beyond_octal_fit() {
    let big = 9u64 << 30;
    let mut files = sample();
    let path = format!("segments/{SEGMENT_A}/big");
    files.remove(&path);
    let mut plan = dense(&files);
    plan.push(ArchiveFile::with_holes(&path, big, &[(512, big - 1024)]).unwrap());
    let plan = ComposedArchive::new(plan).unwrap();
    let mut writer = plan.writer(Vec::new());
    while let Some(file) = writer.next_file() {
        writer.begin(file.path(), file.size()).unwrap();
        match files.get(file.path()) {
            Some(content) if !content.is_empty() => writer.data(content).unwrap(),
            Some(_) => {}
            None => writer.zeros(big).unwrap(),
        }
        writer.end().unwrap();
    }
    let archive = writer.finish().unwrap();
    assert_eq!(archive.len() as u64, plan.archive_len());
    let mut sizes = Sizes::default();
    let contents: ShardContents = read_shard_snapshot(&archive[..], &mut sizes).unwrap();
    assert_eq!(sizes.0[&path], big);
    assert!(contents.logical_bytes > big);
}

/// Counts bytes instead of keeping them.
#[derive(Default)]
struct Sizes(std::collections::BTreeMap<String, u64>, String);

impl FileSink for Sizes {
    type Error = std::convert::Infallible;
    fn begin(&mut self, path: &str, _: u64) -> Result<(), Self::Error> {
        path.clone_into(&mut self.1);
        Ok(())
    }
    fn data(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        *self.0.entry(self.1.clone()).or_default() += bytes.len() as u64;
        Ok(())
    }
    fn zeros(&mut self, len: u64) -> Result<(), Self::Error> {
        *self.0.entry(self.1.clone()).or_default() += len;
        Ok(())
    }
    fn end(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[test]
fn refuses_what_is_no_whole_shard() {
    for missing in [
        "shard_config.json",
        "replica_state.json",
        "wal/closed-23",
        &format!("segments/{SEGMENT_A}/segment.json"),
        &format!("segments/{SEGMENT_A}/version.info"),
    ] {
        let mut files = sample();
        files.remove(missing).unwrap();
        let refused = ComposedArchive::new(dense(&files));
        assert!(
            matches!(refused, Err(ComposeError::Incomplete(_))),
            "{missing}"
        );
    }
    let mut files = sample();
    files.retain(|path, _| !path.starts_with("segments/"));
    assert!(ComposedArchive::new(dense(&files)).is_err());
}

#[test]
fn refuses_bad_paths_duplicates_and_holes() {
    for bad in ["", "/x", "../x", "a//b", "segments/x", "segments/x/y"] {
        let mut files = dense(&sample());
        files.push(ArchiveFile::dense(bad, 1));
        let refused = ComposedArchive::new(files);
        assert!(matches!(refused, Err(ComposeError::Path(_))), "{bad:?}");
    }
    let mut files = dense(&sample());
    files.push(ArchiveFile::dense("shard_config.json", 1));
    assert!(matches!(
        ComposedArchive::new(files),
        Err(ComposeError::Duplicate(_))
    ));
    for holes in [&[(0, 11)][..], &[(5, 2), (6, 1)], &[(u64::MAX, 2)]] {
        let refused = ArchiveFile::with_holes("x", 10, holes);
        assert!(matches!(refused, Err(ComposeError::Holes(_))), "{holes:?}");
    }
}

#[test]
fn refuses_to_leave_the_plan() {
    let plan = ComposedArchive::new(dense(&sample())).unwrap();
    let first = &plan.files()[0];
    let second = &plan.files()[1];
    let off = |result: Result<(), ComposeError>| {
        assert!(matches!(result, Err(ComposeError::OffPlan { .. })));
    };
    let mut writer = plan.writer(Vec::new());
    off(writer.data(b"x"));
    off(writer.zeros(1));
    off(writer.end());
    off(writer.begin(second.path(), second.size()));
    off(writer.begin(first.path(), first.size() + 1));
    writer.begin(first.path(), first.size()).unwrap();
    off(writer.begin(first.path(), first.size()));
    let too_long = vec![1; usize::try_from(first.size()).unwrap() + 1];
    off(writer.data(&too_long));
    off(writer.zeros(first.size() + 1));
    if first.size() > 0 {
        off(writer.end());
    }
    assert!(matches!(writer.finish(), Err(ComposeError::OffPlan { .. })));
    // Data where a hole was declared.
    let size = 4096;
    let hole = ArchiveFile::with_holes("wal/closed-23", size, &[(0, size)]).unwrap();
    let mut files = dense(&sample());
    files.retain(|f| f.path() != "wal/closed-23");
    files.push(hole);
    let plan = ComposedArchive::new(files).unwrap();
    let mut writer = plan.writer(std::io::sink());
    while let Some(file) = writer.next_file() {
        writer.begin(file.path(), file.size()).unwrap();
        if file.path() == "wal/closed-23" {
            break;
        }
        writer.zeros(file.size()).unwrap();
        writer.end().unwrap();
    }
    off(writer.data(b"x"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_file_comes_back(runs in prop::collection::vec((any::<bool>(), 0usize..9000), 0..60), min in 1usize..5000) {
        let mut files = sample();
        let content: Vec<u8> = runs.iter().flat_map(|&(zero, len)| std::iter::repeat_n(u8::from(!zero), len)).collect();
        files.insert(format!("segments/{SEGMENT_A}/vector_storage/x"), content);
        let plan = ComposedArchive::new(sparse(&files, min)).unwrap();
        prop_assert_eq!(unpacked(&write(&plan, &files, min)), files);
    }
}

#[test]
fn a_collections_archive_holds_each_shard_below_its_number_and_its_own_files_last() {
    let files = sample();
    let own = vec![
        ArchiveFile::dense("version.info", 5),
        ArchiveFile::dense("config.json", 2),
    ];
    let shards = vec![(ShardId(12), dense(&files)), (ShardId(3), dense(&files))];
    let plan = ComposedArchive::collection(shards, own.clone()).unwrap();
    let mut all = Files::new();
    for shard in ["3", "12"] {
        for (path, content) in &files {
            all.insert(format!("{shard}/{path}"), content.clone());
        }
    }
    all.insert("version.info".into(), b"0.4.2".to_vec());
    all.insert("config.json".into(), b"{}".to_vec());
    let archive = write(&plan, &all, usize::MAX);
    let mut reader = tar::Archive::new(&archive[..]);
    let names: Vec<String> = reader
        .entries()
        .unwrap()
        .map(|e| e.unwrap().path().unwrap().display().to_string())
        .collect();
    assert!(
        names[0].starts_with(&format!("3/segments/{SEGMENT_A}/files/")),
        "{}",
        names[0]
    );
    assert_eq!(names.len(), all.len());
    assert_eq!(names[names.len() - 2..], ["version.info", "config.json"]);

    let twice = vec![(ShardId(3), dense(&files)), (ShardId(3), dense(&files))];
    assert!(matches!(
        ComposedArchive::collection(twice, own.clone()),
        Err(ComposeError::Duplicate(_))
    ));
    let part = vec![(ShardId(0), dense(&files)[1..2].to_vec())];
    for shards in [part, Vec::new()] {
        assert!(matches!(
            ComposedArchive::collection(shards, own.clone()),
            Err(ComposeError::Incomplete(_))
        ));
    }
}
