//! Object lock: objects that nobody can remove before a time, where the bucket has it.
//!
//! A bucket with locks keeps versions: a plain deletion hides an object under a marker and is answered by
//! "done". So a lock protects the bytes, and whoever wants to obey it has to ask for it first.

use crate::failure::{Class, Failure};
use crate::read::timestamp;
use crate::store::S3Store;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ObjectLockEnabled, ObjectLockLegalHoldStatus, ObjectLockRetention, ObjectLockRetentionMode,
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
            Err(failure)
                if matches!(
                    failure.class,
                    Class::Missing | Class::NoLock | Class::Refused
                ) =>
            {
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }

    pub(crate) async fn extend_lock_now(
        &self,
        key: &ObjectKey,
        mode: LockMode,
        until: Timestamp,
    ) -> Result<ObjectLock, Failure> {
        // A legal hold is no lock of ours: it may be released at any time.
        let earlier = self.find_retention(key).await?;
        let mode = match earlier {
            // The stricter mode can't be left.
            Some(lock) if lock.mode == LockMode::Compliance => lock.mode,
            _ => mode,
        };
        // Nor is a lock ever shortened by a change of its mode.
        let until = earlier.map_or(until, |lock| lock.until.max(until));
        if let Some(lock) = earlier.filter(|lock| lock.until >= until && lock.mode == mode) {
            return Ok(lock);
        }
        let mut refused = self.put_retention(key, mode, until).await?;
        if let (Some(_), Some(lock)) = (&refused, earlier)
            && lock.mode != mode
        {
            // A lock's mode can't be changed here by whoever may not bypass it, but its end can be moved.
            refused = self.put_retention(key, lock.mode, until).await?;
        }
        // Somebody may have locked it for longer meanwhile: that can't be shortened, and need not be.
        let lock = self.find_retention(key).await?;
        lock.filter(|lock| lock.until >= until).ok_or_else(|| {
            let ignored = || Failure::passing("the service accepted a lock and does not keep it");
            refused.unwrap_or_else(ignored)
        })
    }

    /// Asks for a lock. Yields the answer if that was a refusal, which is the last word only if the object is not locked so
    /// already.
    async fn put_retention(
        &self,
        key: &ObjectKey,
        mode: LockMode,
        until: Timestamp,
    ) -> Result<Option<Failure>, Failure> {
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
        let answer: Result<_, Failure> = self
            .within(0, async { Ok(Box::pin(request.send()).await?) })
            .await;
        match answer {
            Ok(_) => Ok(None),
            Err(failure) if matches!(failure.class, Class::Denied | Class::Refused) => {
                Ok(Some(failure))
            }
            Err(failure) => Err(failure),
        }
    }

    /// What keeps everybody from removing an object. Asked by questions of their own: an answer to HEAD leaves locks out
    /// for whoever may not read them, which looks like none.
    pub(crate) async fn find_lock(&self, key: &ObjectKey) -> Result<Option<ObjectLock>, Failure> {
        let retention = self.find_retention(key).await?;
        let request = self
            .client
            .get_object_legal_hold()
            .bucket(&self.options.bucket)
            .key(self.name(key));
        let answer: Result<_, Failure> = self
            .within(0, async { Ok(Box::pin(request.send()).await?) })
            .await;
        let held = match answer {
            Ok(found) => found
                .legal_hold
                .and_then(|hold| hold.status)
                .is_some_and(|status| status == ObjectLockLegalHoldStatus::On),
            Err(failure) => {
                self.unlocked(key, failure).await?;
                false
            }
        };
        if !held {
            return Ok(retention);
        }
        Ok(Some(ObjectLock {
            mode: retention.map_or(LockMode::Governance, |lock| lock.mode),
            until: Timestamp::MAX,
        }))
    }

    async fn find_retention(&self, key: &ObjectKey) -> Result<Option<ObjectLock>, Failure> {
        let request = self
            .client
            .get_object_retention()
            .bucket(&self.options.bucket)
            .key(self.name(key));
        let answer: Result<_, Failure> = self
            .within(0, async { Ok(Box::pin(request.send()).await?) })
            .await;
        let retention = match answer {
            Ok(found) => found.retention,
            Err(failure) => {
                self.unlocked(key, failure).await?;
                None
            }
        };
        let Some(retention) = retention else {
            return Ok(None);
        };
        let mode = match retention.mode {
            Some(ObjectLockRetentionMode::Compliance) => LockMode::Compliance,
            // Without a mode, or with one that is not known here, only the time counts.
            _ => LockMode::Governance,
        };
        match retention.retain_until_date {
            Some(until) => Ok(Some(ObjectLock {
                mode,
                until: timestamp(Some(until))?,
            })),
            None => Ok(None),
        }
    }

    /// Whether a failed question for a lock means that there is none. Some vendors answer as if the object were missing.
    async fn unlocked(&self, key: &ObjectKey, failure: Failure) -> Result<(), Failure> {
        match failure.class {
            Class::NoLock => Ok(()),
            Class::Missing if self.look(key).await?.is_some() => Ok(()),
            Class::Missing
            | Class::NoBucket
            | Class::Taken
            | Class::Range
            | Class::TooLarge(_)
            | Class::Denied
            | Class::Full
            | Class::Unavailable
            | Class::Refused => Err(failure),
        }
    }
}
