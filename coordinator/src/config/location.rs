//! Where the repository is: a directory, or a bucket with its limits.

use super::CoordinatorConfigError;
use super::raw::{RawColdClass, RawLockMode, RawS3};
use holdfast_repository::{ColdRule, LockRule};
use holdfast_store::{ColdClass, LockMode, StoreLimits};
use holdfast_store_s3::{Credentials, S3Options};
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// The place of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A directory.
    Disk(PathBuf),
    /// A bucket of S3, or of a service like it.
    S3(Box<S3Location>),
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Location {
    /// Which, and how to reach it.
    pub options: S3Options,
    /// Bounds on what is asked of it.
    pub limits: StoreLimits,
    /// How long what recovery points need is locked; `None` if it is not.
    pub lock: Option<LockRule>,
    /// When packs are moved to a cheaper class; `None` if never.
    pub cold: Option<ColdRule>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(path) => path.display().fmt(f),
            Self::S3(s3) => {
                let S3Options { bucket, prefix, .. } = &s3.options;
                let slash = if prefix.is_empty() { "" } else { "/" };
                write!(f, "s3://{bucket}{slash}{prefix}")
            }
        }
    }
}

/// Exactly one of the two.
pub(super) fn validate(
    path: Option<PathBuf>,
    s3: Option<RawS3>,
) -> Result<Location, CoordinatorConfigError> {
    match (path, s3) {
        (Some(path), None) => Ok(Location::Disk(path)),
        (None, Some(s3)) => bucket(s3).map(|s3| Location::S3(Box::new(s3))),
        (Some(_), Some(_)) | (None, None) => Err(CoordinatorConfigError::Value {
            key: "repository",
            rule: "needs exactly one of path and [repository.s3]",
        }),
    }
}

fn bucket(raw: RawS3) -> Result<S3Location, CoordinatorConfigError> {
    let RawS3 {
        bucket,
        prefix,
        region,
        endpoint,
        path_style,
        ca_file,
        profile,
        profile_file,
        max_mib_per_sec,
        max_requests_per_sec,
        max_concurrent,
        lock_days,
        lock_mode,
        cold_after_days,
        cold_class,
    } = raw;
    let credentials = match (profile, profile_file) {
        (Some(name), file) => Credentials::Profile { name, file },
        (None, None) => Credentials::Chain,
        (None, Some(_)) => {
            return Err(CoordinatorConfigError::Value {
                key: "repository.s3.profile_file",
                rule: "needs a profile beside it",
            });
        }
    };
    let endpoint = endpoint.map(|text| text.parse::<Url>()).transpose();
    let endpoint = endpoint.map_err(|_| CoordinatorConfigError::Value {
        key: "repository.s3.endpoint",
        rule: "must be an address such as https://s3.example.com",
    })?;
    let options = S3Options {
        prefix,
        region,
        endpoint,
        ca_file,
        path_style,
        credentials,
        ..S3Options::new(bucket)
    };
    options.validate().map_err(CoordinatorConfigError::S3)?;
    let bytes = max_mib_per_sec.map(|mib| mib.saturating_mul(1 << 20));
    let limits = StoreLimits {
        bytes_per_second: at_least_one("repository.s3.max_mib_per_sec", bytes, NonZeroU64::new)?,
        requests_per_second: at_least_one(
            "repository.s3.max_requests_per_sec",
            max_requests_per_sec,
            NonZeroU32::new,
        )?,
        concurrent: at_least_one(
            "repository.s3.max_concurrent",
            max_concurrent,
            NonZeroU32::new,
        )?,
    };
    Ok(S3Location {
        options,
        limits,
        lock: lock(lock_days, lock_mode)?,
        cold: cold(cold_after_days, cold_class)?,
    })
}

fn lock(
    period: Option<u32>,
    mode: Option<RawLockMode>,
) -> Result<Option<LockRule>, CoordinatorConfigError> {
    let mode = match (period, mode) {
        (None, Some(_)) => {
            return Err(CoordinatorConfigError::Value {
                key: "repository.s3.lock_mode",
                rule: "needs lock_days beside it",
            });
        }
        (_, None | Some(RawLockMode::Governance)) => LockMode::Governance,
        (_, Some(RawLockMode::Compliance)) => LockMode::Compliance,
    };
    let period = days("repository.s3.lock_days", period)?;
    Ok(period.map(|period| LockRule { mode, period }))
}

fn cold(
    after: Option<u32>,
    class: Option<RawColdClass>,
) -> Result<Option<ColdRule>, CoordinatorConfigError> {
    let class = match (after, class) {
        (None, Some(_)) => {
            return Err(CoordinatorConfigError::Value {
                key: "repository.s3.cold_class",
                rule: "needs cold_after_days beside it",
            });
        }
        (_, None | Some(RawColdClass::InfrequentAccess)) => ColdClass::InfrequentAccess,
        (_, Some(RawColdClass::InstantArchive)) => ColdClass::InstantArchive,
    };
    let after = days("repository.s3.cold_after_days", after)?;
    Ok(after.map(|after| ColdRule { class, after }))
}

/// At most a century: a lock can't be taken back.
fn days(key: &'static str, days: Option<u32>) -> Result<Option<Duration>, CoordinatorConfigError> {
    match days {
        None => Ok(None),
        Some(days @ 1..=36_525) => Ok(Some(Duration::from_hours(24 * u64::from(days)))),
        Some(_) => Err(CoordinatorConfigError::Value {
            key,
            rule: "must be 1 to 36525 days; leave it out to switch it off",
        }),
    }
}

fn at_least_one<N, T>(
    key: &'static str,
    value: Option<N>,
    non_zero: impl FnOnce(N) -> Option<T>,
) -> Result<Option<T>, CoordinatorConfigError> {
    let rule = "must be at least 1; leave it out for no limit";
    let Some(value) = value else { return Ok(None) };
    let checked = non_zero(value).ok_or(CoordinatorConfigError::Value { key, rule })?;
    Ok(Some(checked))
}
