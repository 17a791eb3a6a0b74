//! Domain values in their wire form.

use crate::catalog::{ExtraSummary, PointSummary};
use crate::execute::state_on_wire;
use crate::fault::Fault;
use crate::job::JobRecord;
use crate::plan::Estimate;
use crate::retention::proofs::{self, Known};
use crate::verify::Affected;
use holdfast_decide::instant::{Choice, InstantTarget, ReplayWay, ShardLog, Window};
use holdfast_decide::{BackupPlan, CaptureStep, ExtraStep, Receiver, RestorePlan, RestoreStep};
use holdfast_proto::v1;
use holdfast_repository::{Marks, PointTombstone, ProofOutcome};
use holdfast_types::{CollectionName, Timestamp};

/// This program's release.
pub(crate) const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");

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
        proofs: Vec::new(),
        extras: point.extras.iter().map(extra_summary).collect(),
    }
}

fn extra_summary(extra: &ExtraSummary) -> v1::ExtraSummary {
    v1::ExtraSummary {
        node: extra.node.to_string(),
        name: extra.name.to_string(),
        missing: extra.missing.clone().unwrap_or_default(),
    }
}

/// With what is said of it beside its manifest.
pub(super) fn marked_summary(
    point: &PointSummary,
    marks: &Marks,
    affected: &Affected,
    now: Timestamp,
) -> v1::BackupSummary {
    let pin = marks.pins.get(&point.id).map(|pin| pin.reason.clone());
    let holds = marks.holds_on(&point.id, point.collections.iter());
    let known = proofs::known(&point.id, point.collections.iter(), marks, affected);
    v1::BackupSummary {
        pin: pin.unwrap_or_default(),
        holds: holds
            .filter(|hold| hold.is_active(now))
            .map(|hold| hold.id.to_string())
            .collect(),
        removal: marks.tombstones.get(&point.id).map(removal_mark),
        proofs: known.into_iter().map(collection_proof).collect(),
        ..backup_summary(point)
    }
}

fn collection_proof((name, known): (&CollectionName, Known<'_>)) -> v1::CollectionProof {
    use v1::collection_proof::State;
    let (state, why, last) = match known {
        Known::Damaged => (State::Damaged, String::new(), None),
        Known::Shown(last) => match &last.outcome {
            ProofOutcome::Restored => (State::Proven, String::new(), Some(last)),
            ProofOutcome::Failed { why } => (State::Failed, why.clone(), Some(last)),
        },
    };
    v1::CollectionProof {
        collection: name.to_string(),
        state: state.into(),
        why,
        at_us: last.map_or(0, |last| last.at.as_micros()),
        job: last.map(|last| last.job.to_string()).unwrap_or_default(),
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
        recovery_point: job.point().map(ToString::to_string).unwrap_or_default(),
        asked_by: job.asked_by.clone(),
        result: result(job),
    }
}

fn result(job: &JobRecord) -> String {
    let found = job.upkeep().and_then(|work| work.found.first());
    found.cloned().unwrap_or_default()
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
        extras: plan.extras.iter().map(planned_extra).collect(),
        limits: Some(plan.limits.into()),
    }
}

fn planned_extra(step: &ExtraStep) -> v1::PlannedExtra {
    v1::PlannedExtra {
        node: step.node.to_string(),
        name: step.name.to_string(),
        required: step.required,
        absent: step.absent.clone().unwrap_or_default(),
    }
}

pub(super) fn restore_plan(plan: &RestorePlan, estimate: Estimate) -> v1::RestorePlan {
    let blockers = plan.blockers.iter().map(|b| Fault::from(b).to_wire());
    v1::RestorePlan {
        recovery_point: plan.point.to_string(),
        node: plan
            .node
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        steps: plan
            .steps
            .iter()
            .map(|step| restore_step(step, plan.instant.as_ref()))
            .collect(),
        blockers: blockers.collect(),
        warnings: plan.warnings.clone(),
        logical_bytes: plan.logical_bytes(),
        instant: plan.instant.as_ref().map(instant),
        nodes: plan.receivers.iter().map(receiving).collect(),
        estimated_ms: u64::try_from(estimate.time.as_millis()).unwrap_or(u64::MAX),
        estimate_measured: estimate.measured,
        order_from: plan.order_from.clone().unwrap_or_default(),
    }
}

fn receiving(receiver: &Receiver) -> v1::ReceivingNode {
    v1::ReceivingNode {
        node: receiver.node.to_string(),
        qdrant_version: receiver.version.to_string(),
        needed_bytes: receiver.needed,
        free_bytes: receiver.free.unwrap_or(0),
    }
}

/// What a choice leads to.
pub(crate) fn instant(choice: &Choice) -> v1::PlannedInstant {
    use v1::restore_target::Target;
    let target = match choice.target {
        InstantTarget::Instant(instant) => Target::InstantUs(instant.as_micros()),
        InstantTarget::Latest => Target::Latest(true),
        InstantTarget::Operation(number) => Target::Operation(number),
        InstantTarget::BeforeDrop => Target::BeforeDrop(true),
    };
    let logs = choice.collections.iter().flat_map(|c| &c.shards);
    v1::PlannedInstant {
        target: Some(v1::RestoreTarget {
            target: Some(target),
            by_requests: choice.way == ReplayWay::Requests,
        }),
        instant_us: choice.instant.as_micros(),
        complete_before_us: choice.complete_before.as_micros(),
        entries: logs.clone().map(ShardLog::entries).sum(),
        bytes: logs.map(|log| log.bytes).sum(),
    }
}

fn replayed(log: &ShardLog) -> v1::ReplayedLog {
    v1::ReplayedLog {
        shard_id: log.shard.0,
        node: log.node.to_string(),
        timeline: log.timeline.to_string(),
        from: log.from,
        until: log.until,
        bytes: log.bytes,
        complete_before_us: log.complete_before.as_micros(),
    }
}

/// The instants of one collection.
pub(crate) fn window(window: &Window) -> v1::CollectionWindow {
    let stretches = window.stretches.iter().map(|stretch| v1::WindowStretch {
        from_us: stretch.from.as_micros(),
        to_us: stretch.to.as_micros(),
        recovery_points: stretch.points.iter().map(ToString::to_string).collect(),
    });
    let singles = window.singles.iter().map(|single| v1::WindowSingle {
        recovery_point: single.point.to_string(),
        captured_us: single.captured_at.as_micros(),
        why: single.why.clone(),
    });
    let gaps = window.gaps.iter().map(|gap| v1::WindowGap {
        after_us: gap.after.as_micros(),
        before_us: gap.before.map_or(0, Timestamp::as_micros),
        why: gap.why.clone(),
    });
    v1::CollectionWindow {
        collection: window.collection.to_string(),
        stretches: stretches.collect(),
        singles: singles.collect(),
        gaps: gaps.collect(),
    }
}

fn restore_step(step: &RestoreStep, choice: Option<&Choice>) -> v1::RestoreStep {
    let logs = choice.and_then(|choice| choice.collection(&step.source));
    v1::RestoreStep {
        source_collection: step.source.to_string(),
        target_collection: step.target.to_string(),
        replaces: step.replaces,
        shards: step.shards,
        logical_bytes: step.logical_bytes,
        aliases: step.aliases.iter().map(ToString::to_string).collect(),
        indexes: step.indexes.clone(),
        logs: logs
            .iter()
            .flat_map(|logs| &logs.shards)
            .map(replayed)
            .collect(),
        replicas: step.replicas.unwrap_or(0),
        recovery_order: step.recovery_order,
        shard_sizes: step
            .shard_sizes
            .iter()
            .map(|(shard, bytes)| v1::PlannedShard {
                shard_id: shard.0,
                logical_bytes: *bytes,
            })
            .collect(),
    }
}
