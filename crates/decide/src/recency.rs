//! Up to which instant a collection could be brought back, from what is durable (docs/rfcs/0002, I6).
//!
//! A recovery point brings a collection back to the instant at which Qdrant was asked for it. Where the log of each shard's replica is
//! archived and goes on from there without a gap, it can be brought back further: to the last instant of which it is known that
//! everything acknowledged before it is durable. The collection is as recent as its least recent shard.
//!
//! It errs on one side only: what is not known makes it older, never newer.

use holdfast_types::{RecoveryPointId, ShardId, TimelineId, Timestamp};

/// The archived log of one replica, as far as it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFacts {
    /// The shard.
    pub shard: ShardId,
    /// The run of entries.
    pub timeline: TimelineId,
    /// Index of its first entry.
    pub first: u64,
    /// Index after its last one.
    pub next: u64,
    /// Everything that was acknowledged before this instant is in entries before `next`; `None` while nobody has said so.
    pub complete_until: Option<Timestamp>,
    /// Whether it is followed now, and more entries may be added to it.
    pub open: bool,
}

/// One shard of a recovery point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseFacts {
    /// The shard.
    pub shard: ShardId,
    /// Everything acknowledged before is contained.
    pub captured_at: Timestamp,
    /// The timeline that goes on from it, and the index below which every operation is contained.
    pub mark: Option<(TimelineId, u64)>,
    /// The index from which on no operation is contained, where that is known.
    pub next: Option<u64>,
}

/// One collection of a recovery point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePoint {
    /// The recovery point.
    pub point: RecoveryPointId,
    /// Every shard of the collection.
    pub shards: Vec<BaseFacts>,
}

/// How recent a collection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recency {
    /// Everything acknowledged before this instant could be brought back.
    pub until: Timestamp,
    /// From this recovery point.
    pub point: RecoveryPointId,
    /// Whether the log of every shard goes on from it, and is followed.
    pub continuous: bool,
}

/// The best of these recovery points; `None` if none has a shard.
#[must_use]
pub fn recency(points: &[BasePoint], logs: &[LogFacts]) -> Option<Recency> {
    let of = points.iter().filter_map(|point| of_point(point, logs));
    // Among equals the one that goes on is the better one.
    of.max_by_key(|recency| (recency.until, recency.continuous))
}

fn of_point(point: &BasePoint, logs: &[LogFacts]) -> Option<Recency> {
    let shards = point.shards.iter().map(|base| of_shard(base, logs));
    let (until, continuous) = shards.reduce(|(until, continuous), (other, goes_on)| {
        (until.min(other), continuous && goes_on)
    })?;
    Some(Recency {
        until,
        point: point.point.clone(),
        continuous,
    })
}

fn of_shard(base: &BaseFacts, logs: &[LogFacts]) -> (Timestamp, bool) {
    match log_of(base, logs) {
        Some((log, _)) => {
            let until = log.complete_until.unwrap_or(base.captured_at);
            (until.max(base.captured_at), log.open)
        }
        None => (base.captured_at, false),
    }
}

/// How far the certain content of a shard stays behind the end of its log when everything is flushed: Qdrant (1.18.3, `SerdeWal::ack`) says there
/// which record is the newest that it needs no longer, and never one behind the last. That one is contained, too, if the capture has its version.
const FLUSHED: u64 = 1;

/// What was written to a collection since a recovery point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Operations in the logs of all shards from where nothing is contained, or where that is not known, from where not everything is.
    pub operations: u64,
    /// Whether it is certain that nothing was.
    pub nothing: bool,
    /// All that was acknowledged before this instant is counted.
    pub until: Timestamp,
}

/// What was written since this point; `None` if it has no shard, or the log of one does not go on from it without a gap, is not followed, or is
/// not known to be complete.
#[must_use]
pub fn written_since(point: &BasePoint, logs: &[LogFacts]) -> Option<Written> {
    let shards = point.shards.iter().map(|base| {
        let (log, certain) = log_of(base, logs)?;
        let next = base.next.unwrap_or(certain);
        Some(Written {
            operations: log.next.saturating_sub(next),
            nothing: base.next == Some(log.next) && log.next - certain <= FLUSHED,
            until: log.complete_until.filter(|_| log.open)?,
        })
    });
    let shards: Option<Vec<Written>> = shards.collect();
    shards?.into_iter().reduce(|all, shard| Written {
        operations: all.operations.saturating_add(shard.operations),
        nothing: all.nothing && shard.nothing,
        until: all.until.min(shard.until),
    })
}

/// The log that goes on from a shard without a gap, and the index below which the shard has every operation.
fn log_of<'a>(base: &BaseFacts, logs: &'a [LogFacts]) -> Option<(&'a LogFacts, u64)> {
    let (timeline, certain) = base.mark?;
    let goes_on = |log: &&LogFacts| {
        log.shard == base.shard
            && log.timeline == timeline
            && (log.first..=log.next).contains(&certain)
    };
    Some((logs.iter().find(goes_on)?, certain))
}

#[cfg(test)]
mod tests {
    use super::{BaseFacts, BasePoint, LogFacts, Recency, Written, recency, written_since};
    use holdfast_types::{RecoveryPointId, ShardId, TimelineId, Timestamp};
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn line(n: u8) -> TimelineId {
        TimelineId::from_bytes([n; 16])
    }

    fn id(n: u8) -> RecoveryPointId {
        format!("20261121t101530z-000000{n:02x}").parse().unwrap()
    }

    fn base(shard: u32, captured: i64, mark: Option<(u8, u64)>) -> BaseFacts {
        BaseFacts {
            shard: ShardId(shard),
            captured_at: at(captured),
            mark: mark.map(|(n, certain)| (line(n), certain)),
            next: None,
        }
    }

    fn log(shard: u32, timeline: u8, first: u64, next: u64, until: Option<i64>) -> LogFacts {
        LogFacts {
            shard: ShardId(shard),
            timeline: line(timeline),
            first,
            next,
            complete_until: until.map(at),
            open: true,
        }
    }

    fn of(shards: &[BaseFacts], logs: &[LogFacts]) -> (i64, bool) {
        let point = BasePoint {
            point: id(1),
            shards: shards.to_vec(),
        };
        let Recency {
            until, continuous, ..
        } = recency(&[point], logs).unwrap();
        (until.as_micros() / 1_000_000, continuous)
    }

    #[test]
    fn the_least_recent_shard_counts() {
        let both = [base(0, 10, Some((1, 5))), base(1, 11, Some((2, 7)))];
        let logs = [log(0, 1, 0, 50, Some(90)), log(1, 2, 7, 9, Some(80))];
        assert_eq!(of(&both, &logs), (80, true));
        assert_eq!(of(&both, &logs[..1]), (11, false));
        assert_eq!(of(&both, &[]), (10, false));
        assert_eq!(recency(&[], &logs), None);
    }

    #[test]
    fn only_a_log_that_goes_on_without_a_gap_extends() {
        let marked = [base(0, 10, Some((1, 5)))];
        for (log, expected) in [
            (log(0, 1, 0, 50, Some(90)), (90, true)),
            (log(0, 1, 5, 5, Some(90)), (90, true)),
            (log(0, 1, 6, 50, Some(90)), (10, false)),
            (log(0, 1, 0, 4, Some(90)), (10, false)),
            (log(0, 2, 0, 50, Some(90)), (10, false)),
            (log(1, 1, 0, 50, Some(90)), (10, false)),
            (log(0, 1, 0, 50, None), (10, true)),
            (log(0, 1, 0, 50, Some(3)), (10, true)),
        ] {
            assert_eq!(of(&marked, std::slice::from_ref(&log)), expected, "{log:?}");
        }
        assert_eq!(
            of(&[base(0, 10, None)], &[log(0, 1, 0, 50, Some(90))]),
            (10, false)
        );
    }

    #[test]
    fn what_was_written_is_counted_where_nothing_is_missing() {
        let written = |shards: &[BaseFacts], logs: &[LogFacts]| {
            let point = BasePoint {
                point: id(1),
                shards: shards.to_vec(),
            };
            written_since(&point, logs)
        };
        let both = [base(0, 10, Some((1, 5))), base(1, 11, Some((2, 7)))];
        let logs = [log(0, 1, 0, 50, Some(90)), log(1, 2, 7, 7, Some(80))];
        let counted = |operations, until| {
            Some(Written {
                operations,
                nothing: false,
                until: at(until),
            })
        };
        assert_eq!(written(&both, &logs), counted(45, 80));
        assert_eq!(written(&both[1..], &logs), counted(0, 80));
        assert_eq!(written(&both, &logs[..1]), None, "one is not archived");
        assert_eq!(written(&[], &logs), None);
        for unknown in [
            log(0, 1, 6, 50, Some(90)),
            log(0, 2, 0, 50, Some(90)),
            log(0, 1, 0, 50, None),
            LogFacts {
                open: false,
                ..log(0, 1, 0, 50, Some(90))
            },
        ] {
            let found = written(&both[..1], std::slice::from_ref(&unknown));
            assert_eq!(found, None, "{unknown:?}");
        }
    }

    #[test]
    fn nothing_was_written_if_the_capture_has_the_last_operation_and_the_flush_too() {
        let nothing = |certain, next, end| {
            let base = BaseFacts {
                next,
                ..base(0, 10, Some((1, certain)))
            };
            let point = BasePoint {
                point: id(1),
                shards: vec![base],
            };
            let written = written_since(&point, &[log(0, 1, 0, end, Some(90))]).unwrap();
            (written.operations, written.nothing)
        };
        assert_eq!(nothing(49, Some(50), 50), (0, true));
        assert_eq!(nothing(50, Some(50), 50), (0, true));
        assert_eq!(nothing(48, Some(50), 50), (0, false), "one is not flushed");
        assert_eq!(nothing(49, Some(50), 51), (1, false), "one more");
        assert_eq!(nothing(49, Some(49), 50), (1, false), "not in the capture");
        assert_eq!(nothing(49, None, 50), (1, false), "not known");
    }

    #[test]
    fn a_history_that_has_ended_counts_and_does_not_go_on() {
        let marked = [base(0, 10, Some((1, 5)))];
        let over = LogFacts {
            open: false,
            ..log(0, 1, 0, 50, Some(90))
        };
        assert_eq!(of(&marked, &[over]), (90, false));
    }

    #[test]
    fn an_older_point_may_be_the_better_one() {
        let point = |n, shards| BasePoint {
            point: id(n),
            shards,
        };
        let points = [
            point(2, vec![base(0, 50, None)]),
            point(1, vec![base(0, 10, Some((1, 5)))]),
        ];
        let best = recency(&points, &[log(0, 1, 0, 50, Some(90))]).unwrap();
        assert_eq!((best.until, best.point), (at(90), id(1)));
        let best = recency(&points, &[log(0, 1, 0, 50, Some(40))]).unwrap();
        assert_eq!((best.until, best.point), (at(50), id(2)));
    }

    proptest! {
        /// Never newer than what some log or capture of each shard says, and never newer with less of it.
        #[test]
        fn less_is_never_more(
            bases in prop::collection::vec((0u32..3, 0i64..50, prop::option::of((0u8..3, 0u64..9))), 1..6),
            logs in prop::collection::vec((0u32..3, 0u8..3, 0u64..9, 0u64..9, prop::option::of(0i64..99)), 0..6),
            without in any::<prop::sample::Index>(),
        ) {
            let shards: Vec<_> = bases.iter().map(|b| base(b.0, b.1, b.2)).collect();
            let logs: Vec<_> = logs.iter().map(|l| log(l.0, l.1, l.2, l.3, l.4)).collect();
            let (until, _) = of(&shards, &logs);
            for base in &shards {
                let own = logs.iter().filter(|log| log.shard == base.shard);
                let newest = own.filter_map(|log| log.complete_until).max();
                prop_assert!(at(until) <= newest.unwrap_or(base.captured_at).max(base.captured_at));
            }
            if !logs.is_empty() {
                let mut fewer = logs.clone();
                fewer.remove(without.index(logs.len()));
                // Two logs of one timeline are one replica's: the first that is found counts.
                let unique = (0..logs.len()).all(|n| logs[..n].iter().all(|l| (l.shard, l.timeline) != (logs[n].shard, logs[n].timeline)));
                prop_assert!(!unique || of(&shards, &fewer).0 <= until);
            }
        }
    }
}
