//! Parts that are made into one, and parts that go.

use super::{RemovedParts, StoredPart, read};
use crate::core_state::CoreState;
use crate::layout::{self, WalPart, WalSeries};
use crate::{Damage, RepositoryError, epochs, system};
use holdfast_archive::{ObjectKind, WalObject, WalObjectError, WalRun, sealed};
use holdfast_store::{PutMode, StoreError};
use holdfast_types::Epoch;
use std::sync::Arc;

/// Objects that are deleted between two looks at the epoch.
const REMOVED_AT_ONCE: usize = 16;

/// Stores one object for parts that follow one another: the first of them and as many more as their data fits `max_data` bytes and one
/// server version wrote. `None` if that is no more than one. An object that does not come back as it was written is deleted again.
pub(crate) async fn merge(
    core: &Arc<CoreState>,
    epoch: Epoch,
    series: &WalSeries,
    parts: &[WalPart],
    max_data: u64,
) -> Result<Option<WalPart>, RepositoryError> {
    let mut whole: Vec<WalObject> = Vec::new();
    let mut data = 0;
    for part in parts {
        let object = match read(core, series, *part).await {
            Ok(Some(object)) => object,
            // Removed meanwhile, or unreadable: what follows can't be joined to what came before.
            Ok(None) => break,
            Err(RepositoryError::Damaged { .. }) if !whole.is_empty() => break,
            Err(error) => return Err(error),
        };
        data += object.data_bytes();
        let fits = whole.last().is_none_or(|before| {
            let same = before.origin().server_version == object.origin().server_version;
            data <= max_data && same && object.follows(before).is_ok()
        });
        if !fits {
            break;
        }
        whole.push(object);
    }
    if whole.len() < 2 {
        return Ok(None);
    }
    let invalid = |part: WalPart| {
        let key = layout::wal_part(series, part);
        move |error: WalObjectError| RepositoryError::invalid(&key, error)
    };
    let joined = WalObject::join(whole).map_err(invalid(parts[0]))?;
    let WalRun { first, next, .. } = *joined.run();
    let part = WalPart {
        first,
        merged: Some(next),
    };
    let (sealing, invalid) = (core.clone(), invalid(part));
    let key = layout::wal_part(series, part);
    let (salt, what) = (system::random()?, key.clone());
    let (joined, object) = system::blocking(move || {
        let payload = joined.encode().map_err(&invalid)?;
        let master = sealing.master.newest();
        let object = sealed::seal(ObjectKind::Wal, epoch, salt, master, &payload)
            .map_err(|error| RepositoryError::invalid(&what, error))?;
        Ok((joined, object))
    })
    .await?;
    epochs::check(core, epoch).await?;
    let put = core.store.put(&key, object.into(), PutMode::CreateNew);
    let is_ours = match put.await {
        Ok(()) => true,
        Err(StoreError::AlreadyExists { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    // What it stands for may go soon: it must be what was meant, as the store has it.
    let wrong = match read(core, series, part).await {
        Ok(Some(stored)) if stored == joined => return Ok(Some(part)),
        Ok(Some(_)) => RepositoryError::damaged(&key, Damage::Misplaced),
        Ok(None) => RepositoryError::damaged(&key, Damage::Missing),
        Err(error @ RepositoryError::Damaged { .. }) => error,
        Err(error) => return Err(error),
    };
    if is_ours {
        // It would count in place of sound ones. If it can't be deleted, reading looks behind it.
        let deleted = core.store.delete(&key).await;
        tracing::error!(object = %key, deleted = deleted.is_ok(), "a merged part of an archived log did not come back as it was written");
    }
    Err(wrong)
}

/// Deletes objects, the oldest first. Others go where the store refuses one.
pub(crate) async fn remove(
    core: &Arc<CoreState>,
    epoch: Epoch,
    series: &WalSeries,
    parts: &[StoredPart],
) -> Result<RemovedParts, RepositoryError> {
    let mut removed = RemovedParts::default();
    for batch in parts.chunks(REMOVED_AT_ONCE) {
        epochs::check(core, epoch).await?;
        let deleted = batch.iter().map(|stored| async move {
            let key = layout::wal_part(series, stored.part);
            (stored.size, core.store.delete(&key).await)
        });
        for (size, outcome) in futures::future::join_all(deleted).await {
            match outcome {
                Ok(()) | Err(StoreError::NotFound { .. }) => {
                    removed.objects += 1;
                    removed.bytes += size;
                }
                Err(error @ StoreError::Permission { .. }) => {
                    removed.refused += 1;
                    removed.why = Some(error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(removed)
}
