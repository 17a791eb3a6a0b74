//! One shard on disk: every write gets the index of its entry in the write-ahead log, and survives a kill.
//!
//! Writers, flushes and frozen views exclude each other through one mutex; readers run beside all of them. Entries reach
//! the log's memory map before an operation is applied, so that an acknowledged write survives the end of the process,
//! though not of the machine unless a flush came between.

use crate::model::{
    CountRequest, EdgeConfig, FacetRequest, PointId, PointInsertOperations, PointOperations,
    QueryRequest, Record, ScoredPoint, ScrollRequest, ShardInfo, SnapshotManifest, UpdateOperation,
    WithPayloadInterface, WithVector,
};
use crate::{EngineError, Frozen, replay, wal_dir};
use fs_err as fs;
use qdrant_edge::{EdgeShard, FacetValueHit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An open shard. Dropping it flushes it.
pub struct Shard {
    edge: EdgeShard,
    dir: PathBuf,
    writer: Mutex<Writer>,
}

#[derive(Debug)]
pub(crate) struct Writer {
    /// Index that the next operation gets.
    pub(crate) next: u64,
    /// Operations below this index are in the segments' files.
    pub(crate) flushed: u64,
}

impl Shard {
    /// Creates an empty shard in `dir`, which must exist and hold no segments. As on a real server, its log begins with
    /// an upsert of nothing, so that no point has the version 0.
    ///
    /// # Errors
    /// When the configuration is impossible or the files can't be written.
    pub fn create(dir: &Path, config: EdgeConfig) -> Result<Self, EngineError> {
        let edge = guarded("creating a shard", || EdgeShard::new(dir, config))??;
        let shard = Self::around(edge, dir)?;
        let nothing = PointInsertOperations::PointsList(Vec::new());
        shard.apply(UpdateOperation::PointOperation(
            PointOperations::UpsertPoints(nothing),
        ))?;
        Ok(shard)
    }

    /// Opens the shard in `dir`, after applying the operations of its log that its segments may lack.
    /// With a configuration, segments that contradict it are an error; without, it is inferred from them.
    ///
    /// # Errors
    /// When files are damaged or missing, or the configuration doesn't fit.
    pub fn open(dir: &Path, config: Option<EdgeConfig>) -> Result<Self, EngineError> {
        replay::recover(dir, config.as_ref())?;
        let edge = guarded("opening a shard", || EdgeShard::load(dir, config))??;
        Self::around(edge, dir)
    }

    fn around(edge: EdgeShard, dir: &Path) -> Result<Self, EngineError> {
        let next = wal_dir::next_index(&dir.join("wal"))?;
        let flushed = next;
        replay::write_marker(dir, flushed)?;
        Ok(Self {
            edge,
            dir: dir.to_owned(),
            writer: Mutex::new(Writer { next, flushed }),
        })
    }

    /// Logs and applies one operation and returns its index in the log.
    ///
    /// # Errors
    /// When the operation is wrong for this shard (it then stays in the log, where it is skipped) or the engine fails.
    pub fn apply(&self, operation: UpdateOperation) -> Result<u64, EngineError> {
        let mut writer = self.lock();
        let applied = guarded("applying an operation", || self.edge.update(operation));
        let index = writer.next;
        match applied {
            Ok(Ok(())) => {
                writer.next += 1;
                Ok(index)
            }
            Ok(Err(error)) => {
                writer.next = wal_dir::next_index(&self.wal_dir())?;
                Err(error.into())
            }
            Err(panicked) => {
                writer.next = wal_dir::next_index(&self.wal_dir())?;
                Err(panicked)
            }
        }
    }

    /// Brings every applied operation into the segments' files and shortens the log, keeping `retain` closed files
    /// (at least one). Does nothing when nothing was written since the last flush.
    ///
    /// # Errors
    /// When files can't be written.
    pub fn flush(&self, retain: usize) -> Result<(), EngineError> {
        let mut writer = self.lock();
        self.flush_locked(&mut writer, retain)
    }

    fn flush_locked(&self, writer: &mut Writer, retain: usize) -> Result<(), EngineError> {
        if writer.flushed == writer.next {
            return Ok(());
        }
        guarded("flushing", || self.edge.flush())?;
        writer.flushed = writer.next;
        replay::write_marker(&self.dir, writer.flushed)?;
        wal_dir::truncate(&self.wal_dir(), writer.flushed, retain)
    }

    /// Flushes the shard and keeps writers out until the answer is dropped, so that its files can be copied.
    ///
    /// # Errors
    /// When the flush fails.
    pub fn freeze(&self) -> Result<Frozen<'_>, EngineError> {
        let mut writer = self.lock();
        self.flush_locked(&mut writer, usize::MAX)?;
        Ok(Frozen::new(self, writer))
    }

    /// Builds indexes and merges or cleans segments where the configuration asks for it, keeping writers out
    /// meanwhile. Returns whether anything was done.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn optimize(&self) -> Result<bool, EngineError> {
        let _writer = self.lock();
        Ok(guarded("optimizing", || self.edge.optimize())??)
    }

    /// Index that the next operation gets.
    #[must_use]
    pub fn next_operation(&self) -> u64 {
        self.lock().next
    }

    /// Points by id, in the order asked for; unknown ids are left out.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn retrieve(
        &self,
        ids: &[PointId],
        with_payload: WithPayloadInterface,
        with_vector: WithVector,
    ) -> Result<Vec<Record>, EngineError> {
        Ok(guarded("reading points", || {
            self.edge
                .retrieve(ids, Some(with_payload), Some(with_vector))
        })??)
    }

    /// One page of points in id or payload order, and the id that begins the next page.
    ///
    /// # Errors
    /// When the request is wrong or the engine fails.
    pub fn scroll(
        &self,
        request: ScrollRequest,
    ) -> Result<(Vec<Record>, Option<PointId>), EngineError> {
        Ok(guarded("scrolling", || self.edge.scroll(request))??)
    }

    /// Number of points that match.
    ///
    /// # Errors
    /// When the request is wrong or the engine fails.
    pub fn count(&self, request: CountRequest) -> Result<usize, EngineError> {
        Ok(guarded("counting", || self.edge.count(request))??)
    }

    /// The best points for a query, best first.
    ///
    /// # Errors
    /// When the request is wrong or the engine fails.
    pub fn query(&self, request: QueryRequest) -> Result<Vec<ScoredPoint>, EngineError> {
        Ok(guarded("querying", || self.edge.query(request))??)
    }

    /// Counts of points by payload value, most frequent first.
    ///
    /// # Errors
    /// When the key has no index or the engine fails.
    pub fn facet(&self, request: FacetRequest) -> Result<Vec<FacetValueHit>, EngineError> {
        Ok(guarded("counting values", || self.edge.facet(request))??.hits)
    }

    /// Counts of segments, points and indexed vectors, and the payload indexes.
    #[must_use]
    pub fn info(&self) -> ShardInfo {
        self.edge.info()
    }

    /// The configuration the shard was opened with.
    #[must_use]
    pub fn config(&self) -> EdgeConfig {
        self.edge.config().clone()
    }

    /// The shard's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn manifest(&self) -> Result<SnapshotManifest, EngineError> {
        Ok(self.edge.snapshot_manifest()?)
    }

    fn wal_dir(&self) -> PathBuf {
        self.dir.join("wal")
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // a panic inside the engine is caught before it could unwind through the guard
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Unpacks a shard snapshot, nested or flat, into the directory `target`, ready for [`Shard::open`].
///
/// # Errors
/// When the archive is damaged, has no segments, or is a partial snapshot.
pub fn unpack(archive: &Path, target: &Path) -> Result<(), EngineError> {
    guarded("unpacking a snapshot", || {
        EdgeShard::unpack_snapshot(archive, target)
    })??;
    for entry in fs::read_dir(target.join("segments"))? {
        if entry?.path().join("segment_manifest.json").exists() {
            return Err(EngineError::Rejected(
                "invalid shard snapshot: it is a partial one (a segment holds a manifest)".into(),
            ));
        }
    }
    Ok(())
}

/// The engine asserts and unwraps in places that bad files or a full disk can reach.
pub(crate) fn guarded<T>(
    doing: &'static str,
    action: impl FnOnce() -> T,
) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(action)).map_err(|_| EngineError::Panicked(doing))
}
