//! Index objects without the packs that are gone, and not too many small ones.
//!
//! The new ones are durable before the old ones go: whoever opens the repository in between reads both,
//! and a pack that is named twice counts once.

use super::sweep::delete;
use crate::core_state::CoreState;
use crate::packer::{MAX_INDEX_CHUNKS, Packer};
use crate::{RepositoryError, layout, load};
use holdfast_archive::PackIndex;
use holdfast_store::ObjectMeta;
use holdfast_types::{Epoch, PackId};
use std::collections::HashSet;
use std::sync::Arc;

/// Index objects below this size in bytes are joined when there are many.
const SMALL_BYTES: u64 = 1 << 20;
/// Small ones that are let be.
const MANY_SMALL: usize = 16;

/// Writes anew every index that names one of `gone`, and joins small ones if there are many. Returns whether the old ones are
/// gone; the store may refuse that. Then nothing is written twice: what other indexes name already is only deleted.
pub(super) async fn rewrite_without(
    core: &Arc<CoreState>,
    packer: &Packer,
    epoch: Epoch,
    gone: &HashSet<PackId>,
) -> Result<bool, RepositoryError> {
    let listed = core.store.list(&layout::indexes()).await?;
    let is_small = |found: &ObjectMeta| found.size < SMALL_BYTES;
    let join = listed.iter().filter(|found| is_small(found)).count() >= MANY_SMALL;
    let mut rewriting = Rewriting {
        seen: HashSet::new(),
        packs: Vec::new(),
        chunks: 0,
    };
    let mut old = Vec::new();
    for found in listed {
        let small = is_small(&found);
        let (key, outcome) = load::read_index(&core.store, &core.master, found.key).await?;
        // What can't be read is for the check to report and the rebuild to replace.
        let Ok((_, index)) = outcome else { continue };
        let named = index.packs.iter().any(|pack| gone.contains(&pack.id));
        if named || join && small {
            old.push(key);
        } else {
            // It stays: what it names need not be named once more.
            let stay = index.packs.iter().map(|pack| pack.id);
            rewriting.seen.extend(stay);
        }
    }
    for key in &old {
        let (_, outcome) = load::read_index(&core.store, &core.master, key.clone()).await?;
        let (_, index) = outcome.map_err(|error| RepositoryError::damaged(key.clone(), error))?;
        let packs = index.packs.into_iter();
        for pack in packs.filter(|pack| !gone.contains(&pack.id)) {
            rewriting.take(pack, packer, epoch).await?;
        }
    }
    rewriting.write(packer, epoch).await?;
    let mut all = true;
    for key in &old {
        all &= delete(core, key).await?;
    }
    Ok(all)
}

struct Rewriting {
    seen: HashSet<PackId>,
    packs: Vec<Arc<PackIndex>>,
    chunks: usize,
}

impl Rewriting {
    async fn take(
        &mut self,
        pack: PackIndex,
        packer: &Packer,
        epoch: Epoch,
    ) -> Result<(), RepositoryError> {
        if !self.seen.insert(pack.id) {
            return Ok(());
        }
        if self.chunks + pack.entries.len() > MAX_INDEX_CHUNKS {
            self.write(packer, epoch).await?;
        }
        self.chunks += pack.entries.len();
        self.packs.push(Arc::new(pack));
        Ok(())
    }

    async fn write(&mut self, packer: &Packer, epoch: Epoch) -> Result<(), RepositoryError> {
        self.chunks = 0;
        let packs = std::mem::take(&mut self.packs);
        if packs.is_empty() {
            return Ok(());
        }
        packer.store_index(packs, epoch).await
    }
}
