//! The configuration as it stands in the file; checked by the module above.

use super::copy::RawCopy;
use super::retention::RawRetention;
use holdfast_service::logging::LogConfig;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Deserialize)]
pub(super) struct RawConfig {
    pub(super) name: String,
    pub(super) cluster: String,
    pub(super) namespace: Option<String>,
    pub(super) listen: SocketAddr,
    pub(super) state_dir: PathBuf,
    pub(super) health_listen: Option<SocketAddr>,
    pub(super) policy: Option<PathBuf>,
    pub(super) tls: RawTls,
    pub(super) repository: RawRepository,
    #[serde(default, rename = "copy")]
    pub(super) copies: Vec<RawCopy>,
    pub(super) retention: Option<RawRetention>,
    #[serde(default)]
    pub(super) wal: RawWal,
    #[serde(default)]
    pub(super) limits: RawLimits,
    #[serde(default)]
    pub(super) verify: RawVerify,
    pub(super) enrolment: Option<RawEnrolment>,
    #[serde(default)]
    pub(super) log: LogConfig,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawEnrolment {
    pub(super) listen: SocketAddr,
    pub(super) ca_cert: PathBuf,
    pub(super) ca_key: PathBuf,
    pub(super) days: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawTls {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    pub(super) ca: PathBuf,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawRepository {
    pub(super) path: Option<PathBuf>,
    pub(super) s3: Option<RawS3>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) key_env: Option<String>,
    pub(super) passphrase_file: Option<PathBuf>,
    pub(super) passphrase_env: Option<String>,
    pub(super) key_command: Option<Vec<String>>,
    pub(super) key_command_timeout_secs: Option<u64>,
    pub(super) recovery_sheet: Option<PathBuf>,
    #[serde(default)]
    pub(super) init: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawS3 {
    pub(super) bucket: String,
    #[serde(default)]
    pub(super) prefix: String,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    #[serde(default)]
    pub(super) path_style: bool,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) profile: Option<String>,
    pub(super) profile_file: Option<PathBuf>,
    pub(super) max_mib_per_sec: Option<u64>,
    pub(super) max_requests_per_sec: Option<u32>,
    pub(super) max_concurrent: Option<u32>,
    pub(super) lock_days: Option<u32>,
    pub(super) lock_mode: Option<RawLockMode>,
    pub(super) cold_after_days: Option<u32>,
    pub(super) cold_class: Option<RawColdClass>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawLockMode {
    Governance,
    Compliance,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawColdClass {
    InfrequentAccess,
    InstantArchive,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct RawLimits {
    pub(super) agent_grace_secs: u64,
    pub(super) replica_grace_secs: u64,
    pub(super) command_silence_secs: u64,
    pub(super) heartbeat_interval_ms: u32,
    pub(super) kept_jobs: u32,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            agent_grace_secs: 60,
            replica_grace_secs: 20,
            command_silence_secs: 3900,
            heartbeat_interval_ms: 5000,
            kept_jobs: 200,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct RawWal {
    pub(super) flush_ms: u32,
    pub(super) flush_kib: u32,
    pub(super) prompt_base: bool,
}

impl Default for RawWal {
    fn default() -> Self {
        Self {
            flush_ms: 500,
            flush_kib: 4096,
            prompt_base: true,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct RawVerify {
    pub(super) every_hours: u32,
    pub(super) sample_percent: u8,
    pub(super) full_every_days: u32,
    pub(super) max_mib_per_sec: u32,
}

impl Default for RawVerify {
    fn default() -> Self {
        Self {
            every_hours: 24,
            sample_percent: 5,
            full_every_days: 0,
            max_mib_per_sec: 50,
        }
    }
}
