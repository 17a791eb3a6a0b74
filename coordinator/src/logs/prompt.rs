//! Bases for logs that go on from none: after a gap, after a restore, of a new collection.

use super::standing::standings;
use crate::core::Core;
use crate::execute;
use holdfast_decide::ServerView;
use holdfast_proto::convert::{BackupOrder, Method};
use holdfast_types::{CaptureLimits, CollectionName};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Stands in a job for who asked for it.
const ASKER: &str = "continuous protection";

const TICK: Duration = Duration::from_secs(1);
/// A collection whose base was begun, or could not be, has its next turn after this long …
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// … doubled each time, up to this.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

#[derive(Clone, Copy)]
struct Attempt {
    next: Instant,
    pause: Duration,
}

/// Looks every second until the process ends.
pub async fn run(core: Arc<Core>) {
    if !core.wal.prompt_base {
        return;
    }
    let stop = core.shutdown.token();
    let mut attempts = BTreeMap::new();
    while tokio::time::timeout(TICK, stop.cancelled()).await.is_err() {
        Box::pin(look(&core, &mut attempts)).await;
    }
}

async fn look(core: &Arc<Core>, attempts: &mut BTreeMap<CollectionName, Attempt>) {
    if core.book.running().await.is_some() {
        return;
    }
    let Ok(points) = core.catalog.points().await else {
        return;
    };
    let known = shard_counts(core);
    let standings = standings(core, &points, &known.keys().cloned().collect());
    let now = Instant::now();
    let mut wanted = Vec::new();
    for (name, standing) in &standings {
        // Where a shard's log is not followed, no capture would be gone on with.
        let shards = known.get(name).copied().unwrap_or(u32::MAX);
        if standing.continuous || standing.followed.len() < shards as usize {
            attempts.remove(name);
        } else if attempts.get(name).is_none_or(|attempt| attempt.next <= now) {
            wanted.push(name.clone());
        }
    }
    let Some(first) = wanted.first() else { return };
    for name in &wanted {
        let pause = attempts.get(name).map_or(FIRST_PAUSE, |attempt| {
            (attempt.pause * 2).min(LONGEST_PAUSE)
        });
        let next = now + pause;
        attempts.insert(name.clone(), Attempt { next, pause });
    }
    let why = standings[first].ended.as_ref().map_or_else(
        || "no capture goes on with its log".to_owned(),
        |(_, why)| why.clone(),
    );
    let order = BackupOrder {
        collections: wanted.clone(),
        patterns: Vec::new(),
        by_rule: true,
        method: Method::Auto,
        note: format!("base for continuous protection of {first}: {why}"),
        tags: Vec::new(),
        limits: CaptureLimits::default(),
    };
    match Box::pin(execute::start_backup(core, ASKER.to_owned(), &order)).await {
        Ok(feed) => {
            tracing::info!(job = %feed.job(), collections = wanted.len(), reason = %why, "a base is made, from which logs go on");
        }
        Err(fault) => {
            tracing::warn!(reason = %fault, "no base could be made for logs; trying again later");
        }
    }
}

/// Collections of the nodes that are seen, and how many shards each has.
fn shard_counts(core: &Core) -> BTreeMap<CollectionName, u32> {
    let seen = core.nodes.observation(core.epoch, None, 0);
    let mut counts = BTreeMap::new();
    for view in seen.nodes.values() {
        if let ServerView::Seen(server) = &view.server {
            for (name, collection) in &server.collections {
                counts.insert(name.clone(), collection.shard_count);
            }
        }
    }
    counts
}
