//! Runs that nothing needs, and runs before their time.

use super::{at, by_cron, judged, minutes, started, view};
use crate::schedule::{
    Changes, Early, Ended, Kind, Schedule, ScheduleMemory, ScheduleViolation as V, Start,
    Unchanged, Verdict, View, WaitReason, check_verdict,
};
use holdfast_types::Timestamp;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

const BEFORE: &str = "2026-11-21T01:30:00Z";
const TWO: &str = "2026-11-21T02:00:00Z";

fn hourly() -> Schedule {
    let mut schedule = by_cron("0 * * * *");
    schedule.unchanged = Unchanged::Skip;
    schedule.early = Some(Early {
        operations: NonZeroU64::new(1000).unwrap(),
        apart: minutes(10),
    });
    schedule
}

fn memory(schedule: &Schedule) -> ScheduleMemory {
    ScheduleMemory::new(schedule, at(BEFORE))
}

fn seen(now: &str, operations: u64, unchanged_until: Option<&str>) -> View {
    View {
        changes: Changes {
            operations,
            unchanged_until: unchanged_until.map(at),
        },
        ..view(at(now))
    }
}

fn waits(verdict: &Verdict) -> (Option<Timestamp>, WaitReason) {
    match verdict {
        Verdict::Wait { until, why } => (*until, why.clone()),
        other @ (Verdict::Start(_) | Verdict::Skip { .. } | Verdict::Unchanged { .. }) => {
            panic!("it does not wait: {other:?}")
        }
    }
}

#[test]
fn captures_that_are_there_answer_a_run() {
    let schedule = hourly();
    let mut memory = memory(&schedule);
    let verdict = judged(
        &schedule,
        &memory,
        &seen("2026-11-21T02:00:01Z", 0, Some(TWO)),
    );
    let Verdict::Unchanged { planned, covers } = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!((planned, covers), (at(TWO), 1));
    memory.answer(planned, at("2026-11-21T02:00:01Z"));
    assert_eq!((memory.satisfied, memory.failures), (at(TWO), 0));
    let later = judged(
        &schedule,
        &memory,
        &seen("2026-11-21T02:00:02Z", 0, Some(TWO)),
    );
    let (until, why) = waits(&later);
    assert_eq!(
        (until, why),
        (Some(at("2026-11-21T03:00:00Z")), WaitReason::NotDue)
    );
}

#[test]
fn a_run_waits_a_little_to_learn_that_nothing_needs_it() {
    let schedule = hourly();
    let memory = memory(&schedule);
    let behind = Some("2026-11-21T01:59:59Z");
    let verdict = judged(&schedule, &memory, &seen("2026-11-21T02:00:29Z", 0, behind));
    let expected = (Some(at("2026-11-21T02:00:30Z")), WaitReason::LogsBehind);
    assert_eq!(waits(&verdict), expected);
    // No longer than that.
    started(judged(
        &schedule,
        &memory,
        &seen("2026-11-21T02:00:30Z", 0, behind),
    ));
    // Not at all where it is known that something has changed, or where nothing is known.
    started(judged(&schedule, &memory, &seen(TWO, 1, None)));
}

#[test]
fn what_is_asked_for_in_full_is_captured() {
    let full = |kind| {
        let mut schedule = hourly();
        schedule.kind = kind;
        started(judged(
            &schedule,
            &memory(&schedule),
            &seen(TWO, 0, Some(TWO)),
        ))
        .full
    };
    assert!(full(Kind::Full));
    assert!(
        full(Kind::FullEvery(NonZeroU32::new(5).unwrap())),
        "the first"
    );
    let mut asked = hourly();
    asked.unchanged = Unchanged::Capture;
    assert!(!started(judged(&asked, &memory(&asked), &seen(TWO, 0, Some(TWO)))).full);
}

#[test]
fn after_a_failure_nothing_is_taken_as_answered() {
    let schedule = hourly();
    let mut memory = memory(&schedule);
    memory.begin(at(TWO), 1, 1, false, at(TWO));
    let reason = "disk".to_owned();
    memory.end(Ended::Failed { reason }, at(TWO));
    let now = "2026-11-21T02:05:00Z";
    assert_eq!(
        started(judged(&schedule, &memory, &seen(now, 0, Some(now)))).attempt,
        2
    );
}

#[test]
fn much_that_was_written_brings_a_run_forward() {
    let schedule = hourly();
    let mut memory = memory(&schedule);
    let now = "2026-11-21T01:40:00Z";
    let (_, why) = waits(&judged(&schedule, &memory, &seen(now, 999, None)));
    assert_eq!(why, WaitReason::NotDue);
    let start = started(judged(&schedule, &memory, &seen(now, 1000, None)));
    let Start {
        planned,
        covers,
        early,
        ..
    } = start;
    assert_eq!((planned, covers, early), (at(now), 0, true));
    memory.begin(planned, covers, 1, false, at(now));
    memory.began("backup-1".parse().unwrap());
    let captured = [].into();
    memory.end(
        Ended::Succeeded {
            captured,
            left_out: vec![],
        },
        at("2026-11-21T01:45:00Z"),
    );
    // Ten minutes from one begin to the next, however much is written.
    let (_, why) = waits(&judged(
        &schedule,
        &memory,
        &seen("2026-11-21T01:49:59Z", 9999, None),
    ));
    assert_eq!(why, WaitReason::NotDue);
    assert!(
        started(judged(
            &schedule,
            &memory,
            &seen("2026-11-21T01:50:00Z", 9999, None)
        ))
        .early
    );
    // What is planned comes all the same.
    let planned = started(judged(&schedule, &memory, &seen(TWO, 9999, None)));
    assert_eq!((planned.planned, planned.early), (at(TWO), false));
}

#[test]
fn an_early_run_keeps_windows_and_gives_way() {
    let mut schedule = hourly();
    schedule.windows = super::windows(&["02:00-03:00"]);
    let now = seen("2026-11-21T01:40:00Z", 5000, None);
    let outside = waits(&judged(&schedule, &memory(&schedule), &now));
    assert_eq!(outside.1, WaitReason::NotDue);
    let schedule = hourly();
    let busy = View {
        busy: Some("restore-1".parse().unwrap()),
        ..now.clone()
    };
    let busy = waits(&judged(&schedule, &memory(&schedule), &busy));
    assert_eq!(busy.1, WaitReason::NotDue);
    assert!(started(judged(&schedule, &memory(&schedule), &now)).early);
}

#[test]
fn what_jitter_lets_wait_is_not_overtaken() {
    let mut schedule = hourly();
    schedule.jitter = minutes(30);
    let memory = memory(&schedule);
    let begins = schedule.start_of(at(TWO)).unwrap();
    let between = Timestamp::from_micros(begins.as_micros() - 1);
    assert!(between >= at(TWO), "the drawn jitter");
    let between = View {
        now: between,
        ..seen(TWO, 5000, None)
    };
    let waiting = waits(&judged(&schedule, &memory, &between));
    assert_eq!(waiting.1, WaitReason::NotDue);
    let begun = View {
        now: begins,
        ..between
    };
    assert_eq!(started(judged(&schedule, &memory, &begun)).planned, at(TWO));
}

#[test]
fn a_run_that_took_nothing_puts_no_early_one_off() {
    let schedule = hourly();
    let mut memory = memory(&schedule);
    memory.answer(at(TWO), at("2026-11-21T02:00:01Z"));
    let soon = seen("2026-11-21T02:01:00Z", 5000, None);
    assert!(started(judged(&schedule, &memory, &soon)).early);
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let schedule = hourly();
    let memory = memory(&schedule);
    let now = at(TWO);
    let unchanged = |schedule: &Schedule, view: &View| {
        let verdict = Verdict::Unchanged {
            planned: at(TWO),
            covers: 1,
        };
        check_verdict(&verdict, schedule, &memory, view)
    };
    assert_eq!(unchanged(&schedule, &seen(TWO, 0, Some(TWO))), []);
    let wrong = [V::NotUnchanged(now)];
    assert_eq!(
        unchanged(&schedule, &seen(TWO, 0, Some("2026-11-21T01:59:59Z"))),
        wrong
    );
    assert_eq!(unchanged(&schedule, &seen(TWO, 0, None)), wrong);
    let plain = by_cron("0 * * * *");
    assert_eq!(unchanged(&plain, &seen(TWO, 0, Some(TWO))), wrong);

    let early = |schedule: &Schedule, view: &View| {
        let start = Start {
            planned: view.now,
            covers: 0,
            attempt: 1,
            full: false,
            catching_up: false,
            early: true,
            despite: None,
        };
        check_verdict(&Verdict::Start(start), schedule, &memory, view)
    };
    let soon = at(BEFORE).after(Duration::from_secs(60));
    let much = |operations| View {
        changes: Changes {
            operations,
            unchanged_until: None,
        },
        ..view(soon)
    };
    assert_eq!(early(&schedule, &much(1000)), []);
    assert_eq!(early(&schedule, &much(999)), [V::NotEarly(soon)]);
    assert_eq!(early(&plain, &much(1000)), [V::NotEarly(soon)]);
}
