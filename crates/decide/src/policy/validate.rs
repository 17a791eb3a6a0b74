//! From the file's values to a policy that can be meant.

use super::duration::{duration_text, parse_duration};
use super::preset::Preset;
use super::raw::{
    RawLimits, RawPolicy, RawPolicyRetention, RawPolicyRule, RawPolicyVerify, RawSchedule,
};
use super::rules::{LAST_IN_ORDER, PolicyRule, RuleOrigin};
use super::{Policy, VerifyPolicy};
use crate::retention::RetentionPolicy;
use crate::schedule::{CatchUp, Early, Kind, MAX_JITTER, Schedule, Timing, Unchanged, Windows};
use holdfast_types::{CaptureLimits, ScheduleName};
use jiff::tz::TimeZone;
use std::fmt::Display;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

/// Why a policy can't be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {why}")]
pub struct BadPolicy {
    /// Where in the policy.
    pub at: String,
    /// What is wrong.
    pub why: String,
}

/// Schedules that a policy may have.
const MAX_SCHEDULES: usize = 100;
/// Rules that a policy may have.
const MAX_RULES: usize = 1000;
/// Shortest grid. Below a minute is for tests: every snapshot leaves a small segment.
const LEAST_EVERY: Duration = Duration::from_secs(1);
/// Runs that begin before their time are this far apart, if nothing is said, and at least.
const EARLY_APART: Duration = Duration::from_mins(15);
const LEAST_EARLY_APART: Duration = Duration::from_mins(1);
const MOST_EVERY: Duration = Duration::from_hours(366 * 24);

/// Looks up a zone by its name.
type Zones<'a> = &'a dyn Fn(&str) -> Option<TimeZone>;

fn bad(at: impl Into<String>, why: impl Into<String>) -> BadPolicy {
    let (at, why) = (at.into(), why.into());
    BadPolicy { at, why }
}

fn parsed<T: FromStr<Err: Display>>(at: &str, text: &str) -> Result<T, BadPolicy> {
    text.parse()
        .map_err(|error: T::Err| bad(at, error.to_string()))
}

fn duration(at: &str, text: Option<&String>) -> Result<Option<Duration>, BadPolicy> {
    let parse = |text: &String| parse_duration(text).map_err(|why| bad(at, why));
    text.map(parse).transpose()
}

fn zone(at: &str, name: Option<&String>, zones: Zones<'_>) -> Result<Option<TimeZone>, BadPolicy> {
    let look_up = |name: &String| {
        zones(name).ok_or_else(|| {
            bad(
                at,
                format!("{name:?} is no name of the time-zone database, like Europe/Berlin"),
            )
        })
    };
    name.map(look_up).transpose()
}

/// Checks a policy; `zones` knows time zones by name.
///
/// # Errors
/// The first thing that can't be meant.
pub fn validate(raw: RawPolicy, zones: Zones<'_>) -> Result<Policy, BadPolicy> {
    let base = raw.preset.map(Preset::raw).unwrap_or_default();
    let time_zone = zone("time_zone", raw.time_zone.as_ref(), zones)?.unwrap_or(TimeZone::UTC);
    let cluster = raw.cluster.as_deref();
    let cluster = cluster.map(|text| parsed("cluster", text)).transpose()?;
    let nodes = raw.nodes.iter().map(|text| parsed("nodes", text));
    let nodes = nodes.collect::<Result<_, _>>()?;
    let limits = limits("limits", raw.limits.as_ref(), &CaptureLimits::default())?;
    let own: Vec<String> = raw.schedules.iter().map(|s| s.name.clone()).collect();
    let inherited = base.schedules.into_iter();
    let inherited = inherited.filter(|preset| !own.contains(&preset.name));
    let all = inherited.chain(raw.schedules);
    let schedules: Vec<Schedule> = all
        .map(|raw| schedule(raw, &time_zone, &limits, zones))
        .collect::<Result<_, _>>()?;
    if schedules.len() > MAX_SCHEDULES {
        return Err(bad(
            "schedules",
            format!("there are more than {MAX_SCHEDULES}"),
        ));
    }
    for (position, schedule) in schedules.iter().enumerate() {
        if schedules[..position]
            .iter()
            .any(|other| other.name == schedule.name)
        {
            return Err(bad(
                format!("schedule {}", schedule.name),
                "the name stands twice",
            ));
        }
    }
    let named_by_default = if own.is_empty() {
        schedules.iter().map(|s| s.name.to_string()).collect()
    } else {
        own
    };
    let rules = rules(raw.rules, base.rules, &schedules, &named_by_default)?;
    Ok(Policy {
        preset: raw.preset,
        cluster,
        time_zone,
        nodes,
        schedules,
        rules,
        retention: retention(raw.retention.or(base.retention))?,
        verify: verify(raw.verify, base.verify)?,
    })
}

fn schedule(
    raw: RawSchedule,
    policy_zone: &TimeZone,
    policy_limits: &CaptureLimits,
    zones: Zones<'_>,
) -> Result<Schedule, BadPolicy> {
    let at = format!("schedule {:?}", raw.name);
    let name: ScheduleName = parsed(&at, &raw.name)?;
    let timing = match (&raw.cron, duration(&at, raw.every.as_ref())?) {
        (Some(cron), None) => Timing::Cron(parsed(&at, cron)?),
        (None, Some(every))
            if (LEAST_EVERY..=MOST_EVERY).contains(&every) && every.subsec_nanos() == 0 =>
        {
            Timing::Every(every)
        }
        (None, Some(_)) => {
            return Err(bad(
                at,
                "every must be between 1s and 366d, in whole seconds",
            ));
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(bad(at, "give either cron or every"));
        }
    };
    let jitter = duration(&at, raw.jitter.as_ref())?.unwrap_or_default();
    if jitter > MAX_JITTER {
        return Err(bad(
            at,
            format!("jitter may be {} at most", duration_text(MAX_JITTER)),
        ));
    }
    let kind = kind(&at, raw.kind.as_deref(), raw.full_every)?;
    let catch_up = match raw.catch_up.as_deref() {
        None | Some("now") => CatchUp::Now,
        Some("skip") => CatchUp::Skip,
        Some(other) => {
            return Err(bad(
                at,
                format!("catch_up {other:?} is unknown: now or skip"),
            ));
        }
    };
    let windows = raw.windows.iter().map(|text| parsed(&at, text));
    let tags = raw.tags.iter().map(|text| parsed(&at, text));
    Ok(Schedule {
        timing,
        zone: zone(&at, raw.time_zone.as_ref(), zones)?.unwrap_or_else(|| policy_zone.clone()),
        jitter,
        windows: Windows(windows.collect::<Result<_, _>>()?),
        kind,
        catch_up,
        unchanged: unchanged(&at, raw.unchanged.as_deref())?,
        early: early(&at, raw.early_after, raw.early_apart.as_ref())?,
        priority: raw.priority,
        tags: tags.collect::<Result<_, _>>()?,
        tolerance: duration(&at, raw.tolerance.as_ref())?,
        limits: limits(&at, raw.limits.as_ref(), policy_limits)?,
        name,
    })
}

fn unchanged(at: &str, text: Option<&str>) -> Result<Unchanged, BadPolicy> {
    match text {
        None | Some("capture") => Ok(Unchanged::Capture),
        Some("skip") => Ok(Unchanged::Skip),
        Some(other) => Err(bad(
            at,
            format!("unchanged {other:?} is unknown: capture or skip"),
        )),
    }
}

fn early(at: &str, after: Option<u64>, apart: Option<&String>) -> Result<Option<Early>, BadPolicy> {
    let apart = duration(at, apart)?;
    let Some(after) = after else {
        return match apart {
            None => Ok(None),
            Some(_) => Err(bad(
                at,
                "early_apart says nothing without early_after, the number of operations",
            )),
        };
    };
    let operations = NonZeroU64::new(after)
        .ok_or_else(|| bad(at, "early_after must be 1 operation at least"))?;
    let apart = apart.unwrap_or(EARLY_APART);
    if apart < LEAST_EARLY_APART {
        let least = duration_text(LEAST_EARLY_APART);
        return Err(bad(at, format!("early_apart must be {least} at least")));
    }
    Ok(Some(Early { operations, apart }))
}

fn kind(at: &str, kind: Option<&str>, full_every: Option<u32>) -> Result<Kind, BadPolicy> {
    Ok(match (kind, full_every) {
        (None | Some("incremental"), None) => Kind::Incremental,
        (Some("full"), None) => Kind::Full,
        (None | Some("incremental"), Some(every)) => match NonZeroU32::new(every) {
            Some(every) if every.get() > 1 => Kind::FullEvery(every),
            Some(_) | None => {
                return Err(bad(
                    at,
                    "full_every must be at least 2; write kind = \"full\" for always",
                ));
            }
        },
        (Some("full"), Some(_)) => {
            return Err(bad(at, "kind = \"full\" and full_every don't go together"));
        }
        (Some(other), _) => {
            return Err(bad(
                at,
                format!("kind {other:?} is unknown: incremental or full"),
            ));
        }
    })
}

fn limits(
    at: &str,
    raw: Option<&RawLimits>,
    base: &CaptureLimits,
) -> Result<CaptureLimits, BadPolicy> {
    let Some(raw) = raw else {
        return Ok(*base);
    };
    // 0 takes a bound of the policy away.
    let bound = |own: Option<u32>, base| own.map_or(base, NonZeroU32::new);
    let latency = duration(at, raw.max_query_latency.as_ref())?;
    let latency = latency.map_or(base.max_query_latency, |own| {
        (!own.is_zero()).then_some(own)
    });
    let limits = CaptureLimits {
        max_nodes: bound(raw.max_nodes, base.max_nodes),
        max_mib_per_sec: bound(raw.max_mib_per_sec, base.max_mib_per_sec),
        max_query_latency: latency,
        max_delay: duration(at, raw.max_delay.as_ref())?.unwrap_or(base.max_delay),
    };
    match limits.out_of_range() {
        Some(rule) => Err(bad(at, rule)),
        None => Ok(limits),
    }
}

fn rules(
    own: Vec<RawPolicyRule>,
    preset: Vec<RawPolicyRule>,
    schedules: &[Schedule],
    by_default: &[String],
) -> Result<Vec<PolicyRule>, BadPolicy> {
    if own.len() > MAX_RULES {
        return Err(bad("rules", format!("there are more than {MAX_RULES}")));
    }
    let implied = (own.is_empty() && preset.is_empty() && !schedules.is_empty()).then(|| {
        let everything = "*".parse().expect("a star is a pattern");
        let rule = RawPolicyRule {
            collections: vec![everything],
            ..RawPolicyRule::default()
        };
        (RuleOrigin::Implied, rule)
    });
    let own = own.into_iter().enumerate();
    let own = own.map(|(position, rule)| (RuleOrigin::File(position + 1), rule));
    let preset = preset.into_iter().map(|rule| (RuleOrigin::Preset, rule));
    own.chain(preset)
        .chain(implied)
        .map(|(origin, raw)| rule(origin, raw, schedules, by_default))
        .collect()
}

fn rule(
    origin: RuleOrigin,
    raw: RawPolicyRule,
    schedules: &[Schedule],
    by_default: &[String],
) -> Result<PolicyRule, BadPolicy> {
    let at = origin.to_string();
    if raw.collections.is_empty() {
        return Err(bad(
            at,
            "collections names nothing: write [\"*\"] for everything",
        ));
    }
    let names = raw.schedules.as_deref().unwrap_or(by_default);
    let mut known = Vec::new();
    for name in names {
        let name: ScheduleName = parsed(&at, name)?;
        if !schedules.iter().any(|schedule| schedule.name == name) {
            return Err(bad(at, format!("there is no schedule {name:?}")));
        }
        known.push(name);
    }
    let rpo = duration(&at, raw.rpo.as_ref())?;
    if rpo.is_some_and(|rpo| rpo.is_zero()) {
        return Err(bad(at, "rpo must be more than nothing"));
    }
    Ok(PolicyRule {
        origin,
        collections: raw.collections,
        except: raw.except,
        priority: raw.priority,
        schedules: known,
        rpo,
        recovery_order: raw.recovery_order.unwrap_or(LAST_IN_ORDER),
    })
}

fn retention(raw: Option<RawPolicyRetention>) -> Result<Option<RetentionPolicy>, BadPolicy> {
    let at = "retention";
    let Some(raw) = raw else {
        return Ok(None);
    };
    let mut policy = match (raw.preset, raw.rules) {
        (Some(Preset::Development), None) => RetentionPolicy::development(),
        (Some(Preset::Staging), None) => RetentionPolicy::staging(),
        (Some(Preset::Production), None) => RetentionPolicy::production(),
        (None, Some(rules)) => RetentionPolicy {
            rules,
            ..RetentionPolicy::staging()
        },
        (Some(_), Some(_)) | (None, None) => {
            return Err(bad(at, "give either preset or [[retention.rules]]"));
        }
    };
    policy.min_proven = raw.min_proven.unwrap_or(policy.min_proven);
    if let Some(hours) = raw.keep_safety_hours {
        policy.keep_safety = Duration::from_hours(hours.into());
    }
    policy
        .validate()
        .map_err(|error| bad(at, error.to_string()))?;
    Ok(Some(policy))
}

fn verify(
    own: Option<RawPolicyVerify>,
    base: Option<RawPolicyVerify>,
) -> Result<Option<VerifyPolicy>, BadPolicy> {
    /// As in the coordinator's own configuration.
    const EVERY_HOURS: u32 = 24;
    const SAMPLE_PERCENT: u8 = 5;
    const MAX_MIB_PER_SEC: u32 = 50;
    if own.is_none() && base.is_none() {
        return Ok(None);
    }
    let (own, base) = (own.unwrap_or_default(), base.unwrap_or_default());
    let every = own.every_hours.or(base.every_hours).unwrap_or(EVERY_HOURS);
    let days = own.full_every_days.or(base.full_every_days).unwrap_or(0);
    let sample = own.sample_percent.or(base.sample_percent);
    let sample_percent = sample.unwrap_or(SAMPLE_PERCENT);
    if sample_percent > 100 {
        return Err(bad("verify", "sample_percent must be at most 100"));
    }
    let some = |hours: u64| (hours > 0).then(|| Duration::from_hours(hours));
    Ok(Some(VerifyPolicy {
        every: some(every.into()),
        sample_percent,
        full_every: some(u64::from(days) * 24),
        max_mib_per_sec: own.max_mib_per_sec.unwrap_or(MAX_MIB_PER_SEC),
    }))
}

impl Policy {
    /// What a person should look at again, although it can be meant.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        for schedule in &self.schedules {
            if let Timing::Every(every) = schedule.timing
                && every < Duration::from_mins(1)
            {
                advice.push(format!(
                    "schedule {}: every {} is for tests: each snapshot under writes leaves Qdrant a small segment",
                    schedule.name,
                    duration_text(every)
                ));
            }
            let limits = &schedule.limits;
            if limits.max_delay != CaptureLimits::default().max_delay
                && limits.max_query_latency.is_none()
            {
                advice.push(format!(
                    "schedule {}: max_delay says nothing without max_query_latency",
                    schedule.name
                ));
            }
            let used = |rule: &PolicyRule| rule.schedules.contains(&schedule.name);
            if !self.rules.iter().any(used) {
                advice.push(format!(
                    "schedule {}: no rule names it, so it captures nothing",
                    schedule.name
                ));
            }
        }
        for rule in &self.rules {
            if rule.schedules.is_empty() {
                advice.push(format!(
                    "{}: nothing captures its collections by itself",
                    rule.origin
                ));
            }
        }
        if self.schedules.is_empty() {
            advice.push("there are no schedules: nothing is captured by itself".to_owned());
        }
        advice
    }
}
