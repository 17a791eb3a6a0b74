//! What must be in every full snapshot, ticked off as the files pass.

use crate::shard_manifest::{SegmentManifest, ShardManifest};
use crate::snapshot::SnapshotError;
use crate::snapshot::contents::{PartialShard, SegmentContents, ShardContents};
use crate::snapshot::layout::{MANIFEST, SEGMENT_STATE, SEGMENT_VERSION, is_safe_path};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Largest JSON file that is looked into, in bytes.
pub(super) const MAX_META: u64 = 16 << 20;
/// The shard's own JSON files. Qdrant writes the configuration last of all.
const REPLICA_STATE: &str = "replica_state.json";
const SHARD_CONFIG: &str = "shard_config.json";
const NEWEST_CLOCKS: &str = "newest_clocks.json";
const OLDEST_CLOCKS: &str = "oldest_clocks.json";

/// The state of the checks.
#[derive(Debug, Default)]
pub(super) struct Checks {
    segments: BTreeMap<String, Segment>,
    shard_files: HashSet<String>,
    meta: HashMap<String, Value>,
    last: String,
    files: u64,
    logical_bytes: u64,
    wal_files: u32,
    next_operation: Option<u64>,
}

#[derive(Debug, Default)]
struct Segment {
    files: HashSet<String>,
    logical_bytes: u64,
    version: Option<String>,
    state: Option<Value>,
    manifest: Option<Manifest>,
}

/// As much of a partial snapshot's manifest as the check needs.
#[derive(Debug, Deserialize)]
struct Manifest {
    segment_id: String,
    #[serde(default)]
    segment_version: Option<u64>,
    file_versions: HashMap<String, Value>,
}

impl Checks {
    /// Whether the segment's file is a partial snapshot's manifest.
    pub(super) fn is_manifest(&self, file: &str) -> bool {
        file == MANIFEST
    }

    /// Takes note of a segment's manifest.
    pub(super) fn manifest(&mut self, id: &str, content: &[u8]) -> Result<(), SnapshotError> {
        let manifest: Manifest = parse(MANIFEST, content)?;
        if manifest.segment_id != id {
            return Err(malformed(format!(
                "segment {id} has the manifest of segment {}",
                manifest.segment_id
            )));
        }
        self.segments.entry(id.to_owned()).or_default().manifest = Some(manifest);
        Ok(())
    }

    /// Takes note of a segment's file; true if its content must be shown to [`Self::segment_meta`].
    pub(super) fn segment_file(
        &mut self,
        id: &str,
        file: &str,
        size: u64,
    ) -> Result<bool, SnapshotError> {
        let segment = self.segments.entry(id.to_owned()).or_default();
        if !segment.files.insert(file.to_owned()) {
            return Err(twice(&format!("segments/{id}/{file}")));
        }
        segment.logical_bytes = segment.logical_bytes.saturating_add(size);
        self.count(size);
        Ok(matches!(file, SEGMENT_STATE | SEGMENT_VERSION))
    }

    /// The content of a segment's state or version file.
    pub(super) fn segment_meta(
        &mut self,
        id: &str,
        file: &str,
        content: &[u8],
    ) -> Result<(), SnapshotError> {
        let segment = self.segments.entry(id.to_owned()).or_default();
        if file == SEGMENT_STATE {
            let state: Value = parse(file, content)?;
            if !state.is_object() {
                return Err(malformed(format!("{file} of segment {id} is no state")));
            }
            segment.state = Some(state);
        } else {
            let version = std::str::from_utf8(content).unwrap_or_default().trim();
            let plausible = version.split('.').count() == 3
                && version.starts_with(|c: char| c.is_ascii_digit());
            if !plausible {
                return Err(malformed(format!("{file} of segment {id} is no version")));
            }
            segment.version = Some(version.to_owned());
        }
        Ok(())
    }

    /// Takes note of a file of the shard; true if its content must be shown to [`Self::shard_meta`].
    pub(super) fn shard_file(&mut self, path: &str, size: u64) -> Result<bool, SnapshotError> {
        if !self.shard_files.insert(path.to_owned()) {
            return Err(twice(path));
        }
        path.clone_into(&mut self.last);
        self.wal_files += u32::from(path.starts_with("wal/"));
        self.count(size);
        Ok(matches!(
            path,
            REPLICA_STATE | SHARD_CONFIG | NEWEST_CLOCKS | OLDEST_CLOCKS
        ))
    }

    /// The content of one of the shard's JSON files.
    pub(super) fn shard_meta(&mut self, path: &str, content: &[u8]) -> Result<(), SnapshotError> {
        let value = parse(path, content)?;
        self.meta.insert(path.to_owned(), value);
        Ok(())
    }

    /// A closed file of the log has passed; its first index if it has no entry.
    pub(super) fn wal_file(&mut self, empty_from: Option<u64>) {
        self.next_operation = empty_from;
    }

    /// The archive of a partial snapshot ended as it should: is everything there but for files that were known?
    pub(super) fn finish_partial(mut self) -> Result<PartialShard, SnapshotError> {
        let mut manifest = ShardManifest::default();
        let mut omitted = Vec::new();
        for (id, segment) in &mut self.segments {
            let no_manifest = || SnapshotError::Incomplete(format!("segments/{id}/{MANIFEST}"));
            let listed = segment.manifest.take().ok_or_else(no_manifest)?;
            let listed = listed.strict(id)?;
            let missing = listed.file_versions.keys();
            let missing = missing.filter(|file| !segment.files.contains(*file));
            omitted.extend(missing.map(|file| (id.clone(), file.clone())));
            manifest.segments.insert(id.clone(), listed);
        }
        Ok(PartialShard {
            contents: self.finish()?,
            manifest,
            omitted,
        })
    }

    /// The archive ended as it should: is everything there?
    pub(super) fn finish(mut self) -> Result<ShardContents, SnapshotError> {
        let missing = |what: &str| SnapshotError::Incomplete(what.to_owned());
        if self.segments.is_empty() {
            return Err(missing("every segment"));
        }
        if self.wal_files == 0 {
            return Err(missing("the position in the write-ahead log (wal/)"));
        }
        let replica_state = self
            .meta
            .remove(REPLICA_STATE)
            .ok_or_else(|| missing(REPLICA_STATE))?;
        let shard_config = self
            .meta
            .remove(SHARD_CONFIG)
            .ok_or_else(|| missing(SHARD_CONFIG))?;
        if self.last != SHARD_CONFIG {
            return Err(malformed(format!(
                "{:?} comes after {SHARD_CONFIG}",
                self.last
            )));
        }
        let mut states = BTreeMap::new();
        for (id, segment) in &mut self.segments {
            let state = segment.state.take();
            let state = state.ok_or_else(|| missing(&format!("segments/{id}/{SEGMENT_STATE}")))?;
            states.insert(id.clone(), state);
        }
        let segments = self
            .segments
            .into_iter()
            .map(|(id, segment)| segment.finish(id))
            .collect::<Result<_, _>>()?;
        Ok(ShardContents {
            files: self.files,
            logical_bytes: self.logical_bytes,
            segments,
            next_operation: self.next_operation.filter(|_| self.wal_files == 1),
            clocks: self.meta.remove(NEWEST_CLOCKS),
            oldest_clocks: self.meta.remove(OLDEST_CLOCKS),
            replica_state,
            shard_config,
            states,
        })
    }

    fn count(&mut self, size: u64) {
        self.files += 1;
        self.logical_bytes = self.logical_bytes.saturating_add(size);
    }
}

impl Manifest {
    /// The manifest as the server compares it, with safe paths only.
    fn strict(self, id: &str) -> Result<SegmentManifest, SnapshotError> {
        let unclear = || malformed(format!("{MANIFEST} of segment {id} has no clear versions"));
        let mut file_versions = BTreeMap::new();
        for (file, version) in self.file_versions {
            let version = match version.is_null() {
                true => None,
                false => Some(version.as_u64().ok_or_else(unclear)?),
            };
            if !is_safe_path(&file) {
                return Err(malformed(format!(
                    "{MANIFEST} of segment {id} lists {file:?}"
                )));
            }
            file_versions.insert(file, version);
        }
        Ok(SegmentManifest {
            segment_id: self.segment_id,
            segment_version: self.segment_version.ok_or_else(unclear)?,
            file_versions,
        })
    }
}

impl Segment {
    fn finish(self, id: String) -> Result<SegmentContents, SnapshotError> {
        let missing = |file: &str| SnapshotError::Incomplete(format!("segments/{id}/{file}"));
        let storage_version = self.version.ok_or_else(|| missing(SEGMENT_VERSION))?;
        let mut listed: Vec<&String> = self
            .manifest
            .iter()
            .flat_map(|m| m.file_versions.keys())
            .collect();
        listed.sort(); // the same file is named each time
        if let Some(file) = listed.into_iter().find(|f| !self.files.contains(*f)) {
            return Err(SnapshotError::Partial {
                file: file.clone(),
                segment: id,
            });
        }
        Ok(SegmentContents {
            files: self.files.len() as u64,
            logical_bytes: self.logical_bytes,
            storage_version,
            id,
        })
    }
}

fn parse<T: for<'de> Deserialize<'de>>(path: &str, content: &[u8]) -> Result<T, SnapshotError> {
    serde_json::from_slice(content).map_err(|e| malformed(format!("{path} can't be read: {e}")))
}

fn malformed(why: String) -> SnapshotError {
    SnapshotError::Malformed(why)
}

fn twice(path: &str) -> SnapshotError {
    malformed(format!("it contains {path:?} twice"))
}
