//! New indexes from the packs alone, in place of all old ones.
//!
//! Order: every new index is durable → the epoch is checked again → the old ones go. A crash in between leaves
//! both, and a pack that is named twice counts once. What only the old indexes know (packs that are
//! missing, or whose own footer can't be read) is carried over: without it nothing could name or heal them.

use crate::core_state::{CoreState, list_packs};
use crate::packer::{MAX_INDEX_CHUNKS, Packer};
use crate::{DamagedObject, RepositoryError, epochs, gc, layout, load};
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::PackIndex;
use holdfast_store::ObjectKey;
use holdfast_types::{Epoch, PackId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Objects read at once.
const READS_AHEAD: usize = 8;

/// What a rebuild did, or would do.
#[derive(Clone, Debug, Default)]
pub struct RebuiltIndex {
    /// Packs that are in the new indexes.
    pub packs: u64,
    /// Chunks in them.
    pub chunks: u64,
    /// Packs that are missing or whose footers can't be read, taken over from the old indexes.
    pub carried_over: Vec<PackId>,
    /// Packs whose footers can't be read and that no old index knows: what they hold is lost to the
    /// index.
    pub unreadable: Vec<DamagedObject>,
    /// Index objects written.
    pub written: u64,
    /// Index objects removed, the damaged ones among them included.
    pub removed: u64,
    /// Of them, those that were damaged.
    pub damaged: u64,
}

/// What the old indexes say.
struct Old {
    keys: Vec<ObjectKey>,
    damaged: u64,
    packs: BTreeMap<PackId, PackIndex>,
}

pub(crate) async fn rebuild(
    core: &Arc<CoreState>,
    packer: &Packer,
    epoch: Epoch,
) -> Result<RebuiltIndex, RepositoryError> {
    epochs::check(core, epoch).await?;
    let (mut writer, old) = gather(core, Some((packer, epoch))).await?;
    packer.forget(&writer.written);
    epochs::check(core, epoch).await?;
    for key in &old {
        core.store.delete(key).await?;
        writer.rebuilt.removed += 1;
    }
    Ok(writer.rebuilt)
}

/// What [`rebuild`] would do now. Writes and removes nothing.
pub(crate) async fn plan(core: &Arc<CoreState>) -> Result<RebuiltIndex, RepositoryError> {
    let (mut writer, old) = gather(core, None).await?;
    writer.rebuilt.removed = old.len() as u64;
    Ok(writer.rebuilt)
}

/// Reads every pack's footer and every old index, and writes the new ones, if there is something to write them with. Returns the
/// old ones' names, too.
async fn gather<'a>(
    core: &Arc<CoreState>,
    into: Option<(&'a Packer, Epoch)>,
) -> Result<(Writer<'a>, Vec<ObjectKey>), RepositoryError> {
    let mut old = read_old(core).await?;
    let swept = gc::swept(core).await?;
    old.packs.retain(|id, _| !swept.contains(id));
    let mut writer = Writer {
        into,
        packs: Vec::new(),
        chunks: 0,
        written: BTreeSet::new(),
        rebuilt: RebuiltIndex {
            damaged: old.damaged,
            ..RebuiltIndex::default()
        },
    };
    let mut listed: Vec<_> = list_packs(core.store.as_ref()).await?.into_iter().collect();
    listed.retain(|(id, _)| !swept.contains(id));
    listed.sort();
    let mut footers = stream::iter(listed)
        .map(|(id, size)| load::read_footer(&core.store, &core.master, id, size))
        .buffered(READS_AHEAD);
    while let Some((id, size, footer)) = footers.try_next().await? {
        let known = old.packs.remove(&id);
        match (footer, known) {
            (Ok((_, entries)), known) => {
                let found = PackIndex { id, size, entries };
                // The pack under this name may be another one: only its hash would tell.
                let same = known.as_ref().is_none_or(|known| same(known, &found));
                match known {
                    Some(known) if !same => writer.carry_over(known).await?,
                    Some(_) | None => writer.take(found).await?,
                }
            }
            (Err(_), Some(known)) => writer.carry_over(known).await?,
            (Err(damage), None) => writer.rebuilt.unreadable.push(DamagedObject {
                object: layout::pack(&id).to_string(),
                damage,
            }),
        }
    }
    for missing in std::mem::take(&mut old.packs).into_values() {
        writer.carry_over(missing).await?;
    }
    writer.write().await?;
    Ok((writer, old.keys))
}

fn same(known: &PackIndex, found: &PackIndex) -> bool {
    let sorted = |index: &PackIndex| {
        let mut entries = index.entries.clone();
        entries.sort_by_key(|entry| entry.offset);
        entries
    };
    sorted(known) == sorted(found)
}

async fn read_old(core: &Arc<CoreState>) -> Result<Old, RepositoryError> {
    let listed = core.store.list(&layout::indexes()).await?;
    let mut old = Old {
        keys: Vec::new(),
        damaged: 0,
        packs: BTreeMap::new(),
    };
    let mut reads = stream::iter(listed)
        .map(|found| load::read_index(&core.store, &core.master, found.key))
        .buffered(READS_AHEAD);
    while let Some((key, outcome)) = reads.try_next().await? {
        old.keys.push(key);
        match outcome {
            Ok((_, index)) => {
                let packs = index.packs.into_iter().map(|pack| (pack.id, pack));
                old.packs.extend(packs);
            }
            Err(_) => old.damaged += 1,
        }
    }
    Ok(old)
}

/// Fills index objects and writes each when it is full, or only counts them.
struct Writer<'a> {
    into: Option<(&'a Packer, Epoch)>,
    packs: Vec<Arc<PackIndex>>,
    chunks: usize,
    written: BTreeSet<PackId>,
    rebuilt: RebuiltIndex,
}

impl Writer<'_> {
    async fn carry_over(&mut self, pack: PackIndex) -> Result<(), RepositoryError> {
        self.rebuilt.carried_over.push(pack.id);
        self.take(pack).await
    }

    async fn take(&mut self, pack: PackIndex) -> Result<(), RepositoryError> {
        if self.chunks + pack.entries.len() > MAX_INDEX_CHUNKS {
            self.write().await?;
        }
        self.chunks += pack.entries.len();
        self.rebuilt.packs += 1;
        self.rebuilt.chunks += pack.entries.len() as u64;
        self.written.insert(pack.id);
        self.packs.push(Arc::new(pack));
        Ok(())
    }

    async fn write(&mut self) -> Result<(), RepositoryError> {
        let packs = std::mem::take(&mut self.packs);
        self.chunks = 0;
        if packs.is_empty() {
            return Ok(());
        }
        self.rebuilt.written += 1;
        match self.into {
            Some((packer, epoch)) => packer.store_index(packs, epoch).await,
            None => Ok(()),
        }
    }
}
