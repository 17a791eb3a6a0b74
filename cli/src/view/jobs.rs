//! Jobs of the coordinator.

use super::text::{millis, short_time, table};
use super::{FailureLine, some};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::Timestamp;
use serde::Serialize;

/// One job.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct JobView {
    pub(crate) job: String,
    /// `backup`, `restore`, `verify`, `prune`, `copy-sync`, `copy-verify`, `export`, or one of a newer coordinator.
    pub(crate) action: String,
    /// `running`, `succeeded`, `failed`, `cancelled`, `interrupted` or `unknown`.
    pub(crate) state: &'static str,
    pub(crate) started: Timestamp,
    /// Absent while it runs.
    pub(crate) ended: Option<Timestamp>,
    pub(crate) recovery_point: Option<String>,
    /// In words; absent if it is not known.
    pub(crate) asked_by: Option<String>,
    /// What a run of upkeep found or did, in words.
    pub(crate) result: Option<String>,
    pub(crate) failure: Option<FailureLine>,
}

/// `jobs list`.
#[derive(Debug, Serialize)]
pub(crate) struct JobsView {
    pub(crate) jobs: Vec<JobView>,
}

/// `jobs cancel`.
#[derive(Debug, Serialize)]
pub(crate) struct CancelView {
    pub(crate) job: String,
    /// False if the job had already ended.
    pub(crate) cancelled: bool,
}

/// The JSON contract's word for a state.
pub(super) fn state_word(state: v1::JobState) -> &'static str {
    match state {
        v1::JobState::Unspecified => "unknown",
        v1::JobState::Running => "running",
        v1::JobState::Succeeded => "succeeded",
        v1::JobState::Failed => "failed",
        v1::JobState::Cancelled => "cancelled",
        v1::JobState::Interrupted => "interrupted",
    }
}

impl From<&v1::JobSummary> for JobView {
    fn from(wire: &v1::JobSummary) -> Self {
        Self {
            job: wire.job_id.clone(),
            action: wire.kind.clone(),
            state: state_word(wire.state()),
            started: Timestamp::from_micros(wire.started_us),
            ended: (wire.ended_us != 0).then(|| Timestamp::from_micros(wire.ended_us)),
            recovery_point: some(&wire.recovery_point),
            asked_by: some(&wire.asked_by),
            result: some(&wire.result),
            failure: wire.failure.as_ref().map(FailureLine::from),
        }
    }
}

impl From<&v1::StatusResponse> for JobsView {
    fn from(wire: &v1::StatusResponse) -> Self {
        let jobs = wire.jobs.iter().map(JobView::from).collect();
        Self { jobs }
    }
}

impl JobView {
    fn row(&self) -> Vec<String> {
        let took = self
            .ended
            .map(|ended| ended.since(self.started).as_millis());
        let outcome = match (&self.failure, &self.recovery_point) {
            (Some(failure), _) => format!("{}: {}", failure.code, failure.message),
            (None, Some(point)) => point.clone(),
            (None, None) => self.result.clone().unwrap_or_default(),
        };
        vec![
            self.job.clone(),
            self.action.clone(),
            self.state.to_owned(),
            short_time(self.started),
            took.map_or_else(String::new, |ms| {
                millis(u64::try_from(ms).unwrap_or(u64::MAX))
            }),
            outcome,
        ]
    }
}

/// A table of jobs.
pub(super) fn jobs_table(jobs: &[JobView]) -> String {
    table(
        &["JOB", "ACTION", "STATE", "STARTED", "TOOK", "RESULT"],
        jobs.iter().map(JobView::row),
    )
}

impl View for JobsView {
    const KIND: &'static str = "jobs";

    fn text(&self) -> String {
        if self.jobs.is_empty() {
            return "No jobs yet.".to_owned();
        }
        jobs_table(&self.jobs)
    }
}

impl View for CancelView {
    const KIND: &'static str = "job-cancel";

    fn text(&self) -> String {
        if self.cancelled {
            format!("Job {} is being cancelled.", self.job)
        } else {
            format!("Job {} had already ended.", self.job)
        }
    }
}
