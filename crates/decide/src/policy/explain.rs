//! What will happen to a collection, when, and why.

use super::duration::duration_text;
use super::{Policy, VerifyPolicy};
use crate::retention::{RetentionPolicy, Rule};
use crate::schedule::{CatchUp, Kind, Schedule, Timing, Unchanged};
use holdfast_types::{CaptureLimits, CollectionName, ScheduleName, Timestamp};
use std::collections::BTreeMap;

/// What will happen to one collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The rule that it follows, with the pattern that names it; `None` if no rule does.
    pub rule: Option<String>,
    /// Why that one, and not the others.
    pub why: Vec<String>,
    /// What captures it.
    pub schedules: Vec<ScheduleExplained>,
    /// How old its newest recovery point may get, in words.
    pub rpo: String,
    /// Its place in the order of recovery.
    pub recovery_order: u32,
    /// How its recovery points are kept.
    pub retention: Vec<String>,
    /// How the repository is checked.
    pub verify: String,
}

/// One schedule of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleExplained {
    /// Its name.
    pub name: ScheduleName,
    /// When and how, in words.
    pub lines: Vec<String>,
    /// Its next runs: when they begin, the planned instant, whether they are full.
    pub runs: Vec<(Timestamp, Timestamp, bool)>,
}

/// Runs that are told of each schedule.
const NEXT_RUNS: usize = 5;

/// Explains a collection. `since_full`: successful runs since the last full one of each schedule, where that is known.
#[must_use]
pub fn explain(
    policy: &Policy,
    collection: &CollectionName,
    since_full: &BTreeMap<ScheduleName, u32>,
    now: Timestamp,
) -> Explanation {
    let chosen = policy.rule_of(collection);
    let rule = chosen
        .as_ref()
        .map(|chosen| format!("{} ({})", chosen.rule.origin, chosen.pattern));
    let why = match &chosen {
        None => vec!["no rule names it: nothing captures it by itself".to_owned()],
        Some(chosen) if chosen.rule.schedules.is_empty() => {
            let mut why =
                vec!["its rule has no schedules: nothing captures it by itself".to_owned()];
            why.extend(chosen.beaten.iter().cloned());
            why
        }
        Some(chosen) => chosen.beaten.clone(),
    };
    let rpo = match policy.rpo_of(collection, now) {
        None => "none".to_owned(),
        Some((rpo, true)) => duration_text(rpo),
        Some((rpo, false)) => format!(
            "{}, by its schedules: the longest pause, jitter and what is tolerated",
            duration_text(rpo)
        ),
    };
    let schedules = policy.schedules_of(collection).map(|schedule| {
        let since = since_full.get(&schedule.name).copied();
        ScheduleExplained {
            name: schedule.name.clone(),
            lines: schedule_lines(schedule),
            runs: next_runs(schedule, since, now),
        }
    });
    Explanation {
        rule,
        why,
        schedules: schedules.collect(),
        rpo,
        recovery_order: chosen.map_or(super::rules::LAST_IN_ORDER, |c| c.rule.recovery_order),
        retention: retention_lines(policy.retention.as_ref(), Some(collection)),
        verify: verify_line(policy.verify.as_ref()),
    }
}

fn next_runs(
    schedule: &Schedule,
    mut since: Option<u32>,
    now: Timestamp,
) -> Vec<(Timestamp, Timestamp, bool)> {
    let runs = schedule.upcoming(now, NEXT_RUNS).into_iter();
    let mut told = Vec::new();
    for (start, planned) in runs {
        let full = match schedule.kind {
            Kind::Incremental => false,
            Kind::Full => true,
            Kind::FullEvery(every) => since.is_none_or(|runs| runs + 1 >= every.get()),
        };
        since = match since {
            _ if full => Some(0),
            Some(runs) => Some(runs + 1),
            None => None,
        };
        told.push((start, planned, full));
    }
    told
}

/// A schedule in words, one property a line.
#[must_use]
pub fn schedule_lines(schedule: &Schedule) -> Vec<String> {
    let zone = schedule.zone.iana_name().unwrap_or("UTC");
    let mut lines = vec![match &schedule.timing {
        Timing::Cron(_) => format!("{} in {zone}", schedule.timing),
        Timing::Every(_) => schedule.timing.to_string(),
    }];
    if !schedule.jitter.is_zero() {
        lines.push(format!(
            "begins up to {} later (jitter)",
            duration_text(schedule.jitter)
        ));
    }
    if !schedule.windows.0.is_empty() {
        let windows: Vec<String> = schedule.windows.0.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "begins only within {} in {zone}",
            windows.join(", ")
        ));
    }
    lines.push(match schedule.kind {
        Kind::Incremental => "captures by the quickest sure way".to_owned(),
        Kind::Full => "captures in full, independently of earlier captures".to_owned(),
        Kind::FullEvery(every) => format!("every {every}th run captures in full"),
    });
    if schedule.catch_up == CatchUp::Skip {
        lines.push("does not catch up after downtime".to_owned());
    }
    if schedule.unchanged == Unchanged::Skip {
        lines.push("captures nothing if it is certain that nothing has changed".to_owned());
    }
    if let Some(early) = &schedule.early {
        lines.push(format!(
            "begins before its time after {} operations, but no closer together than {}",
            early.operations,
            duration_text(early.apart)
        ));
    }
    if schedule.priority != 0 {
        lines.push(format!("priority {}", schedule.priority));
    }
    if !schedule.tags.is_empty() {
        let tags: Vec<&str> = schedule
            .tags
            .iter()
            .map(holdfast_types::Tag::as_str)
            .collect();
        lines.push(format!("tags {}", tags.join(", ")));
    }
    if let Some(tolerance) = schedule.tolerance {
        lines.push(format!("late after {}", duration_text(tolerance)));
    }
    lines.extend(limit_lines(&schedule.limits));
    lines
}

fn limit_lines(limits: &CaptureLimits) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(nodes) = limits.max_nodes {
        lines.push(format!("at most {nodes} nodes at once"));
    }
    if let Some(rate) = limits.max_mib_per_sec {
        lines.push(format!("at most {rate} MiB/s of all nodes together"));
    }
    if let Some(latency) = limits.max_query_latency {
        let delay = duration_text(limits.max_delay);
        lines.push(format!(
            "while searches take more than {}: begins up to {delay} later, and reads less for up to {delay} in all",
            duration_text(latency),
        ));
    }
    lines
}

/// What is kept, in words; of one collection, only what is about it.
#[must_use]
pub fn retention_lines(
    retention: Option<&RetentionPolicy>,
    collection: Option<&CollectionName>,
) -> Vec<String> {
    let Some(policy) = retention else {
        return vec![
            "the policy says nothing of retention: see [retention] of the coordinator".to_owned(),
        ];
    };
    let about = |rule: &&Rule| {
        collection.is_none_or(|name| {
            let named = rule.collections.is_empty()
                || rule.collections.iter().any(|pattern| pattern.matches(name));
            named && !rule.except.iter().any(|pattern| pattern.matches(name))
        })
    };
    let mut lines: Vec<String> = policy.rules.iter().filter(about).map(rule_line).collect();
    if lines.is_empty() {
        lines.push("no retention rule covers it: its recovery points stay".to_owned());
    }
    lines.push(format!(
        "never below the {} newest proven or untried points",
        policy.min_proven
    ));
    lines.push(format!(
        "safety captures for {}",
        duration_text(policy.keep_safety)
    ));
    lines
}

fn rule_line(rule: &Rule) -> String {
    let counts = [
        ("hourly", rule.hourly),
        ("daily", rule.daily),
        ("weekly", rule.weekly),
        ("monthly", rule.monthly),
        ("yearly", rule.yearly),
    ];
    let mut kept = Vec::new();
    if rule.keep_last > 0 {
        kept.push(format!("the last {}", rule.keep_last));
    }
    if !rule.keep_within.is_zero() {
        kept.push(format!("all within {}", duration_text(rule.keep_within)));
    }
    let counted = counts.iter().filter(|(_, count)| *count > 0);
    kept.extend(counted.map(|(word, count)| format!("{count} {word}")));
    if !rule.instants_within.is_zero() {
        let period = duration_text(rule.instants_within);
        kept.push(format!(
            "every instant within {period} where logs are archived"
        ));
    }
    if kept.is_empty() {
        kept.push("nothing".to_owned());
    }
    let kept = kept.join(", ");
    let mut scope = Vec::new();
    if !rule.collections.is_empty() {
        let patterns: Vec<&str> = rule.collections.iter().map(|p| p.as_str()).collect();
        scope.push(patterns.join(", "));
    }
    if !rule.tags.is_empty() {
        let tags: Vec<&str> = rule.tags.iter().map(holdfast_types::Tag::as_str).collect();
        scope.push(format!("with tags {}", tags.join(" and ")));
    }
    if scope.is_empty() {
        return format!("keeps {kept}");
    }
    format!("keeps {kept} (of {})", scope.join(", "))
}

/// How the repository is checked, in words.
#[must_use]
pub fn verify_line(verify: Option<&VerifyPolicy>) -> String {
    let Some(verify) = verify else {
        return "the policy says nothing of checks: see [verify] of the coordinator".to_owned();
    };
    let Some(every) = verify.every else {
        return "the repository is not checked by itself".to_owned();
    };
    let mut line = format!(
        "the repository is checked every {}, reading {} % of the packs",
        duration_text(every),
        verify.sample_percent
    );
    if let Some(full) = verify.full_every {
        line.push_str(&format!(", everything every {}", duration_text(full)));
    }
    line
}
