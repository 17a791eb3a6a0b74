//! Restore to just before a collection was dropped: to the end of the newest of its lives that is over.
//!
//! Agents give each folder of a collection that they find an id of its own, its life, and read the log of one that is dropped to its end. A life
//! is over if the agent of its node has told of every log that is there, and this one's is none of them. What is not known for certain is refused:
//! a collection that is there, or an earlier life than the one that was dropped, must never come back in its place.

use super::choose::{Choice, InstantRequest, latest};
use super::extend::Index;
use super::history::{ArchivedLog, Base, BasePoint, History, PartView};
use crate::blocker::Blocker;
use holdfast_types::{CollectionName, IncarnationId, NodeId};
use std::collections::BTreeSet;

pub(super) fn choose(
    index: &Index<'_>,
    points: &[&BasePoint],
    request: &InstantRequest,
) -> Result<Choice, Box<Blocker>> {
    let [name] = request.collections.as_slice() else {
        let collections = request.collections.clone();
        return Err(Box::new(Blocker::DropNeedsCollection { collections }));
    };
    let history = index.history;
    let over = newest_over(history, points, name)?;
    if !over.is_disjoint(&history.present.arriving) {
        let collection = name.clone();
        return Err(Box::new(Blocker::StillArriving { collection }));
    }
    let same = |point: &&&BasePoint| {
        let lives = lives(history, point, name);
        lives.is_some_and(|lives| !lives.is_disjoint(&over))
    };
    let points: Vec<&BasePoint> = points.iter().filter(same).copied().collect();
    let mut choice = latest(index, &points, request)?;
    let present = &history.present;
    if present.lives.values().any(|(there, _)| there == name) {
        choice.warnings.push(format!(
            "a collection {name} is there now: this is the newest before it, if that one was dropped. If the agent's state_dir was lost meanwhile, it is the same one. If it was dropped a moment ago, ask again when its agent has seen it"
        ));
    }
    choice.warnings.extend(went_on(history, &choice, &over));
    let newest = points.first().map(|point| &point.id);
    if let Some(newest) = newest.filter(|newest| **newest > choice.point) {
        choice.warnings.push(format!(
            "recovery point {newest} is newer, and its log does not go on from it: `holdfast restore run {newest} --collection {name}` brings it back as it was captured"
        ));
    }
    if !over.is_subset(&present.whole) {
        choice.warnings.push(format!(
            "whether the log was read to its end is not known, as the agent or the coordinator has begun anew since the drop, or was away: what was written after {} may be missing",
            choice.complete_before
        ));
    }
    Ok(choice)
}

/// Logs of the same lives that were written to later than those that are replayed: no recovery point goes on with them.
fn went_on(history: &History, choice: &Choice, over: &BTreeSet<IncarnationId>) -> Vec<String> {
    let chosen: BTreeSet<_> = choice
        .collections
        .iter()
        .flat_map(|logs| &logs.shards)
        .map(|log| (log.timeline, log.shard))
        .collect();
    let others = history.logs.iter().filter(|log| {
        over.contains(&log.incarnation) && !chosen.contains(&(log.timeline, log.shard))
    });
    let told = |log: &ArchivedLog| {
        let what = match log.parts.last()? {
            PartView::Read(part) => {
                let last = part.looks.last().filter(|look| look.by > choice.instant)?;
                format!("was written to until {}", last.by)
            }
            PartView::Unreadable { why, .. } => format!("can't be read ({why})"),
        };
        Some(format!(
            "another log of shard {} of the same collection, which begins anew, {what}: no recovery point goes on with it, so what it holds is not contained",
            log.shard
        ))
    };
    others.filter_map(told).collect()
}

/// The lives of the newest recovery point of the name whose collection is not there any more.
fn newest_over(
    history: &History,
    points: &[&BasePoint],
    name: &CollectionName,
) -> Result<BTreeSet<IncarnationId>, Box<Blocker>> {
    let present = &history.present;
    let collection = name.clone();
    for point in points {
        let Some(bases) = point.collections.get(name) else {
            continue;
        };
        // A log whose last entries are not stored yet is followed for as long, though its collection is gone.
        let nodes = || bases.iter().map(|base| &base.node);
        let disputed = |node: &&NodeId| {
            let whose = (name.clone(), (*node).clone());
            present.disputed.contains(&whose)
        };
        if let Some(node) = nodes().find(disputed) {
            let node = node.clone();
            return Err(Box::new(Blocker::PresenceUnknown { collection, node }));
        }
        if bases.iter().any(|base| is_there(history, base)) {
            continue;
        }
        if let Some(node) = nodes().find(|node| !present.nodes.contains(*node)) {
            let node = node.clone();
            return Err(Box::new(Blocker::PresenceUnknown { collection, node }));
        }
        let Some(lives) = lives(history, point, name) else {
            let point = point.id.clone();
            return Err(Box::new(Blocker::LifeUnknown { collection, point }));
        };
        return match elsewhere(history, bases, name) {
            Some(holder) => Err(Box::new(Blocker::PerhapsMoved { collection, holder })),
            None => Ok(lives),
        };
    }
    Err(Box::new(Blocker::NotDropped { collection }))
}

/// Whether the agents follow the log that goes on from a captured shard, or another one of that life.
fn is_there(history: &History, base: &Base) -> bool {
    let present = &history.present;
    let followed = |timeline| present.timelines.contains(&(timeline, base.shard));
    base.timeline.is_some_and(followed)
        || life(history, base).is_some_and(|life| present.lives.contains_key(&life))
}

/// Who has a collection of the name, if none of those nodes has it of which shards were captured.
fn elsewhere(history: &History, bases: &[Base], name: &CollectionName) -> Option<String> {
    let present = &history.present;
    let followed = present.lives.values();
    let having: BTreeSet<&NodeId> = followed
        .chain(&present.disputed)
        .filter(|(there, _)| there == name)
        .map(|(_, node)| node)
        .collect();
    if bases.iter().any(|base| having.contains(&base.node)) {
        return None;
    }
    let known = having.first().map(|node| format!("node {node}"));
    known.or_else(|| present.remote.get(name).cloned())
}

/// The lives of a collection with which a recovery point goes on; `None` if that is not known of every shard.
fn lives(
    history: &History,
    point: &BasePoint,
    name: &CollectionName,
) -> Option<BTreeSet<IncarnationId>> {
    let bases = point.collections.get(name)?;
    bases.iter().map(|base| life(history, base)).collect()
}

fn life(history: &History, base: &Base) -> Option<IncarnationId> {
    let mut logs = history.logs.iter();
    let log = logs.find(|log| Some(log.timeline) == base.timeline && log.shard == base.shard)?;
    Some(log.incarnation)
}

#[cfg(test)]
mod tests {
    use crate::blocker::Blocker;
    use crate::fixture::name;
    use crate::instant::{
        ArchivedLog, Base, BasePoint, Choice, History, InstantRequest, InstantTarget, LogPart,
        Look, PartView, Present, check_choice, choose,
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
            whole: (1..=3).map(life_id).collect(),
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
        doubtful.present.whole.remove(&life_id(3));
        let choice = choose(&doubtful, &request(&["docs"])).unwrap();
        assert!(choice.warnings[0].contains("not known"), "{choice:?}");
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
        assert!(choice.warnings[0].contains("can't be read"), "{choice:?}");
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
        assert!(choice.warnings[0].contains("begins anew, was written to until"));
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
        assert!(choice.warnings[0].contains("is newer"), "{choice:?}");
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
}
