//! Weeks of looking, with failures, restarts, downtime and other jobs drawn at random; promises are counted afterwards.

use super::{at, every, judged, minutes, schedule, windows, zone};
use crate::schedule::{
    CatchUp, Changes, Early, Ended, Schedule, ScheduleMemory, Timing, Unchanged, Verdict, View,
};
use holdfast_types::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

/// What happens at one look.
#[derive(Clone, Debug)]
enum Event {
    /// So many minutes pass.
    Pass(u64),
    /// The run under way ends well.
    Good,
    /// It ends badly.
    Bad,
    /// Nobody looks for so many minutes; the memory is what was recorded.
    Down(u64),
    /// The process ends between the record and the job.
    CrashBeforeJob,
    /// Another job runs, or has ended.
    Other(bool),
    /// Somebody writes so many operations.
    Write(u64),
    /// Logs are archived, or no longer.
    Logs(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_u64..40).prop_map(Event::Pass),
        4 => Just(Event::Good),
        1 => Just(Event::Bad),
        1 => (1_u64..3000).prop_map(Event::Down),
        1 => Just(Event::CrashBeforeJob),
        1 => any::<bool>().prop_map(Event::Other),
        2 => (1_u64..200).prop_map(Event::Write),
        1 => any::<bool>().prop_map(Event::Logs),
    ]
}

fn schedules() -> Vec<Schedule> {
    let cron = |text: &str, tz: &str| {
        let mut schedule = schedule(Timing::Cron(text.parse().unwrap()));
        schedule.zone = zone(tz);
        schedule
    };
    let mut jittered = cron("0 2 * * *", "Europe/Berlin");
    jittered.jitter = minutes(30);
    let mut nights = every(900);
    nights.zone = zone("America/New_York");
    nights.windows = windows(&["22:00-06:00"]);
    let mut skipping = cron("30 */4 * * *", "Australia/Lord_Howe");
    skipping.catch_up = CatchUp::Skip;
    let mut adaptive = every(3600);
    adaptive.unchanged = Unchanged::Skip;
    adaptive.early = Some(Early {
        operations: NonZeroU64::new(300).unwrap(),
        apart: minutes(10),
    });
    vec![
        every(900),
        cron("*/20 1-3 * * *", "Europe/Berlin"),
        jittered,
        nights,
        skipping,
        adaptive,
    ]
}

struct Run {
    memory: ScheduleMemory,
    now: Timestamp,
    watching_since: Timestamp,
    other: bool,
    /// Operations since the newest capture, and whether that is known.
    written: u64,
    logs: bool,
    /// Attempts by planned instant.
    attempts: BTreeMap<Timestamp, Vec<u32>>,
    catching_up: u32,
}

impl Run {
    fn look(&mut self, schedule: &Schedule, crash: bool) {
        let view = View {
            now: self.now,
            watching_since: self.watching_since,
            unsettled: None,
            busy: self.other.then(|| "restore-1".parse().unwrap()),
            slow: None,
            changes: self.changes(),
        };
        match judged(schedule, &self.memory, &view) {
            Verdict::Start(start) => {
                assert!(
                    schedule.windows.allow(self.now, &schedule.zone),
                    "windows are kept"
                );
                assert!(!self.other, "one job at a time");
                let given = self.attempts.entry(start.planned).or_default();
                assert!(
                    given.is_empty() || start.attempt > 1 || given.last() == Some(&0),
                    "twice for {}",
                    start.planned
                );
                given.push(if crash {
                    start.attempt - 1
                } else {
                    start.attempt
                });
                self.catching_up += u32::from(start.catching_up);
                self.memory.begin(
                    start.planned,
                    start.covers,
                    start.attempt,
                    start.full,
                    self.now,
                );
                if crash {
                    self.memory.end(Ended::NotBegun, self.now);
                } else {
                    self.memory.began("backup-1".parse().unwrap());
                }
            }
            Verdict::Unchanged { planned, .. } => {
                assert_eq!(self.written, 0, "something has changed");
                self.attempts.entry(planned).or_default().push(1);
                self.memory.answer(planned, self.now);
            }
            Verdict::Skip { planned, covers } => self.memory.skip(planned, covers, self.now),
            Verdict::Wait { until, .. } => {
                assert!(
                    until.is_none_or(|until| until > self.now),
                    "it waits for the past"
                );
            }
        }
    }

    /// As logs tell it, which are known to the minute where they are known at all.
    fn changes(&self) -> Changes {
        if !self.logs {
            return Changes::default();
        }
        let nothing = self.written == 0;
        Changes {
            operations: self.written,
            unchanged_until: nothing.then_some(self.now),
        }
    }

    fn end(&mut self, ended: Ended) {
        if matches!(ended, Ended::Succeeded { .. }) {
            self.written = 0;
        }
        self.memory.end(ended, self.now);
    }

    fn running(&self) -> bool {
        use crate::schedule::OpenState;
        let open = self.memory.open.as_ref();
        open.is_some_and(|open| matches!(open.state, OpenState::Running { .. }))
    }
}

fn good() -> Ended {
    Ended::Succeeded {
        captured: [].into(),
        left_out: vec![],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_is_forgotten_and_nothing_runs_twice(
        which in 0..6_usize,
        spring in any::<bool>(),
        events in prop::collection::vec(event(), 1..120),
    ) {
        let schedule = &schedules()[which];
        let begin = at(if spring { "2026-03-27T12:00:00Z" } else { "2026-10-23T12:00:00Z" });
        let mut run = Run {
            memory: ScheduleMemory::new(schedule, begin),
            now: begin,
            watching_since: begin,
            other: false,
            written: 0,
            logs: true,
            attempts: BTreeMap::new(),
            catching_up: 0,
        };
        let mut downtimes = 0;
        for event in events {
            match event {
                Event::Pass(n) => {
                    for _ in 0..n {
                        run.now = run.now.after(minutes(1));
                        run.look(schedule, false);
                    }
                }
                Event::Good if run.running() => run.end(good()),
                Event::Bad if run.running() => run.end(Ended::Failed { reason: "bad".into() }),
                Event::Good | Event::Bad => {}
                Event::Down(n) => {
                    downtimes += 1;
                    run.now = run.now.after(minutes(n));
                    run.watching_since = run.now;
                    run.look(schedule, false);
                }
                Event::CrashBeforeJob => run.look(schedule, true),
                // Another one begins only while none runs.
                Event::Write(operations) => run.written += operations,
                Event::Logs(known) => run.logs = known,
                Event::Other(on) => run.other = on && !run.running(),
            }
        }
        // One run for each downtime at most, and its repetitions count as its own.
        prop_assert!(run.catching_up <= downtimes, "{} > {downtimes}", run.catching_up);
        // In the end everything goes well for two days: whatever was planned is answered.
        run.other = false;
        let heal = run.now;
        while run.now < heal.after(Duration::from_hours(49)) {
            run.now = run.now.after(minutes(5));
            run.look(schedule, false);
            if run.running() {
                run.end(good());
            }
        }
        let open = schedule.next_after(run.memory.satisfied).unwrap();
        let start = schedule.start_of(open).unwrap();
        prop_assert!(start > run.now, "{open} was forgotten: {:?}", run.memory);
        // Each planned instant of the good days has been answered by a run not before it.
        let mut planned = schedule.next_after(heal);
        while let Some(instant) = planned.filter(|instant| schedule.start_of(*instant).unwrap() <= run.now) {
            let answered = run.attempts.keys().any(|answered| *answered >= instant);
            prop_assert!(answered, "{instant} was not answered");
            planned = schedule.next_after(instant);
        }
    }
}
