//! Archived write-ahead logs.

use super::Repository;
use crate::{
    Appended, RemovedParts, RepositoryError, StoredPart, WalListing, WalPart, WalSeries, layout,
    wal,
};
use holdfast_archive::WalObject;
use holdfast_types::{Epoch, IncarnationId, Namespace, ShardId};
use std::collections::BTreeMap;

impl Repository {
    /// Stores a part of a log. Once this returns, it is durable: only then may its entries be acknowledged.
    ///
    /// # Errors
    /// [`RepositoryError::StaleEpoch`]; [`RepositoryError::Invalid`] if it is too large; [`RepositoryError::Damaged`] if what stands in
    /// its place can't be read. After a failure of the store it may or may not be there: doing it again tells.
    pub async fn append_wal(
        &self,
        epoch: Epoch,
        part: WalObject,
    ) -> Result<Appended, RepositoryError> {
        wal::append(&self.inner.core, epoch, part).await
    }

    /// Every archived run of entries of a namespace, with its parts, by a listing alone.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn list_wal(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<WalListing>, RepositoryError> {
        wal::list(&self.inner.core, namespace).await
    }

    /// The runs of one shard of one collection, of all its replicas.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn list_shard_wal(
        &self,
        namespace: &Namespace,
        incarnation: IncarnationId,
        shard: ShardId,
    ) -> Result<Vec<WalListing>, RepositoryError> {
        wal::list_shard(&self.inner.core, namespace, incarnation, shard).await
    }

    /// The parts of one run that count, by the index of their first entries, by a listing alone.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn list_wal_parts(
        &self,
        series: &WalSeries,
    ) -> Result<BTreeMap<u64, StoredPart>, RepositoryError> {
        wal::parts(&self.inner.core, series).await
    }

    /// A part of a run, every entry proven by its CRC; of a merged one that is damaged, those that it stands for while they are there. `None`
    /// if it is not there: it may have been merged or removed since it was listed.
    ///
    /// # Errors
    /// [`RepositoryError::Damaged`], or a failure of the store.
    pub async fn read_wal(
        &self,
        series: &WalSeries,
        part: WalPart,
    ) -> Result<Option<WalObject>, RepositoryError> {
        wal::read_or_rejoin(&self.inner.core, series, part).await
    }

    /// Whether this very object is there and sound: only then may those go that it stands for. `false` if it is not there.
    ///
    /// # Errors
    /// As [`read_wal`](Self::read_wal).
    pub async fn prove_wal(
        &self,
        series: &WalSeries,
        part: WalPart,
    ) -> Result<bool, RepositoryError> {
        let object = wal::read(&self.inner.core, series, part).await?;
        Ok(object.is_some())
    }

    /// Parts that are known to be damaged, or not to continue the one before: as of the last [`heed_damage`](Self::heed_damage).
    pub async fn known_wal_damage(&self) -> Vec<(WalSeries, WalPart)> {
        let names = self.known_damage().await;
        let part = |name: &String| layout::parse_wal(&name.parse().ok()?);
        names.iter().filter_map(part).collect()
    }

    /// The newest part of a run: where the next one has to go on. `None` if there is none.
    ///
    /// # Errors
    /// As [`read_wal`](Self::read_wal).
    pub async fn last_wal(&self, series: &WalSeries) -> Result<Option<WalObject>, RepositoryError> {
        wal::last(&self.inner.core, series).await
    }

    /// Stores one object for parts that follow one another: the first, and as many more as their data fits `max_data` bytes and one server
    /// version wrote. It is read back and counts from then on; the parts stay until they are removed. `None` if that would be one part alone.
    ///
    /// # Errors
    /// [`RepositoryError::StaleEpoch`]; [`RepositoryError::Damaged`] for a part that can't be read; a failure of the store.
    pub async fn merge_wal(
        &self,
        epoch: Epoch,
        series: &WalSeries,
        parts: &[WalPart],
        max_data: u64,
    ) -> Result<Option<WalPart>, RepositoryError> {
        wal::merge(&self.inner.core, epoch, series, parts, max_data).await
    }

    /// Deletes parts for good, in this order. Whether they may go is for the caller to know.
    ///
    /// # Errors
    /// [`RepositoryError::StaleEpoch`], or a failure of the store: what was deleted before is.
    pub async fn remove_wal(
        &self,
        epoch: Epoch,
        series: &WalSeries,
        parts: &[StoredPart],
    ) -> Result<RemovedParts, RepositoryError> {
        wal::remove(&self.inner.core, epoch, series, parts).await
    }
}
