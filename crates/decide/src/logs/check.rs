//! Reads a plan for logs again, entry by entry of what goes.

use super::{FOLLOWED_KEPT, LogFacts, LogPoint, LogVerdict, UNNAMED_KEPT};
use crate::retention::{LogRun, Proof, RetentionPolicy};
use holdfast_types::{CollectionName, Timestamp};
use std::time::Duration;

/// What is wrong with a plan, in words; empty if nothing is.
#[must_use]
pub fn check_logs(
    verdicts: &[LogVerdict],
    points: &[LogPoint],
    logs: &[LogFacts],
    policy: &RetentionPolicy,
    grace: Duration,
    now: Timestamp,
) -> Vec<String> {
    if verdicts.len() != logs.len() {
        return vec![format!(
            "{} verdicts on {} logs",
            verdicts.len(),
            logs.len()
        )];
    }
    let mut wrong = Vec::new();
    for (verdict, log) in verdicts.iter().zip(logs) {
        let whose = format!("timeline {} of shard {}", log.timeline, log.shard);
        if verdict.surplus == 0 {
            continue;
        }
        let Some(last) = log.parts.get(verdict.surplus - 1) else {
            wrong.push(format!("{whose} has fewer parts than are to go"));
            continue;
        };
        let left = log.parts.get(verdict.surplus);
        let mut named = false;
        for point in points {
            for (name, bases) in &point.collections {
                let bases = bases
                    .iter()
                    .filter(|base| base.timeline == Some(log.timeline) && base.shard == log.shard);
                for certain in bases.filter_map(|base| base.certain) {
                    if !is_needed(point, name, points, policy, grace, now) {
                        continue;
                    }
                    named = true;
                    // The entry before it has to stay, so a part that begins no later than that.
                    if left.is_none_or(|left| left.first >= certain) {
                        let id = &point.facts.id;
                        wrong.push(format!("{whose}: {id} needs entry {certain}"));
                    }
                }
            }
        }
        if named {
            continue;
        }
        if log.collection.is_none() {
            wrong.push(format!("{whose}: nobody knows whose it is"));
        }
        if last.stored.after(UNNAMED_KEPT) >= now {
            wrong.push(format!("{whose} is too young to go"));
        }
        if log.followed && log.parts.len() - verdict.surplus < FOLLOWED_KEPT {
            wrong.push(format!("{whose} is followed, and too little stays"));
        }
    }
    wrong
}

/// Unless another point stands between it and the window, in its place.
fn is_needed(
    point: &LogPoint,
    name: &CollectionName,
    points: &[LogPoint],
    policy: &RetentionPolicy,
    grace: Duration,
    now: Timestamp,
) -> bool {
    let held = point.facts.holds.iter().any(|hold| hold.is_active(now));
    if held || point.facts.in_use || point.marked {
        return true;
    }
    let Some(window) = policy.window(name) else {
        return true;
    };
    let outside = |at: Timestamp| at.after(window).after(grace) <= now;
    let own = point.facts.logs.get(name);
    let replaces = |other: &LogPoint| {
        let facts = &other.facts;
        let failed = matches!(facts.proofs.get(name), Some(Proof::Failed { .. }));
        let usable = !other.marked && !facts.safety && !failed;
        let newer = (facts.committed, &facts.id) > (point.facts.committed, &point.facts.id);
        let Some(theirs) = facts.logs.get(name).filter(|_| usable && newer) else {
            return false;
        };
        let reached = |run: &LogRun, until: Timestamp| {
            let same = theirs.iter().filter(|(other, _)| other.shard == run.shard);
            let farthest = same.map(|(_, reach)| reach.surely).max();
            theirs.contains_key(run)
                || until.after(window).after(grace) < now
                || farthest.is_some_and(|farthest| farthest >= until)
        };
        outside(facts.committed)
            && own.is_none_or(|own| own.iter().all(|(run, reach)| reached(run, reach.at_most)))
    };
    !points.iter().any(replaces)
}
