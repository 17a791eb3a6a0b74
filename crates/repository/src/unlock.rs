//! Getting at the description and the master keys of a repository.
//!
//! Nothing can be read without these small objects, so each has a second copy, and no single
//! damaged file locks anybody out. The copy of the description is sealed, hence authentic: where the
//! plain one contradicts it, the copy is right.

use crate::key_slot::{self, Copy, KeySlot, Repair};
use crate::layout::KeyName;
use crate::{Damage, DamagedObject, RepositoryError, create, layout, system};
use bytes::Bytes;
use holdfast_archive::{
    Kek, KekError, Keyring, ObjectKind, RepositoryFile, RepositoryFileError, WrappedKeys, sealed,
};
use holdfast_store::{ObjectKey, ObjectStore};
use std::cmp::{Ordering, Reverse};

/// What opens everything else.
pub(crate) struct Unlocked {
    pub(crate) description: RepositoryFile,
    pub(crate) ring: Keyring,
    /// The key file that was opened.
    pub(crate) own: OwnKey,
    /// Objects of which the other copy had to serve, and keys that a rotation left behind.
    pub(crate) damaged: Vec<DamagedObject>,
    /// Their right content, to be written by the next writer.
    pub(crate) repairs: Vec<Repair>,
}

/// The key file that the KEK given has opened: its holder is proven to hold it.
#[derive(Clone, Debug)]
pub(crate) struct OwnKey {
    pub(crate) name: KeyName,
    pub(crate) bytes: Bytes,
}

/// Reads description and master keys, from the second copies where needed.
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
            Ok((ring, own, mut wrong)) => {
                let (sealed, copy) = read_sealed_description(store, &id, &ring).await?;
                let description = settle(plain, sealed, copy, &ring, &mut wrong)?;
                return Ok(Unlocked {
                    description,
                    ring,
                    own,
                    damaged: wrong.damaged,
                    repairs: wrong.repairs,
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
    repairs: Vec<Repair>,
}

impl Wrong {
    fn add(&mut self, object: ObjectKey, damage: Damage, right: Bytes) {
        self.note(&object, damage);
        let twin = None;
        self.repairs.push(Repair {
            object,
            right,
            twin,
        });
    }

    fn note(&mut self, object: &ObjectKey, damage: Damage) {
        self.damaged.push(DamagedObject {
            object: object.to_string(),
            damage,
        });
    }
}

/// Unwraps the master keys of the repository with this id: by the newest of the files that the KEK opens.
async fn unlock_as(
    store: &dyn ObjectStore,
    kek: &Kek,
    id: &str,
) -> Result<(Keyring, OwnKey, Wrong), RepositoryError> {
    let mut slots = key_slot::survey(store, id).await?;
    // After a rotation that died, one KEK may open the old ring and the new one.
    slots.sort_by_key(|slot| (Reverse(slot.generation()), slot.name.clone()));
    let (mut refusal, mut opened) = (None, None);
    for slot in &slots {
        for (keys, bytes) in slot.wrapped() {
            match unwrap(keys, kek).await? {
                Ok(ring) => {
                    let own = OwnKey {
                        name: slot.name.clone(),
                        bytes: bytes.clone(),
                    };
                    // One KEK may serve several repositories, and the key file of another may stand here by
                    // mistake: what fits is known by the description that it opens.
                    let (description, _) = read_sealed_description(store, id, &ring).await?;
                    if description.is_ok() {
                        let wrong = compare(&slots, &own, &ring);
                        return Ok((ring, own, wrong));
                    }
                    opened.get_or_insert((ring, own));
                }
                Err(error) => refusal = Some(worse(refusal, error)),
            }
        }
    }
    // The description's copy may be what is damaged.
    if let Some((ring, own)) = opened {
        let wrong = compare(&slots, &own, &ring);
        return Ok((ring, own, wrong));
    }
    Err(locked_out(store, id, &slots, refusal))
}

/// What is wrong with the key files, now that one of them has been opened.
fn compare(slots: &[KeySlot], own: &OwnKey, ring: &Keyring) -> Wrong {
    let mut wrong = Wrong::default();
    for slot in slots {
        let right = (slot.name == own.name).then_some(&own.bytes);
        let (damaged, repairs) = slot.damage(right);
        wrong.damaged.extend(damaged);
        wrong.repairs.extend(repairs);
        let main = &slot.sides[0].key;
        match slot.generation().cmp(&ring.generation()) {
            Ordering::Less if slot.generation() > 0 => wrong.note(main, Damage::Superseded),
            Ordering::Greater => wrong.note(main, Damage::NewerMaster),
            Ordering::Less | Ordering::Equal => {}
        }
    }
    wrong
}

/// Of two refusals the one that tells more: a key that does not fit, rather than one of another kind.
fn worse(known: Option<KekError>, new: KekError) -> KekError {
    match known {
        Some(known @ KekError::WrongKey) => known,
        Some(_) | None => new,
    }
}

/// No file opens: if one of them is well formed, the key given is wrong.
fn locked_out(
    store: &dyn ObjectStore,
    id: &str,
    slots: &[KeySlot],
    refusal: Option<KekError>,
) -> RepositoryError {
    let place = store.describe();
    match refusal {
        Some(source @ (KekError::WrongKey | KekError::WrongKind { .. })) => {
            return RepositoryError::WrongKey { place, source };
        }
        Some(other) => {
            return RepositoryError::damaged(layout::key_file(id, &KeyName::First), other);
        }
        None => {}
    }
    let sides = slots.iter().flat_map(|slot| &slot.sides);
    let mut damages = sides.filter_map(|side| Some((&side.key, side.read.as_ref().err()?)));
    match damages.next() {
        Some((key, damage)) => RepositoryError::damaged(key, damage.clone()),
        // Only the marks of removed keys are left.
        None => RepositoryError::damaged(layout::key_file(id, &KeyName::First), Damage::Missing),
    }
}

/// A passphrase is stretched with 64 MiB for a tenth of a second.
pub(crate) async fn unwrap(
    keys: &WrappedKeys,
    kek: &Kek,
) -> Result<Result<Keyring, KekError>, RepositoryError> {
    let (keys, kek) = (keys.clone(), kek.clone());
    system::blocking(move || Ok(keys.unwrap(&kek))).await
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
    ring: &Keyring,
) -> Result<(Copy<RepositoryFile>, ObjectKey), RepositoryError> {
    let key = layout::description_copy(id);
    let file = read(store, &key).await?.and_then(|bytes| {
        let opened = sealed::open(&bytes, ObjectKind::Config, ring)?;
        Ok(RepositoryFile::from_json(&opened.payload)?)
    });
    Ok((file, key))
}

/// Chooses between the two copies of the description.
fn settle(
    plain: Copy<RepositoryFile>,
    sealed: Copy<RepositoryFile>,
    copy: ObjectKey,
    ring: &Keyring,
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
            wrong.add(
                copy,
                damage,
                create::seal_description(&plain, ring.newest())?,
            );
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
