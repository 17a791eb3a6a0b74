//! What the decision needs to know of every recovery point.

use crate::catalog::PointSummary;
use crate::core::Core;
use crate::fault::Fault;
use crate::job::Work;
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_decide::{Hold, PointFacts, Proof};
use holdfast_repository::{Marks, PlacedHold, PointListing, RepositoryError};
use holdfast_types::{RecoveryPointId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Points whose locks are asked for at a time.
const ASKED_AT_ONCE: usize = 16;

/// Every point: those that live, and those that are marked for removal.
pub(super) struct Facts {
    /// What rules judge.
    pub(super) live: Vec<PointFacts>,
    /// What is marked, by tombstone.
    pub(super) marked: Vec<PointFacts>,
    /// Those whose manifest can't be read.
    pub(super) unreadable: BTreeSet<RecoveryPointId>,
}

impl Facts {
    /// The live points and this marked one, as if it were not marked.
    pub(super) fn with(&self, point: &PointFacts) -> Vec<PointFacts> {
        let mut points = self.live.clone();
        points.push(point.clone());
        points
    }

    pub(super) fn find(&self, id: &RecoveryPointId) -> Option<&PointFacts> {
        let mut all = self.live.iter().chain(&self.marked);
        all.find(|point| point.id == *id)
    }
}

/// Gathers them.
pub(super) async fn gather(core: &Core, marks: &Marks) -> Result<Facts, Fault> {
    // The repository itself: a manifest may have rotted since the catalogue was made.
    let listed = core.repository.list_points().await;
    let listed = listed.map_err(|error| core.repository_failed(&error))?;
    let in_use = in_use(core).await;
    let locks = locks(core, &listed).await?;
    let mut facts = Facts {
        live: Vec::new(),
        marked: Vec::new(),
        unreadable: BTreeSet::new(),
    };
    for listing in listed {
        let mut point = match &listing.manifest {
            Ok(manifest) => of_summary(&PointSummary::of(manifest)),
            Err(_) => {
                facts.unreadable.insert(listing.id.clone());
                unknown(&listing.id)
            }
        };
        point.in_use = in_use.contains(&point.id);
        point.locked_until = locks.get(&point.id).copied();
        point.pin = marks.pins.get(&point.id).map(|pin| pin.reason.clone());
        point.holds = holds_on(marks, &point);
        if marks.tombstones.contains_key(&point.id) {
            facts.marked.push(point);
        } else {
            facts.live.push(point);
        }
    }
    Ok(facts)
}

/// The points that the store itself keeps everybody from removing, whoever has locked them, and until when.
async fn locks(
    core: &Core,
    listed: &[PointListing],
) -> Result<BTreeMap<RecoveryPointId, Timestamp>, Fault> {
    if !core.keeping.obeys_locks() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<RecoveryPointId> = listed.iter().map(|listing| listing.id.clone()).collect();
    let asked = stream::iter(ids)
        .map(|id| async move {
            let until = core.repository.locked_until(&id).await?;
            Ok((id, until))
        })
        .buffer_unordered(ASKED_AT_ONCE)
        .try_collect::<Vec<_>>()
        .await;
    let asked = asked.map_err(|error: RepositoryError| core.repository_failed(&error))?;
    let locked = asked
        .into_iter()
        .filter_map(|(id, until)| Some((id, until?)));
    Ok(locked.collect())
}

/// The holds on a point. One that names collections may be on a point of which nobody knows what it holds.
fn holds_on(marks: &Marks, point: &PointFacts) -> Vec<Hold> {
    let unknown = point.collections.is_empty();
    let on = |placed: &&PlacedHold| {
        placed.covers(&point.id, point.collections.iter())
            || unknown && !placed.collections.is_empty()
    };
    let holds = marks.holds.values().filter(on);
    holds.map(|placed| placed.hold.clone()).collect()
}

fn of_summary(summary: &PointSummary) -> PointFacts {
    PointFacts {
        id: summary.id.clone(),
        // Rules judge by the age of data: an import must not take the place of a newer capture.
        committed: summary.imported.unwrap_or(summary.committed),
        collections: summary.collections.iter().cloned().collect(),
        tags: summary.tags.clone(),
        // Nothing records proofs yet: the floor counts the newest untried points.
        proof: Proof::Unproven,
        pin: None,
        holds: Vec::new(),
        locked_until: None,
        safety: summary.safety_for.is_some(),
        in_use: false,
    }
}

/// A point whose manifest can't be read: nobody knows what it holds.
fn unknown(id: &RecoveryPointId) -> PointFacts {
    PointFacts {
        id: id.clone(),
        committed: Timestamp::EPOCH,
        collections: BTreeSet::new(),
        tags: BTreeSet::new(),
        proof: Proof::Unproven,
        pin: None,
        holds: Vec::new(),
        locked_until: None,
        safety: false,
        in_use: false,
    }
}

/// Points that a running job or the holder of a ticket reads, or may have to fall back to.
async fn in_use(core: &Core) -> BTreeSet<RecoveryPointId> {
    let mut points = core.tickets.points(core.clock.now());
    for job in core.book.list().await {
        if job.ended.is_some() {
            continue;
        }
        if let Work::Restore(work) = &job.work {
            points.insert(work.plan.point.clone());
            points.extend(work.safety.as_ref().map(|safety| safety.point.clone()));
        }
    }
    points
}
