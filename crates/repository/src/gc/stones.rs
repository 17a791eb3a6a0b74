//! Tombstones of packs, as they stand in the store.
//!
//! One is written by each run that dooms packs, and written anew whenever it is confirmed, loses a pack
//! that turned out to be needed, or is swept. A swept one stays for another grace, so that whoever
//! reads an old index meanwhile knows why its packs are gone.

use crate::core_state::CoreState;
use crate::notes::{self, Found};
use crate::{RepositoryError, layout, system};
use holdfast_archive::ObjectKind;
use holdfast_decide::Tombstone;
use holdfast_store::{ObjectKey, PutMode};
use holdfast_types::{Epoch, PackId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Packs that are to be deleted, or are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackTombstone {
    #[serde(flatten)]
    pub(crate) tombstone: Tombstone,
    /// When their deletion began: from then on they do not exist.
    #[serde(default)]
    pub(crate) swept: Option<Timestamp>,
    /// Whether they are deleted and in no index any more.
    #[serde(default)]
    pub(crate) finished: bool,
    pub(crate) packs: BTreeSet<PackId>,
}

/// A tombstone and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Stone {
    pub(crate) key: ObjectKey,
    /// The term in which it was last written.
    pub(crate) marked: Epoch,
    pub(crate) content: PackTombstone,
}

/// Every tombstone that can be read. One that can't be binds nobody: nothing is deleted without a mark.
pub(crate) async fn read_all(core: &CoreState) -> Result<Vec<Stone>, RepositoryError> {
    let prefix = layout::pack_tombstones();
    let found = notes::read_readable(core, &prefix, ObjectKind::Tombstone).await?;
    let stone = |Found { key, epoch, note }| Stone {
        key,
        marked: epoch,
        content: note,
    };
    Ok(found.into_iter().map(stone).collect())
}

/// Writes a new tombstone.
pub(super) async fn create(
    core: &CoreState,
    epoch: Epoch,
    content: PackTombstone,
) -> Result<Stone, RepositoryError> {
    let key = layout::pack_tombstone(&system::random()?);
    let mut stone = Stone {
        key,
        marked: epoch,
        content,
    };
    write(core, epoch, &mut stone).await?;
    Ok(stone)
}

/// Writes a tombstone anew.
pub(super) async fn write(
    core: &CoreState,
    epoch: Epoch,
    stone: &mut Stone,
) -> Result<(), RepositoryError> {
    let (kind, mode) = (ObjectKind::Tombstone, PutMode::Overwrite);
    notes::write(core, &stone.key, kind, epoch, mode, &stone.content).await?;
    stone.marked = epoch;
    Ok(())
}

pub(super) async fn delete(core: &CoreState, stone: &Stone) -> Result<(), RepositoryError> {
    Ok(core.store.delete(&stone.key).await?)
}

/// Takes packs out of every tombstone: they are put back from a copy.
pub(crate) async fn reprieve(
    core: &CoreState,
    epoch: Epoch,
    packs: &BTreeSet<PackId>,
) -> Result<(), RepositoryError> {
    for mut stone in read_all(core).await? {
        if !stone.content.packs.is_disjoint(packs) {
            stone.content.packs.retain(|id| !packs.contains(id));
            write(core, epoch, &mut stone).await?;
        }
    }
    Ok(())
}
