//! What users of a repository do with its keys; how is in [`crate::keys`].

use super::Repository;
use crate::keys::Keys;
use crate::{KeyListing, MasterRotation, RepositoryError};
use holdfast_archive::Kek;
use holdfast_types::{KeyHolder, Timestamp};

impl Repository {
    /// Who may unlock the repository.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn list_keys(&self) -> Result<Vec<KeyListing>, RepositoryError> {
        self.keys().list().await
    }

    /// Lets a further key unlock the repository. No writer need stop.
    ///
    /// # Errors
    /// [`KeyRefusal`](crate::KeyRefusal) if the name or the key is in use; a failure of the store.
    pub async fn add_key(
        &self,
        kek: &Kek,
        holder: &KeyHolder,
        now: Timestamp,
    ) -> Result<(), RepositoryError> {
        self.keys().add(kek, holder, now).await.map(drop)
    }

    /// Whether [`add_key`](Self::add_key) and [`rotate_key`](Self::rotate_key) would take this key. Changes nothing.
    ///
    /// # Errors
    /// As they refuse it.
    pub async fn check_new_key(
        &self,
        kek: &Kek,
        holder: &KeyHolder,
    ) -> Result<(), RepositoryError> {
        self.keys().check_new(kek, holder).await.map(drop)
    }

    /// Removes the key of a holder. Never the one that this repository was opened with: so the last one
    /// stays, and whoever removes a key has proven to hold another.
    ///
    /// # Errors
    /// [`KeyRefusal`](crate::KeyRefusal); a failure of the store, after which it may be repeated.
    pub async fn remove_key(
        &self,
        holder: &KeyHolder,
        now: Timestamp,
    ) -> Result<(), RepositoryError> {
        self.keys().remove(holder, now).await
    }

    /// Puts a new key in the place of the one that this repository was opened with. Returns whose key
    /// was replaced. No data is rewritten, no writer need stop.
    ///
    /// # Errors
    /// As [`add_key`](Self::add_key); then the old key still opens the repository.
    pub async fn rotate_key(
        &self,
        kek: &Kek,
        holder: &KeyHolder,
        now: Timestamp,
    ) -> Result<KeyHolder, RepositoryError> {
        self.keys().rotate(kek, holder, now).await
    }

    /// Makes a new master key, which seals what is written from now on; what was written stays readable.
    /// `kek` is the one that this repository was opened with: the keys of all others are dropped. The open
    /// repository must not write any more: open it anew.
    ///
    /// # Errors
    /// As [`claim_epoch`](Self::claim_epoch), which it begins with; [`KeyRefusal`](crate::KeyRefusal); a failure of the
    /// store, after which it may be repeated by whoever opens the repository anew.
    pub async fn rotate_master(
        &self,
        kek: &Kek,
        now: Timestamp,
    ) -> Result<MasterRotation, RepositoryError> {
        let since = self.claim_epoch().await?;
        let description = self.description();
        self.keys()
            .rotate_master(description, kek, since, now)
            .await
    }

    fn keys(&self) -> Keys<'_> {
        Keys {
            store: self.inner.core.store.as_ref(),
            id: &self.inner.description.id,
            ring: &self.inner.core.master,
            own: self.inner.own.clone(),
        }
    }
}
