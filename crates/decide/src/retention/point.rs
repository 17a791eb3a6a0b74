//! What a retention decision knows of one recovery point.

use holdfast_types::{
    CollectionName, HoldId, RecoveryPointId, ShardId, Tag, TimelineId, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One committed recovery point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointFacts {
    /// Its name.
    pub id: RecoveryPointId,
    /// When its manifest was committed.
    pub committed: Timestamp,
    /// Collections that it holds whole. Empty means that nobody knows what it holds, so it stays.
    pub collections: BTreeSet<CollectionName>,
    /// Words it was marked with.
    pub tags: BTreeSet<Tag>,
    /// Whether each collection is known to restore; one that is not named is [`Proof::Unproven`].
    pub proofs: BTreeMap<CollectionName, Proof>,
    /// Why a person wants it kept, if one does.
    pub pin: Option<String>,
    /// Legal holds on it, expired ones included.
    pub holds: Vec<Hold>,
    /// Until when the store itself refuses to delete it (object lock).
    pub locked_until: Option<Timestamp>,
    /// Whether it was captured because something was about to be overwritten.
    pub safety: bool,
    /// Whether a restore or another session reads it now.
    pub in_use: bool,
    /// The logs that go on from it, of each collection all of whose shards belong to one.
    pub logs: BTreeMap<CollectionName, BTreeMap<LogRun, LogReach>>,
}

/// A stretch of a shard's archived log that is not known to be damaged within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogRun {
    /// Of which shard.
    pub shard: ShardId,
    /// Which history.
    pub timeline: TimelineId,
    /// Its number, see [`Stretch`](crate::logs::Stretch).
    pub stretch: usize,
}

/// How far a stretch of a log leads. Of one that an agent reads both are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogReach {
    /// All that was written until then is archived.
    pub surely: Timestamp,
    /// No instant after it can be reached.
    pub at_most: Timestamp,
}

impl LogReach {
    /// Exactly until then.
    #[must_use]
    pub const fn until(at: Timestamp) -> Self {
        Self {
            surely: at,
            at_most: at,
        }
    }
}

/// What is known of the restorability of one collection of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// A drill or a restore has brought it back.
    Proven,
    /// Nobody has tried yet.
    Unproven,
    /// It was tried and did not come back.
    Failed {
        /// What was wrong.
        why: String,
    },
}

/// A legal hold: while it is active the point stays, whatever the rules say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its name.
    pub id: HoldId,
    /// Why it was placed.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// When it was placed.
    pub placed: Timestamp,
    /// From when on it has no effect; `None` means that it must be released by hand.
    pub expires: Option<Timestamp>,
}

impl Hold {
    /// Whether it keeps its point at `now`. One that is placed in the future does, too: a wrong
    /// clock must not lift a hold.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|end| end > now)
    }
}

impl PointFacts {
    /// What is known of the collection's restorability.
    pub(crate) fn proof(&self, collection: &CollectionName) -> &Proof {
        self.proofs.get(collection).unwrap_or(&Proof::Unproven)
    }

    /// Whether the collection is known not to restore.
    pub(crate) fn has_failed(&self, collection: &CollectionName) -> bool {
        match self.proof(collection) {
            Proof::Failed { .. } => true,
            Proof::Proven | Proof::Unproven => false,
        }
    }

    /// Whether every instant from `opens` on to which the collection could be brought from here can be reached from `newer` as well, which
    /// was committed by then. It can if its logs are the same, or those that it lacks have nothing from then on, or reach no farther.
    pub(crate) fn is_replaced_by(
        &self,
        newer: &Self,
        collection: &CollectionName,
        opens: Timestamp,
    ) -> bool {
        let is_later = (newer.committed, &newer.id) > (self.committed, &self.id);
        // Restores of everything pass over safety captures.
        if !is_later || newer.committed > opens || newer.safety || newer.has_failed(collection) {
            return false;
        }
        let Some(others) = newer.logs.get(collection) else {
            return false;
        };
        let mut own = self.logs.get(collection).into_iter().flatten();
        own.all(|(run, reach)| {
            let as_far = |(other, theirs): (&LogRun, &LogReach)| {
                other.shard == run.shard && theirs.surely >= reach.at_most
            };
            others.contains_key(run) || reach.at_most < opens || others.iter().any(as_far)
        })
    }

    /// The end of the object lock that this point should have at `now`: what it has, or the latest
    /// end of an active hold if that is later. `None` means no lock. A hold without an end needs
    /// the store's own legal hold beside it.
    #[must_use]
    pub fn wanted_lock(&self, now: Timestamp) -> Option<Timestamp> {
        let active = self.holds.iter().filter(|hold| hold.is_active(now));
        active
            .filter_map(|hold| hold.expires)
            .fold(self.locked_until, |lock, end| Some(lock_until(lock, end)))
    }
}

/// The end of a lock that ends at `current` and shall end at `wanted`: the later one, since a lock
/// is never shortened.
#[must_use]
pub fn lock_until(current: Option<Timestamp>, wanted: Timestamp) -> Timestamp {
    current.map_or(wanted, |current| current.max(wanted))
}

#[cfg(test)]
mod tests {
    use super::{Hold, lock_until};
    use crate::fixture::NOW;
    use crate::retention::fixture::{ago, ahead, hold, point};

    #[test]
    fn a_hold_ends_at_its_end() {
        let active = |expires| {
            Hold {
                expires,
                ..hold(None)
            }
            .is_active(NOW)
        };
        assert!(active(None));
        assert!(active(Some(ahead(1))));
        assert!(!active(Some(NOW)));
        assert!(!active(Some(ago(1))));
        let mut late = hold(Some(ahead(2)));
        late.placed = ahead(1);
        assert!(late.is_active(NOW));
    }

    #[test]
    fn a_lock_is_never_shortened() {
        assert_eq!(lock_until(None, NOW), NOW);
        assert_eq!(lock_until(Some(ahead(1)), NOW), ahead(1));
        assert_eq!(lock_until(Some(ago(1)), NOW), NOW);
    }

    #[test]
    fn a_lock_reaches_to_the_end_of_every_active_hold() {
        let mut point = point("docs", 5);
        assert_eq!(point.wanted_lock(NOW), None);
        point.holds = vec![hold(None), hold(Some(ago(1)))];
        assert_eq!(point.wanted_lock(NOW), None);
        point.holds.push(hold(Some(ahead(9))));
        point.holds.push(hold(Some(ahead(3))));
        assert_eq!(point.wanted_lock(NOW), Some(ahead(9)));
        point.locked_until = Some(ahead(20));
        assert_eq!(point.wanted_lock(NOW), Some(ahead(20)));
    }
}
