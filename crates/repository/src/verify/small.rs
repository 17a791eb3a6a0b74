//! The small objects: description and key in both copies, indexes, and packs that no index knows.

use super::VerifyReport;
use crate::core_state::{CoreState, list_packs};
use crate::{Damage, RepositoryError, layout, load};
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::RepositoryFile;
use holdfast_store::{ObjectKey, StoreError};
use std::sync::Arc;

/// Objects read at once.
const READS_AHEAD: usize = 4;

/// Both copies of description and key must be there; what they say was checked at the open.
pub(super) async fn check_description(
    core: &CoreState,
    description: &RepositoryFile,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    let id = &description.id;
    let copies = [layout::master_key(id), layout::master_key_copy(id)];
    let [plain_key, sealed_key] = [layout::description(), layout::description_copy(id)];
    let [main, copy] = copies.clone();
    let (main, copy) = (core.store.get(&main).await, core.store.get(&copy).await);
    let differ = matches!((&main, &copy), (Ok(main), Ok(copy)) if main != copy);
    if differ {
        report.damage(&copies[1], Damage::Contradiction);
    }
    let plain = core.store.get(&plain_key).await;
    if let Ok(bytes) = &plain {
        let sound = RepositoryFile::from_json(bytes).is_ok_and(|file| file == *description);
        if !sound {
            report.damage(&plain_key, Damage::Contradiction);
        }
    }
    let sealed = core.store.get(&sealed_key).await;
    if let Ok(bytes) = &sealed
        && let Err(error) = holdfast_archive::sealed::verify_checksum(bytes)
    {
        report.damage(&sealed_key, error.into());
    }
    let keys = copies.into_iter().chain([plain_key, sealed_key]);
    for (key, read) in keys.zip([main, copy, plain, sealed]) {
        match read {
            Ok(_) => {}
            Err(error) => report.damage(key, Damage::of_read(error)?),
        }
    }
    Ok(())
}

/// Every index opens, and stands under its own name.
pub(super) async fn check_indexes(
    core: &Arc<CoreState>,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    let listed = core.store.list(&layout::indexes()).await?;
    let mut reads = stream::iter(listed)
        .map(|found| async move {
            let named = named_by_its_end(core, &found.key, found.size).await?;
            let (key, outcome) = load::read_index(&core.store, &core.master, found.key).await?;
            Ok::<_, RepositoryError>((key, outcome.map(drop).and(named)))
        })
        .buffer_unordered(READS_AHEAD);
    while let Some((key, outcome)) = reads.try_next().await? {
        if let Err(damage) = outcome {
            report.damage(key, damage);
        }
    }
    Ok(())
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
    let unknown: Vec<_> = {
        let catalog = core.catalog();
        let unknown = listed.into_iter();
        unknown
            .filter(|(id, _)| !catalog.contains_pack(id))
            .collect()
    };
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
