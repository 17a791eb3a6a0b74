//! The jobs of this coordinator: their records, durable before anything acts on them, and the feeds
//! that followers read.
//!
//! At most one job runs: a second one is refused here, whatever its planner saw.

use crate::catalog::{Catalog, CatalogError};
use crate::fault::{Fault, storage_code};
use crate::job::feed::JobFeed;
use crate::job::log::{LogChange, Rows};
use crate::job::steps::expected;
use crate::job::{JobRecord, JobState, Work, restore_id};
use holdfast_decide::RunningJob;
use holdfast_service::failure::Code;
use holdfast_types::{CaptureId, CollectionName, JobId, ShardId, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Records and feeds.
#[derive(Debug)]
pub struct JobBook {
    catalog: Catalog,
    kept: usize,
    records: tokio::sync::Mutex<BTreeMap<JobId, JobRecord>>,
    feeds: Mutex<HashMap<JobId, Arc<JobFeed>>>,
}

impl JobBook {
    /// Reads what is recorded. Jobs that run have feeds, which go on with their logs.
    ///
    /// # Errors
    /// If the catalogue can't be read.
    pub async fn load(catalog: Catalog, kept: usize) -> Result<Self, CatalogError> {
        let (mut records, mut feeds) = (BTreeMap::new(), HashMap::new());
        for job in catalog.jobs().await? {
            if job.state == JobState::Running {
                let log = catalog.job_log(job.id.clone()).await?;
                let feed = JobFeed::resumed(job.id.clone(), log);
                feeds.insert(job.id.clone(), Arc::new(feed));
            }
            records.insert(job.id.clone(), job);
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
        if let Some(other) = records.values().find(|job| job.state == JobState::Running) {
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
        let mut records = self.records.lock().await;
        let mut record = records
            .get(id)
            .cloned()
            .ok_or_else(|| Fault::new(Code::Internal, format!("job {id} is not recorded")))?;
        change(&mut record);
        let feed = self.feed(id);
        let log = feed.as_ref().map(|feed| feed.log_change());
        let log = log.unwrap_or_default();
        self.catalog
            .put_job(record.clone(), log.clone())
            .await
            .map_err(|error| recording_failed(&error))?;
        if let Some(feed) = feed {
            feed.log_written(&log);
        }
        records.insert(id.clone(), record.clone());
        Ok(record)
    }

    /// Writes what the log of a running job has gained.
    ///
    /// # Errors
    /// A failing catalogue; it is written the next time.
    pub async fn write_log(&self, id: &JobId) -> Result<(), CatalogError> {
        let Some(feed) = self.feed(id) else {
            return Ok(());
        };
        // One writer at a time.
        let _records = self.records.lock().await;
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

    /// The job that runs.
    pub async fn running(&self) -> Option<RunningJob> {
        let records = self.records.lock().await;
        let job = records
            .values()
            .find(|job| job.state == JobState::Running)?;
        Some(RunningJob {
            id: job.id.clone(),
            kind: job.kind(),
        })
    }

    /// Whether a running job has the step of this command still before it.
    pub async fn is_pending(&self, command: &CaptureId) -> bool {
        let records = self.records.lock().await;
        let mut running = records
            .values()
            .filter(|job| job.state == JobState::Running);
        running.any(|job| {
            let captures = job.backup().filter(|b| !b.done).is_some_and(|backup| {
                let mut open = backup.open();
                open.any(|(index, _)| backup.capture_id(&job.id, index).as_ref() == Ok(command))
            });
            let restores = match &job.work {
                Work::Restore(work) => (work.done.len()..work.plan.steps.len())
                    .any(|index| is_of_step(&job.id, index, command)),
                Work::Backup(_) => false,
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

    /// Drops the oldest ended jobs beyond the number to keep.
    async fn forget_old(&self) -> Result<(), CatalogError> {
        let mut records = self.records.lock().await;
        let mut ended: Vec<(Timestamp, JobId)> = records
            .values()
            .filter(|job| job.state != JobState::Running)
            .map(|job| (job.started, job.id.clone()))
            .collect();
        ended.sort();
        let excess = ended.len().saturating_sub(self.kept);
        let old: Vec<JobId> = ended.into_iter().take(excess).map(|(_, id)| id).collect();
        if old.is_empty() {
            return Ok(());
        }
        self.catalog.remove_jobs(old.clone()).await?;
        for id in &old {
            records.remove(id);
        }
        Ok(())
    }
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
mod tests {
    use super::{JobBook, is_of_step};
    use crate::catalog::Catalog;
    use crate::fixture::{backup_record, committed};
    use crate::job::{JobRecord, JobState};
    use holdfast_types::{JobId, Timestamp};
    use std::path::Path;

    async fn book(path: &Path, kept: usize) -> JobBook {
        let catalog = Catalog::open(path, "0123")
            .or_else(|_| Catalog::create(path, "0123"))
            .unwrap();
        JobBook::load(catalog, kept).await.unwrap()
    }

    #[tokio::test]
    async fn one_job_at_a_time_and_it_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.redb");
        let record = backup_record();
        {
            let book = book(&path, 9).await;
            let feed = book.begin(record.clone()).await.unwrap();
            feed.note(Timestamp::EPOCH, "begins");
            book.write_log(&record.id).await.unwrap();
            let mut second = record.clone();
            second.id = "backup-2".parse().unwrap();
            assert_eq!(book.begin(second).await.unwrap_err().code, "job-conflict");
        }
        let book = book(&path, 9).await;
        assert_eq!(book.running().await.unwrap().id, record.id);
        let work = record.backup().unwrap();
        let command = work.capture_id(&record.id, 0).unwrap();
        assert!(book.is_pending(&command).await);
        // Its log goes on where it was.
        let feed = book.feed(&record.id).unwrap();
        feed.note(Timestamp::EPOCH, "goes on");
        assert_eq!(texts(&book, &record.id).await, ["begins", "goes on"]);
        book.end(&record.id, JobState::Failed, Timestamp::EPOCH, None)
            .await
            .unwrap();
        assert!(!book.is_pending(&command).await);
        assert_eq!(book.running().await, None);
        drop((book, feed));
        let book = self::book(&path, 9).await;
        assert_eq!(texts(&book, &record.id).await, ["begins", "goes on"]);
    }

    async fn texts(book: &JobBook, id: &JobId) -> Vec<String> {
        let rows = book.log(id).await.unwrap();
        rows.into_values().map(|line| line.text).collect()
    }

    /// As a release of before logs and steps has written it.
    #[test]
    fn an_older_record_is_read() {
        let mut record = backup_record();
        let work = record.backup_mut().unwrap();
        work.committed.insert(0, committed("books", 0, 1));
        let mut json = serde_json::to_value(&record).unwrap();
        assert!(json.as_object_mut().unwrap().remove("asked_by").is_some());
        let backup = json.pointer_mut("/work/backup").unwrap();
        assert!(backup.as_object_mut().unwrap().remove("captured").is_some());
        let shard = backup.pointer_mut("/committed/0").unwrap();
        assert!(
            shard
                .as_object_mut()
                .unwrap()
                .remove("elapsed_ms")
                .is_some()
        );
        let read: JobRecord = serde_json::from_value(json).unwrap();
        assert_eq!(read.asked_by, "");
        assert_eq!(read.work, record.work);
    }

    #[test]
    fn parts_belong_to_their_step() {
        let job = "restore-1".parse().unwrap();
        for (command, of_step) in [
            ("restore-1-r1", true),
            ("restore-1-r1-p", true),
            ("restore-1-r1-u0-2", true),
            ("restore-1-r10", false),
            ("restore-1-r10-p", false),
            ("restore-1-r0-p", false),
            ("restore-12-r1-p", false),
        ] {
            let command = command.parse().unwrap();
            assert_eq!(is_of_step(&job, 1, &command), of_step, "{command}");
        }
    }

    #[tokio::test]
    async fn only_so_many_ended_jobs_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.redb");
        let book = book(&path, 2).await;
        for i in 0..4 {
            let mut record = backup_record();
            record.id = format!("backup-{i}").parse().unwrap();
            record.started = Timestamp::from_micros(i);
            book.begin(record.clone()).await.unwrap();
            book.end(&record.id, JobState::Succeeded, Timestamp::EPOCH, None)
                .await
                .unwrap();
        }
        let ids: Vec<String> = book
            .list()
            .await
            .iter()
            .map(|job| job.id.to_string())
            .collect();
        assert_eq!(ids, ["backup-3", "backup-2"]);
        drop(book);
        assert_eq!(self::book(&path, 9).await.list().await.len(), 2);
    }
}
