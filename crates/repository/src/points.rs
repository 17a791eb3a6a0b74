//! Recovery points: committing and reading manifests and recipes.
//!
//! A manifest is written only when every chunk that it names is durable (invariant I1): each pack is
//! looked for in a fresh listing, each recipe is read back, each chunk looked up. The conditional put
//! of the manifest is the commit.

use crate::catalog::Catalog;
use crate::core_state::CoreState;
use crate::packer::Packer;
use crate::reader::Reader;
use crate::rescue::Rescue;
use crate::{Damage, PointListing, RepositoryError, epochs, layout, system};
use bytes::Bytes;
use futures::{StreamExt, stream};
use holdfast_archive::{
    Decoder, Manifest, ObjectKind, RecipeError, ShardRecipe, StoredRecipe, sealed,
};
use holdfast_store::{PutMode, StoreError};
use holdfast_types::{ChunkId, RecoveryPointId};
use std::collections::HashSet;
use std::sync::Arc;

/// Manifests, or chunks of a recipe, that are read at once.
const READS_AHEAD: usize = 8;
/// Largest encoded recipe that is taken or read back, in bytes: some 3 million chunks, or a shard of
/// about 1 TB.
pub const MAX_RECIPE_BYTES: usize = 128 << 20;

/// Commits a point, or says why it can't be.
pub(crate) async fn commit(
    core: &Arc<CoreState>,
    packer: &Arc<Packer>,
    reader: &Arc<Reader>,
    manifest: &Manifest,
) -> Result<(), RepositoryError> {
    let what = format!("recovery point {}", manifest.id);
    let json = manifest
        .to_json()
        .map_err(|error| RepositoryError::invalid(&what, error))?;
    let salt = system::random()?;
    let (sealing, epoch) = (core.clone(), manifest.epoch);
    let object = system::blocking(move || {
        sealed::seal(
            ObjectKind::Manifest,
            epoch,
            salt,
            sealing.master.newest(),
            &json,
        )
        .map_err(|error| RepositoryError::invalid(&what, error))
    })
    .await?;
    let into = Rescue {
        core,
        packer,
        reader,
        epoch,
    };
    commit_object(&into, manifest, object.into(), PutMode::CreateNew).await
}

/// Commits a manifest that is sealed already, once everything that it names is durable here.
pub(crate) async fn commit_object(
    into: &Rescue<'_>,
    manifest: &Manifest,
    object: Bytes,
    mode: PutMode,
) -> Result<(), RepositoryError> {
    let (core, epoch, id) = (into.core, into.epoch, &manifest.id);
    // What is checked here exists until the manifest keeps it.
    let _no_sweep = core.gate.read().await;
    epochs::check(core, epoch).await?;
    into.packer.write_index(epoch).await?;
    core.compare_packs().await?;
    for (owner, recipe) in manifest.recipes() {
        check_recipe(into, id, &owner.to_string(), recipe).await?;
    }
    epochs::check(core, epoch).await?;
    let key = layout::point(id);
    let put = core.store.put(&key, object, mode);
    match put.await {
        Ok(()) => Ok(()),
        Err(StoreError::AlreadyExists { .. }) => {
            Err(RepositoryError::PointExists { id: id.clone() })
        }
        Err(error) => Err(error.into()),
    }
}

/// Every chunk of what the recipe is of must be durable, and as long as the recipe says.
async fn check_recipe(
    rescue: &Rescue<'_>,
    id: &RecoveryPointId,
    owner: &str,
    stored: StoredRecipe<'_>,
) -> Result<(), RepositoryError> {
    let core = rescue.core;
    let incomplete = |missing: Missing| match missing.first {
        Some(first) => Err(RepositoryError::Incomplete {
            id: id.clone(),
            missing: missing.count,
            first,
        }),
        None => Ok(()),
    };
    rescue.save(stored.chunks.iter().copied()).await?;
    incomplete(missing_of(
        core,
        Catalog::has,
        stored.chunks.iter().copied(),
    ))?;
    let recipe = read_stored_recipe(rescue.reader, owner, stored).await?;
    let lacking = core.clone();
    let (recipe, lacking) = system::blocking(move || {
        let missing = |(id, _): &(ChunkId, u32)| !lacking.catalog().has(id);
        let missing: Vec<_> = recipe.chunks().filter(missing).map(|(id, _)| id).collect();
        Ok((recipe, missing))
    })
    .await?;
    rescue.save(lacking.into_iter()).await?;
    let core = core.clone();
    let missing = system::blocking(move || {
        for (chunk, len) in recipe.chunks() {
            let known = core.catalog().plain_len(&chunk);
            if known.is_some_and(|known| known != len) {
                let rule = "a chunk is not as long as stored";
                let path = String::new();
                let error = RecipeError::BadExtents { path, rule };
                return Err(RepositoryError::invalid("the recipe", error));
            }
        }
        let chunks = recipe.chunks().map(|(chunk, _)| chunk);
        Ok(missing_of(&core, Catalog::has, chunks))
    });
    incomplete(missing.await?)
}

/// Chunks that can't be relied upon.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Missing {
    /// Number of distinct ones.
    pub(crate) count: usize,
    pub(crate) first: Option<ChunkId>,
}

/// Those of the chunks that are not `there`.
pub(crate) fn missing_of(
    core: &CoreState,
    there: impl Fn(&Catalog, &ChunkId) -> bool,
    chunks: impl Iterator<Item = ChunkId>,
) -> Missing {
    let mut seen = HashSet::new();
    let mut missing = Missing::default();
    for chunk in chunks {
        if !there(&core.catalog(), &chunk) && seen.insert(chunk) {
            missing.first.get_or_insert(chunk);
            missing.count += 1;
        }
    }
    missing
}

/// Every point, by name; a damaged one says so in its own entry.
pub(crate) async fn list(core: &Arc<CoreState>) -> Result<Vec<PointListing>, RepositoryError> {
    let listed = core.store.list(&layout::points()).await?;
    let points = listed
        .into_iter()
        .filter_map(|found| Some((layout::parse_point(&found.key)?, found.size)));
    let listings = stream::iter(points)
        .map(async |(id, size)| PointListing {
            manifest: read(core, &id).await,
            id,
            size,
        })
        .buffered(READS_AHEAD);
    Ok(listings.collect().await)
}

/// Reads the manifest of a point.
pub(crate) async fn read(
    core: &Arc<CoreState>,
    id: &RecoveryPointId,
) -> Result<Manifest, RepositoryError> {
    read_object(core, id).await.map(|(_, manifest)| manifest)
}

/// Reads the manifest of a point, and the object that it stands in.
pub(crate) async fn read_object(
    core: &Arc<CoreState>,
    id: &RecoveryPointId,
) -> Result<(Bytes, Manifest), RepositoryError> {
    let key = layout::point(id);
    let bytes = match core.store.get(&key).await {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => {
            return Err(RepositoryError::PointNotFound { id: id.clone() });
        }
        Err(error) => return Err(RepositoryError::damaged(&key, Damage::of_read(error)?)),
    };
    let (opening, object) = (core.clone(), bytes.clone());
    let opened = system::blocking(move || Ok(open_manifest(&object, &opening))).await?;
    let manifest = opened.map_err(|damage| RepositoryError::damaged(&key, damage))?;
    if manifest.id != *id {
        return Err(RepositoryError::damaged(key, Damage::Misplaced));
    }
    Ok((bytes, manifest))
}

/// The names of all points. Nothing is read.
pub(crate) async fn list_ids(core: &CoreState) -> Result<Vec<RecoveryPointId>, RepositoryError> {
    let listed = core.store.list(&layout::points()).await?;
    let ids = listed
        .iter()
        .filter_map(|found| layout::parse_point(&found.key));
    Ok(ids.collect())
}

fn open_manifest(bytes: &Bytes, core: &CoreState) -> Result<Manifest, Damage> {
    let opened = sealed::open(bytes, ObjectKind::Manifest, &core.master)?;
    Ok(Manifest::from_json(&opened.payload)?)
}

/// Reads and joins the chunks of an encoded recipe.
pub(crate) async fn read_recipe(
    reader: &Arc<Reader>,
    chunks: &[ChunkId],
) -> Result<Vec<u8>, RepositoryError> {
    let ids = stream::iter(chunks.to_vec());
    let mut stored = std::pin::pin!(reader.clone().read_many(ids, READS_AHEAD));
    let mut decoder = Decoder::new();
    let mut recipe = Vec::new();
    while let Some(chunk) = stored.next().await {
        let chunk = chunk?;
        let plain = decoder
            .decode(chunk.codec, &chunk.data, chunk.plain_len as usize)
            .map_err(|error| RepositoryError::damaged(format!("chunk {}", chunk.id), error))?;
        if recipe.len() + plain.len() > MAX_RECIPE_BYTES {
            let error = RecipeError::TooLarge("bytes");
            return Err(RepositoryError::damaged("a recipe", error));
        }
        recipe.extend_from_slice(plain);
    }
    Ok(recipe)
}

/// Reads a recipe and verifies it against the manifest. `owner` is what it is of, in words.
pub(crate) async fn read_stored_recipe(
    reader: &Arc<Reader>,
    owner: &str,
    stored: StoredRecipe<'_>,
) -> Result<ShardRecipe, RepositoryError> {
    let what = format!("recipe of {owner}");
    if stored.len > MAX_RECIPE_BYTES as u64 {
        let error = RecipeError::TooLarge("bytes");
        return Err(RepositoryError::damaged(what, error));
    }
    let encoded = read_recipe(reader, stored.chunks).await?;
    let expected = (stored.len, stored.digest());
    system::blocking(move || {
        let found = (encoded.len() as u64, Some(ShardRecipe::hash(&encoded)));
        if found != expected {
            return Err(RepositoryError::damaged(what, Damage::Hash));
        }
        ShardRecipe::decode(&encoded).map_err(|error| RepositoryError::damaged(what, error))
    })
    .await
}
