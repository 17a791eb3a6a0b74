//! Which recovery points stay, as configured.

use super::CoordinatorConfigError;
use holdfast_decide::{RetentionPolicy, Rule};
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::time::Duration;

/// How long a marked recovery point can surely be undeleted, if nothing is configured.
const DEFAULT_GRACE_HOURS: u32 = 72;
/// How long packs wait that nothing needs any more, if nothing is configured. Longer than any capture takes.
const DEFAULT_GARBAGE_GRACE_HOURS: u32 = 24;
/// How often the rules are applied, if nothing is configured.
const DEFAULT_EVERY_HOURS: u32 = 1;

/// The retention of one deployment.
#[derive(Clone, Debug)]
pub struct RetentionSection {
    /// The rules; `None` if nothing is configured: then only what operators delete by name goes.
    pub policy: Option<RetentionPolicy>,
    /// The zone of the calendar.
    pub time_zone: TimeZone,
    /// How long a marked point can surely be undeleted.
    pub grace: Duration,
    /// How long packs wait that nothing needs any more.
    pub garbage_grace: Duration,
    /// How often the rules are applied by themselves; `None` if only by command.
    pub every: Option<Duration>,
    /// Whether removing needs a second operator.
    pub two_person: bool,
}

/// The section as it stands in the file.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RawRetention {
    preset: Option<Preset>,
    rules: Option<Vec<Rule>>,
    min_proven: Option<u32>,
    keep_safety_hours: Option<u32>,
    time_zone: Option<String>,
    grace_hours: Option<u32>,
    garbage_grace_hours: Option<u32>,
    every_hours: Option<u32>,
    #[serde(default)]
    two_person: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preset {
    Development,
    Staging,
    Production,
}

/// Checks the section; without one there are no rules.
pub(super) fn validate(
    raw: Option<RawRetention>,
) -> Result<RetentionSection, CoordinatorConfigError> {
    validate_every(raw, DEFAULT_EVERY_HOURS)
}

/// As [`validate`], with another default of `every_hours`.
pub(super) fn validate_every(
    raw: Option<RawRetention>,
    default_every_hours: u32,
) -> Result<RetentionSection, CoordinatorConfigError> {
    let raw = raw.unwrap_or_default();
    let hours = |hours: u32| Duration::from_secs(u64::from(hours) * 3600);
    let every = raw.every_hours.unwrap_or(default_every_hours);
    Ok(RetentionSection {
        policy: policy(&raw)?,
        time_zone: time_zone("retention.time_zone", raw.time_zone.as_deref())?,
        grace: hours(raw.grace_hours.unwrap_or(DEFAULT_GRACE_HOURS)),
        garbage_grace: hours(
            raw.garbage_grace_hours
                .unwrap_or(DEFAULT_GARBAGE_GRACE_HOURS),
        ),
        every: (every > 0).then(|| hours(every)),
        two_person: raw.two_person,
    })
}

fn policy(raw: &RawRetention) -> Result<Option<RetentionPolicy>, CoordinatorConfigError> {
    let value = |key, rule| CoordinatorConfigError::Value { key, rule };
    let mut policy = match (raw.preset, &raw.rules) {
        (Some(Preset::Development), None) => RetentionPolicy::development(),
        (Some(Preset::Staging), None) => RetentionPolicy::staging(),
        (Some(Preset::Production), None) => RetentionPolicy::production(),
        (None, Some(rules)) => RetentionPolicy {
            rules: rules.clone(),
            ..RetentionPolicy::staging()
        },
        (Some(_), Some(_)) => {
            return Err(value(
                "retention.preset",
                "can't stand beside [[retention.rules]]: choose one",
            ));
        }
        (None, None) if raw.min_proven.is_some() || raw.keep_safety_hours.is_some() => {
            return Err(value("retention", "needs a preset or [[retention.rules]]"));
        }
        (None, None) if raw.time_zone.is_some() => {
            return Err(value(
                "retention.time_zone",
                "is the calendar of rules, and there are none: name a preset or [[retention.rules]], or leave it out (a policy's rules follow the time_zone of the policy)",
            ));
        }
        (None, None) => return Ok(None),
    };
    if let Some(min_proven) = raw.min_proven {
        policy.min_proven = min_proven;
    }
    if let Some(hours) = raw.keep_safety_hours {
        policy.keep_safety = Duration::from_secs(u64::from(hours) * 3600);
    }
    policy
        .validate()
        .map_err(CoordinatorConfigError::Retention)?;
    Ok(Some(policy))
}

/// The zone of that name; UTC without one.
pub(super) fn time_zone(
    key: &'static str,
    name: Option<&str>,
) -> Result<TimeZone, CoordinatorConfigError> {
    let Some(name) = name else {
        return Ok(TimeZone::UTC);
    };
    TimeZone::get(name).map_err(|_| CoordinatorConfigError::Value {
        key,
        rule: "must be a name of the time-zone database, like Europe/Berlin",
    })
}

#[cfg(test)]
mod tests {
    use super::{RawRetention, RetentionSection, validate};
    use crate::config::CoordinatorConfigError;
    use std::time::Duration;

    fn read(text: &str) -> Result<RetentionSection, CoordinatorConfigError> {
        validate(Some(toml::from_str::<RawRetention>(text).unwrap()))
    }

    #[test]
    fn nothing_configured_removes_nothing() {
        let section = validate(None).unwrap();
        assert!(section.policy.is_none() && !section.two_person);
        assert_eq!(section.grace, Duration::from_hours(72));
        assert_eq!(section.every, Some(Duration::from_hours(1)));
    }

    #[test]
    fn presets_and_rules() {
        let section = read("preset = \"production\"\ntime_zone = \"Europe/Berlin\"").unwrap();
        assert_eq!(section.policy.unwrap().min_proven, 3);
        assert_eq!(section.time_zone.iana_name(), Some("Europe/Berlin"));
        let text = "min_proven = 1\nkeep_safety_hours = 2\nevery_hours = 0\n[[rules]]\ncollections = [\"docs-*\"]\ndaily = 7";
        let section = read(text).unwrap();
        let policy = section.policy.unwrap();
        assert_eq!((policy.rules.len(), policy.min_proven), (1, 1));
        assert_eq!(policy.keep_safety, Duration::from_hours(2));
        assert_eq!(section.every, None);
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for (text, says) in [
            ("preset = \"staging\"\n[[rules]]\ndaily = 1", "choose one"),
            ("min_proven = 1", "needs a preset"),
            ("rules = []", "has no rules"),
            ("[[rules]]\ndaily = 0", "keeps nothing"),
            (
                "preset = \"staging\"\ntime_zone = \"Middle/Earth\"",
                "time-zone database",
            ),
            (
                "time_zone = \"Europe/Berlin\"\ngrace_hours = 1",
                "time_zone is the calendar of rules, and there are none",
            ),
        ] {
            let error = read(text).unwrap_err();
            let chain = crate::fault::chain(&error);
            assert!(chain.contains(says), "{text}: {chain}");
        }
    }
}
