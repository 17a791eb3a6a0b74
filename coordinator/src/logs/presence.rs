//! Which collections are there, and what is known of the ends of those that are not, by what agents say of their logs.

use super::Logs;
use super::record::Rest;
use holdfast_decide::instant::Present;

impl Logs {
    /// Which collections are there, by the agents that send logs.
    #[must_use]
    pub fn present(&self) -> Present {
        let state = self.lock();
        let streams = state.streams.iter();
        let told = streams.filter(|(_, stream)| stream.all_seen);
        let mut present = Present {
            nodes: told.map(|(node, _)| node.clone()).collect(),
            ..Present::default()
        };
        for (id, record) in &state.logs {
            let life = id.incarnation;
            if record.followed {
                let whose = (id.collection.clone(), id.node.clone());
                present.lives.insert(life, whose);
                let facts = record.facts(id.shard);
                let timeline = facts.map(|facts| (facts.timeline, id.shard));
                present.timelines.extend(timeline);
                continue;
            }
            match record.rest {
                Rest::Arriving => present.arriving.insert(life),
                Rest::Whole => present.whole.insert((life, id.shard)),
                Rest::Unknown => false,
            };
        }
        present
    }
}

#[cfg(test)]
mod tests {
    use crate::logs::Logs;
    use crate::logs::arrival::{End, LogId};
    use crate::logs::record::LogRecord;
    use holdfast_types::{IncarnationId, NodeId, ShardId, TimelineId, Timestamp};

    fn n1() -> NodeId {
        "n1".parse().unwrap()
    }

    fn life(n: u8) -> IncarnationId {
        IncarnationId::from_bytes([n; 16])
    }

    fn log(n: u8) -> LogId {
        LogId {
            node: n1(),
            collection: "docs".parse().unwrap(),
            incarnation: life(n),
            shard: ShardId(0),
        }
    }

    /// A log of which something is stored.
    fn follow(logs: &Logs, n: u8) {
        let end = End {
            timeline: TimelineId::from_bytes([n; 16]),
            next: 5,
            crc: 0,
            after: Timestamp::EPOCH,
            by: Timestamp::EPOCH,
        };
        logs.followed(&log(n), Some(Some((0, end))));
    }

    #[test]
    fn a_node_is_known_once_its_newest_stream_has_told_of_all() {
        let logs = Logs::default();
        let (first, _) = logs.enter(&n1());
        follow(&logs, 1);
        assert!(logs.present().nodes.is_empty());
        let (second, _) = logs.enter(&n1());
        logs.all_seen(&n1(), first);
        assert!(logs.present().nodes.is_empty(), "the second has not");
        assert!(logs.present().lives.is_empty());
        follow(&logs, 1);
        logs.all_seen(&n1(), second);
        logs.leave(&n1(), first);
        let present = logs.present();
        assert_eq!(present.nodes, [n1()].into());
        let whose = ("docs".parse().unwrap(), n1());
        assert_eq!(present.lives, [(life(1), whose)].into());
        let timeline = TimelineId::from_bytes([1; 16]);
        assert_eq!(present.timelines, [(timeline, ShardId(0))].into());
        logs.leave(&n1(), second);
        assert!(logs.present().nodes.is_empty());
    }

    #[test]
    fn the_end_of_a_log_is_known_once_its_agent_is_done_with_it() {
        let logs = Logs::default();
        logs.enter(&n1());
        follow(&logs, 1);
        follow(&logs, 2);
        let arriving = logs.present();
        assert!(!arriving.lives.contains_key(&life(1)));
        assert_eq!(arriving.arriving, [life(1)].into());
        logs.change(&log(1), |log| log.is_gone(true));
        let whole = logs.present();
        assert!(whole.arriving.is_empty());
        let seen = [(life(1), ShardId(0))].into();
        assert_eq!(whole.whole, seen);
        // Another of its logs was cut off.
        let other = LogId {
            shard: ShardId(1),
            ..log(1)
        };
        logs.followed(&other, Some(None));
        logs.change(&other, |log| log.is_gone(false));
        assert_eq!(logs.present().whole, seen);
        // The stream ends before its agent is done with the second.
        follow(&logs, 3);
        logs.enter(&n1());
        let cut_off = logs.present();
        assert!(cut_off.arriving.is_empty());
        assert_eq!(cut_off.whole, seen, "of the second it is not known");
    }

    #[test]
    fn a_log_whose_entries_were_refused_is_still_there() {
        let logs = Logs::default();
        logs.enter(&n1());
        follow(&logs, 1);
        logs.doubt(&log(1));
        assert!(logs.present().lives.contains_key(&life(1)));
        assert_eq!(logs.known(&log(1)), None::<End>);
        assert!(LogRecord::default().end().is_none());
    }
}
