//! What all parts of a running coordinator share.

use crate::catalog::Catalog;
use crate::config::{Limits, LoadedPolicy, VerifySection, WalSection};
use crate::copies::Copies;
use crate::dispatch::{Dispatcher, Patience};
use crate::enrolment::Enrolments;
use crate::fault::Fault;
use crate::ingest::imports::Imports;
use crate::instant::known::Known;
use crate::job::book::JobBook;
use crate::keeping::Keeping;
use crate::logs::{Bases, Logs};
use crate::members::Members;
use crate::observe::Registry;
use crate::repository::fault_of;
use crate::retention::Guard;
use crate::schedule::ScheduleBook;
use crate::tickets::Tickets;
use crate::verify::VerifyBook;
use holdfast_archive::ChunkKey;
use holdfast_decide::Observation;
use holdfast_repository::{Repository, RepositoryError};
use holdfast_service::clock::Clock;
use holdfast_service::failure::Code;
use holdfast_service::shutdown::Shutdown;
use holdfast_types::{ClusterName, CopyName, Epoch, JobId, Namespace, RecoveryPointId, Timestamp};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Batches of at most 4 chunks of 1 MiB that may be in verification at once, over all streams.
const BATCHES_IN_VERIFICATION: usize = 16;

/// Clocks that differ by more are not trusted with deletions and locks.
const MOST_SKEW: Duration = Duration::from_mins(5);

/// An agent whose look takes longer is planned for as it was last seen.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// The coordinator.
pub struct Core {
    /// The deployment it looks after.
    pub cluster: ClusterName,
    /// The boundary of deduplication and reading.
    pub namespace: Namespace,
    /// Key of the namespace's chunk ids.
    pub chunk_key: ChunkKey,
    /// Bounds of patience.
    pub limits: Limits,
    /// The term claimed at the start.
    pub epoch: Epoch,
    /// When it started.
    pub started: Timestamp,
    /// The same, by a clock that nobody sets.
    steady: Instant,
    /// How far the store's clock was from ours at the start.
    store_skew: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where recovery points are kept.
    pub repository: Repository,
    /// Recovery points that can't be read, and why, as found at the start.
    pub damaged_points: Vec<(RecoveryPointId, String)>,
    /// Further stores that hold the same.
    pub copies: Copies,
    /// Which recovery points stay.
    pub retention: Guard,
    /// Locks and storage classes.
    pub keeping: Keeping,
    /// How logs are taken in.
    pub wal: WalSection,
    /// What is known of logs.
    pub logs: Logs,
    /// The listing of recovery points.
    pub catalog: Catalog,
    /// Jobs.
    pub book: JobBook,
    /// What is known of checks of the repository.
    pub verified: VerifyBook,
    /// How often they are wanted.
    pub verify: VerifySection,
    /// What runs by itself; `None` if nothing does.
    pub policy: Option<LoadedPolicy>,
    /// What is remembered of its schedules.
    pub schedules: ScheduleBook,
    /// Nodes.
    pub nodes: Registry,
    /// What operators said of them.
    pub members: Members,
    /// How new ones come in.
    pub enrolments: Enrolments,
    /// Commands.
    pub dispatcher: Dispatcher,
    /// Deliveries of operators.
    pub imports: Imports,
    /// Leave to read without a command.
    pub tickets: Tickets,
    /// What was read of archived logs.
    pub known: Known,
    /// Bounds the memory of verification.
    pub verify_gate: Arc<Semaphore>,
    /// Bounds the memory of sums of logs: one at a time.
    pub diff_gate: Semaphore,
    /// The end of the process.
    pub shutdown: Shutdown,
    cancels: Mutex<HashMap<JobId, CancellationToken>>,
    superseded: AtomicBool,
    /// The newest request to look at Qdrant; grows across restarts, because it follows the clock.
    looks: AtomicU64,
}

/// What a core is made of beside its defaults.
pub struct CoreParts {
    /// The deployment.
    pub cluster: ClusterName,
    /// The namespace.
    pub namespace: Namespace,
    /// Bounds of patience.
    pub limits: Limits,
    /// The claimed term.
    pub epoch: Epoch,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How far the store's clock is from it.
    pub store_skew: Duration,
    /// The repository, claimed.
    pub repository: Repository,
    /// What of it can't be read.
    pub damaged_points: Vec<(RecoveryPointId, String)>,
    /// Further stores that hold the same.
    pub copies: Copies,
    /// Which recovery points stay.
    pub retention: Guard,
    /// Locks and storage classes.
    pub keeping: Keeping,
    /// How logs are taken in.
    pub wal: WalSection,
    /// The captures from which they go on.
    pub bases: Bases,
    /// The catalogue.
    pub catalog: Catalog,
    /// The jobs in it.
    pub book: JobBook,
    /// The checks in it.
    pub verified: VerifyBook,
    /// How often they are wanted.
    pub verify: VerifySection,
    /// What runs by itself.
    pub policy: Option<LoadedPolicy>,
    /// The schedules in the catalogue.
    pub schedules: ScheduleBook,
    /// What operators said of nodes, in the catalogue.
    pub members: Members,
    /// How new ones come in, with the tokens in the catalogue.
    pub enrolments: Enrolments,
    /// The end of the process.
    pub shutdown: Shutdown,
}

impl Core {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: CoreParts) -> Arc<Self> {
        let CoreParts {
            cluster,
            namespace,
            limits,
            epoch,
            clock,
            store_skew,
            repository,
            damaged_points,
            copies,
            retention,
            keeping,
            wal,
            bases,
            catalog,
            book,
            verified,
            verify,
            policy,
            schedules,
            members,
            enrolments,
            shutdown,
        } = parts;
        Arc::new(Self {
            chunk_key: repository.chunk_key(&namespace),
            started: clock.now(),
            steady: Instant::now(),
            dispatcher: Dispatcher::new(epoch),
            verify_gate: Arc::new(Semaphore::new(BATCHES_IN_VERIFICATION)),
            diff_gate: Semaphore::new(1),
            imports: Imports::default(),
            tickets: Tickets::default(),
            known: Known::default(),
            nodes: Registry::default(),
            cancels: Mutex::default(),
            superseded: AtomicBool::new(false),
            looks: AtomicU64::new(0),
            cluster,
            namespace,
            limits,
            epoch,
            clock,
            store_skew,
            repository,
            damaged_points,
            copies,
            retention,
            keeping,
            wal,
            logs: Logs::new(bases),
            catalog,
            book,
            verified,
            verify,
            policy,
            schedules,
            members,
            enrolments,
            shutdown,
        })
    }

    /// Asks every connected agent to look at its Qdrant now, and waits for their reports, but not for ever:
    /// a node that does not answer stands in the observation as it was last seen.
    /// Returns the number of the request.
    pub async fn look(&self) -> u64 {
        let now = u64::try_from(self.clock.now().as_micros()).unwrap_or(0);
        let next = |last: u64| now.max(last).saturating_add(1);
        let last = self
            .looks
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(next(last)));
        let request = next(last.unwrap_or_else(|last| last));
        self.dispatcher.ask_to_observe(request);
        if tokio::time::timeout(LOOK_WITHIN, self.nodes.answered(request))
            .await
            .is_err()
        {
            tracing::warn!(
                seconds = LOOK_WITHIN.as_secs(),
                "not every agent has looked at its Qdrant in time"
            );
        }
        request
    }

    /// Everything there is now, for a planner.
    pub async fn observe(&self) -> Observation {
        let request = self.look().await;
        let running = self.book.running().await;
        let mut seen = self.nodes.observation(self.epoch, running, request);
        self.members.tell(&mut seen);
        seen
    }

    /// Why the clock must not be trusted with what can't be taken back: it jumped since the start, or the store's or a node's
    /// differs. Nothing is deleted and nothing is locked then.
    #[must_use]
    pub fn clock_fault(&self) -> Option<Fault> {
        let expected = self.started.after(self.steady.elapsed());
        let jumped = self.clock.now().distance(expected);
        let nodes = self.nodes.list();
        let skewed = nodes
            .iter()
            .filter(|(_, record)| record.connected)
            .find_map(|(node, record)| Some((node, record.clock_skew()?)));
        let what = if jumped > MOST_SKEW {
            format!("the clock jumped by {} s since the start", jumped.as_secs())
        } else if self.store_skew > MOST_SKEW {
            format!(
                "the clock of the repository's store is {} s from the coordinator's",
                self.store_skew.as_secs()
            )
        } else {
            let (node, skew) = skewed?;
            format!(
                "the clocks of node {node} and of the coordinator are {} s apart",
                skew.as_secs()
            )
        };
        Some(Fault::new(
            Code::ClockSkew,
            format!(
                "{what}: nothing is deleted or locked by a clock that may be wrong; set the clocks by NTP, then restart the coordinator"
            ),
        ))
    }

    /// Where a recovery point is read: the repository, or the copy of that name.
    ///
    /// # Errors
    /// `copy-not-found`; a copy that can't be opened.
    pub async fn source(&self, copy: Option<&CopyName>) -> Result<Repository, Fault> {
        match copy {
            None => Ok(self.repository.clone()),
            Some(name) => self.copies.get(name)?.reader(self).await,
        }
    }

    /// The failure behind an error of reading from there. That of a copy says nothing of this coordinator's own place.
    #[must_use]
    pub fn read_failed(&self, copy: Option<&CopyName>, error: &RepositoryError) -> Fault {
        match copy {
            None => self.repository_failed(error),
            Some(name) => fault_of(error).within(&format!("copy {name}")),
        }
    }

    /// How long jobs wait.
    #[must_use]
    pub fn patience(&self) -> Patience {
        Patience {
            away: self.limits.agent_grace,
            silent: self.limits.command_silence,
        }
    }

    /// The failure behind an error of the repository. If a newer coordinator has taken over, this one
    /// stops.
    #[must_use]
    pub fn repository_failed(&self, error: &RepositoryError) -> Fault {
        let fault = fault_of(error);
        let stale = matches!(error, RepositoryError::StaleEpoch { .. });
        if stale && !self.superseded.swap(true, Ordering::SeqCst) {
            tracing::error!(reason = %fault, "standing down");
            self.shutdown.stop();
        }
        fault
    }

    /// Looks whether a newer coordinator has taken over; then this one stops. Commands are only given after
    /// this: agents can't tell which coordinator is the newest.
    ///
    /// # Errors
    /// `stale-epoch`, or a repository that can't be read.
    pub async fn check_epoch(&self) -> Result<(), Fault> {
        let newest = self.repository.newest_epoch().await;
        let newest = newest.map_err(|error| self.repository_failed(&error))?;
        if newest > self.epoch {
            let ours = self.epoch;
            return Err(self.repository_failed(&RepositoryError::StaleEpoch { ours, newest }));
        }
        Ok(())
    }

    /// Whether a newer coordinator has taken over.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::SeqCst)
    }

    /// The token that stops a job, made if there is none yet.
    #[must_use]
    pub fn cancel_token(&self, job: &JobId) -> CancellationToken {
        let mut cancels = self.cancels.lock().unwrap_or_else(PoisonError::into_inner);
        cancels.entry(job.clone()).or_default().clone()
    }

    /// Forgets the token of an ended job.
    pub fn forget_cancel_token(&self, job: &JobId) {
        let mut cancels = self.cancels.lock().unwrap_or_else(PoisonError::into_inner);
        cancels.remove(job);
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("cluster", &self.cluster)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CoreParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreParts")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}
