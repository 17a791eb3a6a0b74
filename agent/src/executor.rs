//! Runs journalled commands one after another, oldest first, and cleans up after each.
//!
//! One at a time on purpose: a node makes one snapshot at a time, and memory is bounded for one. What a
//! command of an earlier process left is simply the first thing found.

use crate::capture::{self, extra};
use crate::commands::{CommandTable, OpenCommand};
use crate::failure::{Failed, chain};
use crate::janitor;
use crate::job::{Job, Site};
use crate::order::Work;
use crate::outcome::Outcome;
use crate::pace::Pace;
use crate::progress::Meter;
use crate::restore;
use crate::running::{Current, Running};
use holdfast_service::failure::Code;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Leftovers on Qdrant are tried again this often.
const CLEAN_EVERY: Duration = Duration::from_secs(10);
/// The journal is tried again this often when the disk refuses.
const JOURNAL_RETRY: Duration = Duration::from_secs(2);

/// Runs commands until `stop` is cancelled. A capture that runs then is ended as interrupted, and what it
/// left is cleaned up, before this returns. A restore stays open, as after a crash, and goes on at the next
/// start: ending it would mean to delete what it has restored.
pub async fn run(site: Site, running: Running, stop: CancellationToken) {
    janitor::clean(&site).await;
    while !stop.is_cancelled() {
        let next = site.journal.read(|table| table.open().first().cloned());
        let Some(open) = next else {
            wait(&site, &running, &stop).await;
            continue;
        };
        let current = running.begin(&open.id, &stop);
        let span = command_span(&site, &open);
        let outcome = execute(&site, &open, &current, &stop)
            .instrument(span)
            .await;
        if let Some(outcome) = outcome {
            finish(&site, &open, outcome, &current.meter).await;
            janitor::clean_after_command(&site).await;
        }
        running.end(&open.id);
    }
}

async fn wait(site: &Site, running: &Running, stop: &CancellationToken) {
    let leftovers = site.journal.read(|table| !table.cleanups().is_empty());
    tokio::select! {
        () = running.woken() => {}
        () = stop.cancelled() => {}
        () = tokio::time::sleep(CLEAN_EVERY), if leftovers => janitor::clean(site).await,
    }
}

/// `None` if the command stays open.
async fn execute(
    site: &Site,
    open: &OpenCommand,
    current: &Current,
    stop: &CancellationToken,
) -> Option<Outcome> {
    let job = Job {
        site: site.clone(),
        id: open.id.clone(),
        meter: Arc::clone(&current.meter),
        pace: Arc::new(pace_of(&open.work, current)),
    };
    let work = async {
        match &open.work {
            Work::Capture(order) => {
                tracing::info!(collection = %order.collection, shard = %order.shard, "capturing");
                capture::run(&job, order).await.map(Outcome::Captured)
            }
            Work::Restore(order) => {
                tracing::info!(collection = %order.target, point = %order.recovery_point, "restoring");
                restore::run(&job, order).await.map(Outcome::Restored)
            }
            Work::RestorePart(order) => {
                tracing::info!(collection = %order.target, point = %order.recovery_point, part = ?order.part, "restoring a part");
                restore::part::run(&job, order).await.map(Outcome::Restored)
            }
            Work::Extra(order) => {
                tracing::info!(extra = %order.name, point = %order.point, "capturing an extra");
                extra::run(&job, order).await.map(Outcome::ExtraCaptured)
            }
        }
    };
    let result = tokio::select! {
        biased;
        () = current.stop.cancelled() => {
            if stop.is_cancelled() && matches!(open.work, Work::Restore(_) | Work::RestorePart(_)) {
                tracing::info!("the restore goes on at the next start");
                return None;
            }
            let failed = stopped(stop.is_cancelled());
            Err(match &open.work {
                Work::Capture(_) | Work::Extra(_) => failed,
                Work::Restore(order) | Work::RestorePart(order) => {
                    restore::explained(&job, order, failed)
                }
            })
        }
        result = Box::pin(work) => result,
    };
    let result = match &open.work {
        Work::Extra(order) => Box::pin(extra::conclude(&job, order, result)).await,
        Work::Capture(_) | Work::Restore(_) | Work::RestorePart(_) => result,
    };
    Some(match result {
        Ok(outcome) => {
            tracing::info!("done");
            outcome
        }
        Err(failed) => {
            tracing::warn!(code = %failed.code, reason = %failed.message, "failed");
            Outcome::Failed(failed)
        }
    })
}

/// Captures of shards may be bounded; extras and restores are as quick as they can be.
fn pace_of(work: &Work, current: &Current) -> Pace {
    let rate = match work {
        Work::Capture(order) => order.bytes_per_second,
        Work::Extra(_) | Work::Restore(_) | Work::RestorePart(_) => None,
    };
    Pace::new(rate.map(NonZeroU64::get), current.stop.clone())
}

/// What every event of a command carries. Its epoch is that of the newest leadership: an older one gives no
/// orders any more, and what an older one ordered goes on under the newest.
fn command_span(site: &Site, open: &OpenCommand) -> tracing::Span {
    let epoch = site.journal.read(CommandTable::highest_epoch).0;
    let (collection, shard) = match &open.work {
        Work::Capture(order) => (&order.collection, Some(order.shard.0)),
        Work::Restore(order) | Work::RestorePart(order) => (&order.target, None),
        Work::Extra(order) => {
            let extra = &order.name;
            return tracing::info_span!("command", id = %open.id, node = %site.config.node, %extra, epoch);
        }
    };
    tracing::info_span!("command", id = %open.id, node = %site.config.node, %collection, shard, epoch)
}

fn stopped(by_signal: bool) -> Failed {
    if by_signal {
        Failed::new(
            Code::Interrupted,
            "the agent was stopped; start it and try again",
        )
    } else {
        Failed::new(Code::Cancelled, "cancelled")
    }
}

/// Writes the outcome. A disk that refuses is waited for: going on without would run the command twice. What
/// is waited for shows as the command's stage, so that whoever watches the job learns of it.
async fn finish(site: &Site, open: &OpenCommand, outcome: Outcome, meter: &Meter) {
    let mut told = String::new();
    loop {
        let (id, outcome) = (open.id.clone(), outcome.clone());
        let now = site.clock.now();
        let written = site
            .journal
            .update(move |table| table.finish(&id, outcome, now))
            .await;
        let Err(error) = written else { return };
        let reason = chain(&error);
        if reason != told {
            tracing::error!(%reason, "the outcome can't be written; trying again until it can");
            meter.stage(format!("waiting to write the outcome: {reason}"));
            told = reason;
        }
        tokio::time::sleep(JOURNAL_RETRY).await;
    }
}

#[cfg(test)]
mod tests;
