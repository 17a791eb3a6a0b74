//! The model: a shard's true history, and what agents and captures made of it.

use crate::fixture::name;
use crate::instant::{ArchivedLog, Base, BasePoint, History, LogPart, Look, PartView};
use crate::logs::{LogFacts, LogPoint, PartFacts, check_logs, plan_logs};
use crate::retention::fixture::dated;
use crate::retention::{RetentionPolicy, Rule};
use holdfast_types::{IncarnationId, RecoveryPointId, ShardId, TimelineId, Timestamp};
use proptest::prelude::prop;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn t(at: i64) -> Timestamp {
    Timestamp::from_micros(at)
}

pub(super) fn point_id(nth: usize) -> RecoveryPointId {
    RecoveryPointId::new(t(1_000_000 * i64::try_from(nth).unwrap()), 7)
}

/// One shard's history: when each operation was truly written, and what was made of it.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    /// When operation i was written, ascending.
    pub(super) written: Vec<i64>,
    /// When the agent looked: begin and end.
    pub(super) looks: Vec<(i64, i64)>,
    /// Operations before which the agent's looks begin to be lost, from and to.
    pub(super) lost: Option<(u64, u64)>,
    /// Operation at which a new timeline begins.
    pub(super) restart: Option<u64>,
    /// Captures: when asked, how long the snapshot took, how much was not flushed.
    pub(super) captures: Vec<(i64, i64, u64)>,
}

impl Truth {
    /// Number of operations that had been written at an instant.
    fn count(&self, at: i64) -> u64 {
        self.written.partition_point(|w| *w < at) as u64
    }

    fn timeline(&self, shard: u32, operation: u64) -> TimelineId {
        let second = self.restart.is_some_and(|restart| operation >= restart);
        let shard = u8::try_from(shard).unwrap();
        TimelineId::from_bytes([1 + shard * 2 + u8::from(second); 16])
    }

    pub(super) fn base(&self, shard: u32, nth: usize) -> Base {
        let (asked, took, _) = self.captures[nth];
        // What comes while the snapshot is made may be in it, and the log ends at its end.
        let next = self.count(asked + took);
        // What was flushed once stays so.
        let flushed =
            |(asked, _, behind): &(i64, i64, u64)| self.count(*asked).saturating_sub(*behind);
        let certain = self.captures[..=nth].iter().map(flushed).max().unwrap();
        let (from, to) = (
            self.timeline(shard, certain),
            self.timeline(shard, next.max(certain)),
        );
        Base {
            shard: ShardId(shard),
            node: "n1".parse().unwrap(),
            captured_at: t(asked),
            next: Some(next),
            certain: Some(certain),
            timeline: (from == to).then_some(from),
        }
    }

    /// When the capture was committed: the agent has said that its timeline still ran at a look that began after the snapshot.
    fn committed(&self, nth: usize) -> i64 {
        let (asked, took, _) = self.captures[nth];
        let made = asked + took;
        let seen = self.looks.iter().find(|(begin, _)| *begin >= made);
        let last = self.looks.last().map_or(made, |(_, end)| *end);
        seen.map_or(last, |(_, end)| *end).max(made)
    }

    /// The parts: one for each look that found something.
    fn logs(&self, shard: u32) -> Vec<ArchivedLog> {
        let mut parts: BTreeMap<TimelineId, Vec<PartView>> = BTreeMap::new();
        let (mut begun, mut read) = (0, 0);
        for (begin, end) in &self.looks {
            let (from, to) = (read, self.count(*begin));
            let (after, by) = (t(begun), t(*end));
            let middle = self.restart.filter(|r| from < *r && *r < to);
            let bounds = [Some(from), middle, Some(to)];
            let bounds: Vec<u64> = bounds.into_iter().flatten().collect();
            for pair in bounds.windows(2).filter(|pair| pair[0] < pair[1]) {
                let (first, next) = (pair[0], pair[1]);
                let timeline = self.timeline(shard, first);
                let crc = |n: u64| u32::try_from(n).unwrap();
                let whole = parts.entry(timeline).or_default();
                let part = LogPart {
                    first,
                    next,
                    before: (!whole.is_empty()).then(|| crc(first)),
                    end: crc(next),
                    version: "1.18.3".parse().unwrap(),
                    looks: vec![Look {
                        first,
                        next,
                        after,
                        by,
                        bytes: 10,
                    }],
                };
                whole.push(PartView::Read(Arc::new(part)));
            }
            (begun, read) = (*begin, to);
        }
        let kept = |part: &PartView| {
            self.lost
                .is_none_or(|(from, to)| !(from..to).contains(&part.first()))
        };
        let logs = parts.into_iter().map(|(timeline, parts)| ArchivedLog {
            timeline,
            incarnation: IncarnationId::from_bytes([9; 16]),
            shard: ShardId(shard),
            owner: Some((name("docs"), "n1".parse().unwrap())),
            because: Some("first seen".to_owned()),
            parts: parts.into_iter().filter(kept).collect(),
        });
        logs.filter(|log| !log.parts.is_empty()).collect()
    }
}

pub(super) fn history(truths: &[Truth]) -> History {
    let captures = truths.iter().map(|truth| truth.captures.len()).min();
    let points = (0..captures.unwrap_or(0)).rev().map(|nth| {
        let bases = truths.iter().zip(0..);
        let bases = bases.map(|(truth, shard)| truth.base(shard, nth)).collect();
        BasePoint {
            id: point_id(nth),
            ordinary: true,
            collections: [(name("docs"), bases)].into(),
        }
    });
    let logs = truths.iter().zip(0..);
    History {
        points: points.collect(),
        logs: logs.flat_map(|(truth, shard)| truth.logs(shard)).collect(),
        standings: Vec::new(),
    }
}

pub(super) fn truth() -> impl prop::strategy::Strategy<Value = Truth> {
    use prop::strategy::Strategy as _;
    let span = || prop::collection::vec(1..12_i64, 4..20);
    let captures = prop::collection::vec((1..200_i64, 0..20_i64, 0..5_u64), 3);
    let lost = prop::option::of((0..20_u64, 1..6_u64));
    let restart = prop::option::of(1..20_u64);
    (span(), span(), captures, lost, restart).prop_map(|(gaps, waits, captures, lost, restart)| {
        let mut now = 0;
        let mut sum = |gap: i64| {
            now += gap;
            now
        };
        let written: Vec<i64> = gaps.into_iter().map(&mut sum).collect();
        let mut now = 3;
        let mut looks = Vec::new();
        for wait in waits {
            looks.push((now, now + wait / 3));
            now += wait;
        }
        let mut captures = captures;
        captures.sort_unstable();
        Truth {
            written,
            looks,
            lost: lost.map(|(from, len)| (from, from + len)),
            restart,
            captures,
        }
    })
}

/// The same without what no instant of the last `window` needs.
pub(super) fn pruned(history: &History, truths: &[Truth], now: Timestamp, window: i64) -> History {
    let rule = Rule {
        instants_within: Duration::from_micros(window.unsigned_abs()),
        ..Rule::default()
    };
    let policy = RetentionPolicy {
        rules: vec![rule],
        ..RetentionPolicy::staging()
    };
    let points = history.points.iter().enumerate().map(|(nth, point)| {
        let nth = history.points.len() - 1 - nth;
        let committed = truths.iter().map(|truth| truth.committed(nth)).max();
        let mut facts = dated("docs", t(committed.unwrap()), 0);
        facts.id = point.id.clone();
        let shards = point.collections[&name("docs")].iter();
        let logs = shards.map(|base| base.certain.and(Some((base.shard, base.timeline?))));
        let logs: Option<_> = logs.collect();
        facts.logs = logs.map(|logs| (name("docs"), logs)).into_iter().collect();
        LogPoint {
            facts,
            collections: point.collections.clone(),
            marked: false,
        }
    });
    let points: Vec<LogPoint> = points.collect();
    let facts = history.logs.iter().map(|log| {
        let part = |part: &PartView| PartFacts {
            first: part.first(),
            size: 1,
            stored: t(0),
        };
        LogFacts {
            timeline: log.timeline,
            shard: log.shard,
            collection: Some(name("docs")),
            followed: true,
            parts: log.parts.iter().map(part).collect(),
        }
    });
    let facts: Vec<LogFacts> = facts.collect();
    let verdicts = plan_logs(&points, &facts, &policy, Duration::ZERO, now);
    let wrong = check_logs(&verdicts, &points, &facts, &policy, Duration::ZERO, now);
    assert!(wrong.is_empty(), "{wrong:?}");
    let mut left = history.clone();
    for (log, verdict) in left.logs.iter_mut().zip(verdicts) {
        log.parts.drain(..verdict.surplus);
    }
    left
}
