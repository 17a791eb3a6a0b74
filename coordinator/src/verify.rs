//! Checks of the repository in the background: when the next is due, carrying it out, and remembering what it
//! found.
//!
//! A check gives way to jobs: while one runs, the check is dropped and goes on from its last checkpoint
//! afterwards, as it does after a restart. What to do about damage is not decided here: findings become warnings.
//!
//! | while … | a job begins | the process ends | garbage is collected |
//! |---|---|---|---|
//! | a check reads packs | stops within a second, goes on later | goes on after the start | goes on; swept packs are no damage |

mod memory;
mod schedule;

pub use memory::{Ended, Trouble, VerifyBook, VerifyMemory};

use crate::config::VerifySection;
use crate::core::Core;
use crate::fault::chain;
use holdfast_repository::{
    RepositoryError, VerifyCheckpoint, VerifyLevel, VerifyObserver, VerifyOptions, VerifyProgress,
    VerifyReport,
};
use holdfast_store::StoreLimits;
use holdfast_types::Timestamp;
use schedule::Next;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    /// The process ends.
    Stopped,
}

/// Checks whenever one is due, until the process ends.
pub async fn run(core: Arc<Core>, section: VerifySection) {
    let stop = core.shutdown.token();
    loop {
        let next = schedule::next(
            &section,
            &core.verified.get(),
            core.started,
            core.clock.now(),
        );
        let level = match next {
            Next::Check(level) if core.book.running().await.is_none() => level,
            Next::Check(_) | Next::Wait => {
                let ended = tokio::time::timeout(TICK, stop.cancelled());
                if ended.await.is_ok() {
                    return;
                }
                continue;
            }
            Next::Never => return,
        };
        match Box::pin(check(&core, &section, level)).await {
            Outcome::Done(result) => conclude(&core, level, *result).await,
            Outcome::GaveWay => tracing::debug!("the check of the repository gives way to a job"),
            Outcome::Stopped => return,
        }
    }
}

/// Keeps how far a check is.
#[derive(Default)]
struct Latest(Mutex<Option<VerifyCheckpoint>>);

impl VerifyObserver for Latest {
    fn progressed(&self, _: VerifyProgress, checkpoint: &VerifyCheckpoint) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = Some(checkpoint.clone());
    }
}

async fn check(core: &Core, section: &VerifySection, level: VerifyLevel) -> Outcome {
    let resume = core.verified.get().interrupted;
    tracing::info!(
        ?level,
        resumed = resume.is_some(),
        "checking the repository"
    );
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
    let latest = Latest::default();
    let stop = core.shutdown.token();
    let outcome = {
        let mut checking = std::pin::pin!(core.repository.verify_with(&options, &latest));
        let mut ticks = 0;
        loop {
            tokio::select! {
                result = &mut checking => break Outcome::Done(Box::new(result)),
                () = stop.cancelled() => break Outcome::Stopped,
                () = tokio::time::sleep(TICK) => {}
            }
            if core.book.running().await.is_some() {
                break Outcome::GaveWay;
            }
            ticks += 1;
            if ticks % TICKS_BETWEEN_RECORDS == 0 {
                remember_progress(core, &latest).await;
            }
        }
    };
    match outcome {
        Outcome::Done(_) => {}
        Outcome::GaveWay | Outcome::Stopped => remember_progress(core, &latest).await,
    }
    outcome
}

async fn remember_progress(core: &Core, latest: &Latest) {
    let checkpoint = latest
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if let Some(checkpoint) = checkpoint {
        let change = |memory: &mut VerifyMemory| memory.interrupted = Some(checkpoint);
        core.verified.change(&core.catalog, change).await;
    }
}

/// Remembers what a check found, and tells of damage once in the log.
async fn conclude(core: &Core, level: VerifyLevel, result: Result<VerifyReport, RepositoryError>) {
    let now = core.clock.now();
    let change: Box<dyn FnOnce(&mut VerifyMemory) + Send> = match result {
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
            Box::new(move |memory| memory.ended(now, &report))
        }
        Err(error) => {
            let reason = core.repository_failed(&error).message;
            tracing::warn!(reason, "the repository could not be checked");
            Box::new(move |memory| memory.failed(now, level, reason))
        }
    };
    core.verified.change(&core.catalog, change).await;
}
