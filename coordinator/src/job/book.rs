//! The jobs of this coordinator: their records, durable before anything acts on them, and the feeds
//! that followers read.
//!
//! At most one job captures or restores: a second one is refused here, whatever its planner saw. Runs of upkeep are recorded
//! beside it, as many as there are. They differ in three ways, so that neither waits for the other: what is recorded of
//! upkeep holds from the moment it is said, whether or not the catalogue takes it; no lock that a job needs is held while it is
//! written; and a restart ends it.

use crate::catalog::{Catalog, CatalogError};
use crate::fault::{Fault, storage_code};
use crate::job::feed::JobFeed;
use crate::job::log::{JobLog, Level, LogChange, LogLine, Rows};
use crate::job::steps::expected;
use crate::job::{JobRecord, JobState, Work, restore_id};
use holdfast_decide::RunningJob;
use holdfast_service::failure::Code;
use holdfast_types::{CaptureId, CollectionName, JobId, ShardId, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod find;
mod keep;
mod upkeep;

/// Records and feeds.
#[derive(Debug)]
pub struct JobBook {
    catalog: Catalog,
    kept: usize,
    records: tokio::sync::Mutex<BTreeMap<JobId, JobRecord>>,
    feeds: Mutex<HashMap<JobId, Arc<JobFeed>>>,
}

impl JobBook {
    /// Reads what is recorded. Jobs that run have feeds, which go on with their logs; upkeep that ran was interrupted. Logs without
    /// a job, as a crash may leave them, are removed.
    ///
    /// # Errors
    /// If the catalogue can't be read, or not be written where there is something to set right.
    pub async fn load(catalog: Catalog, kept: usize, now: Timestamp) -> Result<Self, CatalogError> {
        let (mut records, mut feeds) = (BTreeMap::new(), HashMap::new());
        for mut job in catalog.jobs().await? {
            if job.state == JobState::Running && job.is_upkeep() {
                interrupt(&catalog, &mut job, now).await?;
            } else if job.state == JobState::Running {
                let log = catalog.job_log(job.id.clone()).await?;
                let feed = JobFeed::resumed(job.id.clone(), log);
                feeds.insert(job.id.clone(), Arc::new(feed));
            }
            records.insert(job.id.clone(), job);
        }
        let stray = catalog.keep_logs_of(records.keys().cloned().collect());
        let stray = stray.await?;
        if stray > 0 {
            tracing::info!(stray, "logs of jobs that are recorded no more are removed");
        }
        let book = Self {
            catalog,
            kept,
            records: tokio::sync::Mutex::new(records),
            feeds: Mutex::new(feeds),
        };
        book.forget_old().await?;
        Ok(book)
    }

    /// Records a new job. Returns its feed.
    ///
    /// # Errors
    /// `job-conflict` while another job runs; a failing catalogue.
    pub async fn begin(&self, record: JobRecord) -> Result<Arc<JobFeed>, Fault> {
        let mut records = self.records.lock().await;
        if let Some(other) = records.values().find(|job| job.is_busy()) {
            return Err(Fault::new(
                Code::JobConflict,
                format!(
                    "{} job {} is still running: wait until it has ended; `holdfast status` shows it",
                    other.kind(),
                    other.id
                ),
            ));
        }
        self.catalog
            .put_job(record.clone(), LogChange::default())
            .await
            .map_err(|error| recording_failed(&error))?;
        let feed = Arc::new(JobFeed::new(record.id.clone()));
        self.feeds().insert(record.id.clone(), Arc::clone(&feed));
        records.insert(record.id.clone(), record);
        Ok(feed)
    }

    /// Changes a job, and writes what its log has gained. The change is durable when this returns, and did not happen if it fails.
    ///
    /// # Errors
    /// A failing catalogue; `internal` for a job that is not recorded.
    pub async fn change(
        &self,
        id: &JobId,
        change: impl FnOnce(&mut JobRecord) + Send,
    ) -> Result<JobRecord, Fault> {
        let feed = self.feed(id);
        // Before the records, always: who writes a log holds this alone.
        let _writing = match &feed {
            Some(feed) => Some(feed.writing().await),
            None => None,
        };
        let mut records = self.records.lock().await;
        let mut record = records
            .get(id)
            .cloned()
            .ok_or_else(|| Fault::new(Code::Internal, format!("job {id} is not recorded")))?;
        change(&mut record);
        let log = feed.as_ref().map(|feed| feed.log_change());
        let log = log.unwrap_or_default();
        self.catalog
            .put_job(record.clone(), log.clone())
            .await
            .map_err(|error| recording_failed(&error))?;
        if let Some(feed) = &feed {
            feed.log_written(&log);
        }
        records.insert(id.clone(), record.clone());
        Ok(record)
    }

    /// Writes what the log of a running job has gained. Whoever asks for other jobs meanwhile does not wait.
    ///
    /// # Errors
    /// A failing catalogue; it is written the next time.
    pub async fn write_log(&self, id: &JobId) -> Result<(), CatalogError> {
        let Some(feed) = self.feed(id) else {
            return Ok(());
        };
        let _writing = feed.writing().await;
        let log = feed.log_change();
        if log.is_empty() {
            return Ok(());
        }
        self.catalog.put_job_log(id.clone(), log.clone()).await?;
        feed.log_written(&log);
        Ok(())
    }

    /// The log of a job.
    ///
    /// # Errors
    /// A failing catalogue.
    pub async fn log(&self, id: &JobId) -> Result<Rows, Fault> {
        match self.feed(id) {
            Some(feed) => Ok(feed.log_rows()),
            None => {
                let log = self.catalog.job_log(id.clone()).await;
                log.map_err(|error| recording_failed(&error))
            }
        }
    }

    /// Records how a job ended. What was only needed to go on with it is dropped.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub async fn end(
        &self,
        id: &JobId,
        state: JobState,
        now: Timestamp,
        failure: Option<Fault>,
    ) -> Result<JobRecord, Fault> {
        let record = self
            .change(id, |record| {
                record.state = state;
                record.ended = Some(now);
                record.failure = failure;
                if let Some(backup) = record.backup_mut() {
                    backup.forget_entries();
                }
            })
            .await?;
        if let Err(error) = self.forget_old().await {
            tracing::warn!(%error, "old jobs could not be removed from the catalogue");
        }
        Ok(record)
    }

    /// A job's record.
    pub async fn get(&self, id: &JobId) -> Option<JobRecord> {
        self.records.lock().await.get(id).cloned()
    }

    /// Every recorded job, newest first.
    pub async fn list(&self) -> Vec<JobRecord> {
        let mut jobs: Vec<JobRecord> = self.records.lock().await.values().cloned().collect();
        jobs.sort_by(|a, b| (b.started, &b.id).cmp(&(a.started, &a.id)));
        jobs
    }

    /// What the last capture of each shard had, as far as jobs tell.
    pub async fn sizes(&self) -> BTreeMap<(CollectionName, ShardId), u64> {
        let records = self.records.lock().await;
        let mut newest: Vec<&JobRecord> = records.values().collect();
        newest.sort_by_key(|job| std::cmp::Reverse(job.started));
        expected(newest.into_iter())
    }

    /// The job that captures or restores.
    pub async fn running(&self) -> Option<RunningJob> {
        let records = self.records.lock().await;
        let job = records.values().find(|job| job.is_busy())?;
        Some(RunningJob {
            id: job.id.clone(),
            kind: job.kind(),
        })
    }

    /// Whether a running job has the step of this command still before it.
    pub async fn is_pending(&self, command: &CaptureId) -> bool {
        let records = self.records.lock().await;
        let mut running = records.values().filter(|job| job.is_busy());
        running.any(|job| {
            let captures = job.backup().filter(|b| !b.done).is_some_and(|backup| {
                let (mut open, mut extras) = (backup.open(), backup.open_extras());
                open.any(|(index, _)| backup.capture_id(&job.id, index).as_ref() == Ok(command))
                    || extras
                        .any(|(index, _)| backup.extra_id(&job.id, index).as_ref() == Ok(command))
            });
            let restores = match &job.work {
                Work::Restore(work) => (work.done.len()..work.plan.steps.len())
                    .any(|index| is_of_step(&job.id, index, command)),
                Work::Backup(_) | Work::Upkeep(_) => false,
            };
            captures || restores
        })
    }

    /// The feed of a job that runs.
    #[must_use]
    pub fn feed(&self, id: &JobId) -> Option<Arc<JobFeed>> {
        self.feeds().get(id).cloned()
    }

    /// Drops the feed of a job after its last event: its log is in the catalogue.
    pub fn forget_feed(&self, id: &JobId) {
        self.feeds().remove(id);
    }

    fn feeds(&self) -> MutexGuard<'_, HashMap<JobId, Arc<JobFeed>>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops ended jobs that are not kept any longer.
    async fn forget_old(&self) -> Result<(), CatalogError> {
        let old = {
            let mut records = self.records.lock().await;
            let old = keep::surplus(records.values(), self.kept);
            for id in &old {
                records.remove(id);
            }
            old
        };
        if old.is_empty() {
            return Ok(());
        }
        // What stays in the catalogue because this fails is forgotten after the next start.
        self.catalog.remove_jobs(old).await
    }
}

/// Records that the end of the coordinator has ended a run of upkeep.
async fn interrupt(
    catalog: &Catalog,
    job: &mut JobRecord,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let why = Fault {
        retryable: true,
        ..Fault::new(
            Code::JobFailed,
            "the coordinator ended while it ran: upkeep begins again when it is due, and an export when its command is run again",
        )
    };
    let mut log = JobLog::of(catalog.job_log(job.id.clone()).await?);
    let text = format!("interrupted: {why}");
    log.push(LogLine::new(now, Level::Warning, text));
    job.state = JobState::Interrupted;
    job.ended = Some(now);
    job.failure = Some(why);
    catalog.put_job(job.clone(), log.change()).await
}

fn recording_failed(error: &CatalogError) -> Fault {
    let code = match error {
        CatalogError::Io { source, .. } => storage_code(source.kind()).unwrap_or(Code::Internal),
        CatalogError::Missing { .. }
        | CatalogError::InUse { .. }
        | CatalogError::Newer { .. }
        | CatalogError::Foreign { .. }
        | CatalogError::Damaged { .. } => Code::Internal,
    };
    Fault::from_error(code, error)
}

/// Whether the command carries out the step, or a part of it.
fn is_of_step(job: &JobId, index: usize, command: &CaptureId) -> bool {
    let Ok(step) = restore_id(job, index) else {
        return false;
    };
    let rest = command.as_str().strip_prefix(step.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests;
