//! The policy as it stands in its file; checked by [`super::validate()`].

use super::Preset;
use crate::retention::{NamePattern, Rule};
use serde::Deserialize;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawPolicy {
    /// A ready policy to build on.
    pub preset: Option<Preset>,
    /// The deployment that it is for.
    pub cluster: Option<String>,
    /// Zone of its calendars.
    pub time_zone: Option<String>,
    /// Nodes that must be there.
    pub nodes: Vec<String>,
    /// For schedules that say nothing else.
    pub limits: Option<RawLimits>,
    /// What runs by itself.
    pub schedules: Vec<RawSchedule>,
    /// Who follows which.
    pub rules: Vec<RawPolicyRule>,
    /// Which recovery points stay.
    pub retention: Option<RawPolicyRetention>,
    /// How the repository is checked.
    pub verify: Option<RawPolicyVerify>,
}

/// One schedule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawSchedule {
    /// Its name.
    pub name: String,
    /// A cron expression.
    pub cron: Option<String>,
    /// Or a grid.
    pub every: Option<String>,
    /// Zone of expression and windows, if not the policy's.
    pub time_zone: Option<String>,
    /// A duration.
    pub jitter: Option<String>,
    /// When runs may begin.
    pub windows: Vec<String>,
    /// `incremental` or `full`.
    pub kind: Option<String>,
    /// Every so many runs in full.
    pub full_every: Option<u32>,
    /// `now` or `skip`.
    pub catch_up: Option<String>,
    /// `capture` or `skip`.
    pub unchanged: Option<String>,
    /// Operations.
    pub early_after: Option<u64>,
    /// A duration.
    pub early_apart: Option<String>,
    /// Of several that are due the greater goes first.
    pub priority: i32,
    /// Words for its recovery points.
    pub tags: Vec<String>,
    /// A duration.
    pub tolerance: Option<String>,
    /// In place of the policy's.
    pub limits: Option<RawLimits>,
}

/// How much runs may take from the database.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawLimits {
    /// Nodes at once.
    pub max_nodes: Option<u32>,
    /// MiB per second.
    pub max_mib_per_sec: Option<u32>,
    /// A duration.
    pub max_query_latency: Option<String>,
    /// A duration.
    pub max_delay: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawPolicyRule {
    /// Collections that follow it.
    pub collections: Vec<NamePattern>,
    /// But not these.
    pub except: Vec<NamePattern>,
    /// Of several rules the greater goes first.
    pub priority: i32,
    /// Names of schedules; empty: nothing captures them by itself.
    pub schedules: Option<Vec<String>>,
    /// A duration.
    pub rpo: Option<String>,
    /// The least comes back first.
    pub recovery_order: Option<u32>,
}

/// Which recovery points stay.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawPolicyRetention {
    /// A ready one.
    pub preset: Option<Preset>,
    /// Or rules.
    pub rules: Option<Vec<Rule>>,
    /// Proven points that no rule may go below.
    pub min_proven: Option<u32>,
    /// Hours for which safety captures stay.
    pub keep_safety_hours: Option<u32>,
}

/// How the repository is checked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawPolicyVerify {
    /// 0 for never.
    pub every_hours: Option<u32>,
    /// Percent of packs that are read each time.
    pub sample_percent: Option<u8>,
    /// 0 for never.
    pub full_every_days: Option<u32>,
    /// MiB per second; 0 for no bound.
    pub max_mib_per_sec: Option<u32>,
}
