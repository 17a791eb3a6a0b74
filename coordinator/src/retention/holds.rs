//! Legal holds: placed, released, listed.

use super::facts::{Facts, gather};
use super::guard::refresh;
use super::{confirm, ground};
use crate::core::Core;
use crate::fault::Fault;
use holdfast_decide::{Hold, NamePattern};
use holdfast_repository::{PlacedHold, RepositoryError};
use holdfast_service::failure::Code;
use holdfast_store::StoreError;
use holdfast_types::{HoldId, RecoveryPointId, Timestamp};
use std::collections::BTreeSet;

/// An operator's wish to place a hold.
#[derive(Clone, Debug)]
pub struct HoldOrder {
    /// Its name.
    pub id: HoldId,
    /// Why.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
    /// Points that it is on.
    pub points: BTreeSet<RecoveryPointId>,
    /// Collections whose points it is on, future ones too.
    pub collections: Vec<NamePattern>,
}

/// Places a hold; takes removal marks of what it covers back. Returns the hold and those points.
///
/// # Errors
/// `usage` if it is on nothing, ends in the past or has a name that is taken; `point-not-found`.
pub async fn place_hold(
    core: &Core,
    order: HoldOrder,
    by: &str,
) -> Result<(PlacedHold, Vec<RecoveryPointId>), Fault> {
    let _alone = core.retention.removing.lock().await;
    let marks = refresh(core).await?;
    let failed = |error: &RepositoryError| core.repository_failed(error);
    let ground = ground::primary(core, &failed).await;
    let (facts, now) = (gather(&ground, &marks).await?, ground.now);
    check(&order, &facts, now)?;
    let placed = PlacedHold {
        hold: Hold {
            id: order.id,
            reason: order.reason,
            owner: order.owner,
            placed: now,
            expires: order.expires,
        },
        points: order.points,
        collections: order.collections,
    };
    match core.repository.place_hold(core.epoch, &placed).await {
        Ok(()) => {}
        Err(RepositoryError::Store(StoreError::AlreadyExists { .. })) => {
            let id = &placed.hold.id;
            return Err(Fault::new(
                Code::Usage,
                format!(
                    "there is a hold {id} already: `holdfast hold list` shows it; choose another name"
                ),
            ));
        }
        Err(error) => return Err(core.repository_failed(&error)),
    }
    tracing::info!(hold = %placed.hold.id, by, owner = placed.hold.owner, "a legal hold is placed");
    let mut undeleted = Vec::new();
    for point in &facts.marked {
        let gone = marks.tombstones.get(&point.id);
        let gone = gone.is_some_and(|stone| stone.swept);
        if !gone && placed.covers(&point.id, point.collections.iter()) {
            let taken = core.repository.undelete_point(core.epoch, &point.id).await;
            taken.map_err(|error| core.repository_failed(&error))?;
            undeleted.push(point.id.clone());
        }
    }
    refresh(core).await?;
    Ok((placed, undeleted))
}

fn check(order: &HoldOrder, facts: &Facts, now: Timestamp) -> Result<(), Fault> {
    let usage = |text: &str| Err(Fault::new(Code::Usage, text));
    if order.points.is_empty() && order.collections.is_empty() {
        return usage("the hold is on nothing: name recovery points or collections");
    }
    if order.reason.trim().is_empty() || order.owner.trim().is_empty() {
        return usage("a hold needs a reason and an owner");
    }
    if order.expires.is_some_and(|end| end <= now) {
        return usage("the hold would end in the past");
    }
    match order.points.iter().find(|id| facts.find(id).is_none()) {
        None => Ok(()),
        Some(id) => Err(Fault::new(
            Code::PointNotFound,
            format!("recovery point {id} does not exist, so no hold was placed"),
        )),
    }
}

/// Ends a hold.
///
/// # Errors
/// `usage` if there is none of this name; `second-operator`.
pub async fn release_hold(core: &Core, id: &HoldId, by: &str) -> Result<PlacedHold, Fault> {
    let _alone = core.retention.removing.lock().await;
    let marks = refresh(core).await?;
    let unknown = || {
        Fault::new(
            Code::Usage,
            format!("there is no hold {id}: `holdfast hold list` shows those that are"),
        )
    };
    if !marks.holds.contains_key(id) {
        return Err(unknown());
    }
    confirm::require(core, &format!("release hold {id}"), by)?;
    let released = core.repository.release_hold(core.epoch, id).await;
    refresh(core).await?;
    let released = released.map_err(|error| core.repository_failed(&error))?;
    tracing::info!(hold = %id, by, "a legal hold is released");
    released.ok_or_else(unknown)
}

/// Every hold with the points that it is on.
///
/// # Errors
/// A repository or catalogue that can't be read.
pub async fn list_holds(core: &Core) -> Result<Vec<(PlacedHold, Vec<RecoveryPointId>)>, Fault> {
    let marks = core.retention.marks();
    let failed = |error: &RepositoryError| core.repository_failed(error);
    let ground = ground::primary(core, &failed).await;
    let facts = gather(&ground, &marks).await?;
    let covered = |placed: &PlacedHold| {
        let points = facts.live.iter().chain(&facts.marked);
        points
            .filter(|point| placed.covers(&point.id, point.collections.iter()))
            .map(|point| point.id.clone())
            .collect()
    };
    let holds = marks.holds.values();
    Ok(holds
        .map(|placed| (placed.clone(), covered(placed)))
        .collect())
}
