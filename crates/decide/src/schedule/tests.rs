//! Tests of schedules: cron against a model that looks at every minute, scenarios, and simulations.

mod adaptive;
mod cron;
mod scenario;
mod simulation;
mod spoilt;
mod window;

use super::{
    CatchUp, Changes, Kind, Schedule, ScheduleMemory, Start, Timing, Unchanged, Verdict, View,
    Windows, check_verdict, judge,
};
use holdfast_types::{CaptureLimits, Timestamp};
use jiff::tz::TimeZone;
use std::time::Duration;

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

pub(super) fn minutes(n: u64) -> Duration {
    Duration::from_mins(n)
}

/// A schedule called nightly, without any frills.
pub(super) fn schedule(timing: Timing) -> Schedule {
    Schedule {
        name: "nightly".parse().unwrap(),
        timing,
        zone: TimeZone::UTC,
        jitter: Duration::ZERO,
        windows: Windows::default(),
        kind: Kind::Incremental,
        catch_up: CatchUp::Now,
        unchanged: Unchanged::Capture,
        early: None,
        priority: 0,
        tags: [].into(),
        tolerance: None,
        limits: CaptureLimits::default(),
    }
}

pub(super) fn by_cron(expression: &str) -> Schedule {
    schedule(Timing::Cron(expression.parse().unwrap()))
}

pub(super) fn every(seconds: u64) -> Schedule {
    schedule(Timing::Every(Duration::from_secs(seconds)))
}

pub(super) fn windows(texts: &[&str]) -> Windows {
    Windows(texts.iter().map(|text| text.parse().unwrap()).collect())
}

/// Nothing in the way, and watched since long before.
pub(super) fn view(now: Timestamp) -> View {
    View {
        now,
        watching_since: at("2020-01-01T00:00:00Z"),
        unsettled: None,
        busy: None,
        slow: None,
        changes: Changes::default(),
    }
}

/// The verdict, which its checker must approve.
pub(super) fn judged(schedule: &Schedule, memory: &ScheduleMemory, view: &View) -> Verdict {
    let verdict = judge(schedule, memory, view);
    let wrong = check_verdict(&verdict, schedule, memory, view);
    assert!(
        wrong.is_empty(),
        "{wrong:?} about {verdict:?}\n{memory:?}\n{view:?}"
    );
    verdict
}

pub(super) fn started(verdict: Verdict) -> Start {
    match verdict {
        Verdict::Start(start) => start,
        other @ (Verdict::Skip { .. } | Verdict::Unchanged { .. } | Verdict::Wait { .. }) => {
            panic!("no start: {other:?}")
        }
    }
}
