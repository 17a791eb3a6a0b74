//! Locks and storage classes, set by themselves where a bucket has them and the configuration asks for them: of the repository, and of each
//! copy ([`crate::copies`]).
//!
//! A new recovery point is locked right after its commit, or after it came to the copy; everything is looked at after the start, after data
//! was rewritten, and every few hours. What fails is tried again, and stands in the warnings of the status until it succeeds.

use crate::config::{Location, S3Location};
use crate::core::Core;
use crate::fault::{Fault, chain};
use holdfast_repository::{
    ColdRule, KeepOptions, KeepReport, LockRule, Repository, RepositoryError,
};
use holdfast_service::failure::Code;
use holdfast_store::StoreError;
use holdfast_types::{RecoveryPointId, Timestamp};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OnceCell};
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
    /// Whether the place has locks, whoever sets them; empty until it has said so.
    obeys: OnceCell<bool>,
    due: Mutex<Due>,
    wake: Notify,
}

/// The repository, or a copy.
pub struct Place<'a> {
    /// Which.
    pub repository: &'a Repository,
    /// What an error of it means.
    pub failed: &'a (dyn Fn(&RepositoryError) -> Fault + Send + Sync),
}

#[derive(Debug, Default)]
struct Due {
    points: BTreeSet<RecoveryPointId>,
    /// When everything was looked at last, well or not; `None` if it is due again.
    looked: Option<Instant>,
    trouble: Option<Trouble>,
}

#[derive(Clone, Debug)]
struct Trouble {
    since: Timestamp,
    message: String,
    again: Instant,
}

impl Keeping {
    /// As configured for a place.
    #[must_use]
    pub fn new(place: &Location) -> Self {
        let (lock, cold) = match place {
            Location::Disk(_) => (None, None),
            Location::S3(s3) => {
                let S3Location { lock, cold, .. } = **s3;
                (lock, cold)
            }
        };
        Self {
            lock,
            cold,
            obeys: OnceCell::new(),
            due: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Asks the place, once, whether it has locks, and whether they can be read.
    ///
    /// # Errors
    /// `config` if it has some and they can't be read; a failure of the store.
    pub async fn ask(&self, place: &Place<'_>) -> Result<bool, Fault> {
        let asked = self.obeys.get_or_try_init(|| self.look(place)).await;
        asked.copied()
    }

    async fn look(&self, place: &Place<'_>) -> Result<bool, Fault> {
        let Place { repository, failed } = place;
        let obeys = match repository.can_lock().await {
            Ok(can) => can,
            Err(error @ RepositoryError::Store(StoreError::Permission { .. }))
                if self.lock.is_none() =>
            {
                tracing::warn!(
                    place = repository.place(),
                    reason = chain(&error),
                    "whether the bucket has object locks can't be asked, so none are obeyed; allow s3:GetBucketObjectLockConfiguration if it has"
                );
                false
            }
            // A bucket that does not answer may have locks.
            Err(error) => return Err(failed(&error)),
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
        Ok(obeys)
    }

    /// Refuses a place without locks where they are wanted.
    ///
    /// # Errors
    /// `config`.
    pub fn check(&self, has_locks: bool, place: &str) -> Result<(), Fault> {
        if self.lock.is_none() || has_locks {
            return Ok(());
        }
        Err(Fault::new(
            Code::Config,
            format!(
                "{place} has no object lock, and lock_days asks for it: it can only be switched on for the bucket itself, at its creation with most vendors; do that, or leave lock_days out"
            ),
        ))
    }

    /// Whether recovery points may be locked, as far as the place has said.
    #[must_use]
    pub fn obeys_locks(&self) -> bool {
        self.obeys.get().copied().unwrap_or(false)
    }

    /// Whether anything is to be locked or moved.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.lock.is_some() || self.cold.is_some()
    }

    /// Whether anything is to be locked.
    #[must_use]
    pub fn wants_locks(&self) -> bool {
        self.lock.is_some()
    }

    /// Whether anything is to be done now.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.is_wanted() && self.next() <= Instant::now()
    }

    /// A recovery point was committed, or came to the copy.
    pub fn committed(&self, id: &RecoveryPointId) {
        if self.lock.is_some() {
            self.due().points.insert(id.clone());
            self.wake.notify_one();
        }
    }

    /// What old points need has moved to new packs.
    pub fn rewritten(&self) {
        self.due().looked = None;
        self.wake.notify_one();
    }

    /// What a person should know of now.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let due = self.due();
        let Some(Trouble { since, message, .. }) = &due.trouble else {
            return Vec::new();
        };
        let risk = if self.lock.is_some() {
            "the newest recovery points can still be deleted by whoever may write to the bucket"
        } else {
            "old packs stay in the dearer storage class"
        };
        vec![format!(
            "locks and storage classes can't be set since {since} ({message}): {risk}; docs/reference/s3.md says what locks take, the rights of the access key among it"
        )]
    }

    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the next pass is due.
    fn next(&self) -> Instant {
        let due = self.due();
        match (&due.trouble, due.looked) {
            (Some(trouble), _) => trouble.again,
            (None, Some(looked)) if due.points.is_empty() => looked + EVERY,
            (None, _) => Instant::now(),
        }
    }

    /// One pass over what is due; what it fails at is due again.
    pub async fn pass(&self, core: &Core, place: &Place<'_>) {
        let (everything, points) = {
            let mut due = self.due();
            let everything = due.looked.is_none_or(|at| Instant::now() >= at + EVERY);
            if everything {
                due.looked = Some(Instant::now());
            }
            (everything, std::mem::take(&mut due.points))
        };
        if !self.is_wanted() || (!everything && points.is_empty()) {
            return;
        }
        let only: Vec<_> = points.iter().cloned().collect();
        let only = (!everything).then_some(only.as_slice());
        match self.keep(core, place, only).await {
            Ok(report) => {
                tracing::info!(
                    place = place.repository.place(),
                    points = report.points,
                    locked = report.locked,
                    extended = report.extended,
                    packs_moved = report.moved.packs,
                    "locks and storage classes are as configured"
                );
                self.due().trouble = None;
            }
            Err(fault) => self.failed(core.clock.now(), everything, points, &fault),
        }
    }

    async fn keep(
        &self,
        core: &Core,
        place: &Place<'_>,
        only: Option<&[RecoveryPointId]>,
    ) -> Result<KeepReport, Fault> {
        if let Some(fault) = core.clock_fault() {
            return Err(fault);
        }
        let has_locks = self.ask(place).await?;
        self.check(has_locks, &place.repository.place())?;
        let options = KeepOptions {
            now: core.clock.now(),
            lock: self.lock,
            cold: self.cold,
        };
        let kept = place.repository.keep(core.epoch, options, only).await;
        let report = kept.map_err(|error| (place.failed)(&error))?;
        if report.unreadable.is_empty() {
            return Ok(report);
        }
        let ids: Vec<String> = report.unreadable.iter().map(ToString::to_string).collect();
        let what = format!(
            "what recovery points need can't be read: {}; `holdfast repo verify` says why",
            ids.join(", ")
        );
        Err(Fault::new(Code::RepositoryDamaged, what))
    }

    /// Takes note of what keeps the locks of the place from being known; `None` if they are.
    pub fn note(&self, now: Timestamp, fault: Option<&Fault>) {
        match fault {
            Some(fault) => self.failed(now, false, BTreeSet::new(), fault),
            // Else a pass forgets it.
            None if !self.is_wanted() => self.due().trouble = None,
            None => {}
        }
    }

    fn failed(
        &self,
        now: Timestamp,
        everything: bool,
        points: BTreeSet<RecoveryPointId>,
        fault: &Fault,
    ) {
        tracing::error!(code = fault.code, reason = %fault, "locks and storage classes could not be set; trying again later");
        let mut due = self.due();
        if everything {
            due.looked = None;
        }
        due.points.extend(points);
        let since = due.trouble.as_ref().map_or(now, |trouble| trouble.since);
        due.trouble = Some(Trouble {
            since,
            message: fault.to_string(),
            again: Instant::now() + AGAIN,
        });
    }
}

/// Keeps the repository until the process ends.
pub async fn run(core: Arc<Core>) {
    let keeping = &core.keeping;
    if !keeping.is_wanted() {
        return;
    }
    let stop = core.shutdown.token();
    let failed = |error: &RepositoryError| core.repository_failed(error);
    let place = Place {
        repository: &core.repository,
        failed: &failed,
    };
    loop {
        keeping.pass(&core, &place).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = keeping.wake.notified() => {}
            () = sleep_until(keeping.next()) => {}
        }
    }
}

#[cfg(test)]
mod tests;
