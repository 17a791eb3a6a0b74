//! Small histories for the tests of retention.

use super::point::{Hold, PointFacts, Proof};
use super::policy::{RetentionPolicy, Rule};
use crate::fixture::{NOW, name};
use holdfast_types::{HoldId, Tag};
use holdfast_types::{RecoveryPointId, Timestamp};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) fn ago(hours: i64) -> Timestamp {
    Timestamp::from_micros(NOW.as_micros() - hours * 3_600_000_000)
}

pub(crate) fn ahead(hours: i64) -> Timestamp {
    ago(-hours)
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// An unproven point of the collections (words) so many hours old.
pub(crate) fn point(collections: &str, hours_ago: i64) -> PointFacts {
    let stamp = u32::try_from(hours_ago.unsigned_abs()).unwrap();
    dated(collections, ago(hours_ago), stamp)
}

pub(crate) fn dated(collections: &str, committed: Timestamp, entropy: u32) -> PointFacts {
    PointFacts {
        id: RecoveryPointId::new(committed, entropy),
        committed,
        collections: collections.split_whitespace().map(name).collect(),
        tags: [].into(),
        proofs: BTreeMap::new(),
        pin: None,
        holds: vec![],
        locked_until: None,
        safety: false,
        in_use: false,
        logs: BTreeMap::new(),
    }
}

/// All its collections failed.
pub(crate) fn failed(point: PointFacts) -> PointFacts {
    let why = "shard 0 has 9 of 10 points".into();
    tried(point, &Proof::Failed { why })
}

/// All its collections are proven.
pub(crate) fn proven(point: PointFacts) -> PointFacts {
    tried(point, &Proof::Proven)
}

fn tried(mut point: PointFacts, proof: &Proof) -> PointFacts {
    let all = point.collections.iter().cloned();
    point.proofs = all.map(|name| (name, proof.clone())).collect();
    point
}

pub(crate) fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

pub(crate) fn hold(expires: Option<Timestamp>) -> Hold {
    Hold {
        id: "case-17".parse::<HoldId>().unwrap(),
        reason: "lawsuit".into(),
        owner: "alice".into(),
        placed: ago(1000),
        expires,
    }
}

/// A policy of one rule for everything, with the lowest floor.
pub(crate) fn only(rule: Rule) -> RetentionPolicy {
    RetentionPolicy {
        rules: vec![rule],
        min_proven: 0,
        keep_safety: Duration::ZERO,
    }
}

pub(crate) fn last(keep_last: u32) -> Rule {
    Rule {
        keep_last,
        ..Rule::default()
    }
}

/// Central European time as it has been since 1996, without a time-zone database.
pub(crate) fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// Newfoundland until 2011: at one past midnight in autumn the clock went back to the day before.
pub(crate) fn st_johns() -> TimeZone {
    TimeZone::posix("NST3:30NDT,M3.2.0/0:01,M11.1.0/0:01").unwrap()
}

/// Lord Howe Island, where summer time is half an hour.
pub(crate) fn lord_howe() -> TimeZone {
    TimeZone::posix("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0").unwrap()
}
