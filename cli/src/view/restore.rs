//! Plans and results of restores.

use super::text::{grouped, list, millis, rate, table};
use super::window::{InstantView, ReplayedView};
use super::{FailureLine, some};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::ByteCount;
use serde::Serialize;
use std::time::Duration;

/// `restore plan`.
#[derive(Debug, Serialize)]
pub(crate) struct PlanView {
    pub(crate) recovery_point: String,
    pub(crate) node: String,
    /// True if nothing forbids it.
    pub(crate) feasible: bool,
    pub(crate) steps: Vec<StepView>,
    /// Who gives the order of the steps, in words; null if nobody does.
    pub(crate) order_from: Option<String>,
    pub(crate) blockers: Vec<FailureLine>,
    pub(crate) warnings: Vec<String>,
    pub(crate) logical_bytes: u64,
    /// The nodes that receive something.
    pub(crate) nodes: Vec<ReceivingView>,
    /// How long it is expected to take, without the safety capture.
    pub(crate) estimated_ms: u64,
    /// True if that is by an earlier restore.
    pub(crate) estimate_measured: bool,
    /// With --to or --to-op: where it leads.
    pub(crate) instant: Option<InstantView>,
}

/// A node that receives data.
#[derive(Debug, Serialize)]
pub(crate) struct ReceivingView {
    pub(crate) node: String,
    pub(crate) qdrant_version: String,
    /// About how many bytes its storage volume gets.
    pub(crate) needed_bytes: u64,
    /// Free there; null if its agent does not see the volume.
    pub(crate) free_bytes: Option<u64>,
}

/// A shard of a plan.
#[derive(Debug, Serialize)]
pub(crate) struct SizeView {
    pub(crate) shard: u32,
    pub(crate) logical_bytes: u64,
}

/// One collection of a plan.
#[derive(Debug, Serialize)]
pub(crate) struct StepView {
    pub(crate) source: String,
    pub(crate) target: String,
    /// True if the target exists and would be replaced, after it has been captured.
    pub(crate) replaces: bool,
    pub(crate) shards: u32,
    /// Replicas of each, in a cluster of several nodes.
    pub(crate) replicas: Option<u32>,
    pub(crate) logical_bytes: u64,
    pub(crate) shard_sizes: Vec<SizeView>,
    pub(crate) aliases: Vec<String>,
    pub(crate) indexes: Vec<String>,
    /// With --to or --to-op: what is replayed on its shards.
    pub(crate) logs: Vec<ReplayedView>,
    /// Its place in the order of recovery, if somebody gives it.
    pub(crate) recovery_order: Option<u32>,
}

/// `restore run`.
#[derive(Debug, Serialize)]
pub(crate) struct RestoreView {
    pub(crate) job: String,
    pub(crate) recovery_point: String,
    pub(crate) node: String,
    pub(crate) collections: Vec<RestoredView>,
    pub(crate) elapsed_ms: u64,
    /// The capture taken before something was replaced.
    pub(crate) safety_recovery_point: Option<String>,
    /// With --to or --to-op: where it led.
    pub(crate) instant: Option<InstantView>,
}

/// One collection that was restored.
#[derive(Debug, Serialize)]
pub(crate) struct RestoredView {
    pub(crate) source: String,
    pub(crate) target: String,
    /// Counted exactly after the restore.
    pub(crate) points: u64,
    /// Counted at the capture, if writes were quiet.
    pub(crate) points_expected: Option<u64>,
    pub(crate) uploaded_bytes: u64,
    pub(crate) elapsed_ms: u64,
    pub(crate) aliases: Vec<String>,
    pub(crate) indexes: Vec<String>,
    /// Operations of archived logs that were replayed.
    pub(crate) operations: u64,
}

impl From<&v1::RestorePlan> for PlanView {
    fn from(wire: &v1::RestorePlan) -> Self {
        Self {
            recovery_point: wire.recovery_point.clone(),
            node: wire.node.clone(),
            feasible: wire.blockers.is_empty(),
            steps: wire.steps.iter().map(StepView::from).collect(),
            order_from: some(&wire.order_from),
            blockers: wire.blockers.iter().map(FailureLine::from).collect(),
            warnings: wire.warnings.clone(),
            logical_bytes: wire.logical_bytes,
            nodes: wire.nodes.iter().map(ReceivingView::from).collect(),
            estimated_ms: wire.estimated_ms,
            estimate_measured: wire.estimate_measured,
            instant: wire.instant.as_ref().map(InstantView::from),
        }
    }
}

impl From<&v1::ReceivingNode> for ReceivingView {
    fn from(wire: &v1::ReceivingNode) -> Self {
        Self {
            node: wire.node.clone(),
            qdrant_version: wire.qdrant_version.clone(),
            needed_bytes: wire.needed_bytes,
            free_bytes: Some(wire.free_bytes).filter(|free| *free != 0),
        }
    }
}

impl From<&v1::RestoreStep> for StepView {
    fn from(wire: &v1::RestoreStep) -> Self {
        Self {
            source: wire.source_collection.clone(),
            target: wire.target_collection.clone(),
            replaces: wire.replaces,
            shards: wire.shards,
            replicas: Some(wire.replicas).filter(|replicas| *replicas != 0),
            logical_bytes: wire.logical_bytes,
            shard_sizes: wire
                .shard_sizes
                .iter()
                .map(|size| SizeView {
                    shard: size.shard_id,
                    logical_bytes: size.logical_bytes,
                })
                .collect(),
            aliases: wire.aliases.clone(),
            indexes: wire.indexes.clone(),
            logs: wire.logs.iter().map(ReplayedView::from).collect(),
            recovery_order: wire.recovery_order,
        }
    }
}

impl RestoreView {
    /// What job `job` did.
    pub(crate) fn new(job: String, wire: &v1::RestoreSummary) -> Self {
        Self {
            job,
            recovery_point: wire.recovery_point.clone(),
            node: wire.node.clone(),
            collections: wire.collections.iter().map(RestoredView::from).collect(),
            elapsed_ms: wire.elapsed_ms,
            safety_recovery_point: some(&wire.safety_recovery_point),
            instant: wire.instant.as_ref().map(InstantView::from),
        }
    }
}

impl From<&v1::RestoredCollection> for RestoredView {
    fn from(wire: &v1::RestoredCollection) -> Self {
        Self {
            source: wire.source_collection.clone(),
            target: wire.target_collection.clone(),
            points: wire.points,
            points_expected: wire.points_expected,
            uploaded_bytes: wire.uploaded_bytes,
            elapsed_ms: wire.elapsed_ms,
            aliases: wire.aliases.clone(),
            indexes: wire.indexes.clone(),
            operations: wire.replayed_entries,
        }
    }
}

impl PlanView {
    /// The expected time; empty if nobody receives anything.
    fn time(&self) -> String {
        if self.nodes.is_empty() {
            return String::new();
        }
        let by = match self.estimate_measured {
            true => "by the last restore's rate",
            false => "at a cautious rate, since none has been measured yet",
        };
        format!(", about {} {by}", millis(self.estimated_ms))
    }

    /// Who gets how much.
    fn receivers(&self) -> String {
        let header = ["NODE", "QDRANT", "GETS", "FREE"];
        let row = |node: &ReceivingView| {
            let free = node.free_bytes.map(|free| ByteCount(free).to_string());
            vec![
                node.node.clone(),
                node.qdrant_version.clone(),
                format!("about {}", ByteCount(node.needed_bytes)),
                free.unwrap_or_else(|| "unknown".to_owned()),
            ]
        };
        table(&header, self.nodes.iter().map(row))
    }

    /// One line for each collection.
    fn collections(&self) -> String {
        let row = |step: &StepView| {
            let action = if step.replaces {
                "capture, then REPLACE"
            } else {
                "create"
            };
            vec![
                step.source.clone(),
                step.target.clone(),
                action.to_owned(),
                match step.replicas {
                    Some(replicas) => format!("{} × {replicas}", step.shards),
                    None => step.shards.to_string(),
                },
                ByteCount(step.logical_bytes).to_string(),
                list(&step.aliases, "-"),
                list(&step.indexes, "-"),
            ]
        };
        let header = [
            "COLLECTION",
            "INTO",
            "ACTION",
            "SHARDS",
            "BYTES",
            "ALIASES",
            "INDEXES",
        ];
        table(&header, self.steps.iter().map(row))
    }

    /// Who gives the order, and the place of each collection; empty if nobody does, or one collection has no order.
    fn order(&self) -> String {
        let Some(from) = self.order_from.as_ref().filter(|_| self.steps.len() > 1) else {
            return String::new();
        };
        let place = |step: &StepView| {
            let place = step.recovery_order.map(|place| format!(" ({place})"));
            format!("{}{}", step.target, place.unwrap_or_default())
        };
        let places: Vec<String> = self.steps.iter().map(place).collect();
        format!(
            "\n\nOne after the other, by recovery_order in {from}: {}",
            places.join(", ")
        )
    }

    /// Names of the collections that would be replaced.
    pub(crate) fn replaced(&self) -> Vec<&str> {
        let replaced = self.steps.iter().filter(|step| step.replaces);
        replaced.map(|step| step.target.as_str()).collect()
    }
}

impl View for PlanView {
    const KIND: &'static str = "restore-plan";

    fn text(&self) -> String {
        let node = if self.node.is_empty() {
            "(no node)"
        } else {
            &self.node
        };
        let mut text = format!(
            "Restore of {} into {} {node}: {} in all",
            self.recovery_point,
            if self.nodes.len() > 1 {
                "the cluster of"
            } else {
                "node"
            },
            ByteCount(self.logical_bytes)
        );
        text.push_str(&self.time());
        if let Some(instant) = &self.instant {
            text.push_str(&format!("\n{}", instant.sentences()));
        }
        if !self.steps.is_empty() {
            text.push_str(&format!("\n\n{}", self.collections()));
        }
        text.push_str(&self.order());
        if !self.nodes.is_empty() {
            text.push_str(&format!("\n\n{}", self.receivers()));
        }
        for warning in &self.warnings {
            text.push_str(&format!("\nWARNING: {warning}"));
        }
        for blocker in &self.blockers {
            text.push_str(&format!(
                "\nBLOCKED ({}): {}",
                blocker.code, blocker.message
            ));
        }
        text
    }
}

impl View for RestoreView {
    const KIND: &'static str = "restore-run";

    fn text(&self) -> String {
        let row = |c: &RestoredView| {
            let points = match c.points_expected {
                Some(expected) if expected == c.points => {
                    format!("{} (as captured)", grouped(c.points))
                }
                Some(expected) => format!("{} (CAPTURED {})", grouped(c.points), grouped(expected)),
                None => grouped(c.points),
            };
            vec![
                c.target.clone(),
                points,
                ByteCount(c.uploaded_bytes).to_string(),
                format!(
                    "{} ({})",
                    millis(c.elapsed_ms),
                    rate(c.uploaded_bytes, Duration::from_millis(c.elapsed_ms))
                ),
                list(&c.aliases, "-"),
                list(&c.indexes, "-"),
            ]
        };
        let mut text = format!(
            "Restored {} into node {} in {}\n\n",
            self.recovery_point,
            self.node,
            millis(self.elapsed_ms)
        );
        if let Some(instant) = &self.instant {
            text.insert_str(text.trim_end().len(), &format!("\n{}", instant.sentences()));
        }
        text.push_str(&table(
            &[
                "COLLECTION",
                "POINTS",
                "UPLOADED",
                "TOOK",
                "ALIASES",
                "INDEXES",
            ],
            self.collections.iter().map(row),
        ));
        if let Some(safety) = &self.safety_recovery_point {
            text.push_str(&format!(
                "\n\nWhat was replaced is kept in recovery point {safety}"
            ));
        }
        text
    }
}
