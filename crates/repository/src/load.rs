//! Building the catalogue at an open: from the indexes, and for packs that none of them names, from
//! the packs' own footers.
//!
//! Indexes are listed before packs, so that a pack and its index that another process writes
//! meanwhile are never taken for an index without its pack.

use crate::catalog::{Catalog, PackState, state_of};
use crate::core_state::{CoreState, list_packs};
use crate::{Damage, DamagedObject, RepositoryError, layout, system};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::pack::{HEADER_LEN, read_pack_footer};
use holdfast_archive::{
    IndexObject, Keyring, ObjectKind, PackEntry, PackError, PackHeader, PackIndex, sealed,
};
use holdfast_store::{MAX_OBJECT_BYTES, ObjectKey, ObjectStore, StoreError};
use holdfast_types::{Epoch, PackId};
use std::collections::HashMap;
use std::sync::Arc;

/// Objects read at once.
const READS_AHEAD: usize = 8;
/// Indexes read at once: each takes up to 24 MB as it is stored, and twice as much when decoded.
const INDEXES_AHEAD: usize = 3;
/// First guess at how much of a pack's end holds the footer, in bytes.
const TAIL_BYTES: u64 = 64 << 10;

/// The catalogue and what was found on the way.
pub(crate) struct Loaded {
    pub(crate) catalog: Catalog,
    /// Newest epoch in any index.
    pub(crate) epoch: Epoch,
    /// Packs that no index names.
    pub(crate) unindexed: Vec<PackIndex>,
    pub(crate) damaged: Vec<DamagedObject>,
}

/// Reads every index, and every pack's footer that is in none.
pub(crate) async fn load(
    store: &Arc<dyn ObjectStore>,
    master: &Keyring,
) -> Result<Loaded, RepositoryError> {
    let mut loaded = Loaded {
        catalog: Catalog::new(),
        epoch: Epoch(0),
        unindexed: Vec::new(),
        damaged: Vec::new(),
    };
    let indexes = store.list(&layout::indexes()).await?;
    let listed = list_packs(store.as_ref()).await?;
    // One after the other into the catalogue: together they take more memory than it does.
    let mut reads = stream::iter(indexes)
        .map(|found| read_index(store, master, found.key))
        .buffer_unordered(INDEXES_AHEAD);
    while let Some((key, outcome)) = reads.try_next().await? {
        match outcome {
            Ok((epoch, index)) => loaded.take(epoch, &index, &listed),
            Err(damage) => loaded.damaged.push(DamagedObject {
                object: key.to_string(),
                damage,
            }),
        }
    }
    drop(reads);
    loaded.adopt(store, master, &listed).await?;
    loaded.catalog.loaded();
    Ok(loaded)
}

impl Loaded {
    fn take(&mut self, epoch: Epoch, index: &IndexObject, listed: &HashMap<PackId, u64>) {
        self.epoch = self.epoch.max(epoch);
        for pack in &index.packs {
            let state = state_of(pack.size, listed.get(&pack.id).copied());
            self.note_pack(pack, state);
            self.catalog.load(pack, state);
        }
    }

    fn note_pack(&mut self, pack: &PackIndex, state: PackState) {
        let damage = match state {
            PackState::Sound | PackState::Removed => return,
            PackState::Missing => Damage::Missing,
            PackState::WrongSize { found } => Damage::Size {
                expected: pack.size,
                found,
            },
        };
        if !self.catalog.contains_pack(&pack.id) {
            self.damaged.push(DamagedObject {
                object: layout::pack(&pack.id).to_string(),
                damage,
            });
        }
    }

    /// Takes in the packs that no index names: a writer died between pack and index, or an index
    /// was lost.
    async fn adopt(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        master: &Keyring,
        listed: &HashMap<PackId, u64>,
    ) -> Result<(), RepositoryError> {
        let unknown: Vec<_> = listed
            .iter()
            .filter(|(id, _)| !self.catalog.contains_pack(id))
            .map(|(id, size)| (*id, *size))
            .collect();
        let mut reads = stream::iter(unknown)
            .map(|(id, size)| read_footer(store, master, id, size))
            .buffer_unordered(READS_AHEAD);
        while let Some((id, size, epoch_and_entries)) = reads.try_next().await? {
            match epoch_and_entries {
                Ok((epoch, entries)) => {
                    self.epoch = self.epoch.max(epoch);
                    let pack = PackIndex { id, size, entries };
                    self.catalog.load(&pack, PackState::Sound);
                    self.unindexed.push(pack);
                }
                Err(damage) => self.damaged.push(DamagedObject {
                    object: layout::pack(&id).to_string(),
                    damage,
                }),
            }
        }
        Ok(())
    }
}

/// Takes the packs into the catalogue that were written since it was loaded. Returns them.
pub(crate) async fn adopt_new(core: &CoreState) -> Result<Vec<PackIndex>, RepositoryError> {
    let listed = list_packs(core.store.as_ref()).await?;
    let unknown: Vec<_> = {
        let catalog = core.catalog();
        let unknown = listed
            .into_iter()
            .filter(|(id, _)| !catalog.contains_pack(id));
        unknown.collect()
    };
    let mut reads = stream::iter(unknown)
        .map(|(id, size)| read_footer(&core.store, &core.master, id, size))
        .buffer_unordered(READS_AHEAD);
    let mut adopted = Vec::new();
    while let Some((id, size, footer)) = reads.try_next().await? {
        match footer {
            Ok((_, entries)) => {
                let pack = PackIndex { id, size, entries };
                core.catalog_mut().add(&pack);
                adopted.push(pack);
            }
            // Opening has reported it, or it is still being written.
            Err(damage) => tracing::debug!(pack = %id, %damage, "a pack is not adopted"),
        }
    }
    Ok(adopted)
}

/// Reads one index object: its epoch and content, or how it is damaged.
pub(crate) async fn read_index(
    store: &Arc<dyn ObjectStore>,
    master: &Keyring,
    key: ObjectKey,
) -> Result<(ObjectKey, Result<(Epoch, IndexObject), Damage>), RepositoryError> {
    let bytes = match store.get(&key).await {
        Ok(bytes) => bytes,
        Err(error) => return Ok((key, Err(Damage::of_read(error)?))),
    };
    let master = master.clone();
    let outcome = system::blocking(move || Ok(open_index(&bytes, &master))).await?;
    if let Err(damage) = &outcome
        && damage.newer_format().is_some()
    {
        // What only a newer program can read must not be passed over as damage.
        return Err(RepositoryError::damaged(key, damage.clone()));
    }
    Ok((key, outcome))
}

fn open_index(bytes: &[u8], master: &Keyring) -> Result<(Epoch, IndexObject), Damage> {
    let opened = sealed::open(bytes, ObjectKind::Index, master)?;
    Ok((opened.epoch, IndexObject::decode(&opened.payload)?))
}

// The store reads whatever may be sealed: the payload, what zstd adds to one that it can't compress
// (1/256 and a little), header, length, tag and checksum.
const _: () = {
    let payload = sealed::MAX_PAYLOAD_BYTES as u64;
    assert!(payload + payload / 256 + 4096 <= MAX_OBJECT_BYTES);
};

pub(crate) type Footer = Result<(Epoch, Vec<PackEntry>), Damage>;

/// Reads a pack's footer: its epoch and entries, or how it is damaged.
pub(crate) async fn read_footer(
    store: &Arc<dyn ObjectStore>,
    master: &Keyring,
    id: PackId,
    size: u64,
) -> Result<(PackId, u64, Footer), RepositoryError> {
    let key = layout::pack(&id);
    let header_bytes = match range(store, &key, 0, (HEADER_LEN as u64).min(size)).await? {
        Ok(bytes) => bytes,
        Err(damage) => return Ok((id, size, Err(damage))),
    };
    let header = match PackHeader::parse(&header_bytes) {
        Ok(header) => header,
        Err(error) => return Ok((id, size, Err(error.into()))),
    };
    let mut len = TAIL_BYTES.min(size);
    // The first read tells how much is needed, the second brings it.
    for _ in 0..2 {
        let tail = match range(store, &key, size - len, len).await? {
            Ok(tail) => tail,
            Err(damage) => return Ok((id, size, Err(damage))),
        };
        match read_pack_footer(&header, master, &tail, size) {
            Ok(entries) => return Ok((id, size, Ok((header.epoch, entries)))),
            Err(PackError::TailTooShort { needed }) => len = needed.min(size),
            Err(error) => return Ok((id, size, Err(error.into()))),
        }
    }
    let damage = Damage::Pack(PackError::Damaged("its footer's length makes no sense"));
    Ok((id, size, Err(damage)))
}

async fn range(
    store: &Arc<dyn ObjectStore>,
    key: &ObjectKey,
    offset: u64,
    len: u64,
) -> Result<Result<Bytes, Damage>, RepositoryError> {
    match store.get_range(key, offset, len).await {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(StoreError::OutOfRange { size, .. }) => Ok(Err(Damage::Size {
            expected: offset + len,
            found: size,
        })),
        Err(error) => Ok(Err(Damage::of_read(error)?)),
    }
}
