//! How agents are given certificates.

use super::CoordinatorConfigError;
use super::raw::RawEnrolment;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Days that an enrolled agent's certificate is valid, where nothing is said.
const DAYS: u32 = 365;

/// How agents are given certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolmentSection {
    /// Where callers without a certificate are served.
    pub listen: SocketAddr,
    /// The authority that signs.
    pub ca_cert: PathBuf,
    /// Its key.
    pub ca_key: PathBuf,
    /// How long what it signs is valid.
    pub validity: Duration,
}

pub(super) fn validate(raw: RawEnrolment) -> Result<EnrolmentSection, CoordinatorConfigError> {
    let RawEnrolment {
        listen,
        ca_cert,
        ca_key,
        days,
    } = raw;
    let days = days.unwrap_or(DAYS);
    if !(1..=3650).contains(&days) {
        return Err(CoordinatorConfigError::Value {
            key: "enrolment.days",
            rule: "must be from 1 to 3650",
        });
    }
    Ok(EnrolmentSection {
        listen,
        ca_cert,
        ca_key,
        validity: Duration::from_secs(u64::from(days) * 86_400),
    })
}
