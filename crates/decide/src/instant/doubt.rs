//! What a person should know of a choice before saying yes.

use super::run::Ended;
use holdfast_types::{CollectionName, RecoveryPointId, ShardId, Timestamp};
use std::fmt;

/// One thing to know. The checker demands each that the history gives reason for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The log of a shard was to be replayed to its end, and breaks off before.
    BreaksOff {
        /// Whose.
        collection: CollectionName,
        /// Which.
        shard: ShardId,
        /// Why.
        ended: Ended,
    },
    /// The log of a shard is not known up to the instant to which the others are brought.
    Behind {
        /// Whose.
        collection: CollectionName,
        /// Which.
        shard: ShardId,
        /// Until when it is.
        until: Timestamp,
    },
    /// Everything was asked for, and other recovery points hold collections that this one does not.
    LeftOut {
        /// This one.
        point: RecoveryPointId,
        /// What others hold.
        collections: Vec<CollectionName>,
    },
    /// A recovery point was captured later than the end of the logs.
    NewerPoint {
        /// Which.
        point: RecoveryPointId,
    },
    /// A collection of the name of the dropped one is there.
    Returned {
        /// Its name.
        collection: CollectionName,
    },
    /// Another log of the dropped collection was written to later than those that are replayed.
    WentOn {
        /// Of which shard.
        shard: ShardId,
        /// Until when; an error if it can't be read.
        until: Result<Timestamp, String>,
    },
    /// A newer recovery point of the dropped collection can't be brought to its end.
    PassedOver {
        /// Which.
        point: RecoveryPointId,
        /// Of which collection.
        collection: CollectionName,
    },
    /// Nobody saw the end of a log.
    EndUnseen {
        /// Everything acknowledged before is contained.
        complete_before: Timestamp,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BreaksOff {
                collection,
                shard,
                ended,
            } => write!(
                f,
                "the log of shard {shard} of {collection} breaks off before its end: {ended}; what was written to it from there on is not contained"
            ),
            Self::Behind {
                collection,
                shard,
                until,
            } => write!(
                f,
                "the log of shard {shard} of {collection} is known until {until} only: what was written to it later is not contained"
            ),
            Self::LeftOut { point, collections } => write!(
                f,
                "recovery point {point} has no {}: what other recovery points have of them is restored by naming them with --collection",
                crate::blocker::list(collections)
            ),
            Self::NewerPoint { point } => write!(
                f,
                "recovery point {point} was captured later than this: `holdfast restore run {point}` brings it back as it is"
            ),
            Self::Returned { collection } => write!(
                f,
                "a collection {collection} is there now: this is the newest before it, if that one was dropped. If the agent's state_dir was lost meanwhile, it may be the same one. If it was dropped a moment ago, ask again when its agent has seen it"
            ),
            Self::WentOn { shard, until } => {
                write!(
                    f,
                    "another log of shard {shard} of the same collection, which begins anew, "
                )?;
                match until {
                    Ok(until) => write!(f, "was written to until {until}")?,
                    Err(why) => write!(f, "can't be read ({why})")?,
                }
                f.write_str(
                    ": no recovery point goes on with it, so what it holds is not contained",
                )
            }
            Self::PassedOver { point, collection } => write!(
                f,
                "recovery point {point} is newer, and its log does not go on from it: `holdfast restore run {point} --collection {collection}` brings it back as it was captured"
            ),
            Self::EndUnseen { complete_before } => write!(
                f,
                "whether the log was read to its end is not known, as the agent was away or behind at the drop, had not listed its folder for some seconds, or met something behind the last entry that is none, or as agent or coordinator have begun anew since: what was written after {complete_before} may be missing"
            ),
        }
    }
}
