//! Which writer is the newest. A writer claims the next epoch by a conditional put, and whoever
//! holds an older one is refused when it flushes or commits (invariant I3).
//!
//! Between the check and the write that follows, a newer writer may appear. What the late one adds is harmless:
//! nothing replaces it, and a point that it commits in that moment is whole. What it deletes is why every deletion is first
//! written down, with another check after, and why there is a grace: a writer that stands still between the last check and
//! the deletion for longer than the grace is not guarded against.

use crate::core_state::CoreState;
use crate::{Damage, RepositoryError, RoleRefusal, layout, system};
use bytes::Bytes;
use holdfast_store::{PutMode, StoreError};
use holdfast_types::{Epoch, Timestamp};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Claims that may be lost to others before giving up.
const MAX_TRIES: usize = 64;

/// Takes an epoch that is newer than the newest one by `ahead`, and newer than `floor`.
pub(crate) async fn claim_above(
    core: &CoreState,
    floor: Epoch,
    ahead: u64,
) -> Result<Epoch, RepositoryError> {
    for _ in 0..MAX_TRIES {
        let newest = newest(core).await?.max(floor);
        let epoch = Epoch(newest.0.saturating_add(ahead));
        if put_claim(core, epoch).await? {
            return Ok(epoch);
        }
    }
    Err(RepositoryError::Aborted {
        reason: "other writers keep claiming epochs".to_owned(),
    })
}

/// A claim, as far as it is read again.
#[derive(Deserialize)]
pub(crate) struct Claim {
    /// When a claim, a point or a mark was last written before it, in microseconds since the Unix epoch by the store's clock. Earlier versions
    /// did not say so.
    pub(crate) last_us: Option<i64>,
}

/// Writes down that this epoch has a writer. Returns whether nobody had before.
async fn put_claim(core: &CoreState, epoch: Epoch) -> Result<bool, RepositoryError> {
    // Random, so that a retried put can tell our claim from another's.
    let nonce = hex::encode(system::random::<16>()?);
    // Once it is there, it is what was last written: so it says itself what was before it.
    let last = last_written(core).await?;
    let last = last.map_or_else(String::new, |at| format!(",\"last_us\":{}", at.as_micros()));
    let claim = format!("{{\"epoch\":{epoch},\"nonce\":\"{nonce}\"{last}}}\n");
    let key = layout::epoch(epoch);
    let put = core.store.put(&key, Bytes::from(claim), PutMode::CreateNew);
    match put.await {
        Ok(()) => Ok(true),
        Err(StoreError::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes on a copy the epoch that was claimed on the primary, by the same claim: whoever claimed the same number on
/// a duplicate of the primary has another one.
pub(crate) async fn claim_as(
    copy: &CoreState,
    primary: &CoreState,
    ours: Epoch,
) -> Result<(), RepositoryError> {
    let newest = newest(copy).await?;
    if newest > ours {
        return Err(RepositoryError::StaleEpoch { ours, newest });
    }
    let key = layout::epoch(ours);
    let claim = match primary.store.get(&key).await {
        Ok(claim) => claim,
        Err(error) => return Err(RepositoryError::damaged(&key, Damage::of_read(error)?)),
    };
    match copy
        .store
        .put(&key, claim.clone(), PutMode::CreateNew)
        .await
    {
        Ok(()) => return Ok(()),
        Err(StoreError::AlreadyExists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if copy.store.get(&key).await? == claim {
        return Ok(());
    }
    let place = copy.store.describe();
    Err(RoleRefusal::OtherWriter { place, epoch: ours }.into())
}

/// When a claim, a point or a mark was last written, by the store's clock; `None` if none was.
pub(crate) async fn last_written(core: &CoreState) -> Result<Option<Timestamp>, RepositoryError> {
    let mut last = None;
    for prefix in [
        layout::epochs(),
        layout::points(),
        layout::point_tombstones(),
    ] {
        let listed = core.store.list(&prefix).await?;
        last = last.max(listed.iter().map(|found| found.modified).max());
    }
    Ok(last)
}

/// Every epoch whose claim is there.
async fn claims(core: &CoreState) -> Result<BTreeSet<Epoch>, RepositoryError> {
    let listed = core.store.list(&layout::epochs()).await?;
    let claims = listed.iter().map(|claim| layout::parse_epoch(&claim.key));
    Ok(claims.flatten().collect())
}

/// The newest of these, or that stands in an object.
fn newest_of(core: &CoreState, claims: &BTreeSet<Epoch>) -> Epoch {
    let newest = claims.last().copied().unwrap_or_default();
    newest.max(core.epoch_seen)
}

/// The newest epoch that was claimed, or that stands in an object.
pub(crate) async fn newest(core: &CoreState) -> Result<Epoch, RepositoryError> {
    Ok(newest_of(core, &claims(core).await?))
}

/// Refuses an epoch that is older than the newest, and any where our own claim is not there any more: then the place holds
/// another repository or none (a volume that is not mounted, an emptied bucket), and what is written there is lost.
pub(crate) async fn check(core: &CoreState, ours: Epoch) -> Result<(), RepositoryError> {
    let claims = claims(core).await?;
    let newest = newest_of(core, &claims);
    if newest > ours {
        return Err(RepositoryError::StaleEpoch { ours, newest });
    }
    if !claims.contains(&ours) {
        let place = core.store.describe();
        return Err(RepositoryError::Vanished { place, ours });
    }
    Ok(())
}
