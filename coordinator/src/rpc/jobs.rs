//! What operators and viewers ask of one job.

use super::follow::{Events, follow, told};
use super::{apart, peer, wire};
use crate::catalog::PointSummary;
use crate::core::Core;
use crate::execute;
use crate::fault::Fault;
use crate::job::log::{Level, LogLine, Rows, dropped};
use crate::job::pace::Rate;
use crate::job::steps::{self, Live, Overall, Step, StepAction, StepState};
use crate::job::upkeep::{Extent, UpkeepWork};
use crate::job::{JobRecord, JobState, Work};
use crate::{upkeep, verify};
use holdfast_proto::v1;
use holdfast_proto::v1::job_event::Event;
use holdfast_proto::v1::jobs_server::Jobs;
use holdfast_types::{JobId, NodeId, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone, Debug)]
pub struct JobsService(Arc<Core>);

impl JobsService {
    /// The service of this coordinator.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self(core)
    }

    async fn log(&self, id: &JobId) -> Result<Rows, Fault> {
        self.0.book.log(id).await
    }
}

#[tonic::async_trait]
impl Jobs for JobsService {
    type WatchJobStream = Events;
    type VerifyRepositoryStream = Events;

    async fn show_job(
        &self,
        request: Request<v1::ShowJobRequest>,
    ) -> Result<Response<v1::JobDetail>, Status> {
        let job = self.0.book.find(&request.into_inner().job_id).await?;
        let log = self.log(&job.id).await?;
        let steps = steps::steps(&job, &live(&self.0, &job).await);
        let (note, safety) = match &job.work {
            Work::Backup(work) => (work.note.clone(), None),
            Work::Restore(work) => (String::new(), work.safety.as_ref()),
            Work::Upkeep(_) => (String::new(), None),
        };
        let run = job.upkeep().map(|work| Standing::of(&self.0, &job, work));
        let totals = match &run {
            Some(run) => run.totals(),
            None => totals(steps::overall(&steps)),
        };
        let safety = safety.map(|safety| safety.point.to_string());
        Ok(Response::new(v1::JobDetail {
            job: Some(wire::job_summary(&job)),
            cancel_requested: job.cancel_requested,
            note,
            totals: Some(totals),
            steps: steps.into_iter().map(step).collect(),
            log_dropped: dropped(&log),
            log: log.into_iter().map(line).collect(),
            safety_recovery_point: safety.unwrap_or_default(),
            upkeep: run.map(|run| run.summary),
        }))
    }

    async fn watch_job(
        &self,
        request: Request<v1::WatchJobRequest>,
    ) -> Result<Response<Events>, Status> {
        let text = request.into_inner().job_id;
        let job = self.0.book.find(&text).await?;
        if let Some(feed) = self.0.book.feed(&job.id) {
            return Ok(Response::new(follow(&self.0, feed)));
        }
        // Without a feed it has ended, perhaps just now.
        let job = self.0.book.find(job.id.as_str()).await?;
        let log = self.log(&job.id).await?;
        let points = self.0.catalog.points().await.unwrap_or_default();
        let point = points.iter().find(|point| Some(&point.id) == job.point());
        Ok(Response::new(told(&self.0, history(&job, log, point))))
    }

    async fn verify_repository(
        &self,
        request: Request<v1::VerifyRepositoryRequest>,
    ) -> Result<Response<Events>, Status> {
        let asker = peer::in_words(&request)?;
        let percent = request.into_inner().percent;
        let core = Arc::clone(&self.0);
        let feed = apart(async move { verify::ask(&core, percent, &asker).await }).await?;
        Ok(Response::new(follow(&self.0, feed)))
    }
}

/// What is known of the moment, as far as it concerns the job.
async fn live(core: &Core, job: &JobRecord) -> Live {
    let mut live = Live {
        expected: core.book.sizes().await,
        ..Live::default()
    };
    if job.state != JobState::Running {
        return live;
    }
    if let Some(feed) = core.book.feed(&job.id) {
        live.figures = feed.figures(core.clock.now());
    }
    let ours = format!("{}-", job.id);
    let open = core.dispatcher.open(|id| id.as_str().starts_with(&ours));
    live.open.extend(open.into_iter().map(|id| (id, None)));
    let delivered = core.imports.delivered().into_iter();
    live.open
        .extend(delivered.map(|(id, bytes)| (id, Some(bytes))));
    if job
        .backup()
        .is_none_or(|backup| backup.imported_by.is_none())
    {
        let nodes = nodes_of(job).into_iter();
        live.away = nodes.filter(|node| core.dispatcher.is_away(node)).collect();
    }
    live
}

fn nodes_of(job: &JobRecord) -> BTreeSet<NodeId> {
    let captures = job.backup().into_iter().flat_map(|b| &b.plan.captures);
    let mut nodes: BTreeSet<NodeId> = captures.map(|step| step.node.clone()).collect();
    if let Work::Restore(work) = &job.work {
        nodes.insert(work.node.clone());
        let receivers = work.plan.receivers.iter();
        nodes.extend(receivers.map(|receiver| receiver.node.clone()));
    }
    nodes
}

/// Everything that a follower of an ended job would have seen, but for the figures in between.
fn history(job: &JobRecord, log: Rows, point: Option<&PointSummary>) -> Vec<v1::JobEvent> {
    let event = |at: Timestamp, event| v1::JobEvent {
        job_id: job.id.to_string(),
        at_us: at.as_micros(),
        event: Some(event),
    };
    let started = v1::JobStarted {
        kind: job.kind().to_owned(),
        plan: job.plan_lines(),
    };
    let ended_at = job.ended.unwrap_or(job.started);
    let mut ended = v1::JobEnded {
        state: execute::state_on_wire(job.state).into(),
        failure: job.failure.as_ref().map(Fault::to_wire),
        ..Default::default()
    };
    match &job.work {
        Work::Backup(_) if job.state != JobState::Succeeded => {}
        Work::Backup(_) => ended.backup = Some(brought(job, point)),
        Work::Restore(_) if job.state != JobState::Succeeded => {}
        Work::Restore(work) => {
            ended.restore = Some(execute::restore_summary(work, ended_at.since(job.started)));
        }
        Work::Upkeep(work) => {
            ended.upkeep = Some(upkeep::summary(&work.task, "", work.extent, &work.found));
        }
    }
    let mut events = vec![event(job.started, Event::Started(started))];
    let notes = log.into_values();
    events.extend(notes.map(|line| event(line.at, Event::Note(line.text))));
    events.push(event(ended_at, Event::Ended(ended)));
    events
}

/// The recovery point that a job made; of one that is deleted by now, what the job knows of it.
fn brought(job: &JobRecord, point: Option<&PointSummary>) -> v1::BackupSummary {
    if let Some(point) = point {
        return wire::backup_summary(point);
    }
    let Some(work) = job.backup() else {
        return v1::BackupSummary::default();
    };
    let costs = work.costs();
    let ended = job.ended.unwrap_or(work.begun);
    v1::BackupSummary {
        recovery_point: work.point.to_string(),
        begun_us: work.begun.as_micros(),
        committed_us: ended.as_micros(),
        collections: work
            .plan
            .collections
            .iter()
            .map(ToString::to_string)
            .collect(),
        logical_bytes: costs.values().map(|cost| cost.logical_bytes).sum(),
        sent_bytes: costs.values().map(|cost| cost.sent_bytes).sum(),
        stored_bytes: costs.values().map(|cost| cost.stored_bytes).sum(),
        note: work.note.clone(),
        elapsed_ms: millis(ended.since(work.begun)),
        tags: work.tags.iter().map(ToString::to_string).collect(),
        imported: work.imported_by.is_some(),
        left_out: work.left_out.iter().map(|what| what.why.clone()).collect(),
        ..Default::default()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How a run of upkeep stands.
struct Standing {
    summary: v1::UpkeepSummary,
    extent: Extent,
    rate: Option<Rate>,
}

impl Standing {
    fn of(core: &Core, job: &JobRecord, work: &UpkeepWork) -> Self {
        let feed = core.book.feed(&job.id);
        let told = feed.and_then(|feed| feed.whole(core.clock.now()));
        let (stage, extent, rate) = told.unwrap_or((String::new(), work.extent, None));
        Self {
            summary: upkeep::summary(&work.task, &stage, extent, &work.found),
            extent,
            rate,
        }
    }

    fn totals(&self) -> v1::JobTotals {
        let extent = self.extent;
        let left = extent
            .bytes_total
            .map(|total| total.saturating_sub(extent.bytes));
        let remaining = self
            .rate
            .zip(left)
            .and_then(|(rate, left)| rate.time_for(left));
        v1::JobTotals {
            bytes_done: extent.bytes,
            bytes_total: extent.bytes_total,
            total_estimated: extent.estimated,
            rate: self.rate.map(|rate| rate.0),
            remaining_ms: remaining.map(millis),
        }
    }
}

fn totals(all: Overall) -> v1::JobTotals {
    v1::JobTotals {
        bytes_done: all.done,
        bytes_total: all.total,
        total_estimated: all.estimated,
        rate: all.rate.map(|rate| rate.0),
        remaining_ms: all.remaining.map(millis),
    }
}

fn step(step: Step) -> v1::JobStep {
    let remaining = step.remaining();
    let failures = step.failures.into_iter();
    v1::JobStep {
        action: action(step.action).into(),
        node: step.node.map(|node| node.to_string()).unwrap_or_default(),
        collection: step.collection.to_string(),
        shard_id: step.shard.map(|shard| shard.0),
        state: state(step.state).into(),
        stage: step.stage,
        bytes_done: step.done,
        bytes_total: step.total,
        total_estimated: step.total_estimated,
        bytes_sent: step.sent,
        rate: step.rate.map(|Rate(rate)| rate),
        remaining_ms: remaining.map(millis),
        tries: step.tries,
        failures: failures
            .map(|(node, why)| v1::StepFailure {
                node: node.to_string(),
                why,
            })
            .collect(),
    }
}

fn action(action: StepAction) -> v1::StepAction {
    match action {
        StepAction::Capture => v1::StepAction::Capture,
        StepAction::SafetyCapture => v1::StepAction::SafetyCapture,
        StepAction::TakeIn => v1::StepAction::TakeIn,
        StepAction::Restore => v1::StepAction::Restore,
        StepAction::Upload => v1::StepAction::Upload,
    }
}

fn state(state: StepState) -> v1::StepState {
    match state {
        StepState::Pending => v1::StepState::Pending,
        StepState::Running => v1::StepState::Running,
        StepState::Waiting => v1::StepState::Waiting,
        StepState::Done => v1::StepState::Done,
        StepState::Failed => v1::StepState::Failed,
        StepState::LeftOut => v1::StepState::LeftOut,
        StepState::NotDone => v1::StepState::NotDone,
    }
}

fn line((number, line): (u64, LogLine)) -> v1::JobLogLine {
    v1::JobLogLine {
        at_us: line.at.as_micros(),
        warning: line.level == Level::Warning,
        text: line.text,
        number,
    }
}
