//! A run of the coordinator's upkeep, or an export.

use super::some;
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::ByteCount;
use serde::Serialize;

/// What such a job does, how far it is, and what it brought.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct UpkeepView {
    /// As a phrase.
    pub(crate) task: String,
    /// What it does now; absent once it has ended.
    pub(crate) stage: Option<String>,
    /// The copy that it is about, or reads.
    pub(crate) copy: Option<String>,
    /// What is exported.
    pub(crate) collection: Option<String>,
    /// What its parts are; absent if it has none.
    pub(crate) unit: Option<String>,
    pub(crate) parts_done: u64,
    /// Absent while unknown.
    pub(crate) parts_total: Option<u64>,
    pub(crate) bytes_done: u64,
    /// What it found and did, in words; empty while it runs.
    pub(crate) found: Vec<String>,
}

/// `jobs watch` of such a job, and `repo verify --as-job`.
#[derive(Debug, Serialize)]
pub(crate) struct UpkeepEndView {
    pub(crate) job: String,
    #[serde(flatten)]
    pub(crate) upkeep: UpkeepView,
}

impl From<&v1::UpkeepSummary> for UpkeepView {
    fn from(wire: &v1::UpkeepSummary) -> Self {
        Self {
            task: wire.task.clone(),
            stage: some(&wire.stage),
            copy: some(&wire.copy),
            collection: some(&wire.collection),
            unit: some(&wire.unit),
            parts_done: wire.parts_done,
            parts_total: wire.parts_total,
            bytes_done: wire.bytes_done,
            found: wire.found.clone(),
        }
    }
}

impl UpkeepView {
    /// How many parts are done; empty if it has none.
    pub(super) fn parts(&self) -> String {
        match (&self.unit, self.parts_total) {
            (None, _) => String::new(),
            (Some(unit), Some(total)) => format!("{} of {total} {unit}", self.parts_done),
            (Some(unit), None) => format!("{} {unit}", self.parts_done),
        }
    }
}

impl View for UpkeepEndView {
    const KIND: &'static str = "upkeep";

    fn text(&self) -> String {
        let parts = self.upkeep.parts();
        let comma = if parts.is_empty() { "" } else { ", " };
        let bytes = ByteCount(self.upkeep.bytes_done);
        let mut lines = vec![format!("Job {}: {parts}{comma}{bytes}.", self.job)];
        lines.extend(self.upkeep.found.iter().map(|line| format!("  {line}")));
        lines.join("\n")
    }
}
