//! Whether a schedule is late: then somebody must know, whatever the reason.

use super::definition::Schedule;
use super::judge::CLOCK_STEP;
use super::memory::ScheduleMemory;
use holdfast_types::Timestamp;
use std::time::Duration;

/// Bounds of the tolerance where none is given.
const LEAST_TOLERANCE: Duration = Duration::from_secs(30);
const MOST_TOLERANCE: Duration = Duration::from_hours(1);

/// A schedule is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// The oldest planned instant without a success.
    pub planned: Timestamp,
    /// When its run was to begin.
    pub start: Timestamp,
    /// How long ago that was.
    pub by: Duration,
}

/// Whether the oldest planned instant without a success is older than the schedule tolerates.
#[must_use]
pub fn lateness(schedule: &Schedule, memory: &ScheduleMemory, now: Timestamp) -> Option<Late> {
    // A clock that went back must not silence the alarm.
    let satisfied = if memory.satisfied > now.after(CLOCK_STEP) {
        now
    } else {
        memory.satisfied
    };
    let planned = schedule.next_after(satisfied)?;
    let start = schedule.start_of(planned)?;
    let by = now.since(start);
    (by > schedule.tolerance_of(planned)).then_some(Late { planned, start, by })
}

impl Schedule {
    /// How late the run for a planned instant may succeed.
    #[must_use]
    pub fn tolerance_of(&self, planned: Timestamp) -> Duration {
        self.tolerance.unwrap_or_else(|| {
            let next = self.next_after(planned);
            let half = next.map_or(MOST_TOLERANCE, |next| next.since(planned) / 2);
            half.clamp(LEAST_TOLERANCE, MOST_TOLERANCE)
        })
    }
}
