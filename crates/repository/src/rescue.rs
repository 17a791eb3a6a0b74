//! Chunks that a manifest is about to name and that are to be deleted: kept, or copied out of harm's way.
//!
//! What this process has doomed it spares. What another one has doomed may be deleted at any moment, so nothing relies
//! on it as it stands: while it can still be read it is copied into a new pack, as garbage collection itself would. A job
//! that outlived its coordinator has such chunks: they were told to be there, and doomed, before the restart.

use crate::RepositoryError;
use crate::core_state::CoreState;
use crate::packer::Packer;
use crate::reader::Reader;
use futures::StreamExt;
use holdfast_types::{ChunkId, Epoch};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Chunks read at once.
const READS_AHEAD: usize = 4;

/// What it takes.
pub(crate) struct Rescue<'a> {
    pub(crate) core: &'a Arc<CoreState>,
    pub(crate) packer: &'a Arc<Packer>,
    pub(crate) reader: &'a Arc<Reader>,
    pub(crate) epoch: Epoch,
}

impl Rescue<'_> {
    /// Makes these chunks ones that can be relied upon, as far as that is possible. Afterwards the catalogue tells
    /// which are.
    pub(crate) async fn save(
        &self,
        chunks: impl Iterator<Item = ChunkId>,
    ) -> Result<(), RepositoryError> {
        let doomed = spare(self.core, chunks);
        if doomed.is_empty() {
            return Ok(());
        }
        tracing::info!(
            chunks = doomed.len(),
            "chunks that an earlier coordinator was about to delete are copied"
        );
        let began = self.packer.failures();
        let ids = futures::stream::iter(doomed);
        let mut read = std::pin::pin!(self.reader.clone().read_many(ids, READS_AHEAD));
        while let Some(chunk) = read.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error @ RepositoryError::Store(_)) => return Err(error),
                // It is gone, or damaged: it stays one that can't be relied upon.
                Err(error) => {
                    tracing::warn!(%error, "a chunk that is about to be deleted can't be copied");
                    continue;
                }
            };
            // One from a place that is known to be bad must not become one that is trusted.
            if self.core.catalog().is_readable(&chunk.id) {
                self.packer.put(chunk.into(), self.epoch, began).await?;
            }
        }
        self.packer.flush(self.epoch, began).await
    }
}

/// Spares the packs of ours that hold these chunks. Returns what only packs hold that another has doomed.
fn spare(core: &CoreState, chunks: impl Iterator<Item = ChunkId>) -> BTreeSet<ChunkId> {
    let mut doomed = BTreeSet::new();
    for chunk in chunks {
        if core.catalog().has(&chunk) || core.catalog_mut().rescue(&chunk) {
            continue;
        }
        if core.catalog().is_readable(&chunk) {
            doomed.insert(chunk);
        }
    }
    doomed
}
