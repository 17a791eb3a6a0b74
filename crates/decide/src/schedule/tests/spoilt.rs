//! The checker finds every kind of mistake.

use super::{at, by_cron, every, minutes, schedule, view, windows, zone};
use crate::schedule::{
    CatchUp, Ended, Kind, Schedule, ScheduleMemory, ScheduleViolation as V, Slow, Start, Timing,
    Verdict, View, WaitReason, check_verdict,
};
use std::time::Duration;

fn start() -> Start {
    Start {
        planned: at("2026-11-21T02:00:00Z"),
        covers: 1,
        attempt: 1,
        full: false,
        catching_up: false,
        early: false,
        despite: None,
    }
}

fn world() -> (Schedule, ScheduleMemory, View) {
    let hourly = by_cron("0 * * * *");
    let memory = ScheduleMemory::new(&hourly, at("2026-11-21T01:30:00Z"));
    (hourly, memory, view(at("2026-11-21T02:00:30Z")))
}

fn found(
    start: Start,
    change: impl FnOnce(&mut Schedule, &mut ScheduleMemory, &mut View),
) -> Vec<V> {
    let (mut schedule, mut memory, mut view) = world();
    change(&mut schedule, &mut memory, &mut view);
    check_verdict(&Verdict::Start(start), &schedule, &memory, &view)
}

#[test]
fn wrong_starts() {
    let two = at("2026-11-21T02:00:00Z");
    assert_eq!(found(start(), |_, _, _| {}), []);
    let half = Start {
        planned: at("2026-11-21T01:45:00Z"),
        ..start()
    };
    assert_eq!(
        found(half.clone(), |_, _, _| {}),
        [V::NotPlanned(half.planned)]
    );
    let early = Start {
        planned: at("2026-11-21T03:00:00Z"),
        ..start()
    };
    assert_eq!(
        found(early.clone(), |_, _, _| {}),
        [V::TooEarly(early.planned)]
    );
    assert_eq!(
        found(start(), |_, memory, _| memory.handled = two),
        [V::Twice(two)]
    );
    assert_eq!(
        found(start(), |_, _, view| view.busy =
            Some("job-1".parse().unwrap())),
        [V::Busy]
    );
    assert_eq!(
        found(start(), |_, _, view| view.unsettled = Some("n2".into())),
        [V::Unsettled]
    );
    assert_eq!(
        found(start(), |s, _, _| s.windows = windows(&["03:00-04:00"])),
        [V::OutsideWindow]
    );
    assert_eq!(
        found(start(), |s, _, _| s.kind = Kind::Full),
        [V::WrongKind]
    );
    assert_eq!(
        found(
            Start {
                attempt: 2,
                ..start()
            },
            |_, _, _| {}
        ),
        [V::NoRetry]
    );
    let running = found(start(), |_, memory, _| {
        memory.begin(at("2026-11-21T01:00:00Z"), 1, 1, false, two);
    });
    assert_eq!(running, [V::Busy]);
    let slow = Slow {
        node: "n1".parse().unwrap(),
        latency: Duration::from_secs(2),
        limit: Duration::from_secs(1),
    };
    let pushed = Start {
        despite: Some(slow.clone()),
        ..start()
    };
    assert_eq!(
        found(pushed, |_, _, view| view.slow = Some(slow)),
        [V::Pushed]
    );
}

#[test]
fn wrong_repetitions() {
    let failed = |_: &mut Schedule, memory: &mut ScheduleMemory, _: &mut View| {
        let two = at("2026-11-21T02:00:00Z");
        memory.begin(two, 1, 1, false, two);
        memory.end(Ended::Failed { reason: "x".into() }, two);
    };
    let again = |attempt| Start { attempt, ..start() };
    // Half a minute later is too soon; so is another number.
    assert_eq!(found(again(2), failed), [V::NoRetry]);
    let later = |s: &mut Schedule, memory: &mut ScheduleMemory, view: &mut View| {
        failed(s, memory, view);
        view.now = at("2026-11-21T02:01:00Z");
    };
    assert_eq!(found(again(2), later), []);
    assert_eq!(found(again(3), later), [V::NoRetry]);
}

#[test]
fn wrong_silence() {
    let (hourly, memory, now) = world();
    let silent = |schedule: &Schedule, now: &View| {
        let verdict = Verdict::Wait {
            until: None,
            why: WaitReason::NotDue,
        };
        check_verdict(&verdict, schedule, &memory, now)
    };
    assert_eq!(
        silent(&hourly, &now),
        [V::Forgotten(at("2026-11-21T02:00:00Z"))]
    );
    assert_eq!(
        silent(&every(3600), &now),
        [V::Forgotten(at("2026-11-21T02:00:00Z"))]
    );
    assert_eq!(silent(&hourly, &view(at("2026-11-21T01:59:59Z"))), []);
    let mut berlin = by_cron("30 2 * * *");
    berlin.zone = zone("Europe/Berlin");
    let spring = at("2026-03-29T01:30:00Z");
    let asleep = ScheduleMemory::new(&berlin, at("2026-03-29T01:00:00Z"));
    let verdict = Verdict::Wait {
        until: None,
        why: WaitReason::NotDue,
    };
    let wrong = check_verdict(&verdict, &berlin, &asleep, &view(spring));
    assert_eq!(
        wrong,
        [V::Forgotten(spring)],
        "what the clock skipped is due, too"
    );
}

#[test]
fn wrong_passing_over() {
    let mut skipping = schedule(Timing::Cron("0 * * * *".parse().unwrap()));
    let memory = ScheduleMemory::new(&skipping, at("2026-11-21T01:30:00Z"));
    let two = at("2026-11-21T02:00:00Z");
    let verdict = Verdict::Skip {
        planned: two,
        covers: 1,
    };
    let now = View {
        watching_since: two.after(minutes(30)),
        ..view(two.after(minutes(30)))
    };
    let wrong = check_verdict(&verdict, &skipping, &memory, &now);
    assert_eq!(wrong, [V::SkippedWithoutLeave(two)]);
    skipping.catch_up = CatchUp::Skip;
    assert_eq!(check_verdict(&verdict, &skipping, &memory, &now), []);
    let watched = view(two.after(minutes(30)));
    assert_eq!(
        check_verdict(&verdict, &skipping, &memory, &watched),
        [V::SkippedWithoutLeave(two)]
    );
}
