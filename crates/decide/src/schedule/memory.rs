//! What is remembered of a schedule: durable before anything acts on it.

use super::definition::{Kind, Schedule};
use holdfast_types::{CollectionName, JobId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Everything that is remembered of one schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleMemory {
    /// What the planned instants depended on when this was recorded.
    pub timing: String,
    /// The newest planned instant that asks for nothing more; before the first, when the schedule became known.
    pub handled: Timestamp,
    /// The newest planned instant that a success answers; before the first, when the schedule became known.
    pub satisfied: Timestamp,
    /// The run that has begun and is not concluded.
    pub open: Option<OpenRun>,
    /// The last run that was concluded.
    pub last_run: Option<LastRun>,
    /// The last one that captured everything.
    pub last_success: Option<LastRun>,
    /// Runs in a row without success.
    pub failures: u32,
    /// Successful runs since the last full one; `None` before that.
    pub since_full: Option<u32>,
    /// Planned instants that were passed over by the rule for downtime.
    pub skipped: Option<Skipped>,
    /// What the last successful run captured.
    #[serde(default)]
    pub captured: BTreeSet<CollectionName>,
}

/// A run that is not concluded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// The planned instant that it answers.
    pub planned: Timestamp,
    /// How many planned instants it answers.
    pub covers: u64,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Whether it captures in full.
    pub full: bool,
    /// When the attempt began.
    pub begun: Timestamp,
    /// How it stands.
    pub state: OpenState,
}

/// How an open run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpenState {
    /// An attempt is under way; without a job, it was about to be begun.
    Running {
        /// The job.
        job: Option<JobId>,
    },
    /// The attempt failed, and another one follows.
    Failed {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
}

/// A concluded run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// The planned instant that it answered.
    pub planned: Timestamp,
    /// When its last attempt began.
    pub begun: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The job of the last attempt, if there was one.
    pub job: Option<JobId>,
    /// Whether it captured in full.
    pub full: bool,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All that the schedule covers is captured.
    Succeeded,
    /// Something was left out.
    Incomplete {
        /// What, and why.
        left_out: Vec<String>,
    },
    /// The attempt failed.
    Failed {
        /// Why.
        reason: String,
    },
    /// An operator cancelled it; it is not tried again.
    Cancelled,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a recovery point.
    Succeeded {
        /// What it holds.
        captured: BTreeSet<CollectionName>,
        /// What of the schedule's collections it does not hold, and why.
        left_out: Vec<String>,
    },
    /// Without one.
    Failed {
        /// Why.
        reason: String,
    },
    /// On request.
    Cancelled,
    /// It never began: the process ended before its job was recorded.
    NotBegun,
}

/// Planned instants that were passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The newest of them.
    pub planned: Timestamp,
    /// How many.
    pub count: u64,
    /// When that was decided.
    pub at: Timestamp,
}

/// First pause after a failed attempt; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_mins(1);
/// Longest pause after a failed attempt.
const LONGEST_PAUSE: Duration = Duration::from_mins(30);

/// The pause after the failure of this attempt.
#[must_use]
pub fn backoff(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(10);
    (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
}

impl ScheduleMemory {
    /// Of a schedule that becomes known now: its first run is the next planned one.
    #[must_use]
    pub fn new(schedule: &Schedule, now: Timestamp) -> Self {
        Self {
            timing: schedule.timing_text(),
            handled: now,
            satisfied: now,
            open: None,
            last_run: None,
            last_success: None,
            failures: 0,
            since_full: None,
            skipped: None,
            captured: BTreeSet::new(),
        }
    }

    /// Takes another timing into account: planned instants count from now on, so that a changed expression does not run
    /// at once for instants it never had. After failures, what is late stays late. Returns whether anything changed.
    pub fn follow(&mut self, schedule: &Schedule, now: Timestamp) -> bool {
        let timing = schedule.timing_text();
        if timing == self.timing {
            return false;
        }
        self.timing = timing;
        self.handled = now;
        if self.failures == 0 {
            self.satisfied = now;
        }
        if let Some(OpenRun {
            state: OpenState::Failed { .. },
            ..
        }) = self.open
        {
            self.open = None;
        }
        true
    }

    /// Whether the next run is a full one.
    #[must_use]
    pub fn full_is_due(&self, kind: Kind) -> bool {
        match kind {
            Kind::Incremental => false,
            Kind::Full => true,
            Kind::FullEvery(every) => self
                .since_full
                .is_none_or(|runs| runs.saturating_add(1) >= every.get()),
        }
    }

    /// An attempt is about to begin. Record this before anything else is done.
    pub fn begin(
        &mut self,
        planned: Timestamp,
        covers: u64,
        attempt: u32,
        full: bool,
        now: Timestamp,
    ) {
        self.handled = planned;
        self.open = Some(OpenRun {
            planned,
            covers,
            attempt,
            full,
            begun: now,
            state: OpenState::Running { job: None },
        });
    }

    /// Its job is recorded.
    pub fn began(&mut self, id: JobId) {
        if let Some(open) = &mut self.open {
            open.state = OpenState::Running { job: Some(id) };
        }
    }

    /// Planned instants are passed over.
    pub fn skip(&mut self, planned: Timestamp, count: u64, now: Timestamp) {
        self.handled = planned;
        self.open = None;
        self.skipped = Some(Skipped {
            planned,
            count,
            at: now,
        });
    }

    /// The captures that are there answer planned instants: as a success that captured what they hold.
    pub fn answer(&mut self, planned: Timestamp, now: Timestamp) {
        let run = LastRun {
            planned,
            begun: now,
            ended: now,
            job: None,
            full: false,
            outcome: Outcome::Succeeded,
        };
        self.handled = planned;
        self.open = None;
        self.satisfied = self.satisfied.max(planned);
        self.failures = 0;
        self.last_run = Some(run.clone());
        self.last_success = Some(run);
    }

    /// The attempt under way has ended.
    pub fn end(&mut self, ended: Ended, now: Timestamp) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let job = match &open.state {
            OpenState::Running { job } => job.clone(),
            OpenState::Failed { .. } => None,
        };
        let last = |outcome| LastRun {
            planned: open.planned,
            begun: open.begun,
            ended: now,
            job: job.clone(),
            full: open.full,
            outcome,
        };
        match ended {
            Ended::Succeeded { captured, left_out } if left_out.is_empty() => {
                let run = last(Outcome::Succeeded);
                self.last_success = Some(run.clone());
                self.last_run = Some(run);
                self.satisfied = self.satisfied.max(open.planned);
                self.failures = 0;
                self.captured = captured;
                self.since_full = match (open.full, self.since_full) {
                    (true, _) => Some(0),
                    (false, runs) => runs.map(|runs| runs.saturating_add(1)),
                };
            }
            // What can be reached is captured; the rest comes with the next planned instant.
            Ended::Succeeded { left_out, .. } => {
                self.last_run = Some(last(Outcome::Incomplete { left_out }));
                self.failures = self.failures.saturating_add(1);
            }
            Ended::Failed { reason } => {
                let outcome = Outcome::Failed {
                    reason: reason.clone(),
                };
                self.last_run = Some(last(outcome));
                self.failures = self.failures.saturating_add(1);
                open.state = OpenState::Failed { at: now, reason };
                self.open = Some(open);
            }
            Ended::Cancelled => {
                self.last_run = Some(last(Outcome::Cancelled));
                self.failures = self.failures.saturating_add(1);
            }
            Ended::NotBegun => {
                open.attempt = open.attempt.saturating_sub(1);
                open.state = OpenState::Failed {
                    at: open.begun,
                    reason: "the coordinator ended before the job had begun".to_owned(),
                };
                self.open = Some(open);
            }
        }
    }
}
