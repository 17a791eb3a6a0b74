//! What of schedules needs a person: warnings that name since when, why, what is at risk, and what to do.
//!
//! Drawn from the policy, the clock and what is recorded, whenever somebody asks: a scheduler that hangs is told of, too.

use super::{view, watch};
use crate::catalog::PointSummary;
use crate::config::LoadedPolicy;
use crate::core::Core;
use holdfast_decide::policy::{Policy, duration_text};
use holdfast_decide::schedule::{
    Late, Outcome, Schedule, ScheduleMemory, Verdict, WaitReason, judge, lateness,
};
use holdfast_types::{CollectionName, JobId, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// Collections that are named one by one.
const NAMED: usize = 5;

/// The warnings of now, most urgent first.
#[must_use]
pub fn warnings(core: &Core, points: &[PointSummary], busy: Option<JobId>) -> Vec<String> {
    let Some(LoadedPolicy { policy, .. }) = &core.policy else {
        return Vec::new();
    };
    let now = core.clock.now();
    let seen = core.nodes.observation(core.epoch, None, 0);
    let known = watch::known(&seen);
    let view = view(core, policy, busy);
    let mut warnings = Vec::new();
    for schedule in &policy.schedules {
        let Some(memory) = core.schedules.get(&schedule.name) else {
            continue;
        };
        if let Some(late) = lateness(schedule, &memory, now) {
            let verdict = judge(schedule, &memory, &view);
            let at_risk = at_risk(policy, schedule, &memory, &known);
            warnings.push(told(schedule, &memory, &late, &verdict, &at_risk));
        }
    }
    warnings.extend(too_old(policy, points, &known, now));
    warnings
}

fn told(
    schedule: &Schedule,
    memory: &ScheduleMemory,
    late: &Late,
    verdict: &Verdict,
    at_risk: &str,
) -> String {
    let last = memory.last_success.as_ref();
    let since = last.map_or_else(
        || "there has been no success yet".to_owned(),
        |run| format!("its last success was the run of {}", run.planned),
    );
    format!(
        "schedule {} is late by {}: the run planned for {} has not succeeded, and {since} ({}); at risk is what changed since then in {at_risk}: run `holdfast backup create` now, and see `holdfast status` and the coordinator's log for what failed",
        schedule.name,
        duration_text(Duration::from_secs(late.by.as_secs())),
        late.planned,
        why(memory, verdict)
    )
}

fn why(memory: &ScheduleMemory, verdict: &Verdict) -> String {
    let outcome = memory.last_run.as_ref().map(|run| &run.outcome);
    let failed = match outcome {
        Some(Outcome::Failed { reason }) => Some(format!("the last attempt failed: {reason}")),
        Some(Outcome::Incomplete { left_out }) => {
            Some(format!("the last run left out {}", left_out.join("; ")))
        }
        Some(Outcome::Cancelled) => Some("the last run was cancelled".to_owned()),
        Some(Outcome::Succeeded) | None => None,
    };
    let now = why_not_now(verdict);
    match failed {
        Some(failed) => format!("{failed}; {now}"),
        None => now,
    }
}

/// Why nothing is begun at this moment.
pub(super) fn why_not_now(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Start(_) => {
            "it is due and has not begun: does the coordinator's scheduler run?".to_owned()
        }
        Verdict::Skip { .. } => "it passes over what came due during downtime".to_owned(),
        Verdict::Wait {
            why: WaitReason::NotDue,
            until,
        } => match until {
            Some(until) => format!("the next run is at {until}"),
            None => "nothing is due".to_owned(),
        },
        Verdict::Wait { why, .. } => why.to_string(),
    }
}

fn at_risk(
    policy: &Policy,
    schedule: &Schedule,
    memory: &ScheduleMemory,
    known: &BTreeSet<CollectionName>,
) -> String {
    let follows = |name: &&CollectionName| {
        let chosen = policy.rule_of(name);
        chosen.is_some_and(|chosen| chosen.rule.schedules.contains(&schedule.name))
    };
    let all: BTreeSet<&CollectionName> = known
        .iter()
        .chain(&memory.captured)
        .filter(follows)
        .collect();
    if all.is_empty() {
        return "whatever follows it (no collection is known)".to_owned();
    }
    let named: Vec<&str> = all.iter().take(NAMED).map(|name| name.as_str()).collect();
    match all.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Collections whose newest recovery point is older than their rule says it may be. Those that are in recovery points but
/// that no node tells of count, too: after a restart nothing is known of a node whose agent stays away.
fn too_old(
    policy: &Policy,
    points: &[PointSummary],
    known: &BTreeSet<CollectionName>,
    now: Timestamp,
) -> Vec<String> {
    let told = |name: &CollectionName| {
        let rpo = policy.rule_of(name)?.rule.rpo?;
        let holds =
            |point: &&PointSummary| point.imported.is_none() && point.collections.contains(name);
        let newest = points.iter().filter(holds).map(|point| point.begun).max();
        let allowed = duration_text(rpo);
        match newest {
            Some(begun) if now.since(begun) <= rpo => None,
            Some(begun) if !known.contains(name) => Some(format!(
                "collection {name}: its newest recovery point is of {begun}, and may be {allowed} old, but no node tells of it: run `holdfast nodes` to see who is away, or drop its rule if it was deleted"
            )),
            Some(begun) => Some(format!(
                "collection {name}: its newest recovery point is of {begun}, and may be {allowed} old: run `holdfast backup create {name}`"
            )),
            None => Some(format!(
                "collection {name} has no recovery point, and its newest one may be {allowed} old: run `holdfast backup create {name}`"
            )),
        }
    };
    let captured = points.iter().filter(|point| point.imported.is_none());
    let all: BTreeSet<&CollectionName> = captured
        .flat_map(|point| &point.collections)
        .chain(known)
        .collect();
    all.into_iter().filter_map(told).collect()
}
