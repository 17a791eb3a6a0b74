//! A shard's files, and the archives that a server makes of them, for tests.
//!
//! The archives are written by the `tar` crate, as Qdrant's are, from files with real holes.

use crate::snapshot::{FileSink, ReadError, ShardContents, read_shard_snapshot};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{Cursor, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Path in normal form → content.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) const SEGMENT_A: &str = "0f2b6d1e-93c4-4c0a-9a55-2f60b8f7c001";
pub(crate) const SEGMENT_B: &str = "7d9a1b2c-0000-4fff-8abc-0123456789ab";

/// What belongs to every shard, for the given segments, with an empty log.
pub(crate) fn frame(segments: &[&str]) -> Files {
    let mut files = Files::new();
    for id in segments {
        files.insert(
            format!("segments/{id}/segment.json"),
            br#"{"version":5,"config":{}}"#.to_vec(),
        );
        files.insert(format!("segments/{id}/version.info"), b"0.6.0".to_vec());
    }
    files.insert("wal/closed-23".to_owned(), wal([0; 4]));
    files.insert(
        "newest_clocks.json".to_owned(),
        br#"{"clocks":[]}"#.to_vec(),
    );
    files.insert(
        "oldest_clocks.json".to_owned(),
        br#"{"clocks":[]}"#.to_vec(),
    );
    files.insert(
        "replica_state.json".to_owned(),
        br#"{"is_local":true}"#.to_vec(),
    );
    files.insert(
        "shard_config.json".to_owned(),
        br#"{"type":"ReplicaSet"}"#.to_vec(),
    );
    files
}

/// An empty log file with this seed.
pub(crate) fn wal(seed: [u8; 4]) -> Vec<u8> {
    let mut log = b"wal\0".to_vec();
    log.extend(seed);
    log.resize(100_000, 0);
    log
}

/// A shard with two segments, holes, an empty file and a long path.
pub(crate) fn sample() -> Files {
    let mut files = frame(&[SEGMENT_A, SEGMENT_B]);
    let mut holes = vec![0; 80_000];
    for at in [0, 20_000, 33_333, 50_000, 65_000, 79_999] {
        holes[at] = 7;
    }
    let long = "x".repeat(120);
    for (name, content) in [
        ("vector_storage/vectors/chunk_0.mmap", holes),
        ("payload_storage/page_0.dat", vec![0; 10_000]),
        ("mutable_id_tracker.mappings", Vec::new()),
        ("mutable_id_tracker.versions", b"abc".to_vec()),
        (&long, vec![9; 513]),
    ] {
        files.insert(format!("segments/{SEGMENT_A}/{name}"), content);
    }
    files
}

/// The streamed archive of these files; its log has a seed.
pub(crate) fn flat(files: &Files) -> Vec<u8> {
    build(files, false)
}

/// The stored archive of these files; its log has another seed.
pub(crate) fn nested(files: &Files) -> Vec<u8> {
    build(files, true)
}

fn build(files: &Files, nest: bool) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut out = tar::Builder::new(Cursor::new(Vec::new()));
    let mut segments: Vec<&str> = files
        .keys()
        .filter_map(|p| p.strip_prefix("segments/")?.split('/').next())
        .collect();
    segments.dedup();
    for id in segments {
        if nest {
            let mut header = tar::Header::new_gnu();
            let name = format!("segments/{id}.tar");
            let mut entry = out.append_writer(&mut header, name).unwrap();
            let mut inner = tar::Builder::new(Vec::new());
            append_segment(&mut inner, files, id, "snapshot/files", dir.path());
            let inner = inner.into_inner().unwrap();
            // As the server does: no trailer.
            entry.write_all(&inner[..inner.len() - 1024]).unwrap();
            entry.finish().unwrap();
        } else {
            let below = format!("segments/{id}/files");
            append_segment(&mut out, files, id, &below, dir.path());
        }
    }
    for name in ["newest_clocks.json", "oldest_clocks.json"] {
        append(&mut out, files, name, name, dir.path());
    }
    out.append_dir("wal", dir.path()).unwrap();
    for path in files.keys().filter(|p| p.starts_with("wal/")) {
        let mut content = files[path].clone();
        if content.starts_with(b"wal\0") && content[8..].iter().all(|b| *b == 0) {
            content[4..8].copy_from_slice(if nest { b"seed" } else { b"tree" });
        }
        append_content(&mut out, path, &content, dir.path());
    }
    for name in ["replica_state.json", "shard_config.json"] {
        append(&mut out, files, name, name, dir.path());
    }
    out.into_inner().unwrap().into_inner()
}

fn append_segment<W: Write>(
    out: &mut tar::Builder<W>,
    files: &Files,
    id: &str,
    to: &str,
    dir: &Path,
) {
    let from = format!("segments/{id}/");
    let mut paths: Vec<&String> = files.keys().filter(|p| p.starts_with(&from)).collect();
    paths.sort_by_key(|p| (p.ends_with("version.info"), p.ends_with("segment.json")));
    for path in paths {
        append(
            out,
            files,
            path,
            &format!("{to}/{}", &path[from.len()..]),
            dir,
        );
    }
}

fn append<W: Write>(out: &mut tar::Builder<W>, files: &Files, path: &str, to: &str, dir: &Path) {
    if let Some(content) = files.get(path) {
        append_content(out, to, content, dir);
    }
}

/// Writes a real file whose blocks of zeros are holes, and appends that.
fn append_content<W: Write>(out: &mut tar::Builder<W>, to: &str, content: &[u8], dir: &Path) {
    let path = dir.join("file");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(content.len() as u64).unwrap();
    for (i, block) in content.chunks(4096).enumerate() {
        if block.iter().any(|b| *b != 0) {
            file.write_all_at(block, i as u64 * 4096).unwrap();
        }
    }
    out.append_path_with_name(&path, to).unwrap();
}

/// Keeps every file in memory; checks that what it gets adds up.
#[derive(Debug, Default)]
pub(crate) struct MemorySink {
    pub(crate) files: Files,
    open: Option<(String, u64)>,
}

impl FileSink for MemorySink {
    type Error = Infallible;

    fn begin(&mut self, path: &str, size: u64) -> Result<(), Infallible> {
        assert_eq!(self.open, None);
        self.open = Some((path.to_owned(), size));
        assert!(self.files.insert(path.to_owned(), Vec::new()).is_none());
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        assert!(!bytes.is_empty());
        let (path, _) = self.open.as_ref().unwrap();
        self.files.get_mut(path).unwrap().extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, len: u64) -> Result<(), Infallible> {
        let (path, _) = self.open.as_ref().unwrap();
        let file = self.files.get_mut(path).unwrap();
        file.resize(file.len() + usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Infallible> {
        let (path, size) = self.open.take().unwrap();
        assert_eq!(self.files[&path].len() as u64, size);
        Ok(())
    }
}

/// Reads an archive into memory.
pub(crate) fn read(archive: &[u8]) -> Result<(Files, ShardContents), ReadError<Infallible>> {
    let mut sink = MemorySink::default();
    let contents = read_shard_snapshot(archive, &mut sink)?;
    Ok((sink.files, contents))
}
