//! How every schedule stands, for people: drawn from the policy, the clock and what is recorded.

use super::alarm::why_not_now;
use super::{view, watch};
use crate::config::LoadedPolicy;
use crate::core::Core;
use holdfast_decide::schedule::{Late, Schedule, ScheduleMemory, judge, lateness};
use holdfast_types::{CollectionName, JobId, Timestamp};
use std::collections::BTreeSet;

/// How one schedule stands.
#[derive(Debug)]
pub struct Standing<'a> {
    /// The schedule.
    pub schedule: &'a Schedule,
    /// What is recorded of it.
    pub memory: ScheduleMemory,
    /// Collections of now that follow it.
    pub follow: Vec<CollectionName>,
    /// When its next run begins.
    pub next: Option<Timestamp>,
    /// Why nothing is begun now.
    pub waits: String,
    /// Whether it is late.
    pub late: Option<Late>,
}

/// How every schedule of the policy stands, in its order.
#[must_use]
pub fn standings(core: &Core, busy: Option<JobId>) -> Vec<Standing<'_>> {
    let Some(LoadedPolicy { policy, .. }) = &core.policy else {
        return Vec::new();
    };
    let known = known_collections(core);
    let mut standings = Vec::new();
    for schedule in &policy.schedules {
        let view = view(core, policy, schedule, busy.clone());
        let now = view.now;
        let memory = core.schedules.get(&schedule.name);
        // Before the first look of the scheduler nothing is recorded.
        let memory = memory.unwrap_or_else(|| ScheduleMemory::new(schedule, now));
        let follows = |name: &&CollectionName| {
            let chosen = policy.rule_of(name);
            chosen.is_some_and(|chosen| chosen.rule.schedules.contains(&schedule.name))
        };
        standings.push(Standing {
            schedule,
            follow: known.iter().filter(follows).cloned().collect(),
            next: schedule.upcoming(now, 1).first().map(|(start, _)| *start),
            waits: why_not_now(&judge(schedule, &memory, &view)),
            late: lateness(schedule, &memory, now),
            memory,
        });
    }
    standings
}

/// Collections that nodes have told of.
#[must_use]
pub fn known_collections(core: &Core) -> BTreeSet<CollectionName> {
    watch::known(&core.nodes.observation(core.epoch, None, 0))
}
