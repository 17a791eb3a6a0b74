//! The configuration as it stands in the file; checked by the module above.

use holdfast_certs::TlsPaths;
use holdfast_service::logging::LogConfig;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Deserialize)]
pub(super) struct RawConfig {
    pub(super) node: String,
    pub(super) cluster: String,
    pub(super) state_dir: PathBuf,
    pub(super) health_listen: Option<SocketAddr>,
    pub(super) coordinator: RawCoordinator,
    pub(super) tls: TlsPaths,
    pub(super) qdrant: RawQdrant,
    #[serde(default)]
    pub(super) capture: RawCapture,
    #[serde(default)]
    pub(super) wal: RawWal,
    #[serde(default)]
    pub(super) watch: RawWatch,
    #[serde(default)]
    pub(super) extra: Vec<RawExtra>,
    #[serde(default)]
    pub(super) spool: RawSpool,
    #[serde(default)]
    pub(super) limits: RawLimits,
    #[serde(default)]
    pub(super) log: LogConfig,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawCoordinator {
    pub(super) endpoint: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawQdrant {
    pub(super) url: String,
    pub(super) api_key_file: Option<PathBuf>,
    pub(super) snapshots_dir: Option<PathBuf>,
    pub(super) storage_dir: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct RawCapture {
    pub(super) way: String,
    pub(super) full_every: u64,
    pub(super) optimizer_wait_secs: u64,
}

impl Default for RawCapture {
    fn default() -> Self {
        Self {
            way: "whole".to_owned(),
            full_every: 24,
            optimizer_wait_secs: 10,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct RawWal {
    pub(super) archive: bool,
    pub(super) poll_ms: u64,
    pub(super) max_unsent_mib: u64,
}

impl Default for RawWal {
    fn default() -> Self {
        Self {
            archive: false,
            poll_ms: 100,
            max_unsent_mib: 32,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct RawWatch {
    pub(super) every_secs: u64,
}

impl Default for RawWatch {
    fn default() -> Self {
        Self { every_secs: 10 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct RawSpool {
    pub(super) max_mib: u64,
}

impl Default for RawSpool {
    fn default() -> Self {
        Self { max_mib: 1024 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct RawLimits {
    pub(super) encode_threads: u64,
    pub(super) retry_secs: u64,
    pub(super) qdrant_bulk_timeout_secs: u64,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            encode_threads: 0,
            retry_secs: 900,
            qdrant_bulk_timeout_secs: 3600,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct RawExtra {
    pub(super) name: String,
    pub(super) paths: Vec<PathBuf>,
    #[serde(default)]
    pub(super) config: bool,
    #[serde(default)]
    pub(super) before: Vec<String>,
    #[serde(default)]
    pub(super) after: Vec<String>,
    #[serde(default = "default_timeout_secs")]
    pub(super) timeout_secs: u64,
    #[serde(default)]
    pub(super) required: bool,
    #[serde(default = "default_max_mib")]
    pub(super) max_mib: u64,
}

fn default_timeout_secs() -> u64 {
    300
}

fn default_max_mib() -> u64 {
    1024
}
