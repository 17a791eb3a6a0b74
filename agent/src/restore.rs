//! Restoring one collection into the local Qdrant: ask the coordinator, decide how, create, rebuild and
//! upload each shard, wait, count, point aliases.
//!
//! Every life of the process asks first and touches Qdrant then. What it does to Qdrant stands in the journal before it is done. It deletes nothing when it fails:
//! removing a collection that it created is a cleanup, which survives a crash. Whether the number of
//! points is right is for the coordinator to say.

use crate::attempts::Attempts;
use crate::commands::phase::{Phase, RestoreProgress, TargetMode};
use crate::failure::Failed;
use crate::fetch;
use crate::job::{Halt, Job};
use crate::link::Link;
use crate::order::RestoreOrder;
use crate::outcome::RestoreReport;
use crate::rebuild::Blueprint;
use holdfast_archive::{ChunkKey, ShardEntry};
use holdfast_service::failure::Code;
use holdfast_types::{Compatibility, ServerVersion};
use std::time::Duration;
use tokio::time::Instant;

mod keys;
mod logical;
pub mod part;
mod target;
mod upload;

/// Qdrant loads what was uploaded before it answers; settling is a matter of seconds, unless it
/// optimizes at once.
const SETTLE_WITHIN: Duration = Duration::from_secs(900);

/// Longer than Qdrant takes to create a collection or to put an uploaded shard in its place.
const EARLIER_REQUESTS: Duration = Duration::from_secs(120);

/// Restores the collection.
///
/// # Errors
/// Why it failed; what it left on Qdrant stands in the journal.
pub async fn run(job: &Job, order: &RestoreOrder) -> Result<RestoreReport, Failed> {
    let began = Instant::now();
    if let Err(failed) = may_begin(job, order).await {
        distrust(job).await?;
        return Err(explained(job, order, failed));
    }
    let restored = bring_back(job, order).await;
    let mut report = restored.map_err(|failed| explained(job, order, failed))?;
    report.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// Whether the command may touch Qdrant in this life of the process: an open command in the journal may
/// have been given up long ago, and the collection with its name may be in use again.
async fn may_begin(job: &Job, order: &RestoreOrder) -> Result<(), Failed> {
    check_order(order)?;
    let mut attempts = Attempts::new(job.site.config.limits.retry_for);
    let resumed = matches!(job.phase(), Phase::Restoring(_) | Phase::Replaying(_));
    let version = loop {
        match job.site.qdrant.check_supported().await {
            Ok(server) => break server.version,
            // After a reboot the agent may be up before Qdrant is.
            Err(error) if resumed && error.is_retryable() => attempts.pause(failed(error)).await?,
            Err(error) => return Err(failed(error)),
        }
    };
    check_version(order, &version)?;
    confirm(job, order).await
}

/// Asks the coordinator for every recipe of the order, which it gives for open commands only, and plans every shard.
/// The plans are made again when they are needed: all of them at once may be too large to keep.
async fn confirm(job: &Job, order: &RestoreOrder) -> Result<(), Failed> {
    let mut attempts = Attempts::new(job.site.config.limits.retry_for);
    for shard in order.sources() {
        loop {
            let link = attempts.link(job).await?;
            job.meter.stage("checking the recovery point");
            match blueprint(&link, job, order, shard).await {
                Ok(_) => {
                    attempts.accepted();
                    break;
                }
                Err(Halt::Broken(failed)) => attempts.pause(failed).await?,
                Err(Halt::Failed(failed)) => return Err(failed),
                Err(Halt::Stopped) => return Err(ended_silently()),
            }
        }
    }
    logical::check(job, order).await
}

/// How the archive of a shard is made: its recipe, and the files of the log that is replayed on it.
async fn blueprint(
    link: &Link,
    job: &Job,
    order: &RestoreOrder,
    shard: &ShardEntry,
) -> Result<(Blueprint, ChunkKey), Halt> {
    let (recipe, key) = fetch::recipe(link, &job.id, shard).await?;
    let blueprint = match order.log(shard.shard_id) {
        None => Blueprint::new(recipe)?,
        Some(log) => {
            let files = fetch::log_layout(link, &job.id, log).await?;
            Blueprint::spliced(recipe, log.from, files)?
        }
    };
    Ok((blueprint, key))
}

/// What an earlier life of the process put into the collection can't be told any more from what others
/// have put there since: only an empty collection may then be deleted.
async fn distrust(job: &Job) -> Result<(), Failed> {
    match job.phase() {
        Phase::Restoring(mut progress) if progress.created.is_some() => {
            progress.holds_data = false;
            job.advance(Phase::Restoring(progress)).await
        }
        Phase::Replaying(mut replaying) => {
            replaying.progress.holds_data = false;
            job.advance(Phase::Replaying(replaying)).await
        }
        Phase::Restoring(_)
        | Phase::Hooked
        | Phase::Accepted
        | Phase::AskingSnapshot(_)
        | Phase::Snapshot(_) => Ok(()),
    }
}

async fn bring_back(job: &Job, order: &RestoreOrder) -> Result<RestoreReport, Failed> {
    let qdrant = &job.site.qdrant;
    let mut attempts = Attempts::new(job.site.config.limits.retry_for);
    let mut uploaded_bytes = 0;
    let (progress, indexes, replayed) = loop {
        match logical::begin_anew(job, order).await {
            Ok(()) => {}
            Err(Halt::Broken(failed)) => {
                attempts.pause(failed).await?;
                continue;
            }
            Err(Halt::Failed(failed)) => return Err(failed),
            Err(Halt::Stopped) => return Err(ended_silently()),
        }
        let (mut progress, indexes) = prepare(job, order).await?;
        uploaded_bytes += upload_shards(job, order, &mut progress).await?;
        job.meter.stage("waiting for Qdrant");
        let loaded = qdrant.wait_loaded(&order.target, SETTLE_WITHIN).await;
        loaded.map_err(failed)?;
        match logical::replay(job, order, &mut progress).await {
            Ok(replayed) => break (progress, indexes, replayed),
            Err(Halt::Broken(failed)) => attempts.pause(failed).await?,
            Err(Halt::Failed(failed)) => return Err(failed),
            Err(Halt::Stopped) => return Err(ended_silently()),
        }
    };
    let points = qdrant.count_exact(&order.target).await.map_err(failed)?;
    let aliases = target::point_aliases(job, order, &progress).await;
    Ok(RestoreReport {
        uploaded_bytes,
        points,
        aliases: aliases.map_err(failed)?,
        indexes,
        replayed_entries: order.spliced_entries() + replayed.entries,
        notes: replayed.notes,
        ..RestoreReport::default()
    })
}

/// Prepares the target and its indexes. What an earlier life of the process asked of Qdrant may still be under way there: a
/// collection that is being created is not listed yet, and one whose shard is being replaced has none to answer from. A
/// resumed restore therefore asks again for a while; a new one doesn't.
async fn prepare(
    job: &Job,
    order: &RestoreOrder,
) -> Result<(RestoreProgress, Vec<String>), Failed> {
    let resumed = matches!(job.phase(), Phase::Restoring(_));
    let mut attempts = Attempts::new(EARLIER_REQUESTS);
    loop {
        let prepared = async {
            let progress = target::prepare(job, order).await?;
            let indexes = target::create_indexes(job, order).await?;
            Ok((progress, indexes))
        };
        match prepared.await {
            Ok(prepared) => return Ok(prepared),
            Err(Halt::Broken(failed)) if resumed => attempts.pause(failed).await?,
            Err(Halt::Broken(failed) | Halt::Failed(failed)) => return Err(failed),
            Err(Halt::Stopped) => return Err(ended_silently()),
        }
    }
}

async fn upload_shards(
    job: &Job,
    order: &RestoreOrder,
    progress: &mut RestoreProgress,
) -> Result<u64, Failed> {
    let total: u64 = order.entry.shards.iter().map(|s| s.logical_bytes).sum();
    job.meter.restart(total);
    let mut uploaded_bytes = 0;
    for shard in &order.entry.shards {
        if progress.uploaded.contains(&shard.shard_id) {
            job.meter.add_done(shard.logical_bytes);
            continue;
        }
        if !progress.holds_data {
            progress.holds_data = true;
            job.advance(Phase::Restoring(progress.clone())).await?;
        }
        uploaded_bytes += upload_shard(job, order, shard).await?;
        progress.uploaded.push(shard.shard_id);
        job.advance(Phase::Restoring(progress.clone())).await?;
    }
    Ok(uploaded_bytes)
}

async fn upload_shard(job: &Job, order: &RestoreOrder, shard: &ShardEntry) -> Result<u64, Failed> {
    let mut attempts = Attempts::new(job.site.config.limits.retry_for);
    loop {
        let link = attempts.link(job).await?;
        if order.part.is_some() {
            part::check_target(job, order, shard.shard_id).await?;
        }
        job.meter.stage("rebuilding and uploading");
        match upload::shard(job, order, shard, &link, &mut attempts).await {
            Ok(bytes) => return Ok(bytes),
            Err(Halt::Broken(failed)) => attempts.pause(failed).await?,
            Err(Halt::Failed(failed)) => return Err(failed),
            Err(Halt::Stopped) => return Err(ended_silently()),
        }
    }
}

fn ended_silently() -> Failed {
    Failed::new(Code::Internal, "a stage ended without an error")
}

fn check_order(order: &RestoreOrder) -> Result<(), Failed> {
    let entry = &order.entry;
    let whole = entry.shards.len() == entry.shard_count as usize && !entry.shards.is_empty();
    let hashed = entry.shards.iter().all(|s| s.recipe_digest().is_some());
    if whole && hashed {
        Ok(())
    } else {
        Err(Failed::new(
            Code::RepositoryDamaged,
            format!(
                "the recovery point's description of {} is incomplete: {} shards, {} described",
                entry.name,
                entry.shard_count,
                entry.shards.len()
            ),
        ))
    }
}

fn check_version(order: &RestoreOrder, target: &ServerVersion) -> Result<(), Failed> {
    for shard in &order.entry.shards {
        let from = &shard.server_version;
        let advice = match from.restores_into(target) {
            Compatibility::Compatible => continue,
            Compatibility::TargetOlder => "upgrade this server first",
            Compatibility::TargetTooNew => {
                "restore into a server of the captured minor release and upgrade it one minor at a time"
            }
        };
        return Err(Failed::new(
            Code::VersionMismatch,
            format!("captured from Qdrant {from}, this server is {target}: {advice}"),
        ));
    }
    Ok(())
}

/// The failure with what the journal knows of the target, also for one that was cancelled.
pub(crate) fn explained(job: &Job, order: &RestoreOrder, failed: Failed) -> Failed {
    match job.phase() {
        Phase::Restoring(progress) => explain(failed, &progress, order),
        Phase::Replaying(replaying) => logical::explain(failed, &replaying, order),
        Phase::Accepted | Phase::Hooked | Phase::AskingSnapshot(_) | Phase::Snapshot(_) => failed,
    }
}

/// Says what state a failed restore leaves the target in.
fn explain(failed: Failed, progress: &RestoreProgress, order: &RestoreOrder) -> Failed {
    let name = &order.target;
    if progress.uploaded.len() >= order.entry.shards.len() {
        return failed.and(&format!(
            "every shard of {name} is restored and stays; its points were not counted or its aliases not pointed at it"
        ));
    }
    let kept = !progress.holds_data && !progress.uploaded.is_empty();
    match (progress.target, &progress.created) {
        (TargetMode::Create | TargetMode::Recreate, Some(_)) if kept => failed.and(&format!(
            "{name} holds a part of the restored data and is kept: look at it, and delete it if it is of no use"
        )),
        (TargetMode::Create, Some(_)) => {
            failed.and(&format!("{name} did not exist before and is deleted again"))
        }
        (TargetMode::Create, None) => failed.and(&format!(
            "this restore is not known to have created {name}, so nothing is deleted"
        )),
        (TargetMode::Recreate, Some(_)) => failed.and(&format!(
            "{name} had to be deleted to be replaced and is gone: restore the safety recovery point taken before"
        )),
        (TargetMode::Recreate, None) => failed.and(&format!(
            "{name} was to be deleted and replaced: if it is gone, restore the safety recovery point taken before"
        )),
        (TargetMode::Replace, _) if !progress.holds_data && progress.uploaded.is_empty() => {
            failed.and(&format!("{name} still holds its data of before"))
        }
        (TargetMode::Replace, _) => failed.and(&mixed(progress, order)),
    }
}

/// Which shards of a collection that is being replaced hold which data. Shards are uploaded in the order of the
/// entry, and what Qdrant made of the upload that was under way is known to Qdrant alone.
fn mixed(progress: &RestoreProgress, order: &RestoreOrder) -> String {
    let name = &order.target;
    let ids = order.entry.shards.iter().map(|shard| shard.shard_id);
    let mut waiting = ids.filter(|id| !progress.uploaded.contains(id));
    let uploading = waiting.next();
    let mut parts = Vec::new();
    for (shards, what) in [
        (progress.uploaded.clone(), "the restored data"),
        (
            uploading.into_iter().collect(),
            "either, since its upload was interrupted",
        ),
        (waiting.collect(), "the data of before"),
    ] {
        if !shards.is_empty() {
            let list: Vec<String> = shards.iter().map(ToString::to_string).collect();
            parts.push(format!("shard {} of {name}: {what}", list.join(", ")));
        }
    }
    format!(
        "{}; run the restore again, or restore the safety recovery point taken before",
        parts.join("; ")
    )
}

fn failed(error: holdfast_qdrant::QdrantError) -> Failed {
    crate::job::qdrant_failed(&error)
}

#[cfg(test)]
mod tests;
