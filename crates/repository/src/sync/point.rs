//! One recovery point, brought to a copy: the packs that it needs there, then an index, then its manifest.

use super::SyncedPoint;
use crate::catalog::{Pack, PackState};
use crate::chunk_table::Location;
use crate::core_state::CoreState;
use crate::gc::stones;
use crate::packer::Packer;
use crate::points::{self, read_stored_recipe};
use crate::reader::Reader;
use crate::rescue::Rescue;
use crate::{Damage, RepositoryError, epochs, layout, marks, quarantine, system};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::pack::{HEADER_LEN, pack_id, read_pack_footer};
use holdfast_archive::{PackError, PackHeader, PackIndex};
use holdfast_store::{PutMode, StoreError};
use holdfast_types::{ChunkId, Epoch, PackId, RecoveryPointId};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Packs copied at once, each in memory as a whole.
const PACKS_AHEAD: usize = 2;
/// Chunks read at once where packs are not copied whole.
const READS_AHEAD: usize = 4;
/// After so many packs an index is written, so that whoever goes on after a crash need not open each of them.
const PACKS_BETWEEN_INDEXES: u64 = 64;
/// A pack of which less than one in this many bytes is needed is not copied whole.
const SPARSE: u64 = 4;

/// One of the two repositories.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) core: &'a Arc<CoreState>,
    pub(crate) reader: &'a Arc<Reader>,
}

/// Brings points from one repository to its copy. Whoever calls keeps both from deleting garbage meanwhile.
pub(crate) struct Bringer<'a> {
    pub(crate) from: Side<'a>,
    pub(crate) to: Side<'a>,
    /// The copy's.
    pub(crate) packer: &'a Arc<Packer>,
    pub(crate) epoch: Epoch,
}

/// How the chunks come that the copy lacks.
#[derive(Default)]
struct Choice {
    whole: Vec<(Pack, Vec<ChunkId>)>,
    singly: Vec<ChunkId>,
}

impl Bringer<'_> {
    /// Brings one point. If it is there, only its mark is taken away, if it has one: its removal may have begun.
    pub(crate) async fn bring(&self, id: &RecoveryPointId) -> Result<SyncedPoint, RepositoryError> {
        let mut synced = SyncedPoint::default();
        epochs::check(self.to.core, self.epoch).await?;
        let mode = match points::read(self.to.core, id).await {
            Ok(_) => {
                let stone = layout::point_tombstone(id);
                if self.to.core.store.head(&stone).await?.is_some() {
                    marks::spare(self.to.core, self.epoch, id).await?;
                }
                return Ok(synced);
            }
            Err(RepositoryError::PointNotFound { .. }) => PutMode::CreateNew,
            Err(RepositoryError::Damaged { .. }) => PutMode::Overwrite,
            Err(other) => return Err(other),
        };
        let (object, manifest) = points::read_object(self.from.core, id).await?;
        let dying = self.dying().await?;
        for (owner, stored) in manifest.recipes() {
            self.bring_chunks(stored.chunks.to_vec(), &dying, &mut synced)
                .await?;
            let owner = owner.to_string();
            let recipe = read_stored_recipe(self.from.reader, &owner, stored).await?;
            let ids = recipe.chunks().map(|(id, _)| id).collect();
            drop(recipe);
            self.bring_chunks(ids, &dying, &mut synced).await?;
        }
        // Of a removal of long ago, which must not be ended on what comes now.
        epochs::check(self.to.core, self.epoch).await?;
        self.to
            .core
            .store
            .delete(&layout::point_tombstone(id))
            .await?;
        let into = Rescue {
            core: self.to.core,
            packer: self.packer,
            reader: self.to.reader,
            epoch: self.epoch,
        };
        points::commit_object(&into, &manifest, object, mode).await?;
        synced.new = true;
        Ok(synced)
    }

    /// Packs that a tombstone of the copy names.
    async fn dying(&self) -> Result<Arc<HashSet<PackId>>, RepositoryError> {
        let stones = stones::read_all(self.to.core).await?.into_iter();
        let packs = stones.flat_map(|stone| stone.content.packs);
        Ok(Arc::new(packs.collect()))
    }

    async fn bring_chunks(
        &self,
        ids: Vec<ChunkId>,
        dying: &Arc<HashSet<PackId>>,
        synced: &mut SyncedPoint,
    ) -> Result<(), RepositoryError> {
        let (from, to, dying) = (self.from.core.clone(), self.to.core.clone(), dying.clone());
        let chosen = system::blocking(move || Ok(choose(&from, &to, &dying, ids)));
        let Choice { whole, mut singly } = chosen.await?;
        let mut copies = stream::iter(whole)
            .map(async |(pack, ids)| Ok::<_, RepositoryError>((self.bring_pack(pack).await?, ids)))
            .buffer_unordered(PACKS_AHEAD);
        while let Some((brought, ids)) = copies.try_next().await? {
            let Some(index) = brought else {
                singly.extend(ids);
                continue;
            };
            synced.packs += 1;
            synced.bytes += index.size;
            self.packer.adopt(vec![index]);
            if synced.packs.is_multiple_of(PACKS_BETWEEN_INDEXES) {
                epochs::check(self.to.core, self.epoch).await?;
                self.packer.write_index(self.epoch).await?;
            }
        }
        drop(copies);
        self.bring_singly(singly, synced).await
    }

    /// Copies a pack as it is. `None` if it is damaged, or gone, on the primary: then nothing was copied.
    async fn bring_pack(&self, pack: Pack) -> Result<Option<PackIndex>, RepositoryError> {
        let key = layout::pack(&pack.id);
        let bytes = match self.from.core.store.get(&key).await {
            Ok(bytes) => bytes,
            Err(error) => {
                let damage = Damage::of_read(error)?;
                tracing::warn!(object = %key, %damage, "a pack of the repository can't be copied as it is");
                return Ok(None);
            }
        };
        let (core, id, read) = (self.from.core.clone(), pack.id, bytes.clone());
        let index = match system::blocking(move || Ok(open_pack(id, &read, &core))).await? {
            Ok(index) => index,
            Err(damage) => {
                tracing::warn!(object = %key, %damage, "a pack of the repository can't be copied as it is");
                return Ok(None);
            }
        };
        let store = &self.to.core.store;
        match store.put(&key, bytes.clone(), PutMode::CreateNew).await {
            Ok(()) => {}
            Err(StoreError::AlreadyExists { .. }) => {
                // Whether it is this one only its bytes tell.
                let is_same = match store.get(&key).await {
                    Ok(present) => present == bytes,
                    Err(error) => {
                        Damage::of_read(error)?;
                        false
                    }
                };
                if !is_same {
                    store.put(&key, bytes, PutMode::Overwrite).await?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.believe(&index).await?;
        Ok(Some(index))
    }

    /// Takes a pack that was just put into the copy's catalogue, whatever was known of it before.
    async fn believe(&self, index: &PackIndex) -> Result<(), RepositoryError> {
        let core = self.to.core;
        let known = core.catalog().contains_pack(&index.id);
        core.catalog_mut().add(index);
        if !known {
            return Ok(());
        }
        // It was damaged here, or missing.
        core.catalog_mut().trust(&index.id);
        core.compare_packs().await?;
        let object = layout::pack(&index.id).to_string();
        let quarantine = quarantine::load(&core.store, &core.master).await?;
        if let Some(record) = quarantine.records.get(&object) {
            quarantine::remove(&core.store, record).await?;
        }
        Ok(())
    }

    /// Stores chunks anew, in packs of the copy's own.
    async fn bring_singly(
        &self,
        ids: Vec<ChunkId>,
        synced: &mut SyncedPoint,
    ) -> Result<(), RepositoryError> {
        if ids.is_empty() {
            return Ok(());
        }
        let began = self.packer.failures();
        let reader = self.from.reader.clone();
        let mut chunks = std::pin::pin!(reader.read_many(stream::iter(ids), READS_AHEAD));
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            if !self.from.core.catalog().is_readable(&chunk.id) {
                // It came from a place that is known to be bad.
                return Err(RepositoryError::ChunkMissing { id: chunk.id });
            }
            let bytes = chunk.data.len() as u64;
            if self.packer.put(chunk.into(), self.epoch, began).await? {
                synced.chunks += 1;
                synced.bytes += bytes;
            }
        }
        self.packer.flush(self.epoch, began).await
    }
}

/// Proves a pack by its name, and reads what is in it.
fn open_pack(id: PackId, bytes: &Bytes, core: &CoreState) -> Result<PackIndex, Damage> {
    if pack_id(bytes) != id {
        return Err(Damage::Hash);
    }
    let header = bytes.get(..HEADER_LEN).ok_or(PackError::NotAPack)?;
    let header = PackHeader::parse(header)?;
    let size = bytes.len() as u64;
    let entries = read_pack_footer(&header, &core.master, bytes, size)?;
    Ok(PackIndex { id, size, entries })
}

/// Which packs to copy for the chunks that the copy lacks, and which chunks to store anew.
fn choose(
    from: &CoreState,
    to: &CoreState,
    dying: &HashSet<PackId>,
    mut ids: Vec<ChunkId>,
) -> Choice {
    struct Needed {
        pack: Pack,
        bytes: u64,
        chunks: Vec<(u32, ChunkId)>,
    }
    ids.sort_unstable();
    ids.dedup();
    // A pack may be sound as a whole, and yet hold what is not what its name says: that must not come to be trusted there.
    let distrusted = from.catalog().distrusted_numbers();
    let mut packs: BTreeMap<u32, Needed> = BTreeMap::new();
    let mut choice = Choice::default();
    for id in ids {
        // What this process has doomed on the copy is needed again.
        if to.catalog().has(&id) || to.catalog_mut().rescue(&id) {
            continue;
        }
        let mut places = from.catalog().places(&id);
        places.retain(|(place, pack)| {
            pack.state == PackState::Sound
                && !dying.contains(&pack.id)
                && !distrusted.contains(&place.pack)
        });
        let is_chosen = |(place, _): &&(Location, Pack)| packs.contains_key(&place.pack);
        let Some((place, pack)) = places.iter().find(is_chosen).or(places.first()).copied() else {
            // Nowhere as a whole pack; reading it tells what is wrong.
            choice.singly.push(id);
            continue;
        };
        let needed = packs.entry(place.pack).or_insert_with(|| Needed {
            pack,
            bytes: 0,
            chunks: Vec::new(),
        });
        needed.bytes += u64::from(place.entry.len);
        needed.chunks.push((place.entry.offset, id));
    }
    for mut needed in packs.into_values() {
        // In the order in which they stand: neighbours are read together.
        needed.chunks.sort_unstable();
        let ids = needed.chunks.into_iter().map(|(_, id)| id);
        if needed.bytes.saturating_mul(SPARSE) < needed.pack.size {
            choice.singly.extend(ids);
        } else {
            choice.whole.push((needed.pack, ids.collect()));
        }
    }
    choice
}
