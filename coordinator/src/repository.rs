//! Opening the repository as configured, and what its errors mean to callers.

use crate::config::{CoordinatorConfig, CopySection};
use crate::fault::{Fault, chain};
use holdfast_archive::Kek;
use holdfast_repository::{
    KeyRefusal, Repository, RepositoryError, RepositoryOptions, RoleRefusal,
};
use holdfast_service::failure::Code;
use holdfast_store::StoreError;
use holdfast_types::Timestamp;

mod export;
mod kek;
mod place;

pub use export::export_sheet;
pub use kek::{KeyUse, read_kek};
pub use place::{probe_copy, probe_place};

pub(crate) use place::open_copy_store;
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
    let kek = read_kek(&section.key, KeyUse::Opens).await?;
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

/// Opens a copy by itself, for reading or to promote it: the primary is not needed.
///
/// # Errors
/// One clear message for each way it can be unusable.
pub async fn open_copy_alone(
    config: &CoordinatorConfig,
    section: &CopySection,
) -> Result<Repository, Fault> {
    let within = format!("copy {}", section.name);
    let kek = read_kek(&config.repository.key, KeyUse::Opens).await?;
    let store = open_copy_store(section, false).await?;
    let opened = match store {
        Ok(store) => Repository::open(store, kek).await,
        Err(error) => Err(error.into()),
    };
    let opened = opened.map_err(|error| fault_of(&error).within(&within))?;
    let found = &opened.description().cluster;
    if *found != config.cluster {
        let what = format!("{} belongs to cluster {found}", section.place);
        return Err(Fault::new(Code::RepositoryForeign, what).within(&within));
    }
    Ok(opened)
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
pub async fn check_key(config: &CoordinatorConfig) -> Result<(), Fault> {
    let kek = read_kek(&config.repository.key, KeyUse::Opens).await;
    kek.map(drop)
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
            "configure a key that was not removed (the names in the folder keys/ tell whose there are), or a recovery sheet of this repository (repository.recovery_sheet), then make a new key with `holdfast key add`; nothing was changed",
        ),
        RepositoryError::Keys(refusal) => key_advice(refusal),
        RepositoryError::Role(refusal) => role_advice(refusal),
        RepositoryError::Locked { .. } => {
            (Code::RepositoryLocked, "stop the other coordinator first")
        }
        RepositoryError::StaleEpoch { .. } => (
            Code::StaleEpoch,
            "another coordinator has taken over this repository; this one must not write any more",
        ),
        RepositoryError::Vanished { .. } => (
            Code::RepositoryForeign,
            "nothing was committed there; mount the volume, or look who emptied the bucket, then restart the coordinator and run the backup again",
        ),
        RepositoryError::Damaged { object, .. } => (Code::RepositoryDamaged, damage_advice(object)),
        RepositoryError::ChunkMissing { .. } => (Code::RepositoryDamaged, CAPTURE_AGAIN),
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
        RepositoryError::NotYet { .. } | RepositoryError::PointLocked { .. } => {
            (Code::PointKept, "wait until then; nothing was deleted")
        }
        RepositoryError::PointHeld { .. } => (
            Code::PointKept,
            "nothing was deleted; `holdfast backup unpin` or `holdfast hold release` ends that",
        ),
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

const CAPTURE_AGAIN: &str = "run `holdfast backup create` (what Qdrant still has is stored anew), or bring the object back from a copy with `holdfast repo heal`; recovery points that don't share it still restore, `holdfast repo verify` names them";

fn damage_advice(object: &str) -> &'static str {
    if object.starts_with("keys/") {
        KEYS_LOST
    } else {
        CAPTURE_AGAIN
    }
}

/// A key file wraps the master keys for one holder; with none of them no key and no sheet opens anything.
const KEYS_LOST: &str = "no key file that is left can be read, and without one neither a key nor a recovery sheet opens the repository: bring keys/ and copy/ back from a copy of the repository or a backup of its disk (`holdfast repo copy promote` if there is a copy); then every key opens it that `holdfast key list` named, a recovery sheet by repository.recovery_sheet; nothing was changed";

fn role_advice(refusal: &RoleRefusal) -> (Code, &'static str) {
    match refusal {
        RoleRefusal::IsCopy { .. } => (
            Code::RepositoryRole,
            "name the primary under [repository]; if it is lost, `holdfast repo copy promote`; nothing was changed",
        ),
        RoleRefusal::Retired { .. } => (
            Code::RepositoryRole,
            "name the copy that replaced it under [repository]; this one can serve as a copy (`holdfast repo copy add`)",
        ),
        RoleRefusal::Promoted { .. } => (
            Code::RepositoryRole,
            "name it under [repository]; nothing was changed",
        ),
        RoleRefusal::Detached { .. } => (
            Code::RepositoryRole,
            "`holdfast repo copy add NAME --confirm` makes it a copy again; nothing was changed",
        ),
        RoleRefusal::NoCopy { .. } => (
            Code::RepositoryRole,
            "if a volume is missing there, mount it; else choose an empty place; if it is the old primary that this repository has replaced, `holdfast repo copy add NAME --take-over --confirm`; nothing was changed",
        ),
        RoleRefusal::OtherName { .. } => (
            Code::RepositoryRole,
            "give it its name in the configuration, or choose an empty place; nothing was changed",
        ),
        RoleRefusal::OtherWriter { .. } => (
            Code::RepositoryRole,
            "find out which coordinator is right, and stop the other; nothing was changed",
        ),
        RoleRefusal::OtherMaster { .. } => (
            Code::WrongKey,
            "one of the two is from before a rotation of the master key: `holdfast key list` on each tells; nothing was changed",
        ),
    }
}

fn key_advice(refusal: &KeyRefusal) -> (Code, &'static str) {
    match refusal {
        KeyRefusal::NameTaken { .. } => (
            Code::KeyExists,
            "choose another name, or remove that key first (`holdfast key list`)",
        ),
        KeyRefusal::KeyHeld { .. } => (Code::KeyExists, "give another key"),
        KeyRefusal::NotFound { .. } => (
            Code::KeyNotFound,
            "`holdfast key list` names those there are",
        ),
        KeyRefusal::InUse { .. } => (
            Code::KeyInUse,
            "open the repository with another of its keys (in the configuration), or replace this one with `holdfast key rotate`",
        ),
        KeyRefusal::OwnRemoved { .. } => (
            Code::KeyInUse,
            "nothing was removed; agree with whoever removes it, then look at `holdfast key list`",
        ),
        KeyRefusal::Outdated => (
            Code::WrongKey,
            "open it with the key of whoever rotated the master key, and end that with `holdfast key rotate-master --confirm`",
        ),
        KeyRefusal::OtherKey => (Code::WrongKey, "give the configured key"),
        KeyRefusal::TooMany { .. } | KeyRefusal::Full(_) => (
            Code::KeyExists,
            "remove keys that nobody needs (`holdfast key list`)",
        ),
        KeyRefusal::NotWritten { .. } => (
            Code::RepositoryDamaged,
            "nothing was removed; look at the storage, then remove that key and try again",
        ),
    }
}

fn store_advice(error: &StoreError) -> (Code, &'static str) {
    match error {
        StoreError::NoSpace { .. } => (
            Code::DiskFull,
            "free space or enlarge the volume; until then what is stored can be read: `holdfast backup export ID -o DIR --coordinator-config FILE` writes nothing there and needs no coordinator",
        ),
        StoreError::ReadOnly { .. } => (
            Code::ReadOnly,
            "mount it writable; until then what is stored can be read: `holdfast backup export ID -o DIR --coordinator-config FILE` writes nothing there and needs no coordinator",
        ),
        StoreError::Permission { .. } => (
            Code::ReadOnly,
            "let the user that runs the coordinator read and write that folder, or the bucket's access key its objects (docs/reference/s3.md lists the rights). If the service says RequestTimeTooSkewed, set this machine's clock; if it names the key or the signature, renew the credentials",
        ),
        StoreError::NoSuchStore { .. } => (
            Code::RepositoryForeign,
            "check the path, or the bucket's name, in the configuration; a bucket is never created",
        ),
        StoreError::NotFound { .. }
        | StoreError::OutOfRange { .. }
        | StoreError::TooLarge { .. } => (
            Code::RepositoryDamaged,
            "restore the object from a copy of the repository",
        ),
        StoreError::Io { .. } if !error.is_retryable() => (
            Code::StoreFailed,
            "look at the disk and the kernel's log, or at the bucket's settings; `holdfast repo probe` says whether the place still holds a repository",
        ),
        StoreError::Io { .. } | StoreError::Unavailable { .. } => (
            Code::StoreUnreachable,
            "what is stored there is not concerned; see that its service runs and that this machine reaches it (`holdfast repo probe`), then do it again: a backup sends nothing twice",
        ),
        StoreError::AlreadyExists { .. } => (Code::Internal, "please report this"),
    }
}

#[cfg(test)]
mod tests {
    use super::fault_of;
    use holdfast_archive::KekError;
    use holdfast_repository::{Damage, RepositoryError};
    use holdfast_service::failure::Code;
    use holdfast_store::StoreError;

    #[test]
    fn a_store_that_takes_nothing_can_still_be_read() {
        let source = std::sync::Arc::new(std::io::Error::other("no"));
        let place = "/repo".to_owned();
        for error in [
            StoreError::NoSpace {
                place: place.clone(),
                source: source.clone(),
            },
            StoreError::ReadOnly { place, source },
        ] {
            let said = fault_of(&error.into()).message;
            assert!(
                said.contains("`holdfast backup export ID -o DIR --coordinator-config FILE`"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_store_that_fails_is_no_defect() {
        let source = |kind| std::sync::Arc::new(std::io::Error::from(kind));
        let place = "/repo/packs".to_owned();
        let io = |kind| StoreError::Io {
            place: place.clone(),
            source: source(kind),
        };
        let away = StoreError::Unavailable {
            store: "s3://b".to_owned(),
            reason: "HTTP 503".to_owned(),
        };
        let denied = StoreError::Permission {
            place: "s3://b".to_owned(),
            source: source(std::io::ErrorKind::PermissionDenied),
        };
        for (error, code, retryable, says) in [
            (away, Code::StoreUnreachable, true, "`holdfast repo probe`"),
            (
                io(std::io::ErrorKind::Other),
                Code::StoreFailed,
                false,
                "the kernel's log",
            ),
            (
                io(std::io::ErrorKind::TimedOut),
                Code::StoreUnreachable,
                true,
                "`holdfast repo probe`",
            ),
            (denied, Code::ReadOnly, false, "the bucket's access key"),
        ] {
            let fault = fault_of(&error.into());
            assert_eq!(fault.known_code(), code, "{fault}");
            assert_eq!(fault.retryable, retryable, "{fault}");
            assert!(fault.message.contains(says), "{fault}");
            assert_ne!(fault.known_code().exit_code().code(), 1);
        }
    }

    #[test]
    fn who_has_no_key_learns_what_opens_the_repository() {
        let wrong = RepositoryError::WrongKey {
            place: "/repo".into(),
            source: KekError::WrongKey,
        };
        let said = fault_of(&wrong).message;
        assert!(
            said.contains("repository.recovery_sheet") && said.contains("`holdfast key add`"),
            "{said}"
        );
        let damaged = |object: &str| {
            let source = Damage::Missing;
            fault_of(&RepositoryError::Damaged {
                object: object.into(),
                source,
            })
            .message
        };
        let said = damaged("keys/0a1b.json");
        assert!(
            said.contains("no key file that is left can be read")
                && said.contains("`holdfast repo copy promote`"),
            "{said}"
        );
        assert!(!damaged("packs/00/aa").contains("key file"));
    }
}
