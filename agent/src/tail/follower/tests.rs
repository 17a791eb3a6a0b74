//! What one log yields: looks and their instants, over restarts, lost connections and other histories. No server is needed.

use super::{Follower, Now};
use crate::tail::fixture::{rewrite, write};
use crate::tail::look::{Durable, Item, Look};
use fs_err as fs;
use holdfast_archive::{WalObject, WalOrigin};
use holdfast_types::{IncarnationId, ShardId, Timestamp};
use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A log, its follower, and a clock that moves a second with every question.
struct World {
    _dir: tempfile::TempDir,
    wal: PathBuf,
    follower: Follower,
    clock: Cell<i64>,
    began: Instant,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("wal");
        fs::create_dir(&wal).unwrap();
        let incarnation = IncarnationId::from_bytes([1; 16]);
        let follower = Follower::open(wal.clone(), incarnation).unwrap();
        Self {
            _dir: dir,
            wal,
            follower,
            clock: Cell::new(0),
            began: Instant::now(),
        }
    }

    fn poll_within(&mut self, budget: usize) -> bool {
        let (clock, began) = (&self.clock, self.began);
        let now = || {
            clock.set(clock.get() + 1);
            Now {
                wall: at(clock.get()),
                steady: began + Duration::from_secs(clock.get().unsigned_abs()),
            }
        };
        self.follower.poll(&now, budget).unwrap()
    }

    fn poll(&mut self) {
        assert!(self.poll_within(1 << 20));
    }

    /// What waits, and is not sent yet.
    fn items(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        while let Some(item) = self.follower.queue_mut().next_to_send() {
            items.push(item.clone());
        }
        items
    }

    fn looks(&mut self) -> Vec<Look> {
        let items = self.items().into_iter();
        items
            .map(|item| match item {
                Item::Look(look) => look,
                Item::Ended { .. } => panic!("{item:?}"),
            })
            .collect()
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// The end of a look, as the coordinator tells it.
fn durable(look: &Look) -> Durable {
    Durable {
        timeline: look.timeline,
        next: look.next(),
        crc: look.frames.last().unwrap().crc,
        after: look.after,
        by: look.by,
    }
}

/// That they can be archived, one after the other.
fn prove(looks: &[Look]) {
    let origin = WalOrigin {
        namespace: "demo".parse().unwrap(),
        node: "n1".parse().unwrap(),
        server_version: "1.18.3".parse().unwrap(),
        collection: "docs".parse().unwrap(),
        incarnation: IncarnationId::from_bytes([1; 16]),
        shard: ShardId(0),
        timeline: looks[0].timeline,
        because: None,
    };
    let looks: Vec<_> = looks
        .iter()
        .map(|look| holdfast_archive::WalLook {
            after: look.after,
            by: look.by,
            frames: look.frames.clone(),
        })
        .collect();
    WalObject::new(origin, 0, None, looks).unwrap();
}

#[test]
fn looks_say_between_which_instants_entries_were_written() {
    let mut world = World::new();
    write(&world.wal.join("open-1"), 1, &[b"a"]);
    assert!(!world.poll_within(100), "nobody has said where to begin");
    world.follower.place(None);
    world.poll();
    let mut looks = world.looks();
    assert_eq!(looks.len(), 1);
    assert_eq!(looks[0].because.as_deref(), Some(super::FIRST_SEEN));
    let standing = world.follower.standing().unwrap();
    assert_eq!((standing.next, standing.timeline), (1, looks[0].timeline));
    rewrite(&world.wal.join("open-1"), 1, &[b"a", b"b", b"c"]);
    world.poll();
    world.poll();
    rewrite(&world.wal.join("open-1"), 1, &[b"a", b"b", b"c", b"d"]);
    world.poll();
    looks.extend(world.looks());
    // The time is asked for when a look begins, when it has found something, and when it is over.
    let of: Vec<_> = looks.iter().map(|l| (l.first, l.after, l.by)).collect();
    assert_eq!(
        of,
        [(0, at(0), at(2)), (1, at(1), at(5)), (3, at(7), at(10))]
    );
    assert_eq!(looks[1].because, None);
    assert_eq!(looks[1].before, Some(looks[0].frames[0].crc));
    prove(&looks);
    // The clock goes back: instants don't.
    world.clock.set(-100);
    rewrite(
        &world.wal.join("open-1"),
        1,
        &[b"a", b"b", b"c", b"d", b"e"],
    );
    world.poll();
    looks.extend(world.looks());
    assert_eq!((looks[3].after, looks[3].by), (at(9), at(10)));
    prove(&looks);
}

#[test]
fn a_look_in_several_turns_is_not_over_before_its_end() {
    let mut world = World::new();
    let entries: Vec<Vec<u8>> = (0..20).map(|n| vec![n; 100]).collect();
    let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
    write(&world.wal.join("open-1"), 1, &entries);
    world.follower.place(None);
    let mut turns = 1;
    while !world.poll_within(500) {
        assert_eq!(world.follower.standing(), None);
        turns += 1;
    }
    assert!(turns > 1);
    assert_eq!(world.follower.standing().unwrap().next, 20);
    let looks = world.looks();
    assert!(looks.iter().all(|look| look.after == Timestamp::EPOCH));
    prove(&looks);
}

#[test]
fn after_a_restart_it_goes_on_behind_what_is_durable() {
    let mut world = World::new();
    write(&world.wal.join("open-1"), 1, &[b"a", b"b"]);
    world.follower.place(None);
    world.poll();
    let first = world.looks().remove(0);
    let incarnation = world.follower.incarnation();
    rewrite(&world.wal.join("open-1"), 1, &[b"a", b"b", b"c"]);
    world.follower = Follower::open(world.wal.clone(), incarnation).unwrap();
    world.follower.place(Some(durable(&first)));
    world.poll();
    let second = world.looks().remove(0);
    assert_eq!((second.first, second.timeline), (2, first.timeline));
    assert_eq!(
        second.after, first.after,
        "when it was written is not known any better"
    );
    prove(&[first.clone(), second]);
    // Another history stands there now.
    write(&world.wal.join("open-1"), 7, &[b"x"]);
    world.follower = Follower::open(world.wal.clone(), incarnation).unwrap();
    world.follower.place(Some(durable(&first)));
    world.poll();
    let items = world.items();
    let Item::Ended { timeline, next, .. } = &items[0] else {
        panic!("{items:?}")
    };
    assert_eq!((*timeline, *next), (first.timeline, 2));
    let Item::Look(other) = &items[1] else {
        panic!("{items:?}")
    };
    assert_ne!(other.timeline, first.timeline);
    assert_eq!(
        other.after,
        Timestamp::EPOCH,
        "nobody has looked at it before"
    );
    assert!(other.because.is_some());
}

#[test]
fn what_waits_is_sent_again_or_read_again() {
    let mut world = World::new();
    write(&world.wal.join("open-1"), 1, &[b"a"]);
    world.follower.place(None);
    world.poll();
    let first = world.looks().remove(0);
    rewrite(&world.wal.join("open-1"), 1, &[b"a", b"b"]);
    world.poll();
    let second = world.looks().remove(0);
    // The connection broke: the first is durable, the second is not.
    world.follower.place(Some(durable(&first)));
    assert_eq!(world.looks(), std::slice::from_ref(&second));
    world.follower.queue_mut().durable(second.timeline, 2);
    world.follower.place(Some(durable(&second)));
    world.poll();
    assert!(world.items().is_empty());
    assert_eq!(world.follower.standing().unwrap().next, 2);
    // The repository has lost the second: it is read once more, and says no more of its time than is known.
    world.follower.place(Some(durable(&first)));
    world.poll();
    let again = world.looks().remove(0);
    assert_eq!((again.first, again.after), (1, first.after));
    assert_eq!(again.frames, second.frames);
    // And the first, too.
    world.follower.place(None);
    world.poll();
    let anew = world.looks().remove(0);
    assert_eq!((anew.first, anew.before), (0, None));
    assert_ne!(anew.timeline, first.timeline);
}

#[test]
fn a_dropped_collection_is_read_to_its_end() {
    let mut world = World::new();
    write(&world.wal.join("open-1"), 1, &[b"a"]);
    world.follower.place(None);
    world.poll();
    rewrite(&world.wal.join("open-1"), 1, &[b"a", b"the last"]);
    fs::remove_dir_all(&world.wal).unwrap();
    world.poll();
    let looks = world.looks();
    assert_eq!(looks[1].frames[0].data, b"the last");
    let now = || Now {
        wall: at(99),
        steady: Instant::now(),
    };
    assert_eq!(
        world.follower.standing(),
        None,
        "what is there now was not read"
    );
    assert!(world.follower.poll(&now, 100).is_err(), "gone");
}
