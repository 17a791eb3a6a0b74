//! Which recovery points can be restored in full.

use super::{AffectedPoint, AffectedShard, VerifyReport};
use crate::catalog::Catalog;
use crate::core_state::CoreState;
use crate::points::{list, missing_of, read_shard_recipe};
use crate::reader::Reader;
use crate::{RepositoryError, layout, system};
use holdfast_archive::{CollectionEntry, Manifest, ShardEntry};
use holdfast_types::CollectionName;
use std::sync::Arc;

pub(super) async fn check(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    for listing in list(core).await? {
        report.points += 1;
        let mut affected = AffectedPoint {
            id: listing.id,
            manifest: None,
            shards: Vec::new(),
        };
        match listing.manifest {
            Ok(manifest) => affected.shards = check_shards(core, reader, &manifest).await?,
            Err(RepositoryError::Damaged { source, .. }) => {
                let object = layout::point(&affected.id).to_string();
                report.damage(&object, source.clone());
                affected.manifest = Some(RepositoryError::Damaged { object, source });
            }
            Err(other) => return Err(other),
        }
        if affected.manifest.is_some() || !affected.shards.is_empty() {
            report.affected.push(affected);
        }
    }
    Ok(())
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
        affected.extend(check_shard(core, reader, &collection.name, shard).await?);
    }
    Ok(affected)
}

async fn check_shards(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    manifest: &Manifest,
) -> Result<Vec<AffectedShard>, RepositoryError> {
    let mut affected = Vec::new();
    for (collection, shard) in manifest.shards() {
        affected.extend(check_shard(core, reader, &collection.name, shard).await?);
    }
    Ok(affected)
}

pub(super) async fn check_shard(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    collection: &CollectionName,
    shard: &ShardEntry,
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
                Ok(missing_of(&core, Catalog::is_readable, chunks.chain(parts)))
            });
            affected.missing_chunks = missing.await?.count;
        }
        Err(error @ (RepositoryError::Damaged { .. } | RepositoryError::ChunkMissing { .. })) => {
            affected.missing_chunks =
                missing_of(core, Catalog::is_readable, shard.recipe.iter().copied()).count;
            affected.recipe = Some(error);
        }
        Err(other) => return Err(other),
    }
    let concerned = affected.missing_chunks > 0 || affected.recipe.is_some();
    Ok(concerned.then_some(affected))
}
