//! The steps of a job with their figures: pure, of its record and of what is known of the moment.
//!
//! | state | a capture | an upload, or a collection |
//! |---|---|---|
//! | pending | nobody has been told to make it yet | likewise |
//! | running | its command is open | likewise |
//! | waiting | its command is open and its agent is away | likewise |
//! | done | what it stored is durable | Qdrant has it |
//! | failed | it failed there, and is not made otherwise yet, or never was | likewise |
//! | left-out | what it would capture is there no more | – |
//! | not-done | the job ended before it | likewise |

use super::JobRecord;
use super::feed::{Figures, ProgressKey};
use super::pace::Rate;
use holdfast_types::{CaptureId, CollectionName, NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

mod make;

pub use make::steps;

/// What is known of the moment.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// What agents have told.
    pub figures: BTreeMap<ProgressKey, Figures>,
    /// Open commands, of all steps, and bytes that an operator has delivered.
    pub open: BTreeMap<CaptureId, Option<u64>>,
    /// Nodes without a connected agent.
    pub away: BTreeSet<NodeId>,
    /// Bytes that the last capture of each shard had.
    pub expected: BTreeMap<(CollectionName, ShardId), u64>,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepAction {
    /// Captures a shard.
    Capture,
    /// Captures a shard of what is going to be replaced.
    SafetyCapture,
    /// Takes in a shard that an operator delivers.
    TakeIn,
    /// Brings back a collection on one node.
    Restore,
    /// Brings back a shard of a collection in a cluster.
    Upload,
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// To be done.
    Pending,
    /// Under way.
    Running,
    /// Under way, and its node's agent is away.
    Waiting,
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Not needed any more.
    LeftOut,
    /// The job ended before it.
    NotDone,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it does.
    pub action: StepAction,
    /// Where; `None` while nobody has chosen.
    pub node: Option<NodeId>,
    /// Of which collection, by the name that it has on the node.
    pub collection: CollectionName,
    /// Of which shard; `None` for all of them.
    pub shard: Option<ShardId>,
    /// How it stands.
    pub state: StepState,
    /// What is being done, in the agent's words.
    pub stage: String,
    /// Bytes that are done.
    pub done: u64,
    /// Bytes in all, if that is known.
    pub total: Option<u64>,
    /// Whether that is what the plan says, or what the last capture of the shard had, and its agent has not told yet.
    pub total_estimated: bool,
    /// Bytes that were sent.
    pub sent: u64,
    /// How fast it goes on, or went.
    pub rate: Option<Rate>,
    /// How often it was begun.
    pub tries: u32,
    /// Where it failed, and why.
    pub failures: Vec<(NodeId, String)>,
}

/// All steps together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overall {
    /// Bytes that are done.
    pub done: u64,
    /// Bytes in all, if that is known or can be guessed.
    pub total: Option<u64>,
    /// Whether some of it is guessed.
    pub estimated: bool,
    /// Of what is under way.
    pub rate: Option<Rate>,
    /// Until the node that takes longest is through, if it goes on like that.
    pub remaining: Option<Duration>,
}

impl Step {
    /// How long the rest of it takes, if it goes on like that.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        match self.state {
            StepState::Running => self.rate?.time_for(self.left()?),
            StepState::Pending
            | StepState::Waiting
            | StepState::Done
            | StepState::Failed
            | StepState::LeftOut
            | StepState::NotDone => None,
        }
    }

    fn left(&self) -> Option<u64> {
        Some(self.total?.saturating_sub(self.done))
    }

    /// Whether it is, or was, a part of the job's work.
    fn counts(&self) -> bool {
        self.state != StepState::LeftOut
    }

    fn is_over(&self) -> bool {
        match self.state {
            StepState::Done | StepState::LeftOut | StepState::NotDone => true,
            StepState::Pending | StepState::Running | StepState::Waiting | StepState::Failed => {
                false
            }
        }
    }
}

/// All of them together.
#[must_use]
pub fn overall(steps: &[Step]) -> Overall {
    let counted: Vec<&Step> = steps.iter().filter(|step| step.counts()).collect();
    let rates = counted
        .iter()
        .filter(|step| step.state == StepState::Running);
    let rate = rates
        .filter_map(|step| step.rate)
        .reduce(|a, b| Rate(a.0.saturating_add(b.0)));
    let mut nodes: BTreeMap<&NodeId, (Option<u64>, Option<Rate>)> = BTreeMap::new();
    let mut known = true;
    for step in counted.iter().filter(|step| !step.is_over()) {
        let Some(node) = &step.node else {
            known = false;
            continue;
        };
        let entry = nodes.entry(node).or_insert((Some(0), None));
        entry.0 = entry
            .0
            .zip(step.left())
            .map(|(sum, left)| sum.saturating_add(left));
        if step.state == StepState::Running {
            entry.1 = entry.1.or(step.rate);
        }
    }
    let times: Option<Vec<Duration>> = nodes
        .values()
        .map(|(left, rate)| (*rate)?.time_for((*left)?))
        .collect();
    Overall {
        done: counted
            .iter()
            .fold(0, |sum, step| sum.saturating_add(step.done)),
        total: counted
            .iter()
            .try_fold(0_u64, |sum, step| Some(sum.saturating_add(step.total?))),
        estimated: counted.iter().any(|step| step.total_estimated),
        rate,
        remaining: times
            .filter(|_| known)
            .and_then(|times| times.into_iter().max()),
    }
}

/// What the last capture of each shard had, of jobs from the newest on.
#[must_use]
pub fn expected<'a>(
    jobs: impl Iterator<Item = &'a JobRecord>,
) -> BTreeMap<(CollectionName, ShardId), u64> {
    let mut sizes = BTreeMap::new();
    for backup in jobs.filter_map(JobRecord::backup) {
        for (index, cost) in &backup.costs() {
            if let Some(step) = backup.plan.captures.get(*index) {
                let key = (step.collection.clone(), step.shard);
                sizes.entry(key).or_insert(cost.logical_bytes);
            }
        }
    }
    sizes
}

#[cfg(test)]
mod tests;
