//! Whether a store holds this repository, and making it a copy where it holds nothing.
//!
//! The plain description is not authentic. What proves the identity is its sealed copy, or the sealed note of the store's role:
//! nobody without the master key can have written them.

use super::keys::write_missing;
use super::role::{TheRole, read_role, write_role};
use crate::core_state::CoreState;
use crate::{Damage, RepositoryError, RoleRefusal, create, layout};
use bytes::Bytes;
use holdfast_archive::{ObjectKind, RepositoryFile, SealedError, sealed};
use holdfast_store::{KeyPrefix, ObjectKey, ObjectStore, PutMode};
use holdfast_types::Epoch;

/// What a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, or what an interrupted making of a copy left.
    Nothing,
    /// This repository.
    Ours,
}

/// Finds out whether a store holds the repository that is open as `ours`.
pub(crate) async fn identify(
    store: &dyn ObjectStore,
    ours: &CoreState,
    description: &RepositoryFile,
) -> Result<Found, RepositoryError> {
    let place = store.describe();
    if store.is_empty().await? {
        return Ok(Found::Nothing);
    }
    let plain = read(store, &layout::description()).await?;
    if let Ok(bytes) = &plain {
        match RepositoryFile::from_json(bytes) {
            Ok(file) if file.id != description.id => {
                return Err(RepositoryError::Foreign { place });
            }
            // A damaged one says nothing; a sealed object decides.
            Ok(_) | Err(_) => {}
        }
    }
    let copy = layout::description_copy(&description.id);
    if let Ok(bytes) = read(store, &copy).await? {
        match sealed::open(&bytes, ObjectKind::Config, &ours.master) {
            Ok(opened) => {
                let file = RepositoryFile::from_json(&opened.payload);
                if file.is_ok_and(|file| file == *description) {
                    return match plain {
                        Err(Damage::Missing) if is_unfinished(store, &description.id).await? => {
                            Ok(Found::Nothing)
                        }
                        Ok(_) | Err(_) => Ok(Found::Ours),
                    };
                }
            }
            Err(SealedError::OtherKey(_)) => {
                return Err(RoleRefusal::OtherMaster { place }.into());
            }
            // Damaged: the note of the role may still tell.
            Err(_) => {}
        }
    }
    match read_role(store, &ours.master).await {
        Ok(Some(_)) => Ok(Found::Ours),
        Ok(None) | Err(RepositoryError::Damaged { .. }) => {
            if is_unfinished(store, &description.id).await? {
                return Ok(Found::Nothing);
            }
            Err(RepositoryError::Foreign { place })
        }
        Err(other) => Err(other),
    }
}

/// Refuses the store of this repository itself, or a duplicate that was made while this term lasted: it has the same claim.
pub(crate) async fn check_other(
    store: &dyn ObjectStore,
    ours: &CoreState,
    term: Epoch,
) -> Result<(), RepositoryError> {
    let claim = layout::epoch(term);
    let own = read(ours.store.as_ref(), &claim).await?;
    let other = read(store, &claim).await?;
    match (own, other) {
        (Ok(own), Ok(other)) if own != other => Ok(()),
        (Ok(_), Err(Damage::Missing)) => Ok(()),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => {
            let place = store.describe();
            Err(RoleRefusal::NoCopy { place }.into())
        }
    }
}

/// Whether all that is there is what the making of a copy leaves that died before its last step.
async fn is_unfinished(store: &dyn ObjectStore, id: &str) -> Result<bool, RepositoryError> {
    if store.head(&layout::description()).await?.is_some() {
        return Ok(false);
    }
    let prefixes = [layout::keys(), layout::copies_of(id), layout::roles()];
    // Before everything is listed, which may be long where it is somebody else's.
    let mut begun = false;
    for prefix in [layout::copies_of(id), layout::keys()] {
        begun |= !store.list(&prefix).await?.is_empty();
    }
    if !begun {
        return Ok(false);
    }
    let listed = store.list(&KeyPrefix::root()).await?;
    let is_ours = |key: &ObjectKey| prefixes.iter().any(|prefix| prefix.contains(key));
    Ok(listed.iter().all(|found| is_ours(&found.key)))
}

/// Makes a copy without any recovery point of a store that holds nothing: keys → sealed description → role → plain description,
/// without which there is no repository yet.
pub(crate) async fn initialise(
    store: &dyn ObjectStore,
    ours: &CoreState,
    description: &RepositoryFile,
    role: &TheRole,
) -> Result<(), RepositoryError> {
    write_missing(ours.store.as_ref(), store, &description.id, None).await?;
    let copy = layout::description_copy(&description.id);
    let sealed = match sound_description(ours, description).await? {
        Some(sealed) => sealed,
        None => create::seal_description(description, ours.master.newest())?,
    };
    store.put(&copy, sealed, PutMode::Overwrite).await?;
    write_role(store, &ours.master, Epoch(0), role).await?;
    let plain = create::description_json(description)?;
    let key = layout::description();
    Ok(store.put(&key, plain, PutMode::CreateNew).await?)
}

/// The sealed description as it stands on the primary, if it is sound there.
pub(super) async fn sound_description(
    ours: &CoreState,
    description: &RepositoryFile,
) -> Result<Option<Bytes>, RepositoryError> {
    let key = layout::description_copy(&description.id);
    let Ok(bytes) = read(ours.store.as_ref(), &key).await? else {
        return Ok(None);
    };
    let opened = sealed::open(&bytes, ObjectKind::Config, &ours.master);
    let is_sound = opened.is_ok_and(|opened| {
        RepositoryFile::from_json(&opened.payload).is_ok_and(|file| file == *description)
    });
    Ok(is_sound.then_some(bytes))
}

/// An object, or how it is damaged.
pub(super) async fn read(
    store: &dyn ObjectStore,
    key: &ObjectKey,
) -> Result<Result<Bytes, Damage>, RepositoryError> {
    match store.get(key).await {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(error) => Ok(Err(Damage::of_read(error)?)),
    }
}
