//! Which recovery points stay and which go.

use super::text::{list, pairs, short_time, table};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::{ByteCount, Timestamp};
use serde::Serialize;

/// The mark of a recovery point that will be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RemovalView {
    recovery_point: String,
    since: Timestamp,
    /// From then on it may be gone at any moment.
    pub(crate) until: Timestamp,
    reasons: Vec<String>,
    by: String,
}

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
    garbage: GarbageView,
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

/// What became of one recovery point.
#[derive(Debug, Serialize)]
pub(crate) struct MarkedView {
    recovery_point: String,
    /// Whether anything was changed.
    changed: bool,
    removal: Option<RemovalView>,
    #[serde(skip)]
    said: String,
}

/// One legal hold.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HoldView {
    hold: String,
    reason: String,
    owner: String,
    placed: Timestamp,
    expires: Option<Timestamp>,
    active: bool,
    recovery_points: Vec<String>,
    collections: Vec<String>,
    /// Recovery points that it is on now.
    covers: Vec<String>,
    /// Removal marks that it took back.
    undeleted: Vec<String>,
    #[serde(skip)]
    said: &'static str,
}

/// `hold list`.
#[derive(Debug, Serialize)]
pub(crate) struct HoldsView {
    holds: Vec<HoldView>,
}

impl From<&v1::RemovalMark> for RemovalView {
    fn from(wire: &v1::RemovalMark) -> Self {
        Self {
            recovery_point: wire.recovery_point.clone(),
            since: Timestamp::from_micros(wire.since_us),
            until: Timestamp::from_micros(wire.until_us),
            reasons: wire.reasons.clone(),
            by: wire.by.clone(),
        }
    }
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
            garbage: GarbageView::from(&wire.garbage.unwrap_or_default()),
        }
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
        let (done, waits) = if self.confirmed {
            ("Deleted", "Marked, waiting")
        } else {
            ("Would be deleted", "Marked, waiting")
        };
        let mut lines = vec![
            (done, list(&self.deleted, "no recovery point")),
            ("Kept after all", list(&self.spared, "none")),
            ("Data kept", garbage.kept.text()),
            ("Data no longer needed", garbage.dead.text()),
            ("Data rewritten", garbage.rewritten.text()),
            (waits, garbage.waiting.text()),
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

impl MarkedView {
    pub(crate) fn deleted(recovery_point: String, mark: Option<&v1::RemovalMark>) -> Self {
        let removal = mark.map(RemovalView::from);
        let said = match &removal {
            Some(mark) => format!(
                "is marked for removal; until {}: holdfast backup undelete {recovery_point}",
                short_time(mark.until)
            ),
            None => "can be removed: repeat it with --confirm".to_owned(),
        };
        Self {
            recovery_point,
            changed: removal.is_some(),
            removal,
            said,
        }
    }

    pub(crate) fn said(recovery_point: String, changed: bool, said: &str) -> Self {
        Self {
            recovery_point,
            changed,
            removal: None,
            said: said.to_owned(),
        }
    }
}

impl View for MarkedView {
    const KIND: &'static str = "backup-mark";

    fn text(&self) -> String {
        format!("{} {}", self.recovery_point, self.said)
    }
}

impl From<&v1::Hold> for HoldView {
    fn from(wire: &v1::Hold) -> Self {
        let expires = wire.expires_us;
        Self {
            hold: wire.id.clone(),
            reason: wire.reason.clone(),
            owner: wire.owner.clone(),
            placed: Timestamp::from_micros(wire.placed_us),
            expires: (expires != 0).then(|| Timestamp::from_micros(expires)),
            active: wire.active,
            recovery_points: wire.recovery_points.clone(),
            collections: wire.collections.clone(),
            covers: wire.covers.clone(),
            undeleted: Vec::new(),
            said: "",
        }
    }
}

impl HoldView {
    pub(crate) fn placed(wire: &v1::Hold, undeleted: Vec<String>) -> Self {
        Self {
            undeleted,
            said: "is placed",
            ..Self::from(wire)
        }
    }

    pub(crate) fn released(wire: &v1::Hold) -> Self {
        Self {
            said: "is released: what it covered is judged by the rules again",
            ..Self::from(wire)
        }
    }

    pub(crate) fn to_be_released(wire: &v1::Hold) -> Self {
        Self {
            said: "would be released: repeat it with --confirm",
            ..Self::from(wire)
        }
    }

    fn until(&self) -> String {
        let end = self.expires.map(short_time);
        end.unwrap_or_else(|| "released".to_owned())
    }

    fn on(&self) -> String {
        let all = self.recovery_points.iter().chain(&self.collections);
        all.cloned().collect::<Vec<_>>().join(", ")
    }
}

impl View for HoldView {
    const KIND: &'static str = "hold";

    fn text(&self) -> String {
        let mut text = format!("Hold {} {}", self.hold, self.said);
        if !self.undeleted.is_empty() {
            text.push_str(&format!("\nUndeleted: {}", self.undeleted.join(", ")));
        }
        let lines = pairs([
            ("On", self.on()),
            ("Owner", self.owner.clone()),
            ("Reason", self.reason.clone()),
            ("Until", self.until()),
        ]);
        format!("{text}\n{lines}")
    }
}

impl View for HoldsView {
    const KIND: &'static str = "holds";

    fn text(&self) -> String {
        if self.holds.is_empty() {
            return "No legal holds.".to_owned();
        }
        let rows = self.holds.iter().map(|hold| {
            vec![
                hold.hold.clone(),
                if hold.active { "active" } else { "ended" }.to_owned(),
                hold.until(),
                hold.owner.clone(),
                hold.on(),
                hold.covers.len().to_string(),
                hold.reason.clone(),
            ]
        });
        table(
            &["HOLD", "STATE", "UNTIL", "OWNER", "ON", "POINTS", "REASON"],
            rows,
        )
    }
}

impl From<&v1::ListHoldsResponse> for HoldsView {
    fn from(wire: &v1::ListHoldsResponse) -> Self {
        Self {
            holds: wire.holds.iter().map(HoldView::from).collect(),
        }
    }
}
