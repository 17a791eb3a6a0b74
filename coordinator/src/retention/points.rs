//! What operators say of single recovery points: delete, undelete, pin, unpin.

use super::facts::gather;
use super::guard::refresh;
use super::prune::{policy_of, tombstone};
use super::{confirm, ground};
use crate::core::Core;
use crate::fault::Fault;
use holdfast_decide::{Deletion, judge_deletion};
use holdfast_repository::{Pin, PointTombstone, RepositoryError};
use holdfast_service::failure::Code;
use holdfast_types::RecoveryPointId;

/// An operator's wish to remove a point.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Which.
    pub point: RecoveryPointId,
    /// Why.
    pub reason: String,
    /// Although its collections have nothing better left.
    pub despite_floor: bool,
    /// Only say whether it could be.
    pub dry_run: bool,
}

/// Marks a point for removal; `None` in a dry run.
///
/// # Errors
/// `point-kept` with what keeps it, `point-not-found`, `second-operator`.
pub async fn delete(
    core: &Core,
    wish: &Removal,
    by: &str,
) -> Result<Option<PointTombstone>, Fault> {
    let _alone = core.retention.removing.lock().await;
    let marks = refresh(core).await?;
    let failed = |error: &RepositoryError| core.repository_failed(error);
    let ground = ground::primary(core, &failed).await;
    let (facts, now) = (gather(&ground, &marks).await?, ground.now);
    let settings = ground.settings;
    let id = &wish.point;
    let Some(point) = facts.find(id) else {
        return Err(not_found(core, id));
    };
    let how = if wish.despite_floor {
        Deletion::AskedDespiteFloor
    } else {
        Deletion::Asked
    };
    let all = facts.with(point);
    let (policy, tz) = (policy_of(settings), &settings.time_zone);
    judge_deletion(id, how, &all, &policy, tz, now).map_err(|reasons| {
        let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        Fault::new(
            Code::PointKept,
            format!("recovery point {id} is kept: {}", reasons.join("; ")),
        )
    })?;
    if wish.dry_run {
        return Ok(None);
    }
    confirm::require(core, &format!("delete {id}"), by)?;
    let reasons = vec![wish.reason.clone()];
    let stone = PointTombstone {
        despite_floor: wish.despite_floor,
        ..tombstone(settings, id, reasons, by, now)
    };
    let marked = core.repository.tombstone_point(core.epoch, &stone).await;
    refresh(core).await?;
    let marked = marked.map_err(|error| core.repository_failed(&error))?;
    tracing::info!(point = %id, by, reason = wish.reason, "a recovery point is marked for removal");
    Ok(Some(marked))
}

/// Takes a mark back. Returns whether there was one.
///
/// # Errors
/// `point-not-found` if it is gone.
pub async fn undelete(core: &Core, id: &RecoveryPointId, by: &str) -> Result<bool, Fault> {
    let _alone = core.retention.removing.lock().await;
    take_back(core, id, by).await
}

async fn take_back(core: &Core, id: &RecoveryPointId, by: &str) -> Result<bool, Fault> {
    let taken = core.repository.undelete_point(core.epoch, id).await;
    refresh(core).await?;
    let taken = taken.map_err(|error| core.repository_failed(&error))?;
    if taken {
        tracing::info!(point = %id, by, "a recovery point is undeleted");
    }
    Ok(taken)
}

/// Pins a point; takes a removal mark back. Returns whether there was one.
///
/// # Errors
/// `point-not-found`.
pub async fn pin(
    core: &Core,
    id: &RecoveryPointId,
    reason: String,
    by: &str,
) -> Result<bool, Fault> {
    let _alone = core.retention.removing.lock().await;
    let pin = Pin {
        point: id.clone(),
        reason,
        by: by.to_owned(),
        at: core.clock.now(),
    };
    let pinned = core.repository.pin_point(core.epoch, &pin).await;
    pinned.map_err(|error: RepositoryError| core.repository_failed(&error))?;
    tracing::info!(point = %id, by, reason = pin.reason, "a recovery point is pinned");
    take_back(core, id, by).await
}

/// Takes a pin away. Returns whether there was one.
///
/// # Errors
/// `second-operator`.
pub async fn unpin(core: &Core, id: &RecoveryPointId, by: &str) -> Result<bool, Fault> {
    let _alone = core.retention.removing.lock().await;
    confirm::require(core, &format!("unpin {id}"), by)?;
    let unpinned = core.repository.unpin_point(core.epoch, id).await;
    refresh(core).await?;
    let unpinned = unpinned.map_err(|error| core.repository_failed(&error))?;
    if unpinned {
        tracing::info!(point = %id, by, "a recovery point is no longer pinned");
    }
    Ok(unpinned)
}

fn not_found(core: &Core, id: &RecoveryPointId) -> Fault {
    core.repository_failed(&RepositoryError::PointNotFound { id: id.clone() })
}
