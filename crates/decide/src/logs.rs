//! Which archived entries of write-ahead logs stay, and which small parts become larger ones.
//!
//! Entries are kept for restores to an instant. For each collection the policy says how far back (`instants_within_hours`), or nothing:
//! then as far as any recovery point reaches.
//!
//! 1. **Points.** A recovery point is in need of entries unless a newer one from before the window (and before the grace of deletions) *replaces* it: a
//!    sound one, of the same logs, or of logs that reach as far. Retention keeps the points that nothing replaces
//!    ([`Claim::Window`](crate::Claim)), by the same rule without the grace. What a restore reads, what a legal hold is on, and what is marked for
//!    removal and may still be taken back, is always in need.
//! 2. **Named logs.** Of a log with which any of these points goes on, the entries from the earliest `certain` on stay, and the part with
//!    the entry before: it says when the contained ones were written. A base that is being captured now has a later `certain`, since
//!    Qdrant never moves it back within a timeline.
//! 3. **Other logs** lead nowhere: no such point goes on with them. They stay for [`UNNAMED_KEPT`], since a base may be under way; of one that is
//!    followed the newest [`FOLLOWED_KEPT`] parts stay.
//!
//! Only leading parts ever go, so what stays has no new gap. Nothing of a log goes whose collection can't be told, and nothing at all while a
//! recovery point can't be read ([`plan_logs`] is not asked then). A restore of several collections needs one recovery point for all; what is promised
//! here is that each collection can be brought to the instant.

mod check;
mod merge;
mod stretch;
#[cfg(test)]
mod tests;

pub use check::check_logs;
pub use merge::merges;
pub use stretch::{LogEnd, Stretch, reach, stretch};

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
    /// Whether it was made of several.
    pub merged: bool,
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

/// For each log with which a point in need goes on, the earliest entry that is needed, and by which point.
fn needs<'a>(
    points: &'a [LogPoint],
    policy: &RetentionPolicy,
    grace: Duration,
    now: Timestamp,
) -> BTreeMap<(TimelineId, ShardId), (u64, &'a RecoveryPointId)> {
    let mut needs = BTreeMap::new();
    for point in points {
        let id = &point.facts.id;
        for (name, bases) in &point.collections {
            let window = policy.window(name);
            if window.is_some_and(|window| {
                is_replaced(points, point, name, now.before(window + grace), now)
            }) {
                continue;
            }
            for base in bases {
                let (Some(timeline), Some(certain)) = (base.timeline, base.certain) else {
                    continue;
                };
                let need = needs.entry((timeline, base.shard)).or_insert((certain, id));
                if certain < need.0 {
                    *need = (certain, id);
                }
            }
        }
    }
    needs
}

/// Whether nothing of a window that begins at `opens` needs this point of the collection.
fn is_replaced(
    points: &[LogPoint],
    point: &LogPoint,
    name: &CollectionName,
    opens: Timestamp,
    now: Timestamp,
) -> bool {
    let facts = &point.facts;
    let held = facts.holds.iter().any(|hold| hold.is_active(now));
    if facts.in_use || held || point.marked {
        return false;
    }
    let others = points.iter().filter(|other| !other.marked);
    let mut others = others.map(|other| &other.facts);
    others.any(|other| facts.is_replaced_by(other, name, opens))
}
