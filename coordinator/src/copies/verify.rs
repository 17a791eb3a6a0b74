//! Checks of a copy, on its own: what they find damaged is brought back from the primary, as far as that is sound.

use super::{Handle, TICK};
use crate::core::Core;
use crate::fault::{Fault, chain};
use crate::verify::VerifyMemory;
use holdfast_repository::{
    Repository, RepositoryError, VerifyCheckpoint, VerifyLevel, VerifyObserver, VerifyOptions,
    VerifyProgress, VerifyReport,
};
use holdfast_store::StoreLimits;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps how far a check is.
#[derive(Default)]
struct Latest(Mutex<Option<VerifyCheckpoint>>);

impl VerifyObserver for Latest {
    fn progressed(&self, _: VerifyProgress, checkpoint: &VerifyCheckpoint) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = Some(checkpoint.clone());
    }
}

/// Checks the copy, and remembers what was found.
pub(super) async fn run(core: &Arc<Core>, handle: &Arc<Handle>, level: VerifyLevel) {
    let _alone = handle.working.lock().await;
    if !super::give_way(core, handle).await {
        return;
    }
    let checked = Box::pin(check(core, handle, level)).await;
    let now = core.clock.now();
    let outcome = match checked {
        Ok(Some(report)) => Ok(report),
        Ok(None) => return,
        Err(fault) => Err(fault),
    };
    if let Err(fault) = &outcome {
        tracing::warn!(copy = %handle.name(), reason = %fault, "a copy could not be checked");
    }
    let change = |memory: &mut super::CopyMemory| {
        memory.check_asked = None;
        let checks = memory
            .verify
            .get_or_insert_with(|| VerifyMemory::new(0, now));
        match &outcome {
            Ok(report) => checks.ended(now, report),
            Err(fault) => checks.failed(now, level, fault.message.clone()),
        }
    };
    handle.note(&core.catalog, change).await;
}

/// `None` if it gave way, or the process ends: it goes on later.
async fn check(
    core: &Core,
    handle: &Handle,
    level: VerifyLevel,
) -> Result<Option<VerifyReport>, Fault> {
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
    let Some(report) = watch(core, handle, &copy, &options).await? else {
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
    let healed = heal(core, handle, &copy, &report).await?;
    if healed == 0 {
        return Ok(Some(report));
    }
    tracing::info!(copy = %handle.name(), objects = healed, "damage in a copy was healed from the repository");
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
) -> Result<Option<VerifyReport>, Fault> {
    let (latest, stop) = (Latest::default(), core.shutdown.token());
    let mut checking = std::pin::pin!(copy.verify_with(options, &latest));
    loop {
        tokio::select! {
            checked = &mut checking => {
                return checked.map(Some).map_err(|error: RepositoryError| handle.failed(&error));
            }
            () = stop.cancelled() => break,
            () = tokio::time::sleep(TICK) => {}
        }
        if handle.is_asked_for() || handle.must_wait(core).await {
            break;
        }
    }
    let latest = latest
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if let Some(checkpoint) = latest {
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
    let plan = copy.plan_heal(&core.repository, report, false).await;
    let plan = plan.map_err(failed)?;
    if plan.objects.is_empty() && plan.settled.is_empty() {
        return Ok(0);
    }
    let healed = copy.heal(&core.repository, core.epoch, &plan).await;
    Ok(healed.map_err(failed)?.objects.len())
}
