//! The small objects: description and key in both copies, indexes, and packs that no index knows.

use super::VerifyReport;
use crate::core_state::{CoreState, list_packs};
use crate::{Damage, RepositoryError, gc, key_slot, layout, load, notes};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::{ObjectKind, RepositoryFile, sealed};
use holdfast_store::{ObjectKey, StoreError};
use holdfast_types::PackId;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;

/// Objects read at once.
const READS_AHEAD: usize = 4;

/// Both copies of description and key must be there, and say the same.
pub(super) async fn check_description(
    core: &CoreState,
    description: &RepositoryFile,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    let id = &description.id;
    let plain = layout::description();
    let said = read(core, &plain).await?.and_then(|bytes| {
        let file = RepositoryFile::from_json(&bytes)?;
        same(file == *description)
    });
    let sealed = layout::description_copy(id);
    let repeated = read(core, &sealed).await?.and_then(|bytes| {
        let opened = sealed::open(&bytes, ObjectKind::Config, &core.master)?;
        let file = RepositoryFile::from_json(&opened.payload)?;
        same(file == *description)
    });
    for (key, outcome) in [(plain, said), (sealed, repeated)] {
        if let Err(damage) = outcome {
            report.damage(key, damage);
        }
    }
    check_keys(core, id, report).await
}

/// Without the key-encryption key nobody can tell which of two key files is the right one, unless one of
/// them is none.
async fn check_keys(
    core: &CoreState,
    id: &str,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    for slot in key_slot::survey(core.store.as_ref(), id).await? {
        for found in slot.damage(None).0 {
            report.damage(found.object, found.damage);
        }
    }
    Ok(())
}

fn same(is: bool) -> Result<(), Damage> {
    is.then_some(()).ok_or(Damage::Contradiction)
}

async fn read(core: &CoreState, key: &ObjectKey) -> Result<Result<Bytes, Damage>, RepositoryError> {
    match core.store.get(key).await {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(error) => Ok(Err(Damage::of_read(error)?)),
    }
}

/// Every tombstone, hold, pin and proof opens.
pub(super) async fn check_notes(
    core: &Arc<CoreState>,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    for (prefix, kind) in [
        (layout::holds(), ObjectKind::Hold),
        (layout::pins(), ObjectKind::Hold),
        (layout::proofs(), ObjectKind::Proof),
        (layout::point_tombstones(), ObjectKind::Tombstone),
        (layout::pack_tombstones(), ObjectKind::Tombstone),
        (layout::roles(), ObjectKind::Config),
    ] {
        for found in core.store.list(&prefix).await? {
            match notes::read::<Value>(core, found.key, kind).await {
                Ok(_) => {}
                Err(RepositoryError::Damaged { object, source }) => report.damage(object, source),
                // Nothing depends on it.
                Err(RepositoryError::NewerFormat { .. }) if kind == ObjectKind::Proof => {}
                Err(other) => return Err(other),
            }
        }
    }
    Ok(())
}

/// Every index opens, and stands under its own name. Returns the packs that they name.
pub(super) async fn check_indexes(
    core: &Arc<CoreState>,
    report: &mut VerifyReport,
) -> Result<HashSet<PackId>, RepositoryError> {
    let mut indexed = HashSet::new();
    let listed = core.store.list(&layout::indexes()).await?;
    let mut reads = stream::iter(listed)
        .map(|found| async move {
            let named = named_by_its_end(core, &found.key, found.size).await?;
            let (key, outcome) = load::read_index(&core.store, &core.master, found.key).await?;
            let packs = outcome.map(|(_, index)| index.packs.iter().map(|pack| pack.id).collect());
            Ok::<(_, Result<Vec<_>, _>, _), RepositoryError>((key, packs, named))
        })
        .buffer_unordered(READS_AHEAD);
    while let Some((key, packs, named)) = reads.try_next().await? {
        match packs {
            Ok(packs) => {
                indexed.extend(packs);
                if let Err(damage) = named {
                    report.damage(key, damage);
                }
            }
            Err(damage) => report.damage(key, damage),
        }
    }
    Ok(indexed)
}

/// An index is named by the checksum at its end. One under another name is as good, but whoever looks for
/// it by name finds the wrong one.
async fn named_by_its_end(
    core: &CoreState,
    key: &ObjectKey,
    size: u64,
) -> Result<Result<(), Damage>, RepositoryError> {
    let len = 32.min(size);
    let end = match core.store.get_range(key, size - len, len).await {
        Ok(end) => end,
        // Reading it in full tells what is wrong.
        Err(StoreError::NotFound { .. } | StoreError::OutOfRange { .. }) => return Ok(Ok(())),
        Err(error) => return Err(error.into()),
    };
    let named = key.name() == hex::encode(&end);
    Ok(named.then_some(()).ok_or(Damage::Misplaced))
}

/// Packs that are there and not known: their footers can't be read, and no index names them.
pub(super) async fn check_unknown_packs(
    core: &Arc<CoreState>,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    let listed = list_packs(core.store.as_ref()).await?;
    let mut unknown: Vec<_> = {
        let catalog = core.catalog();
        let unknown = listed.into_iter();
        unknown
            .filter(|(id, _)| !catalog.contains_pack(id))
            .collect()
    };
    if !unknown.is_empty() {
        let swept = gc::swept(core).await?;
        unknown.retain(|(id, _)| !swept.contains(id));
    }
    let mut reads = stream::iter(unknown)
        .map(|(id, size)| load::read_footer(&core.store, &core.master, id, size))
        .buffer_unordered(READS_AHEAD);
    while let Some((id, _, footer)) = reads.try_next().await? {
        // A sound one was written by another process since this one opened the repository.
        if let Err(damage) = footer {
            report.damage(layout::pack(&id), damage);
        }
    }
    Ok(())
}
