//! The model: a shard's true history, and what agents and captures made of it.

use crate::fixture::name;
use crate::instant::{ArchivedLog, Base, BasePoint, History, LogPart, Look, PartView, Present};
use holdfast_types::{IncarnationId, RecoveryPointId, ShardId, TimelineId, Timestamp};
use proptest::prelude::prop;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Recovery points of a history.
pub(super) const POINTS: usize = 5;

/// The model counts minutes.
pub(super) fn t(at: i64) -> Timestamp {
    Timestamp::from_micros(at * 60_000_000)
}

pub(super) fn point_id(nth: usize) -> RecoveryPointId {
    RecoveryPointId::new(t(i64::try_from(nth).unwrap()), 7)
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
    /// Another replica, with a log of its own: when its agent looked, what is lost of it, and the captures that are made there.
    pub(super) other: Option<Replica>,
}

/// A second replica of the shard.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    looks: Vec<(i64, i64)>,
    lost: Option<(u64, u64)>,
    captures: Vec<bool>,
}

impl Truth {
    /// Number of operations that had been written at an instant.
    pub(super) fn count(&self, at: i64) -> u64 {
        self.written.partition_point(|w| *w < at) as u64
    }

    /// When the agent of each replica had seen an operation, whether or not that is archived.
    pub(super) fn seen(&self, operation: u64) -> Vec<Option<Timestamp>> {
        let by = |looks: &Vec<(i64, i64)>| {
            let mut looks = looks.iter();
            let found = looks.find(|(begin, _)| self.count(*begin) > operation);
            found.map(|(_, end)| t(*end))
        };
        let other = self.other.as_ref().map(|other| by(&other.looks));
        [by(&self.looks)].into_iter().chain(other).collect()
    }

    pub(super) fn timeline(&self, shard: u32, operation: u64) -> TimelineId {
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
        let elsewhere = self.is_elsewhere(nth);
        let (from, to) = if elsewhere {
            (other_timeline(shard), other_timeline(shard))
        } else {
            (
                self.timeline(shard, certain),
                self.timeline(shard, next.max(certain)),
            )
        };
        let node = if elsewhere { "n2" } else { "n1" };
        Base {
            shard: ShardId(shard),
            node: node.parse().unwrap(),
            captured_at: t(asked),
            next: Some(next),
            certain: Some(certain),
            timeline: (from == to).then_some(from),
        }
    }

    fn is_elsewhere(&self, nth: usize) -> bool {
        self.other.as_ref().is_some_and(|other| other.captures[nth])
    }

    /// When the agent could say that the timeline of a capture still ran: at a look that began after the snapshot.
    fn vouched(&self, nth: usize) -> Option<i64> {
        let (asked, took, _) = self.captures[nth];
        let looks = match &self.other {
            Some(other) if self.is_elsewhere(nth) => &other.looks,
            Some(_) | None => &self.looks,
        };
        let seen = looks.iter().find(|(begin, _)| *begin >= asked + took);
        seen.map(|(_, end)| *end)
    }

    /// Whether an agent still reads the log with which a base goes on.
    pub(super) fn is_looked_at(&self, base: &Base, now: i64) -> bool {
        let other = self.other.as_ref().filter(|_| base.node.as_str() == "n2");
        let looks = other.map_or(&self.looks, |other| &other.looks);
        let begins_anew = self.restart.is_some_and(|at| self.count(now) > at);
        let newest = self.timeline(base.shard.0, u64::MAX);
        let goes_on = other.is_some() || base.timeline == Some(newest) || !begins_anew;
        goes_on && looks.last().is_some_and(|(begin, _)| *begin >= now)
    }

    /// The same without a loss.
    pub(super) fn kept(mut self) -> Self {
        self.lost = None;
        if let Some(other) = &mut self.other {
            other.lost = None;
        }
        self
    }

    /// When the capture was committed.
    pub(super) fn committed(&self, nth: usize) -> i64 {
        let (asked, took, _) = self.captures[nth];
        self.vouched(nth).unwrap_or(asked + took)
    }

    fn logs(&self, shard: u32) -> Vec<ArchivedLog> {
        let mut logs = self.logs_of(shard, "n1", |operation| self.timeline(shard, operation));
        if let Some(other) = &self.other {
            let there = Self {
                looks: other.looks.clone(),
                lost: other.lost,
                restart: None,
                ..self.clone()
            };
            logs.extend(there.logs_of(shard, "n2", |_| other_timeline(shard)));
        }
        logs
    }

    /// The parts: one for each look that found something.
    fn logs_of(
        &self,
        shard: u32,
        node: &str,
        timeline_of: impl Fn(u64) -> TimelineId,
    ) -> Vec<ArchivedLog> {
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
                let timeline = timeline_of(first);
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
            owner: Some((name("docs"), node.parse().unwrap())),
            because: Some("first seen".to_owned()),
            parts: parts.into_iter().filter(kept).collect(),
        });
        logs.filter(|log| !log.parts.is_empty()).collect()
    }
}

fn other_timeline(shard: u32) -> TimelineId {
    TimelineId::from_bytes([100 + u8::try_from(shard).unwrap(); 16])
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
        present: Present::default(),
    }
}

pub(super) fn truth() -> impl prop::strategy::Strategy<Value = Truth> {
    use prop::strategy::Strategy as _;
    let span = || prop::collection::vec(1..12_i64, 4..20);
    let captures = prop::collection::vec((1..200_i64, 0..20_i64, 0..5_u64), POINTS);
    let lost = || prop::option::of((0..20_u64, 1..6_u64));
    let restart = prop::option::of(1..20_u64);
    let other = (
        span(),
        lost(),
        prop::collection::vec(prop::bool::ANY, POINTS),
    );
    let truth = (
        span(),
        span(),
        captures,
        lost(),
        restart,
        prop::option::of(other),
    );
    truth.prop_map(|(gaps, waits, captures, lost, restart, other)| {
        let mut now = 0;
        let mut sum = |gap: i64| {
            now += gap;
            now
        };
        let written: Vec<i64> = gaps.into_iter().map(&mut sum).collect();
        let looks_of = |waits: Vec<i64>| -> Vec<(i64, i64)> {
            let mut now = 3;
            let looks = waits.into_iter().map(|wait| {
                let look = (now, now + wait / 3);
                now += wait;
                look
            });
            looks.collect()
        };
        let lost_of = |lost: Option<(u64, u64)>| lost.map(|(from, len)| (from, from + len));
        let mut captures = captures;
        captures.sort_unstable();
        Truth {
            written,
            looks: looks_of(waits),
            lost: lost_of(lost),
            restart,
            captures,
            other: other.map(|(waits, lost, captures)| Replica {
                looks: looks_of(waits),
                lost: lost_of(lost),
                captures,
            }),
        }
    })
}

/// The same with captures that don't overlap, as one coordinator makes them: a point is begun when the one before it was committed.
pub(super) fn one_by_one(mut truths: Vec<Truth>) -> Vec<Truth> {
    for nth in 1..POINTS {
        let before = truths.iter().map(|truth| truth.committed(nth - 1)).max();
        for truth in &mut truths {
            let asked = &mut truth.captures[nth].0;
            *asked = before.unwrap().max(*asked);
        }
    }
    truths
}

/// A history in which captures name their timeline only where the agent could vouch for it, as agents do.
pub(super) fn vouched_history(truths: &[Truth]) -> History {
    let mut history = history(truths);
    for (nth, point) in (0..).zip(history.points.iter_mut().rev()) {
        let bases = point.collections.get_mut(&name("docs")).unwrap();
        for (base, truth) in bases.iter_mut().zip(truths) {
            base.timeline = base.timeline.filter(|_| truth.vouched(nth).is_some());
        }
    }
    history
}
