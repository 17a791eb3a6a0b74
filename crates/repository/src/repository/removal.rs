//! The part of [`Repository`] that removes: recovery points, and what nothing needs any more.

use super::Repository;
use crate::gc::Collector;
use crate::{
    GarbageOptions, GarbageReport, GarbageWatcher, KeepOptions, KeepReport, LastProof, Marks, Pin,
    PlacedHold, PointProofs, PointTombstone, RepositoryError, keep, layout, marks, proofs,
};
use holdfast_types::{CollectionName, Epoch, HoldId, RecoveryPointId, Timestamp};
use std::time::Duration;

/// Every change asks for the newest epoch:
/// [`RepositoryError::StaleEpoch`] otherwise.
impl Repository {
    /// Tombstones, pins and holds.
    ///
    /// # Errors
    /// [`RepositoryError::Damaged`] if a pin or hold can't be read: then nothing may be removed.
    pub async fn read_marks(&self) -> Result<Marks, RepositoryError> {
        marks::read(&self.inner.core).await
    }

    /// Marks a point for removal. If it is marked already, its wait goes on, under this epoch.
    ///
    /// # Errors
    /// [`RepositoryError::PointNotFound`], [`RepositoryError::PointGone`].
    pub async fn tombstone_point(
        &self,
        epoch: Epoch,
        wanted: &PointTombstone,
    ) -> Result<PointTombstone, RepositoryError> {
        let _alone = self.inner.removing.lock().await;
        marks::tombstone(&self.inner.core, epoch, wanted).await
    }

    /// Lets the wait of every mark end `by` later, since nobody could take it back for so long. Returns how many there are.
    ///
    /// # Errors
    /// A failure of the store. Doing it again would let them wait for longer.
    pub async fn postpone_removals(
        &self,
        epoch: Epoch,
        by: Duration,
        now: Timestamp,
    ) -> Result<usize, RepositoryError> {
        let _alone = self.inner.removing.lock().await;
        marks::postpone(&self.inner.core, epoch, |_| by, now).await
    }

    /// Takes the mark of a point back. Returns whether it had one.
    ///
    /// # Errors
    /// [`RepositoryError::PointNotFound`], [`RepositoryError::PointGone`].
    pub async fn undelete_point(
        &self,
        epoch: Epoch,
        id: &RecoveryPointId,
    ) -> Result<bool, RepositoryError> {
        let _alone = self.inner.removing.lock().await;
        marks::undelete(&self.inner.core, epoch, id).await
    }

    /// Takes the mark of a point back that a decision keeps after all, also if its deletion had begun and was left half
    /// way: its manifest, which goes first, must still be there.
    ///
    /// # Errors
    /// [`RepositoryError::PointNotFound`].
    pub async fn spare_point(
        &self,
        epoch: Epoch,
        id: &RecoveryPointId,
    ) -> Result<(), RepositoryError> {
        let _alone = self.inner.removing.lock().await;
        marks::spare(&self.inner.core, epoch, id).await
    }

    /// Locks what the recovery points need, and moves what only old ones need to a cheaper class, where the store can do
    /// so and `options` want it. With `only`, just what these points need is locked.
    ///
    /// # Errors
    /// [`RepositoryError::StaleEpoch`], or a failure of the store. What was done stays; doing it again is safe.
    pub async fn keep(
        &self,
        epoch: Epoch,
        options: KeepOptions,
        only: Option<&[RecoveryPointId]>,
    ) -> Result<KeepReport, RepositoryError> {
        // No pack goes or is rewritten meanwhile.
        let _alone = self.inner.collecting.lock().await;
        keep::keep(&self.inner.core, &self.inner.reader, epoch, options, only).await
    }

    /// Whether objects can be locked where the repository is.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn can_lock(&self) -> Result<bool, RepositoryError> {
        match self.inner.core.store.keeper() {
            Some(keeper) => Ok(keeper.can_lock().await?),
            None => Ok(false),
        }
    }

    /// Asks for the lock of an object that every repository has.
    ///
    /// # Errors
    /// A failure of the store: whoever may not read locks is refused.
    pub async fn may_read_locks(&self) -> Result<(), RepositoryError> {
        keep::locked_until(&self.inner.core, &layout::description())
            .await
            .map(drop)
    }

    /// Until when the store keeps everybody from removing a point; `None` if it does not, or the point is gone.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn locked_until(
        &self,
        id: &RecoveryPointId,
    ) -> Result<Option<Timestamp>, RepositoryError> {
        keep::locked_until(&self.inner.core, &layout::point(id)).await
    }

    /// Deletes the manifest of a marked point whose grace is over. There is no way back. Its chunks go when
    /// garbage is collected.
    ///
    /// # Errors
    /// [`RepositoryError::NotYet`], [`RepositoryError::PointLocked`], [`RepositoryError::PointHeld`].
    pub async fn sweep_point(
        &self,
        epoch: Epoch,
        id: &RecoveryPointId,
        now: Timestamp,
    ) -> Result<(), RepositoryError> {
        let _alone = self.inner.removing.lock().await;
        marks::sweep(&self.inner.core, epoch, id, now).await
    }

    /// Pins a point, or changes its pin.
    ///
    /// # Errors
    /// [`RepositoryError::PointNotFound`].
    pub async fn pin_point(&self, epoch: Epoch, pin: &Pin) -> Result<(), RepositoryError> {
        let _alone = self.inner.removing.lock().await;
        marks::pin(&self.inner.core, epoch, pin).await
    }

    /// Takes a pin away. Returns whether there was one.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn unpin_point(
        &self,
        epoch: Epoch,
        id: &RecoveryPointId,
    ) -> Result<bool, RepositoryError> {
        let _alone = self.inner.removing.lock().await;
        marks::unpin(&self.inner.core, epoch, id).await
    }

    /// Records the last word on a collection of a point. Returns all that is known of the point.
    ///
    /// # Errors
    /// [`RepositoryError::PointNotFound`].
    pub async fn record_proof(
        &self,
        epoch: Epoch,
        point: &RecoveryPointId,
        collection: CollectionName,
        proof: LastProof,
    ) -> Result<PointProofs, RepositoryError> {
        let _alone = self.inner.proving.lock().await;
        proofs::record(&self.inner.core, epoch, point, collection, proof).await
    }

    /// Deletes proofs that can't be read and those of points that are gone. Returns how many objects went.
    ///
    /// # Errors
    /// A store that refuses; what is left is harmless.
    pub async fn tidy_proofs(&self, epoch: Epoch) -> Result<usize, RepositoryError> {
        let _alone = self.inner.proving.lock().await;
        proofs::tidy(&self.inner.core, epoch).await
    }

    /// Places a legal hold.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`](holdfast_store::StoreError::AlreadyExists) within
    /// [`RepositoryError::Store`] if its id is taken.
    pub async fn place_hold(
        &self,
        epoch: Epoch,
        placed: &PlacedHold,
    ) -> Result<(), RepositoryError> {
        let _alone = self.inner.removing.lock().await;
        marks::place_hold(&self.inner.core, epoch, placed).await
    }

    /// Releases a legal hold. Returns what it was; `None` if there was none.
    ///
    /// # Errors
    /// [`RepositoryError::Damaged`] if it can't be read: it stays.
    pub async fn release_hold(
        &self,
        epoch: Epoch,
        id: &HoldId,
    ) -> Result<Option<PlacedHold>, RepositoryError> {
        let _alone = self.inner.removing.lock().await;
        marks::release_hold(&self.inner.core, epoch, id).await
    }

    /// Collects garbage, once: see the module `gc`. Captures and restores may go on meanwhile.
    ///
    /// # Errors
    /// [`RepositoryError::Unaccounted`] if a recovery point can't be read: then nothing is deleted. After any
    /// error, the next run goes on.
    pub async fn collect_garbage(
        &self,
        epoch: Epoch,
        options: GarbageOptions,
    ) -> Result<GarbageReport, RepositoryError> {
        self.collect_garbage_watched(epoch, options, &()).await
    }

    /// As [`collect_garbage`](Self::collect_garbage); `watcher` is told how far it is, and may stop it.
    ///
    /// # Errors
    /// As there.
    pub async fn collect_garbage_watched(
        &self,
        epoch: Epoch,
        options: GarbageOptions,
        watcher: &dyn GarbageWatcher,
    ) -> Result<GarbageReport, RepositoryError> {
        let _alone = self.inner.collecting.lock().await;
        Box::pin(self.collector(epoch, options, watcher).run()).await
    }

    /// What [`collect_garbage`](Self::collect_garbage) would do now. Changes nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn preview_garbage(
        &self,
        options: GarbageOptions,
    ) -> Result<GarbageReport, RepositoryError> {
        let _alone = self.inner.collecting.lock().await;
        self.collector(Epoch(0), options, &()).preview().await
    }

    fn collector<'a>(
        &'a self,
        epoch: Epoch,
        options: GarbageOptions,
        watcher: &'a dyn GarbageWatcher,
    ) -> Collector<'a> {
        let inner = &*self.inner;
        Collector {
            core: &inner.core,
            reader: &inner.reader,
            packer: &inner.packer,
            sessions: &inner.sessions,
            epoch,
            options,
            watcher,
        }
    }
}
