//! Why a request can't be planned. The text is for a person and says what to do.

use crate::retention::NamePattern;
use holdfast_types::{
    AliasName, CollectionName, CopyName, JobId, NodeId, RecoveryPointId, ServerVersion, ShardId,
    Timestamp,
};
use std::fmt::Display;

/// One reason. A request may have several; all are reported at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blocker {
    /// Jobs run one at a time: capture and restore of a shard must never overlap.
    #[error(
        "{kind} job {job} is still running: wait until it has ended; `holdfast status` shows it"
    )]
    JobRunning {
        /// The job that runs.
        job: JobId,
        /// What it is.
        kind: &'static str,
    },
    /// No agent is connected.
    #[error(
        "no agent is connected: start holdfast-agent beside Qdrant; `holdfast nodes` shows who is there"
    )]
    NoNode,
    /// Several nodes could be meant.
    #[error("several nodes are connected ({}): choose one with --node", list(.nodes))]
    SeveralNodes {
        /// The connected ones.
        nodes: Vec<NodeId>,
    },
    /// A node nobody has heard of.
    #[error("node {node} is not known; connected nodes: {}", list(.connected))]
    NodeUnknown {
        /// The one that was named.
        node: NodeId,
        /// Those that are there.
        connected: Vec<NodeId>,
    },
    /// A node whose agent is away.
    #[error(
        "node {node} is not connected: check that its holdfast-agent runs and reaches the coordinator"
    )]
    NodeDisconnected {
        /// Which.
        node: NodeId,
    },
    /// A connected node whose agent has not reported lately.
    #[error("node {node} has not reported yet: try again in a few seconds")]
    NodeSilent {
        /// Which.
        node: NodeId,
    },
    /// The agent can't use its Qdrant.
    #[error("Qdrant on node {node} can't be used: {message}")]
    Server {
        /// Which node.
        node: NodeId,
        /// The agent's failure code.
        code: String,
        /// The agent's sentence.
        message: String,
    },
    /// A server older than any that is supported.
    #[error(
        "Qdrant on node {node} is {version}; {} is the oldest that is supported: upgrade it",
        ServerVersion::oldest_supported()
    )]
    ServerTooOld {
        /// Which node.
        node: NodeId,
        /// Its version.
        version: ServerVersion,
    },
    /// No connected node has the collection.
    #[error("collection {collection} is on no node that can be seen; there are: {}", list(.known))]
    CollectionUnknown {
        /// The one that was named.
        collection: CollectionName,
        /// Those that exist.
        known: Vec<CollectionName>,
    },
    /// A collection that a backup of everything would leave out.
    #[error(
        "{collection} on node {node} can't be captured because of its name: name the others with --collection, and copy its points into a collection with a plain name"
    )]
    UnusableName {
        /// On which node.
        node: NodeId,
        /// The collection in words, its name escaped.
        collection: String,
    },
    /// There is no collection at all.
    #[error("there is no collection to back up")]
    NothingToCapture,
    /// Nodes that don't form one Qdrant cluster hold collections of one name.
    #[error("collection {collection} exists on {}, which are no Qdrant cluster: give each independent node its own Holdfast cluster name", list(.nodes))]
    IndependentCopies {
        /// Which collection.
        collection: CollectionName,
        /// The nodes that hold it.
        nodes: Vec<NodeId>,
    },
    /// Not every shard has an active replica on a usable node.
    #[error(
        "only {found} of {expected} shards of collection {collection} have an active replica on a connected node ({}): repair or connect the others first; `holdfast nodes` shows who is there",
        .missing.join("; ")
    )]
    ShardsMissing {
        /// Which collection.
        collection: CollectionName,
        /// Shards with an active replica.
        found: usize,
        /// Shards it has.
        expected: u32,
        /// What is known of the others, each in words.
        missing: Vec<String>,
    },
    /// No collection fits a pattern.
    #[error("no collection that can be seen fits {pattern}; there are: {}", list(.known))]
    NothingFits {
        /// The pattern.
        pattern: NamePattern,
        /// Those that exist.
        known: Vec<CollectionName>,
    },
    /// A collection that was asked for by its name was dropped while it was captured.
    #[error(
        "collection {collection} was dropped before all of it was captured: create it again, or run the backup without it"
    )]
    Dropped {
        /// Which collection.
        collection: CollectionName,
    },
    /// A capture failed and no other replica can take its place.
    #[error("shard {shard} of collection {collection} can't be captured from any node: {}", .replicas.join("; "))]
    NoReplicaLeft {
        /// Which collection.
        collection: CollectionName,
        /// Which shard.
        shard: ShardId,
        /// What speaks against each replica, in words.
        replicas: Vec<String>,
    },
    /// A stored capture was asked for where nothing is shared.
    #[error(
        "node {node} does not share its snapshots volume: use --method auto or stream, or set qdrant.snapshots_dir in the agent's configuration"
    )]
    MethodUnavailable {
        /// Which node.
        node: NodeId,
    },
    /// No such recovery point.
    #[error("recovery point {point} does not exist: `holdfast backup list` shows those that do")]
    PointUnknown {
        /// Which.
        point: RecoveryPointId,
    },
    /// A recovery point that can't be read.
    #[error(
        "recovery point {point} is damaged ({why}): choose another one of `holdfast backup list`"
    )]
    PointDamaged {
        /// Which.
        point: RecoveryPointId,
        /// What is wrong with it.
        why: String,
    },
    /// A recovery point outside this cluster's namespace.
    #[error("recovery point {point} belongs to namespace {namespace}, not to this cluster")]
    PointForeign {
        /// Which.
        point: RecoveryPointId,
        /// Whose it is.
        namespace: String,
    },
    /// The recovery point does not hold the collection.
    #[error("recovery point {point} does not hold collection {collection}; it holds: {}", list(.known))]
    CollectionNotInPoint {
        /// Which point.
        point: RecoveryPointId,
        /// Which collection.
        collection: CollectionName,
        /// What is there.
        known: Vec<CollectionName>,
    },
    /// Two collections would get one name.
    #[error("two collections would be restored as {target}: give each its own name with --as")]
    TargetTwice {
        /// The name.
        target: CollectionName,
    },
    /// The target is there and overwriting was not allowed.
    #[error(
        "collection {target} already exists on node {node}: restore under another name with --as, or replace it with --overwrite (it is captured first)"
    )]
    TargetExists {
        /// The name.
        target: CollectionName,
        /// Where.
        node: NodeId,
    },
    /// The target's name is an alias of another collection.
    #[error(
        "{target} is an alias of collection {holder} on node {node}: choose another name with --as"
    )]
    TargetIsAlias {
        /// The name.
        target: CollectionName,
        /// What the alias points at.
        holder: CollectionName,
        /// Where.
        node: NodeId,
    },
    /// The data was captured from a server that this one can't follow.
    #[error(
        "collection {collection} was captured from Qdrant {captured}, node {node} runs {running}: use a server of the same minor version or the next one"
    )]
    VersionMismatch {
        /// Which collection.
        collection: CollectionName,
        /// The version at capture.
        captured: ServerVersion,
        /// Which node.
        node: NodeId,
        /// Its version now.
        running: ServerVersion,
    },
    /// A node of the cluster that can't take its part.
    #[error(
        "{peer} of the Qdrant cluster of node {node} can't receive data ({why}): every node of the cluster needs an agent that is connected; start it, or take the node out of the Qdrant cluster"
    )]
    PeerUnusable {
        /// The node that is meant by the restore.
        node: NodeId,
        /// The other one, in words.
        peer: String,
        /// What speaks against it.
        why: String,
    },
    /// An agent of before restores into clusters.
    #[error(
        "the agent of node {node} can't restore into a Qdrant cluster: update holdfast-agent there to the coordinator's release"
    )]
    AgentWithoutParts {
        /// Which node.
        node: NodeId,
    },
    /// More replicas than nodes.
    #[error(
        "{replicas} replicas of each shard were asked for, but there {}: ask for fewer with --replication-factor",
        if *.nodes == 1 { "is 1 node".to_owned() } else { format!("are {} nodes", .nodes) }
    )]
    TooFewNodes {
        /// What was asked for.
        replicas: u32,
        /// What is there.
        nodes: u32,
    },
    /// Shard keys need cluster mode.
    #[error(
        "collection {collection} has shard keys, and Qdrant on node {node} runs without cluster mode, where it knows none: start it with QDRANT__CLUSTER__ENABLED=true, or restore into another node"
    )]
    KeysNeedCluster {
        /// Which collection.
        collection: CollectionName,
        /// Which node.
        node: NodeId,
    },
    /// Logs are replayed in single nodes only.
    #[error(
        "archived logs can't be replayed into a Qdrant cluster of several nodes yet: leave out --to, or restore into a node of its own with --node"
    )]
    InstantInCluster,
    /// There is nothing to bring to an instant.
    #[error("there is no recovery point yet: make one with `holdfast backup create`")]
    NoPoint,
    /// No recovery point holds the collection.
    #[error("no recovery point holds collection {collection}; they hold: {}", list(.known))]
    CollectionInNoPoint {
        /// Which.
        collection: CollectionName,
        /// What they hold.
        known: Vec<CollectionName>,
    },
    /// No captured shards and logs lead there.
    #[error(
        "{instant} can't be restored{}{}; `holdfast restore window` shows every instant that can",
        because(.why),
        nearest(*.earlier, *.later)
    )]
    InstantOutOfReach {
        /// What was asked for.
        instant: Timestamp,
        /// The newest before it that can be restored.
        earlier: Option<Timestamp>,
        /// The earliest after it.
        later: Option<Timestamp>,
        /// Why not, by the recovery point that one would expect to be used.
        why: Vec<String>,
    },
    /// Each can be restored to the instant, but not from one recovery point.
    #[error(
        "no single recovery point leads all of them to {instant}: restore them one after the other, to the same instant: {}",
        one_by_one(.collections, *.instant)
    )]
    NoCommonPoint {
        /// What was asked for.
        instant: Timestamp,
        /// The collections.
        collections: Vec<CollectionName>,
    },
    /// There is no archived log to go on with.
    #[error(
        "no recovery point can be gone on from by an archived log{}; `holdfast restore run latest` brings back the newest as it is",
        because(.why)
    )]
    NoLog {
        /// Why not, by the newest.
        why: Vec<String>,
    },
    /// Several collections were not dropped together.
    #[error(
        "--before-drop brings one collection back: name one{}",
        if .collections.is_empty() { String::new() } else { format!(", not {}", list(.collections)) }
    )]
    DropNeedsCollection {
        /// Which were named.
        collections: Vec<CollectionName>,
    },
    /// Every recovery point that goes on with a log is of the collection that is there now.
    #[error(
        "no recovery point is of a collection {collection} that was dropped while its log was archived; `holdfast restore window {collection}` shows what there is"
    )]
    NotDropped {
        /// Which.
        collection: CollectionName,
    },
    /// The agent that would know whether the collection is there does not say so.
    #[error(
        "whether collection {collection} is still on node {node} is not known: its agent does not follow the logs there now, its Qdrant does not answer, or the two say different things; ask again in some seconds, look at both, or name the instant with --to"
    )]
    PresenceUnknown {
        /// Which.
        collection: CollectionName,
        /// Whose agent.
        node: NodeId,
    },
    /// A newer recovery point of the name may be of a collection that was dropped later.
    #[error(
        "recovery point {point} is newer than all that {collection} can be brought back from to just before a drop, and its log was not archived: `holdfast restore run {point} --collection {collection}` brings it back as it was captured; to go further back, name an instant with --to"
    )]
    LifeUnknown {
        /// Which.
        collection: CollectionName,
        /// The recovery point.
        point: RecoveryPointId,
    },
    /// The end of the log is not stored yet.
    #[error(
        "the last operations of collection {collection} are still on their way from the agents: ask again in some seconds"
    )]
    StillArriving {
        /// Which.
        collection: CollectionName,
    },
    /// The collection is there, on nodes other than those whose logs have ended.
    #[error(
        "collection {collection} is on {holder} now, and no more where it was captured: its shards may have been moved there rather than dropped; name the instant with --to"
    )]
    PerhapsMoved {
        /// Which.
        collection: CollectionName,
        /// Who has it, in words.
        holder: String,
    },
    /// An operation's number says nothing of several collections.
    #[error(
        "an operation's number means something for one collection only: name it with --collection; there are: {}",
        list(.collections)
    )]
    OperationNeedsCollection {
        /// Those that could be meant.
        collections: Vec<CollectionName>,
    },
    /// Each shard numbers its operations on its own.
    #[error(
        "collection {collection} has {shards} shards, and each numbers its operations on its own: name an instant with --to"
    )]
    OperationNeedsOneShard {
        /// Which.
        collection: CollectionName,
        /// How many.
        shards: usize,
    },
    /// Several logs of the shard have an operation of that number.
    #[error(
        "several logs of collection {collection} have an operation {operation}, written by {}: name an instant with --to",
        list(.instants)
    )]
    OperationAmbiguous {
        /// The number.
        operation: u64,
        /// The collection.
        collection: CollectionName,
        /// When each had been written.
        instants: Vec<Timestamp>,
    },
    /// No captured shard and log lead there.
    #[error(
        "operation {operation} of collection {collection} can't be restored; these can: {}{}",
        stretches(.spans),
        because(.why.as_slice())
    )]
    OperationOutOfReach {
        /// The number.
        operation: u64,
        /// The collection.
        collection: CollectionName,
        /// The first and the last that can be, for each recovery point.
        spans: Vec<(u64, u64)>,
        /// Why a recovery point can't be gone on from.
        why: Option<String>,
    },
    /// Logs are kept in the repository alone.
    #[error(
        "copy {copy} holds no archived logs, so nothing can be brought to an instant from it: leave out --from-copy, or leave out --to"
    )]
    CopyHoldsNoLog {
        /// Which.
        copy: CopyName,
    },
    /// An agent that would leave the log out.
    #[error(
        "the agent of node {node} can't replay archived logs: update holdfast-agent there to the coordinator's release"
    )]
    AgentTooOld {
        /// Which node.
        node: NodeId,
    },
    /// An agent that would splice.
    #[error(
        "the agent of node {node} can't send archived operations to a running collection: update holdfast-agent there to the coordinator's release, or leave out --by requests"
    )]
    AgentWithoutRequests {
        /// Which node.
        node: NodeId,
    },
}

impl Blocker {
    /// Whether the same request may succeed later without anyone changing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::JobRunning { .. }
            | Self::NodeSilent { .. }
            | Self::NodeDisconnected { .. }
            | Self::PresenceUnknown { .. }
            | Self::StillArriving { .. } => true,
            Self::Server { code, .. } => code == "qdrant-unreachable" || code == "qdrant-not-ready",
            Self::NoNode
            | Self::SeveralNodes { .. }
            | Self::NodeUnknown { .. }
            | Self::ServerTooOld { .. }
            | Self::CollectionUnknown { .. }
            | Self::NothingToCapture
            | Self::IndependentCopies { .. }
            | Self::ShardsMissing { .. }
            | Self::NothingFits { .. }
            | Self::Dropped { .. }
            | Self::NoReplicaLeft { .. }
            | Self::MethodUnavailable { .. }
            | Self::PointUnknown { .. }
            | Self::PointDamaged { .. }
            | Self::PointForeign { .. }
            | Self::CollectionNotInPoint { .. }
            | Self::TargetTwice { .. }
            | Self::TargetExists { .. }
            | Self::TargetIsAlias { .. }
            | Self::VersionMismatch { .. }
            | Self::UnusableName { .. }
            | Self::PeerUnusable { .. }
            | Self::AgentWithoutParts { .. }
            | Self::TooFewNodes { .. }
            | Self::KeysNeedCluster { .. }
            | Self::InstantInCluster
            | Self::NoPoint
            | Self::CollectionInNoPoint { .. }
            | Self::InstantOutOfReach { .. }
            | Self::NoCommonPoint { .. }
            | Self::NoLog { .. }
            | Self::DropNeedsCollection { .. }
            | Self::NotDropped { .. }
            | Self::LifeUnknown { .. }
            | Self::PerhapsMoved { .. }
            | Self::OperationNeedsCollection { .. }
            | Self::OperationNeedsOneShard { .. }
            | Self::OperationAmbiguous { .. }
            | Self::OperationOutOfReach { .. }
            | Self::CopyHoldsNoLog { .. }
            | Self::AgentTooOld { .. }
            | Self::AgentWithoutRequests { .. } => false,
        }
    }
}

/// Where an alias that stays as it is points to.
pub(crate) fn alias_stays(alias: &AliasName, holder: &CollectionName) -> String {
    format!("alias {alias} points at collection {holder} and stays there")
}

/// Reasons for a message, if there are any.
fn because<'a>(why: impl IntoIterator<Item = &'a String>) -> String {
    let reasons: Vec<&str> = why.into_iter().map(String::as_str).collect();
    match reasons.as_slice() {
        [] => String::new(),
        some => format!(" ({})", some.join("; ")),
    }
}

/// What to type in place of an instant that can't be restored.
fn nearest(earlier: Option<Timestamp>, later: Option<Timestamp>) -> String {
    let mut text = String::new();
    if let Some(instant) = earlier {
        text.push_str(&format!("; the nearest before it: --to {instant}"));
    }
    if let Some(instant) = later {
        text.push_str(&format!("; the nearest after it: --to {instant}"));
    }
    text
}

fn one_by_one(collections: &[CollectionName], instant: Timestamp) -> String {
    let commands: Vec<String> = collections
        .iter()
        .map(|name| format!("holdfast restore run --to {instant} --collection {name}"))
        .collect();
    commands.join(" && ")
}

fn stretches(spans: &[(u64, u64)]) -> String {
    let mut spans: Vec<String> = spans
        .iter()
        .map(|(first, last)| format!("{first} to {last}"))
        .collect();
    spans.dedup();
    list(&spans)
}

/// Names for a message: the first ten, and how many more.
pub(crate) fn list<T: Display>(items: &[T]) -> String {
    const SHOWN: usize = 10;
    if items.is_empty() {
        return "none".to_owned();
    }
    let mut names: Vec<String> = items.iter().take(SHOWN).map(T::to_string).collect();
    if items.len() > SHOWN {
        names.push(format!("and {} more", items.len() - SHOWN));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::list;

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(list::<u8>(&[]), "none");
        assert_eq!(list(&[1, 2]), "1, 2");
        let many: Vec<u32> = (1..=12).collect();
        assert_eq!(list(&many), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, and 2 more");
    }
}
