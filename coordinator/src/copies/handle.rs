//! One configured copy of a running coordinator: what is remembered of it, and its repository once it is open.

use super::CopyMemory;
use super::due::{Next, next};
use super::lag::{Lag, lag};
use super::remembered::{Basis, Remembered};
use super::runs::Runs;
use crate::catalog::{Catalog, CatalogError, PointSummary};
use crate::config::CopySection;
use crate::core::Core;
use crate::fault::Fault;
use crate::keeping::Keeping;
use crate::repository::{fault_of, open_copy_store};
use crate::retention::of_listed;
use crate::start::COUNTS_AS_AWAY;
use crate::verify::VerifyMemory;
use holdfast_decide::{Decision, PointFacts, plan_retention};
use holdfast_repository::{Marks, Repository, RepositoryError, RoleRefusal, Tuning};
use holdfast_service::failure::Code;
use holdfast_store::StoreError;
use holdfast_types::{CopyName, RecoveryPointId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, Notify};

/// Every configured copy.
#[derive(Debug, Default)]
pub struct Copies(Vec<Arc<Handle>>);

/// One configured copy.
#[derive(Debug)]
pub struct Handle {
    /// As configured.
    pub section: CopySection,
    /// Held while anything is done to the copy.
    pub(super) working: Mutex<()>,
    /// Operators who wait for that.
    waiting: AtomicUsize,
    memory: RwLock<CopyMemory>,
    opened: Mutex<Opened>,
    /// Points that only the copy has, so that rules judge them, too.
    others: RwLock<BTreeMap<RecoveryPointId, PointSummary>>,
    wanted: Remembered<Vec<PointSummary>>,
    wake: Notify,
    /// Its jobs.
    pub(super) runs: Mutex<Runs>,
    /// Its locks and storage classes.
    pub keeping: Keeping,
}

#[derive(Default)]
struct Opened {
    repository: Option<Repository>,
    /// Whether this coordinator is its writer.
    claimed: bool,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("open", &self.repository.is_some())
            .field("claimed", &self.claimed)
            .finish()
    }
}

/// Points that a copy should hold, newest first.
pub(super) struct Wanted(pub(super) Arc<Vec<PointSummary>>);

impl Copies {
    /// The configured copies, with what was remembered of them.
    #[must_use]
    pub fn new(
        sections: &[CopySection],
        mut memories: BTreeMap<CopyName, CopyMemory>,
        now: Timestamp,
        seed: u64,
    ) -> Self {
        let handle = |section: &CopySection| {
            let mut memory = memories.remove(&section.name).unwrap_or_default();
            memory.since.get_or_insert(now);
            memory
                .verify
                .get_or_insert_with(|| VerifyMemory::new(seed, now));
            Arc::new(Handle {
                section: section.clone(),
                working: Mutex::default(),
                waiting: AtomicUsize::new(0),
                memory: RwLock::new(memory),
                opened: Mutex::default(),
                others: RwLock::default(),
                wanted: Remembered::default(),
                wake: Notify::new(),
                runs: Mutex::default(),
                keeping: Keeping::new(&section.place),
            })
        };
        Self(sections.iter().map(handle).collect())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Handle>> {
        self.0.iter()
    }

    /// The copy of this name.
    ///
    /// # Errors
    /// `copy-not-found`.
    pub fn get(&self, name: &CopyName) -> Result<&Arc<Handle>, Fault> {
        let found = self.iter().find(|handle| handle.section.name == *name);
        found.ok_or_else(|| {
            let known: Vec<_> = self.iter().map(|h| h.section.name.as_str()).collect();
            let known = match known.as_slice() {
                [] => "none is configured".to_owned(),
                names => format!("configured are {}", names.join(", ")),
            };
            Fault::new(
                Code::CopyNotFound,
                format!("no [[copy]] is called {name}: {known}; name it in the coordinator's configuration and restart it"),
            )
        })
    }
}

impl Handle {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &CopyName {
        &self.section.name
    }

    /// What is remembered now.
    #[must_use]
    pub fn memory(&self) -> CopyMemory {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        memory.clone()
    }

    /// Changes the memory; durable when this returns.
    ///
    /// # Errors
    /// A failing catalogue: the change holds until the process ends.
    pub(super) async fn change(
        &self,
        catalog: &Catalog,
        change: impl FnOnce(&mut CopyMemory) + Send,
    ) -> Result<(), Fault> {
        let memory = {
            let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut memory);
            memory.clone()
        };
        let put = catalog.put_copy(self.name().clone(), memory).await;
        put.map_err(|error: CatalogError| Fault::from_error(Code::Internal, &error))
    }

    /// As [`change`](Self::change), where a restart that knows less does no harm.
    pub(super) async fn note(
        &self,
        catalog: &Catalog,
        change: impl FnOnce(&mut CopyMemory) + Send,
    ) {
        if let Err(error) = self.change(catalog, change).await {
            tracing::warn!(copy = %self.name(), %error, "the state of a copy could not be recorded");
        }
    }

    /// Waits until nothing is done to the copy; what is done in the background makes room.
    pub(super) async fn ask_for(&self) -> MutexGuard<'_, ()> {
        /// Also if whoever waits goes away.
        struct Waits<'a>(&'a AtomicUsize);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waits = Waits(&self.waiting);
        self.working.lock().await
    }

    /// Whether an operator waits for the copy.
    pub(super) fn is_asked_for(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// An operator has asked for something.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What is due.
    pub(super) async fn next(&self, core: &Core) -> Next {
        let memory = self.memory();
        let lacks = match (self.wanted(core).await, &memory.listed) {
            (Ok(Wanted(wanted)), Some(there)) => wanted.iter().any(|point| {
                !there.contains(&point.id) && !memory.uncopied.contains_key(&point.id)
            }),
            (Ok(_), None) => true,
            (Err(_), _) => false,
        };
        let (started, now) = (core.started, core.clock.now());
        let next = next(&self.section, &memory, lacks, started, now);
        let may_keep = next == Next::Wait && memory.made && memory.trouble.is_none();
        if may_keep && self.keeping.is_due() {
            return Next::Keep;
        }
        next
    }

    /// Whether a job runs that it has to make room for.
    pub(super) async fn must_wait(&self, core: &Core) -> bool {
        if core.book.running().await.is_none() {
            return false;
        }
        let lag = self.lag(core).await.ok().flatten().unwrap_or_default();
        lag.age <= self.section.max_lag
    }

    /// How far it is behind; `None` if nobody knows, because it was never seen.
    ///
    /// # Errors
    /// A failing catalogue.
    pub async fn lag(&self, core: &Core) -> Result<Option<Lag>, Fault> {
        let wanted = self.wanted(core).await?;
        let there = self.memory().listed;
        let now = core.clock.now();
        Ok(there.map(|there| lag(wanted.0.iter(), &there, now)))
    }

    /// The points of the primary that its own rules keep, judged together with those that only the copy has. Points that are
    /// marked for removal on the primary are not wanted any more; whether they stay is for the copy's rules alone.
    ///
    /// It is asked every few seconds, so it is worked out anew only if something has changed, and now and then, because rules and
    /// holds look at the clock.
    pub(super) async fn wanted(&self, core: &Core) -> Result<Wanted, Fault> {
        // Read before what it stands for: a change in between is seen the next time.
        let (marks, now) = (core.retention.marks(), core.clock.now());
        let key = Basis {
            listing: core.catalog.changes(),
            marks: Arc::clone(&marks),
            others: self.others().keys().cloned().collect(),
        };
        if let Some(known) = self.wanted.get(&key, now) {
            return Ok(Wanted(known));
        }
        let wanted = Arc::new(self.work_out_wanted(core, &marks).await?);
        self.wanted.keep(key, now, Arc::clone(&wanted));
        Ok(Wanted(wanted))
    }

    async fn work_out_wanted(
        &self,
        core: &Core,
        marks: &Marks,
    ) -> Result<Vec<PointSummary>, Fault> {
        let points = core.catalog.points().await;
        let mut points = points.map_err(|error| Fault::from_error(Code::Internal, &error))?;
        points.retain(|point| !marks.tombstones.contains_key(&point.id));
        points.sort_by(|a, b| b.id.cmp(&a.id));
        let settings = &self.section.retention;
        let Some(policy) = &settings.policy else {
            return Ok(points);
        };
        let mut facts: Vec<PointFacts> = points.iter().map(|p| of_listed(p, marks)).collect();
        {
            let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
            let known: BTreeSet<RecoveryPointId> = facts.iter().map(|f| f.id.clone()).collect();
            let only = others.values().filter(|other| !known.contains(&other.id));
            let only: Vec<PointFacts> = only.map(|point| of_listed(point, marks)).collect();
            facts.extend(only);
        }
        let now = core.clock.now();
        let verdicts = plan_retention(&facts, policy, &settings.time_zone, now);
        let kept: BTreeSet<RecoveryPointId> = verdicts
            .into_iter()
            .filter(|verdict| verdict.decision == Decision::Keep)
            .map(|verdict| verdict.id)
            .collect();
        points.retain(|point| kept.contains(&point.id));
        Ok(points)
    }

    /// Takes note of what the copy holds.
    ///
    /// # Errors
    /// A copy that can't be read.
    pub(super) async fn take_stock(&self, core: &Core, copy: &Repository) -> Result<(), Fault> {
        let failed = |error: RepositoryError| self.failed(&error);
        let ids = copy.list_point_ids().await.map_err(failed)?;
        let marked = copy.read_marks().await.map_err(failed)?.tombstones;
        // A place that vanished a moment ago lists nothing, which says nothing of the copy.
        copy.check_copy(self.name()).await.map_err(failed)?;
        let ids: BTreeSet<_> = ids
            .into_iter()
            .filter(|id| !marked.contains_key(id))
            .collect();
        let points = core.catalog.points().await;
        let points = points.map_err(|error| Fault::from_error(Code::Internal, &error))?;
        let known: BTreeSet<_> = points.into_iter().map(|point| point.id).collect();
        for id in ids.difference(&known) {
            if !self.others().contains_key(id) {
                // One that can't be read is for the checks to tell.
                if let Ok(manifest) = copy.read_point(id).await {
                    let point = PointSummary::of(&manifest);
                    self.others_mut().insert(id.clone(), point);
                }
            }
        }
        self.others_mut()
            .retain(|id, _| ids.contains(id) && !known.contains(id));
        self.note(&core.catalog, |memory| memory.listed = Some(ids))
            .await;
        Ok(())
    }

    fn others(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<RecoveryPointId, PointSummary>> {
        self.others.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn others_mut(
        &self,
    ) -> std::sync::RwLockWriteGuard<'_, BTreeMap<RecoveryPointId, PointSummary>> {
        self.others.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its repository, for reading.
    ///
    /// # Errors
    /// What keeps it from being opened.
    pub async fn reader(&self, core: &Core) -> Result<Repository, Fault> {
        let mut opened = self.opened.lock().await;
        self.open(core, &mut opened).await
    }

    async fn open(&self, core: &Core, opened: &mut Opened) -> Result<Repository, Fault> {
        if let Some(open) = &opened.repository {
            return Ok(open.clone());
        }
        let store = open_copy_store(&self.section, false).await?;
        let store = store.map_err(|error| self.failed(&error.into()))?;
        let open = core
            .repository
            .open_copy(store, self.name(), Tuning::default());
        let open = open.await.map_err(|error| self.failed(&error))?;
        opened.repository = Some(open.clone());
        Ok(open)
    }

    /// Its repository, with this coordinator as its writer.
    ///
    /// # Errors
    /// As [`reader`](Self::reader); a store that is not this copy any more; a term that is over.
    pub(super) async fn writer(&self, core: &Core) -> Result<Repository, Fault> {
        let mut opened = self.opened.lock().await;
        let copy = self.open(core, &mut opened).await?;
        let become_one = if opened.claimed {
            copy.check_copy(self.name()).await
        } else {
            self.claim(core, &copy).await
        };
        if let Err(error) = become_one {
            *opened = Opened::default();
            if let RepositoryError::StaleEpoch { newest, .. } = error {
                self.note(&core.catalog, |memory| memory.newer_term = Some(newest))
                    .await;
            }
            return Err(self.failed(&error));
        }
        opened.claimed = true;
        Ok(copy)
    }

    /// Nobody could take a mark back while nobody wrote to it: that time does not count.
    async fn claim(&self, core: &Core, copy: &Repository) -> Result<(), RepositoryError> {
        let last = copy.last_written().await?;
        copy.claim_copy(&core.repository, self.name(), core.epoch)
            .await?;
        let now = core.clock.now();
        let away = last.map_or(Duration::ZERO, |last| now.since(last));
        if away >= COUNTS_AS_AWAY {
            copy.postpone_removals(core.epoch, away, now).await?;
        }
        Ok(())
    }

    /// Lets go of it: the next use opens it anew.
    pub(super) async fn close(&self) {
        *self.opened.lock().await = Opened::default();
    }

    /// What an error of the copy means. The primary is not concerned, whatever it is.
    pub(super) fn failed(&self, error: &RepositoryError) -> Fault {
        let name = self.name();
        let told = |code, message| Fault::new(code, message);
        let fault = if let RepositoryError::NotFound { place }
        | RepositoryError::Store(StoreError::NoSuchStore { place }) = error
        {
            told(
                Code::RepositoryForeign,
                format!(
                    "nothing is at {place}: if the copy was made before, its volume is not mounted; make it with `holdfast repo copy add {name} --confirm`"
                ),
            )
        } else if let RepositoryError::StaleEpoch { ours, newest } = error {
            told(
                Code::StaleEpoch,
                format!(
                    "it was written in term {newest}, and this coordinator has term {ours}: its promotion was begun, or another coordinator writes to it; if the promotion was given up, restart this coordinator, which then goes on above that term"
                ),
            )
        } else if let RepositoryError::Role(RoleRefusal::Promoted { at, .. }) = error {
            told(
                Code::RepositoryRole,
                format!(
                    "it was promoted to be the primary at {at}, so this coordinator's repository was replaced: stop this coordinator (docs/runbooks, \"The primary repository is lost\")"
                ),
            )
        } else {
            fault_of(error)
        };
        self.within(fault)
    }

    /// A fault that names the copy.
    pub(super) fn within(&self, fault: Fault) -> Fault {
        fault.within(&format!("copy {}", self.name()))
    }
}
