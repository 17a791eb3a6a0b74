//! Restore to just before a drop.

use crate::blocker::Blocker;
use crate::fixture::name;
use crate::instant::{
    ArchivedLog, Base, BasePoint, Choice, Doubt, History, InstantRequest, InstantTarget, LogPart,
    Look, PartView, Present, ReplayWay, check_choice, choose,
};
use holdfast_types::{IncarnationId, RecoveryPointId, ShardId, TimelineId, Timestamp};
use std::sync::Arc;

fn t(at: i64) -> Timestamp {
    Timestamp::from_micros(at * 1_000_000)
}

fn id(at: i64) -> RecoveryPointId {
    RecoveryPointId::new(t(at), 7)
}

fn life_id(nth: u8) -> IncarnationId {
    IncarnationId::from_bytes([nth; 16])
}

fn refusal(history: &History) -> Blocker {
    *choose(history, &request(&["docs"])).unwrap_err()
}

/// A point that was captured when one operation was there, and the log of that life: ten operations, one a second.
fn life(nth: u8, begun: i64) -> (BasePoint, ArchivedLog) {
    let timeline = TimelineId::from_bytes([nth; 16]);
    let base = Base {
        shard: ShardId(0),
        node: "n1".parse().unwrap(),
        captured_at: t(begun + 1),
        next: Some(1),
        certain: Some(1),
        timeline: Some(timeline),
    };
    let look = |at: u64| Look {
        first: at,
        next: at + 1,
        after: t(begun + i64::try_from(at).unwrap()),
        by: t(begun + i64::try_from(at).unwrap() + 1),
        bytes: 8,
    };
    let part = LogPart {
        first: 0,
        next: 10,
        before: None,
        end: 1,
        version: "1.18.3".parse().unwrap(),
        looks: (0..10).map(look).collect(),
    };
    let point = BasePoint {
        id: id(begun + 1),
        ordinary: true,
        collections: [(name("docs"), vec![base])].into(),
    };
    let log = ArchivedLog {
        timeline,
        incarnation: life_id(nth),
        shard: ShardId(0),
        owner: Some((name("docs"), "n1".parse().unwrap())),
        because: None,
        parts: vec![PartView::Read(Arc::new(part))],
    };
    (point, log)
}

/// Three lives, of which `followed` are there now.
fn history(followed: &[u8]) -> History {
    let lives = [life(3, 300), life(2, 200), life(1, 100)];
    let (points, logs) = lives.into_iter().unzip();
    let present = Present {
        nodes: ["n1".parse().unwrap()].into(),
        lives: followed
            .iter()
            .map(|nth| (life_id(*nth), (name("docs"), "n1".parse().unwrap())))
            .collect(),
        whole: (1..=3).map(|nth| (life_id(nth), ShardId(0))).collect(),
        ..Present::default()
    };
    History {
        points,
        logs,
        standings: Vec::new(),
        present,
    }
}

fn request(collections: &[&str]) -> InstantRequest {
    InstantRequest {
        target: InstantTarget::BeforeDrop,
        collections: collections.iter().map(|c| name(c)).collect(),
        point: None,
        way: ReplayWay::Splice,
    }
}

#[test]
fn the_newest_life_that_is_over_comes_back_to_its_end() {
    for (followed, point) in [(&[][..], 301), (&[3][..], 201), (&[3, 2][..], 101)] {
        let history = history(followed);
        let choice = choose(&history, &request(&["docs"])).unwrap();
        assert_eq!(choice.point, id(point), "{followed:?}");
        let shard = &choice.collections[0].shards[0];
        assert_eq!((shard.from, shard.until), (1, 10));
        assert_eq!(choice.instant, t(point + 9));
        assert_eq!(choice.warnings.is_empty(), followed.is_empty());
        let wrong = check_choice(&choice, &request(&["docs"]), &history);
        assert_eq!(wrong, vec![]);
    }
}

#[test]
fn of_the_life_that_was_dropped_and_of_no_earlier_one() {
    let mut history = history(&[3]);
    // What it may contain is not archived.
    let bases = history.points[1].collections.get_mut(&name("docs"));
    bases.unwrap()[0].next = Some(5);
    history.logs[1].parts.clear();
    let refused = refusal(&history);
    assert!(matches!(refused, Blocker::NoLog { .. }), "{refused}");
    // Not even the log is.
    let lost = history.logs.remove(1);
    let Blocker::LifeUnknown { point, .. } = refusal(&history) else {
        panic!("an earlier life is not what was dropped");
    };
    assert_eq!(point, id(201));
    // If it is followed, nothing was dropped after the earlier one.
    let there = (lost.timeline, lost.shard);
    history.present.timelines.insert(there);
    let earlier = choose(&history, &request(&["docs"])).unwrap();
    assert_eq!(earlier.point, id(101));
}

#[test]
fn what_was_not_dropped_is_refused() {
    let followed = history(&[1, 2, 3]);
    let refused = refusal(&followed);
    assert!(matches!(refused, Blocker::NotDropped { .. }), "{refused}");
    let several = choose(&followed, &request(&["docs", "more"])).unwrap_err();
    assert!(matches!(*several, Blocker::CollectionInNoPoint { .. }));
    let all = choose(&followed, &request(&[])).unwrap_err();
    assert!(matches!(*all, Blocker::DropNeedsCollection { .. }), "{all}");
}

/// Without its agent a collection that is there would be taken for one that was dropped.
#[test]
fn whether_it_was_dropped_is_known_only_where_its_agent_follows_everything() {
    let mut away = history(&[]);
    away.present.nodes.clear();
    let refused = refusal(&away);
    assert!(
        matches!(refused, Blocker::PresenceUnknown { .. }),
        "{refused}"
    );
    let mut blind = history(&[]);
    let here = (name("docs"), "n1".parse().unwrap());
    blind.present.disputed.insert(here.clone());
    let refused = refusal(&blind);
    assert!(
        matches!(refused, Blocker::PresenceUnknown { .. }),
        "{refused}"
    );
    // Dropped, and its last entries are not stored yet: the life before it is not what was dropped.
    let mut leaving = history(&[3]);
    leaving.present.disputed.insert(here);
    let refused = refusal(&leaving);
    assert!(
        matches!(refused, Blocker::PresenceUnknown { .. }),
        "{refused}"
    );
}

#[test]
fn shards_that_were_moved_were_not_dropped() {
    let mut moved = history(&[]);
    let there = (name("docs"), "n2".parse().unwrap());
    moved.present.lives.insert(life_id(9), there.clone());
    let refused = refusal(&moved);
    assert!(matches!(refused, Blocker::PerhapsMoved { .. }), "{refused}");
    let mut disputed = history(&[]);
    disputed.present.disputed.insert(there);
    let refused = refusal(&disputed);
    assert!(matches!(refused, Blocker::PerhapsMoved { .. }), "{refused}");
    let mut remote = history(&[]);
    let peer = "peer 7, of which no agent is known".to_owned();
    remote.present.remote.insert(name("docs"), peer);
    let refused = refusal(&remote).to_string();
    assert!(refused.contains("is on peer 7, of which"), "{refused}");
    // Some node without a shard lists every collection of its cluster.
    let followed = (name("docs"), "n1".parse().unwrap());
    remote.present.lives.insert(life_id(9), followed);
    assert!(choose(&remote, &request(&["docs"])).is_ok());
}

#[test]
fn the_end_of_a_log_is_waited_for_and_doubted_where_nobody_saw_it() {
    let mut arriving = history(&[]);
    arriving.present.arriving.insert(life_id(3));
    let refused = refusal(&arriving);
    assert!(
        matches!(refused, Blocker::StillArriving { .. }),
        "{refused}"
    );
    let mut doubtful = history(&[]);
    doubtful.present.whole.remove(&(life_id(3), ShardId(0)));
    let choice = choose(&doubtful, &request(&["docs"])).unwrap();
    assert!(
        choice.warnings[0].to_string().contains("not known"),
        "{choice:?}"
    );
    let mut broken = history(&[]);
    let PartView::Read(part) = broken.logs[0].parts[0].clone() else {
        panic!("the part is read");
    };
    let lost = PartView::Unreadable {
        first: part.next,
        why: "damaged".to_owned(),
    };
    broken.logs[0].parts.push(lost);
    let choice = choose(&broken, &request(&["docs"])).unwrap();
    assert!(
        choice.warnings[0].to_string().contains("can't be read"),
        "{choice:?}"
    );
    assert_eq!(check_choice(&choice, &request(&["docs"]), &broken), vec![]);
    let silent = Choice {
        warnings: vec![],
        ..choice
    };
    assert_eq!(check_choice(&silent, &request(&["docs"]), &broken).len(), 1);
}

#[test]
fn what_was_written_to_another_log_of_the_same_life_is_told() {
    let mut history = history(&[]);
    let (_, mut later) = life(4, 400);
    later.incarnation = life_id(3);
    history.logs.push(later);
    let choice = choose(&history, &request(&["docs"])).unwrap();
    assert_eq!(choice.warnings.len(), 1, "{choice:?}");
    assert!(
        choice.warnings[0]
            .to_string()
            .contains("begins anew, was written to until")
    );
    // One that ended before says nothing.
    let (_, mut earlier) = life(4, 100);
    earlier.incarnation = life_id(3);
    history.logs[3] = earlier;
    let choice = choose(&history, &request(&["docs"])).unwrap();
    assert!(choice.warnings.is_empty(), "{choice:?}");
    // Nor is an older point of the same life taken in silence.
    let (mut newer, _) = life(3, 309);
    let bases = newer.collections.get_mut(&name("docs")).unwrap();
    (bases[0].certain, bases[0].next) = (Some(20), Some(25));
    history.points.insert(0, newer);
    let choice = choose(&history, &request(&["docs"])).unwrap();
    assert_eq!(choice.point, id(301));
    assert!(
        choice.warnings[0].to_string().contains("is newer"),
        "{choice:?}"
    );
}

/// The checker finds what must not come back in place of the newest that was dropped.
#[test]
fn a_wrong_life_is_found_by_the_checker() {
    let all_over = history(&[]);
    let right = choose(&history(&[3]), &request(&["docs"])).unwrap();
    assert_eq!(
        check_choice(&right, &request(&["docs"]), &all_over).len(),
        1
    );
    let newest = choose(&all_over, &request(&["docs"])).unwrap();
    for spoil in [
        (|present: &mut Present| present.nodes.clear()) as fn(&mut Present),
        |present| {
            present
                .disputed
                .insert((name("docs"), "n1".parse().unwrap()));
        },
        |present| {
            present.arriving.insert(life_id(3));
        },
    ] {
        let mut history = history(&[]);
        spoil(&mut history.present);
        let wrong = check_choice(&newest, &request(&["docs"]), &history);
        assert_eq!(wrong.len(), 1, "{:?}", history.present);
    }
}

/// A log of which nobody saw the end is not made good by the other shard's, nor by that of another life.
#[test]
fn the_end_of_each_shard_must_have_been_seen() {
    let mut two = history(&[]);
    let (_, mut second) = life(13, 300);
    (second.shard, second.incarnation) = (ShardId(1), life_id(3));
    let bases = two.points[0].collections.get_mut(&name("docs")).unwrap();
    let base = Base {
        shard: ShardId(1),
        timeline: Some(second.timeline),
        ..bases[0].clone()
    };
    bases.push(base);
    two.logs.push(second);
    let choice = choose(&two, &request(&["docs"])).unwrap();
    let complete_before = choice.complete_before;
    let unseen = Doubt::EndUnseen { complete_before };
    assert_eq!(choice.warnings, [unseen]);
    two.present.whole.insert((life_id(3), ShardId(1)));
    let choice = choose(&two, &request(&["docs"])).unwrap();
    assert_eq!(choice.warnings, []);
    assert_eq!(check_choice(&choice, &request(&["docs"]), &two), vec![]);
}

/// Of everything that there is reason to doubt a person is told, or the checker refuses.
#[test]
fn the_checker_demands_every_doubt() {
    let mut doubtful = history(&[2]);
    doubtful.present.whole.clear();
    let (_, mut later) = life(4, 400);
    later.incarnation = life_id(3);
    doubtful.logs.push(later);
    let (mut newer, _) = life(3, 309);
    let bases = newer.collections.get_mut(&name("docs")).unwrap();
    (bases[0].certain, bases[0].next) = (Some(20), Some(25));
    doubtful.points.insert(0, newer);
    let lost = PartView::Unreadable {
        first: 10,
        why: "damaged".to_owned(),
    };
    doubtful.logs[0].parts.push(lost);
    let request = request(&["docs"]);
    let choice = choose(&doubtful, &request).unwrap();
    assert_eq!(choice.warnings.len(), 5, "{:#?}", choice.warnings);
    assert_eq!(check_choice(&choice, &request, &doubtful), vec![]);
    for nth in 0..choice.warnings.len() {
        let mut silent = choice.clone();
        let doubt = silent.warnings.remove(nth);
        let wrong = check_choice(&silent, &request, &doubtful);
        assert_eq!(wrong.len(), 1, "{doubt}: {wrong:?}");
        assert!(wrong[0].to_string().contains("nobody is told"), "{wrong:?}");
    }
}
