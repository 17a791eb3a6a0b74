//! Which recovery points can be restored in full.

use super::{AffectedExtra, AffectedPoint, AffectedShard, VerifyReport};
use crate::core_state::CoreState;
use crate::points::{list, read_stored_recipe};
use crate::reader::Reader;
use crate::{RepositoryError, layout, system};
use holdfast_archive::{CollectionEntry, Manifest, RecipeOwner, ShardEntry, StoredRecipe};
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
            extras: Vec::new(),
        };
        match listing.manifest {
            Ok(manifest) => {
                check_all(core, reader, &manifest, &mut needs, &mut affected).await?;
            }
            Err(RepositoryError::Damaged { source, .. }) => {
                let object = layout::point(&affected.id).to_string();
                report.damage(&object, source.clone());
                needs.unknown = true;
                affected.manifest = Some(RepositoryError::Damaged { object, source });
            }
            Err(other) => return Err(other),
        }
        if affected.is_concerned() {
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

/// What a recipe stands for and can't be had.
struct Lost {
    missing_chunks: usize,
    recipe: Option<RepositoryError>,
}

async fn check_all(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    manifest: &Manifest,
    needs: &mut Needs,
    affected: &mut AffectedPoint,
) -> Result<(), RepositoryError> {
    for (owner, stored) in manifest.recipes() {
        match owner {
            RecipeOwner::Shard(collection, shard) => {
                let found = check_shard(core, reader, &collection.name, shard, needs).await?;
                affected.shards.extend(found);
            }
            RecipeOwner::Extra(node, extra) => {
                let lost = check_recipe(core, reader, &owner.to_string(), stored, needs).await?;
                affected.extras.extend(lost.map(|lost| AffectedExtra {
                    node: node.node.clone(),
                    name: extra.name.clone(),
                    missing_chunks: lost.missing_chunks,
                    recipe: lost.recipe,
                }));
            }
        }
    }
    Ok(())
}

/// Whether nothing of what a recipe stands for is lost, by a fresh listing of the packs.
pub(crate) async fn is_whole(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    owner: &str,
    stored: StoredRecipe<'_>,
) -> Result<bool, RepositoryError> {
    core.compare_packs().await?;
    let lost = check_recipe(core, reader, owner, stored, &mut Needs::default()).await?;
    Ok(lost.is_none())
}

pub(super) async fn check_shard(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    collection: &CollectionName,
    shard: &ShardEntry,
    needs: &mut Needs,
) -> Result<Option<AffectedShard>, RepositoryError> {
    let (owner, stored) = (format!("shard {}", shard.shard_id), shard.stored_recipe());
    let lost = check_recipe(core, reader, &owner, stored, needs).await?;
    Ok(lost.map(|lost| AffectedShard {
        collection: collection.clone(),
        shard: shard.shard_id,
        missing_chunks: lost.missing_chunks,
        recipe: lost.recipe,
    }))
}

async fn check_recipe(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    owner: &str,
    stored: StoredRecipe<'_>,
    needs: &mut Needs,
) -> Result<Option<Lost>, RepositoryError> {
    let lost = match read_stored_recipe(reader, owner, stored).await {
        Ok(recipe) => {
            let (core, parts) = (core.clone(), stored.chunks.to_vec());
            let missing = system::blocking(move || {
                let chunks = recipe.chunks().map(|(chunk, _)| chunk);
                Ok(missing_of(&core, chunks.chain(parts)))
            });
            let missing = missing.await?;
            let missing_chunks = missing.len();
            needs.missing.extend(missing);
            Lost {
                missing_chunks,
                recipe: None,
            }
        }
        Err(error @ (RepositoryError::Damaged { .. } | RepositoryError::ChunkMissing { .. })) => {
            let missing = missing_of(core, stored.chunks.iter().copied());
            let missing_chunks = missing.len();
            needs.missing.extend(missing);
            needs.unknown = true;
            Lost {
                missing_chunks,
                recipe: Some(error),
            }
        }
        Err(other) => return Err(other),
    };
    let concerned = lost.missing_chunks > 0 || lost.recipe.is_some();
    Ok(concerned.then_some(lost))
}

/// Distinct chunks that can't be read.
fn missing_of(core: &CoreState, chunks: impl Iterator<Item = ChunkId>) -> HashSet<ChunkId> {
    chunks
        .filter(|id| !core.catalog().is_readable(id))
        .collect()
}
