//! How schedules stand: when each runs next, how it ran last, whether it is late.

use super::some;
use super::text::{list, short_time, table};
use crate::output::View;
use holdfast_decide::policy::duration_text;
use holdfast_proto::v1;
use holdfast_types::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// `schedules`.
#[derive(Debug, Serialize)]
pub(crate) struct SchedulesView {
    /// Whether the coordinator has a policy.
    configured: bool,
    schedules: Vec<ScheduleView>,
}

#[derive(Debug, Serialize)]
struct ScheduleView {
    name: String,
    lines: Vec<String>,
    collections: Vec<String>,
    next_start: Option<Timestamp>,
    /// Why nothing is begun now.
    waits: String,
    job: Option<String>,
    last_run: Option<RunView>,
    last_success: Option<RunView>,
    failures: u32,
    /// How late it is; `None` if it is not.
    late_secs: Option<u64>,
    /// The oldest planned instant without a success.
    late_since: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct RunView {
    planned: Timestamp,
    begun: Timestamp,
    ended: Timestamp,
    job: Option<String>,
    full: bool,
    outcome: String,
    reasons: Vec<String>,
}

impl From<&v1::ListSchedulesResponse> for SchedulesView {
    fn from(wire: &v1::ListSchedulesResponse) -> Self {
        Self {
            configured: wire.configured,
            schedules: wire.schedules.iter().map(ScheduleView::from).collect(),
        }
    }
}

fn instant(micros: i64) -> Option<Timestamp> {
    (micros != 0).then(|| Timestamp::from_micros(micros))
}

impl From<&v1::ScheduleStatus> for ScheduleView {
    fn from(wire: &v1::ScheduleStatus) -> Self {
        Self {
            name: wire.name.clone(),
            lines: wire.lines.clone(),
            collections: wire.collections.clone(),
            next_start: instant(wire.next_start_us),
            waits: wire.waits.clone(),
            job: some(&wire.job_id),
            last_run: wire.last_run.as_ref().map(RunView::from),
            last_success: wire.last_success.as_ref().map(RunView::from),
            failures: wire.failures,
            late_secs: (wire.late_secs != 0).then_some(wire.late_secs),
            late_since: instant(wire.late_since_us),
        }
    }
}

impl From<&v1::ScheduleRun> for RunView {
    fn from(wire: &v1::ScheduleRun) -> Self {
        Self {
            planned: Timestamp::from_micros(wire.planned_us),
            begun: Timestamp::from_micros(wire.begun_us),
            ended: Timestamp::from_micros(wire.ended_us),
            job: some(&wire.job_id),
            full: wire.full,
            outcome: wire.outcome.clone(),
            reasons: wire.reasons.clone(),
        }
    }
}

impl ScheduleView {
    fn row(&self) -> Vec<String> {
        let state = match (self.late_secs, &self.job) {
            (Some(late), _) => format!("LATE by {}", duration_text(Duration::from_secs(late))),
            (None, Some(_)) => "running".to_owned(),
            (None, None) => "in time".to_owned(),
        };
        let last = self.last_run.as_ref().map_or_else(
            || "none yet".to_owned(),
            |run| format!("{} {}", short_time(run.ended), run.outcome),
        );
        vec![
            self.name.clone(),
            state,
            self.next_start
                .map_or_else(|| "never".to_owned(), short_time),
            last,
            list(&self.collections, "none of now"),
            self.waits.clone(),
        ]
    }
}

impl View for SchedulesView {
    const KIND: &'static str = "schedules";

    fn text(&self) -> String {
        if !self.configured {
            return "The coordinator follows no policy: nothing is captured by itself (docs/reference/policy.md).".to_owned();
        }
        let header = [
            "SCHEDULE",
            "STATE",
            "NEXT RUN",
            "LAST RUN",
            "COLLECTIONS",
            "NOW",
        ];
        table(&header, self.schedules.iter().map(ScheduleView::row))
    }
}
