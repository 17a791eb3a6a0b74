//! Faults of a keeper: what it is asked fails like a read, what it changes like a put.

use super::FaultStore;
use crate::{ColdClass, LockMode, ObjectKeeper, ObjectKey, ObjectLock, ObjectStore, StoreError};
use futures::future::BoxFuture;
use holdfast_types::Timestamp;

impl<S: ObjectStore> FaultStore<S> {
    fn keeper_below(&self) -> Result<&dyn ObjectKeeper, StoreError> {
        let gone = || StoreError::no_keeper(self.inner.describe());
        self.inner.keeper().ok_or_else(gone)
    }
}

impl<S: ObjectStore> ObjectKeeper for FaultStore<S> {
    fn can_lock(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            self.check_read()?;
            self.keeper_below()?.can_lock().await
        })
    }

    fn lock_of<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectLock>, StoreError>> {
        Box::pin(async move {
            self.check_read()?;
            self.keeper_below()?.lock_of(key).await
        })
    }

    fn extend_lock<'a>(
        &'a self,
        key: &'a ObjectKey,
        mode: LockMode,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<ObjectLock, StoreError>> {
        Box::pin(async move {
            let keeper = self.keeper_below()?;
            self.mutate(true, keeper.extend_lock(key, mode, until))
                .await
        })
    }

    fn move_to<'a>(
        &'a self,
        key: &'a ObjectKey,
        class: ColdClass,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let keeper = self.keeper_below()?;
            self.mutate(true, keeper.move_to(key, class)).await
        })
    }
}
