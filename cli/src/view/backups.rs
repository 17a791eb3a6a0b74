//! Recovery points.

use super::text::{grouped, list, millis, pairs, short_time, table};
use super::{RemovalView, some};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::{ByteCount, Timestamp};
use serde::Serialize;
use serde_json::Value;

/// One recovery point in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BackupView {
    pub(crate) recovery_point: String,
    pub(crate) begun: Timestamp,
    pub(crate) committed: Timestamp,
    pub(crate) collections: Vec<String>,
    /// Bytes of all captured files.
    pub(crate) logical_bytes: u64,
    /// Bytes that agents had to send.
    pub(crate) sent_bytes: u64,
    /// Bytes that it added to the repository.
    pub(crate) stored_bytes: u64,
    /// Exact number of points, if writes were quiet during the capture.
    pub(crate) points: Option<u64>,
    pub(crate) note: Option<String>,
    pub(crate) elapsed_ms: u64,
    /// The recovery point that was about to be restored, if this is the capture of what that replaced.
    pub(crate) safety_for: Option<String>,
    /// Words that retention rules may name.
    pub(crate) tags: Vec<String>,
    /// Why it is pinned.
    pub(crate) pin: Option<String>,
    /// Active legal holds on it.
    pub(crate) holds: Vec<String>,
    /// Set if it will be removed.
    pub(crate) removal: Option<RemovalView>,
    /// Whether it was made of a snapshot file.
    pub(crate) imported: bool,
    /// What came or went while it was captured and is not in it.
    pub(crate) left_out: Vec<String>,
    /// What is known of its collections; one that is not named has not been tried.
    pub(crate) proofs: Vec<ProofView>,
    /// Files beside Qdrant's own that it holds or lacks.
    pub(crate) extras: Vec<ExtraMarkView>,
}

/// An extra of a recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ExtraMarkView {
    pub(crate) node: String,
    pub(crate) name: String,
    /// Why it is not there.
    pub(crate) missing: Option<String>,
}

/// Whether a collection of a recovery point is known to restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ProofView {
    pub(crate) collection: String,
    /// `proven`, `failed` or `damaged`; `unknown` from a newer coordinator.
    pub(crate) state: &'static str,
    /// What was wrong, if a restore failed.
    pub(crate) why: Option<String>,
    /// When a restore told so.
    pub(crate) at: Option<Timestamp>,
    /// Which restore told so.
    pub(crate) job: Option<String>,
}

/// `backup create --dry-run`.
#[derive(Debug, Serialize)]
pub(crate) struct BackupPlanView {
    /// Each node takes its own one after the other, in this order.
    pub(crate) captures: Vec<PlannedCaptureView>,
    /// The files beside Qdrant's own: each node's before its captures.
    pub(crate) extras: Vec<PlannedExtraView>,
    /// How much they may take from the database.
    pub(crate) limits: LimitsView,
    pub(crate) notes: Vec<String>,
}

/// One extra of a plan.
#[derive(Debug, Serialize)]
pub(crate) struct PlannedExtraView {
    pub(crate) node: String,
    pub(crate) name: String,
    /// Whether there is no recovery point without it.
    pub(crate) required: bool,
    /// Why it can't be captured.
    pub(crate) absent: Option<String>,
}

/// Bounds of a backup; null where there is none.
#[derive(Debug, Default, Serialize)]
pub(crate) struct LimitsView {
    pub(crate) max_nodes: Option<u32>,
    pub(crate) max_mib_per_sec: Option<u32>,
    pub(crate) max_query_latency_ms: Option<u32>,
    /// Null also where it is the usual half hour.
    pub(crate) max_delay_ms: Option<u64>,
}

/// One capture of a plan.
#[derive(Debug, Serialize)]
pub(crate) struct PlannedCaptureView {
    pub(crate) collection: String,
    pub(crate) shard: u32,
    pub(crate) node: String,
    /// The node that it was captured from the last time, if that is another one.
    pub(crate) left_node: Option<String>,
    pub(crate) left_because: Option<String>,
}

/// `backup list`.
#[derive(Debug, Serialize)]
pub(crate) struct BackupsView {
    /// Newest first.
    pub(crate) backups: Vec<BackupView>,
}

/// `backup show`.
#[derive(Debug, Serialize)]
pub(crate) struct BackupDetailView {
    pub(crate) backup: BackupView,
    /// docs/format/manifest.md
    pub(crate) manifest: Value,
}

/// `backup create`.
#[derive(Debug, Serialize)]
pub(crate) struct BackupResultView {
    pub(crate) job: String,
    pub(crate) backup: BackupView,
}

impl From<&v1::BackupSummary> for BackupView {
    fn from(wire: &v1::BackupSummary) -> Self {
        Self {
            recovery_point: wire.recovery_point.clone(),
            begun: Timestamp::from_micros(wire.begun_us),
            committed: Timestamp::from_micros(wire.committed_us),
            collections: wire.collections.clone(),
            logical_bytes: wire.logical_bytes,
            sent_bytes: wire.sent_bytes,
            stored_bytes: wire.stored_bytes,
            points: wire.points,
            note: some(&wire.note),
            elapsed_ms: wire.elapsed_ms,
            safety_for: some(&wire.safety_for),
            tags: wire.tags.clone(),
            pin: some(&wire.pin),
            holds: wire.holds.clone(),
            removal: wire.removal.as_ref().map(RemovalView::from),
            imported: wire.imported,
            left_out: wire.left_out.clone(),
            proofs: wire.proofs.iter().map(ProofView::from).collect(),
            extras: wire.extras.iter().map(ExtraMarkView::from).collect(),
        }
    }
}

impl From<&v1::ExtraSummary> for ExtraMarkView {
    fn from(wire: &v1::ExtraSummary) -> Self {
        Self {
            node: wire.node.clone(),
            name: wire.name.clone(),
            missing: some(&wire.missing),
        }
    }
}

impl From<&v1::CollectionProof> for ProofView {
    fn from(wire: &v1::CollectionProof) -> Self {
        use v1::collection_proof::State;
        Self {
            collection: wire.collection.clone(),
            state: match wire.state() {
                State::Proven => "proven",
                State::Failed => "failed",
                State::Damaged => "damaged",
                State::Unspecified => "unknown",
            },
            why: some(&wire.why),
            at: (wire.at_us != 0).then(|| Timestamp::from_micros(wire.at_us)),
            job: some(&wire.job),
        }
    }
}

impl From<&v1::BackupPlan> for BackupPlanView {
    fn from(wire: &v1::BackupPlan) -> Self {
        let capture = |wire: &v1::PlannedCapture| PlannedCaptureView {
            collection: wire.collection.clone(),
            shard: wire.shard_id,
            node: wire.node.clone(),
            left_node: some(&wire.left_node),
            left_because: some(&wire.left_because),
        };
        let extra = |wire: &v1::PlannedExtra| PlannedExtraView {
            node: wire.node.clone(),
            name: wire.name.clone(),
            required: wire.required,
            absent: some(&wire.absent),
        };
        Self {
            captures: wire.captures.iter().map(capture).collect(),
            extras: wire.extras.iter().map(extra).collect(),
            limits: wire
                .limits
                .as_ref()
                .map(LimitsView::from)
                .unwrap_or_default(),
            notes: wire.notes.clone(),
        }
    }
}

impl From<&v1::BackupLimits> for LimitsView {
    fn from(wire: &v1::BackupLimits) -> Self {
        let v1::BackupLimits {
            max_nodes,
            max_mib_per_sec,
            max_query_latency_ms,
            max_delay_ms,
        } = *wire;
        Self {
            max_nodes: Some(max_nodes).filter(|nodes| *nodes != 0),
            max_mib_per_sec: Some(max_mib_per_sec).filter(|rate| *rate != 0),
            max_query_latency_ms: Some(max_query_latency_ms).filter(|ms| *ms != 0),
            max_delay_ms: Some(max_delay_ms).filter(|ms| *ms != 0),
        }
    }
}

impl LimitsView {
    /// In words; empty if there is none.
    fn text(&self) -> String {
        let Self {
            max_nodes,
            max_mib_per_sec,
            max_query_latency_ms,
            max_delay_ms,
        } = self;
        let plural = |count: u32| if count == 1 { "" } else { "s" };
        let nodes = max_nodes.map(|n| format!("at most {n} node{} at once", plural(n)));
        let rate =
            max_mib_per_sec.map(|rate| format!("at most {rate} MiB/s of all nodes together"));
        let gentle = max_query_latency_ms.map(|limit| {
            let delay = max_delay_ms.map_or_else(|| "30 minutes".to_owned(), millis);
            format!(
                "reads less while searches take more than {limit} ms, for {delay} in all at most"
            )
        });
        let all: Vec<String> = nodes.into_iter().chain(rate).chain(gentle).collect();
        all.join("; ")
    }
}

impl View for BackupPlanView {
    const KIND: &'static str = "backup-plan";

    fn text(&self) -> String {
        let row = |capture: &PlannedCaptureView| {
            let left = capture
                .left_node
                .as_ref()
                .zip(capture.left_because.as_ref());
            vec![
                capture.collection.clone(),
                capture.shard.to_string(),
                capture.node.clone(),
                left.map_or_else(String::new, |(node, why)| {
                    format!("not {node} as before: {why}")
                }),
            ]
        };
        let header = ["COLLECTION", "SHARD", "NODE", "WHY"];
        let mut text = table(&header, self.captures.iter().map(row));
        if !self.extras.is_empty() {
            let rows = self.extras.iter().map(|extra| {
                let why = match (&extra.absent, extra.required) {
                    (Some(why), _) => format!("left out: {why}"),
                    (None, true) => "required".to_owned(),
                    (None, false) => String::new(),
                };
                vec![extra.name.clone(), extra.node.clone(), why]
            });
            text.push_str(&format!("\n\n{}", table(&["EXTRA", "NODE", "WHY"], rows)));
        }
        let limits = self.limits.text();
        if !limits.is_empty() {
            text.push_str(&format!("\nLIMITS: {limits}"));
        }
        for note in &self.notes {
            text.push_str(&format!("\nNOTE: {note}"));
        }
        text
    }
}

impl From<&v1::ListBackupsResponse> for BackupsView {
    fn from(wire: &v1::ListBackupsResponse) -> Self {
        let backups = wire.backups.iter().map(BackupView::from).collect();
        Self { backups }
    }
}

impl BackupView {
    fn row(&self) -> Vec<String> {
        vec![
            self.recovery_point.clone(),
            short_time(self.committed),
            list(&self.collections, "-"),
            self.points.map_or_else(|| "-".to_owned(), grouped),
            ByteCount(self.logical_bytes).to_string(),
            ByteCount(self.sent_bytes).to_string(),
            ByteCount(self.stored_bytes).to_string(),
            millis(self.elapsed_ms),
            self.remark(),
        ]
    }

    /// What is said of it, the most urgent first.
    fn remark(&self) -> String {
        let mut said = Vec::new();
        for (state, words) in [("damaged", "DAMAGED"), ("failed", "FAILED ITS PROOF")] {
            let names = self.known_as(state);
            if !names.is_empty() {
                said.push(format!("{words}: {}", names.join(", ")));
            }
        }
        if !self.collections.is_empty() && self.known_as("proven").len() == self.collections.len() {
            said.push("proven".to_owned());
        }
        if let Some(mark) = &self.removal {
            said.push(format!("to be removed {}", short_time(mark.until)));
        }
        if !self.holds.is_empty() {
            said.push(format!("held: {}", self.holds.join(", ")));
        }
        said.extend(self.pin.as_ref().map(|why| format!("pinned: {why}")));
        if !self.tags.is_empty() {
            said.push(format!("[{}]", self.tags.join(" ")));
        }
        said.extend(self.note.clone());
        said.join("; ")
    }

    fn known_as(&self, state: &str) -> Vec<&str> {
        let such = self.proofs.iter().filter(|proof| proof.state == state);
        such.map(|proof| proof.collection.as_str()).collect()
    }

    fn lines(&self) -> String {
        let points = match self.points {
            Some(n) => format!("{} (exact)", grouped(n)),
            None if self.imported => {
                "not known: the file that was imported does not say".to_owned()
            }
            None => "not known exactly: data was being written during the capture".to_owned(),
        };
        let mut text = pairs([
            ("Recovery point", self.recovery_point.clone()),
            ("Begun", short_time(self.begun)),
            ("Committed", short_time(self.committed)),
            ("Collections", list(&self.collections, "none")),
            ("Points", points),
            (
                "Captured",
                format!("{} of files, holes included", ByteCount(self.logical_bytes)),
            ),
            ("Sent", ByteCount(self.sent_bytes).to_string()),
            ("Stored", ByteCount(self.stored_bytes).to_string()),
            ("Took", millis(self.elapsed_ms)),
            ("Note", self.remark()),
        ]);
        for what in &self.left_out {
            text.push_str(&format!("\nNot in this point: {what}"));
        }
        let (lacking, held): (Vec<_>, Vec<_>) = self
            .extras
            .iter()
            .partition(|extra| extra.missing.is_some());
        if !held.is_empty() {
            let names: Vec<String> = held.iter().map(|extra| extra.words()).collect();
            text.push_str(&format!(
                "\nExtra files: {} (`holdfast backup files {}`)",
                names.join(", "),
                self.recovery_point
            ));
        }
        for extra in lacking {
            let why = extra.missing.as_deref().unwrap_or_default();
            text.push_str(&format!(
                "\nNot in this point: extra {}: {why}",
                extra.words()
            ));
        }
        for proof in &self.proofs {
            text.push_str(&format!("\nProof of {}", proof.sentence()));
        }
        text
    }
}

impl ExtraMarkView {
    fn words(&self) -> String {
        format!("{} of {}", self.name, self.node)
    }
}

impl ProofView {
    fn sentence(&self) -> String {
        let name = &self.collection;
        let by = self.at.zip(self.job.as_ref());
        let by = by.map_or_else(String::new, |(at, job)| {
            format!(" by {job}, {}", short_time(at))
        });
        match self.state {
            "proven" => format!("{name}: restored whole{by}"),
            "failed" => {
                let why = self.why.as_deref().unwrap_or("something else came back");
                format!("{name}: FAILED{by}: {why}")
            }
            "damaged" => format!(
                "{name}: DAMAGED, as the last check of this store found (`holdfast repo heal` mends the repository from a copy; a copy is mended from the repository)"
            ),
            other => {
                format!("{name}: {other} to this program, which is older than the coordinator")
            }
        }
    }
}

impl View for BackupsView {
    const KIND: &'static str = "backups";

    fn text(&self) -> String {
        if self.backups.is_empty() {
            return "No recovery points: `holdfast backup create` makes one.".to_owned();
        }
        table(
            &[
                "RECOVERY POINT",
                "COMMITTED",
                "COLLECTIONS",
                "POINTS",
                "CAPTURED",
                "SENT",
                "STORED",
                "TOOK",
                "NOTE",
            ],
            self.backups.iter().map(BackupView::row),
        )
    }
}

impl View for BackupResultView {
    const KIND: &'static str = "backup-create";

    fn text(&self) -> String {
        self.backup.lines()
    }
}

impl View for BackupDetailView {
    const KIND: &'static str = "backup-show";

    fn text(&self) -> String {
        let mut text = self.backup.lines();
        let entries = self.manifest.get("collections").and_then(Value::as_array);
        let rows: Vec<Vec<String>> = entries.into_iter().flatten().flat_map(shard_rows).collect();
        if !rows.is_empty() {
            let header = [
                "COLLECTION",
                "SHARD",
                "NODE",
                "QDRANT",
                "METHOD",
                "CAPTURED",
                "FILES",
                "BYTES",
                "ALIASES",
            ];
            text.push_str(&format!("\n\n{}", table(&header, rows)));
        }
        text
    }
}

/// The shards of one collection of a manifest; what a newer manifest calls otherwise is left blank.
fn shard_rows(collection: &Value) -> Vec<Vec<String>> {
    let name = plain(collection.get("name"));
    let aliases = collection.get("aliases").and_then(Value::as_array);
    let aliases: Vec<String> = aliases
        .into_iter()
        .flatten()
        .map(|a| plain(Some(a)))
        .collect();
    let shards = collection.get("shards").and_then(Value::as_array);
    let row = |shard: &Value| {
        let bytes = shard.get("logical_bytes").and_then(Value::as_u64);
        let at = plain(shard.get("captured_at"));
        vec![
            name.clone(),
            plain(shard.get("shard_id")),
            plain(shard.get("node")),
            plain(shard.get("server_version")),
            plain(shard.get("method")),
            at.parse::<Timestamp>().map_or(at, short_time),
            plain(shard.get("files")),
            bytes.map_or_else(String::new, |n| ByteCount(n).to_string()),
            list(&aliases, "-"),
        ]
    };
    shards.into_iter().flatten().map(row).collect()
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
