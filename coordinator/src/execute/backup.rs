//! Captures the shards of a backup, or of a restore's safety capture, and commits the recovery point.

use super::{import, manifest, recorded};
use crate::catalog::PointSummary;
use crate::core::Core;
use crate::dispatch::{Answer, Grant};
use crate::fault::Fault;
use crate::ingest::session::IngestSlot;
use crate::job::feed::{JobFeed, ProgressKey};
use crate::job::{BackupWork, CommittedShard, JobRecord, capture_id};
use futures::future::join_all;
use holdfast_decide::{CaptureStep, Method};
use holdfast_proto::v1;
use holdfast_repository::RepositoryError;
use holdfast_service::failure::Code;
use holdfast_types::{ByteCount, JobId, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Captures what is not captured yet, then commits.
pub(super) async fn run(
    core: &Arc<Core>,
    id: &JobId,
    feed: &Arc<JobFeed>,
    cancel: &CancellationToken,
) -> Result<PointSummary, Fault> {
    let work = backup_of(&recorded(core, id).await?)?.clone();
    capture_all(core, id, feed, cancel, &work).await?;
    if cancel.is_cancelled() {
        return Err(Fault::new(
            Code::Cancelled,
            "cancelled before it was committed",
        ));
    }
    let work = backup_of(&recorded(core, id).await?)?.clone();
    let manifest = manifest::assemble(core, &work)?;
    let failed = match core.repository.commit_point(&manifest).await {
        // Committed by an earlier life of this job, which then did not get to record it.
        Ok(()) | Err(RepositoryError::PointExists { .. }) => None,
        // The store does not say whether its last write counts: reading tells.
        Err(error @ RepositoryError::Store(_)) => Some(error),
        Err(error) => return Err(core.repository_failed(&error)),
    };
    let manifest = core
        .repository
        .read_point(&manifest.id)
        .await
        .map_err(|error| core.repository_failed(failed.as_ref().unwrap_or(&error)))?;
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

/// Each node takes its captures one after the other; the first failure stops all.
async fn capture_all(
    core: &Arc<Core>,
    id: &JobId,
    feed: &Arc<JobFeed>,
    cancel: &CancellationToken,
    work: &BackupWork,
) -> Result<(), Fault> {
    let mut lanes: BTreeMap<&NodeId, Vec<(usize, &CaptureStep)>> = BTreeMap::new();
    for (index, step) in work.plan.captures.iter().enumerate() {
        if !work.committed.contains_key(&index) {
            lanes.entry(&step.node).or_default().push((index, step));
        }
    }
    let together = cancel.child_token();
    let lanes = lanes.into_values().map(|steps| {
        let together = &together;
        async move {
            for (index, step) in steps {
                if together.is_cancelled() {
                    break;
                }
                let done = match &work.imported_by {
                    None => capture(core, id, feed, together, index, step).await,
                    Some(holder) => import::delivered(core, id, together, index, holder).await,
                };
                if let Err(fault) = done {
                    together.cancel();
                    return Err(fault);
                }
            }
            Ok(())
        }
    });
    let failures: Vec<Fault> = join_all(lanes)
        .await
        .into_iter()
        .filter_map(Result::err)
        .collect();
    // The others were only stopped because of the one that failed by itself.
    let cause = failures
        .iter()
        .find(|fault| fault.known_code() != Code::Cancelled)
        .or(failures.first());
    cause.map_or(Ok(()), |fault| Err(fault.clone()))
}

async fn capture(
    core: &Arc<Core>,
    id: &JobId,
    feed: &Arc<JobFeed>,
    cancel: &CancellationToken,
    index: usize,
    step: &CaptureStep,
) -> Result<(), Fault> {
    let command = capture_id(id, index).map_err(|e| Fault::from_error(Code::Internal, &e))?;
    let grant = Grant::Capture {
        job: id.clone(),
        index,
        slot: Arc::new(IngestSlot::default()),
    };
    let body = v1::command::Command::CaptureShard(v1::CaptureShard {
        collection: step.collection.to_string(),
        shard_id: step.shard.0,
        method: match step.method {
            Method::Stored => v1::CaptureMethod::Stored,
            Method::Stream => v1::CaptureMethod::Stream,
        }
        .into(),
    });
    let key = ProgressKey {
        node: step.node.clone(),
        collection: step.collection.clone(),
        shard: step.shard,
    };
    core.check_epoch().await?;
    let ticket = core
        .dispatcher
        .issue(command, step.node.clone(), body, grant)?;
    let answer = ticket
        .wait(core.patience(), cancel, |progress| {
            feed.progress(core.clock.now(), &key, progress);
        })
        .await;
    let what = format!("{}/{} on {}", step.collection, step.shard, step.node);
    match (answer, committed(core, id, index).await) {
        // However its agent sees it: what is committed is captured.
        (Ok(Answer::Captured(done)), Some(shard)) => {
            count_sent(core, id, index, done.sent_bytes).await?;
            feed.note(core.clock.now(), captured_note(&what, &done, &shard));
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

pub(super) async fn committed(core: &Core, id: &JobId, index: usize) -> Option<CommittedShard> {
    let record = core.book.get(id).await?;
    record.backup()?.committed.get(&index).cloned()
}

/// The agent also knows what was sent to an earlier life of this coordinator.
async fn count_sent(core: &Core, id: &JobId, index: usize, sent: u64) -> Result<(), Fault> {
    core.book
        .change(id, |job| {
            let shard = job.backup_mut().and_then(|b| b.committed.get_mut(&index));
            if let Some(shard) = shard {
                shard.sent_bytes = shard.sent_bytes.max(sent);
            }
        })
        .await
        .map(drop)
}

fn captured_note(what: &str, done: &v1::CaptureDone, shard: &CommittedShard) -> String {
    format!(
        "captured {what}: {} in {:.1} s, {} sent, {} stored",
        ByteCount(shard.shard.logical_bytes),
        std::time::Duration::from_millis(done.elapsed_ms).as_secs_f64(),
        ByteCount(done.sent_bytes.max(shard.sent_bytes)),
        ByteCount(shard.stored_bytes),
    )
}

fn backup_of(record: &JobRecord) -> Result<&BackupWork, Fault> {
    let missing = || Fault::new(Code::Internal, "the job has no backup in it");
    record.backup().ok_or_else(missing)
}
