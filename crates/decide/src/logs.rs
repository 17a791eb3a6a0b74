//! Which archived entries of write-ahead logs stay, and which small parts become larger ones.
//!
//! Entries are kept for restores to an instant. For each collection the policy says how far back (`instants_within_hours`), or nothing:
//! then as far as any recovery point reaches.
//!
//! 1. **The first base** of a collection is the newest sound recovery point from before the window (and before the grace of deletions) of
//!    which every shard belongs to a log. Every instant of the window is reached from it or from a later point; so points before it need no
//!    entries. Retention keeps it, and those at which a history begins anew ([`Claim::Window`](crate::Claim)).
//! 2. **Named logs.** Of a log with which any of these points goes on, the entries from the earliest `certain` on stay, and the part with
//!    the entry before: it says when the contained ones were written. A base that is being captured now has a later `certain`, since
//!    Qdrant never moves it back within a timeline.
//! 3. **Other logs** lead nowhere: no point goes on with them. They stay for [`UNNAMED_KEPT`], since a base may be under way; of one that is
//!    followed the newest [`FOLLOWED_KEPT`] parts stay.
//! 4. What a restore reads now, or a legal hold is on, counts as if it were in the window, with all that follows it.
//!
//! Only leading parts ever go, so what stays has no new gap. Nothing of a log goes whose collection can't be told, and nothing at all while a
//! recovery point can't be read ([`plan_logs`] is not asked then).

mod check;
mod merge;
#[cfg(test)]
mod tests;

pub use check::check_logs;
pub use merge::merges;

use crate::instant::Base;
use crate::retention::{PointFacts, RetentionPolicy};
use holdfast_types::{CollectionName, RecoveryPointId, ShardId, TimelineId, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a log stays with which no recovery point goes on.
pub const UNNAMED_KEPT: Duration = Duration::from_hours(7 * 24);

/// The newest parts of a log that is followed stay.
pub const FOLLOWED_KEPT: usize = 64;

/// A recovery point, and what it says of logs.
#[derive(Clone, Debug)]
pub struct LogPoint {
    /// What retention knows of it.
    pub facts: PointFacts,
    /// Its captured shards.
    pub collections: BTreeMap<CollectionName, Vec<Base>>,
    /// Whether it is marked for removal.
    pub marked: bool,
}

/// An archived log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFacts {
    /// Which run of entries.
    pub timeline: TimelineId,
    /// Of which shard.
    pub shard: ShardId,
    /// Of which collection; `None` if it can't be told.
    pub collection: Option<CollectionName>,
    /// Whether an agent follows it.
    pub followed: bool,
    /// Its parts, in order.
    pub parts: Vec<PartFacts>,
}

/// A part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartFacts {
    /// Index of its first entry.
    pub first: u64,
    /// Bytes as stored.
    pub size: u64,
    /// When it was stored: its entries are older.
    pub stored: Timestamp,
}

/// What becomes of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogVerdict {
    /// So many parts may go, from the oldest on.
    pub surplus: usize,
    /// Why the others stay, or all go.
    pub why: LogReason,
}

/// Why entries stay or go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogReason {
    /// A recovery point goes on with them.
    Needed {
        /// Which: that which needs the earliest.
        point: RecoveryPointId,
        /// The entry from which on.
        from: u64,
    },
    /// No point goes on with the log, which is not old yet, or followed.
    Waiting,
    /// No point goes on with it, and none will.
    Unneeded,
    /// Whose it is can't be told.
    Unknown,
}

impl std::fmt::Display for LogReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Needed { point, from } => {
                write!(f, "recovery point {point} goes on from operation {from}")
            }
            Self::Waiting => f.write_str("no recovery point goes on with it yet"),
            Self::Unneeded => f.write_str("no recovery point goes on with it"),
            Self::Unknown => f.write_str("whose log it is can't be told"),
        }
    }
}

/// Judges every log, in the order of `logs`.
#[must_use]
pub fn plan_logs(
    points: &[LogPoint],
    logs: &[LogFacts],
    policy: &RetentionPolicy,
    grace: Duration,
    now: Timestamp,
) -> Vec<LogVerdict> {
    let needs = needs(points, policy, grace, now);
    let verdict = |log: &LogFacts| {
        if let Some((from, point)) = needs.get(&(log.timeline, log.shard)) {
            let (from, point) = (*from, (*point).clone());
            let surplus = log.parts.iter().skip(1);
            let surplus = surplus.take_while(|part| part.first < from).count();
            let why = LogReason::Needed { point, from };
            return LogVerdict { surplus, why };
        }
        if log.collection.is_none() {
            let why = LogReason::Unknown;
            return LogVerdict { surplus: 0, why };
        }
        let old = |part: &&PartFacts| now.since(part.stored) > UNNAMED_KEPT;
        let kept = if log.followed { FOLLOWED_KEPT } else { 0 };
        let may_go = log.parts.len().saturating_sub(kept);
        let surplus = log.parts[..may_go].iter().take_while(old).count();
        let why = if surplus == log.parts.len() {
            LogReason::Unneeded
        } else {
            LogReason::Waiting
        };
        LogVerdict { surplus, why }
    };
    logs.iter().map(verdict).collect()
}

/// For each log with which a point of a window goes on, the earliest entry that is needed, and by which point.
fn needs<'a>(
    points: &'a [LogPoint],
    policy: &RetentionPolicy,
    grace: Duration,
    now: Timestamp,
) -> BTreeMap<(TimelineId, ShardId), (u64, &'a RecoveryPointId)> {
    let mut begins: BTreeMap<&CollectionName, Option<(Timestamp, &RecoveryPointId)>> =
        BTreeMap::new();
    for name in points.iter().flat_map(|point| point.collections.keys()) {
        begins
            .entry(name)
            .or_insert_with(|| first_base(points, name, policy, grace, now));
    }
    let mut needs = BTreeMap::new();
    for point in points {
        let always = point.facts.in_use || point.facts.holds.iter().any(|h| h.is_active(now));
        for (name, bases) in &point.collections {
            let begin = begins.get(name).copied().flatten();
            let place = (point.facts.committed, &point.facts.id);
            if !always && begin.is_some_and(|begin| place < begin) {
                continue;
            }
            for base in bases {
                let (Some(timeline), Some(certain)) = (base.timeline, base.certain) else {
                    continue;
                };
                let need = needs
                    .entry((timeline, base.shard))
                    .or_insert((certain, &point.facts.id));
                if certain < need.0 {
                    *need = (certain, &point.facts.id);
                }
            }
        }
    }
    needs
}

/// The newest point from before the window from which its instants are reached.
fn first_base<'a>(
    points: &'a [LogPoint],
    name: &CollectionName,
    policy: &RetentionPolicy,
    grace: Duration,
    now: Timestamp,
) -> Option<(Timestamp, &'a RecoveryPointId)> {
    let window = policy.window(name)? + grace;
    let fits = points.iter().filter(|point| {
        !point.marked
            && !point.facts.has_failed()
            && point.facts.logs.contains_key(name)
            && point.facts.committed <= now
            && now.since(point.facts.committed) >= window
    });
    fits.map(|point| (point.facts.committed, &point.facts.id))
        .max()
}
