//! Copies of the repository, as configured.

use super::raw::{RawS3, RawVerify};
use super::retention::{self, RawRetention};
use super::{
    CoordinatorConfigError, Location, RetentionSection, VerifySection, location, validate_verify,
};
use holdfast_decide::schedule::{Cron, Timing};
use holdfast_store::StoreLimits;
use holdfast_types::CopyName;
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

/// How far a continuous copy may stay behind before somebody is told, if nothing is configured.
const DEFAULT_MAX_LAG_HOURS: u32 = 1;

/// How often its rules are applied, if nothing is configured: it costs reading every recipe from a place that may be far.
const DEFAULT_EVERY_HOURS: u32 = 24;

/// One copy.
#[derive(Clone, Debug)]
pub struct CopySection {
    /// Its name.
    pub name: CopyName,
    /// Where it is.
    pub place: Location,
    /// Bounds on what is read from and written to it.
    pub limits: StoreLimits,
    /// When it is brought up to date; all the time if absent.
    pub timing: Option<Timing>,
    /// The zone of that calendar.
    pub time_zone: TimeZone,
    /// How far it may stay behind.
    pub max_lag: Duration,
    /// Which recovery points stay on it.
    pub retention: RetentionSection,
    /// Checks of it in the background.
    pub verify: VerifySection,
}

impl CopySection {
    /// When it is brought up to date, in words.
    #[must_use]
    pub fn schedule(&self) -> String {
        match &self.timing {
            None => "continuous".to_owned(),
            Some(timing) => match self.time_zone.iana_name() {
                Some(zone) if zone != "UTC" => format!("{timing} ({zone})"),
                Some(_) | None => timing.to_string(),
            },
        }
    }
}

/// The section as it stands in the file.
#[derive(Debug, Deserialize)]
pub(super) struct RawCopy {
    name: String,
    path: Option<PathBuf>,
    s3: Option<RawS3>,
    max_mib_per_sec: Option<u64>,
    cron: Option<String>,
    time_zone: Option<String>,
    max_lag_hours: Option<u32>,
    retention: Option<RawRetention>,
    #[serde(default)]
    verify: RawVerify,
}

/// Checks the sections. No two have one name or one place, and none that of the repository.
pub(super) fn validate(
    raw: Vec<RawCopy>,
    primary: &Location,
) -> Result<Vec<CopySection>, CoordinatorConfigError> {
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::from([primary.to_string()]));
    let mut copies = Vec::new();
    for raw in raw {
        let name = raw.name.clone();
        let within = |source| CoordinatorConfigError::Copy {
            name: name.clone(),
            source: Box::new(source),
        };
        let copy = one(raw).map_err(within)?;
        let value = |key, rule| within(CoordinatorConfigError::Value { key, rule });
        if !names.insert(copy.name.clone()) {
            return Err(value("name", "is that of another copy"));
        }
        if !places.insert(copy.place.to_string()) {
            return Err(value(
                "path or s3",
                "is the place of the repository, or of another copy",
            ));
        }
        copies.push(copy);
    }
    Ok(copies)
}

fn one(raw: RawCopy) -> Result<CopySection, CoordinatorConfigError> {
    let RawCopy {
        name,
        path,
        s3,
        max_mib_per_sec,
        cron,
        time_zone,
        max_lag_hours,
        retention,
        verify,
    } = raw;
    let value = |key, rule| CoordinatorConfigError::Value { key, rule };
    let timing = match cron {
        None => None,
        Some(text) => Some(Timing::Cron(
            text.parse::<Cron>().map_err(CoordinatorConfigError::Cron)?,
        )),
    };
    if timing.is_none() && time_zone.is_some() {
        return Err(value(
            "time_zone",
            "is the calendar of cron, and there is none: name one, or leave it out",
        ));
    }
    let max_lag_hours = match (max_lag_hours, &timing) {
        (Some(0), _) => return Err(value("max_lag_hours", "must be at least 1")),
        (Some(hours), _) => hours,
        (None, None) => DEFAULT_MAX_LAG_HOURS,
        (None, Some(_)) => return Err(value("max_lag_hours", "must stand beside cron")),
    };
    let bytes_per_second = match max_mib_per_sec {
        Some(0) => {
            return Err(value(
                "max_mib_per_sec",
                "must be at least 1; leave it out for no limit",
            ));
        }
        given => given.and_then(|mib| NonZeroU64::new(mib.saturating_mul(1 << 20))),
    };
    let retention = retention::validate_every(retention, DEFAULT_EVERY_HOURS)?;
    if retention.two_person {
        return Err(value(
            "retention.two_person",
            "stands under [retention] only",
        ));
    }
    let place = location::validate(path, s3)?;
    Ok(CopySection {
        name: super::named("name", &name)?,
        place,
        limits: StoreLimits {
            bytes_per_second,
            ..StoreLimits::default()
        },
        timing,
        time_zone: retention::time_zone("time_zone", time_zone.as_deref())?,
        max_lag: Duration::from_secs(u64::from(max_lag_hours) * 3600),
        retention,
        verify: validate_verify(verify)?,
    })
}

#[cfg(test)]
mod tests {
    use crate::config::{CoordinatorConfig, DEFAULT_CONFIG, Location, load};
    use crate::fault::chain;
    use holdfast_service::config::Strictness;
    use std::time::Duration;

    fn read(more: &str) -> Result<CoordinatorConfig, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, format!("{DEFAULT_CONFIG}\n{more}")).unwrap();
        let loaded = load(&path, Strictness::Strict);
        loaded
            .map(|(config, _)| config)
            .map_err(|error| chain(&error))
    }

    #[test]
    fn copies_have_places_schedules_and_rules_of_their_own() {
        let config = read(
            "[[copy]]\nname = \"near\"\npath = \"/mnt/near\"\n\
             [[copy]]\nname = \"far\"\ncron = \"0 3 * * *\"\ntime_zone = \"Europe/Berlin\"\n\
             max_lag_hours = 30\nmax_mib_per_sec = 20\n[copy.s3]\nbucket = \"far\"\n\
             lock_days = 30\ncold_after_days = 90\n\
             [copy.retention]\npreset = \"production\"\n[copy.verify]\nfull_every_days = 30\n",
        );
        let config = config.unwrap();
        let [near, far] = config.copies.as_slice() else {
            panic!("{:?}", config.copies);
        };
        assert_eq!(near.schedule(), "continuous");
        assert_eq!(near.max_lag, Duration::from_hours(1));
        assert!(near.retention.policy.is_none());
        let Location::S3(place) = &far.place else {
            panic!("{:?}", far.place);
        };
        assert_eq!(place.lock.unwrap().period, Duration::from_hours(30 * 24));
        assert_eq!(place.cold.unwrap().after, Duration::from_hours(90 * 24));
        assert_eq!(far.schedule(), "cron 0 3 * * * (Europe/Berlin)");
        assert_eq!(far.limits.bytes_per_second.unwrap().get(), 20 << 20);
        assert_eq!(far.retention.policy.as_ref().unwrap().min_proven, 3);
        assert_eq!(far.verify.full_every, Some(Duration::from_hours(720)));
    }

    #[test]
    fn what_can_not_be_meant_is_refused_by_name() {
        let twice = "[[copy]]\nname = \"b\"\npath = \"/b\"\n";
        for (text, says) in [
            ("[[copy]]\nname = \"b\"\n", "exactly one of path and"),
            (
                "[[copy]]\nname = \"B b\"\npath = \"/b\"\n",
                "name is not valid",
            ),
            (
                "[[copy]]\nname = \"b\"\npath = \"/var/lib/holdfast-repository\"\n",
                "the place of the repository",
            ),
            (
                "[[copy]]\nname = \"b\"\npath = \"/b\"\ncron = \"0 3 * *\"\n",
                "4 fields",
            ),
            (
                "[[copy]]\nname = \"b\"\npath = \"/b\"\ncron = \"0 3 * * *\"\n",
                "max_lag_hours must stand beside cron",
            ),
            (
                "[[copy]]\nname = \"b\"\npath = \"/b\"\ntime_zone = \"Europe/Berlin\"\n",
                "time_zone is the calendar of cron, and there is none",
            ),
            (
                "[[copy]]\nname = \"b\"\npath = \"/b\"\n[copy.retention]\ntime_zone = \"Europe/Berlin\"\n",
                "retention.time_zone is the calendar of rules, and there are none",
            ),
            (
                "[[copy]]\nname = \"b\"\npath = \"/b\"\n[copy.retention]\ntwo_person = true\n",
                "stands under [retention] only",
            ),
            ("[[copy]]\nname = \"b\"\npath = \"/b\"\nevery = 1\n", "copy"),
            (
                "[[copy]]\nname = \"b\"\n[copy.s3]\nbucket = \"backups\"\nlock_mode = \"compliance\"\n",
                "lock_mode needs lock_days beside it",
            ),
            (&format!("{twice}{twice}"), "that of another copy"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }
}
