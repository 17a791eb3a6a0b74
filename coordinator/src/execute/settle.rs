//! Brings a running backup in line with a world that has changed: shards that moved, nodes that died, collections that
//! came or went. What follows from what is seen is decided by `decide::settle_backup`; here it is asked, waited for and recorded.

use super::recorded;
use crate::core::Core;
use crate::fault::{Fault, blocked};
use crate::job::feed::JobFeed;
use crate::job::{BackupWork, FailedCapture};
use holdfast_archive::LeftOut;
use holdfast_decide::{Blocker, Observation, Settlement, Standing, settle_backup};
use holdfast_types::{CollectionName, JobId};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two looks while a shard has no replica to capture: it may be on its way.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the plan is after it was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Everything that the point shall hold is captured.
    Complete,
    /// Something is still to be captured.
    Open,
}

/// Looks at the cluster and changes the job's plan by what has changed. A shard without any replica is waited for, as long as
/// a capture waits for an agent that is away.
///
/// # Errors
/// Why the backup can't come to a good end; a failing catalogue.
pub(super) async fn settle(
    core: &Core,
    id: &JobId,
    feed: &JobFeed,
    cancel: &CancellationToken,
) -> Result<Settled, Fault> {
    let began = Instant::now();
    let mut told = None;
    loop {
        let record = recorded(core, id).await?;
        let work = super::backup::backup_of(&record)?;
        let seen = observe(core, work).await;
        match settle_backup(&work.plan, &standing(work), &seen, core.clock.now()) {
            Ok(settlement) => return apply(core, id, feed, settlement).await,
            Err(blockers) => {
                let cluster = work.plan.nodes.iter().any(|node| node.peer_id.is_some());
                let passing = |blocker: &Blocker| {
                    matches!(
                        blocker,
                        Blocker::NoReplicaLeft { .. } | Blocker::ShardsMissing { .. }
                    )
                };
                let waits = cluster && blockers.iter().all(passing);
                if !waits || cancel.is_cancelled() || began.elapsed() > core.limits.replica_grace {
                    return Err(blocked(&blockers));
                }
                let why = blocked(&blockers).message;
                if told.as_ref() != Some(&why) {
                    feed.warn(core.clock.now(), format!("waiting: {why}"));
                    told = Some(why);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

async fn observe(core: &Core, work: &BackupWork) -> Observation {
    let mut seen = core.observe().await;
    seen.past.removed = core.members.removed();
    let nodes = work.plan.nodes.iter();
    seen.past.peers = nodes
        .filter_map(|node| Some((node.node.clone(), node.peer_id?)))
        .collect();
    seen
}

fn standing(work: &BackupWork) -> Standing {
    let failed = work.failed.iter();
    Standing {
        captured: work.committed.keys().copied().collect(),
        dropped: work.dropped.clone(),
        failed: failed
            .map(|failed| (failed.index, failed.node.clone(), failed.why.clone()))
            .collect(),
    }
}

async fn apply(
    core: &Core,
    id: &JobId,
    feed: &JobFeed,
    settlement: Settlement,
) -> Result<Settled, Fault> {
    let changes = settlement.has_work() || !settlement.gone.is_empty();
    if !changes && settlement.appeared.is_empty() {
        let record = recorded(core, id).await?;
        return Ok(state(super::backup::backup_of(&record)?));
    }
    for note in notes(&settlement) {
        tracing::info!(job = %id, note);
        feed.warn(core.clock.now(), note);
    }
    let change = |work: &mut BackupWork| {
        for (index, step) in settlement.moved {
            if let Some(planned) = work.plan.captures.get_mut(index) {
                *planned = step;
            }
            // The agent of another node does not know the command; it has another name all the same.
            *work.repeats.entry(index).or_default() += 1;
        }
        work.plan.captures.extend(settlement.added);
        for facts in settlement.nodes {
            if !work.plan.nodes.iter().any(|known| known.node == facts.node) {
                work.plan.nodes.push(facts);
            }
        }
        for gone in settlement.gone {
            for index in &gone.captures {
                work.committed.remove(index);
            }
            work.dropped.extend(&gone.captures);
            if gone.shard.is_none() {
                work.plan.collections.remove(&gone.collection);
            }
            let why = gone.to_string();
            work.leave_out(LeftOut {
                collection: gone.collection,
                shard_id: gone.shard,
                why,
            });
        }
        for collection in settlement.appeared {
            let why = appeared(&collection);
            work.leave_out(LeftOut {
                collection,
                shard_id: None,
                why,
            });
        }
    };
    let record = core
        .book
        .change(id, |job| {
            if let Some(work) = job.backup_mut() {
                change(work);
            }
        })
        .await?;
    Ok(state(super::backup::backup_of(&record)?))
}

fn state(work: &BackupWork) -> Settled {
    if work.open().next().is_none() {
        Settled::Complete
    } else {
        Settled::Open
    }
}

fn appeared(collection: &CollectionName) -> String {
    format!("collection {collection}: it appeared during the capture")
}

fn notes(settlement: &Settlement) -> Vec<String> {
    let moved = settlement.moved.iter().map(|(_, step)| step.to_string());
    let added = settlement
        .added
        .iter()
        .map(|step| format!("{step}: this shard appeared meanwhile"));
    let gone = settlement
        .gone
        .iter()
        .map(|gone| format!("not in this point: {gone}"));
    let new = settlement.appeared.iter();
    let new = new.map(|name| format!("not in this point: {}", appeared(name)));
    moved.chain(added).chain(gone).chain(new).collect()
}

/// Records that a capture failed, so that nobody tries the same replica again in this job.
///
/// # Errors
/// A failing catalogue.
pub(super) async fn note_failure(
    core: &Core,
    id: &JobId,
    failed: FailedCapture,
) -> Result<(), Fault> {
    let changed = core.book.change(id, |job| {
        if let Some(work) = job.backup_mut() {
            work.failed.push(failed);
        }
    });
    changed.await.map(drop)
}
