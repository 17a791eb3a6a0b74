//! Domain values in their wire form.

use crate::catalog::PointSummary;
use crate::execute::state_on_wire;
use crate::fault::Fault;
use crate::job::JobRecord;
use holdfast_decide::{BackupPlan, CaptureStep, RestorePlan, RestoreStep};
use holdfast_proto::v1;
use holdfast_repository::{Marks, PointTombstone};
use holdfast_types::Timestamp;

/// This program's release.
pub(super) const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn program() -> v1::ProgramVersion {
    v1::ProgramVersion {
        version: PROGRAM_VERSION.to_owned(),
    }
}

pub(crate) fn backup_summary(point: &PointSummary) -> v1::BackupSummary {
    v1::BackupSummary {
        recovery_point: point.id.to_string(),
        begun_us: point.begun.as_micros(),
        committed_us: point.committed.as_micros(),
        collections: point.collections.iter().map(ToString::to_string).collect(),
        logical_bytes: point.stats.logical_bytes,
        sent_bytes: point.stats.sent_bytes,
        stored_bytes: point.stats.stored_bytes,
        note: point.note.clone(),
        points: point.points,
        elapsed_ms: point.stats.elapsed_ms,
        safety_for: point
            .safety_for
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        tags: point.tags.iter().map(ToString::to_string).collect(),
        pin: String::new(),
        holds: Vec::new(),
        removal: None,
        imported: point.imported.is_some(),
        left_out: point.left_out.clone(),
    }
}

/// With what is said of it beside its manifest.
pub(super) fn marked_summary(
    point: &PointSummary,
    marks: &Marks,
    now: Timestamp,
) -> v1::BackupSummary {
    let pin = marks.pins.get(&point.id).map(|pin| pin.reason.clone());
    let holds = marks.holds_on(&point.id, point.collections.iter());
    v1::BackupSummary {
        pin: pin.unwrap_or_default(),
        holds: holds
            .filter(|hold| hold.is_active(now))
            .map(|hold| hold.id.to_string())
            .collect(),
        removal: marks.tombstones.get(&point.id).map(removal_mark),
        ..backup_summary(point)
    }
}

pub(super) fn removal_mark(stone: &PointTombstone) -> v1::RemovalMark {
    let until = stone.tombstone.since.after(stone.tombstone.grace);
    v1::RemovalMark {
        recovery_point: stone.point.to_string(),
        since_us: stone.tombstone.since.as_micros(),
        until_us: until.as_micros(),
        reasons: stone.reasons.clone(),
        by: stone.by.clone(),
    }
}

pub(super) fn job_summary(job: &JobRecord) -> v1::JobSummary {
    v1::JobSummary {
        job_id: job.id.to_string(),
        kind: job.kind().to_owned(),
        state: state_on_wire(job.state).into(),
        started_us: job.started.as_micros(),
        ended_us: job.ended.map_or(0, |ended| ended.as_micros()),
        failure: job.failure.as_ref().map(Fault::to_wire),
        recovery_point: job.point().to_string(),
    }
}

pub(super) fn backup_plan(plan: &BackupPlan) -> v1::BackupPlan {
    let capture = |step: &CaptureStep| {
        let left = step.repinned.as_ref();
        v1::PlannedCapture {
            node: step.node.to_string(),
            collection: step.collection.to_string(),
            shard_id: step.shard.0,
            left_node: left.map(|left| left.from.to_string()).unwrap_or_default(),
            left_because: left.map(|left| left.why.to_string()).unwrap_or_default(),
        }
    };
    v1::BackupPlan {
        captures: plan.captures.iter().map(capture).collect(),
        notes: plan.reasons.clone(),
    }
}

pub(super) fn restore_plan(plan: &RestorePlan) -> v1::RestorePlan {
    let blockers = plan.blockers.iter().map(|b| Fault::from(b).to_wire());
    v1::RestorePlan {
        recovery_point: plan.point.to_string(),
        node: plan
            .node
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        steps: plan.steps.iter().map(restore_step).collect(),
        blockers: blockers.collect(),
        warnings: plan.warnings.clone(),
        logical_bytes: plan.logical_bytes(),
    }
}

fn restore_step(step: &RestoreStep) -> v1::RestoreStep {
    v1::RestoreStep {
        source_collection: step.source.to_string(),
        target_collection: step.target.to_string(),
        replaces: step.replaces,
        shards: step.shards,
        logical_bytes: step.logical_bytes,
        aliases: step.aliases.iter().map(ToString::to_string).collect(),
        indexes: step.indexes.clone(),
    }
}
