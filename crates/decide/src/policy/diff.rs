//! What changes from one policy to another, for what exists.

use super::Policy;
use super::duration::duration_text;
use super::explain::{retention_lines, schedule_lines, verify_line};
use holdfast_types::{CollectionName, ScheduleName, Timestamp};
use std::collections::BTreeSet;

/// What changes about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// `collection docs`, `schedule nightly`, `retention`, `checks`, `nodes`.
    pub about: String,
    /// Lines that no longer hold.
    pub before: Vec<String>,
    /// Lines that hold from then on.
    pub after: Vec<String>,
}

/// What changes; nothing if the list is empty.
#[must_use]
pub fn diff(
    before: &Policy,
    after: &Policy,
    collections: &BTreeSet<CollectionName>,
    now: Timestamp,
) -> Vec<PolicyChange> {
    let mut changes = Vec::new();
    let mut compare = |about: String, old: Vec<String>, new: Vec<String>| {
        let gone: Vec<String> = old
            .iter()
            .filter(|line| !new.contains(line))
            .cloned()
            .collect();
        let come: Vec<String> = new
            .iter()
            .filter(|line| !old.contains(line))
            .cloned()
            .collect();
        if !gone.is_empty() || !come.is_empty() {
            changes.push(PolicyChange {
                about,
                before: gone,
                after: come,
            });
        }
    };
    for name in collections {
        let lines = |policy| collection_lines(policy, name, now);
        compare(format!("collection {name}"), lines(before), lines(after));
    }
    let schedules = before.schedules.iter().chain(&after.schedules);
    let names: BTreeSet<&ScheduleName> = schedules.map(|schedule| &schedule.name).collect();
    for name in names {
        let lines = |policy: &Policy| {
            policy
                .schedule(name)
                .map(schedule_lines)
                .unwrap_or_default()
        };
        compare(format!("schedule {name}"), lines(before), lines(after));
    }
    let kept = |policy: &Policy| retention_lines(policy.retention.as_ref(), None);
    compare("retention".to_owned(), kept(before), kept(after));
    let checked = |policy: &Policy| vec![verify_line(policy.verify.as_ref())];
    compare("checks".to_owned(), checked(before), checked(after));
    let nodes = |policy: &Policy| {
        let nodes = policy.nodes.iter();
        nodes
            .map(|node| format!("node {node} must be there"))
            .collect()
    };
    compare("nodes".to_owned(), nodes(before), nodes(after));
    changes
}

fn collection_lines(policy: &Policy, name: &CollectionName, now: Timestamp) -> Vec<String> {
    let schedules: Vec<&str> = policy
        .schedules_of(name)
        .map(|schedule| schedule.name.as_str())
        .collect();
    let mut lines = vec![if schedules.is_empty() {
        "nothing captures it by itself".to_owned()
    } else {
        format!("captured by {}", schedules.join(", "))
    }];
    if let Some((rpo, _)) = policy.rpo_of(name, now) {
        lines.push(format!(
            "its newest recovery point may be {} old",
            duration_text(rpo)
        ));
    }
    if let Some(chosen) = policy.rule_of(name)
        && chosen.rule.recovery_order != super::rules::LAST_IN_ORDER
    {
        lines.push(format!("recovery order {}", chosen.rule.recovery_order));
    }
    let retention = retention_lines(policy.retention.as_ref(), Some(name)).into_iter();
    lines.extend(
        retention.filter(|line| line.starts_with("keeps ") || line.starts_with("no retention")),
    );
    lines
}
