//! What writer, reader and verifier of one open repository share: the store, the keys, the catalogue.

use crate::catalog::{Catalog, Pack};
use crate::keep::Kept;
use crate::{RepositoryError, layout};
use holdfast_archive::Keyring;
use holdfast_store::ObjectStore;
use holdfast_types::{Epoch, PackId};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) struct CoreState {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Every master key; the newest seals what is written.
    pub(crate) master: Keyring,
    /// Newest epoch seen in the repository's objects when it was opened.
    pub(crate) epoch_seen: Epoch,
    catalog: RwLock<Catalog>,
    /// Held shared while a point is committed, and alone while packs are doomed or cease to exist.
    pub(crate) gate: tokio::sync::RwLock<()>,
    /// What is known of locks and storage classes.
    pub(crate) kept: Kept,
}

impl CoreState {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        master: Keyring,
        epoch_seen: Epoch,
        catalog: Catalog,
    ) -> Self {
        Self {
            store,
            master,
            epoch_seen,
            catalog: RwLock::new(catalog),
            gate: tokio::sync::RwLock::default(),
            kept: Kept::default(),
        }
    }

    /// Never held across an await.
    pub(crate) fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        // The catalogue is consistent whenever the lock is released.
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never held across an await.
    pub(crate) fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists the packs, and takes note of those that went away, changed size or came back.
    pub(crate) async fn compare_packs(&self) -> Result<Vec<Pack>, RepositoryError> {
        let known = self.catalog().next_number() as usize;
        let listed = list_packs(self.store.as_ref()).await?;
        let changed = self.catalog_mut().compare(known, &listed);
        for pack in &changed {
            tracing::warn!(pack = %pack.id, state = ?pack.state, "a pack has changed underneath");
        }
        Ok(changed)
    }
}

/// Every pack that is there, with its size in bytes.
pub(crate) async fn list_packs(
    store: &dyn ObjectStore,
) -> Result<HashMap<PackId, u64>, RepositoryError> {
    let listed = store.list(&layout::packs()).await?;
    let packs = listed
        .into_iter()
        .filter_map(|found| Some((layout::parse_pack(&found.key)?, found.size)));
    Ok(packs.collect())
}
