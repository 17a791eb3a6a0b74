//! What of schedules needs a person: warnings that name since when, why, what is at risk, and what to do.
//!
//! Drawn from the policy, the clock and what is recorded, whenever somebody asks: a scheduler that hangs is told of, too.

use super::{view, watch};
use crate::catalog::PointSummary;
use crate::config::LoadedPolicy;
use crate::core::Core;
use crate::logs;
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
    let mut warnings = Vec::new();
    for schedule in &policy.schedules {
        let Some(memory) = core.schedules.get(&schedule.name) else {
            continue;
        };
        if let Some(late) = lateness(schedule, &memory, now) {
            let view = view(core, policy, schedule, busy.clone());
            let verdict = judge(schedule, &memory, &view);
            let at_risk = at_risk(policy, schedule, &memory, &known);
            warnings.push(told(schedule, &memory, &late, &verdict, &at_risk));
        }
    }
    warnings.extend(too_old(core, policy, points, &known));
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
        Verdict::Unchanged { .. } => {
            "nothing has changed since the newest captures: they answer it".to_owned()
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

/// Collections that could be brought back to an instant further away than their rule says, by what is durable: the newest capture, or the end of the
/// archived logs that go on from one. Those that are in recovery points but that no node tells of count, too: after a restart nothing is known
/// of a node whose agent stays away.
fn too_old(
    core: &Core,
    policy: &Policy,
    points: &[PointSummary],
    known: &BTreeSet<CollectionName>,
) -> Vec<String> {
    let captured = points.iter().filter(|point| point.imported.is_none());
    let captured = captured.flat_map(|point| &point.collections);
    let all: BTreeSet<CollectionName> = captured.chain(known).cloned().collect();
    let standings = logs::standings(core, points, &all);
    let now = core.clock.now();
    let told = |name: &CollectionName| {
        let rpo = policy.rule_of(name)?.rule.rpo?;
        let until = standings
            .get(name)
            .and_then(|standing| standing.recoverable_until);
        behind(name, until, rpo, now, known.contains(name))
    };
    all.iter().filter_map(told).collect()
}

fn behind(
    name: &CollectionName,
    until: Option<Timestamp>,
    rpo: Duration,
    now: Timestamp,
    is_known: bool,
) -> Option<String> {
    let allowed = duration_text(rpo);
    match until {
        Some(until) if now.since(until) <= rpo => None,
        Some(until) if !is_known => Some(format!(
            "collection {name} could be brought back to {until} only, and its rule allows a loss of {allowed}, but no node tells of it: run `holdfast nodes` to see who is away, or drop its rule if it was deleted"
        )),
        Some(until) => Some(format!(
            "collection {name} could be brought back to {until} only, and its rule allows a loss of {allowed}: run `holdfast backup create {name}`"
        )),
        None => Some(format!(
            "collection {name} could not be brought back at all, and its rule allows a loss of {allowed}: run `holdfast backup create {name}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::behind;
    use holdfast_types::Timestamp;
    use std::time::Duration;

    #[test]
    fn what_would_be_lost_is_compared_with_what_may_be() {
        let name = "docs".parse().unwrap();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let rpo = Duration::from_secs(60);
        assert_eq!(behind(&name, Some(at(40)), rpo, at(100), true), None);
        let late = behind(&name, Some(at(39)), rpo, at(100), true).unwrap();
        assert!(late.contains("1970-01-01T00:00:39Z only"), "{late}");
        assert!(late.contains("a loss of 1m: run"), "{late}");
        let away = behind(&name, Some(at(39)), rpo, at(100), false).unwrap();
        assert!(away.contains("no node tells of it"), "{away}");
        let never = behind(&name, None, rpo, at(100), true).unwrap();
        assert!(never.contains("not be brought back at all"), "{never}");
    }
}
