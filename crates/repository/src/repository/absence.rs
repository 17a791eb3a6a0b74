//! How long nobody had written before a claim: time in which nobody could take a mark back, or find out that a clock was wrong.
//!
//! Each claim says when something was last written before it. So a start that ends behind its claim, a healing or a new master key in between,
//! and a catalogue that was lost, or is another coordinator's, make no absence look shorter than it was.

use super::Repository;
use crate::epochs::Claim;
use crate::{RepositoryError, layout, marks};
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_store::StoreError;
use holdfast_types::{Epoch, Timestamp};
use std::time::Duration;

/// Claims that are read at a time.
const READ_AT_ONCE: usize = 16;

/// How long nobody had written before a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The claim.
    pub epoch: Epoch,
    /// When it was made, by the store's clock.
    pub ended: Timestamp,
    /// For how long nothing had been written then.
    pub lasted: Duration,
}

impl Repository {
    /// What the claims that were made since then say, the oldest first: absences that lasted for so long at least. Claims of earlier versions say
    /// nothing. One that was made sooner after another is not read, since it can end none.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn absences(
        &self,
        since: Timestamp,
        least: Duration,
    ) -> Result<Vec<Absence>, RepositoryError> {
        let store = &self.inner.core.store;
        let mut listed = store.list(&layout::epochs()).await?;
        listed.sort_unstable_by_key(|found| found.modified);
        let mut before = None;
        listed.retain(|found| {
            let earlier = before.replace(found.modified);
            let is_late = earlier.is_none_or(|at| found.modified.since(at) >= least);
            is_late && found.modified >= since
        });
        let read = stream::iter(listed).map(|found| async move {
            let bytes = match store.get(&found.key).await {
                Ok(bytes) => bytes,
                Err(StoreError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            let claim: Option<Claim> = serde_json::from_slice(&bytes).ok();
            let last = claim.and_then(|claim| claim.last_us);
            Ok(layout::parse_epoch(&found.key)
                .zip(last)
                .map(|(epoch, last)| Absence {
                    epoch,
                    ended: found.modified,
                    lasted: found.modified.since(Timestamp::from_micros(last)),
                }))
        });
        let read: Vec<Option<Absence>> = read.buffer_unordered(READ_AT_ONCE).try_collect().await?;
        let mut absences: Vec<Absence> = read.into_iter().flatten().collect();
        absences.retain(|absence| absence.lasted >= least);
        absences.sort_unstable_by_key(|absence| absence.epoch);
        Ok(absences)
    }

    /// Lets the wait of every mark end later by the absences since it was last decided upon, but begin no later than now. Returns how many do.
    /// Doing it again, under whichever epoch, changes no mark a second time.
    ///
    /// # Errors
    /// [`RepositoryError::StaleEpoch`], or a failure of the store.
    pub async fn postpone_for(
        &self,
        epoch: Epoch,
        absences: &[Absence],
        now: Timestamp,
    ) -> Result<usize, RepositoryError> {
        let _alone = self.inner.removing.lock().await;
        let by = |marked: Epoch| {
            let later = absences.iter().filter(|absence| absence.epoch > marked);
            later.fold(Duration::ZERO, |sum, absence| {
                sum.saturating_add(absence.lasted)
            })
        };
        marks::postpone(&self.inner.core, epoch, by, now).await
    }
}
