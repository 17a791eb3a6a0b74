//! The full check of one collection: every chunk that its recipes name is read, opened, decoded and
//! hashed. Meant for the moment before something is given up in favour of a recovery point.
//!
//! What other checks believe of a chunk is forgotten when the program ends, and an index tells nothing
//! of bit rot; only reading does. One shard is checked after the other: in memory are one recipe, the
//! ids of its distinct chunks, and a few batches of chunks.

use super::AffectedShard;
use super::points::{Needs, check_shard};
use crate::core_state::CoreState;
use crate::points::read_stored_recipe;
use crate::reader::{Reader, StoredChunk};
use crate::{RepositoryError, system};
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::{ChunkKey, CollectionEntry, Decoder, ShardEntry};
use holdfast_types::ChunkId;
use std::sync::Arc;

/// Chunks read at once.
const READS_AHEAD: usize = 8;
/// Chunks that are decoded and hashed in one go: 16 MiB at most.
const BATCH: usize = 16;
/// Batches decoded at once.
const BATCHES_AHEAD: usize = 2;

/// The shards of a collection that can't be restored in full, with the number of chunks that are
/// missing or unreadable.
pub(crate) async fn authenticate_collection(
    core: &Arc<CoreState>,
    key: &ChunkKey,
    collection: &CollectionEntry,
) -> Result<Vec<AffectedShard>, RepositoryError> {
    core.compare_packs().await?;
    // A reader of its own: what the shared one has in its cache may be rotten in the store by now.
    let reader = Arc::new(Reader::new(core.clone()));
    let mut affected = Vec::new();
    for shard in &collection.shards {
        if let Some(ids) = chunks_of(core, &reader, shard).await? {
            read_all(core, &reader, key, ids).await?;
        }
        // Whatever could not be read is marked by now.
        let needs = &mut Needs::default();
        affected.extend(check_shard(core, &reader, &collection.name, shard, needs).await?);
    }
    Ok(affected)
}

/// The distinct chunks that a shard's recipe names, in the order in which they stand in the packs;
/// `None` if the recipe can't be read, which [`check_shard`] reports.
async fn chunks_of(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    shard: &ShardEntry,
) -> Result<Option<Vec<ChunkId>>, RepositoryError> {
    let owner = format!("shard {}", shard.shard_id);
    let recipe = match read_stored_recipe(reader, &owner, shard.stored_recipe()).await {
        Ok(recipe) => recipe,
        Err(RepositoryError::Damaged { .. } | RepositoryError::ChunkMissing { .. }) => {
            return Ok(None);
        }
        Err(other) => return Err(other),
    };
    let core = core.clone();
    let ids = system::blocking(move || {
        let mut ids: Vec<_> = recipe.chunks().map(|(id, _)| id).collect();
        drop(recipe);
        ids.sort_by_cached_key(|id| {
            let places = core.catalog().places(id);
            let best = places.first();
            (best.map(|(place, _)| (place.pack, place.entry.offset)), *id)
        });
        ids.dedup();
        Ok(ids)
    });
    ids.await.map(Some)
}

async fn read_all(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    key: &ChunkKey,
    ids: Vec<ChunkId>,
) -> Result<(), RepositoryError> {
    let chunks = reader.clone().read_many(stream::iter(ids), READS_AHEAD);
    let mut batches = std::pin::pin!(
        chunks
            .chunks(BATCH)
            .map(|batch| {
                let key = key.clone();
                system::blocking(move || wrong_ones(&key, batch))
            })
            .buffered(BATCHES_AHEAD)
    );
    while let Some(wrong) = batches.try_next().await? {
        for id in wrong {
            seek_elsewhere(core, reader, key, id).await?;
        }
    }
    Ok(())
}

/// The chunks of a batch whose seal is good and whose content is not what their id says. Those that
/// could not be read at all are marked already.
fn wrong_ones(
    key: &ChunkKey,
    batch: Vec<Result<StoredChunk, RepositoryError>>,
) -> Result<Vec<ChunkId>, RepositoryError> {
    let mut decoder = Decoder::new();
    let mut wrong = Vec::new();
    for chunk in batch {
        match chunk {
            Ok(chunk) if is_right(&mut decoder, key, &chunk) => {}
            Ok(chunk) => wrong.push(chunk.id),
            Err(RepositoryError::Damaged { .. } | RepositoryError::ChunkMissing { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(wrong)
}

fn is_right(decoder: &mut Decoder, key: &ChunkKey, chunk: &StoredChunk) -> bool {
    let plain = decoder.decode(chunk.codec, &chunk.data, chunk.plain_len as usize);
    plain.is_ok_and(|plain| key.id(plain) == chunk.id)
}

/// Gives up the places of a chunk, the best first, until one is left that holds the right content.
async fn seek_elsewhere(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    key: &ChunkKey,
    id: ChunkId,
) -> Result<(), RepositoryError> {
    while core.catalog().is_readable(&id) {
        let places = core.catalog().places(&id);
        if let Some((place, pack)) = places.first() {
            core.catalog_mut().mark_bad(place);
            tracing::warn!(chunk = %id, pack = %pack.id, "a chunk's content is not what its name says");
        }
        let again = reader.read(&id).await;
        let key = key.clone();
        let wrong = system::blocking(move || wrong_ones(&key, vec![again])).await?;
        if wrong.is_empty() {
            break;
        }
    }
    Ok(())
}
