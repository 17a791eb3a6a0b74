//! Object lock: objects that nobody can remove before a time, where the bucket has it.
//!
//! A lock belongs to the retention of recovery points, not to single writes, so it is set after the
//! upload and extended whenever a newer point uses the object again. It is never shortened here, nor
//! removed.

use crate::failure::{Class, Failure};
use crate::read::timestamp;
use crate::store::S3Store;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ObjectLockEnabled, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode,
};
use holdfast_store::{ObjectKey, StoreError};
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
    /// Until when.
    pub until: Timestamp,
}

impl S3Store {
    /// Whether the bucket can lock objects.
    pub async fn has_object_lock(&self) -> Result<bool, StoreError> {
        let request = self.client.get_object_lock_configuration();
        let request = request.bucket(&self.options.bucket);
        let answer: Result<_, Failure> = self
            .within(0, async { Ok(Box::pin(request.send()).await?) })
            .await;
        match answer {
            Ok(found) => Ok(found
                .object_lock_configuration
                .and_then(|found| found.object_lock_enabled)
                .is_some_and(|state| state == ObjectLockEnabled::Enabled)),
            // A bucket without has no such configuration: a 404 with a code of its own.
            Err(failure) if failure.class == Class::Missing => Ok(false),
            Err(failure) => Err(self.error(failure, None)),
        }
    }

    /// The lock of an object, if it has one.
    pub async fn object_lock(&self, key: &ObjectKey) -> Result<Option<ObjectLock>, StoreError> {
        let found = self.find_lock(key).await;
        found.map_err(|failure| self.error(failure, Some(key)))
    }

    /// Locks an object until `until`; one that is locked for longer stays so. Yields the lock that it
    /// has afterwards. Times are kept to the second and rounded up.
    pub async fn extend_lock(
        &self,
        key: &ObjectKey,
        mode: LockMode,
        until: Timestamp,
    ) -> Result<ObjectLock, StoreError> {
        let extended = self.extend_lock_now(key, mode, until).await;
        extended.map_err(|failure| self.error(failure, Some(key)))
    }

    async fn extend_lock_now(
        &self,
        key: &ObjectKey,
        mode: LockMode,
        until: Timestamp,
    ) -> Result<ObjectLock, Failure> {
        if let Some(lock) = self.find_lock(key).await?
            && lock.until >= until
            && (lock.mode == mode || lock.mode == LockMode::Compliance)
        {
            return Ok(lock);
        }
        let seconds = until.as_micros().div_euclid(1_000_000)
            + i64::from(until.as_micros().rem_euclid(1_000_000) > 0);
        let retention = ObjectLockRetention::builder()
            .mode(match mode {
                LockMode::Governance => ObjectLockRetentionMode::Governance,
                LockMode::Compliance => ObjectLockRetentionMode::Compliance,
            })
            .retain_until_date(DateTime::from_secs(seconds))
            .build();
        let request = self
            .client
            .put_object_retention()
            .bucket(&self.options.bucket)
            .key(self.name(key))
            .retention(retention);
        self.within(0, async { Ok(Box::pin(request.send()).await?) })
            .await?;
        let lock = self.find_lock(key).await?;
        lock.filter(|lock| lock.until >= until)
            .ok_or_else(|| Failure::lasting("the service accepted a lock and does not keep it"))
    }

    async fn find_lock(&self, key: &ObjectKey) -> Result<Option<ObjectLock>, Failure> {
        let request = self.client.head_object();
        let request = request.bucket(&self.options.bucket).key(self.name(key));
        let answer = self.within(0, async { Ok(Box::pin(request.send()).await?) });
        let found = answer.await?;
        let mode = match found.object_lock_mode {
            Some(ObjectLockMode::Governance) => LockMode::Governance,
            Some(ObjectLockMode::Compliance) => LockMode::Compliance,
            // No lock, or a kind that is not known here: nothing to rely on.
            _ => return Ok(None),
        };
        Ok(Some(ObjectLock {
            mode,
            until: timestamp(found.object_lock_retain_until_date)?,
        }))
    }
}
