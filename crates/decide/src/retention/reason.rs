//! Why a recovery point stays or goes, in words for people.

use super::period::Period;
use crate::blocker::list;
use holdfast_types::{CollectionName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// One thing that speaks for keeping a point, or explains why nothing does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The collections need it.
    Claimed {
        /// As what.
        claim: Claim,
        /// Which; never empty.
        collections: BTreeSet<CollectionName>,
    },
    /// A person wants it kept.
    Pinned {
        /// Why.
        reason: String,
    },
    /// A legal hold is active.
    Held {
        /// Who answers for it.
        owner: String,
        /// Why it was placed.
        reason: String,
        /// When it ends, if it does by itself.
        expires: Option<Timestamp>,
    },
    /// The store refuses to delete it.
    Locked {
        /// Until when.
        until: Timestamp,
    },
    /// Something reads it now.
    InUse,
    /// It was captured because something was overwritten, not long ago.
    Safety {
        /// How long it stays for that.
        until: Timestamp,
    },
    /// Its time lies in the future or outside the calendar, so its age can't be told.
    ClockSkew {
        /// What its manifest says.
        committed: Timestamp,
    },
    /// Nobody knows which collections it holds.
    ContentsUnknown,
    /// No rule keeps it, and the floor doesn't need it.
    NoRule {
        /// What it holds.
        collections: BTreeSet<CollectionName>,
    },
    /// A legal hold has ended and keeps nothing any more.
    HoldEnded {
        /// Who answered for it.
        owner: String,
        /// When it ended.
        ended: Timestamp,
    },
    /// It was a safety capture, but its time is over.
    SafetyEnded {
        /// When that was.
        ended: Timestamp,
    },
    /// It is known not to restore.
    ProofFailed {
        /// Which collection of it.
        collection: CollectionName,
        /// What was wrong.
        why: String,
    },
}

/// As what a collection needs a point. The order is the order in which people read them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Claim {
    /// Among the newest points.
    Last {
        /// Its place, from 1.
        nth: u32,
        /// How many are kept.
        of: u32,
    },
    /// Young enough.
    Within {
        /// The greatest age, counted from the newest point of the series.
        period: Duration,
    },
    /// Archived logs go on from it, and instants of the window are reached by them.
    Window {
        /// How far back the window reaches.
        period: Duration,
    },
    /// The newest of a calendar period.
    Calendar {
        /// What kind of period.
        period: Period,
        /// Which one, as in `2026-11-21` or `2026-W47`.
        key: String,
        /// The period's place, from 1.
        nth: u32,
        /// How many are kept.
        of: u32,
    },
    /// Among the newest proven points, which no rule may go below.
    NewestProven {
        /// How many are kept.
        of: u32,
    },
    /// There are not enough proven points, so it takes the place of one.
    InsteadOfProven {
        /// How many there are.
        proven: u32,
        /// How many there should be.
        of: u32,
    },
    /// The newest of all.
    Newest,
    /// The newest of those that have not failed their proof.
    NewestSound,
    /// No rule says anything about it.
    Uncovered,
}

impl Reason {
    /// Whether it keeps its point, rather than explains.
    #[must_use]
    pub fn keeps(&self) -> bool {
        match self {
            Self::Claimed { .. }
            | Self::Pinned { .. }
            | Self::Held { .. }
            | Self::Locked { .. }
            | Self::InUse
            | Self::Safety { .. }
            | Self::ClockSkew { .. }
            | Self::ContentsUnknown => true,
            Self::NoRule { .. }
            | Self::HoldEnded { .. }
            | Self::SafetyEnded { .. }
            | Self::ProofFailed { .. } => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claimed { claim, collections } => write!(f, "{claim}: {}", names(collections)),
            Self::Pinned { reason } => write!(f, "pinned: {reason}"),
            Self::Held {
                owner,
                reason,
                expires: Some(end),
            } => write!(f, "legal hold by {owner} until {end}: {reason}"),
            Self::Held {
                owner,
                reason,
                expires: None,
            } => write!(f, "legal hold by {owner} until it is released: {reason}"),
            Self::Locked { until } => write!(f, "locked by the store until {until}"),
            Self::InUse => f.write_str("in use: a restore or another session reads it"),
            Self::Safety { until } => {
                write!(f, "safety capture before an overwrite: kept until {until}")
            }
            Self::ClockSkew { committed } => write!(
                f,
                "committed at {committed}, after now: clock skew, its age can't be told"
            ),
            Self::ContentsUnknown => f.write_str("its collections are not known"),
            Self::NoRule { collections } => write!(f, "no rule keeps it: {}", names(collections)),
            Self::HoldEnded { owner, ended } => write!(f, "legal hold by {owner} ended {ended}"),
            Self::SafetyEnded { ended } => write!(f, "safety capture, no longer since {ended}"),
            Self::ProofFailed { collection, why } => {
                write!(f, "failed its proof: {collection}: {why}")
            }
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last { nth, of } => write!(f, "last {nth} of {of}"),
            Self::Within { period } => write!(f, "within {} h", period.as_secs() / 3600),
            Self::Window { period } => {
                let hours = period.as_secs() / 3600;
                write!(f, "instants of the last {hours} h are reached from it")
            }
            Self::Calendar {
                period,
                key,
                nth,
                of,
            } => write!(f, "{period} {key} ({nth} of {of})"),
            Self::NewestProven { of: 1 } => f.write_str("the newest proven point"),
            Self::NewestProven { of } => write!(f, "one of the {of} newest proven points"),
            Self::InsteadOfProven { proven, of } => {
                write!(f, "only {proven} of {of} points are proven")
            }
            Self::Newest => f.write_str("the newest point"),
            Self::NewestSound => f.write_str("the newest point that has not failed its proof"),
            Self::Uncovered => f.write_str("no rule covers it"),
        }
    }
}

fn names(collections: &BTreeSet<CollectionName>) -> String {
    list(&collections.iter().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::{Claim, Reason};
    use crate::fixture::{NOW, name};
    use crate::retention::period::Period;
    use std::time::Duration;

    #[test]
    fn claims_in_words() {
        let daily = Claim::Calendar {
            period: Period::Daily,
            key: "2026-11-21".into(),
            nth: 3,
            of: 7,
        };
        let period = Duration::from_hours(48);
        let cases = [
            (Claim::Last { nth: 2, of: 5 }, "last 2 of 5: books, docs"),
            (Claim::Within { period }, "within 48 h: books, docs"),
            (
                Claim::Window { period },
                "instants of the last 48 h are reached from it: books, docs",
            ),
            (daily, "daily 2026-11-21 (3 of 7): books, docs"),
            (
                Claim::NewestProven { of: 2 },
                "one of the 2 newest proven points: books, docs",
            ),
            (
                Claim::NewestProven { of: 1 },
                "the newest proven point: books, docs",
            ),
            (
                Claim::InsteadOfProven { proven: 1, of: 2 },
                "only 1 of 2 points are proven: books, docs",
            ),
            (Claim::Newest, "the newest point: books, docs"),
            (
                Claim::NewestSound,
                "the newest point that has not failed its proof: books, docs",
            ),
            (Claim::Uncovered, "no rule covers it: books, docs"),
        ];
        for (claim, text) in cases {
            let collections = [name("docs"), name("books")].into();
            let reason = Reason::Claimed { claim, collections };
            assert_eq!(reason.to_string(), text);
            assert!(reason.keeps());
        }
    }

    /// Has these words, and keeps or explains.
    fn assert_said(reason: &Reason, keeps: bool, words: &str) {
        assert_eq!(reason.to_string(), words);
        assert_eq!(reason.keeps(), keeps, "{words}");
    }

    #[test]
    fn guards_in_words() {
        let (until, committed, reason) = (NOW, NOW, String::from("lawsuit"));
        let held = |expires| Reason::Held {
            owner: "alice".into(),
            reason: reason.clone(),
            expires,
        };
        let words = "legal hold by alice until it is released: lawsuit";
        assert_said(&held(None), true, words);
        let words = "legal hold by alice until 2026-11-21T10:15:30Z: lawsuit";
        assert_said(&held(Some(NOW)), true, words);
        assert_said(&Reason::Pinned { reason }, true, "pinned: lawsuit");
        let words = "locked by the store until 2026-11-21T10:15:30Z";
        assert_said(&Reason::Locked { until }, true, words);
        let words = "in use: a restore or another session reads it";
        assert_said(&Reason::InUse, true, words);
        let words = "safety capture before an overwrite: kept until 2026-11-21T10:15:30Z";
        assert_said(&Reason::Safety { until }, true, words);
        let words =
            "committed at 2026-11-21T10:15:30Z, after now: clock skew, its age can't be told";
        assert_said(&Reason::ClockSkew { committed }, true, words);
        let words = "its collections are not known";
        assert_said(&Reason::ContentsUnknown, true, words);
    }

    #[test]
    fn explanations_in_words() {
        let (ended, why, owner) = (NOW, "lawsuit".into(), "alice".into());
        let collections = [name("docs")].into();
        let words = "no rule keeps it: docs";
        assert_said(&Reason::NoRule { collections }, false, words);
        let words = "legal hold by alice ended 2026-11-21T10:15:30Z";
        assert_said(&Reason::HoldEnded { owner, ended }, false, words);
        let words = "safety capture, no longer since 2026-11-21T10:15:30Z";
        assert_said(&Reason::SafetyEnded { ended }, false, words);
        let collection = name("docs");
        let words = "failed its proof: docs: lawsuit";
        assert_said(&Reason::ProofFailed { collection, why }, false, words);
    }
}
