//! Makes the steps of a job of its record.

use super::{Live, Step, StepAction, StepState};
use crate::job::feed::ProgressKey;
use crate::job::pace::Rate;
use crate::job::{
    BackupWork, CapturedShard, JobRecord, JobState, RestoreWork, RestoredStep, ShardUpload, Work,
    restore_id,
};
use holdfast_decide::{CaptureStep, RestoreStep};
use holdfast_types::{CaptureId, CollectionName, NodeId, ShardId};

/// The steps of a job, in the order of its plan.
#[must_use]
pub fn steps(job: &JobRecord, live: &Live) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(backup) = job.backup() {
        let action = match &job.work {
            Work::Backup(work) if work.imported_by.is_some() => StepAction::TakeIn,
            Work::Backup(_) => StepAction::Capture,
            Work::Restore(_) | Work::Upkeep(_) => StepAction::SafetyCapture,
        };
        let costs = backup.costs();
        let captures = backup.plan.captures.iter().enumerate();
        steps.extend(captures.map(|(index, step)| {
            let cost = costs.get(&index).copied();
            capture(job, backup, (index, step), cost, action, live)
        }));
    }
    let Work::Restore(work) = &job.work else {
        return steps;
    };
    for (index, step) in work.plan.steps.iter().enumerate() {
        let done = work.done.get(index);
        if work.plan.in_cluster {
            let shards = step.shard_sizes.iter();
            steps.extend(shards.map(|(shard, bytes)| {
                let mut made = upload(job, work, (index, step), *shard, live);
                made.guess(Some(*bytes));
                made
            }));
        } else {
            steps.push(restore(job, work, (index, step), done, live));
        }
    }
    steps
}

impl Step {
    fn new(
        action: StepAction,
        node: Option<NodeId>,
        collection: &CollectionName,
        shard: Option<ShardId>,
        state: StepState,
    ) -> Self {
        let begun = match state {
            StepState::Running | StepState::Waiting | StepState::Done => 1,
            StepState::Pending | StepState::Failed | StepState::LeftOut | StepState::NotDone => 0,
        };
        Self {
            action,
            node,
            collection: collection.clone(),
            shard,
            state,
            stage: String::new(),
            done: 0,
            total: None,
            total_estimated: false,
            sent: 0,
            rate: None,
            tries: begun,
            failures: Vec::new(),
        }
    }

    /// It is done, and was so large.
    fn came_to(&mut self, bytes: u64, sent: u64, millis: u64) {
        self.done = bytes;
        self.total = Some(bytes);
        self.sent = sent;
        self.rate = Rate::over(bytes, millis);
    }

    /// What its agent has told, of a step that is not done.
    fn add_figures(&mut self, live: &Live) {
        let told = match &self.node {
            Some(node) if self.is_under_way() => {
                let key = ProgressKey {
                    node: node.clone(),
                    collection: self.collection.clone(),
                    shard: self.shard.unwrap_or(ShardId(0)),
                };
                live.figures.get(&key)
            }
            Some(_) | None => None,
        };
        let Some(told) = told else { return };
        self.stage.clone_from(&told.progress.stage);
        self.done = told.progress.bytes_done;
        self.total = (told.progress.bytes_total > 0).then_some(told.progress.bytes_total);
        self.sent = told.progress.bytes_sent;
        self.rate = told.rate;
    }

    /// How large it will be, as far as that can be said before its agent does.
    fn guess(&mut self, bytes: Option<u64>) {
        if self.total.is_none() && self.state != StepState::LeftOut {
            self.total = bytes;
            self.total_estimated = bytes.is_some();
        }
    }

    fn is_under_way(&self) -> bool {
        matches!(self.state, StepState::Running | StepState::Waiting)
    }
}

fn capture(
    job: &JobRecord,
    backup: &BackupWork,
    (index, step): (usize, &CaptureStep),
    cost: Option<CapturedShard>,
    action: StepAction,
    live: &Live,
) -> Step {
    let command = backup.capture_id(&job.id, index).ok();
    let open = command.and_then(|id| live.open.get(&id));
    let failed = backup.failed.iter().filter(|failed| failed.index == index);
    let failures: Vec<(NodeId, String)> = failed
        .map(|failed| (failed.node.clone(), failed.why.clone()))
        .collect();
    let state = if cost.is_some() {
        StepState::Done
    } else if backup.dropped.contains(&index) {
        StepState::LeftOut
    } else {
        let failed = failures.iter().any(|(node, _)| *node == step.node);
        unfinished(job, open.is_some(), failed, &step.node, live)
    };
    let node = Some(step.node.clone());
    let mut made = Step::new(action, node, &step.collection, Some(step.shard), state);
    made.tries += u32::try_from(failures.len()).unwrap_or(u32::MAX);
    made.failures = failures;
    if let Some(cost) = cost {
        made.came_to(cost.logical_bytes, cost.sent_bytes, cost.elapsed_ms);
        return made;
    }
    made.sent = open.copied().flatten().unwrap_or(0);
    made.add_figures(live);
    let size = live.expected.get(&(step.collection.clone(), step.shard));
    made.guess(size.copied());
    made
}

/// A collection that one node's agent brings back.
fn restore(
    job: &JobRecord,
    work: &RestoreWork,
    (index, step): (usize, &RestoreStep),
    done: Option<&RestoredStep>,
    live: &Live,
) -> Step {
    let open = restore_id(&job.id, index).is_ok_and(|id| live.open.contains_key(&id));
    let ended = job.state != JobState::Running;
    let state = match done {
        Some(_) => StepState::Done,
        // The first failure ends the job.
        None => unfinished(job, open, ended && index < work.begun, &work.node, live),
    };
    let node = Some(work.node.clone());
    let mut made = Step::new(StepAction::Restore, node, &step.target, None, state);
    match done {
        Some(done) => made.came_to(done.uploaded_bytes, done.uploaded_bytes, done.elapsed_ms),
        None => {
            made.add_figures(live);
            made.guess(Some(step.logical_bytes));
        }
    }
    made.tries += u32::from(state == StepState::Failed);
    made
}

/// A shard that is brought back into a cluster.
fn upload(
    job: &JobRecord,
    work: &RestoreWork,
    (index, step): (usize, &RestoreStep),
    shard: ShardId,
    live: &Live,
) -> Step {
    let done = work.done.get(index);
    let parts = work.parts.as_ref().filter(|parts| parts.step == index);
    let uploads = done
        .map(|done| &done.uploads)
        .or(parts.map(|parts| &parts.uploads));
    let upload = uploads.and_then(|uploads| uploads.get(&shard));
    let state = match upload {
        _ if done.is_some() => StepState::Done,
        Some(upload) if upload.done => StepState::Done,
        Some(upload) => {
            let open =
                upload_id(job, index, shard, upload).is_some_and(|id| live.open.contains_key(&id));
            unfinished(job, open, upload.failed, &upload.node, live)
        }
        None if job.state == JobState::Running => StepState::Pending,
        None => StepState::NotDone,
    };
    let node = upload.map(|upload| upload.node.clone());
    let action = StepAction::Upload;
    let mut made = Step::new(action, node, &step.target, Some(shard), state);
    match upload {
        Some(upload) if state == StepState::Done => made.came_to(upload.bytes, upload.bytes, 0),
        Some(_) | None => made.add_figures(live),
    }
    made.tries = upload.map_or(0, |upload| upload.tries);
    made
}

/// How a step stands that is neither done nor left out.
fn unfinished(job: &JobRecord, open: bool, failed: bool, node: &NodeId, live: &Live) -> StepState {
    match (job.state, open) {
        (JobState::Running, true) if live.away.contains(node) => StepState::Waiting,
        (JobState::Running, true) => StepState::Running,
        (_, _) if failed => StepState::Failed,
        (JobState::Running, false) => StepState::Pending,
        (
            JobState::Succeeded | JobState::Failed | JobState::Cancelled | JobState::Interrupted,
            _,
        ) => StepState::NotDone,
    }
}

/// The command of an upload, as it is given.
fn upload_id(
    job: &JobRecord,
    index: usize,
    shard: ShardId,
    upload: &ShardUpload,
) -> Option<CaptureId> {
    let step = restore_id(&job.id, index).ok()?;
    format!("{step}-u{shard}-{}", upload.tries).parse().ok()
}
