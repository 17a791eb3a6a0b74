//! What some stores can do for an object beyond holding it: keep everybody from removing it before a time, and keep it
//! at a lower price.
//!
//! A lock belongs to the retention of recovery points, not to single writes, so it is set after the upload and extended
//! whenever a newer point uses the object again. Nothing here shortens or removes one.

use crate::{ObjectKey, StoreError};
use futures::future::BoxFuture;
use holdfast_types::Timestamp;

/// Who may still remove a locked object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever has the permission to bypass it.
    Governance,
    /// Nobody, the account's owner included.
    Compliance,
}

/// The lock of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectLock {
    /// Who may still remove it.
    pub mode: LockMode,
    /// Until when. The end of time for an object under a hold of the store's own, which has no end.
    pub until: Timestamp,
}

/// Storage classes that can be read at once. Archives that must be thawed first are left out: garbage
/// collection, verification and restores read objects without warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColdClass {
    /// Cheaper to keep, dearer to read (`STANDARD_IA` on S3).
    InfrequentAccess,
    /// The cheapest that is read at once (`GLACIER_IR` on S3).
    InstantArchive,
}

/// A store that can lock objects, or move them to cheaper storage, or both.
pub trait ObjectKeeper: Send + Sync {
    /// Whether objects can be locked in this place.
    fn can_lock(&self) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// The lock of an object, if it has one that is not over. Errors with [`StoreError::NotFound`] if there is no such
    /// object.
    fn lock_of<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectLock>, StoreError>>;

    /// Locks an object until `until`; one that is locked for longer stays so. Yields the lock that it has afterwards: the
    /// stricter mode is never left, and whether it can be entered by an object that is locked is the place's to say.
    /// Times are kept to the second and rounded up. What is written anew under the same key has no lock.
    fn extend_lock<'a>(
        &'a self,
        key: &'a ObjectKey,
        mode: LockMode,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<ObjectLock, StoreError>>;

    /// Moves an object to `class`, never to a dearer one than it has; its bytes stay as they are. Yields whether it was moved. A place that keeps
    /// versions keeps the former one, and a lock stays with that one.
    fn move_to<'a>(
        &'a self,
        key: &'a ObjectKey,
        class: ColdClass,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;
}
