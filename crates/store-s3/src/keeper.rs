//! Locks and storage classes, as the trait has them.

use crate::store::S3Store;
use futures::future::BoxFuture;
use holdfast_store::{ColdClass, LockMode, ObjectKeeper, ObjectKey, ObjectLock, StoreError};
use holdfast_types::Timestamp;

impl ObjectKeeper for S3Store {
    fn can_lock(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let asked = self.has_object_lock().await;
            asked.map_err(|failure| self.error(failure, None))
        })
    }

    fn lock_of<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectLock>, StoreError>> {
        Box::pin(async move {
            let found = self.find_lock(key).await;
            found.map_err(|failure| self.error(failure, Some(key)))
        })
    }

    fn extend_lock<'a>(
        &'a self,
        key: &'a ObjectKey,
        mode: LockMode,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<ObjectLock, StoreError>> {
        Box::pin(async move {
            let extended = self.extend_lock_now(key, mode, until).await;
            extended.map_err(|failure| self.error(failure, Some(key)))
        })
    }

    fn move_to<'a>(
        &'a self,
        key: &'a ObjectKey,
        class: ColdClass,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let moved = self.move_now(key, class).await;
            moved.map_err(|failure| self.error(failure, Some(key)))
        })
    }
}
