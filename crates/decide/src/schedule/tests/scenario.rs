//! Small stories with their exact verdicts.

use super::{at, by_cron, every, judged, minutes, schedule, started, view, windows, zone};
use crate::schedule::{
    CatchUp, Ended, Kind, Outcome, ScheduleMemory, Slow, Start, Timing, Verdict, View, WaitReason,
    backoff, lateness,
};
use holdfast_types::Timestamp;
use std::num::NonZeroU32;
use std::time::Duration;

fn waits(verdict: Verdict) -> (Option<Timestamp>, WaitReason) {
    match verdict {
        Verdict::Wait { until, why } => (until, why),
        other @ (Verdict::Start(_) | Verdict::Skip { .. } | Verdict::Unchanged { .. }) => {
            panic!("no wait: {other:?}")
        }
    }
}

fn begin(memory: &mut ScheduleMemory, start: &Start, now: Timestamp) {
    memory.begin(start.planned, start.covers, start.attempt, start.full, now);
    memory.began("backup-1".parse().unwrap());
}

fn good() -> Ended {
    Ended::Succeeded {
        captured: [].into(),
        left_out: vec![],
    }
}

fn bad() -> Ended {
    Ended::Failed {
        reason: "no node".into(),
    }
}

#[test]
fn a_night_goes_by() {
    let nightly = by_cron("0 2 * * *");
    let mut memory = ScheduleMemory::new(&nightly, at("2026-11-20T12:00:00Z"));
    let early = judged(&nightly, &memory, &view(at("2026-11-21T01:59:59Z")));
    assert_eq!(
        waits(early),
        (Some(at("2026-11-21T02:00:00Z")), WaitReason::NotDue)
    );
    let now = at("2026-11-21T02:00:00Z");
    let start = started(judged(&nightly, &memory, &view(now)));
    let expected = Start {
        planned: now,
        covers: 1,
        attempt: 1,
        full: false,
        catching_up: false,
        early: false,
        despite: None,
    };
    assert_eq!(start, expected);
    begin(&mut memory, &start, now);
    let later = at("2026-11-21T02:10:00Z");
    assert_eq!(
        waits(judged(&nightly, &memory, &view(later))).1,
        WaitReason::Running
    );
    memory.end(good(), later);
    let done = judged(&nightly, &memory, &view(later));
    assert_eq!(
        waits(done),
        (Some(at("2026-11-22T02:00:00Z")), WaitReason::NotDue)
    );
    assert_eq!(memory.last_success.as_ref().unwrap().planned, now);
}

#[test]
fn runs_that_overlap_are_one() {
    let quarters = every(900);
    let mut memory = ScheduleMemory::new(&quarters, at("2026-11-21T00:01:00Z"));
    let start = started(judged(
        &quarters,
        &memory,
        &view(at("2026-11-21T00:15:00Z")),
    ));
    begin(&mut memory, &start, at("2026-11-21T00:15:00Z"));
    // It takes fifty minutes: three instants pass.
    memory.end(good(), at("2026-11-21T01:05:00Z"));
    let start = started(judged(
        &quarters,
        &memory,
        &view(at("2026-11-21T01:05:01Z")),
    ));
    assert_eq!(
        (start.planned, start.covers),
        (at("2026-11-21T01:00:00Z"), 3)
    );
}

#[test]
fn after_downtime_once_or_not_at_all() {
    let mut nightly = by_cron("0 2 * * *");
    let memory = ScheduleMemory::new(&nightly, at("2026-11-17T12:00:00Z"));
    let now = at("2026-11-21T09:00:00Z");
    let back = View {
        watching_since: at("2026-11-21T08:59:50Z"),
        ..view(now)
    };
    let start = started(judged(&nightly, &memory, &back));
    assert_eq!(
        (start.planned, start.covers, start.catching_up),
        (at("2026-11-21T02:00:00Z"), 4, true)
    );
    nightly.catch_up = CatchUp::Skip;
    let skip = Verdict::Skip {
        planned: at("2026-11-21T02:00:00Z"),
        covers: 4,
    };
    assert_eq!(judged(&nightly, &memory, &back), skip);
    let mut after = memory.clone();
    after.skip(at("2026-11-21T02:00:00Z"), 4, now);
    assert_eq!(
        waits(judged(&nightly, &after, &back)).0,
        Some(at("2026-11-22T02:00:00Z"))
    );
    assert!(
        lateness(&nightly, &after, now).is_some(),
        "passed over is late all the same"
    );
    // A short restart at the wrong moment costs nothing.
    let back = View {
        watching_since: at("2026-11-21T02:00:03Z"),
        ..view(at("2026-11-21T02:00:10Z"))
    };
    assert!(started(judged(&nightly, &memory, &back)).catching_up);
}

#[test]
fn what_failed_is_repeated_until_the_next_instant() {
    let mut hourly = by_cron("0 * * * *");
    hourly.kind = Kind::Full;
    let mut memory = ScheduleMemory::new(&hourly, at("2026-11-21T01:30:00Z"));
    let mut now = at("2026-11-21T02:00:00Z");
    let mut attempts = Vec::new();
    while now < at("2026-11-21T03:10:00Z") {
        match judged(&hourly, &memory, &view(now)) {
            Verdict::Start(start) => {
                attempts.push(format!("{} {} of {}", now, start.attempt, start.planned));
                begin(&mut memory, &start, now);
                memory.end(bad(), now);
            }
            Verdict::Wait { until, .. } => {
                assert!(until.is_some_and(|until| until > now));
                now = now.after(Duration::from_secs(30));
            }
            Verdict::Skip { .. } | Verdict::Unchanged { .. } => panic!("nothing is passed over"),
        }
    }
    assert_eq!(
        attempts,
        [
            "2026-11-21T02:00:00Z 1 of 2026-11-21T02:00:00Z",
            "2026-11-21T02:01:00Z 2 of 2026-11-21T02:00:00Z",
            "2026-11-21T02:03:00Z 3 of 2026-11-21T02:00:00Z",
            "2026-11-21T02:07:00Z 4 of 2026-11-21T02:00:00Z",
            "2026-11-21T02:15:00Z 5 of 2026-11-21T02:00:00Z",
            "2026-11-21T02:31:00Z 6 of 2026-11-21T02:00:00Z",
            "2026-11-21T03:00:00Z 1 of 2026-11-21T03:00:00Z",
            "2026-11-21T03:01:00Z 2 of 2026-11-21T03:00:00Z",
            "2026-11-21T03:03:00Z 3 of 2026-11-21T03:00:00Z",
            "2026-11-21T03:07:00Z 4 of 2026-11-21T03:00:00Z",
        ]
    );
    assert_eq!(memory.failures, 10);
    let late = lateness(&hourly, &memory, now).unwrap();
    assert_eq!(late.planned, at("2026-11-21T02:00:00Z"));
}

#[test]
fn cancelled_is_not_repeated_and_not_forgotten() {
    let hourly = by_cron("0 * * * *");
    let mut memory = ScheduleMemory::new(&hourly, at("2026-11-21T01:30:00Z"));
    let now = at("2026-11-21T02:00:00Z");
    let start = started(judged(&hourly, &memory, &view(now)));
    begin(&mut memory, &start, now);
    memory.end(Ended::Cancelled, now);
    assert_eq!(
        waits(judged(&hourly, &memory, &view(now))).0,
        Some(at("2026-11-21T03:00:00Z"))
    );
    assert!(lateness(&hourly, &memory, at("2026-11-21T02:31:00Z")).is_some());
}

#[test]
fn what_was_left_out_is_no_success() {
    let hourly = by_cron("0 * * * *");
    let mut memory = ScheduleMemory::new(&hourly, at("2026-11-21T01:30:00Z"));
    let now = at("2026-11-21T02:00:00Z");
    let start = started(judged(&hourly, &memory, &view(now)));
    begin(&mut memory, &start, now);
    let left_out = vec!["books: node n2 is not connected".to_owned()];
    memory.end(
        Ended::Succeeded {
            captured: [].into(),
            left_out: left_out.clone(),
        },
        now,
    );
    assert_eq!(
        memory.last_run.as_ref().unwrap().outcome,
        Outcome::Incomplete { left_out }
    );
    assert!(lateness(&hourly, &memory, at("2026-11-21T02:31:00Z")).is_some());
}

#[test]
fn a_job_that_never_began_begins_at_once() {
    let hourly = by_cron("0 * * * *");
    let mut memory = ScheduleMemory::new(&hourly, at("2026-11-21T01:30:00Z"));
    let now = at("2026-11-21T02:00:00Z");
    memory.begin(now, 1, 1, false, now);
    memory.end(Ended::NotBegun, now.after(minutes(9)));
    let start = started(judged(&hourly, &memory, &view(now.after(minutes(9)))));
    assert_eq!((start.planned, start.attempt), (now, 1));
}

#[test]
fn every_third_run_is_full() {
    let mut hourly = by_cron("0 * * * *");
    hourly.kind = Kind::FullEvery(NonZeroU32::new(3).unwrap());
    let mut memory = ScheduleMemory::new(&hourly, at("2026-11-21T01:30:00Z"));
    let mut now = at("2026-11-21T02:00:00Z");
    let mut kinds = Vec::new();
    for hour in 0..8 {
        let start = started(judged(&hourly, &memory, &view(now)));
        kinds.push(start.full);
        begin(&mut memory, &start, now);
        // A full one that fails stays due.
        memory.end(if hour == 3 { Ended::Cancelled } else { good() }, now);
        now = now.after(minutes(60));
    }
    assert_eq!(kinds, [true, false, false, true, true, false, false, true]);
}

#[test]
fn outside_its_windows_it_waits_and_comes_once() {
    let mut quarters = every(900);
    quarters.zone = zone("Europe/Berlin");
    quarters.windows = windows(&["22:00-06:00"]);
    let mut memory = ScheduleMemory::new(&quarters, at("2026-11-21T04:50:00Z"));
    memory.handled = at("2026-11-21T04:45:00Z");
    memory.satisfied = at("2026-11-21T04:45:00Z");
    // 06:00 in Berlin: the window has closed.
    let noon = judged(&quarters, &memory, &view(at("2026-11-21T11:00:00Z")));
    assert_eq!(waits(noon).0, Some(at("2026-11-21T21:00:00Z")));
    let start = started(judged(
        &quarters,
        &memory,
        &view(at("2026-11-21T21:00:00Z")),
    ));
    assert_eq!(
        (start.planned, start.covers),
        (at("2026-11-21T21:00:00Z"), 65)
    );
    assert!(lateness(&quarters, &memory, at("2026-11-21T21:05:00Z")).is_none());
}

#[test]
fn it_gives_way_to_the_database_but_not_for_ever() {
    let mut hourly = by_cron("0 * * * *");
    hourly.limits.max_delay = minutes(20);
    let memory = ScheduleMemory::new(&hourly, at("2026-11-21T01:30:00Z"));
    let slow = Slow {
        node: "n1".parse().unwrap(),
        latency: Duration::from_millis(900),
        limit: Duration::from_millis(250),
    };
    let at_load = |now| View {
        slow: Some(slow.clone()),
        ..view(at(now))
    };
    let waiting = judged(&hourly, &memory, &at_load("2026-11-21T02:05:00Z"));
    assert_eq!(
        waits(waiting),
        (
            Some(at("2026-11-21T02:20:00Z")),
            WaitReason::Slow(slow.clone())
        )
    );
    let start = started(judged(&hourly, &memory, &at_load("2026-11-21T02:20:00Z")));
    assert_eq!(start.despite, Some(slow.clone()));
    // It does not wait until its window has closed.
    hourly.windows = windows(&["01:00-02:10"]);
    assert!(matches!(
        waits(judged(&hourly, &memory, &at_load("2026-11-21T02:05:00Z"))),
        (Some(end), WaitReason::Slow(_)) if end == at("2026-11-21T02:09:00Z")
    ));
    assert!(matches!(
        judged(&hourly, &memory, &at_load("2026-11-21T02:09:00Z")),
        Verdict::Start(_)
    ));
}

#[test]
fn other_jobs_and_the_start_come_first() {
    let hourly = by_cron("0 * * * *");
    let memory = ScheduleMemory::new(&hourly, at("2026-11-21T01:30:00Z"));
    let mut now = view(at("2026-11-21T02:05:00Z"));
    now.busy = Some("restore-1".parse().unwrap());
    assert!(matches!(
        waits(judged(&hourly, &memory, &now)).1,
        WaitReason::Busy(_)
    ));
    now.unsettled = Some("node n2 has not connected yet".into());
    assert!(matches!(
        waits(judged(&hourly, &memory, &now)).1,
        WaitReason::Unsettled(_)
    ));
}

#[test]
fn a_clock_that_went_back_does_not_silence_it() {
    let hourly = by_cron("0 * * * *");
    let mut memory = ScheduleMemory::new(&hourly, at("2030-01-01T00:00:00Z"));
    memory.satisfied = at("2030-01-01T00:00:00Z");
    let now = at("2026-11-21T02:05:00Z");
    let waiting = judged(&hourly, &memory, &view(now));
    assert_eq!(waits(waiting).0, Some(at("2026-11-21T03:00:00Z")));
    // A retry of the future comes now.
    memory.begin(
        at("2029-12-31T23:00:00Z"),
        1,
        1,
        false,
        at("2030-01-01T00:00:00Z"),
    );
    memory.end(bad(), at("2030-01-01T00:00:00Z"));
    assert!(matches!(
        judged(&hourly, &memory, &view(now)),
        Verdict::Start(_)
    ));
}

#[test]
fn a_changed_expression_runs_from_now_on() {
    let nightly = by_cron("0 2 * * *");
    let mut memory = ScheduleMemory::new(&nightly, at("2026-11-20T12:00:00Z"));
    let quarters = every(900);
    let now = at("2026-11-21T09:05:00Z");
    assert!(memory.follow(&quarters, now) && !memory.follow(&quarters, now));
    assert_eq!(
        waits(judged(&quarters, &memory, &view(now))).0,
        Some(at("2026-11-21T09:15:00Z"))
    );
    assert_eq!(lateness(&quarters, &memory, now), None);
}

#[test]
fn jitter_is_the_same_after_a_restart_and_keeps_the_order() {
    let mut quarters = schedule(Timing::Every(minutes(15)));
    quarters.jitter = minutes(10);
    let mut other = quarters.clone();
    other.name = "other".parse().unwrap();
    let planned = at("2026-11-21T02:00:00Z");
    // Golden: a release that draws others runs twice at its update.
    assert_eq!(
        quarters.jittered(planned),
        at("2026-11-21T02:03:02.485589Z")
    );
    assert_ne!(other.jittered(planned), quarters.jittered(planned));
    quarters.jitter = minutes(12 * 60);
    let mut last = planned;
    for n in 0..500 {
        let planned = planned.after(minutes(15 * n));
        let start = quarters.jittered(planned);
        assert!(planned <= start && start < planned.after(minutes(15)) && last <= start);
        last = start;
    }
}

#[test]
fn pauses_double_up_to_half_an_hour() {
    let pauses: Vec<u64> = (1..8)
        .map(|attempt| backoff(attempt).as_secs() / 60)
        .collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(backoff(u32::MAX), minutes(30));
}

#[test]
fn lateness_is_tolerated_for_half_the_time_to_the_next() {
    let quarters = every(900);
    let memory = ScheduleMemory::new(&quarters, at("2026-11-21T00:01:00Z"));
    assert_eq!(
        lateness(&quarters, &memory, at("2026-11-21T00:22:30Z")),
        None
    );
    let late = lateness(&quarters, &memory, at("2026-11-21T00:22:31Z")).unwrap();
    assert_eq!(
        (late.planned, late.by),
        (at("2026-11-21T00:15:00Z"), Duration::from_secs(451))
    );
    let mut strict = quarters.clone();
    strict.tolerance = Some(Duration::from_secs(10));
    assert!(lateness(&strict, &memory, at("2026-11-21T00:15:11Z")).is_some());
}

#[test]
fn what_comes_next() {
    let mut quarters = every(900);
    quarters.windows = windows(&["22:00-22:20"]);
    let next = quarters.upcoming(at("2026-11-21T10:00:00Z"), 3);
    let starts: Vec<String> = next
        .iter()
        .map(|(start, planned)| format!("{start} {planned}"))
        .collect();
    assert_eq!(
        starts,
        [
            "2026-11-21T22:00:00Z 2026-11-21T22:00:00Z",
            "2026-11-21T22:15:00Z 2026-11-21T22:15:00Z",
            "2026-11-22T22:00:00Z 2026-11-22T22:00:00Z",
        ]
    );
}
