//! The agent's configuration: TOML as written, then checked values that the rest may trust.
//!
//! It reads no secret: key files are read by whoever uses them, when they are used.

use crate::order::Method;
use holdfast_certs::TlsPaths;
use holdfast_service::config::{self, Strictness, UnknownKey};
use holdfast_service::logging::{self, LogConfig, LoggingError};
use holdfast_types::{ByteCount, ClusterName, NodeId, ParseNameError};
use rustix::fs::{Access, access};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

mod extra;
mod raw;

use extra::Forbidden;
pub use extra::{ExtraSection, Hook, MAX_EXTRAS};
use raw::RawConfig;

/// The documented default configuration, as `holdfast-agent config default` prints it.
pub const DEFAULT_CONFIG: &str = include_str!("config/default.toml");

/// Everything that is configured.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// This node's name; must be the one in the certificate.
    pub node: NodeId,
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// Directory of journal and spool.
    pub state_dir: PathBuf,
    /// Where `/livez` and `/readyz` answer; nowhere if absent.
    pub health_listen: Option<SocketAddr>,
    /// `https://host:port` of the coordinator.
    pub coordinator: Url,
    /// The agent's identity.
    pub tls: TlsPaths,
    /// The node beside which it runs.
    pub qdrant: QdrantSection,
    /// How shards are captured.
    pub capture: CaptureSection,
    /// How logs are followed.
    pub wal: WalSection,
    /// How the storage directory is watched.
    pub watch: WatchSection,
    /// Files beside Qdrant's own that go into the same recovery points.
    pub extras: Vec<ExtraSection>,
    /// Most bytes of a snapshot stream that wait on disk.
    pub spool_limit: ByteCount,
    /// Bounds of effort.
    pub limits: Limits,
    /// The log.
    pub log: LogConfig,
}

/// How Qdrant is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QdrantSection {
    /// Base URL of its REST interface.
    pub url: Url,
    /// File with the API key, if it asks for one.
    pub api_key_file: Option<PathBuf>,
    /// Qdrant's snapshots directory, if this machine or container sees it.
    pub snapshots_dir: Option<PathBuf>,
    /// Qdrant's storage directory, if this machine or container sees it.
    pub storage_dir: Option<PathBuf>,
}

/// How shards are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureSection {
    /// The way, where the order leaves it open. `None`: stored where the snapshots are shared, else a stream.
    pub way: Option<Method>,
    /// One in so many captures of a shard is read from Qdrant in full and compared with the others.
    pub full_every: u32,
    /// How long a capture waits for a running optimizer, all its tries together.
    pub optimizer_wait: Duration,
}

/// How write-ahead logs are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalSection {
    /// Whether they are archived.
    pub archive: bool,
    /// Time between two looks at a log.
    pub poll: Duration,
    /// Most bytes of entries that are read and not durable yet.
    pub max_unsent: usize,
}

/// How the storage directory is watched, where it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchSection {
    /// Time between two looks at all files, if nothing is noticed before.
    pub every: Duration,
}

/// Bounds of effort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Threads that compress.
    pub encode_threads: usize,
    /// How long a command goes on trying to reach the coordinator.
    pub retry_for: Duration,
    /// How long Qdrant may take to make a stored snapshot or to take an upload in.
    pub qdrant_bulk_timeout: Duration,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum AgentConfigError {
    /// The file can't be read or is not TOML of this form.
    #[error(transparent)]
    File(#[from] config::ConfigError),
    /// A name breaks its rule.
    #[error("{key} is not valid")]
    Name {
        /// The key.
        key: &'static str,
        /// The rule.
        #[source]
        source: ParseNameError,
    },
    /// A URL can't be parsed.
    #[error("{key} is not a URL")]
    Url {
        /// The key.
        key: &'static str,
        /// Why.
        #[source]
        source: url::ParseError,
    },
    /// A value makes no sense.
    #[error("{key} {rule}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// An extra makes no sense.
    #[error("[[extra]] {name}: {why}")]
    Extra {
        /// Its name as written.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A path that must exist does not, or can't be read.
    #[error("{key}: can't read {}: it must be there and readable by this user", path.display())]
    Path {
        /// The key.
        key: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The state directory can't be used.
    #[error(
        "state_dir: can't use {}: it must be a directory that this user can create or write to",
        path.display()
    )]
    StateDir {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The log filter can't be parsed.
    #[error("log.filter is not valid")]
    Log(#[source] LoggingError),
}

/// Reads the file at `path`. Returns the unknown keys it has, unless `strictness` makes them an error.
///
/// # Errors
/// [`AgentConfigError`].
pub fn load(
    path: &Path,
    strictness: Strictness,
) -> Result<(AgentConfig, Vec<UnknownKey>), AgentConfigError> {
    let loaded = config::load::<RawConfig>(path, strictness)?;
    Ok((check(loaded.value)?, loaded.unknown_keys))
}

impl AgentConfig {
    /// Looks whether the configured files are there and readable, and whether the state directory can be
    /// written to, or made. Changes nothing.
    ///
    /// # Errors
    /// [`AgentConfigError::Path`] or [`AgentConfigError::StateDir`], for the first that is not.
    pub fn check_paths(&self) -> Result<(), AgentConfigError> {
        let files = [
            ("tls.cert", Some(&self.tls.cert)),
            ("tls.key", Some(&self.tls.key)),
            ("tls.ca", Some(&self.tls.ca)),
            ("qdrant.api_key_file", self.qdrant.api_key_file.as_ref()),
        ];
        let dirs = [
            ("qdrant.snapshots_dir", self.qdrant.snapshots_dir.as_ref()),
            ("qdrant.storage_dir", self.qdrant.storage_dir.as_ref()),
        ];
        for (key, path) in files {
            check_path(key, path, |path| std::fs::File::open(path).map(drop))?;
        }
        for (key, path) in dirs {
            check_path(key, path, |path| std::fs::read_dir(path).map(drop))?;
        }
        self.extras.iter().try_for_each(check_extra)?;
        check_writable(&self.state_dir).map_err(|source| AgentConfigError::StateDir {
            path: self.state_dir.clone(),
            source,
        })
    }
}

/// The programs of hooks must be there; files, too, where no hook makes them.
fn check_extra(extra: &ExtraSection) -> Result<(), AgentConfigError> {
    for (key, hook) in [
        ("extra.before", &extra.before),
        ("extra.after", &extra.after),
    ] {
        let program = hook.as_ref().map(|hook| &hook.program);
        check_path(key, program, |path| {
            let is_file = std::fs::metadata(path)?.is_file();
            access(path, Access::EXEC_OK)?;
            if is_file {
                Ok(())
            } else {
                Err(std::io::ErrorKind::IsADirectory.into())
            }
        })?;
    }
    for path in extra.paths.iter().filter(|_| extra.before.is_none()) {
        check_path("extra.paths", Some(path), |path| {
            std::fs::metadata(path)?;
            access(path, Access::READ_OK).map_err(Into::into)
        })?;
    }
    Ok(())
}

/// Whether this user may write to the directory, or, as long as it is missing, to that in which it would be made.
fn check_writable(dir: &Path) -> std::io::Result<()> {
    for dir in dir.ancestors() {
        // The parent of a relative path's first part.
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        match std::fs::metadata(dir) {
            Ok(found) if found.is_dir() => {
                access(dir, Access::WRITE_OK | Access::EXEC_OK)?;
                return Ok(());
            }
            Ok(_) => return Err(std::io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::ErrorKind::NotFound.into())
}

fn check_path(
    key: &'static str,
    path: Option<&PathBuf>,
    look: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<(), AgentConfigError> {
    let Some(path) = path else { return Ok(()) };
    look(path).map_err(|source| AgentConfigError::Path {
        key,
        path: path.clone(),
        source,
    })
}

fn check(raw: RawConfig) -> Result<AgentConfig, AgentConfigError> {
    let RawConfig {
        node,
        cluster,
        state_dir,
        health_listen,
        coordinator,
        tls,
        qdrant,
        capture,
        wal,
        watch,
        extra,
        spool,
        limits,
        log,
    } = raw;
    logging::check_filter(&log.filter).map_err(AgentConfigError::Log)?;
    let wal = check_wal(&wal, qdrant.storage_dir.is_some())?;
    let forbidden = Forbidden {
        state_dir: &state_dir,
        key: &tls.key,
        storage_dir: qdrant.storage_dir.as_deref(),
        snapshots_dir: qdrant.snapshots_dir.as_deref(),
    };
    let extras = extra::check(extra, &forbidden)?;
    Ok(AgentConfig {
        node: node.parse().map_err(|source| AgentConfigError::Name {
            key: "node",
            source,
        })?,
        cluster: cluster.parse().map_err(|source| AgentConfigError::Name {
            key: "cluster",
            source,
        })?,
        state_dir,
        health_listen,
        coordinator: coordinator_url(&coordinator.endpoint)?,
        tls,
        qdrant: QdrantSection {
            url: qdrant_url(&qdrant.url)?,
            api_key_file: qdrant.api_key_file,
            snapshots_dir: qdrant.snapshots_dir,
            storage_dir: qdrant.storage_dir,
        },
        wal,
        watch: WatchSection {
            every: Duration::from_secs(bounded("watch.every_secs", watch.every_secs, 1, 3600)?),
        },
        capture: check_capture(&capture)?,
        extras,
        spool_limit: ByteCount::mib(bounded("spool.max_mib", spool.max_mib, 16, 1 << 24)?),
        limits: check_limits(&limits)?,
        log,
    })
}

fn check_capture(raw: &raw::RawCapture) -> Result<CaptureSection, AgentConfigError> {
    let way = match raw.way.as_str() {
        "whole" => None,
        "auto" => Some(Method::Auto),
        "direct" => Some(Method::Direct),
        "partial" => Some(Method::Partial),
        "stored" => Some(Method::Stored),
        "stream" => Some(Method::Stream),
        _ => {
            return Err(AgentConfigError::Value {
                key: "capture.way",
                rule: "must be whole, auto, direct, partial, stored or stream",
            });
        }
    };
    let every = bounded("capture.full_every", raw.full_every, 2, 10_000)?;
    let wait = raw.optimizer_wait_secs;
    let wait = bounded("capture.optimizer_wait_secs", wait, 0, 3600)?;
    Ok(CaptureSection {
        way,
        full_every: u32::try_from(every).unwrap_or(u32::MAX),
        optimizer_wait: Duration::from_secs(wait),
    })
}

fn check_wal(raw: &raw::RawWal, sees_storage: bool) -> Result<WalSection, AgentConfigError> {
    if raw.archive && !sees_storage {
        return Err(AgentConfigError::Value {
            key: "wal.archive",
            rule: "needs qdrant.storage_dir, where the logs are",
        });
    }
    let poll = bounded("wal.poll_ms", raw.poll_ms, 10, 60_000)?;
    let unsent = bounded("wal.max_unsent_mib", raw.max_unsent_mib, 1, 4096)?;
    Ok(WalSection {
        archive: raw.archive,
        poll: Duration::from_millis(poll),
        max_unsent: usize::try_from(unsent << 20).unwrap_or(usize::MAX),
    })
}

fn check_limits(raw: &raw::RawLimits) -> Result<Limits, AgentConfigError> {
    let threads = bounded("limits.encode_threads", raw.encode_threads, 0, 16)?;
    let threads = match usize::try_from(threads).unwrap_or(0) {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
        n => n,
    };
    let retry = bounded("limits.retry_secs", raw.retry_secs, 1, 86_400)?;
    let bulk = bounded(
        "limits.qdrant_bulk_timeout_secs",
        raw.qdrant_bulk_timeout_secs,
        10,
        86_400,
    )?;
    Ok(Limits {
        encode_threads: threads,
        retry_for: Duration::from_secs(retry),
        qdrant_bulk_timeout: Duration::from_secs(bulk),
    })
}

fn bounded(key: &'static str, value: u64, min: u64, max: u64) -> Result<u64, AgentConfigError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    let rule = match key {
        "spool.max_mib" => "must be from 16 to 16777216",
        "limits.encode_threads" => "must be from 0 (as many as there are cores, at most 4) to 16",
        "capture.full_every" => "must be from 2 to 10000",
        "capture.optimizer_wait_secs" => "must be from 0 to 3600",
        "wal.poll_ms" => "must be from 10 to 60000",
        "wal.max_unsent_mib" => "must be from 1 to 4096",
        "watch.every_secs" => "must be from 1 to 3600",
        "limits.retry_secs" => "must be from 1 to 86400",
        _ => "must be from 10 to 86400",
    };
    Err(AgentConfigError::Value { key, rule })
}

fn coordinator_url(text: &str) -> Result<Url, AgentConfigError> {
    let key = "coordinator.endpoint";
    let url = Url::parse(text).map_err(|source| AgentConfigError::Url { key, source })?;
    if url.scheme() != "https" || url.host_str().is_none() || url.port().is_none() {
        return Err(AgentConfigError::Value {
            key,
            rule: "must have the form https://host:port; there is no unencrypted way",
        });
    }
    Ok(url)
}

fn qdrant_url(text: &str) -> Result<Url, AgentConfigError> {
    let key = "qdrant.url";
    let url = Url::parse(text).map_err(|source| AgentConfigError::Url { key, source })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(AgentConfigError::Value {
            key,
            rule: "must have the form http://host:port or https://host:port, of Qdrant's REST port (6333 by default)",
        });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AgentConfigError::Value {
            key,
            rule: "must not hold a user name or password: Qdrant knows API keys only, see qdrant.api_key_file",
        });
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
