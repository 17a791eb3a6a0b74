//! What a checker found wrong with a plan. Any of these is a fault of the program, never of the user.

use holdfast_types::{AliasName, CollectionName, Epoch, ExtraName, NodeId, ShardId};

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The plan was made under another term.
    #[error("plan of epoch {plan}, but {now} is in force")]
    Epoch {
        /// The plan's.
        plan: Epoch,
        /// The one in force.
        now: Epoch,
    },
    /// Another job runs.
    #[error("another job is running")]
    Busy,
    /// The plan does nothing.
    #[error("the plan is empty")]
    Empty,
    /// A blocked plan is not to be run.
    #[error("the plan has blockers")]
    Blocked,
    /// A capture from a node, or a restore into one, that can't be used.
    #[error("node {0} can't be used")]
    NodeUnusable(NodeId),
    /// The node lacks what the plan says it records of it.
    #[error("the recorded facts of node {0} are missing or wrong")]
    NodeFacts(NodeId),
    /// The replica is not there or not active.
    #[error("shard {shard} of {collection} has no active replica on {node}")]
    NoReplica {
        /// Where.
        node: NodeId,
        /// Which collection.
        collection: CollectionName,
        /// Which shard.
        shard: ShardId,
    },
    /// A shard is captured more than once.
    #[error("shard {shard} of {collection} is captured twice")]
    Twice {
        /// Which collection.
        collection: CollectionName,
        /// Which shard.
        shard: ShardId,
    },
    /// An extra is not captured as its agent is configured.
    #[error("extra {name} of node {node} {what}")]
    Extra {
        /// Which node.
        node: NodeId,
        /// Which extra.
        name: ExtraName,
        /// What is wrong.
        what: &'static str,
    },
    /// A collection is not captured whole.
    #[error("collection {collection} has {expected} shards, {captured} are captured")]
    Incomplete {
        /// Which collection.
        collection: CollectionName,
        /// Shards it has.
        expected: u32,
        /// Shards in the plan.
        captured: usize,
    },
    /// A collection that was asked for is not in the plan.
    #[error("collection {0} was asked for and is not in the plan")]
    Omitted(CollectionName),
    /// A collection that was not asked for is in the plan.
    #[error("collection {0} is in the plan and was not asked for")]
    Unasked(CollectionName),
    /// The replica of the last capture was left although nothing speaks against it, or without saying why.
    #[error("shard {shard} of {collection} is not captured from where it was, for no reason")]
    Pin {
        /// Which collection.
        collection: CollectionName,
        /// Which shard.
        shard: ShardId,
    },
    /// A capture on a drained node although another has a sound replica.
    #[error("shard {shard} of {collection} is captured on {node}, which is drained, for no reason")]
    Drained {
        /// Where.
        node: NodeId,
        /// Which collection.
        collection: CollectionName,
        /// Which shard.
        shard: ShardId,
    },
    /// A stored capture where nothing is shared.
    #[error("node {0} shares no snapshots volume")]
    NotShared(NodeId),
    /// The recovery point lacks it.
    #[error("collection {0} is not in the recovery point")]
    NotInPoint(CollectionName),
    /// Two steps write the same collection.
    #[error("collection {0} is written twice")]
    TargetTwice(CollectionName),
    /// An existing collection would be lost without permission or without a safety capture.
    #[error("collection {0} exists and would be replaced without permission or safety capture")]
    Unsafe(CollectionName),
    /// A step says it replaces something that is not there.
    #[error("collection {0} is said to be replaced and does not exist")]
    NothingReplaced(CollectionName),
    /// The server can't read the data.
    #[error("the server of the target can't read collection {0}")]
    Version(CollectionName),
    /// The choice of what is brought to an instant is not what was asked for, or not the plan's.
    #[error("the instant is not restored as asked for: {0}")]
    Instant(&'static str),
    /// What is replayed on a shard is not what leads to the instant.
    #[error("shard {shard} of {collection} is not brought to the instant: {what}")]
    Replay {
        /// Which collection.
        collection: CollectionName,
        /// Which shard.
        shard: ShardId,
        /// What is wrong.
        what: &'static str,
    },
    /// What the plan says of a cluster is not what is there, or not what was asked for.
    #[error("the cluster of the target is not as planned: {0}")]
    Cluster(&'static str),
    /// It would take more from the database, or less, than was asked for.
    #[error("the limits are not those that were asked for")]
    Limits,
    /// Collections would come back in another order than was asked for.
    #[error("the order of recovery is not the one that was asked for: {0}")]
    Order(&'static str),
    /// An alias would be taken away from another collection, or shadows one.
    #[error("alias {0} is in use")]
    AliasTaken(AliasName),
}
