//! One declarative policy: which collections are captured when, how old their newest recovery point may get, how they
//! are kept and checked, and in which order they come back.
//!
//! **Rules.** Every collection follows one [`PolicyRule`]: of those whose patterns name it, the one with the
//! greatest priority; then the one whose pattern is most specific (a name without a star before any pattern, then
//! more letters, then fewer stars); then the first in the file. [`Policy::rule_of`] says which, and why.
//!
//! **Presets** ([`Preset`]) bring schedules, one rule for everything with the least priority, retention, and checks of the
//! repository. What the file says stands before its preset: a schedule of the same name replaces the preset's.
//!
//! This module reads no file and looks up no zone: raw values come in ([`RawPolicy`]), and a function that knows zones.

mod diff;
mod duration;
mod explain;
mod preset;
mod raw;
mod rules;
mod select;
mod slow;
mod validate;

#[cfg(test)]
mod tests;

pub use diff::{PolicyChange, diff};
pub use duration::{duration_text, parse_duration};
pub use explain::{
    Explanation, ScheduleExplained, explain, retention_lines, schedule_lines, verify_line,
};
pub use preset::Preset;
pub use raw::{
    RawLimits, RawPolicy, RawPolicyRetention, RawPolicyRule, RawPolicyVerify, RawSchedule,
};
pub(crate) use rules::LAST_IN_ORDER;
pub use rules::{Chosen, PolicyRule, RuleOrigin};
pub use select::{Selection, select};
pub use slow::slow;
pub use validate::{BadPolicy, validate};

use crate::retention::RetentionPolicy;
use crate::schedule::Schedule;
use holdfast_types::{ClusterName, CollectionName, NodeId, ScheduleName};
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::time::Duration;

/// A checked policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The ready policy that it builds on.
    pub preset: Option<Preset>,
    /// The deployment that it is for; any if not given.
    pub cluster: Option<ClusterName>,
    /// The zone of its calendars.
    pub time_zone: TimeZone,
    /// Nodes that must be there: one that is not is told of, and after a start is waited for.
    pub nodes: BTreeSet<NodeId>,
    /// What runs by itself, by name.
    pub schedules: Vec<Schedule>,
    /// Who follows which; the preset's last.
    pub rules: Vec<PolicyRule>,
    /// Which recovery points stay; `None` if the policy says nothing of it.
    pub retention: Option<RetentionPolicy>,
    /// How the repository is checked; `None` if the policy says nothing of it.
    pub verify: Option<VerifyPolicy>,
}

/// How the repository is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyPolicy {
    /// How often; never if absent.
    pub every: Option<Duration>,
    /// Percent of the packs that are read each time.
    pub sample_percent: u8,
    /// How often everything is read in one go; never if absent.
    pub full_every: Option<Duration>,
    /// Bound on the reading of packs, MiB per second; 0 for none.
    pub max_mib_per_sec: u32,
}

impl Policy {
    /// The schedule of that name.
    #[must_use]
    pub fn schedule(&self, name: &ScheduleName) -> Option<&Schedule> {
        self.schedules
            .iter()
            .find(|schedule| schedule.name == *name)
    }

    /// The schedules that capture a collection.
    pub fn schedules_of<'a>(
        &'a self,
        collection: &CollectionName,
    ) -> impl Iterator<Item = &'a Schedule> {
        let names = self
            .rule_of(collection)
            .map(|chosen| &chosen.rule.schedules);
        let names = names.into_iter().flatten();
        names.filter_map(|name| self.schedule(name))
    }

    /// How old the newest recovery point of a collection may get, and whether the rule says so itself: else it is the
    /// longest pause of the most frequent of its schedules, and what that tolerates. `None` if nothing captures it.
    #[must_use]
    pub fn rpo_of(
        &self,
        collection: &CollectionName,
        now: holdfast_types::Timestamp,
    ) -> Option<(Duration, bool)> {
        let rule = self.rule_of(collection)?.rule;
        if let Some(rpo) = rule.rpo {
            return Some((rpo, true));
        }
        let allowed = self
            .schedules_of(collection)
            .filter_map(|s| s.longest_pause(now));
        allowed.min().map(|rpo| (rpo, false))
    }

    /// The place of a collection in the order of recovery: the least comes back first.
    #[must_use]
    pub fn recovery_place(&self, collection: &CollectionName) -> u32 {
        let chosen = self.rule_of(collection);
        chosen.map_or(LAST_IN_ORDER, |chosen| chosen.rule.recovery_order)
    }
}

impl Schedule {
    /// The longest time between two of its next starts, and what it tolerates.
    fn longest_pause(&self, now: holdfast_types::Timestamp) -> Option<Duration> {
        /// More than a week of hours; of days and weeks enough for every irregularity.
        const LOOKED_AT: usize = 200;
        let runs = self.upcoming(now, LOOKED_AT);
        let first = runs.first()?.1;
        let pauses = runs.windows(2).map(|pair| pair[1].0.since(pair[0].0));
        let longest = pauses.max().unwrap_or_default().max(self.jitter);
        Some(longest + self.jitter + self.tolerance_of(first))
    }
}
