//! Bases of nodes that took another's place: captured as soon as they have the replicas.
//!
//! What is still to be captured is drawn from recovery points and from what operators said, whenever one of the two has changed; so
//! nothing of it need be remembered, and a restart forgets nothing. It ends when the newest capture is of another node.

use crate::core::Core;
use crate::execute;
use crate::plan::past::recorded;
use holdfast_decide::{Observation, ServerView};
use holdfast_proto::convert::{BackupOrder, Method};
use holdfast_types::{CaptureLimits, CollectionName, NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Stands in a job for who asked for it.
const ASKER: &str = "replacement of a node";

const TICK: Duration = Duration::from_secs(2);
/// A collection whose base was begun, or could not be, has its next turn after this long …
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// … doubled each time, up to this.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Shards whose newest capture is of a node that was replaced, with the one in its place.
type Inherited = BTreeMap<(CollectionName, ShardId), NodeId>;

/// What was found out before.
#[derive(Debug, Default)]
struct Memory {
    /// The listing and the removals that `inherited` was drawn from.
    of: Option<(u64, BTreeMap<NodeId, NodeId>)>,
    inherited: Inherited,
    attempts: BTreeMap<CollectionName, (Instant, Duration)>,
}

/// Looks every two seconds until the process ends.
pub async fn run(core: Arc<Core>) {
    let stop = core.shutdown.token();
    let mut memory = Memory::default();
    while tokio::time::timeout(TICK, stop.cancelled()).await.is_err() {
        Box::pin(look(&core, &mut memory)).await;
    }
}

async fn look(core: &Arc<Core>, memory: &mut Memory) {
    let removals = core.members.removals().into_iter();
    let replaced: BTreeMap<NodeId, NodeId> = removals
        .filter_map(|(node, removal)| Some((node, removal.successor?)))
        .collect();
    if replaced.is_empty() || core.book.running().await.is_some() {
        return;
    }
    let of = (core.catalog.changes(), replaced);
    if memory.of.as_ref() != Some(&of) {
        memory.inherited = inherited(core).await;
        memory.of = Some(of);
    }
    let seen = core.nodes.observation(core.epoch, None, 0);
    let (now, mut wanted) = (Instant::now(), BTreeSet::new());
    for name in held(&memory.inherited, &seen) {
        let waits = memory.attempts.get(&name);
        if waits.is_none_or(|(next, _)| *next <= now) {
            wanted.insert(name);
        }
    }
    if wanted.is_empty() {
        return;
    }
    for name in &wanted {
        let pause = memory
            .attempts
            .get(name)
            .map_or(FIRST_PAUSE, |(_, pause)| (*pause * 2).min(LONGEST_PAUSE));
        memory.attempts.insert(name.clone(), (now + pause, pause));
    }
    begin(core, wanted).await;
}

async fn begin(core: &Arc<Core>, wanted: BTreeSet<CollectionName>) {
    let collections: Vec<CollectionName> = wanted.into_iter().collect();
    let count = collections.len();
    let order = BackupOrder {
        collections,
        patterns: Vec::new(),
        by_rule: true,
        method: Method::Auto,
        note: "base from the node that took another's place".to_owned(),
        tags: Vec::new(),
        limits: CaptureLimits::default(),
    };
    match Box::pin(execute::start_backup(core, ASKER.to_owned(), &order)).await {
        Ok(feed) => {
            tracing::info!(job = %feed.job(), collections = count, "a base is made of a node that took another's place");
        }
        Err(fault) => {
            tracing::warn!(reason = %fault, "no base could be made of a node that took another's place; trying again later");
        }
    }
}

async fn inherited(core: &Core) -> Inherited {
    let pins = recorded(core).await.pins.into_iter();
    let replaced = pins.filter_map(|(place, node)| {
        let successor = core.members.successor(&node);
        (successor != node).then_some((place, successor))
    });
    replaced.collect()
}

/// Collections of which a node that took another's place has an Active replica now.
fn held(inherited: &Inherited, seen: &Observation) -> BTreeSet<CollectionName> {
    let has = |name: &CollectionName, shard: &ShardId, node: &NodeId| {
        let view = seen.nodes.get(node).filter(|view| view.connected)?;
        let ServerView::Seen(server) = &view.server else {
            return None;
        };
        let replica = server.collections.get(name)?.shards.get(shard)?;
        replica.is_active().then_some(())
    };
    let there = inherited
        .iter()
        .filter(|((name, shard), node)| has(name, shard, node).is_some());
    there.map(|((name, _), _)| name.clone()).collect()
}
