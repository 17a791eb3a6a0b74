//! Opening the repository as configured, and what its errors mean to callers.

use crate::config::{CoordinatorConfig, KeySource};
use crate::fault::{Fault, chain};
use holdfast_archive::Kek;
use holdfast_repository::{Repository, RepositoryError, RepositoryOptions};
use holdfast_service::failure::Code;
use holdfast_store::StoreError;
use holdfast_types::Timestamp;
use std::path::Path;

mod place;

pub use place::probe_place;

use place::open_store;

/// How this program names itself in what it writes.
pub const PROGRAM: &str = concat!("holdfast-coordinator ", env!("CARGO_PKG_VERSION"));

/// Whether a repository may be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// Only open.
    Never,
    /// Only open: there was one.
    Known,
    /// Create it if nothing is there.
    IfNothing,
    /// Create it; it is an error if it exists.
    Must,
}

/// Opens, or creates, the configured repository.
///
/// # Errors
/// One clear message for each way it can be unusable.
pub async fn open(
    config: &CoordinatorConfig,
    creation: Creation,
    now: Timestamp,
) -> Result<Repository, Fault> {
    let section = &config.repository;
    let kek = read_kek(&section.key)?;
    let place = &section.place;
    let opened = match creation {
        Creation::Must => create(config, kek, now).await?,
        Creation::Never | Creation::Known | Creation::IfNothing => {
            match open_store(place, false).await? {
                Ok(store) => match Repository::open(store, kek.clone()).await {
                    Err(RepositoryError::NotFound { .. }) if creation == Creation::IfNothing => {
                        create(config, kek, now).await?
                    }
                    opened => opened,
                },
                Err(StoreError::NoSuchStore { .. }) if creation == Creation::IfNothing => {
                    create(config, kek, now).await?
                }
                Err(StoreError::NoSuchStore { .. }) => Err(RepositoryError::NotFound {
                    place: place.to_string(),
                }),
                Err(error) => Err(error.into()),
            }
        }
    };
    let repository = opened.map_err(|error| {
        if !matches!(error, RepositoryError::NotFound { .. }) {
            return fault_of(&error);
        }
        let message = if creation == Creation::Known {
            format!(
                "there is no repository at {place}, but the catalogue knows one, so none is created in its place (is its volume mounted?): check repository.path"
            )
        } else {
            format!(
                "there is no repository at {place}: check repository.path, or create one with `holdfast-coordinator --config FILE repo init`"
            )
        };
        Fault::new(Code::RepositoryForeign, message)
    })?;
    let found = &repository.description().cluster;
    if *found != config.cluster {
        return Err(Fault::new(
            Code::RepositoryForeign,
            format!(
                "the repository at {place} belongs to cluster {found}, this coordinator looks after {}: check where [repository] points and cluster",
                config.cluster
            ),
        ));
    }
    Ok(repository)
}

async fn create(
    config: &CoordinatorConfig,
    kek: Kek,
    now: Timestamp,
) -> Result<Result<Repository, RepositoryError>, Fault> {
    let store = match open_store(&config.repository.place, true).await? {
        Ok(store) => store,
        Err(error) => return Ok(Err(error.into())),
    };
    let options = RepositoryOptions {
        cluster: config.cluster.clone(),
        kek,
        created: now,
        program: PROGRAM.to_owned(),
    };
    let created = Repository::init(store, options).await;
    if let Ok(repository) = &created {
        tracing::info!(
            place = repository.place(),
            "created a repository; keep a copy of its key elsewhere"
        );
    }
    Ok(created)
}

/// Checks that the configured key can be read and is one, for `config check`. Whether it opens the repository shows
/// when that is opened.
///
/// # Errors
/// What is wrong with it.
pub fn check_key(config: &CoordinatorConfig) -> Result<(), Fault> {
    read_kek(&config.repository.key).map(drop)
}

fn read_kek(source: &KeySource) -> Result<Kek, Fault> {
    let (name, text) = match source {
        KeySource::KeyFile(path) | KeySource::PassphraseFile(path) => {
            let text = fs_err::read_to_string(path)
                .map_err(|error| key_unreadable(source, path, &error))?;
            (path.display().to_string(), text)
        }
        KeySource::PassphraseEnv(name) => {
            let text = std::env::var(name).map_err(|_| {
                Fault::new(
                    Code::Config,
                    format!("the environment variable {name} is not set: it must hold the repository's passphrase"),
                )
            })?;
            (name.clone(), text)
        }
    };
    let kek = match source {
        KeySource::KeyFile(_) => Kek::from_hex(&text),
        KeySource::PassphraseFile(_) | KeySource::PassphraseEnv(_) => Kek::passphrase(&text),
    };
    kek.map_err(|error| Fault::from_error(Code::Config, &error).within(&name))
}

/// A key that is lost must not be made anew, one that never was must be: the message has to tell both.
fn key_unreadable(source: &KeySource, path: &Path, error: &std::io::Error) -> Fault {
    let place = path.display();
    if error.kind() != std::io::ErrorKind::NotFound {
        return Fault::from_error(Code::Config, error);
    }
    let message = match source {
        KeySource::KeyFile(_) => format!(
            "repository.key_file: there is no file {place}; for a new repository make one of 64 hex digits, as with `openssl rand -hex 32`; for an existing one put back the copy of its own key, since another does not open it"
        ),
        KeySource::PassphraseFile(_) | KeySource::PassphraseEnv(_) => format!(
            "repository.passphrase_file: there is no file {place}; it holds the repository's passphrase, and an existing repository opens with its own only"
        ),
    };
    Fault::new(Code::Config, message)
}

/// An error of the repository as a failure that says what to do.
#[must_use]
pub fn fault_of(error: &RepositoryError) -> Fault {
    let (code, advice) = match error {
        RepositoryError::NotFound { .. } => {
            (Code::RepositoryForeign, "check where [repository] points")
        }
        RepositoryError::AlreadyExists { .. } => (
            Code::RepositoryForeign,
            "use it as it is, or choose another repository.path",
        ),
        RepositoryError::Foreign { .. } => (
            Code::RepositoryForeign,
            "choose an empty or absent directory as repository.path; nothing was changed",
        ),
        RepositoryError::NewerFormat { .. } => (
            Code::RepositoryNewer,
            "upgrade this program; nothing was changed",
        ),
        RepositoryError::WrongKey { .. } => (
            Code::WrongKey,
            "configure the key or passphrase with which it was created",
        ),
        RepositoryError::Locked { .. } => {
            (Code::RepositoryLocked, "stop the other coordinator first")
        }
        RepositoryError::StaleEpoch { .. } => (
            Code::StaleEpoch,
            "another coordinator has taken over this repository; this one must not write any more",
        ),
        RepositoryError::Damaged { .. } | RepositoryError::ChunkMissing { .. } => (
            Code::RepositoryDamaged,
            "restore the object from a copy of the repository; recovery points that don't share it still restore",
        ),
        RepositoryError::PointNotFound { .. } => (
            Code::PointNotFound,
            "`holdfast backup list` shows those that do",
        ),
        RepositoryError::Unaccounted { .. } => (
            Code::RepositoryDamaged,
            "heal its manifest or recipe from a copy of the repository, or give the point up with `holdfast backup delete ID --confirm`",
        ),
        RepositoryError::PointGone { .. } => (
            Code::PointNotFound,
            "another recovery point, or a copy of the repository, may have what it held",
        ),
        RepositoryError::NotYet { .. } => (Code::PointKept, "wait until then; nothing was deleted"),
        RepositoryError::Incomplete { .. } => (
            Code::RepositoryDamaged,
            "nothing was committed; run the backup again",
        ),
        RepositoryError::PointExists { .. } | RepositoryError::Invalid { .. } => {
            (Code::Internal, "please report this")
        }
        RepositoryError::Aborted { .. } => (Code::Interrupted, "try again"),
        RepositoryError::Store(error) => store_advice(error),
    };
    Fault {
        retryable: code.is_retryable() || error.is_retryable(),
        ..Fault::new(code, format!("{}: {advice}", chain(error)))
    }
}

fn store_advice(error: &StoreError) -> (Code, &'static str) {
    match error {
        StoreError::NoSpace { .. } => (Code::DiskFull, "free space or enlarge the volume"),
        StoreError::ReadOnly { .. } => (Code::ReadOnly, "mount it writable"),
        StoreError::Permission { .. } => (
            Code::ReadOnly,
            "let the user that runs the coordinator read and write it",
        ),
        StoreError::NoSuchStore { .. } => (
            Code::RepositoryForeign,
            "check repository.path or repository.s3; a bucket is never created",
        ),
        StoreError::NotFound { .. }
        | StoreError::OutOfRange { .. }
        | StoreError::TooLarge { .. } => (
            Code::RepositoryDamaged,
            "restore the object from a copy of the repository",
        ),
        StoreError::AlreadyExists { .. }
        | StoreError::Io { .. }
        | StoreError::Unavailable { .. } => (Code::Internal, "look at the storage"),
    }
}
