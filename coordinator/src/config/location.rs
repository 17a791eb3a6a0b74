//! Where the repository is: a directory, or a bucket with its limits.

use super::CoordinatorConfigError;
use super::raw::RawS3;
use holdfast_store::StoreLimits;
use holdfast_store_s3::{Credentials, S3Options};
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
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
    Ok(S3Location { options, limits })
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
