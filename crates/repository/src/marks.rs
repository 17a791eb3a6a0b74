//! What is said of recovery points beside their manifests: tombstones, pins, legal holds, and what restores have shown ([`proofs`]).
//!
//! A tombstone hides nothing by itself: its manifest stays, and what it names stays readable, until the
//! point is swept. Swept is written into the tombstone before the manifest is deleted.

use crate::core_state::CoreState;
use crate::notes::{self, Found};
use crate::proofs::{self, PointProofs};
use crate::{RepositoryError, epochs, keep, layout, points};
use holdfast_archive::ObjectKind;
use holdfast_decide::{Hold, NamePattern, PointState, Refused, Tombstone};
use holdfast_store::PutMode;
use holdfast_types::{CollectionName, Epoch, HoldId, RecoveryPointId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The mark of a recovery point that is to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointTombstone {
    /// The point.
    pub point: RecoveryPointId,
    /// Since when, and how long it can surely be undeleted.
    #[serde(flatten)]
    pub tombstone: Tombstone,
    /// Why, in sentences.
    pub reasons: Vec<String>,
    /// Who asked for it.
    pub by: String,
    /// Whether it was asked for although its collections have nothing better left.
    #[serde(default)]
    pub despite_floor: bool,
    /// Whether its objects are being deleted.
    #[serde(default)]
    pub swept: bool,
    /// The term in which its removal was last decided; known when read.
    #[serde(skip)]
    pub marked: Epoch,
}

/// What a person wants kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The point.
    pub point: RecoveryPointId,
    /// Why.
    pub reason: String,
    /// Who pinned it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A legal hold and what it is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedHold {
    /// Reason, owner, expiry.
    #[serde(flatten)]
    pub hold: Hold,
    /// Points that it is on.
    #[serde(default)]
    pub points: BTreeSet<RecoveryPointId>,
    /// Collections whose points it is on, future ones included.
    #[serde(default)]
    pub collections: Vec<NamePattern>,
}

/// All of it, as it stands in the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// By point.
    pub tombstones: BTreeMap<RecoveryPointId, PointTombstone>,
    /// By point.
    pub pins: BTreeMap<RecoveryPointId, Pin>,
    /// By id.
    pub holds: BTreeMap<HoldId, PlacedHold>,
    /// What restores have shown, by point.
    pub proofs: BTreeMap<RecoveryPointId, PointProofs>,
}

impl PointTombstone {
    /// Where the point stands.
    #[must_use]
    pub fn state(&self) -> PointState {
        if self.swept {
            return PointState::Swept;
        }
        PointState::Tombstoned {
            tombstone: self.tombstone,
            marked: self.marked,
        }
    }
}

impl PlacedHold {
    /// Whether it is on a point of these collections.
    #[must_use]
    pub fn covers<'a>(
        &self,
        point: &RecoveryPointId,
        mut collections: impl Iterator<Item = &'a CollectionName>,
    ) -> bool {
        let named = |name| self.collections.iter().any(|pattern| pattern.matches(name));
        self.points.contains(point) || collections.any(named)
    }
}

impl Marks {
    /// The holds on a point of these collections, expired ones included.
    pub fn holds_on<'a>(
        &'a self,
        point: &'a RecoveryPointId,
        collections: impl Iterator<Item = &'a CollectionName> + Clone + 'a,
    ) -> impl Iterator<Item = &'a Hold> + 'a {
        let holds = self.holds.values();
        let on = holds.filter(move |placed| placed.covers(point, collections.clone()));
        on.map(|placed| &placed.hold)
    }
}

/// Reads everything that is said of points. What can't be read is an error.
pub(crate) async fn read(core: &CoreState) -> Result<Marks, RepositoryError> {
    let prefix = layout::point_tombstones();
    // A point whose tombstone is damaged counts as live.
    let tombstones = notes::read_readable(core, &prefix, ObjectKind::Tombstone).await?;
    let pins = notes::read_all(core, &layout::pins(), ObjectKind::Hold).await?;
    let holds = notes::read_all(core, &layout::holds(), ObjectKind::Hold).await?;
    Ok(Marks {
        tombstones: tombstones
            .into_iter()
            .map(with_epoch)
            .map(|stone| (stone.point.clone(), stone))
            .collect(),
        pins: pins
            .into_iter()
            .map(|found: Found<Pin>| (found.note.point.clone(), found.note))
            .collect(),
        holds: holds
            .into_iter()
            .map(|found: Found<PlacedHold>| (found.note.hold.id.clone(), found.note))
            .collect(),
        proofs: proofs::read(core).await?,
    })
}

fn with_epoch(found: Found<PointTombstone>) -> PointTombstone {
    PointTombstone {
        marked: found.epoch,
        ..found.note
    }
}

async fn tombstone_of(
    core: &CoreState,
    id: &RecoveryPointId,
) -> Result<Option<PointTombstone>, RepositoryError> {
    let key = layout::point_tombstone(id);
    match notes::read(core, key, ObjectKind::Tombstone).await {
        Ok(found) => Ok(found.map(with_epoch)),
        // It counts as live, and is written anew.
        Err(RepositoryError::Damaged { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

fn state_of(found: Option<&PointTombstone>) -> PointState {
    found.map_or(PointState::Live, PointTombstone::state)
}

fn gone(id: &RecoveryPointId) -> impl Fn(Refused) -> RepositoryError + '_ {
    |source| RepositoryError::PointGone {
        id: id.clone(),
        source,
    }
}

/// Marks a point for removal, or confirms that under a newer epoch: the wait begins only once.
pub(crate) async fn tombstone(
    core: &CoreState,
    epoch: Epoch,
    wanted: &PointTombstone,
) -> Result<PointTombstone, RepositoryError> {
    epochs::check(core, epoch).await?;
    let id = &wanted.point;
    if core.store.head(&layout::point(id)).await?.is_none() {
        return Err(RepositoryError::PointNotFound { id: id.clone() });
    }
    let earlier = tombstone_of(core, id).await?;
    let state = state_of(earlier.as_ref()).mark(wanted.tombstone, epoch);
    let PointState::Tombstoned { tombstone, marked } = state.map_err(gone(id))? else {
        return Err(gone(id)(Refused));
    };
    let stone = PointTombstone {
        tombstone,
        marked,
        swept: false,
        ..wanted.clone()
    };
    write_tombstone(core, epoch, &stone).await?;
    Ok(stone)
}

/// Takes the mark back. Returns whether there was one.
pub(crate) async fn undelete(
    core: &CoreState,
    epoch: Epoch,
    id: &RecoveryPointId,
) -> Result<bool, RepositoryError> {
    epochs::check(core, epoch).await?;
    let Some(stone) = tombstone_of(core, id).await? else {
        return match core.store.head(&layout::point(id)).await? {
            Some(_) => Ok(false),
            None => Err(RepositoryError::PointNotFound { id: id.clone() }),
        };
    };
    stone.state().undelete().map_err(gone(id))?;
    core.store.delete(&layout::point_tombstone(id)).await?;
    Ok(true)
}

/// Takes the mark of a point back that something keeps after all, although it may be swept: as long as its manifest is there,
/// nothing of it has been deleted. A sweep that was left half way ends here.
pub(crate) async fn spare(
    core: &CoreState,
    epoch: Epoch,
    id: &RecoveryPointId,
) -> Result<(), RepositoryError> {
    epochs::check(core, epoch).await?;
    if core.store.head(&layout::point(id)).await?.is_none() {
        return Err(RepositoryError::PointNotFound { id: id.clone() });
    }
    core.store.delete(&layout::point_tombstone(id)).await?;
    Ok(())
}

/// Deletes the manifest of a point whose time has come. The chunks are garbage from then on.
pub(crate) async fn sweep(
    core: &Arc<CoreState>,
    epoch: Epoch,
    id: &RecoveryPointId,
    now: Timestamp,
) -> Result<(), RepositoryError> {
    epochs::check(core, epoch).await?;
    let lock = keep::locked_until(core, &layout::point(id)).await?;
    if let Some(until) = lock.filter(|until| now < *until) {
        let id = id.clone();
        return Err(RepositoryError::PointLocked { id, until });
    }
    protected(core, id, now).await?;
    let found = tombstone_of(core, id).await?;
    let state = state_of(found.as_ref()).sweep(now, epoch);
    state.map_err(|source| RepositoryError::NotYet {
        id: id.clone(),
        source,
    })?;
    if let Some(stone) = found {
        let swept = true;
        write_tombstone(core, epoch, &PointTombstone { swept, ..stone }).await?;
        // The put may have waited while another took over, who may have taken the mark back.
        epochs::check(core, epoch).await?;
    }
    core.store.delete(&layout::point(id)).await?;
    core.store.delete(&layout::pin(id)).await?;
    // Last: until then everybody who looks knows that the point is gone for good.
    core.store.delete(&layout::point_tombstone(id)).await?;
    Ok(())
}

/// Fails if a pin or a hold keeps the point now. Whoever decided to sweep it looked at both; this looks again, at the store
/// itself, because there is no way back.
async fn protected(
    core: &Arc<CoreState>,
    id: &RecoveryPointId,
    now: Timestamp,
) -> Result<(), RepositoryError> {
    let held = |by: String| {
        let id = id.clone();
        Err(RepositoryError::PointHeld { id, by })
    };
    let pin: Option<Found<Pin>> = notes::read(core, layout::pin(id), ObjectKind::Hold).await?;
    if let Some(pin) = pin
        && core.store.head(&layout::point(id)).await?.is_some()
    {
        return held(format!(
            "it is pinned by {} ({})",
            pin.note.by, pin.note.reason
        ));
    }
    let holds: Vec<Found<PlacedHold>> =
        notes::read_all(core, &layout::holds(), ObjectKind::Hold).await?;
    let active: Vec<PlacedHold> = holds
        .into_iter()
        .map(|found| found.note)
        .filter(|placed| placed.hold.is_active(now))
        .collect();
    if active.is_empty() {
        return Ok(());
    }
    let manifest = match points::read(core, id).await {
        Ok(manifest) => Some(manifest),
        // Nothing of it is left to keep.
        Err(RepositoryError::PointNotFound { .. }) => return Ok(()),
        Err(error @ RepositoryError::Store(_)) => return Err(error),
        Err(_) => None,
    };
    let on = |placed: &&PlacedHold| match &manifest {
        Some(manifest) => {
            let names = manifest
                .collections
                .iter()
                .map(|collection| &collection.name);
            placed.covers(id, names)
        }
        // Nobody knows what it holds.
        None => placed.points.contains(id) || !placed.collections.is_empty(),
    };
    match active.iter().find(on) {
        Some(PlacedHold { hold, .. }) => held(format!(
            "hold {} of {} is on it ({})",
            hold.id, hold.owner, hold.reason
        )),
        None => Ok(()),
    }
}

async fn write_tombstone(
    core: &CoreState,
    epoch: Epoch,
    stone: &PointTombstone,
) -> Result<(), RepositoryError> {
    let key = layout::point_tombstone(&stone.point);
    let (kind, mode) = (ObjectKind::Tombstone, PutMode::Overwrite);
    notes::write(core, &key, kind, epoch, mode, stone).await
}

/// Lets the wait of every mark end so much later, by the epoch in which it was last decided upon, but begin no later than now: nobody could take
/// it back meanwhile. What is being deleted goes on. Returns how many there are.
pub(crate) async fn postpone(
    core: &CoreState,
    epoch: Epoch,
    by: impl Fn(Epoch) -> Duration,
    now: Timestamp,
) -> Result<usize, RepositoryError> {
    epochs::check(core, epoch).await?;
    let marks = read(core).await?;
    let waiting = marks.tombstones.into_values().filter(|stone| !stone.swept);
    let mut postponed = 0;
    for mut stone in waiting.filter(|stone| stone.tombstone.since < now) {
        let by = by(stone.marked);
        if by.is_zero() {
            continue;
        }
        stone.tombstone.since = stone.tombstone.since.after(by).min(now);
        write_tombstone(core, epoch, &stone).await?;
        postponed += 1;
    }
    Ok(postponed)
}

/// Keeps a point until it is unpinned. A second pin replaces the first.
pub(crate) async fn pin(core: &CoreState, epoch: Epoch, pin: &Pin) -> Result<(), RepositoryError> {
    epochs::check(core, epoch).await?;
    let id = &pin.point;
    if core.store.head(&layout::point(id)).await?.is_none() {
        return Err(RepositoryError::PointNotFound { id: id.clone() });
    }
    let (key, kind) = (layout::pin(id), ObjectKind::Hold);
    notes::write(core, &key, kind, epoch, PutMode::Overwrite, pin).await
}

/// Takes a pin away. Returns whether there was one.
pub(crate) async fn unpin(
    core: &CoreState,
    epoch: Epoch,
    id: &RecoveryPointId,
) -> Result<bool, RepositoryError> {
    epochs::check(core, epoch).await?;
    let there = core.store.head(&layout::pin(id)).await?.is_some();
    core.store.delete(&layout::pin(id)).await?;
    Ok(there)
}

/// Places a hold under a name that is free.
pub(crate) async fn place_hold(
    core: &CoreState,
    epoch: Epoch,
    placed: &PlacedHold,
) -> Result<(), RepositoryError> {
    epochs::check(core, epoch).await?;
    let (key, kind) = (layout::hold(&placed.hold.id), ObjectKind::Hold);
    notes::write(core, &key, kind, epoch, PutMode::CreateNew, placed).await
}

/// Releases a hold. Returns what it was; `None` if there was none.
pub(crate) async fn release_hold(
    core: &CoreState,
    epoch: Epoch,
    id: &HoldId,
) -> Result<Option<PlacedHold>, RepositoryError> {
    epochs::check(core, epoch).await?;
    let key = layout::hold(id);
    let found: Option<Found<PlacedHold>> = notes::read(core, key.clone(), ObjectKind::Hold).await?;
    core.store.delete(&key).await?;
    Ok(found.map(|found| found.note))
}
