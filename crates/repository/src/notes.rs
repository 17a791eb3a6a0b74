//! Small sealed JSON objects: how tombstones, holds and pins are written and read.
//!
//! What protects (holds, pins) is never passed over when it can't be read: what it forbids is not known.

use crate::core_state::CoreState;
use crate::{Damage, RepositoryError, system};
use bytes::Bytes;
use futures::{StreamExt, stream};
use holdfast_archive::{Keyring, ObjectKind, sealed};
use holdfast_store::{KeyPrefix, ObjectKey, ObjectStore, PutMode, StoreError};
use holdfast_types::Epoch;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The format of all notes that this program writes and the newest it reads.
const NOTE_FORMAT: u32 = 1;
/// Notes read at once.
const READS_AHEAD: usize = 8;

/// A note as read: where it stands, and the epoch of its writer.
#[derive(Clone, Debug)]
pub(crate) struct Found<T> {
    pub(crate) key: ObjectKey,
    pub(crate) epoch: Epoch,
    pub(crate) note: T,
}

/// How a note stands in its object.
#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    format: u32,
    #[serde(flatten)]
    note: T,
}

/// Writes a note under an epoch.
pub(crate) async fn write<T: Serialize>(
    core: &CoreState,
    key: &ObjectKey,
    kind: ObjectKind,
    epoch: Epoch,
    mode: PutMode,
    note: &T,
) -> Result<(), RepositoryError> {
    let object = seal(&core.master, key, kind, epoch, note)?;
    Ok(core.store.put(key, object, mode).await?)
}

/// The bytes of a note's object.
pub(crate) fn seal<T: Serialize>(
    master: &Keyring,
    key: &ObjectKey,
    kind: ObjectKind,
    epoch: Epoch,
    note: &T,
) -> Result<Bytes, RepositoryError> {
    let format = NOTE_FORMAT;
    let json = serde_json::to_vec(&Envelope { format, note })
        .map_err(|error| RepositoryError::invalid(key, error))?;
    let object = sealed::seal(kind, epoch, system::random()?, master.newest(), &json)
        .map_err(|error| RepositoryError::invalid(key, error))?;
    Ok(Bytes::from(object))
}

/// Every note below a prefix, by name. One that can't be read is an error.
pub(crate) async fn read_all<T: DeserializeOwned>(
    core: &CoreState,
    prefix: &KeyPrefix,
    kind: ObjectKind,
) -> Result<Vec<Found<T>>, RepositoryError> {
    let each = read_each(core, prefix, kind).await?;
    let notes: Result<Vec<Option<Found<T>>>, _> = each.into_iter().collect();
    Ok(notes?.into_iter().flatten().collect())
}

/// Every note below a prefix that is not damaged, by name.
pub(crate) async fn read_readable<T: DeserializeOwned>(
    core: &CoreState,
    prefix: &KeyPrefix,
    kind: ObjectKind,
) -> Result<Vec<Found<T>>, RepositoryError> {
    let mut readable = Vec::new();
    for outcome in read_each(core, prefix, kind).await? {
        match outcome {
            Ok(note) => readable.extend(note),
            Err(error @ RepositoryError::Damaged { .. }) => {
                tracing::warn!(%error, "a note is passed over");
            }
            Err(other) => return Err(other),
        }
    }
    Ok(readable)
}

/// A note, or why it can't be read; `None` if it is gone since it was listed.
pub(crate) type Outcome<T> = Result<Option<Found<T>>, RepositoryError>;

/// What became of reading every note below a prefix, by name.
pub(crate) async fn read_each<T: DeserializeOwned>(
    core: &CoreState,
    prefix: &KeyPrefix,
    kind: ObjectKind,
) -> Result<Vec<Outcome<T>>, RepositoryError> {
    let listed = core.store.list(prefix).await?;
    let reads = stream::iter(listed)
        .map(|found| read(core, found.key, kind))
        .buffered(READS_AHEAD);
    Ok(reads.collect().await)
}

/// One note; `None` if there is none.
pub(crate) async fn read<T: DeserializeOwned>(
    core: &CoreState,
    key: ObjectKey,
    kind: ObjectKind,
) -> Result<Option<Found<T>>, RepositoryError> {
    read_from(core.store.as_ref(), &core.master, key, kind).await
}

/// [`read`] from a store that is not opened as a repository.
pub(crate) async fn read_from<T: DeserializeOwned>(
    store: &dyn ObjectStore,
    master: &Keyring,
    key: ObjectKey,
    kind: ObjectKind,
) -> Result<Option<Found<T>>, RepositoryError> {
    let bytes = match store.get(&key).await {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(RepositoryError::damaged(&key, Damage::of_read(error)?)),
    };
    open(key, &bytes, master, kind).map(Some)
}

/// A note out of its object's bytes.
pub(crate) fn open<T: DeserializeOwned>(
    key: ObjectKey,
    bytes: &[u8],
    master: &Keyring,
    kind: ObjectKind,
) -> Result<Found<T>, RepositoryError> {
    let opened = sealed::open(bytes, kind, master);
    let opened = opened.map_err(|error| RepositoryError::damaged(&key, error))?;
    let note = parse(&key, &opened.payload)?;
    Ok(Found {
        key,
        epoch: opened.epoch,
        note,
    })
}

fn parse<T: DeserializeOwned>(key: &ObjectKey, json: &[u8]) -> Result<T, RepositoryError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged = |error: serde_json::Error| RepositoryError::damaged(key, error);
    let Format { format } = serde_json::from_slice(json).map_err(damaged)?;
    if format > NOTE_FORMAT {
        return Err(RepositoryError::NewerFormat {
            object: key.to_string(),
            format,
        });
    }
    let envelope: Envelope<T> = serde_json::from_slice(json).map_err(damaged)?;
    Ok(envelope.note)
}
