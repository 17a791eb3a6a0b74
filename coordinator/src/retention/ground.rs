//! Where rules are applied: the repository itself, or one of its copies, each with settings of its own.

use crate::catalog::Catalog;
use crate::config::RetentionSection;
use crate::core::Core;
use crate::fault::Fault;
use crate::job::Work;
use crate::logs::Logs;
use crate::missed::{self, AstrayState};
use crate::verify::Affected;
use holdfast_repository::{Repository, RepositoryError};
use holdfast_service::failure::Code;
use holdfast_types::{Epoch, RecoveryPointId, ShardId, TimelineId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// A repository and what a run needs to know of it.
pub struct Ground<'a> {
    /// Where points are marked and deleted.
    pub repository: &'a Repository,
    /// The term in which.
    pub epoch: Epoch,
    /// Its rules.
    pub settings: &'a RetentionSection,
    /// Points that are read now.
    pub in_use: BTreeSet<RecoveryPointId>,
    /// Logs of which an agent sends what is written now, and whether all of each is on its way; `None` where no logs are archived.
    pub followed: Option<BTreeMap<(TimelineId, ShardId), bool>>,
    /// When an agent last said where a log ends.
    pub said: BTreeMap<(TimelineId, ShardId), Timestamp>,
    /// No archived entry goes before then.
    pub logs_rest_until: Timestamp,
    /// What its last check found damaged. `None` where that is not asked for, nor what restores have shown.
    pub affected: Option<Affected>,
    /// Whether it may have locks of its own that a decision must know of.
    pub obeys_locks: bool,
    /// The listing to keep up to date, if there is one.
    pub catalog: Option<&'a Catalog>,
    /// What an error of it means.
    pub failed: &'a (dyn Fn(&RepositoryError) -> Fault + Send + Sync),
    /// What is told of logs, if they are archived here: it must know what is deleted of them.
    pub logs: Option<&'a Logs>,
    /// The instant of the decision.
    pub now: Timestamp,
}

impl Ground<'_> {
    /// The deletion of a point begins: should this process end before it is unlisted, nobody misses it.
    pub(super) async fn leaves(&self, id: &RecoveryPointId) -> Result<(), Fault> {
        let Some(catalog) = self.catalog else {
            return Ok(());
        };
        let recorded = catalog.point_leaves(id.clone()).await;
        recorded.map_err(|error| Fault::from_error(Code::Internal, &error))
    }

    /// A point whose deletion had begun is kept after all.
    pub(super) async fn stays(&self, id: &RecoveryPointId) -> Result<(), Fault> {
        let Some(catalog) = self.catalog else {
            return Ok(());
        };
        let recorded = catalog.point_stays(id.clone()).await;
        recorded.map_err(|error| Fault::from_error(Code::Internal, &error))
    }

    /// A point is gone that nobody has deleted.
    pub(super) async fn misses(&self, id: &RecoveryPointId) -> Result<(), Fault> {
        let Some(catalog) = self.catalog else {
            return Ok(());
        };
        let state = AstrayState::Missed {
            since: self.now,
            others: false,
        };
        let was_listed = catalog.miss_point(id.clone(), state).await;
        if was_listed.map_err(|error| Fault::from_error(Code::Internal, &error))? {
            tracing::error!(point = %id, "a recovery point that was marked for removal is gone from the repository, and nobody has removed it");
        }
        Ok(())
    }

    /// Fails while a point is missed that nobody is known to have removed: perhaps only its manifest is gone, and comes back.
    pub(super) async fn misses_none(&self) -> Result<(), Fault> {
        let Some(catalog) = self.catalog else {
            return Ok(());
        };
        let astray = catalog.astray().await;
        let astray = astray.map_err(|error| Fault::from_error(Code::Internal, &error))?;
        match astray.iter().find(|astray| astray.is_surely_missed()) {
            None => Ok(()),
            Some(missed) => Err(missed::kept_for(&missed.point)),
        }
    }

    /// A point that is deleted is listed no more.
    pub(super) async fn unlist(&self, id: &RecoveryPointId) -> Result<(), Fault> {
        let Some(catalog) = self.catalog else {
            return Ok(());
        };
        let listed = catalog.remove_point(id.clone()).await;
        listed.map_err(|error| Fault::from_error(Code::Internal, &error))
    }
}

/// The primary.
pub(super) async fn primary<'a>(
    core: &'a Core,
    failed: &'a (dyn Fn(&RepositoryError) -> Fault + Send + Sync),
) -> Ground<'a> {
    let now = core.clock.now();
    let said = core.logs.ends().into_iter();
    let said = said.map(|end| ((end.timeline, end.shard), end.at));
    Ground {
        repository: &core.repository,
        epoch: core.epoch,
        settings: &core.retention.settings,
        in_use: in_use(core).await,
        followed: Some(core.logs.followed_now(now)),
        said: said.collect(),
        logs_rest_until: core.retention.logs_rest_until,
        affected: Some(core.verified.get().affected()),
        obeys_locks: core.keeping.obeys_locks(),
        catalog: Some(&core.catalog),
        failed,
        logs: Some(&core.logs),
        now,
    }
}

/// Points that a running job or the holder of a ticket reads, or may have to fall back to.
pub async fn in_use(core: &Core) -> BTreeSet<RecoveryPointId> {
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
