//! When which check is due: a pure function.

use super::VerifyMemory;
use crate::config::VerifySection;
use crate::upkeep::AFTER_CANCEL;
use holdfast_repository::{Sample, VerifyLevel};
use holdfast_types::Timestamp;
use std::time::Duration;

/// A coordinator that has just started has other things to do.
const AFTER_START: Duration = Duration::from_secs(300);
/// After a failure it is tried again sooner than a day later.
const AFTER_FAILURE: Duration = Duration::from_secs(3600);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Check.
    Check(VerifyLevel),
    /// Nothing yet.
    Wait,
    /// Nothing ever.
    Never,
}

pub(super) fn next(
    section: &VerifySection,
    memory: &VerifyMemory,
    started: Timestamp,
    now: Timestamp,
) -> Next {
    let (Some(every), full_every) = (section.every, section.full_every) else {
        return Next::Never;
    };
    if now < started.after(AFTER_START) {
        return Next::Wait;
    }
    if let Some(failure) = &memory.failure
        && now < failure.at.after(AFTER_FAILURE.min(every))
    {
        return Next::Wait;
    }
    // One from the future is of a clock that was set right since.
    if memory
        .cancelled
        .is_some_and(|at| at <= now && now < at.after(AFTER_CANCEL.min(every)))
    {
        return Next::Wait;
    }
    if let Some(interrupted) = &memory.interrupted {
        return Next::Check(interrupted.level);
    }
    let last_full = memory.last_full.or(memory.since).unwrap_or(started);
    if full_every.is_some_and(|full_every| now >= last_full.after(full_every)) {
        return Next::Check(VerifyLevel::Full);
    }
    if memory
        .last
        .as_ref()
        .is_some_and(|last| now < last.at.after(every))
    {
        return Next::Wait;
    }
    let sample = Sample::new(section.sample_percent, memory.seed, memory.next_slot);
    Next::Check(sample.map_or(VerifyLevel::Quick, VerifyLevel::Sample))
}

/// Whether a check is so late that somebody should know: by a whole period.
pub(super) fn is_overdue(
    section: &VerifySection,
    memory: &VerifyMemory,
    started: Timestamp,
    now: Timestamp,
) -> bool {
    let Some(every) = section.every else {
        return false;
    };
    // While the coordinator did not run, nothing could be checked; but that is told, too, by its age.
    let last = memory.last.as_ref().map_or(started, |last| last.at);
    now > last.after(every.saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use super::{Next, is_overdue, next};
    use crate::config::VerifySection;
    use crate::verify::{Trouble, VerifyMemory};
    use holdfast_repository::{Sample, VerifyLevel};
    use holdfast_types::Timestamp;
    use std::time::Duration;

    const HOUR: u64 = 3600;

    fn at(hours: u64) -> Timestamp {
        Timestamp::EPOCH.after(Duration::from_secs(hours * HOUR))
    }

    fn section() -> VerifySection {
        VerifySection {
            every: Some(Duration::from_secs(24 * HOUR)),
            sample_percent: 5,
            full_every: Some(Duration::from_secs(240 * HOUR)),
            max_mib_per_sec: 0,
        }
    }

    fn memory() -> VerifyMemory {
        let mut memory = VerifyMemory::new(7, at(0));
        memory.next_slot = 95;
        memory
    }

    fn sample(from: u8) -> Next {
        Next::Check(VerifyLevel::Sample(Sample::new(5, 7, from).unwrap()))
    }

    #[test]
    fn a_sample_a_day_and_everything_now_and_then() {
        let mut memory = memory();
        let decide = |memory: &VerifyMemory, hours| next(&section(), memory, at(0), at(hours));
        assert_eq!(decide(&memory, 0), Next::Wait, "just started");
        assert_eq!(decide(&memory, 1), sample(95));
        memory.last = Some(crate::verify::Ended::sound(at(1)));
        memory.next_slot = 0;
        assert_eq!(decide(&memory, 24), Next::Wait);
        assert_eq!(decide(&memory, 25), sample(0));
        assert_eq!(decide(&memory, 240), Next::Check(VerifyLevel::Full));
        memory.last_full = Some(at(240));
        assert_eq!(decide(&memory, 241), sample(0));
        let never = VerifySection {
            every: None,
            ..section()
        };
        assert_eq!(next(&never, &memory, at(0), at(999)), Next::Never);
        let quick = VerifySection {
            sample_percent: 0,
            ..section()
        };
        let quick = next(&quick, &memory, at(0), at(241));
        assert_eq!(quick, Next::Check(VerifyLevel::Quick));
    }

    #[test]
    fn a_failed_check_is_tried_again_within_the_hour() {
        let mut memory = memory();
        memory.failure = Some(Trouble {
            at: at(10),
            message: "the bucket is away".into(),
        });
        assert_eq!(next(&section(), &memory, at(0), at(10)), Next::Wait);
        assert_eq!(next(&section(), &memory, at(0), at(11)), sample(95));
    }

    #[test]
    fn a_cancelled_check_is_put_off() {
        let mut memory = memory();
        memory.cancelled = Some(at(10));
        assert_eq!(next(&section(), &memory, at(0), at(10)), Next::Wait);
        assert_eq!(next(&section(), &memory, at(0), at(11)), sample(95));
        assert_eq!(next(&section(), &memory, at(0), at(9)), sample(95));
    }

    #[test]
    fn what_is_late_by_a_period_is_overdue() {
        let mut memory = memory();
        let overdue =
            |memory: &VerifyMemory, hours| is_overdue(&section(), memory, at(0), at(hours));
        assert!(!overdue(&memory, 48));
        assert!(overdue(&memory, 49));
        memory.last = Some(crate::verify::Ended::sound(at(40)));
        assert!(!overdue(&memory, 88));
        assert!(overdue(&memory, 89));
    }
}
