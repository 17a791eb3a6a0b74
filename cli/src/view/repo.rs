//! What commands on the repository itself found.

use crate::output::View;
use holdfast_store::ProbeReport;
use serde::Serialize;

/// What a place promises, as tried.
#[derive(Debug, Serialize)]
pub(crate) struct ProbeView {
    /// The place, for messages.
    pub(crate) place: String,
    /// In the order in which they were tried.
    pub(crate) checks: Vec<ProbeCheckView>,
    /// Whether objects can be locked there; `None` if that can't be told.
    object_lock: Option<bool>,
    #[serde(skip)]
    lines: Vec<String>,
}

/// One promise.
#[derive(Debug, Serialize)]
pub(crate) struct ProbeCheckView {
    name: String,
    /// Why a repository needs it.
    why: String,
    /// How it was broken; `None` if it was kept.
    failure: Option<String>,
    elapsed_ms: u64,
}

impl ProbeView {
    pub(crate) fn new(report: &ProbeReport) -> Self {
        let checks = report.checks.iter().map(|check| ProbeCheckView {
            name: check.name.to_string(),
            why: check.why.to_string(),
            failure: check.failure.as_ref().map(ToString::to_string),
            elapsed_ms: u64::try_from(check.elapsed.as_millis()).unwrap_or(u64::MAX),
        });
        Self {
            place: report.store.clone(),
            checks: checks.collect(),
            object_lock: report.object_lock.as_ref().ok().copied(),
            lines: report.lines(),
        }
    }

    /// How many promises were broken.
    pub(crate) fn failed(&self) -> usize {
        let broken = self.checks.iter().filter(|check| check.failure.is_some());
        broken.count()
    }
}

impl View for ProbeView {
    const KIND: &'static str = "probe";

    fn text(&self) -> String {
        let mut lines = self.lines.clone();
        if self.failed() == 0 {
            lines.push(format!("{} can hold a repository", self.place));
        }
        lines.join("\n")
    }
}
