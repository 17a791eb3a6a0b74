//! Making a repository. The description is written last: without it there is no repository yet,
//! and an `init` that died can simply be repeated.

use crate::layout::KeyName;
use crate::{Damage, RepositoryError, RepositoryOptions, layout, system};
use bytes::Bytes;
use holdfast_archive::{
    FIRST_HOLDER, KeyFile, Keyring, MasterKey, ObjectKind, RepositoryFile, WrappedKeys, sealed,
};
use holdfast_store::{ObjectStore, PutMode, StoreError};
use holdfast_types::Epoch;

/// Writes description and key of a new repository into an empty store.
pub(crate) async fn create(
    store: &dyn ObjectStore,
    options: RepositoryOptions,
) -> Result<(), RepositoryError> {
    let place = store.describe();
    if !store.is_empty().await? && !is_unfinished(store).await? {
        return Err(match store.head(&layout::description()).await? {
            Some(_) => RepositoryError::AlreadyExists { place },
            None => RepositoryError::Foreign { place },
        });
    }
    let made = system::blocking(move || make(options)).await?;
    let id = &made.id;
    let objects = [
        (layout::key_file(id, &KeyName::First), made.key.clone()),
        (layout::key_file_copy(id, &KeyName::First), made.key),
        (layout::description_copy(id), made.sealed_description),
        (layout::description(), made.description),
    ];
    for (object, bytes) in objects {
        match store.put(&object, bytes, PutMode::CreateNew).await {
            Ok(()) => {}
            // The other names are random: only the description can be another's.
            Err(StoreError::AlreadyExists { .. }) => {
                return Err(RepositoryError::AlreadyExists { place });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

struct Made {
    id: String,
    key: Bytes,
    description: Bytes,
    sealed_description: Bytes,
}

fn make(options: RepositoryOptions) -> Result<Made, RepositoryError> {
    let RepositoryOptions {
        cluster,
        kek,
        created,
        program,
    } = options;
    let file = RepositoryFile::new(system::random()?, cluster, created, program);
    let master = MasterKey::from_bytes(system::random()?);
    let holder = FIRST_HOLDER.parse().expect("a constant lowercase word");
    let ring = Keyring::new(master.clone());
    let wrapped = WrappedKeys::wrap(&ring, &kek, holder, created, system::random()?)
        .map_err(|error| RepositoryError::invalid("the master key", error))?;
    Ok(Made {
        key: key_json(&KeyFile::Wrapped(wrapped))?,
        description: description_json(&file)?,
        sealed_description: seal_description(&file, &master)?,
        id: file.id,
    })
}

/// The content of a key file.
pub(crate) fn key_json(file: &KeyFile) -> Result<Bytes, RepositoryError> {
    let json = file.to_json();
    json.map(Bytes::from)
        .map_err(|error| RepositoryError::invalid("a key file", Damage::json(error)))
}

/// The content of `holdfast.json`.
pub(crate) fn description_json(file: &RepositoryFile) -> Result<Bytes, RepositoryError> {
    let json = file.to_json();
    json.map(Bytes::from)
        .map_err(|error| RepositoryError::invalid("the description", Damage::json(error)))
}

/// The second copy of the description, which nobody without the key can have changed.
pub(crate) fn seal_description(
    file: &RepositoryFile,
    master: &MasterKey,
) -> Result<Bytes, RepositoryError> {
    let (json, salt) = (description_json(file)?, system::random()?);
    sealed::seal(ObjectKind::Config, Epoch(0), salt, master, &json)
        .map(Bytes::from)
        .map_err(|error| RepositoryError::invalid("the description", error))
}

/// Whether all that is there is what an `init` leaves that died before its last step.
pub(crate) async fn is_unfinished(store: &dyn ObjectStore) -> Result<bool, RepositoryError> {
    if store.head(&layout::description()).await?.is_some() {
        return Ok(false);
    }
    for prefix in [
        layout::packs(),
        layout::indexes(),
        layout::points(),
        layout::epochs(),
    ] {
        if !store.list(&prefix).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(!store.list(&layout::keys()).await?.is_empty())
}
