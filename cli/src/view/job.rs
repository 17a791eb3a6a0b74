//! One job in full.

use super::jobs::state_word;
use super::run::UpkeepView;
use super::some;
use super::text::{millis, pairs, rate, short_time, table};
use crate::failure::{Action, from_job_failure};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::{ByteCount, Timestamp};
use serde::Serialize;
use std::time::Duration;

/// `jobs show`.
#[derive(Debug, Serialize)]
pub(crate) struct JobDetailView {
    pub(crate) job: String,
    /// As in `jobs`.
    pub(crate) action: String,
    /// As in `jobs`.
    pub(crate) state: &'static str,
    pub(crate) cancel_requested: bool,
    pub(crate) asked_by: Option<String>,
    pub(crate) started: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) recovery_point: Option<String>,
    pub(crate) safety_recovery_point: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) failure: Option<JobFailureView>,
    pub(crate) totals: FiguresView,
    /// Absent unless it is upkeep, or an export. Such a job has no steps.
    pub(crate) upkeep: Option<UpkeepView>,
    pub(crate) steps: Vec<StepView>,
    pub(crate) log: Vec<LogLineView>,
    /// Lines in the middle that are not kept any more.
    pub(crate) log_dropped: u64,
}

/// Why it failed, what that puts at risk, and what to do.
#[derive(Debug, Serialize)]
pub(crate) struct JobFailureView {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) retryable: bool,
    pub(crate) at_risk: Option<String>,
    pub(crate) to_do: Option<String>,
}

/// How far something is.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FiguresView {
    pub(crate) bytes_done: u64,
    /// Absent while unknown.
    pub(crate) bytes_total: Option<u64>,
    /// Of the plan, or of the last capture.
    pub(crate) total_estimated: bool,
    pub(crate) bytes_per_sec: Option<u64>,
    pub(crate) remaining_ms: Option<u64>,
}

/// One step.
#[derive(Debug, Serialize)]
pub(crate) struct StepView {
    /// `capture`, `safety-capture`, `take-in`, `restore`, `upload` or `unknown`.
    pub(crate) action: &'static str,
    pub(crate) node: Option<String>,
    pub(crate) collection: String,
    /// Absent for a whole collection.
    pub(crate) shard: Option<u32>,
    /// `pending`, `running`, `waiting`, `done`, `failed`, `left-out`, `not-done` or `unknown`.
    pub(crate) state: &'static str,
    pub(crate) stage: Option<String>,
    #[serde(flatten)]
    pub(crate) figures: FiguresView,
    pub(crate) bytes_sent: u64,
    pub(crate) tries: u32,
    pub(crate) failures: Vec<StepFailureView>,
}

/// A try that failed.
#[derive(Debug, Serialize)]
pub(crate) struct StepFailureView {
    pub(crate) node: String,
    pub(crate) why: String,
}

/// A line of the log.
#[derive(Debug, Serialize)]
pub(crate) struct LogLineView {
    pub(crate) at: Timestamp,
    pub(crate) warning: bool,
    pub(crate) text: String,
    /// From 0 on; a gap means that lines are gone.
    pub(crate) number: u64,
}

/// What a job of this kind does, as far as it matters for what its failure puts at risk.
pub(crate) fn action_of(kind: &str) -> Action {
    match kind {
        "backup" => Action::Backup,
        "restore" => Action::Restore,
        "verify" => Action::Verify,
        "prune" => Action::Remove,
        "copy-sync" | "copy-verify" => Action::Copy,
        _ => Action::Read,
    }
}

impl From<&v1::JobDetail> for JobDetailView {
    fn from(wire: &v1::JobDetail) -> Self {
        let job = wire.job.clone().unwrap_or_default();
        let totals = wire.totals.unwrap_or_default();
        Self {
            failure: job
                .failure
                .as_ref()
                .map(|failure| JobFailureView::new(action_of(&job.kind), failure)),
            state: state_word(job.state()),
            action: job.kind,
            cancel_requested: wire.cancel_requested,
            asked_by: some(&job.asked_by),
            started: Timestamp::from_micros(job.started_us),
            ended: (job.ended_us != 0).then(|| Timestamp::from_micros(job.ended_us)),
            recovery_point: some(&job.recovery_point),
            safety_recovery_point: some(&wire.safety_recovery_point),
            note: some(&wire.note),
            totals: FiguresView {
                bytes_done: totals.bytes_done,
                bytes_total: totals.bytes_total,
                total_estimated: totals.total_estimated,
                bytes_per_sec: totals.rate,
                remaining_ms: totals.remaining_ms,
            },
            upkeep: wire.upkeep.as_ref().map(UpkeepView::from),
            steps: wire.steps.iter().map(StepView::from).collect(),
            log: wire.log.iter().map(LogLineView::from).collect(),
            log_dropped: wire.log_dropped,
            job: job.job_id,
        }
    }
}

impl JobFailureView {
    fn new(action: Action, wire: &v1::Failure) -> Self {
        let told = from_job_failure(action, Some(wire));
        Self {
            code: wire.code.clone(),
            message: wire.message.clone(),
            retryable: wire.retryable,
            at_risk: told.risk().map(str::to_owned),
            to_do: told.advice().map(str::to_owned),
        }
    }
}

impl From<&v1::JobStep> for StepView {
    fn from(wire: &v1::JobStep) -> Self {
        Self {
            action: match wire.action() {
                v1::StepAction::Unspecified => "unknown",
                v1::StepAction::Capture => "capture",
                v1::StepAction::SafetyCapture => "safety-capture",
                v1::StepAction::TakeIn => "take-in",
                v1::StepAction::Restore => "restore",
                v1::StepAction::Upload => "upload",
            },
            node: some(&wire.node),
            collection: wire.collection.clone(),
            shard: wire.shard_id,
            state: match wire.state() {
                v1::StepState::Unspecified => "unknown",
                v1::StepState::Pending => "pending",
                v1::StepState::Running => "running",
                v1::StepState::Waiting => "waiting",
                v1::StepState::Done => "done",
                v1::StepState::Failed => "failed",
                v1::StepState::LeftOut => "left-out",
                v1::StepState::NotDone => "not-done",
            },
            stage: some(&wire.stage),
            figures: FiguresView {
                bytes_done: wire.bytes_done,
                bytes_total: wire.bytes_total,
                total_estimated: wire.total_estimated,
                bytes_per_sec: wire.rate,
                remaining_ms: wire.remaining_ms,
            },
            bytes_sent: wire.bytes_sent,
            tries: wire.tries,
            failures: wire.failures.iter().map(StepFailureView::from).collect(),
        }
    }
}

impl From<&v1::StepFailure> for StepFailureView {
    fn from(wire: &v1::StepFailure) -> Self {
        Self {
            node: wire.node.clone(),
            why: wire.why.clone(),
        }
    }
}

impl From<&v1::JobLogLine> for LogLineView {
    fn from(wire: &v1::JobLogLine) -> Self {
        Self {
            at: Timestamp::from_micros(wire.at_us),
            warning: wire.warning,
            text: wire.text.clone(),
            number: wire.number,
        }
    }
}

impl FiguresView {
    fn total(&self) -> String {
        let about = if self.total_estimated { "about " } else { "" };
        let total = self.bytes_total.map(ByteCount);
        total.map_or_else(String::new, |total| format!("{about}{total}"))
    }

    fn rate(&self) -> String {
        let second = Duration::from_secs(1);
        let known = self.bytes_per_sec;
        known.map_or_else(String::new, |bytes| rate(bytes, second))
    }

    fn left(&self) -> String {
        self.remaining_ms.map_or_else(String::new, millis)
    }

    fn text(&self) -> String {
        let mut text = ByteCount(self.bytes_done).to_string();
        let (total, rate, left) = (self.total(), self.rate(), self.left());
        for (word, what) in [(" of ", total), (", ", rate)] {
            if !what.is_empty() {
                text.push_str(&format!("{word}{what}"));
            }
        }
        if !left.is_empty() {
            text.push_str(&format!(", about {left} left"));
        }
        text
    }
}

impl StepView {
    fn row(&self) -> Vec<String> {
        let under_way = matches!(self.state, "running" | "waiting");
        let state = match &self.stage {
            Some(stage) if under_way => format!("{}: {stage}", self.state),
            Some(_) | None => self.state.to_owned(),
        };
        vec![
            self.action.to_owned(),
            self.node.clone().unwrap_or_default(),
            self.collection.clone(),
            self.shard
                .map_or_else(|| "all".to_owned(), |shard| shard.to_string()),
            state,
            ByteCount(self.figures.bytes_done).to_string(),
            self.figures.total(),
            self.figures.rate(),
            self.figures.left(),
            self.tries.to_string(),
        ]
    }
}

impl JobDetailView {
    fn head(&self) -> String {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let state = match (self.ended, self.cancel_requested) {
            (Some(ended), _) => {
                let took = ended.since(self.started).as_millis();
                let took = millis(u64::try_from(took).unwrap_or(u64::MAX));
                format!("{} after {took}", self.state)
            }
            (None, true) => format!("{}, being cancelled", self.state),
            (None, false) => self.state.to_owned(),
        };
        let upkeep = self.upkeep.as_ref();
        let now = upkeep.and_then(|run| run.stage.clone()).unwrap_or_default();
        let found = upkeep.map(|run| run.found.join("; ")).unwrap_or_default();
        let failure = self.failure.as_ref();
        let told = |part: fn(&JobFailureView) -> Option<String>| {
            failure
                .and_then(part)
                .unwrap_or_default()
                .replace('\n', "; ")
        };
        pairs([
            ("Job", self.job.clone()),
            ("Action", self.action.clone()),
            ("State", state),
            ("Asked for by", text(&self.asked_by)),
            ("Started", short_time(self.started)),
            ("Ended", self.ended.map(short_time).unwrap_or_default()),
            ("Recovery point", text(&self.recovery_point)),
            ("Safety capture", text(&self.safety_recovery_point)),
            ("Note", text(&self.note)),
            (
                "Does",
                upkeep.map(|run| run.task.clone()).unwrap_or_default(),
            ),
            ("Now", now),
            ("Progress", self.progress()),
            ("Result", found),
            (
                "Failure",
                told(|f| Some(format!("{}: {}", f.code, f.message))),
            ),
            ("  at risk", told(|f| f.at_risk.clone())),
            ("  to do", told(|f| f.to_do.clone())),
        ])
    }

    fn progress(&self) -> String {
        let parts = self.upkeep.as_ref().map(UpkeepView::parts);
        match parts.filter(|parts| !parts.is_empty()) {
            Some(parts) => format!("{parts}, {}", self.totals.text()),
            None => self.totals.text(),
        }
    }

    fn log_text(&self) -> String {
        let mut lines = Vec::new();
        let mut next = 0;
        for line in &self.log {
            if line.number > next {
                let gone = line.number - next;
                lines.push(format!("({gone} lines in between are not kept any more)"));
            }
            next = line.number + 1;
            let mark = if line.warning { "!" } else { " " };
            lines.push(format!("{} {mark} {}", short_time(line.at), line.text));
        }
        lines.join("\n")
    }
}

impl View for JobDetailView {
    const KIND: &'static str = "job";

    fn text(&self) -> String {
        let header = [
            "STEP",
            "NODE",
            "COLLECTION",
            "SHARD",
            "STATE",
            "DONE",
            "OF",
            "RATE",
            "LEFT",
            "TRIES",
        ];
        let mut parts = vec![self.head()];
        if !self.steps.is_empty() {
            parts.push(table(&header, self.steps.iter().map(StepView::row)));
        }
        if !self.log.is_empty() {
            parts.push(self.log_text());
        }
        parts.join("\n\n")
    }
}
