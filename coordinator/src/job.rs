//! What is recorded of a job: enough to go on with it after a crash, and to tell how it ended.
//!
//! A record is changed by whole values only and written before anything acts on the change.

use crate::fault::Fault;
use holdfast_archive::{CapturedExtra, CollectionEntry, LeftOut, ShardEntry};
use holdfast_decide::{BackupPlan, CaptureStep, ExtraStep, RestoreStep};
use holdfast_types::{CaptureId, Epoch, JobId, NodeId, RecoveryPointId, Tag, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use upkeep::UpkeepWork;

pub mod book;
pub mod feed;
pub mod log;
pub mod pace;
mod restore;
pub mod steps;
pub mod upkeep;

pub use restore::{ClusterParts, Prepared, RestoreWork, RestoredStep, ShardUpload};

/// One job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// How it stands.
    pub state: JobState,
    /// Who asked for it, in words; empty for a job of before this was recorded.
    #[serde(default)]
    pub asked_by: String,
    /// When it was recorded.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Whether somebody asked to stop it. Once this is set nothing more of it is begun, also after a
    /// restart.
    #[serde(default)]
    pub cancel_requested: bool,
    /// Why it failed or was cancelled.
    pub failure: Option<Fault>,
    /// What it does and how far it is.
    pub work: Work,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// Not ended; goes on after a restart, unless it is upkeep.
    Running,
    /// Did what was planned.
    Succeeded,
    /// Ended early.
    Failed,
    /// Ended on request.
    Cancelled,
    /// Upkeep that the end of the coordinator has ended.
    Interrupted,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Captures shards and commits a recovery point.
    Backup(Box<BackupWork>),
    /// Brings collections back.
    Restore(Box<RestoreWork>),
    /// Upkeep of the coordinator's own, or an export.
    Upkeep(Box<UpkeepWork>),
}

/// A backup and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackupWork {
    /// The recovery point it makes.
    pub point: RecoveryPointId,
    /// When it began.
    pub begun: Timestamp,
    /// Kept with the recovery point.
    pub note: String,
    /// Words that retention rules may name.
    #[serde(default)]
    pub tags: BTreeSet<Tag>,
    /// Set on a safety capture: the recovery point whose restore it precedes.
    pub safety_for: Option<RecoveryPointId>,
    /// Set on an import: the identity of the operator who delivers it, in place of agents.
    #[serde(default)]
    pub imported_by: Option<String>,
    /// What is captured.
    pub plan: BackupPlan,
    /// What is committed already, by index into the plan's captures.
    pub committed: BTreeMap<usize, CommittedShard>,
    /// How often a capture was begun again because what it had stored was no longer there, by its index.
    #[serde(default)]
    pub repeats: BTreeMap<usize, u32>,
    /// What came of the plan's extras, by their index.
    #[serde(default)]
    pub extras: BTreeMap<usize, ExtraState>,
    /// How often an extra was begun again for the same reason, by its index.
    #[serde(default)]
    pub extra_repeats: BTreeMap<usize, u32>,
    /// Captures that failed and were tried from another replica.
    #[serde(default)]
    pub failed: Vec<FailedCapture>,
    /// Captures of the plan, by index, that are left out because what they capture is there no more.
    #[serde(default)]
    pub dropped: BTreeSet<usize>,
    /// What came or went while the job ran and is not in the recovery point.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
    /// What the captures have cost, by index; known once the job has ended.
    #[serde(default)]
    pub captured: BTreeMap<usize, CapturedShard>,
    /// Set once the recovery point exists.
    pub done: bool,
}

/// What a capture has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedShard {
    /// Bytes of its files.
    pub logical_bytes: u64,
    /// Bytes that were sent for it.
    pub sent_bytes: u64,
    /// Bytes that it added to the repository.
    pub stored_bytes: u64,
    /// Milliseconds it took, as its agent says; 0 if nobody said.
    pub elapsed_ms: u64,
}

/// A capture that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCapture {
    /// Its index in the plan.
    pub index: usize,
    /// The node it was captured from.
    pub node: NodeId,
    /// Why it failed.
    pub why: String,
}

/// A capture whose chunks and recipe are durable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommittedShard {
    /// Its entry in the manifest.
    pub shard: ShardEntry,
    /// Its collection at capture time, without shards.
    pub collection: CollectionEntry,
    /// Bytes that were sent for it.
    pub sent_bytes: u64,
    /// Bytes that it added to the repository.
    pub stored_bytes: u64,
    /// Milliseconds it took, as its agent says; 0 until it says so.
    #[serde(default)]
    pub elapsed_ms: u64,
    /// Milliseconds for which it was held up for the searches of others.
    #[serde(default)]
    pub held_up_ms: u64,
}

/// What came of an extra.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtraState {
    /// Its chunks and recipe are durable.
    Captured(Box<CommittedExtra>),
    /// It could not be captured, and need not be.
    Missing {
        /// Why, in words.
        why: String,
    },
}

/// A captured extra.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommittedExtra {
    /// Its entry in the manifest.
    pub extra: CapturedExtra,
    /// Bytes that were sent for it.
    pub sent_bytes: u64,
    /// Bytes that it added to the repository.
    pub stored_bytes: u64,
}

impl Work {
    /// In one word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Backup(_) => "backup",
            Self::Restore(_) => "restore",
            Self::Upkeep(work) => work.task.kind(),
        }
    }
}

impl BackupWork {
    /// The captures that are still to be made, with their index.
    pub fn open(&self) -> impl Iterator<Item = (usize, &CaptureStep)> {
        let steps = self.plan.captures.iter().enumerate();
        steps.filter(|(index, _)| {
            !self.committed.contains_key(index) && !self.dropped.contains(index)
        })
    }

    /// The extras of which nothing has come yet, with their index.
    pub fn open_extras(&self) -> impl Iterator<Item = (usize, &ExtraStep)> {
        let steps = self.plan.extras.iter().enumerate();
        steps.filter(|(index, step)| step.absent.is_none() && !self.extras.contains_key(index))
    }

    /// The captured extras, with their index.
    pub fn captured_extras(&self) -> impl Iterator<Item = (usize, &CommittedExtra)> {
        self.extras.iter().filter_map(|(index, state)| match state {
            ExtraState::Captured(extra) => Some((*index, &**extra)),
            ExtraState::Missing { .. } => None,
        })
    }

    /// What the captures have cost so far, by index.
    #[must_use]
    pub fn costs(&self) -> BTreeMap<usize, CapturedShard> {
        let committed = self.committed.iter().map(|(index, shard)| {
            let cost = CapturedShard {
                logical_bytes: shard.shard.logical_bytes,
                sent_bytes: shard.sent_bytes,
                stored_bytes: shard.stored_bytes,
                elapsed_ms: shard.elapsed_ms,
            };
            (*index, cost)
        });
        let mut costs = self.captured.clone();
        costs.extend(committed);
        costs
    }

    /// Drops what is only needed to go on with it, and keeps what it has cost.
    pub fn forget_entries(&mut self) {
        self.captured = self.costs();
        self.committed.clear();
        self.extras.clear();
    }

    /// Notes what is not in the recovery point, once.
    pub fn leave_out(&mut self, what: LeftOut) {
        if !self.left_out.contains(&what) {
            self.left_out.push(what);
        }
    }

    /// The id of the command for the capture at `index`; stable, so that a restart re-sends the same. A capture that is
    /// repeated has another one each time, because its agent has done the former.
    ///
    /// # Errors
    /// Never for a job's own id; the names' rule is checked all the same.
    pub fn capture_id(
        &self,
        job: &JobId,
        index: usize,
    ) -> Result<CaptureId, holdfast_types::ParseNameError> {
        match self.repeats.get(&index) {
            None => format!("{job}-c{index}"),
            Some(nth) => format!("{job}-c{index}-again{nth}"),
        }
        .parse()
    }
}

impl BackupWork {
    /// The id of the command for the extra at `index`, as [`capture_id`](Self::capture_id) is of a shard's.
    ///
    /// # Errors
    /// As there.
    pub fn extra_id(
        &self,
        job: &JobId,
        index: usize,
    ) -> Result<CaptureId, holdfast_types::ParseNameError> {
        match self.extra_repeats.get(&index) {
            None => format!("{job}-x{index}"),
            Some(nth) => format!("{job}-x{index}-again{nth}"),
        }
        .parse()
    }
}

impl JobRecord {
    /// The id of a new job: its kind and the instant and entropy of a recovery point id.
    ///
    /// # Errors
    /// Never for the kinds of this program; the names' rule is checked all the same.
    pub fn new_id(
        kind: &str,
        point: &RecoveryPointId,
    ) -> Result<JobId, holdfast_types::ParseNameError> {
        format!("{kind}-{point}").parse()
    }

    /// A job that begins.
    #[must_use]
    pub fn begun(id: JobId, started: Timestamp, asked_by: String, work: Work) -> Self {
        Self {
            id,
            state: JobState::Running,
            asked_by,
            started,
            ended: None,
            cancel_requested: false,
            failure: None,
            work,
        }
    }

    /// In one word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.work.kind()
    }

    /// Whether it goes beside those that capture and restore.
    #[must_use]
    pub fn is_upkeep(&self) -> bool {
        matches!(self.work, Work::Upkeep(_))
    }

    /// Whether it captures or restores, and has not ended.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.state == JobState::Running && !self.is_upkeep()
    }

    /// The run of upkeep that it is.
    #[must_use]
    pub fn upkeep(&self) -> Option<&UpkeepWork> {
        match &self.work {
            Work::Upkeep(work) => Some(work),
            Work::Backup(_) | Work::Restore(_) => None,
        }
    }

    /// [`Self::upkeep`], to change it.
    pub fn upkeep_mut(&mut self) -> Option<&mut UpkeepWork> {
        match &mut self.work {
            Work::Upkeep(work) => Some(work),
            Work::Backup(_) | Work::Restore(_) => None,
        }
    }

    /// The recovery point it makes or reads.
    #[must_use]
    pub fn point(&self) -> Option<&RecoveryPointId> {
        match &self.work {
            Work::Backup(work) => Some(&work.point),
            Work::Restore(work) => Some(&work.plan.point),
            Work::Upkeep(work) => work.task.point(),
        }
    }

    /// The backup in it: itself, or a restore's safety capture.
    #[must_use]
    pub fn backup(&self) -> Option<&BackupWork> {
        match &self.work {
            Work::Backup(work) => Some(work),
            Work::Restore(work) => work.safety.as_ref(),
            Work::Upkeep(_) => None,
        }
    }

    /// [`Self::backup`], to change it.
    pub fn backup_mut(&mut self) -> Option<&mut BackupWork> {
        match &mut self.work {
            Work::Backup(work) => Some(work),
            Work::Restore(work) => work.safety.as_mut(),
            Work::Upkeep(_) => None,
        }
    }

    /// Moves the job under the term that goes on with it: what is not done yet is ordered by that one.
    pub fn move_to(&mut self, epoch: Epoch) {
        if let Work::Restore(work) = &mut self.work {
            work.plan.epoch = epoch;
            work.resumed = true;
        }
        if let Some(backup) = self.backup_mut() {
            backup.plan.epoch = epoch;
        }
    }

    /// The plan, one line a step.
    #[must_use]
    pub fn plan_lines(&self) -> Vec<String> {
        let captures = self.backup().into_iter().flat_map(|b| &b.plan.captures);
        let mut lines: Vec<String> = match &self.work {
            Work::Backup(work) if work.imported_by.is_some() => captures
                .map(|step| format!("take in {} shard {}", step.collection, step.shard))
                .collect(),
            Work::Backup(work) => {
                let extras = work.plan.extras.iter().map(ExtraStep::to_string);
                extras.chain(captures.map(CaptureStep::to_string)).collect()
            }
            Work::Restore(_) => captures.map(|step| format!("first {step}")).collect(),
            Work::Upkeep(work) => vec![work.task.plan()],
        };
        if let Work::Restore(work) = &self.work {
            lines.extend(work.plan.steps.iter().map(RestoreStep::to_string));
        }
        lines
    }
}

/// The id of the command for the restore step at `index`; stable, so that a restart re-sends the same.
///
/// # Errors
/// Never for a job's own id; the names' rule is checked all the same.
pub fn restore_id(job: &JobId, index: usize) -> Result<CaptureId, holdfast_types::ParseNameError> {
    format!("{job}-r{index}").parse()
}
