//! Random histories of a log, read in the middle of everything.

use crate::driver::{Driver, entry_of};
use crate::model::Model;
use holdfast_wal::{Event, Frame, Position, Tail, Want};
use proptest::prelude::*;

/// Something that happens to the log.
#[derive(Clone, Debug)]
enum Change {
    Append {
        filler: usize,
        count: usize,
    },
    /// A write that a kill ended half-way.
    Tear {
        filler: usize,
        cut: usize,
    },
    /// Deletes files behind a place, in parts of 256 of what is there.
    Acknowledge(u64),
    /// Cuts the log back, in parts of 256 of what is there.
    CutBack(u64),
    /// Another folder; the next index is moved by this.
    Replace(i64),
    Damage {
        pick: usize,
        bit: usize,
    },
    /// A new reader goes on from the last entry.
    Restart,
}

/// A wish is served, with a change in its middle.
#[derive(Clone, Debug)]
struct Move {
    steps: usize,
    luck: u64,
    change: Option<Change>,
}

fn append() -> impl Strategy<Value = Change> {
    let filler = prop_oneof![8 => 0usize..60, 1 => 0usize..700];
    (filler, 1usize..6).prop_map(|(filler, count)| Change::Append { filler, count })
}

fn benign() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => append(),
        1 => (0usize..80, 0usize..200).prop_map(|(filler, cut)| Change::Tear { filler, cut }),
    ]
}

fn hostile() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => benign(),
        2 => (0u64..=256).prop_map(Change::Acknowledge),
        2 => (0u64..=256).prop_map(Change::CutBack),
        1 => (-6i64..6).prop_map(Change::Replace),
        1 => Just(Change::Restart),
    ]
}

fn broken() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => hostile(),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(pick, bit)| Change::Damage { pick, bit }),
    ]
}

fn moves(change: impl Strategy<Value = Change>) -> impl Strategy<Value = Vec<Move>> {
    let one = (
        0usize..8,
        any::<u64>(),
        proptest::option::weighted(0.8, change),
    );
    let one = one.prop_map(|(steps, luck, change)| Move {
        steps,
        luck,
        change,
    });
    proptest::collection::vec(one, 1..60)
}

/// What is checked of every history, whatever happened: see [`World::check`].
struct World {
    model: Model,
    driver: Driver,
    /// The last frame that came out, over all readers.
    last: Option<Frame>,
    /// What earlier readers yielded.
    earlier: Vec<Vec<Event>>,
    damaged: bool,
}

impl World {
    fn new(capacity: usize, retain: usize) -> Self {
        Self {
            model: Model::new(capacity, retain),
            driver: Driver::new(Tail::new()),
            last: None,
            earlier: Vec::new(),
            damaged: false,
        }
    }

    fn play(&mut self, moves: &[Move]) {
        for one in moves {
            for _ in 0..one.steps {
                self.driver.step(&mut self.model, 0, |_| {});
            }
            match &one.change {
                Some(Change::Restart) => self.restart(),
                Some(Change::Acknowledge(_)) => {
                    // The limit that the tail names: it sees a file before that is deleted again.
                    while self.driver.tail.want() != Want::List {
                        self.driver.step(&mut self.model, 0, |_| {});
                    }
                    self.driver.step(&mut self.model, 0, |_| {});
                    self.change(one);
                }
                Some(_) | None => self.change(one),
            }
        }
    }

    fn change(&mut self, one: &Move) {
        let damaged = &mut self.damaged;
        if let Some(change) = &one.change {
            let change = |model: &mut Model| *damaged |= apply(model, change);
            self.driver.step(&mut self.model, one.luck, change);
        }
    }

    fn restart(&mut self) {
        let frames = self.driver.events.iter().rev();
        let last = frames.filter_map(|event| match event {
            Event::Frame(frame) => Some(frame.clone()),
            Event::Resumed { .. }
            | Event::Began { .. }
            | Event::Obstructed { .. }
            | Event::Ended { .. } => None,
        });
        if let Some(frame) = last.take(1).next() {
            self.last = Some(frame);
        }
        let tail = self.last.as_ref().map_or_else(Tail::new, |frame| {
            Tail::resume(Position {
                next: frame.index + 1,
                crc: frame.crc,
            })
        });
        let old = std::mem::replace(&mut self.driver, Driver::new(tail));
        self.earlier.push(old.events);
    }

    /// 1. Every entry is right: its index is the one it had in the log.
    /// 2. Within a timeline, and across a resumption, each frame follows the one before: by index, by CRC, and in the history.
    /// 3. Nothing comes out of a timeline that has ended, and no timeline begins that did not end.
    /// 4. Once the log rests, "caught up" is true of the log as it is, and is said unless damage, or
    ///    half an entry, is in the way.
    fn check(&mut self) {
        self.driver.settle(&mut self.model);
        let readers: Vec<_> = self.earlier.iter().chain([&self.driver.events]).collect();
        let mut before: Option<Frame> = None;
        for events in readers {
            let mut running = None;
            let mut last: Option<Frame> = None;
            for event in events {
                match event {
                    Event::Resumed { next } => {
                        running = Some(0);
                        last.clone_from(&before);
                        assert_eq!(last.as_ref().map(|frame| frame.index + 1), Some(*next));
                    }
                    Event::Began { timeline, first } => {
                        assert_eq!(running, None, "a timeline begins while another runs");
                        running = Some(*timeline);
                        last = None;
                        self.expect_next(*first, events, event);
                    }
                    Event::Obstructed { .. } => {}
                    Event::Ended { timeline, .. } => {
                        assert!(running.is_none_or(|running| running == *timeline));
                        running = None;
                    }
                    Event::Frame(frame) => {
                        assert_eq!(running, Some(frame.timeline), "a frame of no timeline");
                        self.check_frame(last.as_ref(), frame);
                        last = Some(frame.clone());
                        before = Some(frame.clone());
                    }
                }
            }
        }
        let (caught_up, next) = (self.driver.tail.caught_up(), self.model.next());
        // A log that was cut back shows it with its next entry, which is none that could be missing.
        assert!(caught_up.is_none_or(|found| found >= next));
        let unclear = self.damaged || self.model.gave_up || self.model.is_torn();
        assert!(caught_up.is_some() || unclear);
    }

    /// The frame after "began" is the first that was promised.
    fn expect_next(&self, first: u64, events: &[Event], began: &Event) {
        let at = events.iter().position(|event| std::ptr::eq(event, began));
        if let Some(Event::Frame(frame)) = at.and_then(|at| events.get(at + 1)) {
            assert_eq!(frame.index, first);
        }
    }

    fn check_frame(&self, last: Option<&Frame>, frame: &Frame) {
        let origin = self.model.origins[&entry_of(&frame.data)];
        assert_eq!(origin.index, frame.index, "an entry under a wrong index");
        let crc = holdfast_wal::format::entry_crc(frame.before, &frame.data);
        assert_eq!(crc, frame.crc);
        if let Some(last) = last {
            assert_eq!(frame.index, last.index + 1, "a gap within a timeline");
            assert_eq!(origin.parent, entry_of(&last.data), "another history");
        }
    }
}

/// Whether it damaged something.
fn apply(model: &mut Model, change: &Change) -> bool {
    let part = |of: u64| model.first() + (model.next() - model.first()) * of / 256;
    match change {
        Change::Append { filler, count } => {
            for _ in 0..*count {
                model.append(*filler);
            }
        }
        Change::Tear { filler, cut } => model.tear(*filler, *cut),
        Change::Acknowledge(of) => model.acknowledge(part(*of)),
        Change::CutBack(of) => model.cut_back(part(*of)),
        Change::Replace(by) => model.replace(model.next().saturating_add_signed(*by)),
        Change::Damage { pick, bit } => return model.damage(*pick, *bit),
        Change::Restart => {}
    }
    false
}

fn cases() -> ProptestConfig {
    ProptestConfig::with_cases(3000)
}

proptest! {
    #![proptest_config(cases())]

    /// A server that only appends and rotates, killed now and then in the middle of a write: one timeline, every entry.
    #[test]
    fn nothing_is_missed_and_no_timeline_ends(moves in moves(benign()), capacity in 12usize..40) {
        let mut world = World::new(capacity * 8, 3);
        world.play(&moves);
        world.check();
        if world.model.gave_up {
            // What stands there can't be told from damage.
            return Ok(());
        }
        prop_assert_eq!(world.driver.ended(), 0);
        let mut all: Vec<u64> = world.model.origins.keys().copied().collect();
        all.sort_by_key(|id| world.model.origins[id].index);
        prop_assert_eq!(world.driver.entries(), all);
    }

    /// A reader that keeps up sees no gap although files are deleted behind it.
    #[test]
    fn files_deleted_behind_the_reader_are_no_gap(counts in proptest::collection::vec(1usize..9, 1..25)) {
        let mut world = World::new(160, 1);
        let mut appended = 0;
        for count in counts {
            for _ in 0..count {
                world.model.append(appended % 50);
                appended += 1;
            }
            world.driver.settle(&mut world.model);
            let next = world.model.next();
            world.model.acknowledge(next);
        }
        world.check();
        prop_assert_eq!(world.driver.ended(), 0);
        prop_assert_eq!(world.driver.entries().len(), appended);
    }

    #[test]
    fn cut_backs_deletions_and_new_folders_never_mix_histories(
        moves in moves(hostile()), capacity in 12usize..40, retain in 1usize..4,
    ) {
        let mut world = World::new(capacity * 8, retain);
        world.play(&moves);
        world.check();
    }

    #[test]
    fn damage_is_never_passed_on(moves in moves(broken()), capacity in 12usize..40, retain in 1usize..4) {
        let mut world = World::new(capacity * 8, retain);
        world.play(&moves);
        world.check();
    }
}
