//! What pruning does: recovery points, archived logs and packs that go.

use super::removal::RemovalView;
use super::text::{list, pairs, short_time, table};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::{ByteCount, Timestamp};
use serde::Serialize;

/// `backup prune`.
#[derive(Debug, Serialize)]
pub(crate) struct PruneView {
    /// The copy that it is about; null for the repository itself.
    copy: Option<String>,
    /// False in a dry run.
    confirmed: bool,
    /// Whether there are rules.
    configured: bool,
    /// Newest first; points that were marked before are not among them.
    verdicts: Vec<VerdictView>,
    /// Marked earlier, deleted now (or due, in a dry run).
    deleted: Vec<String>,
    /// Marked earlier, and kept after all.
    spared: Vec<String>,
    /// Marked earlier, and due, but the store refuses to delete them.
    pub(crate) refused: Vec<RefusedView>,
    /// Marked, and waiting.
    waiting: Vec<RemovalView>,
    /// Archived logs of which entries are deleted now (or would be).
    logs: Vec<LogRemovalView>,
    garbage: GarbageView,
}

/// Parts of an archived log, the oldest.
#[derive(Debug, Serialize)]
struct LogRemovalView {
    /// Null if it can't be told.
    collection: Option<String>,
    shard: u32,
    timeline: String,
    parts: u64,
    of_parts: u64,
    bytes: u64,
    /// Parts that the store refuses to delete.
    refused: u64,
    reason: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct RefusedView {
    recovery_point: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct VerdictView {
    recovery_point: String,
    committed: Timestamp,
    collections: Vec<String>,
    keep: bool,
    reasons: Vec<String>,
}

#[derive(Debug, Serialize)]
struct GarbageView {
    kept: PackSumView,
    dead: PackSumView,
    rewritten: PackSumView,
    deleted: PackSumView,
    spared: PackSumView,
    waiting: PackSumView,
    /// When the first of those that wait may go.
    next_deletion: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct PackSumView {
    packs: u64,
    bytes: u64,
}

impl PruneView {
    pub(crate) fn new(wire: &v1::PruneReport, confirmed: bool) -> Self {
        let verdicts = wire.verdicts.iter().map(|verdict| VerdictView {
            recovery_point: verdict.recovery_point.clone(),
            committed: Timestamp::from_micros(verdict.committed_us),
            collections: verdict.collections.clone(),
            keep: verdict.keep,
            reasons: verdict.reasons.clone(),
        });
        Self {
            copy: None,
            confirmed,
            configured: wire.configured,
            verdicts: verdicts.collect(),
            deleted: wire.swept.clone(),
            spared: wire.spared.clone(),
            refused: wire.refused.iter().map(RefusedView::from).collect(),
            waiting: wire.waiting.iter().map(RemovalView::from).collect(),
            logs: wire.logs.iter().map(LogRemovalView::from).collect(),
            garbage: GarbageView::from(&wire.garbage.unwrap_or_default()),
        }
    }
}

impl From<&v1::LogRemoval> for LogRemovalView {
    fn from(wire: &v1::LogRemoval) -> Self {
        let known = !wire.collection.is_empty();
        Self {
            collection: known.then(|| wire.collection.clone()),
            shard: wire.shard,
            timeline: wire.timeline.clone(),
            parts: wire.parts,
            of_parts: wire.of_parts,
            bytes: wire.bytes,
            refused: wire.refused,
            reason: wire.reason.clone(),
        }
    }
}

impl LogRemovalView {
    fn row(&self) -> Vec<String> {
        let name = self.collection.as_deref().unwrap_or("?");
        let parts = format!("{} of {} parts", self.parts, self.of_parts);
        let because = match self.refused {
            0 => self.reason.clone(),
            refused => format!("{}; the store refuses to delete {refused}", self.reason),
        };
        vec![
            format!("{name}/{}", self.shard),
            parts,
            ByteCount(self.bytes).to_string(),
            because,
        ]
    }
}

impl From<&v1::RefusedRemoval> for RefusedView {
    fn from(wire: &v1::RefusedRemoval) -> Self {
        Self {
            recovery_point: wire.recovery_point.clone(),
            reason: wire.reason.clone(),
        }
    }
}

impl PruneView {
    /// What became of the points of a copy.
    pub(crate) fn of_copy(name: String, wire: &v1::PruneReport, confirmed: bool) -> Self {
        Self {
            copy: Some(name),
            ..Self::new(wire, confirmed)
        }
    }
}

impl From<&v1::GarbageSummary> for GarbageView {
    fn from(wire: &v1::GarbageSummary) -> Self {
        let sum = |sum: Option<v1::PackSum>| {
            let v1::PackSum { packs, bytes } = sum.unwrap_or_default();
            PackSumView { packs, bytes }
        };
        let next = wire.next_sweep_us;
        Self {
            kept: sum(wire.kept),
            dead: sum(wire.dead),
            rewritten: sum(wire.rewritten),
            deleted: sum(wire.swept),
            spared: sum(wire.spared),
            waiting: sum(wire.waiting),
            next_deletion: (next != 0).then(|| Timestamp::from_micros(next)),
        }
    }
}

impl View for PruneView {
    const KIND: &'static str = "prune";

    fn text(&self) -> String {
        let mut parts = Vec::new();
        if !self.configured {
            parts.push(
                "No rules are configured ([retention] in the coordinator's configuration): nothing is marked by rule."
                    .to_owned(),
            );
        }
        if !self.verdicts.is_empty() {
            let rows = self.verdicts.iter().map(|verdict| {
                vec![
                    verdict.recovery_point.clone(),
                    short_time(verdict.committed),
                    if verdict.keep { "keep" } else { "REMOVE" }.to_owned(),
                    list(&verdict.collections, "-"),
                    verdict.reasons.join("; "),
                ]
            });
            let header = [
                "RECOVERY POINT",
                "COMMITTED",
                "VERDICT",
                "COLLECTIONS",
                "BECAUSE",
            ];
            parts.push(table(&header, rows));
        }
        if !self.refused.is_empty() {
            let rows = self.refused.iter().map(|refused| {
                let RefusedView {
                    recovery_point,
                    reason,
                } = refused;
                vec![recovery_point.clone(), reason.clone()]
            });
            parts.push(table(&["NOT DELETED", "BECAUSE"], rows));
        }
        if !self.waiting.is_empty() {
            let rows = self.waiting.iter().map(|mark| {
                let (point, until) = (mark.recovery_point.clone(), short_time(mark.until));
                vec![point, until, mark.by.clone(), mark.reasons.join("; ")]
            });
            let header = ["MARKED", "UNDELETE UNTIL", "BY", "BECAUSE"];
            parts.push(table(&header, rows));
        }
        if !self.logs.is_empty() {
            let header = ["ARCHIVED LOG", "DELETED", "BYTES", "WHY THE REST STAYS"];
            let rows = self.logs.iter().map(LogRemovalView::row);
            parts.push(table(&header, rows));
        }
        parts.push(pairs(self.summary()));
        if !self.confirmed {
            let command = match &self.copy {
                None => "backup prune".to_owned(),
                Some(name) => format!("repo copy prune {name}"),
            };
            parts.push(format!(
                "Nothing was changed. To carry it out: holdfast {command} --confirm"
            ));
        }
        parts.join("\n\n")
    }
}

impl PruneView {
    fn summary(&self) -> Vec<(&'static str, String)> {
        let garbage = &self.garbage;
        let (marked, done) = if self.confirmed {
            ("Marked now", "Deleted")
        } else {
            ("Would be marked", "Would be deleted")
        };
        let marks = self.verdicts.iter().filter(|verdict| !verdict.keep).count();
        let mut lines = vec![
            (
                marked,
                format!("{marks} of {} recovery points", self.verdicts.len()),
            ),
            (done, list(&self.deleted, "no recovery point")),
            ("Kept after all", list(&self.spared, "none")),
            ("Data kept", garbage.kept.text()),
            ("Data no longer needed", garbage.dead.text()),
            ("Data rewritten", garbage.rewritten.text()),
            ("Marked, waiting", garbage.waiting.text()),
            ("Space freed", garbage.deleted.text()),
        ];
        if let Some(next) = garbage.next_deletion {
            lines.push(("Next may go", short_time(next)));
        }
        lines
    }
}

impl PackSumView {
    fn text(self) -> String {
        format!("{} in {} packs", ByteCount(self.bytes), self.packs)
    }
}
