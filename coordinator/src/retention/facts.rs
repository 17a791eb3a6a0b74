//! What the decision needs to know of every recovery point.

use super::archive::{Archive, captured};
use super::proofs::proofs;
use super::{BY_POLICY, Ground};
use crate::catalog::PointSummary;
use crate::fault::Fault;
use crate::instant::known::base_point;
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_decide::instant::Base;
use holdfast_decide::logs::LogPoint;
use holdfast_decide::{Hold, PointFacts};
use holdfast_repository::{Marks, PlacedHold, PointListing, RepositoryError};
use holdfast_types::{CollectionName, RecoveryPointId, Timestamp};
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
    /// The archived logs; none of a copy.
    pub(super) archive: Archive,
    /// The captured shards of those whose manifest can be.
    bases: BTreeMap<RecoveryPointId, BTreeMap<CollectionName, Vec<Base>>>,
}

impl Facts {
    /// The live points and this marked one, as if it were not marked.
    pub(super) fn with(&self, point: &PointFacts) -> Vec<PointFacts> {
        let mut points = self.live.clone();
        points.push(point.clone());
        points
    }

    /// All points, with what they say of logs.
    pub(super) fn log_points(&self) -> Vec<LogPoint> {
        let live = self.live.iter().map(|point| (point, false));
        let all = live.chain(self.marked.iter().map(|point| (point, true)));
        all.map(|(point, marked)| LogPoint {
            facts: point.clone(),
            collections: self.bases.get(&point.id).cloned().unwrap_or_default(),
            marked,
        })
        .collect()
    }

    async fn add_logs(&mut self, ground: &Ground<'_>) -> Result<(), Fault> {
        let bases = self.bases.values().flat_map(BTreeMap::values).flatten();
        let captured = captured(bases);
        for point in self.live.iter_mut().chain(&mut self.marked) {
            if let Some(bases) = self.bases.get(&point.id) {
                point.logs = self.archive.runs(ground, bases, &captured).await?;
            }
        }
        Ok(())
    }

    pub(super) fn find(&self, id: &RecoveryPointId) -> Option<&PointFacts> {
        let mut all = self.live.iter().chain(&self.marked);
        all.find(|point| point.id == *id)
    }
}

/// Gathers them.
pub(super) async fn gather(ground: &Ground<'_>, marks: &Marks) -> Result<Facts, Fault> {
    // The repository itself: a manifest may have rotted since the catalogue was made.
    let listed = ground.repository.list_points().await;
    let listed = listed.map_err(|error| (ground.failed)(&error))?;
    let locks = locks(ground, &listed).await?;
    let mut facts = Facts {
        live: Vec::new(),
        marked: Vec::new(),
        unreadable: BTreeSet::new(),
        archive: Archive::read(ground).await?,
        bases: BTreeMap::new(),
    };
    for listing in listed {
        let mut point = match &listing.manifest {
            Ok(manifest) => {
                let point = of_summary(&PointSummary::of(manifest));
                let bases = base_point(manifest, true).collections;
                facts.bases.insert(point.id.clone(), bases);
                point
            }
            Err(_) => {
                facts.unreadable.insert(listing.id.clone());
                unknown(&listing.id)
            }
        };
        point.in_use = ground.in_use.contains(&point.id);
        point.locked_until = locks.get(&point.id).copied();
        say(marks, &mut point);
        let stone = marks.tombstones.get(&point.id);
        // What a person gives up is not kept after all because it was restored once more.
        let counts = stone.is_none_or(|stone| stone.by == BY_POLICY);
        if let Some(affected) = ground.affected.as_ref().filter(|_| counts) {
            point.proofs = proofs(&point.id, &point.collections, marks, affected);
        }
        if stone.is_some() {
            facts.marked.push(point);
        } else {
            facts.live.push(point);
        }
    }
    facts.add_logs(ground).await?;
    Ok(facts)
}

/// The points that the store itself keeps everybody from removing, whoever has locked them, and until when.
async fn locks(
    ground: &Ground<'_>,
    listed: &[PointListing],
) -> Result<BTreeMap<RecoveryPointId, Timestamp>, Fault> {
    if !ground.obeys_locks {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<RecoveryPointId> = listed.iter().map(|listing| listing.id.clone()).collect();
    let asked = stream::iter(ids)
        .map(|id| async move {
            let until = ground.repository.locked_until(&id).await?;
            Ok((id, until))
        })
        .buffer_unordered(ASKED_AT_ONCE)
        .try_collect::<Vec<_>>()
        .await;
    let asked = asked.map_err(|error: RepositoryError| (ground.failed)(&error))?;
    let locked = asked
        .into_iter()
        .filter_map(|(id, until)| Some((id, until?)));
    Ok(locked.collect())
}

/// Adds what people say of the point.
fn say(marks: &Marks, point: &mut PointFacts) {
    point.pin = marks.pins.get(&point.id).map(|pin| pin.reason.clone());
    point.holds = holds_on(marks, point);
}

/// The facts of a point that is not read anew, as for a copy: proofs are of the primary.
pub(crate) fn of_listed(summary: &PointSummary, marks: &Marks) -> PointFacts {
    let mut point = of_summary(summary);
    say(marks, &mut point);
    point
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
        proofs: BTreeMap::new(),
        pin: None,
        holds: Vec::new(),
        locked_until: None,
        safety: summary.safety_for.is_some(),
        in_use: false,
        logs: BTreeMap::new(),
    }
}

/// A point whose manifest can't be read: nobody knows what it holds.
fn unknown(id: &RecoveryPointId) -> PointFacts {
    PointFacts {
        id: id.clone(),
        committed: Timestamp::EPOCH,
        collections: BTreeSet::new(),
        tags: BTreeSet::new(),
        proofs: BTreeMap::new(),
        pin: None,
        holds: Vec::new(),
        locked_until: None,
        safety: false,
        in_use: false,
        logs: BTreeMap::new(),
    }
}
