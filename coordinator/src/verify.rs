//! Checks of the repository in the background: when the next is due, carrying it out, and remembering what it
//! found. Each is a job ([`crate::upkeep`]).
//!
//! A check gives way to jobs that capture and restore: while one runs, the check is dropped and goes on from its last checkpoint
//! afterwards, as it does after a restart and after it was cancelled. What to do about damage is not decided here: findings
//! become warnings.
//!
//! | while … | a job begins | somebody cancels | the process ends | garbage is collected |
//! |---|---|---|---|---|
//! | a check reads packs | stops within a second, goes on later | stops within a second; the next goes on | goes on after the start, as another job | goes on; swept packs are no damage |

mod affected;
mod asked;
mod memory;
mod schedule;
mod watch;

pub use affected::Affected;
pub(crate) use asked::{Asked, ask};
pub use memory::{Ended, Trouble, VerifyBook, VerifyMemory};
pub(crate) use watch::{Latest, conclusion};

use crate::config::VerifySection;
use crate::core::Core;
use crate::fault::{Fault, chain};
use crate::job::upkeep::Task;
use crate::missed;
use crate::upkeep::{Run, cancelled};
use holdfast_repository::{RepositoryError, VerifyLevel, VerifyOptions, VerifyReport};
use holdfast_service::failure::Code;
use holdfast_store::StoreLimits;
use holdfast_types::Timestamp;
use schedule::Next;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether a job runs or a check is due.
const TICK: Duration = Duration::from_secs(1);
/// Ticks after which it is recorded how far a check is: a minute.
const TICKS_BETWEEN_RECORDS: u32 = 60;

/// The check that is due now, if one is.
pub(crate) fn next_check(
    section: &VerifySection,
    memory: &VerifyMemory,
    started: Timestamp,
    now: Timestamp,
) -> Option<VerifyLevel> {
    match schedule::next(section, memory, started, now) {
        Next::Check(level) => Some(level),
        Next::Wait | Next::Never => None,
    }
}

/// How a check ended.
enum Outcome {
    Done(Box<Result<VerifyReport, RepositoryError>>),
    /// A job runs.
    GaveWay,
    /// Somebody asked to stop it.
    Cancelled,
    /// The process ends.
    Stopped,
}

/// Checks whenever one is due or asked for, until the process ends.
pub async fn run(core: Arc<Core>, section: VerifySection) {
    let stop = core.shutdown.token();
    look_after(&core, &section, &stop).await;
    // One that was asked for and not begun.
    let left = core.verified.next.lock().await.take();
    if let Some(Asked { run, .. }) = left {
        run.interrupted().await;
    }
}

async fn look_after(core: &Arc<Core>, section: &VerifySection, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        if let Some(asked) = next(core, section).await {
            Box::pin(carry_out(core, section, asked)).await;
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = core.verified.wake.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// The check that somebody asked for, or that is due while no job runs.
async fn next(core: &Arc<Core>, section: &VerifySection) -> Option<Asked> {
    let mut next = core.verified.next.lock().await;
    if let Some(asked) = next.take() {
        return Some(asked);
    }
    let memory = core.verified.get();
    let level = next_check(section, &memory, core.started, core.clock.now())?;
    if core.book.running().await.is_some() {
        return None;
    }
    let run = Run::begin(core, Task::Verify { level }, None).await;
    Some(Asked { level, run })
}

/// From its beginning to its end, however often it gives way.
async fn carry_out(core: &Arc<Core>, section: &VerifySection, asked: Asked) {
    let Asked { level, run } = asked;
    let outcome = loop {
        if let Some(outcome) = wait_for_jobs(core, &run).await {
            break outcome;
        }
        match check(core, section, level, &run).await {
            Outcome::GaveWay => {}
            outcome @ (Outcome::Done(_) | Outcome::Cancelled | Outcome::Stopped) => break outcome,
        }
    };
    match outcome {
        Outcome::Done(result) => conclude(core, level, *result, run).await,
        Outcome::Cancelled => {
            let now = core.clock.now();
            let change = |memory: &mut VerifyMemory| memory.cancelled = Some(now);
            core.verified.change(&core.catalog, change).await;
            let failure = cancelled("the next check goes on where this one stopped");
            let ended = crate::upkeep::Ended {
                failure: Some(failure),
                ..crate::upkeep::Ended::default()
            };
            run.end(ended).await;
        }
        Outcome::Stopped | Outcome::GaveWay => run.interrupted().await,
    }
}

/// Waits while a job runs. Returns what ends the check meanwhile.
async fn wait_for_jobs(core: &Core, run: &Run) -> Option<Outcome> {
    let stop = core.shutdown.token();
    let mut told = false;
    while let Some(job) = core.book.running().await {
        if !told {
            run.note(format!("gives way to {}", job.id));
            run.stage("waits for a job to end");
            told = true;
        }
        tokio::select! {
            () = stop.cancelled() => return Some(Outcome::Stopped),
            () = run.cancelled() => return Some(Outcome::Cancelled),
            () = tokio::time::sleep(TICK) => {}
        }
    }
    None
}

async fn check(core: &Core, section: &VerifySection, level: VerifyLevel, run: &Run) -> Outcome {
    let interrupted = core.verified.get().interrupted;
    let resume = interrupted.filter(|open| open.level == level);
    if let Some(open) = &resume {
        let read = open.packs_read;
        run.note(format!("goes on after {read} packs that were read before"));
    }
    tracing::info!(?level, job = %run.id(), resumed = resume.is_some(), "checking the repository");
    let options = VerifyOptions {
        level,
        now: core.clock.now(),
        namespaces: vec![core.namespace.clone()],
        record: true,
        resume,
        limits: StoreLimits {
            bytes_per_second: NonZeroU64::new(u64::from(section.max_mib_per_sec) << 20),
            ..StoreLimits::default()
        },
    };
    run.stage("reading");
    let latest = Latest::default();
    let stop = core.shutdown.token();
    let outcome = {
        let mut checking = std::pin::pin!(core.repository.verify_with(&options, &latest));
        let mut ticks = 0;
        loop {
            tokio::select! {
                result = &mut checking => break Outcome::Done(Box::new(result)),
                () = stop.cancelled() => break Outcome::Stopped,
                () = run.cancelled() => break Outcome::Cancelled,
                () = tokio::time::sleep(TICK) => {}
            }
            latest.tell(run);
            if core.book.running().await.is_some() {
                break Outcome::GaveWay;
            }
            ticks += 1;
            if ticks % TICKS_BETWEEN_RECORDS == 0 {
                remember_progress(core, &latest).await;
            }
        }
    };
    latest.tell(run);
    match outcome {
        Outcome::Done(_) => {}
        Outcome::GaveWay | Outcome::Cancelled | Outcome::Stopped => {
            remember_progress(core, &latest).await;
        }
    }
    outcome
}

async fn remember_progress(core: &Core, latest: &Latest) {
    if let Some(checkpoint) = latest.checkpoint() {
        let change = |memory: &mut VerifyMemory| memory.interrupted = Some(checkpoint);
        core.verified.change(&core.catalog, change).await;
    }
}

/// Adds the recovery points that went missing since the last look. They are damage that no check of what is there can find.
async fn add_missed(core: &Core, ended: &mut crate::upkeep::Ended) {
    match missed::look(core).await {
        Ok(missed) => {
            if let (Some(first), None) = (missed.first(), &ended.failure) {
                ended.failure = Some(Fault::new(Code::RepositoryDamaged, first.clone()));
            }
            ended.found.extend(missed);
        }
        Err(fault) => {
            tracing::warn!(reason = %fault, "what is listed could not be compared with what is there");
        }
    }
}

/// Remembers what a check found, and tells of damage once in the log.
async fn conclude(
    core: &Core,
    level: VerifyLevel,
    result: Result<VerifyReport, RepositoryError>,
    run: Run,
) {
    let now = core.clock.now();
    match result {
        Ok(report) => {
            for found in report.open() {
                tracing::error!(
                    object = found.object,
                    reason = chain(&found.damage),
                    "damage in the repository"
                );
            }
            tracing::info!(
                points = report.points,
                packs_read = report.packs_read,
                affected = report.affected.len(),
                "the repository was checked"
            );
            let change = |memory: &mut VerifyMemory| memory.ended(now, &report);
            core.verified.change(&core.catalog, change).await;
            let mut ended = conclusion(&run, &report, core.verified.get().last);
            add_missed(core, &mut ended).await;
            run.end(ended).await;
        }
        Err(error) => {
            let fault = core.repository_failed(&error);
            tracing::warn!(reason = %fault, "the repository could not be checked");
            let message = fault.message.clone();
            let change = |memory: &mut VerifyMemory| memory.failed(now, level, message);
            core.verified.change(&core.catalog, change).await;
            let ended = crate::upkeep::Ended {
                failure: Some(fault),
                ..crate::upkeep::Ended::default()
            };
            run.end(ended).await;
        }
    }
}
