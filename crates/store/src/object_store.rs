//! The trait that every place for objects implements.

use crate::{KeyPrefix, LockAttempt, ObjectKeeper, ObjectKey, StoreError};
use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_types::Timestamp;

/// What a put does when the key is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Fail with [`StoreError::AlreadyExists`]; of racing puts exactly one succeeds.
    CreateNew,
    /// Replace the object atomically: a reader sees the old bytes or the new ones.
    Overwrite,
}

/// What a listing says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its name.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, by the store's clock.
    pub modified: Timestamp,
}

/// Largest object in bytes: 256 MiB of sealed payload that does not compress (the largest that the
/// format knows), and room for what compression and sealing add. A read of anything larger would
/// let a foreign or damaged file decide how much memory we take.
pub const MAX_OBJECT_BYTES: u64 = 264 << 20;

/// A place for objects. Shared as `Arc<dyn ObjectStore>`; every method may run concurrently with
/// any other. Dropping a returned future may leave its effect done or undone, never half done.
pub trait ObjectStore: Send + Sync + 'static {
    /// Writes an object; durable when it returns. Errors with [`StoreError::TooLarge`] above
    /// [`MAX_OBJECT_BYTES`]: it could not be read back.
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Reads a whole object. Errors with [`StoreError::NotFound`] if there is none, and, before
    /// memory is taken for it, with [`StoreError::TooLarge`] if it has more than [`MAX_OBJECT_BYTES`].
    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, StoreError>>;

    /// Reads exactly `len` bytes from `offset`, or fails with [`StoreError::OutOfRange`]; with
    /// [`StoreError::TooLarge`] for more than [`MAX_OBJECT_BYTES`] at once.
    fn get_range<'a>(
        &'a self,
        key: &'a ObjectKey,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>>;

    /// Size and time of an object; `None` if there is none.
    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>>;

    /// Every object below `prefix`, sorted by key.
    fn list<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>, StoreError>>;

    /// Whether nothing at all is there, not even things that are no objects. Unlike a listing, it
    /// is quick on a huge foreign directory.
    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Removes an object; one that is not there counts as removed.
    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes what is left of a prefix without objects where a store keeps anything for one: a disk its empty folders.
    fn clear_folders<'a>(&'a self, prefix: &'a KeyPrefix) -> BoxFuture<'a, Result<(), StoreError>> {
        let _ = prefix;
        Box::pin(async { Ok(()) })
    }

    /// Tries to become the only writer, saying who we are. Never waits.
    fn try_lock<'a>(&'a self, holder: &'a str) -> BoxFuture<'a, Result<LockAttempt, StoreError>> {
        let _ = holder;
        Box::pin(async { Ok(LockAttempt::Unsupported) })
    }

    /// What the store can do for objects beyond holding them; `None` if nothing.
    fn keeper(&self) -> Option<&dyn ObjectKeeper> {
        None
    }

    /// Bytes that are best read at once by somebody who needs some of them now and perhaps others soon: more where
    /// each request costs time and money, as over a network.
    fn stretch(&self) -> u64 {
        1 << 20
    }

    /// The store in words for messages: its path or address, without secrets.
    fn describe(&self) -> String;
}

impl<S: ObjectStore + ?Sized> ObjectStore for std::sync::Arc<S> {
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        (**self).put(key, data, mode)
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        (**self).get(key)
    }

    fn get_range<'a>(
        &'a self,
        key: &'a ObjectKey,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        (**self).get_range(key, offset, len)
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        (**self).head(key)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>, StoreError>> {
        (**self).list(prefix)
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        (**self).is_empty()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        (**self).delete(key)
    }

    fn clear_folders<'a>(&'a self, prefix: &'a KeyPrefix) -> BoxFuture<'a, Result<(), StoreError>> {
        (**self).clear_folders(prefix)
    }

    fn try_lock<'a>(&'a self, holder: &'a str) -> BoxFuture<'a, Result<LockAttempt, StoreError>> {
        (**self).try_lock(holder)
    }

    fn keeper(&self) -> Option<&dyn ObjectKeeper> {
        (**self).keeper()
    }

    fn stretch(&self) -> u64 {
        (**self).stretch()
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}
