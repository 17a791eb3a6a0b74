//! Reads verdicts again before anything is recorded.
//!
//! Deliberately shares no code with the planner, so that one mistake is not made twice: it reads the texts of
//! expressions and windows anew, and looks at single instants where the planner searches.

mod instant;

use super::adaptive::Unchanged;
use super::definition::{CatchUp, Kind, Schedule};
use super::judge::{SKIP_AFTER, Start, Verdict, View, WaitReason};
use super::memory::{OpenState, ScheduleMemory};
use super::timing::Timing;
use holdfast_types::Timestamp;
use instant::{in_window, is_planned};
use std::fmt;
use std::time::Duration;

/// What is wrong with a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleViolation {
    /// It runs for an instant that its timing does not have.
    NotPlanned(Timestamp),
    /// It runs, or passes over, before its instant has come.
    TooEarly(Timestamp),
    /// That instant has been answered.
    Twice(Timestamp),
    /// Its own run, or another job, is under way.
    Busy,
    /// It runs, and it is not known yet what there is.
    Unsettled,
    /// It runs outside its windows.
    OutsideWindow,
    /// It is no repetition of the attempt that failed, or comes too soon.
    NoRetry,
    /// It did not give way to a busy database.
    Pushed,
    /// It passes over what its rule for downtime does not let it pass over.
    SkippedWithoutLeave(Timestamp),
    /// Full and incremental are confused.
    WrongKind,
    /// It begins before its time although that is not asked for, or not enough was written, or one began just before.
    NotEarly(Timestamp),
    /// It takes this instant as answered although something may have changed, or a capture is asked for.
    NotUnchanged(Timestamp),
    /// It waits although this instant is due.
    Forgotten(Timestamp),
}

/// Everything wrong with the verdict; empty if it may be carried out.
#[must_use]
pub fn check_verdict(
    verdict: &Verdict,
    schedule: &Schedule,
    memory: &ScheduleMemory,
    view: &View,
) -> Vec<ScheduleViolation> {
    match verdict {
        Verdict::Start(start) => check_start(start, schedule, memory, view),
        Verdict::Skip { planned, .. } => check_skip(*planned, schedule, memory, view),
        Verdict::Unchanged { planned, .. } => check_unchanged(*planned, schedule, memory, view),
        Verdict::Wait { why, .. } => match why {
            WaitReason::NotDue => forgotten(schedule, memory, view),
            WaitReason::Never
            | WaitReason::Running
            | WaitReason::Backoff { .. }
            | WaitReason::OutsideWindow
            | WaitReason::LogsBehind
            | WaitReason::Unsettled(_)
            | WaitReason::Busy(_)
            | WaitReason::Slow(_) => Vec::new(),
        },
    }
}

fn check_start(
    start: &Start,
    schedule: &Schedule,
    memory: &ScheduleMemory,
    view: &View,
) -> Vec<ScheduleViolation> {
    use ScheduleViolation as V;
    let mut wrong = Vec::new();
    let open = memory.open.as_ref();
    // What failed had come, and may have been early; since then the clock may have gone back.
    let repeats = open.is_some_and(|open| open.planned == start.planned);
    if start.early {
        if start.planned != view.now || !may_be_early(schedule, memory, view) {
            wrong.push(V::NotEarly(start.planned));
        }
    } else if !repeats && !is_planned(&schedule.timing, &schedule.zone, start.planned) {
        wrong.push(V::NotPlanned(start.planned));
    }
    if start.planned > view.now && !repeats {
        wrong.push(V::TooEarly(start.planned));
    }
    let runs = open.is_some_and(|open| matches!(open.state, OpenState::Running { .. }));
    if runs || view.busy.is_some() {
        wrong.push(V::Busy);
    }
    if view.unsettled.is_some() {
        wrong.push(V::Unsettled);
    }
    if !in_window(&schedule.windows, &schedule.zone, view.now) {
        wrong.push(V::OutsideWindow);
    }
    let answered = start.planned <= memory.handled && memory.handled <= view.now;
    match open {
        Some(open) if open.planned == start.planned => {
            let next = start.attempt == open.attempt + 1;
            let paused = match &open.state {
                OpenState::Failed { at, .. } => {
                    // Doubling from a minute, but never more than half an hour.
                    let minutes = (0..open.attempt).fold(0_u64, |m, _| (m * 2).max(1)).min(30);
                    open.attempt == 0
                        || view.now >= at.after(Duration::from_secs(minutes * 60))
                        || *at > view.now
                }
                OpenState::Running { .. } => false,
            };
            if !next || !paused {
                wrong.push(V::NoRetry);
            }
        }
        Some(_) | None if answered => wrong.push(V::Twice(start.planned)),
        Some(_) | None if start.attempt != 1 => wrong.push(V::NoRetry),
        Some(_) | None => {}
    }
    if is_full(schedule, memory) != start.full {
        wrong.push(V::WrongKind);
    }
    let waited = view.now.since(start.planned);
    let hurried = schedule.windows.0.is_empty() && waited < schedule.limits.max_delay;
    if view.slow.is_some() && (start.despite.is_none() || hurried) {
        wrong.push(V::Pushed);
    }
    wrong
}

/// Whether the next run has to be a full one.
fn is_full(schedule: &Schedule, memory: &ScheduleMemory) -> bool {
    match schedule.kind {
        Kind::Incremental => false,
        Kind::Full => true,
        Kind::FullEvery(every) => match memory.since_full {
            None => true,
            Some(runs) => u64::from(runs) + 1 >= u64::from(every.get()),
        },
    }
}

/// What is wrong with an instant that is taken as done without a run: it must be planned, have come, and be open.
fn check_done(
    planned: Timestamp,
    schedule: &Schedule,
    memory: &ScheduleMemory,
    view: &View,
) -> Vec<ScheduleViolation> {
    use ScheduleViolation as V;
    let mut wrong = Vec::new();
    if !is_planned(&schedule.timing, &schedule.zone, planned) {
        wrong.push(V::NotPlanned(planned));
    }
    if planned > view.now {
        wrong.push(V::TooEarly(planned));
    }
    if planned <= memory.handled && memory.handled <= view.now {
        wrong.push(V::Twice(planned));
    }
    wrong
}

fn check_skip(
    planned: Timestamp,
    schedule: &Schedule,
    memory: &ScheduleMemory,
    view: &View,
) -> Vec<ScheduleViolation> {
    use ScheduleViolation as V;
    let mut wrong = check_done(planned, schedule, memory, view);
    let young = view.now.since(planned) <= SKIP_AFTER;
    let watched = planned >= view.watching_since;
    if schedule.catch_up != CatchUp::Skip || young || watched {
        wrong.push(V::SkippedWithoutLeave(planned));
    }
    wrong
}

fn may_be_early(schedule: &Schedule, memory: &ScheduleMemory, view: &View) -> bool {
    let Some(early) = &schedule.early else {
        return false;
    };
    let too_soon = match &memory.last_run {
        Some(run) => run.job.is_some() && view.now < run.begun.after(early.apart),
        None => false,
    };
    !too_soon && memory.open.is_none() && view.changes.operations >= early.operations.get()
}

fn check_unchanged(
    planned: Timestamp,
    schedule: &Schedule,
    memory: &ScheduleMemory,
    view: &View,
) -> Vec<ScheduleViolation> {
    use ScheduleViolation as V;
    let mut wrong = check_done(planned, schedule, memory, view);
    if view.unsettled.is_some() {
        wrong.push(V::Unsettled);
    }
    let certain = match view.changes.unchanged_until {
        Some(until) => planned <= until,
        None => false,
    };
    let wanted = schedule.unchanged == Unchanged::Capture || memory.open.is_some();
    let wanted = wanted || is_full(schedule, memory);
    if wanted || !certain {
        wrong.push(V::NotUnchanged(planned));
    }
    wrong
}

/// Without windows, whatever is older than the longest jitter is due.
fn forgotten(schedule: &Schedule, memory: &ScheduleMemory, view: &View) -> Vec<ScheduleViolation> {
    /// How far back single minutes are looked at.
    const LOOK_BACK_MINUTES: i64 = 26 * 60;
    const MINUTE: i64 = 60_000_000;
    if !schedule.windows.0.is_empty() {
        return Vec::new();
    }
    let jitter = i64::try_from(schedule.jitter.as_micros()).unwrap_or(i64::MAX);
    let until = view.now.as_micros().saturating_sub(jitter);
    let from = memory.handled.as_micros();
    let found = match &schedule.timing {
        Timing::Every(every) => {
            let step = i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(1);
            let last = until - until.rem_euclid(step);
            (last > from).then_some(last)
        }
        Timing::Cron(_) => {
            let last = until - until.rem_euclid(MINUTE);
            let minutes = (0..LOOK_BACK_MINUTES).map(|back| last - back * MINUTE);
            let mut open = minutes.take_while(|at| *at > from);
            open.find(|at| {
                is_planned(
                    &schedule.timing,
                    &schedule.zone,
                    Timestamp::from_micros(*at),
                )
            })
        }
    };
    let found = found.map(Timestamp::from_micros);
    found
        .map(ScheduleViolation::Forgotten)
        .into_iter()
        .collect()
}

impl fmt::Display for ScheduleViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPlanned(at) => write!(f, "{at} is no planned instant"),
            Self::TooEarly(at) => write!(f, "{at} has not come"),
            Self::Twice(at) => write!(f, "{at} has been answered"),
            Self::Busy => f.write_str("a run is under way"),
            Self::Unsettled => f.write_str("it is not known yet what there is"),
            Self::OutsideWindow => f.write_str("no window is open"),
            Self::NoRetry => f.write_str("it is no repetition of what failed, or comes too soon"),
            Self::Pushed => f.write_str("it does not give way to the database"),
            Self::SkippedWithoutLeave(at) => write!(f, "{at} may not be passed over"),
            Self::WrongKind => f.write_str("full and incremental are confused"),
            Self::NotEarly(at) => write!(f, "nothing lets it begin at {at}, before its time"),
            Self::NotUnchanged(at) => write!(f, "something may have changed by {at}"),
            Self::Forgotten(at) => write!(f, "{at} is due"),
        }
    }
}
