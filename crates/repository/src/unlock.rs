//! Getting at the description and the master key of a repository.
//!
//! Nothing can be read without these two small objects, so each has a second copy, and no single
//! damaged file locks everybody out. The copy of the description is sealed, hence authentic: where the
//! plain one contradicts it, the copy is right.

use crate::{Damage, DamagedObject, RepositoryError, create, layout, system};
use bytes::Bytes;
use holdfast_archive::{
    Kek, KekError, MasterKey, ObjectKind, RepositoryFile, RepositoryFileError, WrappedKey, sealed,
};
use holdfast_store::{ObjectKey, ObjectStore};

/// What opens everything else.
pub(crate) struct Unlocked {
    pub(crate) description: RepositoryFile,
    pub(crate) master: MasterKey,
    /// Objects of which the other copy had to serve.
    pub(crate) damaged: Vec<DamagedObject>,
    /// Their right content, to be written by the next writer.
    pub(crate) repairs: Vec<(ObjectKey, Bytes)>,
}

/// A copy that was read, or how it is damaged.
type Copy<T> = Result<T, Damage>;

/// Reads description and master key, from the second copies where needed.
pub(crate) async fn unlock(
    store: &dyn ObjectStore,
    kek: &Kek,
) -> Result<Unlocked, RepositoryError> {
    let plain = read_description(store).await?;
    // A newer program wrote it, perhaps while upgrading: an older copy must not win over it.
    if let Err(damage) = &plain
        && damage.newer_format().is_some()
    {
        return Err(RepositoryError::damaged(
            layout::description(),
            damage.clone(),
        ));
    }
    let mut ids = copied_ids(store).await?;
    if let Ok(file) = &plain {
        ids.retain(|id| *id != file.id);
        ids.insert(0, file.id.clone());
    }
    let mut failure = None;
    for id in ids {
        match unlock_as(store, kek, &id).await {
            Ok((master, mut unlocked)) => {
                let (sealed, copy) = read_sealed_description(store, &id, &master).await?;
                let description = settle(plain, sealed, copy, &master, &mut unlocked)?;
                return Ok(Unlocked {
                    description,
                    master,
                    damaged: unlocked.damaged,
                    repairs: unlocked.repairs,
                });
            }
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    Err(failure.unwrap_or_else(|| RepositoryError::Foreign {
        place: store.describe(),
    }))
}

/// What was found wrong on the way.
#[derive(Default)]
struct Wrong {
    damaged: Vec<DamagedObject>,
    repairs: Vec<(ObjectKey, Bytes)>,
}

impl Wrong {
    fn add(&mut self, object: ObjectKey, damage: Damage, right: Bytes) {
        self.damaged.push(DamagedObject {
            object: object.to_string(),
            damage,
        });
        self.repairs.push((object, right));
    }
}

/// Unwraps the master key of the repository with this id.
async fn unlock_as(
    store: &dyn ObjectStore,
    kek: &Kek,
    id: &str,
) -> Result<(MasterKey, Wrong), RepositoryError> {
    let (main, copy) = (layout::master_key(id), layout::master_key_copy(id));
    let (main_bytes, copy_bytes) = (read(store, &main).await?, read(store, &copy).await?);
    let mut wrong = Wrong::default();
    let main_damage = match unwrap(&main_bytes, kek).await? {
        Ok((master, bytes)) => {
            let differs = matches!(&copy_bytes, Ok(copied) if *copied != bytes);
            if differs
                && let Some((right, right_bytes)) =
                    truer(store, kek, id, &master, &copy_bytes).await?
            {
                wrong.add(main, Damage::Contradiction, right_bytes);
                return Ok((right, wrong));
            }
            match copy_bytes {
                Ok(copied) if copied == bytes => {}
                Ok(_) => wrong.add(copy, Damage::Contradiction, bytes),
                Err(damage) => wrong.add(copy, damage, bytes),
            }
            return Ok((master, wrong));
        }
        Err(damage) => damage,
    };
    match unwrap(&copy_bytes, kek).await? {
        Ok((master, bytes)) => {
            wrong.add(main, main_damage, bytes);
            Ok((master, wrong))
        }
        Err(copy_damage) => Err(locked_out(store, main, [main_damage, copy_damage])),
    }
}

/// The key in the copy, if the KEK opens that, too, and only that one fits this repository: one passphrase
/// may serve several repositories, and the key file of another may stand here by mistake.
async fn truer(
    store: &dyn ObjectStore,
    kek: &Kek,
    id: &str,
    main: &MasterKey,
    copy: &Copy<Bytes>,
) -> Result<Option<(MasterKey, Bytes)>, RepositoryError> {
    let Ok((other, bytes)) = unwrap(copy, kek).await? else {
        return Ok(None);
    };
    if other.fingerprint() == main.fingerprint() {
        return Ok(None);
    }
    let (mains, _) = read_sealed_description(store, id, main).await?;
    let (others, _) = read_sealed_description(store, id, &other).await?;
    Ok((mains.is_err() && others.is_ok()).then_some((other, bytes)))
}

/// Neither copy of the key opens: if one of them is well formed, the key given is wrong.
fn locked_out(store: &dyn ObjectStore, main: ObjectKey, damages: [Damage; 2]) -> RepositoryError {
    let refusal = damages.iter().find_map(|damage| {
        let Damage::Key(error) = damage else {
            return None;
        };
        let refused = matches!(error, KekError::WrongKey | KekError::WrongKind { .. });
        refused.then(|| error.clone())
    });
    match refusal {
        Some(source) => RepositoryError::WrongKey {
            place: store.describe(),
            source,
        },
        None => {
            let [first, _] = damages;
            RepositoryError::damaged(main, first)
        }
    }
}

async fn unwrap(
    bytes: &Copy<Bytes>,
    kek: &Kek,
) -> Result<Copy<(MasterKey, Bytes)>, RepositoryError> {
    let (bytes, kek) = match bytes {
        Ok(bytes) => (bytes.clone(), kek.clone()),
        Err(damage) => return Ok(Err(damage.clone())),
    };
    // A passphrase is stretched with 64 MiB for a tenth of a second.
    system::blocking(move || {
        let master = WrappedKey::from_json(&bytes).and_then(|wrapped| wrapped.unwrap(&kek));
        Ok(master.map(|master| (master, bytes)).map_err(Damage::from))
    })
    .await
}

/// The plain description, or how it is damaged. Errors if there is no repository at all.
async fn read_description(
    store: &dyn ObjectStore,
) -> Result<Copy<RepositoryFile>, RepositoryError> {
    let place = store.describe();
    let key = layout::description();
    let damage = match read(store, &key).await? {
        Ok(bytes) => match RepositoryFile::from_json(&bytes) {
            Ok(file) if layout::is_repository_id(&file.id) => return Ok(Ok(file)),
            Ok(_) => Damage::Contradiction,
            Err(error) => error.into(),
        },
        Err(damage) => {
            if store.is_empty().await? || create::is_unfinished(store).await? {
                return Err(RepositoryError::NotFound { place });
            }
            damage
        }
    };
    // Without a second copy it was never ours, or nothing is left to go by.
    if !copied_ids(store).await?.is_empty() {
        return Ok(Err(damage));
    }
    let foreign = matches!(&damage, Damage::Missing)
        || matches!(&damage, Damage::Description(error)
            if matches!(**error, RepositoryFileError::Foreign));
    Err(if foreign {
        RepositoryError::Foreign { place }
    } else {
        RepositoryError::damaged(key, damage)
    })
}

/// The description in its sealed copy, or how that is damaged, and where it stands.
async fn read_sealed_description(
    store: &dyn ObjectStore,
    id: &str,
    master: &MasterKey,
) -> Result<(Copy<RepositoryFile>, ObjectKey), RepositoryError> {
    let key = layout::description_copy(id);
    let file = read(store, &key).await?.and_then(|bytes| {
        let opened = sealed::open(&bytes, ObjectKind::Config, master)?;
        Ok(RepositoryFile::from_json(&opened.payload)?)
    });
    Ok((file, key))
}

/// Chooses between the two copies of the description.
fn settle(
    plain: Copy<RepositoryFile>,
    sealed: Copy<RepositoryFile>,
    copy: ObjectKey,
    master: &MasterKey,
    wrong: &mut Wrong,
) -> Result<RepositoryFile, RepositoryError> {
    let main = layout::description();
    match (plain, sealed) {
        (_, Err(damage)) if damage.newer_format().is_some() => {
            Err(RepositoryError::damaged(copy, damage))
        }
        (Ok(plain), Ok(sealed)) if plain == sealed => Ok(sealed),
        (plain, Ok(sealed)) => {
            let damage = plain.err().unwrap_or(Damage::Contradiction);
            wrong.add(main, damage, create::description_json(&sealed)?);
            Ok(sealed)
        }
        (Ok(plain), Err(damage)) => {
            wrong.add(copy, damage, create::seal_description(&plain, master)?);
            Ok(plain)
        }
        (Err(damage), Err(_)) => Err(RepositoryError::damaged(main, damage)),
    }
}

/// Ids of repositories of which second copies are here: one, or none.
async fn copied_ids(store: &dyn ObjectStore) -> Result<Vec<String>, RepositoryError> {
    let listed = store.list(&layout::copies()).await?;
    let mut ids: Vec<_> = listed
        .iter()
        .filter_map(|found| found.key.as_str().split('/').nth(1))
        .filter(|id| layout::is_repository_id(id))
        .map(str::to_owned)
        .collect();
    ids.dedup();
    Ok(ids)
}

async fn read(store: &dyn ObjectStore, key: &ObjectKey) -> Result<Copy<Bytes>, RepositoryError> {
    match store.get(key).await {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(error) => Ok(Err(Damage::of_read(error)?)),
    }
}
