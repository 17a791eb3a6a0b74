//! Which recovery points stay and which go, and why.
//!
//! **Series.** A recovery point may hold several collections, and each must stay recoverable by
//! itself. So every pair of a rule and a collection is a series of its own: the points that hold
//! the collection and have the rule's tags. A point stays if any series keeps it. A point of ten
//! collections therefore stays as long as the slowest of them needs it.
//!
//! **Rules.** `keep_last` keeps the newest points of a series, a calendar count the newest point of
//! each of the newest periods *that have points*, in the zone that is handed in, so that a pause of
//! the backups costs no history. `keep_within` counts from the newest point of the series and not
//! from `now`, for the same reason. This is what restic does, except that restic also fills an
//! unused calendar count with the oldest point. `instants_within` keeps the points with which restores to the instants of its
//! window begin; it counts from `now`, and always keeps one from before. What no rule covers is left alone.
//!
//! **Why nothing is lost that is needed.** A point is removed only if there is not one reason to
//! keep it ([`Reason::keeps`]); reasons are only ever added. The reasons are
//! - the rules;
//! - the floor, for each collection: its newest point; the newest that has not failed its proof;
//!   the newest `min_proven` proven points, and the newest untried ones in place of those that are
//!   missing. A failed point never counts, and never takes a place in a rule from a good one;
//! - the point itself: pinned, held, locked, in use, a young safety capture;
//! - what is not known: a point from the future is kept and takes no one's place, one whose
//!   collections are not known is kept.
//!
//! Removing what is removed changes nothing for the rest: the same decision on the survivors
//! removes nothing more, and the order of the input is of no account. What a verdict permits still
//! passes [`check_retention`], a tombstone and its grace ([`PointState`]).
//!
//! This module does not look up time zones, does not know chunks (garbage collection does), and
//! does not place or release holds. A clock that runs ahead can end holds, locks and safety periods
//! early, but no count. Tombstoned points are not part of `points`, save to re-check a tombstone.

mod check;
mod claims;
mod deletion;
mod guard;
mod history;
mod pattern;
mod period;
mod point;
mod policy;
mod preset;
mod reason;
mod tombstone;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

pub use check::{RetentionViolation, check_retention};
pub use deletion::{Deletion, judge_deletion, judge_deletions};
pub use pattern::{NamePattern, ParsePatternError};
pub use period::Period;
pub use point::{Hold, LogReach, LogRun, PointFacts, Proof, lock_until};
pub use policy::{PolicyError, RetentionPolicy, Rule};
pub use reason::{Claim, Reason};
pub use tombstone::{NotYet, PointState, Refused, Tombstone, may_sweep};

use claims::{floor_claims, rule_claims, window_claims};
use guard::guards;
use history::{Dated, Series, by_collection, history};
use holdfast_types::{CollectionName, RecoveryPointId, Timestamp};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What happens to one recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which point.
    pub id: RecoveryPointId,
    /// Whether it stays.
    pub decision: Decision,
    /// Why, those that keep it first; never empty.
    pub reasons: Vec<Reason>,
}

/// Whether a recovery point stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It stays.
    Keep,
    /// It may be tombstoned.
    Remove,
}

/// What speaks for one point: as what it is needed, and by which collections.
type Claims = BTreeMap<Claim, BTreeSet<CollectionName>>;

/// Judges every point by the policy, with calendar periods in `tz`; the newest comes first.
///
/// Ids must be unique; [`check_retention`] finds it if they are not.
#[must_use]
pub fn plan_retention(
    points: &[PointFacts],
    policy: &RetentionPolicy,
    tz: &TimeZone,
    now: Timestamp,
) -> Vec<Verdict> {
    let history = history(points, tz, now);
    let mut claims: BTreeMap<&RecoveryPointId, Claims> = BTreeMap::new();
    for (collection, series) in by_collection(&history) {
        for (dated, claim) in collection_claims(collection, &series, policy, now) {
            let of_point = claims.entry(&dated.point.id).or_default();
            let needed_by = of_point.entry(claim).or_default();
            needed_by.insert(collection.clone());
        }
    }
    let mut order: Vec<&PointFacts> = points.iter().collect();
    order.sort_by_key(|point| Reverse((point.committed, &point.id)));
    order
        .into_iter()
        .map(|point| {
            let claims = claims.get(&point.id).cloned().unwrap_or_default();
            verdict(point, claims, guards(point, policy, now))
        })
        .collect()
}

/// Everything that one collection needs of its points.
fn collection_claims<'a, 'h>(
    collection: &CollectionName,
    series: &Series<'a, 'h>,
    policy: &RetentionPolicy,
    now: Timestamp,
) -> Vec<(&'h Dated<'a>, Claim)> {
    let mut claims = floor_claims(policy.min_proven, collection, series);
    for rule in &policy.rules {
        let covered = |dated: &&Dated<'a>| rule.covers(dated.point, collection);
        let series = series.iter().copied().filter(covered).collect();
        claims.extend(rule_claims(rule, collection, &series));
        claims.extend(window_claims(rule, collection, &series, now));
    }
    for dated in series {
        let covers = |rule: &Rule| rule.covers(dated.point, collection);
        if !policy.rules.iter().any(covers) {
            claims.push((*dated, Claim::Uncovered));
        }
    }
    claims
}

fn verdict(point: &PointFacts, claims: Claims, guards: Vec<Reason>) -> Verdict {
    let claimed = |(claim, collections)| Reason::Claimed { claim, collections };
    let mut reasons: Vec<Reason> = claims.into_iter().map(claimed).collect();
    reasons.extend(guards);
    let decision = if reasons.iter().any(Reason::keeps) {
        Decision::Keep
    } else {
        let collections = point.collections.clone();
        reasons.insert(0, Reason::NoRule { collections });
        Decision::Remove
    };
    Verdict {
        id: point.id.clone(),
        decision,
        reasons,
    }
}
