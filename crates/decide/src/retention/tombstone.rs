//! The life of a recovery point after it was decided to remove it: mark, wait, confirm, sweep.
//!
//! | state      | mark                  | undelete | sweep                     |
//! |------------|-----------------------|----------|---------------------------|
//! | live       | → tombstoned          | –        | refused                   |
//! | tombstoned | takes the newer epoch | → live   | → swept, if [`may_sweep`] |
//! | swept      | refused               | refused  | –                         |
//!
//! A swept point whose manifest is still there was left half way, by a crash or by a coordinator that was deposed. Whoever finds
//! it decides again, as of a tombstoned one: if something keeps it now, a hold that was placed since or a floor, it goes
//! back to live, for nothing of it has been deleted yet.
//!
//! (– leaves the state as it is.) **Why undelete and sweep don't collide:** swept is recorded, under
//! the epoch, before the first object is deleted; from then on there is no way back, and until then
//! there is one, even after the grace. **Why a deposed coordinator sweeps nothing:** the tombstone
//! carries the epoch under which it was last decided, and only that very epoch may sweep it; a new
//! leader decides again first, so that a hold that was placed meanwhile is seen. Marking
//! again neither shortens nor restarts the wait. This machine sees one writer's order of steps: that a
//! deposed one's last write may arrive late is for the repository, which checks the epoch once more before it deletes.

use holdfast_types::{Epoch, Timestamp};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::time::Duration;

/// The mark of a point that will be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// When it was marked.
    pub since: Timestamp,
    /// How long it can surely be undeleted; in whole seconds where it is written down.
    #[serde(rename = "grace_seconds", with = "seconds")]
    pub grace: Duration,
}

/// A duration as its number of seconds, rounded up.
mod seconds {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(span: &Duration, s: S) -> Result<S::Ok, S::Error> {
        let more = u64::from(span.subsec_nanos() > 0);
        s.serialize_u64(span.as_secs().saturating_add(more))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_secs)
    }
}

/// Where a recovery point stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PointState {
    /// It can be restored.
    Live,
    /// It will be removed, and can be undeleted.
    Tombstoned {
        /// Since when, for how long.
        tombstone: Tombstone,
        /// The term in which its removal was last decided.
        marked: Epoch,
    },
    /// Its objects are being deleted, or are gone.
    Swept,
}

/// Why a tombstoned point must not be swept yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// Someone else leads since.
    #[error("epoch {now} is over: the tombstone is of epoch {marked}")]
    Deposed {
        /// The caller's.
        now: Epoch,
        /// The tombstone's.
        marked: Epoch,
    },
    /// It was decided in an earlier term.
    #[error("marked in epoch {marked}: decide again in epoch {now} first")]
    Unconfirmed {
        /// The tombstone's.
        marked: Epoch,
        /// The one in force.
        now: Epoch,
    },
    /// The grace is not over.
    #[error("can be undeleted until {until}")]
    Grace {
        /// Its end.
        until: Timestamp,
    },
    /// It was never marked.
    #[error("not marked for removal")]
    Live,
}

/// The point's objects are being deleted: there is no way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("already being removed: restore from another recovery point or from a copy")]
pub struct Refused;

/// Whether the objects of a tombstoned point may be deleted: `epoch_now` is the caller's term,
/// `epoch_marked` the one in which the removal was last decided.
///
/// # Errors
/// Says what has to happen first.
pub fn may_sweep(
    tombstone: Tombstone,
    now: Timestamp,
    epoch_now: Epoch,
    epoch_marked: Epoch,
) -> Result<(), NotYet> {
    match epoch_now.cmp(&epoch_marked) {
        Ordering::Less => {
            return Err(NotYet::Deposed {
                now: epoch_now,
                marked: epoch_marked,
            });
        }
        Ordering::Greater => {
            return Err(NotYet::Unconfirmed {
                marked: epoch_marked,
                now: epoch_now,
            });
        }
        Ordering::Equal => {}
    }
    let until = tombstone.since.after(tombstone.grace);
    if now < until {
        return Err(NotYet::Grace { until });
    }
    Ok(())
}

impl PointState {
    /// Marks it for removal, or confirms an earlier mark under a newer term.
    ///
    /// # Errors
    /// It is being removed already.
    pub fn mark(self, tombstone: Tombstone, epoch: Epoch) -> Result<Self, Refused> {
        match self {
            Self::Live => Ok(Self::Tombstoned {
                tombstone,
                marked: epoch,
            }),
            Self::Tombstoned {
                tombstone: earlier,
                marked,
            } => Ok(Self::Tombstoned {
                tombstone: earlier,
                marked: marked.max(epoch),
            }),
            Self::Swept => Err(Refused),
        }
    }

    /// Takes the mark back, within the grace or later.
    ///
    /// # Errors
    /// It is being removed already.
    pub fn undelete(self) -> Result<Self, Refused> {
        match self {
            Self::Live | Self::Tombstoned { .. } => Ok(Self::Live),
            Self::Swept => Err(Refused),
        }
    }

    /// Lets its objects be deleted; to be recorded before the first one is.
    ///
    /// # Errors
    /// Says what has to happen first.
    pub fn sweep(self, now: Timestamp, epoch: Epoch) -> Result<Self, NotYet> {
        match self {
            Self::Live => Err(NotYet::Live),
            Self::Tombstoned { tombstone, marked } => {
                may_sweep(tombstone, now, epoch, marked).map(|()| Self::Swept)
            }
            Self::Swept => Ok(Self::Swept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NotYet, PointState, Refused, Tombstone, may_sweep};
    use crate::fixture::NOW;
    use crate::retention::fixture::{ago, ahead};
    use holdfast_types::{Epoch, Timestamp};
    use std::time::Duration;

    const FIVE: Epoch = Epoch(5);

    fn tombstone(hours_ago: i64) -> Tombstone {
        Tombstone {
            since: ago(hours_ago),
            grace: Duration::from_hours(24),
        }
    }

    fn tombstoned(hours_ago: i64, marked: Epoch) -> PointState {
        PointState::Tombstoned {
            tombstone: tombstone(hours_ago),
            marked,
        }
    }

    #[test]
    fn sweeping_waits_for_the_grace_to_the_microsecond() {
        assert_eq!(may_sweep(tombstone(24), NOW, FIVE, FIVE), Ok(()));
        let earlier = Timestamp::from_micros(NOW.as_micros() - 1);
        let until = NOW;
        assert_eq!(
            may_sweep(tombstone(24), earlier, FIVE, FIVE),
            Err(NotYet::Grace { until })
        );
        // a tombstone from the future waits longer, never shorter
        let until = ahead(25);
        assert_eq!(
            may_sweep(tombstone(-1), NOW, FIVE, FIVE),
            Err(NotYet::Grace { until })
        );
    }

    #[test]
    fn only_the_epoch_that_decided_may_sweep() {
        let (four, six) = (Epoch(4), Epoch(6));
        let old = may_sweep(tombstone(99), NOW, FIVE, four);
        let unconfirmed = NotYet::Unconfirmed {
            marked: four,
            now: FIVE,
        };
        assert_eq!(old, Err(unconfirmed));
        let deposed = NotYet::Deposed {
            now: FIVE,
            marked: six,
        };
        assert_eq!(may_sweep(tombstone(99), NOW, FIVE, six), Err(deposed));
    }

    #[test]
    fn confirming_takes_the_newer_epoch_and_keeps_the_wait() {
        let six = Epoch(6);
        let confirmed = tombstoned(30, FIVE).mark(tombstone(0), six);
        assert_eq!(confirmed, Ok(tombstoned(30, six)));
        let stale = tombstoned(30, six).mark(tombstone(0), FIVE);
        assert_eq!(stale, Ok(tombstoned(30, six)));
        assert_eq!(confirmed.unwrap().sweep(NOW, six), Ok(PointState::Swept));
    }

    #[test]
    fn undelete_works_until_the_sweep() {
        let live = PointState::Live;
        let marked = live.mark(tombstone(99), FIVE).unwrap();
        assert_eq!(marked, tombstoned(99, FIVE));
        assert_eq!(marked.undelete(), Ok(live));
        assert_eq!(live.undelete(), Ok(live));
        assert_eq!(live.sweep(NOW, FIVE), Err(NotYet::Live));
        let swept = marked.sweep(NOW, FIVE).unwrap();
        assert_eq!(swept, PointState::Swept);
        assert_eq!(swept.undelete(), Err(Refused));
        assert_eq!(swept.mark(tombstone(0), FIVE), Err(Refused));
        assert_eq!(swept.sweep(NOW, FIVE), Ok(swept));
        let early = tombstoned(1, FIVE).sweep(NOW, FIVE);
        assert_eq!(early, Err(NotYet::Grace { until: ahead(23) }));
    }

    /// A grace that is written down never gets shorter, and whole seconds stay as they are.
    #[test]
    fn grace_is_written_in_whole_seconds_rounded_up() {
        for (millis, seconds) in [(0, 0), (1, 1), (1000, 1), (1001, 2)] {
            let written = Tombstone {
                since: NOW,
                grace: Duration::from_millis(millis),
            };
            let read: Tombstone = toml::from_str(&toml::to_string(&written).unwrap()).unwrap();
            assert_eq!(read.grace, Duration::from_secs(seconds), "{millis}");
        }
    }
}
