//! The coordinator at a glance.

use super::jobs::{JobView, jobs_table};
use super::text::{grouped, pairs, short_time};
use super::{CopyView, some};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::{ByteCount, Timestamp};
use serde::Serialize;

/// `status`.
#[derive(Debug, Serialize)]
pub(crate) struct StatusView {
    pub(crate) coordinator: CoordinatorView,
    pub(crate) cluster: String,
    pub(crate) repository: RepositoryView,
    pub(crate) nodes_connected: u32,
    pub(crate) nodes_known: u32,
    /// Names of nodes that are drained.
    pub(crate) nodes_drained: Vec<String>,
    pub(crate) newest_recovery_point: Option<String>,
    /// The last check of the repository that ended.
    pub(crate) last_check: Option<CheckView>,
    /// Further stores that hold the same.
    pub(crate) copies: Vec<CopyView>,
    /// Most urgent first.
    pub(crate) warnings: Vec<String>,
    pub(crate) jobs: Vec<JobView>,
}

/// A check of the repository.
#[derive(Debug, Serialize)]
pub(crate) struct CheckView {
    ended: Timestamp,
    covered: String,
    needs_attention: bool,
}

/// The program that answered.
#[derive(Debug, Serialize)]
pub(crate) struct CoordinatorView {
    pub(crate) endpoint: String,
    pub(crate) version: String,
    pub(crate) epoch: u64,
    pub(crate) now: Timestamp,
    pub(crate) started: Timestamp,
}

/// Where recovery points are kept.
#[derive(Debug, Serialize)]
pub(crate) struct RepositoryView {
    pub(crate) location: String,
    pub(crate) recovery_points: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) chunks: u64,
}

impl StatusView {
    /// What the coordinator at `endpoint` answered.
    pub(crate) fn new(endpoint: String, wire: &v1::StatusResponse) -> Self {
        Self {
            coordinator: CoordinatorView {
                endpoint,
                version: wire
                    .program
                    .as_ref()
                    .map(|p| p.version.clone())
                    .unwrap_or_default(),
                epoch: wire.epoch,
                now: Timestamp::from_micros(wire.now_us),
                started: Timestamp::from_micros(wire.started_us),
            },
            cluster: wire.cluster.clone(),
            repository: RepositoryView {
                location: wire.repository.clone(),
                recovery_points: wire.recovery_points,
                stored_bytes: wire.stored_bytes,
                chunks: wire.chunks,
            },
            nodes_connected: wire.nodes_connected,
            nodes_known: wire.nodes_known,
            nodes_drained: wire.drained.clone(),
            newest_recovery_point: some(&wire.newest_recovery_point),
            last_check: wire.last_check.as_ref().map(|check| CheckView {
                ended: Timestamp::from_micros(check.ended_us),
                covered: check.covered.clone(),
                needs_attention: check.needs_attention,
            }),
            copies: wire.copies.iter().map(CopyView::from).collect(),
            warnings: wire.warnings.clone(),
            jobs: wire.jobs.iter().map(JobView::from).collect(),
        }
    }
}

impl StatusView {
    fn nodes(&self) -> String {
        let (connected, known) = (self.nodes_connected, self.nodes_known);
        let drained = match &self.nodes_drained[..] {
            [] => String::new(),
            names => format!(", drained: {}", names.join(", ")),
        };
        format!("{connected} connected of {known} known{drained}")
    }
}

impl View for StatusView {
    const KIND: &'static str = "status";

    fn text(&self) -> String {
        let c = &self.coordinator;
        let r = &self.repository;
        let mut text = pairs([
            ("Cluster", self.cluster.clone()),
            (
                "Coordinator",
                format!("{}, version {}, epoch {}", c.endpoint, c.version, c.epoch),
            ),
            ("Running since", short_time(c.started)),
            ("Nodes", self.nodes()),
            (
                "Repository",
                format!(
                    "{}: {} in {} chunks",
                    r.location,
                    ByteCount(r.stored_bytes),
                    grouped(r.chunks)
                ),
            ),
            (
                "Recovery points",
                match &self.newest_recovery_point {
                    Some(newest) => format!("{}, newest {newest}", r.recovery_points),
                    None => "none yet: `holdfast backup create` makes one".to_owned(),
                },
            ),
            (
                "Last check",
                self.last_check.as_ref().map_or_else(String::new, |check| {
                    let verdict = if check.needs_attention {
                        "damage"
                    } else {
                        "sound"
                    };
                    let ended = short_time(check.ended);
                    format!("{ended}, {verdict}: {}", check.covered)
                }),
            ),
        ]);
        for copy in &self.copies {
            text.push_str(&format!("\nCopy {}: {}", copy.name, copy.summary()));
        }
        for warning in &self.warnings {
            text.push_str(&format!("\nWARNING: {warning}"));
        }
        if !self.jobs.is_empty() {
            text.push_str(&format!("\n\n{}", jobs_table(&self.jobs)));
        }
        text
    }
}
