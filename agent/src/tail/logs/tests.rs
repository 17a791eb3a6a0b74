//! Which logs are found, read and forgotten, and that reading stops when too much waits.

use super::{Logs, Phase};
use crate::tail::board::Board;
use crate::tail::fixture::{rewrite, write};
use crate::tail::follower::Now;
use crate::tail::look::{Durable, Item};
use crate::tail::scan::LogKey;
use fs_err as fs;
use holdfast_types::{TimelineId, Timestamp};
use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

struct World {
    dir: tempfile::TempDir,
    logs: Logs,
    board: Board,
    turns: Cell<u64>,
    began: Instant,
}

impl World {
    fn new(limit: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let board = Board::default();
        let state = (dir.path(), &"n1".parse().unwrap());
        let logs = Logs::new(dir.path(), state, limit, board.clone());
        Self {
            dir,
            logs,
            board,
            turns: Cell::new(0),
            began: Instant::now(),
        }
    }

    fn log(&self, collection: &str) -> PathBuf {
        self.dir
            .path()
            .join(format!("collections/{collection}/0/wal"))
    }

    fn create(&self, collection: &str, entries: &[&[u8]]) {
        fs::create_dir_all(self.log(collection)).unwrap();
        write(&self.log(collection).join("open-1"), 1, entries);
    }

    /// A turn, two seconds after the one before; the coordinator knows nothing of new logs.
    fn turn(&mut self) {
        let (turns, began) = (&self.turns, self.began);
        turns.set(turns.get() + 1);
        let now = || Now {
            wall: Timestamp::from_micros(i64::try_from(turns.get()).unwrap()),
            steady: began + Duration::from_secs(2 * turns.get()),
        };
        self.logs.turn(&now);
        let new: Vec<u32> = self
            .logs
            .iter_mut()
            .filter(|(_, log)| log.phase == Phase::New)
            .map(|(number, _)| number)
            .collect();
        for number in new {
            self.logs.place(number, None);
        }
    }

    /// Entries of each log that wait and were not sent: the collection, and their data.
    fn sent(&mut self) -> Vec<(String, String)> {
        let numbers: Vec<_> = self
            .logs
            .iter_mut()
            .map(|(number, log)| (number, log.key.collection.to_string()))
            .collect();
        let mut sent = Vec::new();
        for (number, name) in numbers {
            while let Some(item) = self.logs.next_to_send(number) {
                if let Item::Look(look) = item {
                    for frame in &look.frames {
                        let data = String::from_utf8_lossy(&frame.data).into_owned();
                        sent.push((name.clone(), data));
                    }
                }
            }
        }
        sent
    }

    fn whole(&mut self) -> Vec<bool> {
        self.logs
            .iter_mut()
            .map(|(_, log)| log.is_whole())
            .collect()
    }

    fn leaving(&mut self) -> Vec<bool> {
        self.logs.iter_mut().map(|(_, log)| log.leaving).collect()
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    pairs.iter().map(owned).collect()
}

fn key(collection: &str) -> LogKey {
    LogKey {
        collection: collection.parse().unwrap(),
        shard: holdfast_types::ShardId(0),
    }
}

#[test]
fn logs_are_found_read_and_forgotten() {
    let mut world = World::new(1 << 20);
    world.turn();
    world.create("a", &[b"one"]);
    world.create("b", &[b"two"]);
    world.turn();
    world.turn();
    assert_eq!(world.sent(), pairs(&[("a", "one"), ("b", "two")]));
    let reading = world.board.get(&key("a")).unwrap();
    assert_ne!(
        reading.timeline,
        world.board.get(&key("b")).unwrap().timeline
    );
    // The last write before a collection is dropped is not lost, and it is known that it is gone.
    rewrite(&world.log("a").join("open-1"), 1, &[b"one", b"last"]);
    fs::remove_dir_all(world.dir.path().join("collections/a")).unwrap();
    world.turn();
    assert_eq!(world.sent(), pairs(&[("a", "last")]));
    assert_eq!(world.leaving(), [true, false]);
    assert_eq!(world.whole(), [true, false]);
    assert_eq!(world.board.get(&key("a")), None);
    // Made anew under its name, it is another one, while the first still waits to be durable.
    world.create("a", &[b"other"]);
    world.turn();
    world.turn();
    assert_eq!(world.leaving(), [true, false, false]);
    assert_eq!(world.sent(), pairs(&[("a", "other")]));
    let ids: Vec<_> = world
        .logs
        .iter_mut()
        .map(|(_, log)| log.follower.incarnation())
        .collect();
    assert_ne!(ids[0], ids[2]);
}

#[test]
fn what_was_not_told_of_is_not_all() {
    let mut world = World::new(1 << 20);
    assert!(!world.logs.are_all_told(), "nothing was looked for");
    world.turn();
    assert!(world.logs.are_all_told(), "there is none");
    world.create("a", &[b"one"]);
    world.turn();
    assert!(world.logs.are_all_told());
    // A new connection: the coordinator knows nothing again.
    world.logs.disconnected();
    assert!(!world.logs.are_all_told());
    // A folder that goes before the coordinator has said where to go on: nothing of it was read.
    world.create("b", &[b"two"]);
    world.logs.find(&|| Now {
        wall: Timestamp::EPOCH,
        steady: world.began,
    });
    fs::remove_dir_all(world.dir.path().join("collections/b")).unwrap();
    world.turn();
    assert_eq!(
        (world.leaving(), world.whole()),
        (vec![false, true], vec![false, false])
    );
}

#[test]
fn a_collection_made_anew_between_two_looks_is_another_one() {
    let mut world = World::new(1 << 20);
    world.create("a", &[b"one"]);
    world.turn();
    world.turn();
    assert_eq!(world.sent(), pairs(&[("a", "one")]));
    // The next look meets the new folder before any scan is due.
    rewrite(&world.log("a").join("open-1"), 1, &[b"one", b"last"]);
    fs::rename(
        world.dir.path().join("collections/a"),
        world.dir.path().join("gone"),
    )
    .unwrap();
    world.create("a", &[b"other"]);
    world.logs.scanned = Some(world.began + Duration::from_secs(1000));
    for _ in 0..4 {
        world.turn();
    }
    let mut ends = 0;
    for (_, log) in world.logs.iter_mut() {
        let queue = log.follower.queue_mut();
        while let Some(item) = queue.next_to_send() {
            ends += u32::from(matches!(item, Item::Ended { .. }));
        }
    }
    assert_eq!((ends, world.leaving()), (0, vec![true, false]));
}

#[test]
fn what_is_refused_twice_is_read_once_more() {
    let mut world = World::new(1 << 20);
    world.create("a", &[b"one"]);
    world.turn();
    world.turn();
    assert_eq!(world.sent(), pairs(&[("a", "one")]));
    let timeline = world.board.get(&key("a")).unwrap().timeline;
    let (number, _) = world.logs.iter_mut().next().unwrap();
    world.logs.refused(number);
    world.turn();
    assert_eq!(world.sent(), pairs(&[("a", "one")]));
    let same = world.board.get(&key("a")).unwrap().timeline;
    assert_eq!(same, timeline, "only sent once more");
    world.logs.refused(number);
    world.turn();
    world.turn();
    assert_eq!(world.sent(), pairs(&[("a", "one")]));
    let other = world.board.get(&key("a")).unwrap().timeline;
    assert_ne!(other, timeline, "nothing of it is durable");
}

#[test]
fn reading_stops_when_too_much_waits_and_goes_on() {
    let mut world = World::new(10);
    world.create("a", &[b"0123456789", b"b"]);
    world.turn();
    world.turn();
    assert_eq!(world.sent().len(), 2, "a look is taken whole");
    rewrite(
        &world.log("a").join("open-1"),
        1,
        &[b"0123456789", b"b", b"c"],
    );
    // Another log gets a look in all the same.
    world.create("z", &[b"mine"]);
    world.turn();
    world.turn();
    assert_eq!(world.sent(), pairs(&[("z", "mine")]));
    let timeline = world.board.get(&key("a")).unwrap().timeline;
    let numbers: Vec<u32> = world.logs.iter_mut().map(|(number, _)| number).collect();
    world.logs.durable(numbers[0], timeline, 2);
    world.turn();
    assert_eq!(world.sent(), pairs(&[("a", "c")]));
}

/// A backlog: since the folder was listed last, files may have come and gone.
#[test]
fn the_end_of_a_log_that_was_not_read_lately_is_not_known() {
    let mut world = World::new(10);
    world.create("a", &[b"0123456789"]);
    world.turn();
    world.turn();
    assert_eq!(world.sent(), pairs(&[("a", "0123456789")]));
    // It is not durable, so that nothing further is read.
    world.turn();
    rewrite(&world.log("a").join("open-1"), 1, &[b"0123456789", b"last"]);
    world.turn();
    assert_eq!(world.sent(), []);
    fs::remove_dir_all(world.dir.path().join("collections/a")).unwrap();
    world.turn();
    assert_eq!(world.sent(), pairs(&[("a", "last")]));
    assert_eq!((world.leaving(), world.whole()), (vec![true], vec![false]));
}

#[test]
fn what_stands_behind_the_last_entry_may_have_been_one() {
    let mut world = World::new(1 << 20);
    world.create("a", &[b"one", b"two"]);
    let file = world.log("a").join("open-1");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    for _ in 0..4 {
        world.turn();
    }
    assert_eq!(world.sent(), pairs(&[("a", "one")]));
    fs::remove_dir_all(world.dir.path().join("collections/a")).unwrap();
    world.turn();
    assert_eq!((world.leaving(), world.whole()), (vec![true], vec![false]));
}

/// The coordinator may have lost what the entries that wait go on from: then they are given up, and with them the claim that all was read.
#[test]
fn the_end_of_a_log_whose_last_entries_are_given_up_is_not_known() {
    let mut world = World::new(1 << 20);
    world.create("a", &[b"one"]);
    world.turn();
    world.turn();
    assert_eq!(world.sent(), pairs(&[("a", "one")]));
    let timeline = world.board.get(&key("a")).unwrap().timeline;
    world.logs.durable(0, timeline, 1);
    rewrite(&world.log("a").join("open-1"), 1, &[b"one", b"two"]);
    fs::remove_dir_all(world.dir.path().join("collections/a")).unwrap();
    world.turn();
    assert_eq!(world.sent(), pairs(&[("a", "two")]));
    assert_eq!((world.leaving(), world.whole()), (vec![true], vec![true]));
    world.logs.disconnected();
    let other = Durable {
        timeline: TimelineId::from_bytes([9; 16]),
        next: 7,
        crc: 7,
        after: Timestamp::EPOCH,
        by: Timestamp::EPOCH,
    };
    world.logs.place(0, Some(other));
    assert_eq!(world.sent(), []);
    assert_eq!((world.leaving(), world.whole()), (vec![true], vec![false]));
}
