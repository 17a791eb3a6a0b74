//! The deletion of packs whose grace is over.
//!
//! Order: last look under the gate → swept written down → forgotten in memory → indexes without them →
//! packs deleted. From "swept" on, everybody who opens the repository takes them for gone, so a crash in
//! between costs only that the next run goes on.
//!
//! A pack may be locked in its store, which hides it rather than refuse its deletion (an S3 bucket with versions): so we look first.
//! A store may also refuse a deletion: the credentials may only add. What is refused stays, and
//! so does the tombstone that says why nobody uses it; every later run tries again, and everything else goes on.

use super::mark::Marked;
use super::stones::{self, Stone};
use super::{Collector, GarbageReport, indexes, is_live};
use crate::catalog::Doom;
use crate::core_state::{CoreState, list_packs};
use crate::{RepositoryError, epochs, keep, layout};
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_store::{ObjectKey, StoreError};
use holdfast_types::PackId;
use std::collections::{BTreeSet, HashSet};

/// Packs deleted at once.
const DELETES_AHEAD: usize = 8;

/// Looks a last time, while no point is committed, and takes the packs out of the world.
pub(super) async fn sweep(
    run: &Collector<'_>,
    stone: &mut Stone,
    marked: &mut Marked,
    report: &mut GarbageReport,
) -> Result<(), RepositoryError> {
    let core = run.core;
    let _no_commits = core.gate.write().await;
    epochs::check(core, run.epoch).await?;
    // What was committed since the mark.
    marked.mark_points(core, run.reader, &()).await?;
    let weights = core.catalog().weigh();
    let known = run.known(&stone.content.packs);
    let needed = |number: u32| is_live(&weights, number);
    let doom = |number: u32| core.catalog().doom_of(number);
    let copied_first = |number| needed(number) && doom(number) == Some(Doom::Anothers);
    if known.iter().any(|(number, _)| copied_first(*number)) {
        // The next run copies what is needed of it, or finds it in its new place.
        let tombstone = stone.content.tombstone;
        let until = tombstone.since.after(tombstone.grace);
        known.iter().for_each(|(_, pack)| report.wait(pack, until));
        return Ok(());
    }
    let mut packs = BTreeSet::new();
    let mut numbers = HashSet::new();
    for (number, pack) in known {
        // A commit may have spared it since the tombstone was confirmed.
        if needed(number) || doom(number).is_none() {
            core.catalog_mut().spare(number);
            report.spared.add(&pack);
            continue;
        }
        packs.insert(pack.id);
        numbers.insert(number);
        report.swept.add(&pack);
    }
    stone.content.packs = packs;
    stone.content.swept = Some(run.options.now);
    stones::write(core, run.epoch, stone).await?;
    core.catalog_mut().remove_packs(&numbers);
    run.packer.forget(&stone.content.packs);
    Ok(())
}

/// Deletes what swept tombstones name, and the tombstones themselves after another grace.
pub(super) async fn finish(
    run: &Collector<'_>,
    stones: &mut [Stone],
) -> Result<(), RepositoryError> {
    let core = run.core;
    let now = run.options.now;
    let over = |stone: &Stone| match stone.content.swept {
        Some(swept) => swept.after(run.options.grace) <= now,
        None => stone.content.packs.is_empty(),
    };
    let gone: HashSet<PackId> = stones
        .iter()
        .filter(|stone| stone.content.swept.is_some() && (!stone.content.finished || over(stone)))
        .flat_map(|stone| stone.content.packs.iter().copied())
        .collect();
    let mut refused = HashSet::new();
    let mut indexes_stay = false;
    if !gone.is_empty() {
        epochs::check(core, run.epoch).await?;
        indexes_stay = !indexes::rewrite_without(core, run.packer, run.epoch, &gone).await?;
        let listed = list_packs(core.store.as_ref()).await?;
        let is_there = |id: &PackId| listed.contains_key(id);
        let there: Vec<PackId> = gone.into_iter().filter(is_there).collect();
        let deleted: Vec<_> = stream::iter(there)
            .map(|id| async move { Ok::<_, RepositoryError>((id, delete_pack(run, id).await?)) })
            .buffer_unordered(DELETES_AHEAD)
            .try_collect()
            .await?;
        refused = deleted
            .into_iter()
            .filter_map(|(id, deleted)| (!deleted).then_some(id))
            .collect();
    }
    for stone in stones {
        let stays = stone.content.swept.is_some()
            && (indexes_stay || stone.content.packs.iter().any(|id| refused.contains(id)));
        if stays {
            continue;
        }
        if over(stone) {
            stones::delete(core, stone).await?;
        } else if stone.content.swept.is_some() && !stone.content.finished {
            stone.content.finished = true;
            stones::write(core, run.epoch, stone).await?;
        }
    }
    Ok(())
}

async fn delete_pack(run: &Collector<'_>, id: PackId) -> Result<bool, RepositoryError> {
    let key = layout::pack(&id);
    match keep::locked_until(run.core, &key).await {
        Ok(Some(until)) if run.options.now < until => {
            tracing::info!(object = %key, %until, "garbage is locked in its store: it stays until then");
            Ok(false)
        }
        Ok(_) => delete(run.core, &key).await,
        Err(RepositoryError::Store(error @ StoreError::Permission { .. })) => {
            tracing::warn!(object = %key, %error, "whether garbage is locked can't be asked: it stays");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Deletes an object, unless the store refuses that. Returns whether it did.
pub(super) async fn delete(core: &CoreState, key: &ObjectKey) -> Result<bool, RepositoryError> {
    match core.store.delete(key).await {
        Ok(()) => Ok(true),
        Err(error @ StoreError::Permission { .. }) => {
            tracing::warn!(object = %key, %error, "the store refuses to delete garbage: it stays");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
