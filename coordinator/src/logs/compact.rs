//! Small parts of archived logs become few large ones: a log that is written to has two new parts a second.
//!
//! A merged part counts from the moment it is stored. Those that it stands for are deleted a day later ([`REPLACED_KEPT`]), when whoever had
//! listed them is done, and after the merged one has been opened and proven once more.

use crate::core::Core;
use crate::fault::chain;
use holdfast_decide::logs::{PartFacts, merges};
use holdfast_repository::{RepositoryError, StoredPart, WalListing, WalPart};
use std::sync::Arc;
use std::time::Duration;

const EVERY: Duration = Duration::from_mins(10);

/// How long parts stay for which a merged one stands.
const REPLACED_KEPT: Duration = Duration::from_hours(24);

/// Bytes of data in a merged part, about. They are in memory several times for a moment.
const MAX_DATA: u64 = 16 << 20;

/// Groups that are merged in one run, of all logs: the rest has its turn in the next one.
const AT_ONCE: usize = 200;

/// Logs that fail in one run before it is given up: the store is at fault, not a log.
const FAILED: usize = 3;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Merged parts that were written.
    pub merged: u64,
    /// Parts that were deleted because a merged one stands for them.
    pub deleted: u64,
}

/// Runs until the process ends.
pub async fn run(core: Arc<Core>) {
    let stop = core.shutdown.token();
    while tokio::time::timeout(EVERY, stop.cancelled()).await.is_err() {
        match compact(&core).await {
            Ok(Compacted {
                merged: 0,
                deleted: 0,
            }) => {}
            Ok(done) => tracing::info!(
                merged = done.merged,
                deleted = done.deleted,
                "parts of archived logs were merged"
            ),
            Err(error) => tracing::warn!(
                reason = chain(&error),
                "parts of archived logs could not be merged; trying again later"
            ),
        }
    }
}

/// One run. It ends early when the coordinator stops.
///
/// # Errors
/// [`RepositoryError::StaleEpoch`], or a failure of the store: the first one, after the other logs had their turn. What can't be read is passed over.
pub async fn compact(core: &Core) -> Result<Compacted, RepositoryError> {
    let mut done = Compacted::default();
    let mut failures = Vec::new();
    for listing in core.repository.list_wal(&core.namespace).await? {
        if core.shutdown.token().is_cancelled() || done.merged >= AT_ONCE as u64 {
            break;
        }
        match one_log(core, &listing, &mut done).await {
            Ok(()) => {}
            Err(error @ RepositoryError::StaleEpoch { .. }) => return Err(error),
            Err(error) => failures.push(error),
        }
        if failures.len() >= FAILED {
            break;
        }
    }
    match failures.into_iter().next() {
        Some(first) => Err(first),
        None => Ok(done),
    }
}

async fn one_log(
    core: &Core,
    listing: &WalListing,
    done: &mut Compacted,
) -> Result<(), RepositoryError> {
    // Whether a day has passed is not known while a clock is wrong.
    if core.clock_fault().is_none() {
        done.deleted += delete_replaced(core, listing).await?;
    }
    done.merged += merge(core, listing, AT_ONCE as u64 - done.merged).await?;
    Ok(())
}

async fn merge(core: &Core, listing: &WalListing, at_most: u64) -> Result<u64, RepositoryError> {
    let stored: Vec<&StoredPart> = listing.parts.values().collect();
    let facts: Vec<PartFacts> = stored.iter().map(|stored| facts_of(stored)).collect();
    let mut merged = 0;
    for group in merges(&facts, core.clock.now()) {
        let mut rest: Vec<WalPart> = stored[group].iter().map(|stored| stored.part).collect();
        // One part after the other may not go together with the next: a gap, damage, another version, or much data.
        while rest.len() > 1 && merged < at_most {
            let repository = &core.repository;
            let run = repository.merge_wal(core.epoch, &listing.series, &rest, MAX_DATA);
            match run.await {
                Ok(Some(part)) => {
                    let next = part.merged.unwrap_or(part.first);
                    rest.retain(|rest| rest.first >= next);
                    merged += 1;
                }
                Ok(None) => {
                    rest.remove(0);
                }
                Err(error @ RepositoryError::Damaged { .. }) => {
                    tracing::warn!(timeline = %listing.series.timeline, reason = chain(&error), "a part of an archived log can't be merged");
                    rest.remove(0);
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(merged)
}

/// What a decision knows of a part.
pub(crate) fn facts_of(stored: &StoredPart) -> PartFacts {
    PartFacts {
        first: stored.part.first,
        size: stored.size,
        stored: stored.stored,
        merged: stored.part.merged.is_some(),
    }
}

async fn delete_replaced(core: &Core, listing: &WalListing) -> Result<u64, RepositoryError> {
    let now = core.clock.now();
    let mut deleted = 0;
    for whole in listing.parts.values() {
        let inside = |stored: &&StoredPart| whole.part.stands_for(stored.part);
        let replaced: Vec<StoredPart> = listing.replaced.iter().filter(inside).copied().collect();
        if replaced.is_empty() || now.since(whole.stored) <= REPLACED_KEPT {
            continue;
        }
        let series = &listing.series;
        match core.repository.prove_wal(series, whole.part).await {
            Ok(true) => {
                let removed = core.repository.remove_wal(core.epoch, series, &replaced);
                deleted += removed.await?.objects;
            }
            // Pruned meanwhile.
            Ok(false) => {}
            Err(error @ RepositoryError::Damaged { .. }) => {
                tracing::error!(timeline = %series.timeline, reason = chain(&error), "a merged part of an archived log can't be read: those that it stands for stay");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(deleted)
}
