//! Carrying out recorded jobs. There is no choice left here: a job does what its plan says, or fails.
//!
//! Each job is one task. When the process ends, the task just stops and the record stays "running": the
//! next start goes on with it, commands keep their ids, and what is committed is kept.

use crate::core::Core;
use crate::fault::Fault;
use crate::job::feed::JobFeed;
use crate::job::log::Level;
use crate::job::{BackupWork, JobRecord, JobState, RestoreWork, Work};
use crate::plan;
use holdfast_certs::Identity;
use holdfast_proto::convert::{BackupOrder, ImportOrder, RestoreOrder};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{JobId, RecoveryPointId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

mod backup;
mod extra;
mod import;
mod manifest;
mod restore;
mod settle;

pub use restore::brought as restore_summary;

/// How often what a job's log has gained is written, so much of it a crash may cost.
pub(crate) const LOG_EVERY: Duration = Duration::from_secs(2);

/// Longest pause before the catalogue is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Plans, records and starts a backup.
///
/// # Errors
/// What speaks against it.
pub async fn start_backup(
    core: &Arc<Core>,
    asked_by: String,
    order: &BackupOrder,
) -> Result<Arc<JobFeed>, Fault> {
    let plan = plan::backup(core, order).await?;
    let reasons = plan.reasons.clone();
    let point = new_point_id(core)?;
    let work = BackupWork {
        point: point.clone(),
        begun: core.clock.now(),
        note: order.note.clone(),
        tags: order.tags.iter().cloned().collect(),
        safety_for: None,
        imported_by: None,
        plan,
        committed: BTreeMap::new(),
        repeats: BTreeMap::new(),
        extras: BTreeMap::new(),
        extra_repeats: BTreeMap::new(),
        failed: Vec::new(),
        dropped: BTreeSet::new(),
        left_out: Vec::new(),
        captured: BTreeMap::new(),
        done: false,
    };
    let work = Work::Backup(Box::new(work));
    start(core, &point, asked_by, work, reasons).await
}

/// Records and starts an import: the caller delivers the shards.
///
/// # Errors
/// What speaks against it.
pub async fn start_import(
    core: &Arc<Core>,
    caller: &Identity,
    order: ImportOrder,
) -> Result<Arc<JobFeed>, Fault> {
    let point = new_point_id(core)?;
    let work = import::work(core, caller, order, point.clone())?;
    let hint = "the shards come from a snapshot file; `latest` never means this recovery point";
    let work = Work::Backup(Box::new(work));
    let asked_by = format!("{} {}", caller.role(), caller.name());
    start(core, &point, asked_by, work, vec![hint.to_owned()]).await
}

/// Plans, records and starts a restore.
///
/// # Errors
/// What speaks against it.
pub async fn start_restore(
    core: &Arc<Core>,
    asked_by: String,
    order: &RestoreOrder,
) -> Result<Arc<JobFeed>, Fault> {
    // Until it is recorded that the point is in use, nobody may begin to remove it.
    let _not_removing = core.retention.removing.lock().await;
    let mut plan = plan::restore(core, order).await?;
    let node = plan
        .node
        .clone()
        .ok_or_else(|| Fault::new(Code::Internal, "the plan names no node"))?;
    let id = new_point_id(core)?;
    let mut notes = plan.warnings.clone();
    notes.extend(plan.order_line());
    let safety = plan.safety.take().map(|captures| BackupWork {
        point: id.clone(),
        begun: core.clock.now(),
        note: format!("taken before {} was restored over it", plan.point),
        tags: BTreeSet::new(),
        safety_for: Some(plan.point.clone()),
        imported_by: None,
        plan: captures,
        committed: BTreeMap::new(),
        repeats: BTreeMap::new(),
        extras: BTreeMap::new(),
        extra_repeats: BTreeMap::new(),
        failed: Vec::new(),
        dropped: BTreeSet::new(),
        left_out: Vec::new(),
        captured: BTreeMap::new(),
        done: false,
    });
    let work = RestoreWork {
        plan,
        node,
        from_copy: order.from_copy.clone(),
        safety,
        begun: 0,
        resumed: false,
        done: Vec::new(),
        parts: None,
    };
    let work = Work::Restore(Box::new(work));
    start(core, &id, asked_by, work, notes).await
}

/// Goes on with every job that was running when the process ended.
pub async fn resume(core: &Arc<Core>) {
    for record in core.book.list().await {
        if !record.is_busy() {
            continue;
        }
        tracing::info!(job = %record.id, "going on with a job of before the restart");
        let Some(feed) = core.book.feed(&record.id) else {
            continue;
        };
        feed.started(record.started, record.kind(), record.plan_lines());
        feed.warn(
            core.clock.now(),
            "goes on after a restart of the coordinator",
        );
        if record.cancel_requested {
            // It begins nothing more, and ends with a word on how far it got.
            core.cancel_token(&record.id).cancel();
        }
        let (core, id) = (Arc::clone(core), record.id);
        let tracker = core.shutdown.clone();
        drop(tracker.spawn(async move {
            if move_to_our_epoch(&core, &id).await.is_some() {
                let cancel = core.cancel_token(&id);
                run(&core, &id, &feed, &cancel).await;
            }
        }));
    }
}

/// `None` if the process ends before it could be recorded.
async fn move_to_our_epoch(core: &Core, id: &JobId) -> Option<()> {
    let mut retry = Retry::default();
    while let Err(error) = core.book.change(id, |job| job.move_to(core.epoch)).await {
        tracing::error!(job = %id, %error, "a job can't go on before that can be recorded");
        retry.pause(core).await?;
    }
    Some(())
}

/// Waits longer each time for the catalogue to become writable.
#[derive(Debug)]
struct Retry(Duration);

impl Default for Retry {
    fn default() -> Self {
        Self(Duration::from_millis(500))
    }
}

impl Retry {
    /// `None` if the process ends.
    async fn pause(&mut self, core: &Core) -> Option<()> {
        let ended = core.shutdown.token().cancelled_owned();
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        let slept = tokio::time::timeout(pause, ended).await;
        slept.err().map(drop)
    }
}

/// Asks a job to stop, for `asker`. Returns whether it was running. That it was asked is durable when this returns.
///
/// # Errors
/// A failing catalogue; the job stops all the same unless the process ends before it has.
pub async fn cancel(core: &Core, record: &JobRecord, asker: &str) -> Result<bool, Fault> {
    let id = &record.id;
    if record.state != JobState::Running {
        return Ok(false);
    }
    if let Some(feed) = core.book.feed(id) {
        feed.warn(core.clock.now(), format!("{asker} asks to cancel it"));
    }
    let asked = core.book.change(id, |job| job.cancel_requested = true);
    let asked = asked.await;
    core.cancel_token(id).cancel();
    asked.map(|record| record.state == JobState::Running)
}

async fn start(
    core: &Arc<Core>,
    point: &RecoveryPointId,
    asked_by: String,
    work: Work,
    remarks: Vec<String>,
) -> Result<Arc<JobFeed>, Fault> {
    let id = JobRecord::new_id(work.kind(), point)
        .map_err(|error| Fault::from_error(Code::Internal, &error))?;
    core.check_epoch().await?;
    let record = JobRecord::begun(id.clone(), core.clock.now(), asked_by, work);
    let (kind, lines) = (record.kind(), record.plan_lines());
    let begins = format!("{kind} begins, asked for by {}", record.asked_by);
    let feed = core.book.begin(record).await?;
    tracing::info!(job = %id, steps = lines.len(), "begins");
    feed.started(core.clock.now(), kind, lines);
    feed.log(core.clock.now(), Level::Info, begins);
    for remark in remarks {
        feed.note(core.clock.now(), remark);
    }
    spawn(core, id, Arc::clone(&feed));
    Ok(feed)
}

fn spawn(core: &Arc<Core>, id: JobId, feed: Arc<JobFeed>) {
    let (core, cancel) = (Arc::clone(core), core.cancel_token(&id));
    let tracker = core.shutdown.clone();
    drop(tracker.spawn(async move { run(&core, &id, &feed, &cancel).await }));
}

async fn run(core: &Arc<Core>, id: &JobId, feed: &Arc<JobFeed>, cancel: &CancellationToken) {
    let stop = core.shutdown.token();
    let outcome = tokio::select! {
        biased;
        () = stop.cancelled() => {
            let text = "the coordinator stops; the job goes on when it is back";
            feed.log(core.clock.now(), Level::Info, text);
            write_log(core, id).await;
            return;
        }
        outcome = Box::pin(carry_out(core, id, feed, cancel)) => outcome,
        () = keep_log(core, id) => return,
    };
    let (mut ended, failure) = match outcome {
        Ok(ended) => (ended, None),
        Err(fault) => (v1::JobEnded::default(), Some(fault)),
    };
    let state = match &failure {
        None => JobState::Succeeded,
        Some(_) if cancel.is_cancelled() => JobState::Cancelled,
        Some(_) => JobState::Failed,
    };
    match &failure {
        None => tracing::info!(job = %id, "succeeded"),
        Some(fault) => tracing::warn!(job = %id, code = fault.code, reason = %fault, "ended early"),
    }
    let now = core.clock.now();
    match &failure {
        None => feed.log(now, Level::Info, "succeeded"),
        Some(fault) => {
            let word = if state == JobState::Cancelled {
                "cancelled"
            } else {
                "failed"
            };
            let text = format!("{word}: {}: {fault}", fault.code);
            feed.log(now, Level::Warning, text);
        }
    }
    // A job that is over but not recorded so would keep every other one from running.
    let mut retry = Retry::default();
    while let Err(error) = core.book.end(id, state, now, failure.clone()).await {
        tracing::error!(job = %id, %error, "the end of a job could not be recorded; trying again");
        if retry.pause(core).await.is_none() {
            return;
        }
    }
    core.forget_cancel_token(id);
    ended.state = state_on_wire(state).into();
    ended.failure = failure.as_ref().map(Fault::to_wire);
    feed.ended(now, ended);
    core.book.forget_feed(id);
}

/// Writes what the log gains, every now and then; what the record of the job gains takes it along at once. Never ends.
async fn keep_log(core: &Core, id: &JobId) {
    loop {
        tokio::time::sleep(LOG_EVERY).await;
        write_log(core, id).await;
    }
}

pub(crate) async fn write_log(core: &Core, id: &JobId) {
    if let Err(error) = core.book.write_log(id).await {
        tracing::warn!(job = %id, %error, "the log of a job could not be written; trying again");
    }
}

async fn carry_out(
    core: &Arc<Core>,
    id: &JobId,
    feed: &Arc<JobFeed>,
    cancel: &CancellationToken,
) -> Result<v1::JobEnded, Fault> {
    core.check_epoch().await?;
    let record = recorded(core, id).await?;
    // What earlier lives of the job have stored is named by no manifest yet; what it restores must stay.
    let _kept = core.repository.protect();
    match record.work {
        Work::Backup(_) => {
            let summary = backup::run(core, id, feed, cancel).await?;
            Ok(v1::JobEnded {
                backup: Some(crate::rpc::wire::backup_summary(&summary)),
                ..Default::default()
            })
        }
        Work::Restore(_) => {
            let summary = restore::run(core, id, feed, cancel).await?;
            Ok(v1::JobEnded {
                restore: Some(summary),
                ..Default::default()
            })
        }
        Work::Upkeep(_) => Err(Fault::new(Code::Internal, "upkeep is not carried out here")),
    }
}

async fn recorded(core: &Core, id: &JobId) -> Result<JobRecord, Fault> {
    let record = core.book.get(id).await;
    record.ok_or_else(|| Fault::new(Code::Internal, format!("job {id} is not recorded")))
}

/// How a state is called on the wire.
#[must_use]
pub fn state_on_wire(state: JobState) -> v1::JobState {
    match state {
        JobState::Running => v1::JobState::Running,
        JobState::Succeeded => v1::JobState::Succeeded,
        JobState::Failed => v1::JobState::Failed,
        JobState::Cancelled => v1::JobState::Cancelled,
        JobState::Interrupted => v1::JobState::Interrupted,
    }
}

fn new_point_id(core: &Core) -> Result<RecoveryPointId, Fault> {
    let entropy = getrandom::u32()
        .map_err(|error| Fault::new(Code::Internal, format!("no random numbers: {error}")))?;
    Ok(RecoveryPointId::new(core.clock.now(), entropy))
}
