//! Single events, with the exact answer.

use crate::driver::Driver;
use crate::model::Model;
use holdfast_wal::{Cause, Event, Position, Tail, Want};

/// A log of files with three entries each, read to its end.
fn read_log(entries: usize) -> (Model, Driver) {
    let mut model = Model::new(8 + 3 * 32, 2);
    for _ in 0..entries {
        model.append(8);
    }
    let mut driver = Driver::new(Tail::new());
    driver.settle(&mut model);
    assert_eq!(driver.tail.caught_up(), Some(entries as u64));
    driver.events.clear();
    (model, driver)
}

/// What came out, entries by their numbers.
fn told(driver: &mut Driver, model: &mut Model) -> Vec<String> {
    driver.settle(model);
    let events = driver.events.drain(..);
    let told = events.map(|event| match event {
        Event::Frame(frame) => format!("{}: entry at {}", frame.timeline, frame.index),
        Event::Began { timeline, first } => format!("{timeline}: begins at {first}"),
        Event::Resumed { next } => format!("0: resumed at {next}"),
        Event::Obstructed { next, offset } => format!("something at byte {offset} before {next}"),
        Event::Ended {
            timeline,
            next,
            cause,
        } => format!("{timeline}: ended at {next}: {cause}"),
    });
    told.collect()
}

#[test]
fn files_deleted_before_they_were_read_are_a_gap() {
    let (mut model, mut driver) = read_log(2);
    for _ in 0..12 {
        model.append(8);
    }
    let mut late = model.clone();
    late.acknowledge(14);
    let said = told(&mut driver, &mut late);
    assert_eq!(said[0], "0: entry at 2");
    assert_eq!(
        said[1],
        "0: ended at 3: entries were deleted before they were read: the log goes on at 6"
    );
    assert_eq!(said[2], "1: begins at 6");
    assert_eq!(said.last().unwrap(), "1: entry at 13");
}

#[test]
fn an_index_used_again_in_the_same_file_is_a_new_timeline() {
    let (mut model, mut driver) = read_log(5);
    model.cut_back(4);
    model.append(8);
    let said = told(&mut driver, &mut model);
    assert_eq!(
        said[0],
        "0: ended at 5: the log was cut back behind what was read"
    );
    assert_eq!(said[1], "1: begins at 0");
    assert_eq!(said.last().unwrap(), "1: entry at 4");
}

/// The file that is open has no entry yet: nothing in it changes, only the end of the file before.
#[test]
fn an_index_used_again_in_the_file_before_is_a_new_timeline() {
    let (mut model, mut driver) = read_log(4);
    model.cut_back(3);
    driver.settle(&mut model);
    driver.events.clear();
    let position = Position { next: 3, crc: 1 };
    let mut resumed = Driver::new(Tail::resume(position));
    resumed.settle(&mut model);
    assert!(matches!(
        resumed.events[0],
        Event::Ended {
            cause: Cause::Rewound,
            next: 3,
            ..
        }
    ));

    let mut model = Model::new(8 + 3 * 32, 2);
    for _ in 0..4 {
        model.append(8);
    }
    model.cut_back(3);
    let mut driver = Driver::new(Tail::new());
    driver.settle(&mut model);
    driver.events.clear();
    model.cut_back(2);
    model.append(8);
    let said = told(&mut driver, &mut model);
    assert_eq!(
        said[0],
        "0: ended at 3: the log was cut back behind what was read"
    );
    assert_eq!(said.last().unwrap(), "1: entry at 2");
}

#[test]
fn a_file_that_is_gone_without_a_successor_is_a_new_timeline() {
    let mut model = Model::new(8 + 3 * 32, 2);
    for _ in 0..7 {
        model.append(8);
    }
    model.cut_back(6);
    let mut driver = Driver::new(Tail::new());
    driver.settle(&mut model);
    assert_eq!(driver.tail.caught_up(), Some(6));
    driver.events.clear();
    // Deletes the second file; the third, still without an entry, stays.
    model.cut_back(3);
    model.append(8);
    let said = told(&mut driver, &mut model);
    assert_eq!(
        said[0],
        "0: ended at 6: the log was cut back behind what was read"
    );
    assert_eq!(said.last().unwrap(), "1: entry at 3");
}

#[test]
fn a_recovered_shard_is_a_new_timeline_even_at_the_same_index() {
    let (mut model, mut driver) = read_log(5);
    model.replace(5);
    model.append(8);
    let said = told(&mut driver, &mut model);
    let want = [
        "0: ended at 5: the log's folder was replaced",
        "1: begins at 5",
        "1: entry at 5",
    ];
    assert_eq!(said, want);
}

#[test]
fn half_an_entry_is_waited_for() {
    let (mut model, mut driver) = read_log(4);
    model.tear(8, 9);
    let said = told(&mut driver, &mut model);
    assert_eq!(said, ["something at byte 40 before 4"], "once");
    assert_eq!(driver.tail.caught_up(), None, "it may be an entry");
    model.append(8);
    assert_eq!(told(&mut driver, &mut model), ["0: entry at 4"]);
    assert_eq!(driver.tail.caught_up(), Some(5));
}

#[test]
fn a_damaged_entry_is_announced_and_reading_goes_on_at_the_next_number() {
    let (mut model, mut driver) = read_log(3);
    for _ in 0..2 {
        model.append(8);
    }
    // A bit in the first of the two new entries' data.
    assert!(model.damage(3, 12 * 8));
    let said = told(&mut driver, &mut model);
    assert_eq!(said, ["something at byte 8 before 3"]);
    for _ in 0..2 {
        model.append(8);
    }
    let said = told(&mut driver, &mut model);
    assert_eq!(
        said,
        ["0: ended at 3: the entry at byte 8 of its file is damaged"]
    );
    assert_eq!(driver.tail.caught_up(), None);
    // The file behind the damaged one is full as well: its name says an index.
    for _ in 0..3 {
        model.append(8);
    }
    let said = told(&mut driver, &mut model);
    assert_eq!(said[0], "1: begins at 6");
    assert_eq!(said.last().unwrap(), "1: entry at 9");
    assert_eq!(driver.tail.caught_up(), Some(10));
}

#[test]
fn a_reader_resumes_where_the_last_entry_is_the_same() {
    let mut model = Model::new(8 + 3 * 32, 9);
    for _ in 0..8 {
        model.append(8);
    }
    let mut first = Driver::new(Tail::new());
    first.settle(&mut model);
    let crc_of = |index: u64| {
        let frames = first.events.iter().filter_map(|event| match event {
            Event::Frame(frame) => Some(frame),
            Event::Resumed { .. }
            | Event::Began { .. }
            | Event::Obstructed { .. }
            | Event::Ended { .. } => None,
        });
        frames
            .clone()
            .find(|frame| frame.index == index)
            .unwrap()
            .crc
    };
    for next in 1..=8 {
        let crc = crc_of(next - 1);
        let mut driver = Driver::new(Tail::resume(Position { next, crc }));
        let said = told(&mut driver, &mut model);
        assert_eq!(said[0], format!("0: resumed at {next}"));
        assert_eq!(said.len() as u64, 1 + 8 - next);
        let crc = crc ^ 1;
        let mut driver = Driver::new(Tail::resume(Position { next, crc }));
        let said = told(&mut driver, &mut model);
        assert!(said[0].starts_with(&format!("0: ended at {next}: the log was cut back")));
        assert_eq!(said[1], "1: begins at 0");
    }
    let crc = crc_of(7);
    let mut ahead = Driver::new(Tail::resume(Position { next: 9, crc }));
    let said = told(&mut ahead, &mut model);
    assert!(
        said[0].starts_with("0: ended at 9: the log was cut back"),
        "{said:?}"
    );
    let mut short = model.clone();
    short.acknowledge(6);
    short.acknowledge(8);
    let gone = |next| {
        Tail::resume(Position {
            next,
            crc: crc_of(next - 1),
        })
    };
    let mut model = Model::new(8 + 3 * 32, 1);
    for _ in 0..8 {
        model.append(8);
    }
    model.acknowledge(8);
    let said = told(&mut Driver::new(gone(3)), &mut model);
    assert!(
        said[0].contains("the last entry that was read is no longer in the log"),
        "{said:?}"
    );
    let said = told(&mut Driver::new(gone(2)), &mut model);
    assert!(said[0].contains("the log goes on at 3"), "{said:?}");
}

/// A new entry, and now and then a new file, in the middle of every listing or read.
#[test]
fn a_log_that_grows_at_every_look_is_read_without_a_break() {
    for turn in [Want::List, Want::Wait] {
        let mut model = Model::new(8 + 3 * 32, 2);
        let mut driver = Driver::new(Tail::new());
        for luck in 0..600 {
            let grow = matches!(driver.tail.want(), Want::List) == (turn == Want::List);
            driver.step(&mut model, luck, |model| {
                if grow {
                    model.append(8);
                }
            });
        }
        driver.settle(&mut model);
        assert_eq!(driver.ended(), 0, "{turn:?}");
        assert_eq!(driver.entries().len() as u64, model.next(), "{turn:?}");
    }
}
