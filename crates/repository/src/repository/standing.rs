//! What a running writer asks again and again: whether it still is one, and what others have found or done. Only damage that it
//! heeds changes anything, and that in memory alone.

use super::{Heeded, Inner, Repository};
use crate::{RepositoryError, epochs, layout, quarantine};
use holdfast_types::{Epoch, Timestamp};

impl Repository {
    /// Whether this epoch may still write here.
    ///
    /// # Errors
    /// [`RepositoryError::StaleEpoch`]; [`RepositoryError::Vanished`] if the repository is not at its place any more.
    pub async fn check_epoch(&self, epoch: Epoch) -> Result<(), RepositoryError> {
        epochs::check(&self.inner.core, epoch).await
    }

    /// When a coordinator last wrote a claim, a point or a mark here, by the store's clock; `None` if none has.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn last_written(&self) -> Result<Option<Timestamp>, RepositoryError> {
        epochs::last_written(&self.inner.core).await
    }

    /// When this epoch was claimed, by the store's clock; `None` if that is not known.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn claimed_at(&self, epoch: Epoch) -> Result<Option<Timestamp>, RepositoryError> {
        let claim = self.inner.core.store.head(&layout::epoch(epoch)).await?;
        Ok(claim.map(|found| found.modified))
    }

    /// Takes note of damage that others have recorded since the opening: what it is in is not relied upon any more, and is
    /// stored anew by the next capture that has it.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn heed_damage(&self) -> Result<(), RepositoryError> {
        let Inner { core, heeded, .. } = &*self.inner;
        let mut heeded = heeded.lock().await;
        let listed = core.store.list(&layout::quarantine()).await?;
        if heeded.listed == listed {
            return Ok(());
        }
        let quarantine = quarantine::load(&core.store, &core.master).await?;
        quarantine.apply(&mut core.catalog_mut());
        *heeded = Heeded {
            listed,
            damaged: quarantine.damaged_objects(),
        };
        Ok(())
    }

    /// Objects that are known to be damaged, and needed, as of the opening or the last [`heed_damage`](Self::heed_damage).
    pub async fn known_damage(&self) -> Vec<String> {
        self.inner.heeded.lock().await.damaged.clone()
    }
}
