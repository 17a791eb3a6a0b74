//! Captures the shards of a backup, or of a restore's safety capture, and commits the recovery point.

use super::settle::Settled;
use super::{manifest, recorded, settle};
use crate::catalog::PointSummary;
use crate::core::Core;
use crate::dispatch::{Answer, Grant, Patience};
use crate::fault::Fault;
use crate::ingest::session::IngestSlot;
use crate::job::feed::{JobFeed, ProgressKey};
use crate::job::log::Level;
use crate::job::{BackupWork, CommittedShard, JobRecord};
use holdfast_archive::CollectionEntry;
use holdfast_decide::{CaptureStep, Method, has_other_replica};
use holdfast_proto::v1;
use holdfast_repository::RepositoryError;
use holdfast_service::failure::Code;
use holdfast_types::{ByteCount, CaptureLimits, JobId, RecoveryPointId};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

mod lanes;

/// How often captures are begun again because what they had stored is gone. It takes a coordinator that collects
/// garbage while this one is away; that it happens a third time means that two of them share the repository.
const MAX_REPEATS: usize = 2;

/// How often what failed, or appeared, is captured otherwise. Each round excludes the replicas that failed before.
const MAX_ROUNDS: usize = 5;

/// How often it is looked whether a Qdrant still answers.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Captures what is not captured yet, then commits.
pub(super) async fn run(
    core: &Arc<Core>,
    id: &JobId,
    feed: &Arc<JobFeed>,
    cancel: &CancellationToken,
) -> Result<PointSummary, Fault> {
    // What another process has found damaged is captured again.
    let heeded = core.repository.heed_damage().await;
    heeded.map_err(|error| core.repository_failed(&error))?;
    let mut repeats = 0;
    loop {
        capture_until_complete(core, id, feed, cancel).await?;
        let work = backup_of(&recorded(core, id).await?)?.clone();
        let phase = "every capture is in; committing the recovery point";
        feed.log(core.clock.now(), Level::Info, phase);
        let manifest = manifest::assemble(core, &work)?;
        match core.repository.commit_point(&manifest).await {
            // Committed by an earlier life of this job, which then did not get to record it.
            Ok(()) | Err(RepositoryError::PointExists { .. }) => {
                return finish(core, id, feed, &manifest.id, None).await;
            }
            // The store does not say whether its last write counts: reading tells.
            Err(error @ RepositoryError::Store(_)) => {
                return finish(core, id, feed, &manifest.id, Some(error)).await;
            }
            Err(error @ RepositoryError::Incomplete { .. }) => {
                let lost = lost(core, &work).await?;
                // What an operator has delivered can't be asked for again.
                if lost.is_none() || work.imported_by.is_some() || repeats == MAX_REPEATS {
                    return Err(core.repository_failed(&error));
                }
                repeats += 1;
                begin_again(core, id, feed, &work, &lost).await?;
            }
            Err(error) => return Err(core.repository_failed(&error)),
        }
    }
}

/// Captures, and captures otherwise what failed or has changed, until everything is in.
async fn capture_until_complete(
    core: &Arc<Core>,
    id: &JobId,
    feed: &Arc<JobFeed>,
    cancel: &CancellationToken,
) -> Result<(), Fault> {
    for _ in 0..MAX_ROUNDS {
        let work = backup_of(&recorded(core, id).await?)?.clone();
        let failure = lanes::capture_all(core, id, feed, cancel, &work).await?;
        if cancel.is_cancelled() {
            return Err(Fault::new(
                Code::Cancelled,
                "cancelled before it was committed",
            ));
        }
        if work.imported_by.is_some() {
            return Ok(());
        }
        match settle::settle(core, id, feed, cancel).await {
            Ok(Settled::Complete) => return Ok(()),
            Ok(Settled::Open) => {}
            Err(fault) => {
                return Err(match failure {
                    // A node of its own has no other replicas: what failed says it all.
                    Some(failure) if work.plan.nodes.iter().all(|n| n.peer_id.is_none()) => failure,
                    Some(failure) => Fault {
                        message: format!("{failure}; {}", fault.message),
                        ..failure
                    },
                    None => fault,
                });
            }
        }
    }
    Err(Fault {
        retryable: true,
        ..Fault::new(
            Code::JobFailed,
            format!(
                "the cluster changed so often during the capture that {MAX_ROUNDS} rounds were not enough: run the backup again when no shards are being moved"
            ),
        )
    })
}

/// Captures and extras, by their indices, that were committed, and of which chunks are not there any more: garbage to another
/// coordinator, which collected it before this one came back.
#[derive(Debug, Default)]
struct Lost {
    captures: Vec<usize>,
    extras: Vec<usize>,
}

impl Lost {
    fn is_none(&self) -> bool {
        self.captures.is_empty() && self.extras.is_empty()
    }
}

async fn lost(core: &Core, work: &BackupWork) -> Result<Lost, Fault> {
    let mut lost = Lost::default();
    for (index, committed) in &work.committed {
        let collection = CollectionEntry {
            shards: vec![committed.shard.clone()],
            ..committed.collection.clone()
        };
        let affected = core.repository.check_collection(&collection).await;
        if !affected.map_err(|e| core.repository_failed(&e))?.is_empty() {
            lost.captures.push(*index);
        }
    }
    for (index, committed) in work.captured_extras() {
        let stored = committed.extra.stored_recipe();
        let whole = core.repository.is_whole("an extra", stored).await;
        if !whole.map_err(|e| core.repository_failed(&e))? {
            lost.extras.push(index);
        }
    }
    Ok(lost)
}

/// Takes note that these are not captured.
async fn begin_again(
    core: &Core,
    id: &JobId,
    feed: &Arc<JobFeed>,
    work: &BackupWork,
    lost: &Lost,
) -> Result<(), Fault> {
    core.book
        .change(id, |job| {
            let Some(backup) = job.backup_mut() else {
                return;
            };
            for index in &lost.captures {
                backup.committed.remove(index);
                *backup.repeats.entry(*index).or_default() += 1;
            }
            for index in &lost.extras {
                backup.extras.remove(index);
                *backup.extra_repeats.entry(*index).or_default() += 1;
            }
        })
        .await?;
    let captures = lost.captures.iter().map(|index| {
        let step = &work.plan.captures[*index];
        format!("{}/{}", step.collection, step.shard)
    });
    let extras = lost.extras.iter().map(|index| {
        let step = &work.plan.extras[*index];
        format!("extra {} of node {}", step.name, step.node)
    });
    for what in captures.chain(extras) {
        let note = format!(
            "what was captured of {what} was deleted as garbage before the recovery point could be committed: it is captured again"
        );
        tracing::warn!(job = %id, note);
        feed.warn(core.clock.now(), note);
    }
    Ok(())
}

/// Reads the recovery point back and records it. `failed` is what the commit said, if it did not say that it is done.
async fn finish(
    core: &Arc<Core>,
    id: &JobId,
    feed: &Arc<JobFeed>,
    point: &RecoveryPointId,
    failed: Option<RepositoryError>,
) -> Result<PointSummary, Fault> {
    let manifest = core
        .repository
        .read_point(point)
        .await
        .map_err(|error| core.repository_failed(failed.as_ref().unwrap_or(&error)))?;
    core.keeping.committed(point);
    core.logs.committed(&manifest);
    let summary = PointSummary::of(&manifest);
    if let Err(error) = core.catalog.put_point(summary.clone()).await {
        // The repository has it; the listing is made equal at the next start.
        tracing::warn!(%error, point = %manifest.id, "a recovery point could not be listed");
    }
    core.book
        .change(id, |job| {
            if let Some(backup) = job.backup_mut() {
                backup.done = true;
            }
        })
        .await?;
    feed.note(
        core.clock.now(),
        format!("recovery point {} is committed", manifest.id),
    );
    Ok(summary)
}

async fn capture(
    core: &Arc<Core>,
    id: &JobId,
    feed: &Arc<JobFeed>,
    cancel: &CancellationToken,
    work: &BackupWork,
    (index, share): (usize, u64),
) -> Result<(), Fault> {
    let step = &work.plan.captures[index];
    let command = work.capture_id(id, index);
    let command = command.map_err(|e| Fault::from_error(Code::Internal, &e))?;
    let grant = Grant::Capture {
        job: id.clone(),
        index,
        slot: Arc::new(IngestSlot::default()),
    };
    let courtesy = courtesy(core, id, &work.plan.limits).await;
    let body = order_of(step, share, courtesy);
    let key = ProgressKey {
        node: step.node.clone(),
        collection: step.collection.clone(),
        shard: step.shard,
    };
    core.check_epoch().await?;
    let grace = grace(core, step);
    let issued = core
        .dispatcher
        .issue(command.clone(), step.node.clone(), body, grant)?;
    let patience = Patience {
        away: grace,
        ..core.patience()
    };
    let what = format!("{}/{} on {}", step.collection, step.shard, step.node);
    feed.log(
        core.clock.now(),
        Level::Info,
        format!("capture of {what} begins"),
    );
    let answer = issued.wait(patience, cancel, |news| {
        feed.news(core.clock.now(), &key, news);
    });
    let answer = tokio::select! {
        answer = answer => answer,
        fault = hangs(core, step, grace) => {
            // Not waited for: what it left, its agent can only clean up when Qdrant answers again.
            core.dispatcher.cancel_stray(&step.node, &command);
            Err(fault)
        }
    };
    match (answer, committed(core, id, index).await) {
        // However its agent sees it: what is committed is captured.
        (Ok(Answer::Captured(done)), Some(shard)) => {
            count_cost(core, id, index, &done).await?;
            let held_up = Duration::from_millis(done.held_up_ms);
            core.nodes.held_up(&step.node, held_up);
            tell_captured(core, feed, &what, &done, &shard);
            Ok(())
        }
        (Ok(_) | Err(_), Some(_)) => Ok(()),
        (Ok(_), None) => Err(Fault::new(
            Code::Internal,
            format!("the agent says that {what} is captured, but has not committed it"),
        )),
        (Err(fault), None) => Err(fault.within(&format!("capture of {what}"))),
    }
}

/// What a capture brought, and why it was taken as it was.
fn tell_captured(
    core: &Core,
    feed: &JobFeed,
    what: &str,
    done: &v1::CaptureDone,
    shard: &CommittedShard,
) {
    feed.note(core.clock.now(), captured_note(what, done, shard));
    for reason in &shard.shard.reasons {
        feed.note(core.clock.now(), format!("{what}: {reason}"));
    }
}

fn order_of(
    step: &CaptureStep,
    bytes_per_second: u64,
    (max_query_latency_us, max_delay_ms): (u64, u64),
) -> v1::command::Command {
    v1::command::Command::CaptureShard(v1::CaptureShard {
        collection: step.collection.to_string(),
        shard_id: step.shard.0,
        method: match step.method {
            Method::Auto => v1::CaptureMethod::Auto,
            Method::Direct => v1::CaptureMethod::Direct,
            Method::Partial => v1::CaptureMethod::Partial,
            Method::Stored => v1::CaptureMethod::Stored,
            Method::Stream => v1::CaptureMethod::Stream,
        }
        .into(),
        bytes_per_second,
        max_query_latency_us,
        max_delay_ms,
    })
}

/// How long searches may take in microseconds, and for how many milliseconds a capture that begins now may be held up for them;
/// zeros if it is not to look, as those before it have been held up for as long as the job may be.
async fn courtesy(core: &Core, id: &JobId, limits: &CaptureLimits) -> (u64, u64) {
    let Some(latency) = limits.max_query_latency else {
        return (0, 0);
    };
    let record = core.book.get(id).await;
    let committed = record.iter().filter_map(JobRecord::backup);
    let committed = committed.flat_map(|backup| backup.committed.values());
    let spent: u64 = committed.map(|shard| shard.held_up_ms).sum();
    let left = limits
        .max_delay
        .saturating_sub(Duration::from_millis(spent));
    let number = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
    match number(left.as_millis()) {
        0 => (0, 0),
        left => (number(latency.as_micros()), left),
    }
}

/// How long a node that does not answer is waited for: less, where another replica can take its place.
fn grace(core: &Core, step: &CaptureStep) -> Duration {
    let seen = core.nodes.observation(core.epoch, None, 0);
    if has_other_replica(&seen, step, core.clock.now()) {
        core.limits.replica_grace.min(core.limits.agent_grace)
    } else {
        core.limits.agent_grace
    }
}

/// Waits until the node's Qdrant has not answered its agent for longer than `limit`; for ever, if it does. An agent whose
/// command waits for such a Qdrant goes on reporting.
async fn hangs(core: &Core, step: &CaptureStep, limit: Duration) -> Fault {
    loop {
        let silence = core.nodes.silence(&step.node);
        if silence > limit {
            return Fault::new(
                Code::QdrantUnreachable,
                format!(
                    "Qdrant on node {} has not answered for {} s: look whether it hangs",
                    step.node,
                    silence.as_secs()
                ),
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

pub(super) async fn committed(core: &Core, id: &JobId, index: usize) -> Option<CommittedShard> {
    let record = core.book.get(id).await?;
    record.backup()?.committed.get(&index).cloned()
}

/// The agent also knows what was sent to an earlier life of this coordinator.
async fn count_cost(
    core: &Core,
    id: &JobId,
    index: usize,
    done: &v1::CaptureDone,
) -> Result<(), Fault> {
    core.book
        .change(id, |job| {
            let shard = job.backup_mut().and_then(|b| b.committed.get_mut(&index));
            if let Some(shard) = shard {
                shard.sent_bytes = shard.sent_bytes.max(done.sent_bytes);
                shard.elapsed_ms = done.elapsed_ms;
                shard.held_up_ms = done.held_up_ms;
            }
        })
        .await
        .map(drop)
}

fn captured_note(what: &str, done: &v1::CaptureDone, shard: &CommittedShard) -> String {
    let held_up = match done.held_up_ms {
        0 => String::new(),
        ms => format!(
            ", held up for {:.1} s by the searches of others",
            Duration::from_millis(ms).as_secs_f64()
        ),
    };
    format!(
        "captured {what} ({}): {} in {:.1} s, {} sent, {} stored{held_up}",
        shard.shard.method,
        ByteCount(shard.shard.logical_bytes),
        std::time::Duration::from_millis(done.elapsed_ms).as_secs_f64(),
        ByteCount(done.sent_bytes.max(shard.sent_bytes)),
        ByteCount(shard.stored_bytes),
    )
}

pub(super) fn backup_of(record: &JobRecord) -> Result<&BackupWork, Fault> {
    let missing = || Fault::new(Code::Internal, "the job has no backup in it");
    record.backup().ok_or_else(missing)
}
