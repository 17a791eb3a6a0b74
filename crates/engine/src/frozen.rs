//! A shard that holds still: the list of files that make up its state, for as long as the view lives.
//!
//! It copies nothing itself; how the files are laid out in an archive is the caller's matter.

use crate::model::SnapshotManifest;
use crate::shard::Writer;
use crate::{EngineError, Shard};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

/// Keeps writers out of a flushed shard.
pub struct Frozen<'a> {
    shard: &'a Shard,
    writer: MutexGuard<'a, Writer>,
}

/// The files of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFiles {
    /// Name of the segment's directory, a UUID.
    pub id: String,
    /// Paths relative to that directory: sorted, then the two state files, which Qdrant writes last.
    pub files: Vec<PathBuf>,
}

/// Files that every segment has beside those of its manifest.
const STATE_FILES: [&str; 2] = ["segment.json", "version.info"];

impl<'a> Frozen<'a> {
    pub(crate) fn new(shard: &'a Shard, writer: MutexGuard<'a, Writer>) -> Self {
        Self { shard, writer }
    }

    /// The shard's segments, sorted by id.
    ///
    /// # Errors
    /// When the engine can't list its files.
    pub fn segments(&self) -> Result<Vec<SegmentFiles>, EngineError> {
        let manifest = self.manifest()?;
        let mut segments: Vec<_> = manifest
            .iter()
            .map(|(id, segment)| {
                let mut files: Vec<_> = segment
                    .file_versions()
                    .map(|(file, _version)| file.to_owned())
                    .filter(|file| !STATE_FILES.iter().any(|state| file == Path::new(state)))
                    .collect();
                files.sort();
                files.extend(STATE_FILES.map(PathBuf::from));
                SegmentFiles {
                    id: id.clone(),
                    files,
                }
            })
            .collect();
        segments.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(segments)
    }

    /// The engine's own manifest of the segments: files with the operation that last changed them.
    ///
    /// # Errors
    /// When the engine can't list its files.
    pub fn manifest(&self) -> Result<SnapshotManifest, EngineError> {
        self.shard.manifest()
    }

    /// Index that the next operation will get: the state holds every operation below it.
    #[must_use]
    pub fn next_operation(&self) -> u64 {
        self.writer.next
    }

    /// The shard's directory; segments are in `segments/<id>`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.shard.dir()
    }
}
