//! Object lock: objects that nobody can remove before a time, where the bucket has it.
//!
//! A bucket with locks keeps versions: a plain deletion hides an object under a marker and is answered by
//! "done". So a lock protects the bytes, and whoever wants to obey it has to ask for it first.

use crate::failure::{Class, Failure};
use crate::read::timestamp;
use crate::store::S3Store;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ObjectLockEnabled, ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention,
    ObjectLockRetentionMode,
};
use holdfast_store::{LockMode, ObjectKey, ObjectLock};
use holdfast_types::Timestamp;

impl S3Store {
    pub(crate) async fn has_object_lock(&self) -> Result<bool, Failure> {
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
            // A bucket without has no such configuration: a 404 with a code of its own. Some vendors don't know the
            // question.
            Err(failure) if matches!(failure.class, Class::Missing | Class::Refused) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    pub(crate) async fn extend_lock_now(
        &self,
        key: &ObjectKey,
        mode: LockMode,
        until: Timestamp,
    ) -> Result<ObjectLock, Failure> {
        let earlier = self.find_lock(key).await?;
        let mode = match earlier {
            // The stricter mode can't be left.
            Some(lock) if lock.mode == LockMode::Compliance => lock.mode,
            _ => mode,
        };
        if let Some(lock) = earlier.filter(|lock| lock.until >= until && lock.mode == mode) {
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

    pub(crate) async fn find_lock(&self, key: &ObjectKey) -> Result<Option<ObjectLock>, Failure> {
        let request = self.client.head_object();
        let request = request.bucket(&self.options.bucket).key(self.name(key));
        let answer = self.within(0, async { Ok(Box::pin(request.send()).await?) });
        let found = answer.await?;
        let mode = match found.object_lock_mode {
            Some(ObjectLockMode::Compliance) => LockMode::Compliance,
            // Without a retention, or of a kind that is not known here, only a hold counts.
            _ => LockMode::Governance,
        };
        if found.object_lock_legal_hold_status == Some(ObjectLockLegalHoldStatus::On) {
            let until = Timestamp::MAX;
            return Ok(Some(ObjectLock { mode, until }));
        }
        match found.object_lock_retain_until_date {
            Some(until) => Ok(Some(ObjectLock {
                mode,
                until: timestamp(Some(until))?,
            })),
            None => Ok(None),
        }
    }
}
