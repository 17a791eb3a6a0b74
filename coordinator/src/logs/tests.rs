//! What is deleted of a log while it is followed.

use super::Logs;
use super::arrival::{End, LogId};
use holdfast_decide::recency::{BaseFacts, BasePoint, LogFacts, recency};
use holdfast_types::{IncarnationId, ShardId, TimelineId, Timestamp};

const LINE: TimelineId = TimelineId::from_bytes([1; 16]);

const END: End = End {
    timeline: LINE,
    next: 60,
    crc: 0,
    after: Timestamp::EPOCH,
    by: Timestamp::EPOCH,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn id() -> LogId {
    LogId {
        node: "n1".parse().unwrap(),
        collection: "docs".parse().unwrap(),
        incarnation: IncarnationId::from_bytes([9; 16]),
        shard: ShardId(0),
    }
}

/// A log with entries 3 to 59, of which its agent has just told.
fn follow(logs: &Logs) {
    let id = id();
    logs.followed(&id, Some(Some((3, END))));
    logs.reported(&id, (LINE, None, 60), at(100), at(100));
}

/// Until when a capture of second 10 that is certain of the operations below `certain` could be brought, and whether it goes on.
fn until(logs: &Logs, certain: u64) -> (Timestamp, bool) {
    let state = logs.lock();
    let facts = state.logs.iter();
    let facts: Vec<LogFacts> = facts
        .filter_map(|(id, record)| state.facts(id, record))
        .collect();
    let base = BaseFacts {
        shard: ShardId(0),
        captured_at: at(10),
        mark: Some((LINE, certain)),
        next: None,
    };
    let point = BasePoint {
        point: "20261121t101530z-00000001".parse().unwrap(),
        shards: vec![base],
    };
    let recency = recency(&[point], &facts).unwrap();
    (recency.until, recency.continuous)
}

#[test]
fn what_is_deleted_is_not_counted_on() {
    let (goes_on, captured) = ((at(100), true), (at(10), false));
    let logs = Logs::default();
    let log = (LINE, ShardId(0));
    follow(&logs);
    assert_eq!(until(&logs, 5), goes_on);
    logs.begins((LINE, ShardId(1)), None);
    logs.begins((TimelineId::from_bytes([2; 16]), ShardId(0)), None);
    assert_eq!(until(&logs, 5), goes_on, "another log");
    logs.begins(log, Some(40));
    assert_eq!(until(&logs, 39), captured);
    assert_eq!(until(&logs, 40), goes_on);
    // The next stream may have listed the archive before the deletion.
    follow(&logs);
    logs.begins(log, Some(20));
    assert_eq!(until(&logs, 39), captured);
    assert_eq!(until(&logs, 40), goes_on);
    logs.begins(log, None);
    assert_eq!(until(&logs, 60), captured);
    // An agent that comes back goes on with it.
    let end = End { next: 70, ..END };
    logs.durable(&id(), 60, end);
    logs.reported(&id(), (LINE, None, 70), at(100), at(100));
    assert_eq!(until(&logs, 59), captured);
    assert_eq!(until(&logs, 60), goes_on);
}
