//! When captures are due by themselves, and why not now.
//!
//! A [`Schedule`] has **planned instants** ([`Timing`]): those of a cron expression in its zone, or of a fixed
//! grid. Each may **start** a little later: its jitter is added, a pure function of name and instant, less than
//! the time to the next one; and if that is outside the [`Windows`], it starts when the next one opens. Planned
//! instants therefore start in order, and one run answers all that have come due: it is *coalesced*.
//!
//! **Clock changes.** A wall time that the clock skips is taken as long after the skip as it would have been after its
//! begin (02:30 becomes 03:30). A wall time that comes twice is taken the first time only, unless the expression names
//! every hour: then it means elapsed time, and both are taken. An instant is never taken twice.
//!
//! **Nothing due is forgotten.** [`judge`] is asked again and again, with a [`ScheduleMemory`] that is durable before
//! anything acts on it. It remembers the newest planned instant that was answered and the run that is open: a restart
//! neither repeats nor forgets. A clock that went back does not silence a schedule: what was answered "in the future"
//! counts as answered now.
//!
//! **Adaptive.** Where it is asked for, a run of which it is certain that nothing has changed since the newest captures is answered by
//! them ([`Unchanged`]), and one begins before its time when much was written ([`Early`]).
//!
//! **Not running is an alarm.** [`lateness`] compares the oldest planned instant without a success with now, whatever
//! the reason was.
//!
//! [`check_verdict`] reads verdicts again and shares no code with the planner. This module looks up no zones and
//! does not know collections ([`crate::policy`] does).

mod adaptive;
mod check;
mod cron;
mod definition;
mod judge;
mod late;
mod memory;
mod timing;
mod window;

#[cfg(test)]
mod tests;

pub use adaptive::{Changes, Early, Unchanged};
pub use check::{ScheduleViolation, check_verdict};
pub use cron::{Cron, ParseCronError};
pub use definition::{CatchUp, Kind, MAX_JITTER, Schedule};
pub use judge::{SKIP_AFTER, Slow, Start, Verdict, View, WaitReason, judge};
pub use late::{Late, lateness};
pub use memory::{Ended, LastRun, OpenRun, OpenState, Outcome, ScheduleMemory, Skipped, backoff};
pub use timing::{Covered, Timing};
pub use window::{ParseWindowError, Window, Windows};
