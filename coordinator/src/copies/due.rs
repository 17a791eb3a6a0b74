//! What is due for a copy: a pure function.

use super::CopyMemory;
use crate::config::CopySection;
use crate::upkeep::AFTER_CANCEL;
use crate::verify::next_check;
use holdfast_repository::VerifyLevel;
use holdfast_types::Timestamp;
use std::time::Duration;

/// A copy that lacks no point is still looked at so often: holds, pins and keys may have changed.
const AT_LEAST: Duration = Duration::from_mins(10);

/// Longest wait after a failed run, and a little more.
const LONGEST_WAIT: Duration = Duration::from_mins(45);

/// Between two runs of a continuous copy.
const BETWEEN_RUNS: Duration = Duration::from_secs(5);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Bring it up to date.
    Sync,
    /// Check it.
    Verify(VerifyLevel),
    /// Set its locks and storage classes.
    Keep,
    /// Nothing yet.
    Wait,
}

/// `lacks` says whether it wants points that it does not have.
pub(super) fn next(
    section: &CopySection,
    memory: &CopyMemory,
    lacks: bool,
    started: Timestamp,
    now: Timestamp,
) -> Next {
    if !memory.made {
        // Until an operator says so; or, once, to find out that it was made by an earlier coordinator.
        return match (&memory.trouble, memory.asked) {
            (_, true) | (None, false) => Next::Sync,
            (Some(trouble), false) if now >= trouble.again => Next::Sync,
            (Some(_), false) => Next::Wait,
        };
    }
    if memory.asked {
        return Next::Sync;
    }
    // An instant further ahead is of a clock that was set right since.
    let is_ahead = |at: Timestamp| now < at && at.since(now) <= LONGEST_WAIT;
    if memory.trouble.as_ref().is_some_and(|t| is_ahead(t.again)) {
        return Next::Wait;
    }
    let put_off = |at: Timestamp| at <= now && now < at.after(AFTER_CANCEL);
    if memory.cancelled.is_some_and(put_off) {
        return check(section, memory, started, now);
    }
    if memory.open.is_some()
        || memory.trouble.is_some()
        || is_due(section, memory, lacks, started, now)
    {
        return Next::Sync;
    }
    check(section, memory, started, now)
}

fn check(section: &CopySection, memory: &CopyMemory, started: Timestamp, now: Timestamp) -> Next {
    match (memory.check_asked, &memory.verify) {
        (Some(true), _) => Next::Verify(VerifyLevel::Full),
        (Some(false), _) => Next::Verify(VerifyLevel::Quick),
        (None, Some(checks)) => {
            next_check(&section.verify, checks, started, now).map_or(Next::Wait, Next::Verify)
        }
        (None, None) => Next::Wait,
    }
}

fn is_due(
    section: &CopySection,
    memory: &CopyMemory,
    lacks: bool,
    started: Timestamp,
    now: Timestamp,
) -> bool {
    // While this coordinator did not run, anything may have become of it.
    let is_old = |begun: Timestamp| begun < started || begun > now || now >= begun.after(AT_LEAST);
    match &section.timing {
        None => memory
            .begun
            .is_none_or(|begun| is_old(begun) || lacks && now >= begun.after(BETWEEN_RUNS)),
        Some(timing) => {
            let since = memory.begun.or(memory.since).unwrap_or(now);
            if since > now {
                return true;
            }
            timing.within(since, now, &section.time_zone).is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, next};
    use crate::config::{CopySection, Location, RetentionSection, VerifySection};
    use crate::copies::CopyMemory;
    use crate::fault::Fault;
    use holdfast_decide::schedule::Timing;
    use holdfast_service::failure::Code;
    use holdfast_types::Timestamp;
    use jiff::tz::TimeZone;
    use std::time::Duration;

    fn at(minutes: u64) -> Timestamp {
        Timestamp::EPOCH.after(Duration::from_secs(minutes * 60))
    }

    fn section(cron: Option<&str>) -> CopySection {
        CopySection {
            name: "b".parse().unwrap(),
            place: Location::Disk("/b".into()),
            limits: holdfast_store::StoreLimits::default(),
            timing: cron.map(|text| Timing::Cron(text.parse().unwrap())),
            time_zone: TimeZone::UTC,
            max_lag: Duration::from_hours(1),
            retention: RetentionSection {
                policy: None,
                time_zone: TimeZone::UTC,
                grace: Duration::ZERO,
                garbage_grace: Duration::ZERO,
                every: None,
                two_person: false,
            },
            verify: VerifySection {
                every: None,
                sample_percent: 0,
                full_every: None,
                max_mib_per_sec: 0,
            },
        }
    }

    fn made() -> CopyMemory {
        CopyMemory {
            since: Some(at(0)),
            made: true,
            begun: Some(at(0)),
            ..CopyMemory::default()
        }
    }

    #[test]
    fn a_continuous_copy_comes_at_once_and_else_now_and_then() {
        let section = section(None);
        let decide = |lacks, minutes| next(&section, &made(), lacks, at(0), at(minutes));
        assert_eq!(decide(true, 1), Next::Sync);
        assert_eq!(decide(false, 9), Next::Wait);
        assert_eq!(decide(false, 10), Next::Sync);
        let after_restart = next(&section, &made(), false, at(1), at(1));
        assert_eq!(after_restart, Next::Sync);
    }

    #[test]
    fn a_scheduled_copy_waits_for_its_hour_and_goes_on_after_a_restart() {
        let section = section(Some("30 3 * * *"));
        let decide =
            |memory: &CopyMemory, minutes| next(&section, memory, true, at(0), at(minutes));
        assert_eq!(decide(&made(), 209), Next::Wait);
        assert_eq!(decide(&made(), 210), Next::Sync);
        let mut open = made();
        open.begin(at(210));
        assert_eq!(decide(&open, 211), Next::Sync, "it was interrupted");
        open.end(at(212));
        assert_eq!(decide(&open, 213), Next::Wait);
        let mut asked = made();
        asked.asked = true;
        assert_eq!(decide(&asked, 5), Next::Sync);
    }

    #[test]
    fn trouble_is_tried_again_later_and_nothing_is_made_unasked() {
        let section = section(None);
        let mut memory = made();
        memory.fail(at(5), Fault::new(Code::DiskFull, "full"));
        let decide =
            |memory: &CopyMemory, minutes| next(&section, memory, true, at(0), at(minutes));
        assert_eq!(decide(&memory, 5), Next::Wait);
        assert_eq!(decide(&memory, 6), Next::Sync);
        let mut new = CopyMemory::default();
        assert_eq!(decide(&new, 0), Next::Sync, "it may have been made before");
        new.fail(at(0), Fault::new(Code::RepositoryForeign, "nothing there"));
        assert_eq!(decide(&new, 0), Next::Wait);
        new.asked = true;
        assert_eq!(decide(&new, 0), Next::Sync);
    }
}
