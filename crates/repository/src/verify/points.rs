//! Which recovery points can be restored in full.

use super::{AffectedPoint, AffectedShard, VerifyReport};
use crate::core_state::CoreState;
use crate::points::{list, read_shard_recipe};
use crate::reader::Reader;
use crate::{RepositoryError, layout, system};
use holdfast_archive::{CollectionEntry, Manifest, ShardEntry};
use holdfast_types::{ChunkId, CollectionName};
use std::collections::HashSet;
use std::sync::Arc;

/// What points need and can't get.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Chunks that points name and that can't be read.
    pub(super) missing: HashSet<ChunkId>,
    /// Whether a manifest or recipe can't be read, so that there may be more.
    pub(super) unknown: bool,
}

pub(super) async fn check(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    report: &mut VerifyReport,
) -> Result<Needs, RepositoryError> {
    let mut needs = Needs::default();
    for listing in list(core).await? {
        report.points += 1;
        let mut affected = AffectedPoint {
            id: listing.id,
            manifest: None,
            shards: Vec::new(),
        };
        match listing.manifest {
            Ok(manifest) => {
                affected.shards = check_shards(core, reader, &manifest, &mut needs).await?;
            }
            Err(RepositoryError::Damaged { source, .. }) => {
                let object = layout::point(&affected.id).to_string();
                report.damage(&object, source.clone());
                needs.unknown = true;
                affected.manifest = Some(RepositoryError::Damaged { object, source });
            }
            Err(other) => return Err(other),
        }
        if affected.manifest.is_some() || !affected.shards.is_empty() {
            report.affected.push(affected);
        }
    }
    Ok(needs)
}

/// The shards of a collection that can't be restored in full. Lists the packs anew, so that what went
/// away since the opening is found.
pub(crate) async fn check_collection(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    collection: &CollectionEntry,
) -> Result<Vec<AffectedShard>, RepositoryError> {
    core.compare_packs().await?;
    let mut affected = Vec::new();
    for shard in &collection.shards {
        let needs = &mut Needs::default();
        affected.extend(check_shard(core, reader, &collection.name, shard, needs).await?);
    }
    Ok(affected)
}

async fn check_shards(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    manifest: &Manifest,
    needs: &mut Needs,
) -> Result<Vec<AffectedShard>, RepositoryError> {
    let mut affected = Vec::new();
    for (collection, shard) in manifest.shards() {
        affected.extend(check_shard(core, reader, &collection.name, shard, needs).await?);
    }
    Ok(affected)
}

pub(super) async fn check_shard(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    collection: &CollectionName,
    shard: &ShardEntry,
    needs: &mut Needs,
) -> Result<Option<AffectedShard>, RepositoryError> {
    let mut affected = AffectedShard {
        collection: collection.clone(),
        shard: shard.shard_id,
        missing_chunks: 0,
        recipe: None,
    };
    match read_shard_recipe(reader, shard).await {
        Ok(recipe) => {
            let (core, parts) = (core.clone(), shard.recipe.clone());
            let missing = system::blocking(move || {
                let chunks = recipe.chunks().map(|(chunk, _)| chunk);
                Ok(missing_of(&core, chunks.chain(parts)))
            });
            let missing = missing.await?;
            affected.missing_chunks = missing.len();
            needs.missing.extend(missing);
        }
        Err(error @ (RepositoryError::Damaged { .. } | RepositoryError::ChunkMissing { .. })) => {
            let missing = missing_of(core, shard.recipe.iter().copied());
            affected.missing_chunks = missing.len();
            needs.missing.extend(missing);
            needs.unknown = true;
            affected.recipe = Some(error);
        }
        Err(other) => return Err(other),
    }
    let concerned = affected.missing_chunks > 0 || affected.recipe.is_some();
    Ok(concerned.then_some(affected))
}

/// Distinct chunks that can't be read.
fn missing_of(core: &CoreState, chunks: impl Iterator<Item = ChunkId>) -> HashSet<ChunkId> {
    chunks
        .filter(|id| !core.catalog().is_readable(id))
        .collect()
}
