//! Brings a shard that was not flushed, or that arrived with a log of its own, up to the end of its log.
//!
//! The engine does not replay on load, and every update it makes is logged again. So the log is set aside as
//! `wal.keep`, the operations are applied under their own indexes into a scratch log that begins at the right index
//! (what a segment already contains is then skipped by version, as on a real server), and the log is put back
//! unchanged. A crash anywhere in between is repaired by the first step of the next attempt. The file `flushed.json`
//! says from which index on operations may be missing; without it the whole log is replayed.

use crate::model::{EdgeConfig, UpdateOperation};
use crate::shard::guarded;
use crate::{EngineError, wal_dir};
use fs_err as fs;
use qdrant_edge::EdgeShard;
use std::path::Path;

const MARKER: &str = "flushed.json";
const KEPT: &str = "wal.keep";

/// Applies what the segments in `dir` may lack. Returns the number of operations replayed.
pub(crate) fn recover(dir: &Path, config: Option<&EdgeConfig>) -> Result<u64, EngineError> {
    let (wal, kept) = (dir.join("wal"), dir.join(KEPT));
    if kept.exists() {
        if wal.exists() {
            fs::remove_dir_all(&wal)?;
        }
        fs::rename(&kept, &wal)?;
    }
    if !wal.exists() {
        return Ok(0);
    }
    let from = read_marker(dir);
    let mut first = None;
    let next = wal_dir::read(&wal, from, |index, _| {
        first.get_or_insert(index);
        Ok(())
    })?;
    let Some(first) = first else { return Ok(0) };

    fs::rename(&wal, &kept)?;
    fs::create_dir(&wal)?;
    if first > 0 {
        wal_dir::write_empty(&wal, first, capacity(config))?;
    }
    apply_all(dir, config, &kept, first)?;
    write_marker(dir, next)?;
    fs::remove_dir_all(&wal)?;
    fs::rename(&kept, &wal)?;
    tracing::info!(dir = %dir.display(), first, next, "replayed the write-ahead log");
    Ok(next - first)
}

fn apply_all(
    dir: &Path,
    config: Option<&EdgeConfig>,
    log: &Path,
    first: u64,
) -> Result<(), EngineError> {
    let shard = guarded("opening a shard", || EdgeShard::load(dir, config.cloned()))??;
    wal_dir::read(log, first, |index, data| {
        let operation = decode(index, data)?;
        let applied = guarded("replaying an operation", || shard.update(operation))?;
        match applied.map_err(EngineError::from) {
            Ok(()) => Ok(()),
            // it was refused when it was first applied, too
            Err(error) if error.is_rejection() => Ok(()),
            Err(error) => Err(error),
        }
    })?;
    guarded("flushing", || shard.flush())
}

/// Decodes one entry of the log: CBOR of an operation, with a clock tag beside it that a single node has no use for.
pub(crate) fn decode(index: u64, data: &[u8]) -> Result<UpdateOperation, EngineError> {
    ciborium::from_reader(data).map_err(|error| EngineError::WalEntry {
        index,
        reason: error.to_string(),
    })
}

/// Records that every operation below `next` is in the segments' files.
pub(crate) fn write_marker(dir: &Path, next: u64) -> Result<(), EngineError> {
    let temporary = dir.join("flushed.json.tmp");
    fs::write(&temporary, format!("{{\"next\":{next}}}"))?;
    fs::rename(&temporary, dir.join(MARKER))?;
    Ok(())
}

/// A missing or unreadable marker costs only time: replaying what is already there changes nothing.
fn read_marker(dir: &Path) -> u64 {
    #[derive(serde::Deserialize)]
    struct Marker {
        next: u64,
    }
    fs::read(dir.join(MARKER))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Marker>(&bytes).ok())
        .map_or(0, |marker| marker.next)
}

fn capacity(config: Option<&EdgeConfig>) -> u64 {
    let options = config.and_then(|config| config.wal_options.clone());
    options.unwrap_or_default().segment_capacity as u64
}
