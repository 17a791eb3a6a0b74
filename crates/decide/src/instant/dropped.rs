//! Restore to just before a collection was dropped: to the end of the newest of its lives that is over.
//!
//! Agents give each folder of a collection that they find an id of its own, its life, and read the log of one that is dropped to its end. So a
//! life is over if the agent of its node sends logs and follows another one, or none.

use super::choose::{Choice, InstantRequest, latest};
use super::extend::Index;
use super::history::{BasePoint, History};
use crate::blocker::Blocker;
use holdfast_types::{CollectionName, IncarnationId};
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
    let (history, present) = (index.history, &index.history.present.lives);
    let dropped = points.iter().find_map(|point| {
        let lives = lives(history, point, name)?;
        let over = lives.iter().all(|life| !present.contains_key(life));
        over.then_some((*point, lives))
    });
    let Some((newest, over)) = dropped else {
        let collection = name.clone();
        return Err(Box::new(Blocker::NotDropped { collection }));
    };
    let bases = newest.collections.get(name).into_iter().flatten();
    let mut nodes = bases.map(|base| &base.node);
    if let Some(away) = nodes.find(|node| !history.present.nodes.contains(*node)) {
        return Err(Box::new(Blocker::PresenceUnknown {
            collection: name.clone(),
            node: away.clone(),
        }));
    }
    let same = |point: &&&BasePoint| {
        let lives = lives(history, point, name);
        lives.is_some_and(|lives| !lives.is_disjoint(&over))
    };
    let points: Vec<&BasePoint> = points.iter().filter(same).copied().collect();
    let mut choice = latest(index, &points, request)?;
    if present.values().any(|there| there == name) {
        choice.warnings.push(format!(
            "a collection {name} is there now: this is the one before it. If that was dropped a moment ago, ask again when its agent has seen it"
        ));
    }
    Ok(choice)
}

/// The lives of a collection with which a recovery point goes on; `None` if that is not known of every shard.
fn lives(
    history: &History,
    point: &BasePoint,
    name: &CollectionName,
) -> Option<BTreeSet<IncarnationId>> {
    let bases = point.collections.get(name)?;
    let life = |base: &super::Base| {
        let mut logs = history.logs.iter();
        let log =
            logs.find(|log| Some(log.timeline) == base.timeline && log.shard == base.shard)?;
        Some(log.incarnation)
    };
    bases.iter().map(life).collect()
}

#[cfg(test)]
mod tests {
    use crate::blocker::Blocker;
    use crate::fixture::name;
    use crate::instant::{
        ArchivedLog, Base, BasePoint, History, InstantRequest, InstantTarget, LogPart, Look,
        PartView, Present, check_choice, choose,
    };
    use holdfast_types::{IncarnationId, RecoveryPointId, ShardId, TimelineId, Timestamp};
    use std::sync::Arc;

    fn t(at: i64) -> Timestamp {
        Timestamp::from_micros(at * 1_000_000)
    }

    fn id(at: i64) -> RecoveryPointId {
        RecoveryPointId::new(t(at), 7)
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
            incarnation: IncarnationId::from_bytes([nth; 16]),
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
                .map(|nth| (IncarnationId::from_bytes([*nth; 16]), name("docs")))
                .collect(),
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
        let refused = choose(&history, &request(&["docs"])).unwrap_err();
        assert!(matches!(*refused, Blocker::NoLog { .. }), "{refused}");
        let followed = self::history(&[1, 2, 3]);
        let refused = choose(&followed, &request(&["docs"])).unwrap_err();
        assert!(matches!(*refused, Blocker::NotDropped { .. }), "{refused}");
        let several = choose(&followed, &request(&["docs", "more"])).unwrap_err();
        assert!(matches!(*several, Blocker::CollectionInNoPoint { .. }));
        let all = choose(&followed, &request(&[])).unwrap_err();
        assert!(matches!(*all, Blocker::DropNeedsCollection { .. }), "{all}");
    }

    /// Without its agent a collection that is there would be taken for one that was dropped.
    #[test]
    fn whether_it_was_dropped_is_known_only_where_its_agent_sends() {
        let mut history = history(&[]);
        history.present.nodes.clear();
        let refused = choose(&history, &request(&["docs"])).unwrap_err();
        assert!(
            matches!(*refused, Blocker::PresenceUnknown { .. }),
            "{refused}"
        );
    }
}
