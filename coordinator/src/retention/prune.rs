//! One run of the rules: mark what no rule keeps, sweep what was marked long enough ago, collect garbage.

use super::facts::{Facts, gather};
use super::guard::refresh;
use super::{BY_POLICY, Ground, OnCopy, confirm, ground, job, logs};
use crate::config::RetentionSection;
use crate::core::Core;
use crate::fault::{Fault, chain};
use crate::upkeep::Run;
use holdfast_decide::{
    Decision, Deletion, NotYet, Reason, RetentionPolicy, Tombstone, Verdict, check_retention,
    judge_deletions, may_sweep, plan_retention,
};
use holdfast_repository::{
    GarbageOptions, GarbageReport, Marks, PointTombstone, RepositoryError, WalListing,
};
use holdfast_service::failure::Code;
use holdfast_store::StoreError;
use holdfast_types::{CollectionName, Epoch, RecoveryPointId, ShardId, TimelineId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::MutexGuard;

/// What a run did, or would do.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Whether there are rules.
    pub configured: bool,
    /// On every point that was not marked before.
    pub verdicts: Vec<Verdict>,
    /// Marked earlier, deleted now.
    pub swept: Vec<RecoveryPointId>,
    /// Marked earlier, and kept after all.
    pub spared: Vec<RecoveryPointId>,
    /// Marked earlier, and due, but the store refuses to delete them, and why.
    pub refused: Vec<(RecoveryPointId, String)>,
    /// Marked, and waiting.
    pub waiting: Vec<PointTombstone>,
    /// Archived entries that nothing needs any more.
    pub logs: Vec<LogRemoval>,
    /// Packs.
    pub garbage: GarbageReport,
}

impl Pruned {
    /// Whether what points need may be in other packs now.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        let moved = [self.garbage.rewritten, self.garbage.swept];
        moved.iter().any(|count| count.packs > 0)
    }
}

/// Leading parts of an archived log that went, or would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRemoval {
    /// Whose log it is.
    pub collection: Option<CollectionName>,
    /// Which shard's.
    pub shard: ShardId,
    /// Which run of entries.
    pub timeline: TimelineId,
    /// How many parts …
    pub parts: u64,
    /// … of how many.
    pub of: u64,
    /// Their bytes as stored.
    pub bytes: u64,
    /// Parts that the store refuses to delete.
    pub refused: u64,
    /// Why the rest stays, or nothing does.
    pub why: String,
}

/// What becomes of a point that is marked already.
enum Fate {
    Spare,
    Wait,
    Sweep,
}

/// What a run would do now. Changes nothing.
///
/// # Errors
/// A repository or catalogue that can't be read; a plan that its checker refuses.
pub async fn plan(core: &Core) -> Result<Pruned, Fault> {
    let alone = core.retention.removing.lock().await;
    let marks = refresh(core).await?;
    let failed = |error: &RepositoryError| core.repository_failed(error);
    let ground = ground::primary(core, &failed).await;
    let pruned = look(&ground, &marks).await?;
    // Restores need not wait for what follows.
    drop(alone);
    preview(&ground, pruned).await
}

/// One run, asked for by `by`, who is an operator, or the rules themselves where `None`.
///
/// # Errors
/// As [`plan`]; `second-operator`; `clock-skew`. What was done before stays done, and the next run goes on.
pub async fn prune(core: &Arc<Core>, by: Option<&str>) -> Result<Pruned, Fault> {
    if let Some(fault) = core.clock_fault() {
        return Err(fault);
    }
    let alone = core.retention.removing.lock().await;
    let marks = refresh(core).await?;
    let failed = |error: &RepositoryError| core.repository_failed(error);
    let ground = ground::primary(core, &failed).await;
    let facts = gather(&ground, &marks).await?;
    let mut pruned = judged(&ground, &facts)?;
    let surplus = logs::plan(&ground, &facts).await?;
    if let Some(by) = by {
        confirm::require(core, &what(&pruned.verdicts, &surplus), by)?;
    }
    let run = job::begin(core, None, by).await;
    let done = async {
        let done = carry_out(&ground, &facts, &marks, &mut pruned, &run).await;
        refresh(core).await?;
        done?;
        // While no restore begins: it may be one of a log that nothing needed.
        run.go_on(job::CANCELLED)?;
        pruned.logs = logs::carry_out(&ground, surplus).await?;
        // Restores need not wait for what follows: what they read is protected otherwise.
        drop(alone);
        collect(&ground, pruned, &run).await
    };
    let done = Box::pin(done).await;
    if done.as_ref().is_ok_and(Pruned::has_moved) {
        core.keeping.rewritten();
    }
    job::end(run, &done).await;
    done
}

/// What a run on a copy would do now. Changes nothing. Whoever calls keeps other removals out.
///
/// # Errors
/// As [`plan`].
pub async fn plan_on(ground: &Ground<'_>) -> Result<Pruned, Fault> {
    let marks = marks_of(ground).await?;
    let pruned = look(ground, &marks).await?;
    preview(ground, pruned).await
}

/// One run on a copy, by its own rules and marks; `confirmed` looks at the request in words before anything is done. Whoever
/// calls keeps other removals out, and with `alone` restores, exports and tickets, until points are marked and deleted: what
/// these read is among what is in use, or they begin afterwards and do not find it.
///
/// # Errors
/// As [`prune`].
pub async fn prune_on(
    on: OnCopy<'_>,
    ground: &Ground<'_>,
    confirmed: impl FnOnce(&str) -> Result<(), Fault> + Send,
    alone: MutexGuard<'_, ()>,
) -> Result<Pruned, Fault> {
    let marks = marks_of(ground).await?;
    let facts = gather(ground, &marks).await?;
    let mut pruned = judged(ground, &facts)?;
    confirmed(&what(&pruned.verdicts, &[]))?;
    let run = job::begin(on.core, Some(on.copy), on.by).await;
    let done = async {
        carry_out(ground, &facts, &marks, &mut pruned, &run).await?;
        // They need not wait for what follows: what they read is protected otherwise.
        drop(alone);
        collect(ground, pruned, &run).await
    };
    let done = Box::pin(done).await;
    job::end(run, &done).await;
    done
}

async fn marks_of(ground: &Ground<'_>) -> Result<Marks, Fault> {
    let marks = ground.repository.read_marks().await;
    marks.map_err(|error| (ground.failed)(&error))
}

async fn look(ground: &Ground<'_>, marks: &Marks) -> Result<Pruned, Fault> {
    let facts = gather(ground, marks).await?;
    let mut pruned = judged(ground, &facts)?;
    for (stone, fate) in fates(ground, &facts, marks) {
        match fate {
            Fate::Spare => pruned.spared.push(stone.point.clone()),
            Fate::Wait => pruned.waiting.push(stone.clone()),
            Fate::Sweep => pruned.swept.push(stone.point.clone()),
        }
    }
    let surplus = logs::plan(ground, &facts).await?;
    pruned.logs = surplus.into_iter().map(|(removal, _)| removal).collect();
    Ok(pruned)
}

async fn preview(ground: &Ground<'_>, mut pruned: Pruned) -> Result<Pruned, Fault> {
    ground.misses_none().await?;
    let garbage = ground.repository.preview_garbage(options(ground)).await;
    pruned.garbage = garbage.map_err(|error| (ground.failed)(&error))?;
    Ok(pruned)
}

async fn collect(ground: &Ground<'_>, mut pruned: Pruned, run: &Run) -> Result<Pruned, Fault> {
    run.go_on(job::CANCELLED)?;
    run.stage("collecting garbage");
    ground.misses_none().await?;
    let watcher = job::Watcher(run);
    let garbage = ground
        .repository
        .collect_garbage_watched(ground.epoch, options(ground), &watcher)
        .await;
    pruned.garbage = garbage.map_err(|error| (ground.failed)(&error))?;
    if pruned.garbage.stopped {
        run.go_on(job::CANCELLED)?;
    }
    Ok(pruned)
}

async fn carry_out(
    ground: &Ground<'_>,
    facts: &Facts,
    marks: &Marks,
    pruned: &mut Pruned,
    run: &Run,
) -> Result<(), Fault> {
    run.stage("applying the rules");
    let failed = |error: RepositoryError| (ground.failed)(&error);
    let (repository, epoch) = (ground.repository, ground.epoch);
    let remove = |verdict: &&Verdict| verdict.decision == Decision::Remove;
    for verdict in pruned.verdicts.iter().filter(remove) {
        run.go_on(job::CANCELLED)?;
        let reasons = verdict.reasons.iter().map(ToString::to_string).collect();
        let stone = tombstone(ground.settings, &verdict.id, reasons, BY_POLICY, ground.now);
        let marked = repository.tombstone_point(epoch, &stone).await;
        tracing::info!(point = %verdict.id, place = repository.place(), "a recovery point is marked for removal");
        pruned.waiting.push(marked.map_err(failed)?);
    }
    for (stone, fate) in fates(ground, facts, marks) {
        run.go_on(job::CANCELLED)?;
        let id = &stone.point;
        match fate {
            Fate::Spare => {
                repository.spare_point(epoch, id).await.map_err(failed)?;
                ground.stays(id).await?;
                tracing::info!(point = %id, place = repository.place(), "a recovery point is kept after all");
                pruned.spared.push(id.clone());
            }
            Fate::Wait => match repository.tombstone_point(epoch, stone).await {
                Ok(confirmed) => pruned.waiting.push(confirmed),
                // Its manifest is gone: nothing is left to wait for.
                Err(RepositoryError::PointNotFound { .. }) => forget(ground, stone).await?,
                Err(error) => return Err(failed(error)),
            },
            Fate::Sweep => match sweep(ground, stone).await? {
                Swept::Gone => pruned.swept.push(id.clone()),
                Swept::Refused(why) => pruned.refused.push((id.clone(), why)),
            },
        }
    }
    if let Err(error) = repository.tidy_proofs(epoch).await {
        tracing::warn!(%error, "proofs of points that are gone, or that can't be read, stay for now: they count for nothing");
    }
    Ok(())
}

/// What became of a deletion.
enum Swept {
    Gone,
    /// The store does not allow it: others may go all the same.
    Refused(String),
}

/// Deletes one point for good.
async fn sweep(ground: &Ground<'_>, stone: &PointTombstone) -> Result<Swept, Fault> {
    let (id, epoch) = (&stone.point, ground.epoch);
    let failed = |error: RepositoryError| (ground.failed)(&error);
    if !stone.swept && stone.marked != epoch {
        // It was decided again just now: in this term.
        match ground.repository.tombstone_point(epoch, stone).await {
            Ok(_) => {}
            Err(RepositoryError::PointNotFound { .. }) => {
                forget(ground, stone).await?;
                return Ok(Swept::Gone);
            }
            Err(error) => return Err(failed(error)),
        }
    }
    ground.leaves(id).await?;
    match ground.repository.sweep_point(epoch, id, ground.now).await {
        Ok(()) => {}
        Err(
            error @ (RepositoryError::PointLocked { .. }
            | RepositoryError::PointHeld { .. }
            | RepositoryError::Store(StoreError::Permission { .. })),
        ) => {
            let why = chain(&error);
            tracing::warn!(point = %id, reason = why, "a recovery point can't be deleted: it stays");
            ground.stays(id).await?;
            return Ok(Swept::Refused(why));
        }
        Err(error) => return Err(failed(error)),
    }
    let place = ground.repository.place();
    tracing::info!(point = %id, by = stone.by, place, "a recovery point is deleted");
    ground.unlist(id).await?;
    Ok(Swept::Gone)
}

/// Takes the mark of a point away that does not exist, and that was not being deleted.
async fn forget(ground: &Ground<'_>, stone: &PointTombstone) -> Result<(), Fault> {
    let id = &stone.point;
    ground.misses(id).await?;
    let forgotten = ground.repository.undelete_point(ground.epoch, id).await;
    forgotten.map(drop).map_err(|error| (ground.failed)(&error))
}

/// What becomes of every marked point, decided again. One whose deletion was left half way is no exception while its manifest
/// is there: what keeps it may have been said since, to a coordinator that did not know.
fn fates<'a>(
    ground: &Ground<'_>,
    facts: &Facts,
    marks: &'a Marks,
) -> Vec<(&'a PointTombstone, Fate)> {
    let settings = ground.settings;
    let known = marks.tombstones.values().filter_map(|stone| {
        let point = facts.find(&stone.point)?;
        let how = if stone.by == BY_POLICY {
            Deletion::ByPolicy
        } else if stone.despite_floor {
            Deletion::AskedDespiteFloor
        } else {
            Deletion::Asked
        };
        Some((point, how))
    });
    let known: Vec<_> = known.collect();
    let policy = policy_of(settings);
    let judged = judge_deletions(
        &known,
        &facts.live,
        &policy,
        &settings.time_zone,
        ground.now,
    );
    let kept: BTreeMap<&RecoveryPointId, Vec<Reason>> = known
        .iter()
        .zip(judged)
        .filter_map(|((point, _), judged)| Some((&point.id, judged.err()?)))
        .collect();
    let stones = marks.tombstones.values();
    stones
        .map(|stone| (stone, fate(ground, facts, kept.get(&stone.point), stone)))
        .collect()
}

/// What becomes of one marked point that these reasons keep, if any do.
fn fate(
    ground: &Ground<'_>,
    facts: &Facts,
    kept: Option<&Vec<Reason>>,
    stone: &PointTombstone,
) -> Fate {
    if let Some(reasons) = kept {
        // A restore or a lock ends by itself, and the wish to remove stands.
        let passing = |reason: &Reason| matches!(reason, Reason::InUse | Reason::Locked { .. });
        return if reasons.iter().all(passing) && !stone.swept {
            Fate::Wait
        } else {
            Fate::Spare
        };
    }
    if stone.swept {
        return Fate::Sweep;
    }
    // A point that can't be read may be needed for more than is known: only it itself can be given up.
    if !facts.unreadable.is_empty() && !facts.unreadable.contains(&stone.point) {
        return Fate::Wait;
    }
    // As if it were confirmed in this term, which it will be.
    match may_sweep(stone.tombstone, ground.now, ground.epoch, ground.epoch) {
        Ok(()) => Fate::Sweep,
        Err(
            NotYet::Grace { .. }
            | NotYet::Deposed { .. }
            | NotYet::Unconfirmed { .. }
            | NotYet::Live,
        ) => Fate::Wait,
    }
}

/// Verdicts that their checker has approved; none without rules.
fn judged(ground: &Ground<'_>, facts: &Facts) -> Result<Pruned, Fault> {
    let (settings, now) = (ground.settings, ground.now);
    let Some(policy) = &settings.policy else {
        return Ok(Pruned::default());
    };
    let verdicts = plan_retention(&facts.live, policy, &settings.time_zone, now);
    let wrong = check_retention(&verdicts, &facts.live, policy, &settings.time_zone, now);
    if !wrong.is_empty() {
        let texts: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        let texts = texts.join("; ");
        tracing::error!(
            violations = texts,
            "a retention plan was refused by its checker"
        );
        return Err(Fault::new(
            Code::Internal,
            format!(
                "the plan was refused by its checker ({texts}); nothing was removed: please report this"
            ),
        ));
    }
    Ok(Pruned {
        configured: true,
        verdicts,
        ..Pruned::default()
    })
}

/// The configured rules; without any, a policy that keeps whatever nobody names.
pub(super) fn policy_of(settings: &RetentionSection) -> RetentionPolicy {
    let configured = settings.policy.clone();
    configured.unwrap_or_else(RetentionPolicy::staging)
}

/// A mark as of now.
pub(super) fn tombstone(
    settings: &RetentionSection,
    id: &RecoveryPointId,
    reasons: Vec<String>,
    by: &str,
    now: Timestamp,
) -> PointTombstone {
    PointTombstone {
        point: id.clone(),
        tombstone: Tombstone {
            since: now,
            grace: settings.grace,
        },
        reasons,
        by: by.to_owned(),
        despite_floor: false,
        swept: false,
        marked: Epoch(0),
    }
}

fn options(ground: &Ground<'_>) -> GarbageOptions {
    GarbageOptions {
        now: ground.now,
        grace: ground.settings.garbage_grace,
        ..GarbageOptions::default()
    }
}

/// The request in words: a second operator has seen the same list.
fn what(verdicts: &[Verdict], logs: &[(LogRemoval, WalListing)]) -> String {
    let removed = verdicts.iter().filter(|v| v.decision == Decision::Remove);
    let ids = removed.map(|verdict| format!(" {}", verdict.id));
    // How many of its entries go changes from minute to minute.
    let logs = logs.iter().map(|(log, _)| format!(" log:{}", log.timeline));
    format!("prune{}", ids.chain(logs).collect::<String>())
}
