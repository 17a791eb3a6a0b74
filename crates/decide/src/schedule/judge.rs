//! What to do about one schedule now, and why.

use super::adaptive::{Changes, Needed, is_early, is_needed};
use super::definition::{CatchUp, Schedule};
use super::memory::{OpenRun, OpenState, ScheduleMemory, backoff};
use holdfast_types::{JobId, NodeId, Timestamp};
use std::fmt;
use std::time::Duration;

/// With `catch_up = "skip"`, an instant that came due during downtime is still run for if it is at most this old.
pub const SKIP_AFTER: Duration = Duration::from_mins(5);

/// A clock that went back by more than this is taken as set right: what was answered later than now counts as answered now.
pub(super) const CLOCK_STEP: Duration = Duration::from_mins(5);

/// So long before its window closes, a run waits for nothing more.
pub(super) const BEFORE_CLOSING: Duration = Duration::from_mins(1);

/// What else matters now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Now.
    pub now: Timestamp,
    /// Since when this process has looked: what came due before came due during downtime.
    pub watching_since: Timestamp,
    /// Why it is too early after the start to know what there is.
    pub unsettled: Option<String>,
    /// The job that runs; there is one at most.
    pub busy: Option<JobId>,
    /// A node that answers queries too slowly.
    pub slow: Option<Slow>,
    /// What was written since the newest captures.
    pub changes: Changes,
}

/// A node whose queries take too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    /// Which.
    pub node: NodeId,
    /// How long they take.
    pub latency: Duration,
    /// How long they may.
    pub limit: Duration,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Run.
    Start(Start),
    /// Pass over what came due during downtime.
    Skip {
        /// The newest planned instant that is passed over.
        planned: Timestamp,
        /// How many are.
        covers: u64,
    },
    /// Take what is due as answered: nothing has changed since the newest captures.
    Unchanged {
        /// The newest planned instant that they answer.
        planned: Timestamp,
        /// How many they do.
        covers: u64,
    },
    /// Nothing.
    Wait {
        /// Until when at least, if that is known.
        until: Option<Timestamp>,
        /// Why.
        why: WaitReason,
    },
}

/// An attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The planned instant that it answers.
    pub planned: Timestamp,
    /// How many planned instants it answers.
    pub covers: u64,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Whether it captures in full.
    pub full: bool,
    /// Whether its instant came due while no coordinator ran.
    pub catching_up: bool,
    /// Whether it begins before its time, as much was written: then its instant is now, and no planned one.
    pub early: bool,
    /// Set if it runs although a node is slow, because it has waited long enough.
    pub despite: Option<Slow>,
}

/// Why nothing is done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// Nothing is due.
    NotDue,
    /// It has no planned instant any more.
    Never,
    /// Its own job is under way.
    Running,
    /// An attempt has failed; the next one follows.
    Backoff {
        /// The attempt that failed.
        attempt: u32,
        /// Why it did.
        reason: String,
    },
    /// It is due, but not in a window.
    OutsideWindow,
    /// It is due, and soon it is known whether anything needs it.
    LogsBehind,
    /// The coordinator has just started.
    Unsettled(String),
    /// Another job runs.
    Busy(JobId),
    /// It is due, but the database is busy.
    Slow(Slow),
}

/// What is due.
struct Due {
    planned: Timestamp,
    covers: u64,
    attempt: u32,
    start: Timestamp,
    catching_up: bool,
    early: bool,
}

/// Judges one schedule.
#[must_use]
pub fn judge(schedule: &Schedule, memory: &ScheduleMemory, view: &View) -> Verdict {
    let wait = |until, why| Verdict::Wait { until, why };
    let failed = match &memory.open {
        Some(OpenRun {
            state: OpenState::Running { .. },
            ..
        }) => return wait(None, WaitReason::Running),
        Some(open) => Some(open),
        None => None,
    };
    let now = view.now;
    let due = newest_due(schedule, memory, failed, view)
        .map_or_else(|| again_or_later(schedule, memory, failed, now), Ok);
    let due = match due {
        Ok(due) => due,
        Err(later) => match early(schedule, memory, view, &later) {
            Some(early) => early,
            None => return later,
        },
    };
    if due.catching_up && schedule.catch_up == CatchUp::Skip && now.since(due.start) > SKIP_AFTER {
        return Verdict::Skip {
            planned: due.planned,
            covers: due.covers,
        };
    }
    if failed.is_none() && !due.early {
        let (planned, covers) = (due.planned, due.covers);
        match is_needed(schedule, memory, view, planned, due.start) {
            Needed::Yes => {}
            Needed::No => return Verdict::Unchanged { planned, covers },
            Needed::KnownBy(then) => return wait(Some(then), WaitReason::LogsBehind),
        }
    }
    if !schedule.windows.allow(now, &schedule.zone) {
        let opens = schedule.windows.open_from(now, &schedule.zone);
        return wait(opens, WaitReason::OutsideWindow);
    }
    if let Some(why) = &view.unsettled {
        return wait(None, WaitReason::Unsettled(why.clone()));
    }
    if let Some(job) = &view.busy {
        return wait(None, WaitReason::Busy(job.clone()));
    }
    if let Some(slow) = &view.slow {
        let end = patience_ends(schedule, due.start.max(view.watching_since), now);
        if now < end {
            return wait(Some(end), WaitReason::Slow(slow.clone()));
        }
    }
    Verdict::Start(Start {
        planned: due.planned,
        covers: due.covers,
        attempt: due.attempt,
        full: memory.full_is_due(schedule.kind),
        catching_up: due.catching_up,
        early: due.early,
        despite: view.slow.clone(),
    })
}

/// A run before its time, where nothing is due.
fn early(
    schedule: &Schedule,
    memory: &ScheduleMemory,
    view: &View,
    later: &Verdict,
) -> Option<Due> {
    let not_due = matches!(
        later,
        Verdict::Wait {
            why: WaitReason::NotDue,
            ..
        }
    );
    (not_due && is_early(schedule, memory, view)).then_some(Due {
        planned: view.now,
        covers: 0,
        attempt: 1,
        start: view.now,
        catching_up: false,
        early: true,
    })
}

/// Nothing new is due: the next attempt of what failed, or what is waited for.
fn again_or_later(
    schedule: &Schedule,
    memory: &ScheduleMemory,
    failed: Option<&OpenRun>,
    now: Timestamp,
) -> Result<Due, Verdict> {
    let wait = |until, why| Err(Verdict::Wait { until, why });
    match failed.map(|open| (open, &open.state)) {
        Some((open, OpenState::Failed { at, reason })) => {
            let again = retry_at(open.attempt, *at);
            // A clock that went back must not put it off for long.
            if now < again && at.since(now) <= CLOCK_STEP {
                let why = WaitReason::Backoff {
                    attempt: open.attempt,
                    reason: reason.clone(),
                };
                return wait(Some(again), why);
            }
            Ok(Due {
                planned: open.planned,
                covers: open.covers,
                attempt: open.attempt.saturating_add(1),
                start: again,
                catching_up: false,
                early: false,
            })
        }
        Some((_, OpenState::Running { .. })) | None => {
            let next = schedule.next_after(handled(memory, now));
            match next.and_then(|next| schedule.start_of(next)) {
                None => wait(None, WaitReason::Never),
                Some(start) if start > now => wait(Some(start), WaitReason::NotDue),
                // It came due in a window that has closed.
                Some(_) => {
                    let opens = schedule.windows.open_from(now, &schedule.zone);
                    wait(opens, WaitReason::OutsideWindow)
                }
            }
        }
    }
}

/// An attempt that never began is begun at once.
fn retry_at(attempt: u32, failed: Timestamp) -> Timestamp {
    match attempt {
        0 => failed,
        attempt => failed.after(backoff(attempt)),
    }
}

/// The newest planned instant that nothing has answered and whose start has come.
fn newest_due(
    schedule: &Schedule,
    memory: &ScheduleMemory,
    failed: Option<&OpenRun>,
    view: &View,
) -> Option<Due> {
    let (now, zone) = (view.now, &schedule.zone);
    let handled = handled(memory, now);
    let mut covered = schedule.timing.within(handled, now, zone)?;
    if schedule.jittered(covered.newest) > now {
        // Jitter keeps the order, so only the newest can be too early.
        let before = Timestamp::from_micros(covered.newest.as_micros() - 1);
        covered = schedule.timing.within(handled, before, zone)?;
    }
    let start = schedule.start_of(covered.newest)?;
    if start > now {
        // Its window has not opened. An earlier one whose window did open was answered then, or waits with it.
        return None;
    }
    let waiting = failed.map_or(0, |open| open.covers);
    Some(Due {
        planned: covered.newest,
        covers: covered.count + waiting,
        attempt: 1,
        start,
        catching_up: start < view.watching_since,
        early: false,
    })
}

pub(super) fn handled(memory: &ScheduleMemory, now: Timestamp) -> Timestamp {
    if memory.handled > now.after(CLOCK_STEP) {
        now
    } else {
        memory.handled
    }
}

/// Until when a due run waits for the database to calm down: within its window, and not for ever.
fn patience_ends(schedule: &Schedule, start: Timestamp, now: Timestamp) -> Timestamp {
    let end = start.after(schedule.limits.max_delay);
    match schedule.windows.close_after(now, &schedule.zone) {
        None => end,
        Some(close) => {
            let before = i64::try_from(BEFORE_CLOSING.as_micros()).unwrap_or(0);
            end.min(Timestamp::from_micros(close.as_micros() - before))
        }
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a search takes {} ms at node {}, and may take {} ms",
            self.latency.as_millis(),
            self.node,
            self.limit.as_millis()
        )
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDue => f.write_str("nothing is due"),
            Self::Never => f.write_str("it has no planned instant any more"),
            Self::Running => f.write_str("its run is under way"),
            Self::Backoff { attempt, reason } => {
                write!(f, "attempt {attempt} failed ({reason}) and is repeated")
            }
            Self::OutsideWindow => f.write_str("it is due, and waits for its window"),
            Self::LogsBehind => {
                f.write_str("it is due, and soon it is known whether anything has changed")
            }
            Self::Unsettled(why) => write!(f, "it is due, and waits: {why}"),
            Self::Busy(job) => write!(f, "it is due, and waits for job {job}"),
            Self::Slow(slow) => write!(f, "it is due, and gives way to the database: {slow}"),
        }
    }
}
