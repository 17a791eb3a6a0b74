//! Has one extra of a node captured. Without a required one there is no recovery point; of any other the point says why
//! it lacks it.

use crate::core::Core;
use crate::dispatch::{Answer, Grant, News, Patience};
use crate::fault::Fault;
use crate::ingest::session::IngestSlot;
use crate::job::feed::JobFeed;
use crate::job::log::Level;
use crate::job::{BackupWork, CommittedExtra, ExtraState};
use holdfast_decide::ExtraStep;
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{ByteCount, JobId};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest reason that is kept, in characters.
const MAX_WHY: usize = 2000;

/// Captures it, or records that it is missing.
///
/// # Errors
/// What failed a required one; a cancel; a failing catalogue.
pub(super) async fn capture(
    core: &Arc<Core>,
    id: &JobId,
    feed: &Arc<JobFeed>,
    cancel: &CancellationToken,
    work: &BackupWork,
    index: usize,
) -> Result<(), Fault> {
    let step = &work.plan.extras[index];
    let what = format!("extra {} of node {}", step.name, step.node);
    let answer = ask(core, id, feed, cancel, work, index).await;
    match (answer, committed(core, id, index).await) {
        (Ok(Answer::Extra(done)), Some(extra)) => {
            told(core, id, index, &done).await?;
            feed.note(core.clock.now(), captured_note(&what, &done, &extra));
            for warning in extra.extra.warnings.iter().chain(&done.warnings) {
                feed.warn(core.clock.now(), format!("{what}: {warning}"));
            }
            Ok(())
        }
        // However its agent sees it: what is committed is captured.
        (Ok(_) | Err(_), Some(_)) => Ok(()),
        (Ok(_), None) => {
            let why = "its agent says that it is captured, but has not committed it";
            missing(core, id, feed, step, index, Fault::new(Code::Internal, why)).await
        }
        (Err(fault), None) if stops_all(fault.known_code()) || cancel.is_cancelled() => Err(fault),
        (Err(fault), None) => missing(core, id, feed, step, index, fault).await,
    }
}

/// Whether a failure is none of the extra's own.
fn stops_all(code: Code) -> bool {
    matches!(code, Code::Cancelled | Code::StaleEpoch)
}

async fn ask(
    core: &Arc<Core>,
    id: &JobId,
    feed: &Arc<JobFeed>,
    cancel: &CancellationToken,
    work: &BackupWork,
    index: usize,
) -> Result<Answer, Fault> {
    let step = &work.plan.extras[index];
    let command = work.extra_id(id, index);
    let command = command.map_err(|error| Fault::from_error(Code::Internal, &error))?;
    let grant = Grant::Extra {
        job: id.clone(),
        index,
        slot: Arc::new(IngestSlot::default()),
    };
    let body = v1::command::Command::CaptureExtra(v1::CaptureExtra {
        name: step.name.to_string(),
        recovery_point: work.point.to_string(),
        job_id: id.to_string(),
    });
    core.check_epoch().await?;
    let issued = core
        .dispatcher
        .issue(command, step.node.clone(), body, grant)?;
    let limits = &core.limits;
    let patience = Patience {
        away: if step.required {
            limits.agent_grace
        } else {
            limits.replica_grace.min(limits.agent_grace)
        },
        ..core.patience()
    };
    let begins = format!(
        "capture of extra {} of node {} begins",
        step.name, step.node
    );
    feed.log(core.clock.now(), Level::Info, begins);
    let mut stage = String::new();
    let follow = |news: News| match news {
        News::Progress(progress) if progress.stage != stage => {
            let line = format!(
                "extra {} of node {}: {}",
                step.name, step.node, progress.stage
            );
            feed.log(core.clock.now(), Level::Info, line);
            stage = progress.stage;
        }
        News::Progress(_) => {}
        News::Away(node) => {
            let line = format!("the agent of node {node} is away: waiting for it");
            feed.warn(core.clock.now(), line);
        }
        News::Back(node) => {
            let line = format!("the agent of node {node} is back");
            feed.note(core.clock.now(), line);
        }
    };
    issued.wait(patience, cancel, follow).await
}

/// Without a required one there is no point; what others lack is recorded.
async fn missing(
    core: &Core,
    id: &JobId,
    feed: &JobFeed,
    step: &ExtraStep,
    index: usize,
    fault: Fault,
) -> Result<(), Fault> {
    if step.required {
        let what = format!(
            "required extra {} of node {}, without which there is no recovery point",
            step.name, step.node
        );
        return Err(fault.within(&what));
    }
    let why: String = fault.message.chars().take(MAX_WHY).collect();
    let line = format!(
        "the recovery point will lack extra {} of node {}: {why}",
        step.name, step.node
    );
    tracing::warn!(job = %id, node = %step.node, extra = %step.name, reason = why, "an extra is not captured");
    feed.warn(core.clock.now(), line);
    let state = ExtraState::Missing { why };
    let changed = core.book.change(id, |job| {
        let Some(backup) = job.backup_mut() else {
            return;
        };
        // What was committed meanwhile is captured, and its agent was told so.
        match backup.extras.get(&index) {
            Some(ExtraState::Captured(_)) => {}
            Some(ExtraState::Missing { .. }) | None => {
                backup.extras.insert(index, state);
            }
        }
    });
    changed.await.map(drop)
}

async fn committed(core: &Core, id: &JobId, index: usize) -> Option<CommittedExtra> {
    let record = core.book.get(id).await?;
    match record.backup()?.extras.get(&index)? {
        ExtraState::Captured(extra) => Some((**extra).clone()),
        ExtraState::Missing { .. } => None,
    }
}

/// The agent also knows what was sent to an earlier life of this coordinator, and how its last hook ended.
async fn told(core: &Core, id: &JobId, index: usize, done: &v1::ExtraDone) -> Result<(), Fault> {
    let changed = core.book.change(id, |job| {
        let extras = job.backup_mut().map(|backup| &mut backup.extras);
        let state = extras.and_then(|extras| extras.get_mut(&index));
        if let Some(ExtraState::Captured(extra)) = state {
            extra.sent_bytes = extra.sent_bytes.max(done.sent_bytes);
            let warnings = &mut extra.extra.warnings;
            let new = done.warnings.iter().filter(|new| !warnings.contains(new));
            let new: Vec<String> = new
                .take(1)
                .map(|w| w.chars().take(MAX_WHY).collect())
                .collect();
            warnings.extend(new);
        }
    });
    changed.await.map(drop)
}

fn captured_note(what: &str, done: &v1::ExtraDone, extra: &CommittedExtra) -> String {
    format!(
        "captured {what}: {} files, {} in {:.1} s, {} sent, {} stored",
        extra.extra.files,
        ByteCount(extra.extra.bytes),
        Duration::from_millis(done.elapsed_ms).as_secs_f64(),
        ByteCount(done.sent_bytes.max(extra.sent_bytes)),
        ByteCount(extra.stored_bytes),
    )
}
