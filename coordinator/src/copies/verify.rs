//! Checks of a copy, on its own: what they find damaged is brought back from the primary, as far as that is sound.

use super::{Handle, TICK, runs};
use crate::core::Core;
use crate::fault::{Fault, chain};
use crate::upkeep::{Ended, Run, cancelled};
use crate::verify::{Latest, VerifyMemory, conclusion};
use holdfast_repository::{
    LostPoints, Repository, RepositoryError, VerifyLevel, VerifyOptions, VerifyReport,
};
use holdfast_store::StoreLimits;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Checks the copy, and remembers what was found.
pub(super) async fn run(core: &Arc<Core>, handle: &Arc<Handle>, level: VerifyLevel) {
    let _alone = handle.working.lock().await;
    let run = runs::check(core, handle, level).await;
    if !super::give_way(core, handle, Some(&run)).await {
        return runs::put_check_by(core, handle, run).await;
    }
    let checked = Box::pin(check(core, handle, level, &run)).await;
    let now = core.clock.now();
    let outcome = match checked {
        Ok(Some(report)) => Ok(report),
        Ok(None) if run.is_cancelled() => return stop(core, handle, run).await,
        Ok(None) => return runs::put_check_by(core, handle, run).await,
        Err(fault) => Err(fault),
    };
    if let Err(fault) = &outcome {
        tracing::warn!(copy = %handle.name(), reason = %fault, "a copy could not be checked");
    }
    let runs = handle.runs.lock().await;
    let another = runs.verify.is_some();
    let change = |memory: &mut super::CopyMemory| {
        if !another {
            memory.check_asked = None;
        }
        let checks = memory
            .verify
            .get_or_insert_with(|| VerifyMemory::new(0, now));
        match &outcome {
            Ok(report) => checks.ended(now, report),
            Err(fault) => checks.failed(now, level, fault.message.clone()),
        }
    };
    handle.note(&core.catalog, change).await;
    drop(runs);
    let last = handle.memory().verify.and_then(|checks| checks.last);
    let ended = match outcome {
        Ok(report) => conclusion(&run, &report, last),
        Err(fault) => Ended {
            failure: Some(fault),
            ..Ended::default()
        },
    };
    run.end(ended).await;
}

/// Somebody asked to stop it.
async fn stop(core: &Core, handle: &Handle, run: Run) {
    let now = core.clock.now();
    let runs = handle.runs.lock().await;
    let another = runs.verify.is_some();
    let change = |memory: &mut super::CopyMemory| {
        if !another {
            memory.check_asked = None;
        }
        if let Some(checks) = &mut memory.verify {
            checks.cancelled = Some(now);
        }
    };
    handle.note(&core.catalog, change).await;
    drop(runs);
    let ended = Ended {
        failure: Some(cancelled("the next check goes on where this one stopped")),
        ..Ended::default()
    };
    run.end(ended).await;
}

/// `None` if it gave way, or the process ends: it goes on later.
async fn check(
    core: &Core,
    handle: &Handle,
    level: VerifyLevel,
    run: &Run,
) -> Result<Option<VerifyReport>, Fault> {
    run.stage("reading");
    let copy = handle.writer(core).await?;
    let interrupted = handle.memory().verify.and_then(|checks| checks.interrupted);
    let resume = interrupted.filter(|found| found.level == level);
    let limits = StoreLimits {
        bytes_per_second: NonZeroU64::new(u64::from(handle.section.verify.max_mib_per_sec) << 20),
        ..StoreLimits::default()
    };
    let options = VerifyOptions {
        level,
        now: core.clock.now(),
        namespaces: vec![core.namespace.clone()],
        record: true,
        resume,
        limits,
    };
    let Some(report) = watch(core, handle, &copy, &options, run).await? else {
        return Ok(None);
    };
    if !report.needs_attention() {
        return Ok(Some(report));
    }
    for found in report.open() {
        tracing::error!(
            copy = %handle.name(),
            object = found.object,
            reason = chain(&found.damage),
            "damage in a copy"
        );
    }
    run.stage("healing from the repository");
    let healed = heal(core, handle, &copy, &report).await?;
    if healed == 0 {
        return Ok(Some(report));
    }
    tracing::info!(copy = %handle.name(), objects = healed, "damage in a copy was healed from the repository");
    run.warn(format!(
        "{healed} damaged objects were healed from the repository"
    ));
    let again = VerifyOptions {
        level: VerifyLevel::Quick,
        resume: None,
        ..options
    };
    let again = copy.verify_with(&again, &()).await;
    let again = again.map_err(|error| handle.failed(&error))?;
    // What was looked at is what the first look covered.
    Ok(Some(VerifyReport {
        level: report.level,
        packs_read: report.packs_read,
        chunks: report.chunks,
        bytes_read: report.bytes_read,
        ..again
    }))
}

async fn watch(
    core: &Core,
    handle: &Handle,
    copy: &Repository,
    options: &VerifyOptions,
    run: &Run,
) -> Result<Option<VerifyReport>, Fault> {
    let (latest, stop) = (Latest::default(), core.shutdown.token());
    let mut checking = std::pin::pin!(copy.verify_with(options, &latest));
    loop {
        tokio::select! {
            checked = &mut checking => {
                latest.tell(run);
                return checked.map(Some).map_err(|error: RepositoryError| handle.failed(&error));
            }
            () = stop.cancelled() => break,
            () = run.cancelled() => break,
            () = tokio::time::sleep(TICK) => {}
        }
        latest.tell(run);
        if handle.is_asked_for() || handle.must_wait(core).await {
            break;
        }
    }
    if let Some(checkpoint) = latest.checkpoint() {
        let keep = |memory: &mut super::CopyMemory| {
            if let Some(checks) = &mut memory.verify {
                checks.interrupted = Some(checkpoint);
            }
        };
        handle.note(&core.catalog, keep).await;
    }
    Ok(None)
}

/// Brings damaged objects back from the primary. Returns how many.
async fn heal(
    core: &Core,
    handle: &Handle,
    copy: &Repository,
    report: &VerifyReport,
) -> Result<usize, Fault> {
    let failed = |error: RepositoryError| handle.failed(&error);
    let plan = copy
        .plan_heal(&core.repository, report, &LostPoints::None)
        .await;
    let plan = plan.map_err(failed)?;
    if plan.objects.is_empty() && plan.settled.is_empty() {
        return Ok(0);
    }
    let healed = copy.heal(&core.repository, core.epoch, &plan).await;
    let objects = healed.map_err(failed)?.objects.len();
    if objects > 0 {
        // What was written anew has no lock.
        handle.keeping.rewritten();
    }
    Ok(objects)
}
