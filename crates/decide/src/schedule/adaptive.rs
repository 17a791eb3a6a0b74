//! Runs that nothing needs, and runs that can't wait: by how much has been written since the newest captures.

use super::definition::Schedule;
use super::judge::{View, handled};
use super::memory::ScheduleMemory;
use holdfast_types::Timestamp;
use std::num::NonZeroU64;
use std::time::Duration;

/// What is known to be seen of writes is some seconds old: a run that is due waits so long to learn that nothing needs it.
pub(super) const LOGS_WITHIN: Duration = Duration::from_secs(30);

/// What about a run of which it is certain that nothing has changed since the newest captures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unchanged {
    /// It captures all the same.
    #[default]
    Capture,
    /// The captures that are there answer it.
    Skip,
}

/// When a run begins before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Early {
    /// When so many operations were written since the newest captures.
    pub operations: NonZeroU64,
    /// But runs begin no closer together than this.
    pub apart: Duration,
}

/// How much has been written to what a schedule covers since the newest captures of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Operations, as far as they are known: those of collections whose logs are archived without a gap.
    pub operations: u64,
    /// Certain is: all that it covers is captured, has the captured settings, and nothing was written to it until this instant.
    pub unchanged_until: Option<Timestamp>,
}

/// What is known of a run that is due.
pub(super) enum Needed {
    /// It must capture.
    Yes,
    /// The captures that are there answer it.
    No,
    /// That will be known by then.
    KnownBy(Timestamp),
}

/// Whether what is due since `start` for `planned` needs a capture.
pub(super) fn is_needed(
    schedule: &Schedule,
    memory: &ScheduleMemory,
    view: &View,
    planned: Timestamp,
    start: Timestamp,
) -> Needed {
    let full = memory.full_is_due(schedule.kind);
    if schedule.unchanged == Unchanged::Capture || full || view.unsettled.is_some() {
        return Needed::Yes;
    }
    let known_by = start.after(LOGS_WITHIN);
    match view.changes.unchanged_until {
        Some(until) if until >= planned => Needed::No,
        Some(_) if view.now < known_by => Needed::KnownBy(known_by),
        Some(_) | None => Needed::Yes,
    }
}

/// Whether a run begins before its time, and may begin now.
pub(super) fn is_early(schedule: &Schedule, memory: &ScheduleMemory, view: &View) -> bool {
    let Some(early) = schedule.early else {
        return false;
    };
    // One that was answered by what is there has taken nothing.
    let last = memory.last_run.as_ref().filter(|run| run.job.is_some());
    let apart = last.is_none_or(|run| view.now.since(run.begun) >= early.apart);
    // What its jitter lets wait comes by itself.
    let next = schedule.next_after(handled(memory, view.now));
    let waits = next.is_some_and(|next| next <= view.now);
    let free = view.unsettled.is_none() && view.busy.is_none() && view.slow.is_none();
    let open = schedule.windows.allow(view.now, &schedule.zone);
    let much = view.changes.operations >= early.operations.get();
    apart && !waits && free && open && much
}
