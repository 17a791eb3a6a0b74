//! Operations of archived logs, sent to a collection whose captured shards are there (logical replay).
//!
//! Nothing that is sent may be sent again: an operation on whatever matches a filter meets other points the second time. So the journal says that
//! sending begins before it does, and an end that is not known (an answer that did not come, a process that was killed) is followed by the
//! captured shards anew, in a collection made anew, since its vectors and indexes may have changed, too.
//!
//! | the journal says | who resumes |
//! |---|---|
//! | restoring, nothing replayed | sends |
//! | replaying | deletes the collection if it is the same one, and begins with the captured shards ([`begin_anew`]) |
//! | restoring, replayed | goes on behind it |

use super::target::{self, essence};
use super::{ended_silently, keys};
use crate::commands::cleanup::same_settings;
use crate::commands::phase::{Phase, Replayed, Replaying, RestoreProgress, TargetMode};
use crate::failure::Failed;
use crate::flow::both;
use crate::job::{Halt, Job};
use crate::order::RestoreOrder;
use crate::replay::LogOrder;
use crate::replay::lane::{self, STEPS};
use crate::replay::requests::{Effects, Receiver};
use drive::Lane;
use futures::future::try_join_all;
use holdfast_archive::CollectionEntry;
use holdfast_service::failure::Code;
use holdfast_types::ShardId;
use holdfast_wal::replay::{Ring, Source};
use tokio::sync::mpsc;

mod drive;

/// Whether every operation that will be sent can be read, and be expressed as requests: known before Qdrant is touched.
///
/// # Errors
/// The first that can't; what can't be fetched.
pub(super) async fn check(job: &Job, order: &RestoreOrder) -> Result<(), Failed> {
    if order.requests.is_empty() {
        return Ok(());
    }
    job.meter
        .stage("checking that every operation can be replayed");
    for source in sources(&order.entry)? {
        let log = order
            .requests
            .iter()
            .find(|log| log.shard.0 == source.shard);
        let Some(log) = log else { continue };
        match lane::feed(job, *log, &source, None).await {
            Ok(()) => {}
            Err(Halt::Failed(failed) | Halt::Broken(failed)) => return Err(failed),
            Err(Halt::Stopped) => return Err(ended_silently()),
        }
    }
    Ok(())
}

/// If operations were being sent when the process ended, or when an answer did not come: prepares that the collection is deleted and made anew.
///
/// # Errors
/// The collection is not known to be the same one any more; it is left alone then. [`Halt::Broken`] while Qdrant can't say.
pub(super) async fn begin_anew(job: &Job, order: &RestoreOrder) -> Result<(), Halt> {
    let Phase::Replaying(replaying) = job.phase() else {
        return Ok(());
    };
    let (qdrant, name) = (&job.site.qdrant, &order.target);
    let Some(found) = target::find(job, name).await.map_err(target::unsettled)? else {
        return Err(Failed::new(
            Code::QdrantError,
            format!("{name} was deleted while it was being restored"),
        )
        .into());
    };
    let uuid = qdrant
        .collection_uuid(name)
        .await
        .map_err(target::unsettled)?;
    let Replaying {
        progress,
        uuid: before,
    } = *replaying;
    let same = match (&before, &uuid) {
        (Some(before), Some(now)) => before == now,
        (Some(_), None) => false,
        (None, _) => {
            let made = progress.created.as_ref().unwrap_or(&order.entry.info);
            same_settings(made, &found)
        }
    };
    if !same {
        // It must not be cleaned up as ours either.
        job.advance(Phase::Accepted).await?;
        return Err(Failed::new(
            Code::TargetExists,
            format!(
                "{name} is not known to be the collection any more that operations were being sent to: it is left alone"
            ),
        )
        .into());
    }
    tracing::info!(collection = %name, "operations were being sent: it is made anew");
    let next = Phase::Restoring(anew(progress, essence(&found)));
    Ok(job.advance(next).await?)
}

/// The collection as it is now is replaced by one that is made anew.
fn anew(progress: RestoreProgress, found: serde_json::Value) -> RestoreProgress {
    RestoreProgress {
        target: match progress.target {
            TargetMode::Create => TargetMode::Create,
            TargetMode::Recreate | TargetMode::Replace => TargetMode::Recreate,
        },
        kept_aliases: progress.kept_aliases,
        replaced: Some(found),
        created: None,
        holds_data: false,
        uploaded: Vec::new(),
        replayed: None,
    }
}

/// Sends what is ordered, if that is not done yet.
///
/// # Errors
/// [`Halt::Broken`] if it is not known how far it came: [`begin_anew`] comes first then.
pub(super) async fn replay(
    job: &Job,
    order: &RestoreOrder,
    progress: &mut RestoreProgress,
) -> Result<Replayed, Halt> {
    if let Some(replayed) = &progress.replayed {
        return Ok(replayed.clone());
    }
    if order.requests.is_empty() {
        return Ok(Replayed::default());
    }
    let uuid = job.site.qdrant.collection_uuid(&order.target).await;
    job.advance(Phase::Replaying(Box::new(Replaying {
        progress: progress.clone(),
        uuid: uuid.map_err(target::unsettled)?,
    })))
    .await?;
    job.meter.stage("replaying operations");
    job.meter.restart(0);
    let effects = send(job, order).await?;
    let ordered = order.requests.iter().map(LogOrder::entries).sum();
    let replayed = Replayed {
        entries: ordered,
        notes: effects.notes(),
    };
    progress.replayed = Some(replayed.clone());
    job.advance(Phase::Restoring(progress.clone())).await?;
    Ok(replayed)
}

/// Sends the operations of all logs, each in its own order.
async fn send(job: &Job, order: &RestoreOrder) -> Result<Effects, Halt> {
    let receiver = Receiver {
        qdrant: &job.site.qdrant,
        name: &order.target,
    };
    let (mut feeds, mut lanes) = (Vec::new(), Vec::new());
    for source in sources(&order.entry)? {
        let log = order
            .requests
            .iter()
            .find(|log| log.shard.0 == source.shard);
        let steps = log.map(|log| {
            let (out, steps) = mpsc::channel(STEPS);
            let (log, source) = (*log, source.clone());
            feeds.push(async move { lane::feed(job, log, &source, Some(out)).await });
            steps
        });
        let stretch = log.map_or((0, 0), |log| (log.from, log.entries()));
        lanes.push(Lane::new(source, steps, stretch));
    }
    let feeding = async { try_join_all(feeds).await.map(drop) };
    let (_, effects) = both(feeding, drive::all(receiver, lanes, &job.meter)).await?;
    Ok(effects)
}

/// For each shard of a captured collection how its log's operations find their points.
///
/// # Errors
/// A shard without a key among others that have one.
fn sources(entry: &CollectionEntry) -> Result<Vec<Source>, Failed> {
    let keys = keys::captured(entry);
    let all: Vec<u32> = entry.shards.iter().map(|shard| shard.shard_id.0).collect();
    let source = |shard: u32| {
        if keys.is_empty() {
            let (ring, key) = (Ring::new(&all), None);
            return Some(Source { shard, ring, key });
        }
        let key = keys
            .iter()
            .find(|key| key.shards.contains(&ShardId(shard)))?;
        let ids: Vec<u32> = key.shards.iter().map(|id| id.0).collect();
        let (ring, key) = (Ring::new(&ids), Some(key.name.to_string()));
        Some(Source { shard, ring, key })
    };
    let found = all.iter().map(|shard| {
        source(*shard).ok_or_else(|| {
            Failed::new(
                Code::RepositoryDamaged,
                format!(
                    "the recovery point names no shard key for shard {shard} of {}",
                    entry.name
                ),
            )
        })
    });
    found.collect()
}

/// Says what a restore that failed while it was sending leaves.
pub(super) fn explain(failed: Failed, replaying: &Replaying, order: &RestoreOrder) -> Failed {
    let (name, progress) = (&order.target, &replaying.progress);
    let held = format!("{name} holds the recovery point and some of the operations behind it");
    match (progress.target, &progress.created) {
        (TargetMode::Recreate, Some(_)) if progress.holds_data => failed.and(&format!(
            "{name} was replaced, is between the recovery point and the instant, and is deleted: restore the safety recovery point taken before"
        )),
        (TargetMode::Create, Some(_)) if progress.holds_data => failed.and(&format!(
            "{name} did not exist before and is deleted again, if its settings are still those that it was created with"
        )),
        (TargetMode::Create, _) => failed.and(&format!(
            "{held}: it is at no instant that was asked for; delete it, or restore over it"
        )),
        (TargetMode::Recreate | TargetMode::Replace, _) => failed.and(&format!(
            "{held}: run the restore again, or restore the safety recovery point taken before"
        )),
    }
}

#[cfg(test)]
mod tests;
