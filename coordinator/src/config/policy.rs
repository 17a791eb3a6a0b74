//! The policy file, and what of it stands in place of other sections.

use super::{CoordinatorConfigError, RetentionSection, VerifySection};
use holdfast_decide::policy::{BadPolicy, Policy, RawPolicy, validate};
use holdfast_service::config::{self, Strictness};
use holdfast_types::ClusterName;
use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};

/// A policy as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedPolicy {
    /// The file.
    pub path: PathBuf,
    /// What it said.
    pub text: String,
    /// What that means.
    pub policy: Policy,
}

/// Reads a policy. Unknown keys are refused whatever else is lenient: a misspelt one would leave something uncaptured.
///
/// # Errors
/// A file that can't be read, can't be meant, or is for another than the given deployment.
pub fn load_policy(
    path: &Path,
    cluster: Option<&ClusterName>,
) -> Result<LoadedPolicy, CoordinatorConfigError> {
    let text = config::read(path)?;
    parse_policy(path, text, cluster)
}

/// Reads the text of a policy; `path` only appears in messages.
///
/// # Errors
/// As [`load_policy`].
pub fn parse_policy(
    path: &Path,
    text: String,
    cluster: Option<&ClusterName>,
) -> Result<LoadedPolicy, CoordinatorConfigError> {
    let raw = config::parse::<RawPolicy>(&text, path, Strictness::Strict)?.value;
    let checked = validate(raw, &|zone| TimeZone::get(zone).ok());
    let checked = checked.and_then(|policy| of_this_deployment(policy, cluster));
    let path = path.to_owned();
    match checked {
        Ok(policy) => Ok(LoadedPolicy { path, text, policy }),
        Err(source) => Err(CoordinatorConfigError::Policy { path, source }),
    }
}

/// A policy of another deployment must not be followed.
fn of_this_deployment(policy: Policy, cluster: Option<&ClusterName>) -> Result<Policy, BadPolicy> {
    match (&policy.cluster, cluster) {
        (Some(named), Some(cluster)) if named != cluster => Err(BadPolicy {
            at: "cluster".to_owned(),
            why: "it is for another deployment".to_owned(),
        }),
        (Some(_) | None, _) => Ok(policy),
    }
}

/// What the policy says of retention and checks stands in place of the configuration's sections.
pub(super) fn apply(
    policy: &Policy,
    retention: &mut RetentionSection,
    verify: &mut VerifySection,
) -> Result<(), CoordinatorConfigError> {
    if let Some(rules) = &policy.retention {
        if retention.policy.is_some() {
            return Err(CoordinatorConfigError::Value {
                key: "retention",
                rule: "can't have rules or a preset beside a policy that has them, or a preset: choose one place",
            });
        }
        retention.policy = Some(rules.clone());
        retention.time_zone = policy.time_zone.clone();
    }
    if let Some(checks) = policy.verify {
        *verify = VerifySection {
            every: checks.every,
            sample_percent: checks.sample_percent,
            full_every: checks.full_every,
            max_mib_per_sec: checks.max_mib_per_sec,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{apply, load_policy};
    use crate::config::{DEFAULT_CONFIG, load as load_config};
    use holdfast_decide::policy::Policy;
    use holdfast_service::config::Strictness;
    use std::error::Error;

    fn read(text: &str) -> Result<Policy, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        std::fs::write(&path, text).unwrap();
        let read = load_policy(&path, Some(&"demo".parse().unwrap()));
        read.map(|loaded| loaded.policy).map_err(|error| {
            let source = error.source().map(ToString::to_string);
            format!("{error}: {}", source.unwrap_or_default())
        })
    }

    #[test]
    fn what_can_not_be_meant_here_is_refused() {
        read("preset = \"production\"\ncluster = \"demo\"").unwrap();
        read("preset = \"staging\"\n[limits]\nmax_query_latency = \"50ms\"\nmax_delay = \"2h\"")
            .unwrap();
        for (text, want) in [
            (
                "preset = \"staging\"\ncluster = \"other\"",
                "another deployment",
            ),
            (
                "preset = \"staging\"\n[limits]\nmax_query_latency = \"50m\"",
                "max_query_latency must be",
            ),
            ("preset = \"staging\"\nschedule = 1", "schedule"),
            (
                "[[schedules]]\nname = \"s\"\ncron = \"61 * * * *\"",
                "schedule \"s\"",
            ),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(want), "{refused} lacks {want}");
        }
    }

    #[test]
    fn the_examples_are_valid() {
        for text in [
            include_str!("../../../deploy/policy/development.toml"),
            include_str!("../../../deploy/policy/staging.toml"),
            include_str!("../../../deploy/policy/production.toml"),
        ] {
            assert_eq!(
                read(text)
                    .unwrap()
                    .advice()
                    .iter()
                    .filter(|a| !a.contains("rule "))
                    .count(),
                0
            );
        }
    }

    #[test]
    fn its_retention_and_checks_stand_in_place_of_the_sections() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, DEFAULT_CONFIG).unwrap();
        let (mut config, _) = load_config(&path, Strictness::Strict).unwrap();
        let policy = read("preset = \"production\"\ntime_zone = \"Europe/Berlin\"").unwrap();
        apply(&policy, &mut config.retention, &mut config.verify).unwrap();
        assert_eq!(config.retention.policy, policy.retention);
        assert_eq!(config.retention.time_zone, policy.time_zone);
        assert_eq!(config.verify.full_every, policy.verify.unwrap().full_every);
        let twice = apply(&policy, &mut config.retention, &mut config.verify);
        assert!(twice.unwrap_err().to_string().contains("choose one place"));
    }
}
