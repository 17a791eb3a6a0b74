//! A clean archive of a shard's files, in the flat layout that Qdrant's shard upload accepts; or of a whole collection,
//! as its collection upload accepts it: each shard's archive below the shard's number, then the collection's own files.
//!
//! The files come in normal form (see [`crate::FileSink`]) in any order; the archive has Qdrant's own order. Its
//! exact length is known before the first byte is written, as a multipart upload needs. Holes become sparse
//! entries: they cost nothing on the way and stay holes on the server's disk.

use crate::snapshot::{FileSink, is_safe_path, is_segment_id};
use crate::tar::{BLOCK, Region, TRAILER_LEN, header_blocks, padding};
use holdfast_types::ShardId;
use std::borrow::Cow;
use std::io::{self, Write};

mod writer;

pub use writer::ArchiveWriter;

/// Why no archive can be composed, or why writing one failed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A path that is not a file of a shard in normal form.
    #[error("{0:?} is not a path of a shard's file")]
    Path(String),
    /// A path given twice.
    #[error("{0:?} is listed twice")]
    Duplicate(String),
    /// A server would take the archive for a shard, but data would be missing from it.
    #[error("the files are no whole shard: {0} is missing")]
    Incomplete(&'static str),
    /// The caller's holes are not ascending within the file.
    #[error("the holes of {0:?} are out of order")]
    Holes(String),
    /// The caller wrote something other than what was planned.
    #[error("wrote {got}, but the plan says {want}")]
    OffPlan {
        /// What was written.
        got: String,
        /// What was to come.
        want: String,
    },
    /// The output failed.
    #[error("writing the archive failed")]
    Write(#[source] io::Error),
}

/// One file to be put into an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveFile {
    /// In normal form; in a collection's archive with the shard's number before it.
    path: String,
    /// Path in the archive.
    stored_as: String,
    size: u64,
    regions: Vec<Region>,
}

impl ArchiveFile {
    /// A file of `size` bytes at `path` (normal form), all of which will be stored.
    #[must_use]
    pub fn dense(path: &str, size: u64) -> Self {
        Self::with_holes(path, size, &[]).expect("no hole can be out of order")
    }

    /// A file with holes: `(offset, length)` in bytes, ascending and disjoint. Bytes of a hole need not be a
    /// whole number of tar blocks; the rest is stored as zeros.
    pub fn with_holes(path: &str, size: u64, holes: &[(u64, u64)]) -> Result<Self, ComposeError> {
        let disorder = || ComposeError::Holes(path.to_owned());
        let mut regions: Vec<Region> = Vec::new();
        let mut at = 0;
        let end = [(size, 0)];
        for &(offset, len) in holes.iter().chain(&end) {
            let hole_end = offset.checked_add(len).filter(|e| *e <= size);
            let hole_end = hole_end.filter(|_| offset >= at).ok_or_else(disorder)?;
            add_region(&mut regions, at, offset, size);
            at = hole_end;
        }
        Ok(Self {
            path: path.to_owned(),
            stored_as: archive_path(path).into_owned(),
            size,
            regions,
        })
    }

    /// Path in normal form; in a collection's archive with the shard's number before it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Logical size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of content that the archive holds.
    fn stored(&self) -> u64 {
        self.regions.iter().map(|r| r.len).sum()
    }

    /// The file as one of a collection's shard.
    fn in_shard(mut self, shard: ShardId) -> Self {
        self.path = format!("{shard}/{}", self.path);
        self.stored_as = format!("{shard}/{}", self.stored_as);
        self
    }

    fn headers(&self) -> Vec<u8> {
        header_blocks(&self.stored_as, self.size, &self.regions)
    }

    /// Length of the whole entry, a multiple of the block.
    fn entry_len(&self) -> u64 {
        let stored = self.stored();
        self.headers().len() as u64 + stored + padding(stored) as u64
    }
}

/// Adds data from `from` to `to`, widened to whole blocks: readers want each region but the last to be a multiple
/// of the block.
fn add_region(regions: &mut Vec<Region>, from: u64, to: u64, size: u64) {
    if from == to {
        return;
    }
    let block = BLOCK as u64;
    let from = from - from % block;
    let to = to.checked_next_multiple_of(block).unwrap_or(size).min(size);
    match regions.last_mut() {
        Some(last) if last.offset + last.len >= from => last.len = to - last.offset,
        Some(_) | None => regions.push(Region {
            offset: from,
            len: to - from,
        }),
    }
}

/// The plan of an archive: which files, in which order, how long in all.
#[derive(Clone, Debug)]
pub struct ComposedArchive {
    files: Vec<ArchiveFile>,
    len: u64,
}

impl ComposedArchive {
    /// Plans the archive of one whole shard: at least one segment, each with its state and version, a file in
    /// `wal/`, the replica state and the shard configuration.
    pub fn new(files: Vec<ArchiveFile>) -> Result<Self, ComposeError> {
        shard_files(files).map(Self::of)
    }

    /// Plans the archive of a collection: whole shards, each as for [`Self::new`], and the collection's own files
    /// (see [`crate::collection_files`]), which come last.
    pub fn collection(
        mut shards: Vec<(ShardId, Vec<ArchiveFile>)>,
        own: Vec<ArchiveFile>,
    ) -> Result<Self, ComposeError> {
        shards.sort_by_key(|(id, _)| *id);
        if let Some(pair) = shards.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(ComposeError::Duplicate(pair[0].0.to_string()));
        }
        if shards.is_empty() {
            return Err(ComposeError::Incomplete("every shard"));
        }
        let mut files = Vec::new();
        for (id, of_shard) in shards {
            let whole = shard_files(of_shard)?;
            files.extend(whole.into_iter().map(|file| file.in_shard(id)));
        }
        files.extend(own);
        Ok(Self::of(files))
    }

    fn of(files: Vec<ArchiveFile>) -> Self {
        let entries: u64 = files.iter().map(ArchiveFile::entry_len).sum();
        Self {
            files,
            len: entries + TRAILER_LEN as u64,
        }
    }

    /// Exact length of the archive in bytes.
    #[must_use]
    pub fn archive_len(&self) -> u64 {
        self.len
    }

    /// The files in the order in which they must be written.
    #[must_use]
    pub fn files(&self) -> &[ArchiveFile] {
        &self.files
    }

    /// Starts to write the archive to `out`.
    pub fn writer<W: Write>(&self, out: W) -> ArchiveWriter<'_, W> {
        ArchiveWriter::new(self, out)
    }
}

/// The files of one whole shard in the archive's order.
fn shard_files(mut files: Vec<ArchiveFile>) -> Result<Vec<ArchiveFile>, ComposeError> {
    for file in &files {
        check_path(&file.path)?;
    }
    files.sort_by(|a, b| order(&a.path).cmp(&order(&b.path)));
    if let Some(pair) = files.windows(2).find(|pair| pair[0].path == pair[1].path) {
        return Err(ComposeError::Duplicate(pair[0].path.clone()));
    }
    check_whole(&files)?;
    Ok(files)
}

/// `segments/{id}/x` stands in the archive as `segments/{id}/files/x`.
fn archive_path(path: &str) -> Cow<'_, str> {
    match split_segment(path) {
        Some((segment, file)) => format!("segments/{segment}/files/{file}").into(),
        None => path.into(),
    }
}

fn split_segment(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("segments/")?.split_once('/')
}

fn check_path(path: &str) -> Result<(), ComposeError> {
    let in_segment = split_segment(path).is_some_and(|(id, _)| is_segment_id(id));
    if is_safe_path(path) && (in_segment || !path.starts_with("segments/")) {
        Ok(())
    } else {
        Err(ComposeError::Path(path.to_owned()))
    }
}

/// Qdrant's order: segments, each with its state and version last; clocks; log; replica state; configuration. Files of the log stand
/// in the order of their entries.
fn order(path: &str) -> (u8, &str, u8, u64, &str) {
    if let Some((segment, file)) = split_segment(path) {
        let last = match file {
            "segment.json" => 1,
            "version.info" => 2,
            _ => 0,
        };
        return (0, segment, last, 0, file);
    }
    if let Some(first) = path.strip_prefix("wal/closed-") {
        return (3, "", 0, first.parse().unwrap_or(u64::MAX), path);
    }
    let rank = match path {
        "newest_clocks.json" => 1,
        "oldest_clocks.json" => 2,
        "replica_state.json" => 5,
        "shard_config.json" => 6,
        _ if path.starts_with("wal/") => 3,
        _ => 4,
    };
    (rank, "", 1, 0, path)
}

fn check_whole(files: &[ArchiveFile]) -> Result<(), ComposeError> {
    let has = |path: &str| files.iter().any(|f| f.path == path);
    if !files.iter().any(|f| f.path.starts_with("wal/")) {
        return Err(ComposeError::Incomplete("wal/"));
    }
    for name in ["replica_state.json", "shard_config.json"] {
        if !has(name) {
            return Err(ComposeError::Incomplete(name));
        }
    }
    let segments: std::collections::BTreeSet<&str> = files
        .iter()
        .filter_map(|f| split_segment(&f.path))
        .map(|(id, _)| id)
        .collect();
    if segments.is_empty() {
        return Err(ComposeError::Incomplete("every segment"));
    }
    for id in segments {
        if !has(&format!("segments/{id}/segment.json")) {
            return Err(ComposeError::Incomplete("a segment's segment.json"));
        }
        if !has(&format!("segments/{id}/version.info")) {
            return Err(ComposeError::Incomplete("a segment's version.info"));
        }
    }
    Ok(())
}

impl<W: Write> FileSink for ArchiveWriter<'_, W> {
    type Error = ComposeError;

    fn begin(&mut self, path: &str, size: u64) -> Result<(), ComposeError> {
        self.begin_file(path, size)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), ComposeError> {
        self.write_data(bytes)
    }

    fn zeros(&mut self, len: u64) -> Result<(), ComposeError> {
        self.write_zeros(len)
    }

    fn end(&mut self) -> Result<(), ComposeError> {
        self.end_file()
    }
}

#[cfg(test)]
mod tests;
