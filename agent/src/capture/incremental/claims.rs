//! What Qdrant is told to leave out, and whether what it left out may be taken from elsewhere.
//!
//! Two promises are relied upon, and no others:
//!
//! 1. **A segment whose version has not moved has not changed.** Every operation that touches a segment raises its
//!    version, and Qdrant writes everything out before it reads a segment's files for a snapshot. So all files of such
//!    a segment are those of the last capture. A file's *own* version is not relied upon: a claim to files of a
//!    segment that moved in between is void, whatever Qdrant left out.
//! 2. **Vectors and graph of a sealed segment never change.** A segment that has an index, or storage that can't grow,
//!    takes no points: a changed one goes to another segment, and here only deletion marks are set. Everything else of
//!    a sealed segment (marks, versions, payload, payload indexes) is edited in place and is never read from disk.
//!
//! Version 0 proves nothing: it is that of a new segment and of one that has seen operation 0. Nothing is
//! claimed there. The request always names one segment that does not exist, so that Qdrant never answers 304: that
//! answer is given without waiting for accepted operations, for deletions that a running optimizer holds back, and for operation 0.
//! No IO here: the caller says what lies on disk, and checks that it stayed.

use super::base::Base;
use holdfast_qdrant::{PartialShard, SegmentManifest, ShardManifest};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The id of no segment: random ones have a version digit.
const NO_SEGMENT: &str = "00000000-0000-0000-0000-000000000000";
/// Newer than any operation.
const FOR_EVER: u64 = i64::MAX.unsigned_abs();

/// Segment id and path below it.
pub(super) type FileName = (String, String);

/// Where the content of a file that Qdrant leaves out comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The last capture, as long as the segment has this version.
    Unmoved(u64),
    /// The last capture: it never changes.
    Sealed,
    /// A file that is held open: it never changes.
    Disk,
}

/// What is claimed.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    /// To be sent.
    pub(super) request: ShardManifest,
    sources: BTreeMap<FileName, Source>,
}

/// What may be claimed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'a> {
    /// The last capture, if it is of the same files.
    pub(super) base: Option<&'a Base>,
    /// Files of sealed segments that are held open.
    pub(super) disk: Option<&'a BTreeSet<FileName>>,
    /// Segments that moved during the last try: of these, only what never changes is claimed.
    pub(super) hot: Option<&'a BTreeSet<String>>,
}

/// Where everything that was left out comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Paths within the shard, to be taken from the last recipe.
    pub(super) from_base: Vec<String>,
    /// Files to be read from disk.
    pub(super) from_disk: Vec<FileName>,
}

/// Why the answer can't be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unsettled {
    /// These segments changed between the manifest and the snapshot.
    Moved(BTreeSet<String>),
    /// Something is missing that nobody claimed, or a claim does not hold: never to be completed.
    Wrong(String),
}

impl Claims {
    /// Claims all of `known` that the present manifest bears out.
    pub(super) fn plan(current: &ShardManifest, known: Known<'_>) -> Self {
        let mut claims = Self {
            request: ShardManifest::default(),
            sources: BTreeMap::new(),
        };
        let nothing = SegmentManifest {
            segment_id: NO_SEGMENT.to_owned(),
            segment_version: 0,
            file_versions: BTreeMap::new(),
        };
        claims
            .request
            .segments
            .insert(NO_SEGMENT.to_owned(), nothing);
        for (id, segment) in &current.segments {
            if segment.segment_version > 0 {
                claims.plan_segment(id, segment, known);
            }
        }
        claims
    }

    fn plan_segment(&mut self, id: &str, segment: &SegmentManifest, known: Known<'_>) {
        let base = known.base;
        let hot = known.hot.is_some_and(|hot| hot.contains(id));
        let unmoved =
            !hot && base.is_some_and(|base| base.manifest.segments.get(id) == Some(segment));
        let mut versions = BTreeMap::new();
        for file in segment.file_versions.keys() {
            let name = (id.to_owned(), file.clone());
            let captured = base.is_some_and(|base| base.has(id, file));
            let sealed = captured && base.is_some_and(|base| base.sealed.contains(id));
            let own = segment.version_of(file).unwrap_or(0);
            let (source, version) = if unmoved && captured && own > 0 {
                (Source::Unmoved(segment.segment_version), own)
            } else if sealed && never_changes(file) {
                (Source::Sealed, FOR_EVER)
            } else if known.disk.is_some_and(|disk| disk.contains(&name)) {
                (Source::Disk, FOR_EVER)
            } else {
                continue;
            };
            versions.insert(file.clone(), Some(version));
            self.sources.insert(name, source);
        }
        if !versions.is_empty() {
            let claimed = SegmentManifest {
                segment_id: id.to_owned(),
                segment_version: segment.segment_version,
                file_versions: versions,
            };
            self.request.segments.insert(id.to_owned(), claimed);
        }
    }

    /// Whether this file is claimed.
    pub(super) fn has(&self, segment: &str, file: &str) -> bool {
        self.sources
            .contains_key(&(segment.to_owned(), file.to_owned()))
    }

    /// Whether nothing at all is claimed.
    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Finds the source of everything that Qdrant left out. What it sent although it was claimed is used as sent.
    pub(super) fn settle(&self, answer: &PartialShard) -> Result<Settled, Unsettled> {
        let mut settled = Settled::default();
        let mut moved = BTreeSet::new();
        for name in &answer.omitted {
            let (segment, file) = name;
            let wrong = |why: &str| {
                let text = format!("Qdrant left out segments/{segment}/{file}, {why}");
                Err(Unsettled::Wrong(text))
            };
            let Some(source) = self.sources.get(name) else {
                return wrong("which was not claimed");
            };
            let version = answer.manifest.segments.get(segment);
            let version = version.map(|found| found.segment_version);
            let sealed = answer.contents.states.get(segment).is_some_and(is_sealed);
            let path = format!("segments/{segment}/{file}");
            match source {
                Source::Unmoved(expected) if version == Some(*expected) => {
                    settled.from_base.push(path);
                }
                Source::Unmoved(_) => drop(moved.insert(segment.clone())),
                Source::Sealed | Source::Disk if !sealed => {
                    return wrong("but its segment can still be written to");
                }
                Source::Sealed => settled.from_base.push(path),
                Source::Disk => settled.from_disk.push(name.clone()),
            }
        }
        if moved.is_empty() {
            Ok(settled)
        } else {
            Err(Unsettled::Moved(moved))
        }
    }
}

/// Whether a file with this path below a sealed segment's directory is written once, while the segment is built: vectors, graph,
/// quantized vectors.
pub(super) fn never_changes(file: &str) -> bool {
    let parts: Vec<&str> = file.split('/').collect();
    let Some((area, rest)) = parts.split_first() else {
        return false;
    };
    let area = area.split('-').next().unwrap_or(area);
    match (area, rest) {
        ("vector_index", [name]) => {
            matches!(*name, "graph.bin" | "links.bin" | "links_compressed.bin")
        }
        ("vector_storage", ["matrix.dat" | "quantized.data"]) => true,
        ("vector_storage", ["vectors", chunk]) => chunk
            .strip_prefix("chunk_")
            .and_then(|rest| rest.strip_suffix(".mmap"))
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())),
        _ => false,
    }
}

/// Whether a segment with this `segment.json` takes no points: one of its vectors has an index, or storage that can't
/// grow. What this program does not know counts as open.
pub(super) fn is_sealed(state: &Value) -> bool {
    let vectors = state
        .pointer("/config/vector_data")
        .and_then(Value::as_object);
    vectors.is_some_and(|vectors| {
        vectors.values().any(|vector| {
            let index = vector.pointer("/index/type").and_then(Value::as_str);
            let storage = vector.get("storage_type").and_then(Value::as_str);
            index == Some("hnsw") || matches!(storage, Some("Mmap" | "InRamMmap"))
        })
    })
}

#[cfg(test)]
mod tests;
