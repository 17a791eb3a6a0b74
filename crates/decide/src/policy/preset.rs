//! Three ready policies, as the file that one would write for them.

use super::raw::{RawPolicy, RawPolicyRetention, RawPolicyRule, RawPolicyVerify, RawSchedule};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A ready policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// For machines that can be rebuilt: daily at 03:00; a weekly check that reads nothing.
    Development,
    /// For rehearsals: every 6 hours, every 28th run in full; a daily check of 5 %.
    Staging,
    /// For what people rely on: every 15 minutes, and each Sunday at 01:00 in full; a daily check of 5 %, everything in one go
    /// every 90 days.
    Production,
}

impl Preset {
    /// What it brings, in the form of a file.
    pub(super) fn raw(self) -> RawPolicy {
        let schedules = match self {
            Self::Development => vec![schedule("daily", Some("0 3 * * *"), None)],
            Self::Staging => vec![RawSchedule {
                jitter: Some("10m".to_owned()),
                full_every: Some(28),
                ..schedule("six-hourly", Some("0 */6 * * *"), None)
            }],
            Self::Production => vec![
                schedule("quarter-hourly", None, Some("15m")),
                RawSchedule {
                    jitter: Some("30m".to_owned()),
                    kind: Some("full".to_owned()),
                    priority: 10,
                    tags: vec!["full".to_owned()],
                    ..schedule("weekly-full", Some("0 1 * * sun"), None)
                },
            ],
        };
        let names = schedules.iter().map(|schedule| schedule.name.clone());
        let rule = RawPolicyRule {
            collections: vec!["*".parse().expect("a star is a pattern")],
            priority: i32::MIN,
            schedules: Some(names.collect()),
            ..RawPolicyRule::default()
        };
        let (every_hours, sample_percent, full_every_days) = match self {
            Self::Development => (7 * 24, 0, 0),
            Self::Staging => (24, 5, 0),
            Self::Production => (24, 5, 90),
        };
        RawPolicy {
            schedules,
            rules: vec![rule],
            retention: Some(RawPolicyRetention {
                preset: Some(self),
                ..RawPolicyRetention::default()
            }),
            verify: Some(RawPolicyVerify {
                every_hours: Some(every_hours),
                sample_percent: Some(sample_percent),
                full_every_days: Some(full_every_days),
                max_mib_per_sec: None,
            }),
            ..RawPolicy::default()
        }
    }
}

fn schedule(name: &str, cron: Option<&str>, every: Option<&str>) -> RawSchedule {
    RawSchedule {
        name: name.to_owned(),
        cron: cron.map(str::to_owned),
        every: every.map(str::to_owned),
        ..RawSchedule::default()
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        })
    }
}
