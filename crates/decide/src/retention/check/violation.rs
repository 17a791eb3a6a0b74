//! What a checker finds wrong with verdicts.

use holdfast_types::{CollectionName, RecoveryPointId};

/// What is wrong with a verdict. Any of these is a fault of the program, never of the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetentionViolation {
    /// Two points have one id.
    #[error("recovery point {0} is there twice")]
    PointTwice(RecoveryPointId),
    /// A point was not judged.
    #[error("recovery point {0} has no verdict")]
    NoVerdict(RecoveryPointId),
    /// A point was judged more than once.
    #[error("recovery point {0} has several verdicts")]
    VerdictTwice(RecoveryPointId),
    /// A verdict on a point that is not there.
    #[error("a verdict names recovery point {0}, which is not there")]
    UnknownPoint(RecoveryPointId),
    /// A verdict without a reason, or with reasons that contradict it.
    #[error("the reasons for the verdict on recovery point {0} don't bear it")]
    Unfounded(RecoveryPointId),
    /// A point would go that someone wants kept.
    #[error("recovery point {0} is pinned and would be removed")]
    Pinned(RecoveryPointId),
    /// A point would go that is under legal hold.
    #[error("recovery point {0} is under legal hold and would be removed")]
    Held(RecoveryPointId),
    /// A point would go that the store has locked.
    #[error("recovery point {0} is locked and would be removed")]
    Locked(RecoveryPointId),
    /// A point would go that is being read.
    #[error("recovery point {0} is in use and would be removed")]
    InUse(RecoveryPointId),
    /// A young safety capture would go.
    #[error("recovery point {0} is a young safety capture and would be removed")]
    Safety(RecoveryPointId),
    /// A point would go whose age can't be told.
    #[error("recovery point {0} is from the future and would be removed")]
    ClockSkew(RecoveryPointId),
    /// A point would go of which nobody knows what it holds.
    #[error("recovery point {0} holds nobody knows what and would be removed")]
    ContentsUnknown(RecoveryPointId),
    /// The newest point of a collection would go.
    #[error("recovery point {id} is the newest of collection {collection} and would be removed")]
    Newest {
        /// Which.
        id: RecoveryPointId,
        /// Of what.
        collection: CollectionName,
    },
    /// The newest point of a collection that has not failed would go.
    #[error(
        "recovery point {id} is the newest of collection {collection} that has not failed, and would be removed"
    )]
    NewestSound {
        /// Which.
        id: RecoveryPointId,
        /// Of what.
        collection: CollectionName,
    },
    /// The floor of proven points would be broken.
    #[error("collection {collection} needs recovery point {id} as one of its proven points")]
    Floor {
        /// Which.
        id: RecoveryPointId,
        /// Of what.
        collection: CollectionName,
    },
    /// A rule keeps a point that would go.
    #[error("rule {rule} keeps recovery point {id} for collection {collection}")]
    RuleKeeps {
        /// Which.
        id: RecoveryPointId,
        /// For what.
        collection: CollectionName,
        /// The rule's place, from 1.
        rule: usize,
    },
    /// A point would go that no rule speaks of.
    #[error("no rule covers recovery point {id} for collection {collection}")]
    Uncovered {
        /// Which.
        id: RecoveryPointId,
        /// For what.
        collection: CollectionName,
    },
}
