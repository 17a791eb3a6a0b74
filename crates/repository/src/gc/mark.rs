//! Marking what is needed: every chunk that any manifest names, tombstoned points included.
//!
//! Memory: one manifest, one recipe (32 bytes a chunk and more), 32 bytes for each distinct recipe seen;
//! the marks themselves are a bit in the catalogue's own records.

use super::GarbageWatcher;
use crate::core_state::CoreState;
use crate::points::{self, read_stored_recipe};
use crate::reader::Reader;
use crate::{RepositoryError, layout, system};
use holdfast_archive::StoredRecipe;
use holdfast_types::{ChunkId, RecoveryPointId};
use std::collections::HashSet;
use std::sync::Arc;

/// Chunks marked under one lock: captures go on between.
const BATCH: usize = 4096;

/// What was marked so far.
#[derive(Default)]
pub(super) struct Marked {
    /// Points whose chunks are marked.
    points: HashSet<RecoveryPointId>,
    /// Recipes whose chunks are marked: what is unchanged shares them.
    recipes: HashSet<[u8; 32]>,
}

impl Marked {
    /// Marks the chunks of every point that is listed now and not marked yet. A point that can't be
    /// read is an error: what it needs is not known. Returns whether all are marked; not if the watcher stopped it.
    pub(super) async fn mark_points(
        &mut self,
        core: &Arc<CoreState>,
        reader: &Arc<Reader>,
        watcher: &dyn GarbageWatcher,
    ) -> Result<bool, RepositoryError> {
        let listed = core.store.list(&layout::points()).await?;
        let of = listed.len();
        for (done, found) in listed.into_iter().enumerate() {
            watcher.marked(done, of);
            if watcher.is_stopped() {
                return Ok(false);
            }
            let Some(id) = layout::parse_point(&found.key) else {
                continue;
            };
            if self.points.contains(&id) {
                continue;
            }
            match self.mark_point(core, reader, &id).await {
                // Swept since the listing.
                Ok(()) | Err(RepositoryError::PointNotFound { .. }) => {}
                Err(error @ RepositoryError::Store(_)) => return Err(error),
                Err(source) => {
                    let source = Box::new(source);
                    return Err(RepositoryError::Unaccounted { id, source });
                }
            }
            self.points.insert(id);
        }
        Ok(true)
    }

    /// Number of points.
    pub(super) fn points(&self) -> usize {
        self.points.len()
    }

    async fn mark_point(
        &mut self,
        core: &Arc<CoreState>,
        reader: &Arc<Reader>,
        id: &RecoveryPointId,
    ) -> Result<(), RepositoryError> {
        let manifest = points::read(core, id).await?;
        for (owner, stored) in manifest.recipes() {
            mark_all(core, stored.chunks);
            let owner = owner.to_string();
            self.mark_recipe(core, reader, &owner, stored).await?;
        }
        Ok(())
    }

    async fn mark_recipe(
        &mut self,
        core: &Arc<CoreState>,
        reader: &Arc<Reader>,
        owner: &str,
        stored: StoredRecipe<'_>,
    ) -> Result<(), RepositoryError> {
        let digest = stored.digest();
        if digest.is_some_and(|digest| self.recipes.contains(&digest)) {
            return Ok(());
        }
        let recipe = read_stored_recipe(reader, owner, stored).await?;
        let core = core.clone();
        system::blocking(move || {
            let mut batch = Vec::with_capacity(BATCH);
            for (id, _) in recipe.chunks() {
                batch.push(id);
                if batch.len() == BATCH {
                    mark_all(&core, &batch);
                    batch.clear();
                }
            }
            mark_all(&core, &batch);
            Ok(())
        })
        .await?;
        self.recipes.extend(digest);
        Ok(())
    }
}

fn mark_all(core: &CoreState, ids: &[ChunkId]) {
    let mut catalog = core.catalog_mut();
    for id in ids {
        catalog.mark(id);
    }
}
