//! A run of the coordinator's own upkeep, or an export, as a job: its record, its log and its figures while it goes on.
//!
//! Whoever does the work holds a [`Run`], tells it what happens, looks whether it was cancelled, and ends it. Nothing is decided
//! here, and nothing here can fail: a catalogue that takes no record keeps no upkeep from being done.
//!
//! | | a job that captures or restores | a run of upkeep |
//! |---|---|---|
//! | at once | one | one check and one prune of the repository; of each copy one run and one check; exports as tickets allow |
//! | when the other begins | is not held up | gives way, as the module says that does it |
//! | after a restart | goes on | is recorded as interrupted; what it does begins again when it is due |

use crate::core::Core;
use crate::execute::{LOG_EVERY, state_on_wire, write_log};
use crate::fault::Fault;
use crate::job::feed::JobFeed;
use crate::job::upkeep::{Extent, Task, UpkeepWork};
use crate::job::{JobRecord, JobState, Work};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{JobId, RecoveryPointId};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Who asks for what nobody has asked for.
pub(crate) const SCHEDULE: &str = "schedule";

/// After a run was cancelled, no other of its kind begins by itself for so long.
pub(crate) const AFTER_CANCEL: Duration = Duration::from_hours(1);

/// How often what is written of a run's log has its figures with it, in times that the log is.
const FIGURES_EVERY: u32 = 15;

/// One run.
pub(crate) struct Run {
    core: Arc<Core>,
    id: JobId,
    feed: Arc<JobFeed>,
    task: Task,
    automatic: bool,
    cancel: CancellationToken,
    /// Ends the writing of its log with it.
    _writes: DropGuard,
}

/// How a run ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// What it found and did, in words.
    pub(crate) found: Vec<String>,
    /// Whether it had nothing to do: then a run that began by itself leaves no job.
    pub(crate) idle: bool,
    /// Why it failed, if it did.
    pub(crate) failure: Option<Fault>,
}

impl Run {
    /// A run begins. `None` as the asker means that it does by itself.
    pub(crate) async fn begin(core: &Arc<Core>, task: Task, asker: Option<&str>) -> Self {
        let now = core.clock.now();
        // Ids must differ, and need not be unguessable.
        let entropy = getrandom::u32();
        let entropy =
            entropy.unwrap_or_else(|_| u32::try_from(now.as_micros() & 0xffff_ffff).unwrap_or(0));
        let id = JobRecord::new_id(task.kind(), &RecoveryPointId::new(now, entropy))
            .expect("a kind, a time and a number make a name");
        let asked_by = asker.unwrap_or(SCHEDULE).to_owned();
        let begins = match asker {
            Some(asker) => format!("{} begins, asked for by {asker}", task.kind()),
            None => format!("{} begins by itself", task.kind()),
        };
        let work = UpkeepWork {
            task: task.clone(),
            automatic: asker.is_none(),
            extent: Extent::default(),
            found: Vec::new(),
        };
        let work = Work::Upkeep(Box::new(work));
        let record = JobRecord::begun(id.clone(), now, asked_by, work);
        let plan = record.plan_lines();
        let feed = core.book.open_upkeep(record).await;
        feed.started(now, task.kind(), plan);
        feed.note(now, begins);
        let (cancel, closed) = (core.cancel_token(&id), CancellationToken::new());
        let writes = keep(Arc::clone(core), id.clone(), closed.clone());
        drop(core.shutdown.clone().spawn(writes));
        Self {
            core: Arc::clone(core),
            id,
            feed,
            task,
            automatic: asker.is_none(),
            cancel,
            _writes: closed.drop_guard(),
        }
    }

    /// Its job.
    pub(crate) fn id(&self) -> &JobId {
        &self.id
    }

    /// What followers read.
    pub(crate) fn feed(&self) -> &Arc<JobFeed> {
        &self.feed
    }

    /// What it does.
    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    /// Whether nobody asked for it.
    pub(crate) fn is_automatic(&self) -> bool {
        self.automatic
    }

    /// Adds a line to its log.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.feed.note(self.core.clock.now(), text);
    }

    /// Adds a line on something that went wrong.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.feed.warn(self.core.clock.now(), text);
    }

    /// Tells what it does now, and how far it is.
    pub(crate) fn tell(&self, stage: &str, extent: Extent) {
        let now = self.core.clock.now();
        self.feed.progress_of_whole(now, stage, extent);
    }

    /// Tells what it does now.
    pub(crate) fn stage(&self, stage: &str) {
        self.tell(stage, self.extent());
    }

    /// How far it is.
    pub(crate) fn extent(&self) -> Extent {
        let told = self.feed.whole(self.core.clock.now());
        told.map(|(_, extent, _)| extent).unwrap_or_default()
    }

    /// Whether somebody asked to stop it.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Waits until somebody asks to stop it.
    pub(crate) async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Goes on unless somebody asked to stop it.
    ///
    /// # Errors
    /// `cancelled`, with what that means in these words.
    pub(crate) fn go_on(&self, otherwise: &str) -> Result<(), Fault> {
        if self.is_cancelled() {
            return Err(cancelled(otherwise));
        }
        Ok(())
    }

    /// It ended by itself, or on request.
    pub(crate) async fn end(self, ended: Ended) {
        let Ended {
            found,
            idle,
            failure,
        } = ended;
        let state = match &failure {
            None => JobState::Succeeded,
            Some(fault) if fault.code == Code::Cancelled.as_str() => JobState::Cancelled,
            Some(_) => JobState::Failed,
        };
        for line in &found {
            self.note(line.clone());
        }
        match &failure {
            None => self.note("succeeded"),
            Some(fault) => {
                let word = if state == JobState::Cancelled {
                    "cancelled"
                } else {
                    "failed"
                };
                self.warn(format!("{word}: {}: {fault}", fault.code));
            }
        }
        let forgotten = idle && self.automatic && failure.is_none();
        self.close(state, failure, found, forgotten).await;
    }

    /// The process ends before it.
    pub(crate) async fn interrupted(self) {
        self.warn("interrupted: the coordinator stops");
        let why = Fault {
            retryable: true,
            ..Fault::new(Code::JobFailed, "the coordinator was stopped while it ran")
        };
        self.close(JobState::Interrupted, Some(why), Vec::new(), false)
            .await;
    }

    async fn close(
        self,
        state: JobState,
        failure: Option<Fault>,
        found: Vec<String>,
        forgotten: bool,
    ) {
        let (core, id, now) = (&self.core, &self.id, self.core.clock.now());
        let extent = self.extent();
        let summary = summary(&self.task, "", extent, &found);
        if forgotten {
            core.book.drop_upkeep(id).await;
        } else {
            core.book
                .note_upkeep(id, |record| set_extent(record, extent))
                .await;
            core.book
                .close_upkeep(id, state, now, failure.clone(), found)
                .await;
        }
        core.forget_cancel_token(id);
        self.feed.ended(
            now,
            v1::JobEnded {
                state: state_on_wire(state).into(),
                failure: failure.as_ref().map(Fault::to_wire),
                upkeep: Some(summary),
                ..v1::JobEnded::default()
            },
        );
        core.book.forget_feed(id);
    }
}

/// It was cancelled; `otherwise` says what that means.
pub(crate) fn cancelled(otherwise: &str) -> Fault {
    Fault::new(Code::Cancelled, format!("cancelled: {otherwise}"))
}

/// A run in wire form.
pub(crate) fn summary(
    task: &Task,
    stage: &str,
    extent: Extent,
    found: &[String],
) -> v1::UpkeepSummary {
    let collection = match task {
        Task::Export { collection, .. } => collection.to_string(),
        Task::Verify { .. }
        | Task::Prune { .. }
        | Task::CopySync { .. }
        | Task::CopyVerify { .. } => String::new(),
    };
    v1::UpkeepSummary {
        task: task.plan(),
        stage: stage.to_owned(),
        copy: task.copy().map(ToString::to_string).unwrap_or_default(),
        collection,
        unit: task.unit().to_owned(),
        parts_done: extent.parts,
        parts_total: extent.parts_total,
        bytes_done: extent.bytes,
        found: found.to_vec(),
    }
}

fn set_extent(record: &mut JobRecord, extent: Extent) {
    if let Some(work) = record.upkeep_mut() {
        work.extent = extent;
    }
}

/// Writes what the log of a run gains, and now and then how far it is, so that a restart has something to show.
async fn keep(core: Arc<Core>, id: JobId, closed: CancellationToken) {
    let (mut turns, stop) = (0, core.shutdown.token());
    loop {
        tokio::select! {
            () = closed.cancelled() => return,
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOG_EVERY) => {}
        }
        turns += 1;
        let told = core
            .book
            .feed(&id)
            .and_then(|feed| feed.whole(core.clock.now()));
        match told {
            Some((_, extent, _)) if turns % FIGURES_EVERY == 0 => {
                core.book
                    .note_upkeep(&id, |record| set_extent(record, extent))
                    .await;
            }
            Some(_) | None => write_log(&core, &id).await,
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
