//! Runs of upkeep in the book.

use super::JobBook;
use crate::fault::Fault;
use crate::job::feed::JobFeed;
use crate::job::log::LogChange;
use crate::job::{JobRecord, JobState};
use holdfast_types::{JobId, Timestamp};
use std::sync::Arc;

impl JobBook {
    /// Records a run that begins. It goes on without a record if the catalogue fails: what it does may be what frees the disk.
    pub async fn open_upkeep(&self, record: JobRecord) -> Arc<JobFeed> {
        let feed = Arc::new(JobFeed::new(record.id.clone()));
        let writing = feed.writing().await;
        let id = record.id.clone();
        self.feeds().insert(id.clone(), Arc::clone(&feed));
        let mut records = self.records.lock().await;
        records.insert(id.clone(), record.clone());
        drop(records);
        if let Err(error) = self.catalog.put_job(record, LogChange::default()).await {
            tracing::warn!(job = %id, %error, "that a run of upkeep begins could not be recorded");
        }
        drop(writing);
        feed
    }

    /// Changes what is recorded of a run, at once; the catalogue follows.
    pub async fn note_upkeep(&self, id: &JobId, change: impl FnOnce(&mut JobRecord) + Send) {
        let Some(feed) = self.feed(id) else { return };
        let _writing = feed.writing().await;
        let record = {
            let mut records = self.records.lock().await;
            let Some(record) = records.get_mut(id) else {
                return;
            };
            change(record);
            record.clone()
        };
        let log = feed.log_change();
        match self.catalog.put_job(record, log.clone()).await {
            Ok(()) => feed.log_written(&log),
            Err(error) => {
                tracing::warn!(job = %id, %error, "how a run of upkeep stands could not be recorded");
            }
        }
    }

    /// Records how a run ended, with what it found and did.
    pub async fn close_upkeep(
        &self,
        id: &JobId,
        state: JobState,
        now: Timestamp,
        failure: Option<Fault>,
        found: Vec<String>,
    ) {
        let end = |record: &mut JobRecord| {
            record.state = state;
            record.ended = Some(now);
            record.failure = failure;
            if let Some(work) = record.upkeep_mut() {
                work.found = found;
            }
        };
        self.note_upkeep(id, end).await;
        if let Err(error) = self.forget_old().await {
            tracing::warn!(%error, "old jobs could not be removed from the catalogue");
        }
    }

    /// Forgets a run that had nothing to do.
    pub async fn drop_upkeep(&self, id: &JobId) {
        let feed = self.feed(id);
        let _writing = match &feed {
            Some(feed) => Some(feed.writing().await),
            None => None,
        };
        self.records.lock().await.remove(id);
        self.forget_feed(id);
        if let Err(error) = self.catalog.remove_jobs(vec![id.clone()]).await {
            tracing::warn!(job = %id, %error, "a run of upkeep could not be removed from the catalogue");
        }
    }
}
