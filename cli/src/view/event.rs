//! One event of a job: a JSON line with `--events`.

use super::backups::BackupView;
use super::jobs::state_word;
use super::restore::RestoreView;
use super::run::UpkeepView;
use super::{FailureLine, some};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_proto::v1::job_event::Event;
use holdfast_types::Timestamp;
use serde::Serialize;

/// An event with its job and time.
#[derive(Debug, Serialize)]
pub(crate) struct EventView {
    pub(crate) job: String,
    pub(crate) at: Timestamp,
    #[serde(flatten)]
    pub(crate) body: EventBody,
}

/// What happened, told apart by the field `event`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum EventBody {
    /// The first event of every job.
    Started { action: String, plan: Vec<String> },
    /// How far one shard has come, or the whole of a run of upkeep, which names none.
    Progress {
        node: Option<String>,
        collection: Option<String>,
        shard: Option<u32>,
        stage: String,
        bytes_done: u64,
        /// Absent while unknown.
        bytes_total: Option<u64>,
        bytes_sent: u64,
    },
    /// A step finished.
    Note { text: String },
    /// The last event of every job.
    Ended {
        state: &'static str,
        failure: Option<FailureLine>,
        backup: Option<Box<BackupView>>,
        restore: Option<Box<RestoreView>>,
        upkeep: Option<Box<UpkeepView>>,
    },
    /// An event of a newer coordinator.
    Unknown,
}

impl From<&v1::JobEvent> for EventView {
    fn from(wire: &v1::JobEvent) -> Self {
        let body = match &wire.event {
            None => EventBody::Unknown,
            Some(Event::Started(started)) => EventBody::Started {
                action: started.kind.clone(),
                plan: started.plan.clone(),
            },
            Some(Event::Progress(progress)) => progress_body(progress),
            Some(Event::Note(text)) => EventBody::Note { text: text.clone() },
            Some(Event::Ended(ended)) => EventBody::Ended {
                state: state_word(ended.state()),
                failure: ended.failure.as_ref().map(FailureLine::from),
                backup: ended.backup.as_ref().map(|b| Box::new(b.into())),
                restore: ended
                    .restore
                    .as_ref()
                    .map(|summary| Box::new(RestoreView::new(wire.job_id.clone(), summary))),
                upkeep: ended.upkeep.as_ref().map(|run| Box::new(run.into())),
            },
        };
        Self {
            job: some(&wire.job_id).unwrap_or_default(),
            at: Timestamp::from_micros(wire.at_us),
            body,
        }
    }
}

fn progress_body(wire: &v1::JobProgress) -> EventBody {
    let progress = wire.progress.clone().unwrap_or_default();
    EventBody::Progress {
        node: some(&wire.node),
        collection: some(&wire.collection),
        shard: (!wire.node.is_empty()).then_some(wire.shard_id),
        stage: progress.stage,
        bytes_done: progress.bytes_done,
        bytes_total: (progress.bytes_total > 0).then_some(progress.bytes_total),
        bytes_sent: progress.bytes_sent,
    }
}

impl View for EventView {
    const KIND: &'static str = "event";

    /// Events are shown to people as progress, never as a result.
    fn text(&self) -> String {
        String::new()
    }
}
