//! Archived write-ahead logs.

use super::Repository;
use crate::{Appended, RepositoryError, WalListing, WalSeries, wal};
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

    /// Every archived run of entries of a namespace, with the first index of each of its parts, by a listing alone.
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

    /// The first index of each part of one run, and its size in bytes as stored, by a listing alone.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn list_wal_parts(
        &self,
        series: &WalSeries,
    ) -> Result<BTreeMap<u64, u64>, RepositoryError> {
        wal::parts(&self.inner.core, series).await
    }

    /// The part of a run that begins with the entry `first`, every entry proven by its CRC. `None` if there is none.
    ///
    /// # Errors
    /// [`RepositoryError::Damaged`], or a failure of the store.
    pub async fn read_wal(
        &self,
        series: &WalSeries,
        first: u64,
    ) -> Result<Option<WalObject>, RepositoryError> {
        wal::read(&self.inner.core, series, first).await
    }

    /// The newest part of a run: where the next one has to go on. `None` if there is none.
    ///
    /// # Errors
    /// As [`read_wal`](Self::read_wal).
    pub async fn last_wal(&self, series: &WalSeries) -> Result<Option<WalObject>, RepositoryError> {
        wal::last(&self.inner.core, series).await
    }
}
