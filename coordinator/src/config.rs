//! The coordinator's configuration: TOML as written, then checked values that the rest may trust.
//!
//! It reads no secret: key and passphrase are read by whoever opens the repository.

use holdfast_decide::policy::BadPolicy;
use holdfast_service::config::{self, Strictness, UnknownKey};
use holdfast_service::logging::{self, LogConfig, LoggingError};
use holdfast_types::{ClusterName, Namespace, ParseNameError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

mod copy;
mod enrolment;
mod key_source;
mod location;
mod policy;
mod raw;
mod recovery;
mod retention;
mod wal;

pub use copy::CopySection;
pub use enrolment::EnrolmentSection;
pub use key_source::{KeySource, RawKeySource, validate as validate_key_source};
pub use location::{Location, S3Location};
pub use policy::{LoadedPolicy, load_policy, parse_policy};
pub use recovery::{promoted_config, recovery_config};
pub use retention::RetentionSection;
pub use wal::WalSection;

use raw::{RawConfig, RawLimits, RawRepository, RawTls, RawVerify};

/// The documented default configuration, as `holdfast-coordinator config default` prints it.
pub const DEFAULT_CONFIG: &str = include_str!("config/default.toml");

/// Name of the catalogue in the state directory.
const CATALOG_FILE: &str = "catalog.redb";

/// Everything that is configured.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    /// This coordinator's name; must be the one in the certificate.
    pub name: String,
    /// The deployment it looks after.
    pub cluster: ClusterName,
    /// The boundary of deduplication.
    pub namespace: Namespace,
    /// Where it serves gRPC.
    pub listen: SocketAddr,
    /// Directory of the catalogue.
    pub state_dir: PathBuf,
    /// Where `/livez`, `/readyz` and `/metrics` answer; nowhere if absent.
    pub health_listen: Option<SocketAddr>,
    /// Its identity.
    pub tls: TlsFiles,
    /// Where recovery points are kept.
    pub repository: RepositorySection,
    /// Further stores that hold the same.
    pub copies: Vec<CopySection>,
    /// Which recovery points stay.
    pub retention: RetentionSection,
    /// Bounds of patience.
    pub limits: Limits,
    /// Checks of the repository in the background.
    pub verify: VerifySection,
    /// How write-ahead logs are taken in.
    pub wal: WalSection,
    /// How agents are given certificates; not at all if absent.
    pub enrolment: Option<EnrolmentSection>,
    /// What is captured by itself; nothing if absent.
    pub policy: Option<LoadedPolicy>,
    /// The log.
    pub log: LogConfig,
}

/// PEM files of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Certificate authorities that callers' certificates may come from.
    pub ca: PathBuf,
}

/// Where the repository is and what opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositorySection {
    /// Where it is.
    pub place: Location,
    /// What opens it.
    pub key: KeySource,
    /// Whether to create it where nothing is.
    pub init: bool,
}

/// Bounds of patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a job waits for an agent that is away.
    pub agent_grace: Duration,
    /// How long a capture waits for an agent that is away, or for a Qdrant that does not answer, where another node's replica
    /// can be captured in its place.
    pub replica_grace: Duration,
    /// How long a connected agent may say nothing about a command.
    pub command_silence: Duration,
    /// How often agents report.
    pub heartbeat: Duration,
    /// Ended jobs that the catalogue keeps.
    pub kept_jobs: usize,
}

/// Checks of the repository in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifySection {
    /// How often; never if absent.
    pub every: Option<Duration>,
    /// Percent of the packs that are read each time; 0 for none.
    pub sample_percent: u8,
    /// How often everything is read in one go; never if absent.
    pub full_every: Option<Duration>,
    /// Bound on the reading of packs; 0 for none.
    pub max_mib_per_sec: u32,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorConfigError {
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
    /// A value makes no sense.
    #[error("{key} {rule}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A path that must exist does not, or can't be read.
    #[error("{key}: can't read {}", path.display())]
    Path {
        /// The key.
        key: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A directory that must be written to can't be.
    #[error("{key}: {} can't be made or written to", path.display())]
    Directory {
        /// The key.
        key: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What is said of the bucket can't be.
    #[error("repository.s3 is not valid")]
    S3(#[source] holdfast_store_s3::OptionsError),
    /// The rules of retention can't be meant.
    #[error("[retention] is not valid")]
    Retention(#[source] holdfast_decide::PolicyError),
    /// The policy can't be meant, or not be carried out.
    #[error("policy: {} is not valid", path.display())]
    Policy {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: BadPolicy,
    },
    /// What is said of a copy can't be.
    #[error("[[copy]] {name:?} is not valid")]
    Copy {
        /// Its name, as written.
        name: String,
        /// What is wrong.
        #[source]
        source: Box<CoordinatorConfigError>,
    },
    /// Not a cron expression.
    #[error("cron is not valid")]
    Cron(#[source] holdfast_decide::schedule::ParseCronError),
    /// The log filter can't be parsed.
    #[error("log.filter is not valid")]
    Log(#[source] LoggingError),
}

/// Reads the file at `path`. Returns the unknown keys it has, unless `strictness` makes them an error.
///
/// # Errors
/// [`CoordinatorConfigError`].
pub fn load(
    path: &Path,
    strictness: Strictness,
) -> Result<(CoordinatorConfig, Vec<UnknownKey>), CoordinatorConfigError> {
    let loaded = config::load::<RawConfig>(path, strictness)?;
    Ok((validate(loaded.value)?, loaded.unknown_keys))
}

impl CoordinatorConfig {
    /// The catalogue's file.
    #[must_use]
    pub fn catalog_path(&self) -> PathBuf {
        self.state_dir.join(CATALOG_FILE)
    }

    /// Checks that every file named by the configuration can be read, and every directory written or made, for
    /// `config check`. What the key is worth is for `repository::check_key`.
    ///
    /// # Errors
    /// The first that can't.
    pub fn check_files(&self) -> Result<(), CoordinatorConfigError> {
        let mut files = vec![
            ("tls.cert", self.tls.cert.as_path()),
            ("tls.key", &self.tls.key),
            ("tls.ca", &self.tls.ca),
        ];
        files.extend(self.repository.key.file());
        if let Some(enrolment) = &self.enrolment {
            files.push(("enrolment.ca_cert", &enrolment.ca_cert));
            files.push(("enrolment.ca_key", &enrolment.ca_key));
        }
        for (key, path) in files {
            std::fs::File::open(path).map_err(|source| CoordinatorConfigError::Path {
                key,
                path: path.to_owned(),
                source,
            })?;
        }
        let mut dirs = vec![("state_dir", &self.state_dir)];
        if let Location::Disk(path) = &self.repository.place {
            dirs.push(("repository.path", path));
        }
        for (key, path) in dirs {
            is_writable(path).map_err(|source| CoordinatorConfigError::Directory {
                key,
                path: path.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

/// Whether files can be made in a directory, or it itself in the nearest one above that exists.
fn is_writable(dir: &Path) -> std::io::Result<()> {
    use rustix::fs::{Access, access};
    let exists = |dir: &&Path| dir.exists();
    let Some(nearest) = dir.ancestors().find(exists) else {
        // A relative path of one part: made where the program starts.
        return Ok(access(".", Access::WRITE_OK | Access::EXEC_OK)?);
    };
    if !nearest.is_dir() {
        return Err(std::io::ErrorKind::NotADirectory.into());
    }
    Ok(access(nearest, Access::WRITE_OK | Access::EXEC_OK)?)
}

fn validate(raw: RawConfig) -> Result<CoordinatorConfig, CoordinatorConfigError> {
    let RawConfig {
        name,
        cluster,
        namespace,
        listen,
        state_dir,
        health_listen,
        policy,
        tls: RawTls { cert, key, ca },
        repository,
        copies,
        retention,
        wal,
        limits,
        verify,
        enrolment,
        log,
    } = raw;
    let cluster: ClusterName = named("cluster", &cluster)?;
    let namespace = named(
        "namespace",
        namespace.as_deref().unwrap_or(cluster.as_str()),
    )?;
    // A coordinator is named by the rule of nodes.
    let name: holdfast_types::NodeId = named("name", &name)?;
    logging::check_filter(&log.filter).map_err(CoordinatorConfigError::Log)?;
    let policy = policy
        .map(|path| load_policy(&path, Some(&cluster)))
        .transpose()?;
    let mut retention = retention::validate(retention)?;
    let mut verify = validate_verify(verify)?;
    if let Some(LoadedPolicy { policy, .. }) = &policy {
        policy::apply(policy, &mut retention, &mut verify)?;
    }
    let repository = validate_repository(repository)?;
    Ok(CoordinatorConfig {
        copies: copy::validate(copies, &repository.place)?,
        name: name.to_string(),
        cluster,
        namespace,
        listen,
        state_dir,
        health_listen,
        tls: TlsFiles { cert, key, ca },
        repository,
        retention,
        wal: wal::validate(&wal)?,
        limits: validate_limits(limits)?,
        verify,
        enrolment: enrolment.map(enrolment::validate).transpose()?,
        policy,
        log,
    })
}

fn validate_repository(raw: RawRepository) -> Result<RepositorySection, CoordinatorConfigError> {
    let RawRepository {
        path,
        s3,
        key_file,
        key_env,
        passphrase_file,
        passphrase_env,
        key_command,
        key_command_timeout_secs,
        recovery_sheet,
        init,
    } = raw;
    let key = key_source::validate(RawKeySource {
        key_file,
        key_env,
        passphrase_file,
        passphrase_env,
        key_command,
        key_command_timeout_secs,
        recovery_sheet,
    })?;
    let place = location::validate(path, s3)?;
    Ok(RepositorySection { place, key, init })
}

fn validate_limits(raw: RawLimits) -> Result<Limits, CoordinatorConfigError> {
    let RawLimits {
        agent_grace_secs,
        replica_grace_secs,
        command_silence_secs,
        heartbeat_interval_ms,
        kept_jobs,
    } = raw;
    if !(100..=30_000).contains(&heartbeat_interval_ms) {
        return Err(CoordinatorConfigError::Value {
            key: "limits.heartbeat_interval_ms",
            rule: "must be between 100 and 30000",
        });
    }
    if command_silence_secs == 0 {
        return Err(CoordinatorConfigError::Value {
            key: "limits.command_silence_secs",
            rule: "must be at least 1",
        });
    }
    Ok(Limits {
        agent_grace: Duration::from_secs(agent_grace_secs),
        replica_grace: Duration::from_secs(replica_grace_secs),
        command_silence: Duration::from_secs(command_silence_secs),
        heartbeat: Duration::from_millis(heartbeat_interval_ms.into()),
        kept_jobs: usize::try_from(kept_jobs).unwrap_or(usize::MAX).max(1),
    })
}

fn validate_verify(raw: RawVerify) -> Result<VerifySection, CoordinatorConfigError> {
    let RawVerify {
        every_hours,
        sample_percent,
        full_every_days,
        max_mib_per_sec,
    } = raw;
    if sample_percent > 100 {
        return Err(CoordinatorConfigError::Value {
            key: "verify.sample_percent",
            rule: "must be at most 100",
        });
    }
    let hours = |hours: u32| Duration::from_secs(u64::from(hours) * 3600);
    let some = |period: Duration| (!period.is_zero()).then_some(period);
    Ok(VerifySection {
        every: some(hours(every_hours)),
        sample_percent,
        full_every: some(hours(full_every_days).saturating_mul(24)),
        max_mib_per_sec,
    })
}

fn named<T: FromStr<Err = ParseNameError>>(
    key: &'static str,
    text: &str,
) -> Result<T, CoordinatorConfigError> {
    text.parse()
        .map_err(|source| CoordinatorConfigError::Name { key, source })
}

#[cfg(test)]
mod tests {
    use super::{CoordinatorConfig, CoordinatorConfigError, DEFAULT_CONFIG, KeySource, load};
    use holdfast_service::config::Strictness;

    fn read(text: &str) -> Result<CoordinatorConfig, CoordinatorConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        load(&path, Strictness::Strict).map(|(config, _)| config)
    }

    #[test]
    fn the_printed_default_is_valid_and_says_the_defaults() {
        let config = read(DEFAULT_CONFIG).unwrap();
        assert_eq!(config.namespace.as_str(), "demo");
        assert!(!config.repository.init);
        let start = DEFAULT_CONFIG.find("[limits]").unwrap();
        let bare = read(&DEFAULT_CONFIG[..start]).unwrap();
        assert_eq!(bare.limits, config.limits);
        assert_eq!(bare.verify, config.verify);
        assert_eq!(bare.log, config.log);
    }

    #[test]
    fn exactly_one_key_source() {
        let none = DEFAULT_CONFIG.replace("key_file =", "# key_file =");
        assert!(matches!(
            read(&none),
            Err(CoordinatorConfigError::Value {
                key: "repository",
                ..
            })
        ));
        let env = none.replace("# passphrase_env", "passphrase_env");
        assert!(matches!(
            read(&env).unwrap().repository.key,
            KeySource::PassphraseEnv(_)
        ));
        let two = DEFAULT_CONFIG.replace("# passphrase_env", "passphrase_env");
        assert!(read(&two).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, want) in [
            (
                "cluster = \"demo\"",
                "cluster = \"De mo\"",
                "cluster is not valid",
            ),
            (
                "listen = \"127.0.0.1:6350\"",
                "listen = \"nowhere\"",
                "c.toml:11",
            ),
            ("[limits]", "[limits]\nagent_grase_secs = 1", "did you mean"),
            (
                "filter = \"info\"",
                "filter = \"a=b=c\"",
                "log.filter is not valid",
            ),
            (
                "heartbeat_interval_ms = 5000",
                "heartbeat_interval_ms = 5",
                "limits.heartbeat_interval_ms must be",
            ),
            (
                "\nsample_percent = 5",
                "\nsample_percent = 101",
                "verify.sample_percent must be",
            ),
        ] {
            assert!(DEFAULT_CONFIG.contains(from), "{from}");
            let error = read(&DEFAULT_CONFIG.replacen(from, to, 1)).unwrap_err();
            assert!(error.to_string().contains(want), "{error} lacks {want}");
        }
    }

    #[test]
    fn unreadable_files_are_named() {
        let error = read(DEFAULT_CONFIG).unwrap().check_files().unwrap_err();
        assert!(
            error.to_string().starts_with("tls.cert: can't read"),
            "{error}"
        );
    }
}
