//! Locks and storage classes, set by themselves where the repository's bucket has them and the configuration asks for them.
//!
//! A new recovery point is locked right after its commit; everything is looked at after the start, after data was
//! rewritten, and every few hours. What fails is tried again, and stands in the warnings of the status until it succeeds.

use crate::config::{Location, S3Location};
use crate::core::Core;
use crate::fault::{Fault, chain};
use crate::repository::fault_of;
use holdfast_repository::{ColdRule, KeepOptions, LockRule, Repository, RepositoryError};
use holdfast_service::failure::Code;
use holdfast_store::StoreError;
use holdfast_types::{RecoveryPointId, Timestamp};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How often everything is looked at.
const EVERY: Duration = Duration::from_hours(6);
/// After a failure.
const AGAIN: Duration = Duration::from_mins(5);

/// What is wanted, what is due, and what went wrong.
#[derive(Debug)]
pub struct Keeping {
    lock: Option<LockRule>,
    cold: Option<ColdRule>,
    /// Whether the place has locks, whoever sets them.
    obeys: bool,
    due: Mutex<Due>,
    wake: Notify,
}

#[derive(Debug)]
struct Due {
    everything: bool,
    points: BTreeSet<RecoveryPointId>,
    trouble: Option<Trouble>,
}

#[derive(Clone, Debug)]
struct Trouble {
    since: Timestamp,
    message: String,
}

impl Keeping {
    /// Asks the place what it can do.
    ///
    /// # Errors
    /// `config` if locks are wanted and the place has none.
    pub async fn new(place: &Location, repository: &Repository) -> Result<Self, Fault> {
        let (lock, cold) = match place {
            Location::Disk(_) => (None, None),
            Location::S3(s3) => {
                let S3Location { lock, cold, .. } = **s3;
                (lock, cold)
            }
        };
        let obeys = match repository.can_lock().await {
            Ok(can) => can,
            Err(error @ RepositoryError::Store(StoreError::Permission { .. }))
                if lock.is_none() =>
            {
                tracing::warn!(
                    reason = chain(&error),
                    "whether the bucket has object locks can't be asked, so none are obeyed; allow s3:GetBucketObjectLockConfiguration if it has"
                );
                false
            }
            // A bucket that does not answer may have locks.
            Err(error) => return Err(fault_of(&error)),
        };
        if obeys {
            // Whoever may not read locks sees none.
            let readable = repository.may_read_locks().await;
            readable.map_err(|error| {
                Fault::new(
                    Code::Config,
                    format!(
                        "{} has object lock, and locks can't be read ({}): allow s3:GetObjectRetention and s3:GetObjectLegalHold, so that they can be obeyed",
                        repository.place(),
                        chain(&error)
                    ),
                )
            })?;
        }
        if lock.is_some() && !obeys {
            return Err(Fault::new(
                Code::Config,
                format!(
                    "repository.s3.lock_days: {} has no object lock; it can only be switched on for the bucket itself, at its creation with most vendors: do that, or leave lock_days out",
                    repository.place()
                ),
            ));
        }
        Ok(Self {
            lock,
            cold,
            obeys,
            due: Mutex::new(Due {
                everything: true,
                points: BTreeSet::new(),
                trouble: None,
            }),
            wake: Notify::new(),
        })
    }

    /// Whether recovery points may be locked.
    #[must_use]
    pub fn obeys_locks(&self) -> bool {
        self.obeys
    }

    /// A recovery point was committed.
    pub fn committed(&self, id: &RecoveryPointId) {
        if self.lock.is_some() {
            self.due().points.insert(id.clone());
            self.wake.notify_one();
        }
    }

    /// What old points need has moved to new packs.
    pub fn rewritten(&self) {
        self.due().everything = true;
        self.wake.notify_one();
    }

    /// What a person should know of now.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let due = self.due();
        let Some(Trouble { since, message }) = &due.trouble else {
            return Vec::new();
        };
        let risk = if self.lock.is_some() {
            "the newest recovery points can still be deleted by whoever may write to the bucket"
        } else {
            "old packs stay in the dearer storage class"
        };
        vec![format!(
            "locks and storage classes can't be set since {since} ({message}): {risk}; check the rights of the coordinator's access key (docs/reference/s3.md)"
        )]
    }

    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One pass over what is due; what it fails at is due again.
    async fn pass(&self, core: &Core) {
        let (everything, points) = {
            let mut due = self.due();
            (
                std::mem::take(&mut due.everything),
                std::mem::take(&mut due.points),
            )
        };
        if !everything && points.is_empty() {
            return;
        }
        if let Some(fault) = core.clock_fault() {
            return self.failed(core, everything, points, &fault);
        }
        let options = KeepOptions {
            now: core.clock.now(),
            lock: self.lock,
            cold: self.cold,
        };
        let only: Vec<_> = points.iter().cloned().collect();
        let only = (!everything).then_some(only.as_slice());
        match core.repository.keep(core.epoch, options, only).await {
            Ok(report) if !report.unreadable.is_empty() => {
                let ids: Vec<String> = report.unreadable.iter().map(ToString::to_string).collect();
                let what = format!(
                    "what recovery points need can't be read: {}; `holdfast repo verify` says why",
                    ids.join(", ")
                );
                let fault = Fault::new(Code::RepositoryDamaged, what);
                self.failed(core, everything, points, &fault);
            }
            Ok(report) => {
                tracing::info!(
                    points = report.points,
                    locked = report.locked,
                    extended = report.extended,
                    packs_moved = report.moved.packs,
                    "locks and storage classes are as configured"
                );
                self.due().trouble = None;
            }
            Err(error) => {
                let fault = core.repository_failed(&error);
                self.failed(core, everything, points, &fault);
            }
        }
    }

    fn failed(
        &self,
        core: &Core,
        everything: bool,
        points: BTreeSet<RecoveryPointId>,
        fault: &Fault,
    ) {
        tracing::error!(code = fault.code, reason = %fault, "locks and storage classes could not be set; trying again later");
        let now = core.clock.now();
        let mut due = self.due();
        due.everything |= everything;
        due.points.extend(points);
        let since = due.trouble.as_ref().map_or(now, |trouble| trouble.since);
        due.trouble = Some(Trouble {
            since,
            message: fault.to_string(),
        });
    }
}

/// Runs until the process ends.
pub async fn run(core: Arc<Core>) {
    let keeping = &core.keeping;
    if keeping.lock.is_none() && keeping.cold.is_none() {
        return;
    }
    let stop = core.shutdown.token();
    let mut everything = Instant::now() + EVERY;
    loop {
        keeping.pass(&core).await;
        let next = if keeping.due().trouble.is_some() {
            Instant::now() + AGAIN
        } else {
            everything
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = keeping.wake.notified() => {}
            () = sleep_until(next) => {}
        }
        if Instant::now() >= everything {
            keeping.due().everything = true;
            everything = Instant::now() + EVERY;
        }
    }
}

#[cfg(test)]
mod tests;
