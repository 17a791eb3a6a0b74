//! The demo's result.

use super::proof::Check;
use crate::output::View;
use crate::view::{BackupView, RestoreView, millis, rate};
use holdfast_types::ByteCount;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// `demo`.
#[derive(Debug, Serialize)]
pub(crate) struct DemoView {
    /// True if every check of every restored collection passed.
    pub(crate) proven: bool,
    pub(crate) server: ServerView,
    pub(crate) points: u64,
    pub(crate) dim: u32,
    pub(crate) load_ms: u64,
    /// Bytes of the captured files without their holes: what the restore sent to Qdrant.
    pub(crate) data_bytes: u64,
    pub(crate) first_backup: BackupView,
    pub(crate) points_changed: u64,
    pub(crate) second_backup: BackupView,
    /// Into the collection's own name, after it had been deleted.
    pub(crate) restore: RestoreView,
    /// Under another name, beside it.
    pub(crate) copy: RestoreView,
    pub(crate) proofs: Vec<ProofView>,
    /// Absent where the system does not tell.
    pub(crate) agent_peak_memory_bytes: Option<u64>,
    pub(crate) coordinator_peak_memory_bytes: Option<u64>,
    pub(crate) elapsed_ms: u64,
    /// What goes on running, with `--keep`.
    pub(crate) kept: Option<KeptView>,
}

/// A deployment that was left running.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KeptView {
    pub(crate) dir: PathBuf,
    /// For `holdfast --config`.
    pub(crate) settings: PathBuf,
    pub(crate) qdrant_url: String,
    /// Processes to end, in this order.
    pub(crate) pids: Vec<i32>,
}

/// The server that was used.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServerView {
    /// `qdrant` or `holdfast-devnode`.
    pub(crate) program: &'static str,
    pub(crate) version: String,
    pub(crate) commit: Option<String>,
}

/// The checks of one restored collection against the state at the capture.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProofView {
    pub(crate) collection: String,
    pub(crate) equal: bool,
    /// Digest over every id, vector and payload.
    pub(crate) digest: String,
    pub(crate) checks: Vec<Check>,
}

impl DemoView {
    fn backup_line(&self, name: &str, backup: &BackupView) -> String {
        let time = Duration::from_millis(backup.elapsed_ms);
        format!(
            "{name:<16} captured in {} ({}); {} sent, {} stored",
            millis(backup.elapsed_ms),
            rate(self.data_bytes, time),
            ByteCount(backup.sent_bytes),
            ByteCount(backup.stored_bytes),
        )
    }

    fn restore_line(name: &str, restore: &RestoreView) -> String {
        let bytes = uploaded(restore);
        let time = Duration::from_millis(restore.elapsed_ms);
        format!(
            "{name:<16} {} restored in {} ({})",
            ByteCount(bytes),
            millis(restore.elapsed_ms),
            rate(bytes, time),
        )
    }
}

/// Bytes that a restore sent to Qdrant.
pub(super) fn uploaded(restore: &RestoreView) -> u64 {
    restore.collections.iter().map(|c| c.uploaded_bytes).sum()
}

/// The second backup's cost, as a part of the first one's.
fn share(second: u64, first: u64) -> String {
    if first == 0 {
        return String::new();
    }
    let permille = u128::from(second) * 1000 / u128::from(first);
    format!(", {}.{} % of the first", permille / 10, permille % 10)
}

impl View for DemoView {
    const KIND: &'static str = "demo";

    fn text(&self) -> String {
        let mut lines = vec![
            format!(
                "{:<16} {} {}",
                "Server", self.server.program, self.server.version
            ),
            format!(
                "{:<16} {} points × {} dimensions, loaded and indexed in {}",
                "Data",
                self.points,
                self.dim,
                millis(self.load_ms)
            ),
            format!(
                "{:<16} {} of files, {} with the holes in them",
                "",
                ByteCount(self.data_bytes),
                ByteCount(self.second_backup.logical_bytes)
            ),
            self.backup_line("First backup", &self.first_backup),
            format!(
                "{:<16} {} points changed, added or deleted",
                "Then", self.points_changed
            ),
            format!(
                "{}{}",
                self.backup_line("Second backup", &self.second_backup),
                share(self.second_backup.sent_bytes, self.first_backup.sent_bytes)
            ),
            Self::restore_line("Restore", &self.restore),
            Self::restore_line("Restored copy", &self.copy),
        ];
        if let Some(bytes) = self.agent_peak_memory_bytes {
            let coordinator = self.coordinator_peak_memory_bytes.unwrap_or(0);
            lines.push(format!(
                "{:<16} agent {}, coordinator {} at most",
                "Memory",
                ByteCount(bytes),
                ByteCount(coordinator)
            ));
        }
        for proof in &self.proofs {
            lines.push(format!(
                "\nProof of {} against the second backup's state",
                proof.collection
            ));
            for check in &proof.checks {
                let verdict = if check.equal { "equal" } else { "DIFFERENT" };
                lines.push(format!("  {verdict:<9}  {}: {}", check.check, check.detail));
            }
        }
        let verdict = match self.proven {
            true => "PROVEN: what was restored equals what was captured.",
            false => "NOT PROVEN: what was restored differs from what was captured.",
        };
        lines.push(format!(
            "\n{verdict} Whole demo: {}",
            millis(self.elapsed_ms)
        ));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::{DemoView, KeptView, ProofView, ServerView};
    use crate::demo::proof::Check;
    use crate::output::{View, render_json};
    use crate::view::{BackupView, RestoreView};
    use holdfast_proto::v1;

    fn view() -> DemoView {
        let backup = |sent_bytes| {
            BackupView::from(&v1::BackupSummary {
                logical_bytes: 384 << 20,
                sent_bytes,
                stored_bytes: sent_bytes,
                elapsed_ms: 2000,
                ..Default::default()
            })
        };
        let restored = v1::RestoreSummary {
            elapsed_ms: 2500,
            collections: vec![v1::RestoredCollection {
                uploaded_bytes: 180 << 20,
                ..Default::default()
            }],
            ..Default::default()
        };
        let check = Check {
            check: "points",
            equal: false,
            detail: "captured 2, restored 1".into(),
        };
        DemoView {
            proven: false,
            server: ServerView {
                program: "qdrant",
                version: "1.18.3".into(),
                commit: None,
            },
            points: 100_000,
            dim: 384,
            load_ms: 29_000,
            data_bytes: 180 << 20,
            first_backup: backup(130 << 20),
            points_changed: 1000,
            second_backup: backup(1 << 20),
            restore: RestoreView::new("r".into(), &restored),
            copy: RestoreView::new("r".into(), &restored),
            proofs: vec![ProofView {
                collection: "holdfast_demo".into(),
                equal: false,
                digest: "7b4e".into(),
                checks: vec![check],
            }],
            agent_peak_memory_bytes: Some(47 << 20),
            coordinator_peak_memory_bytes: Some(240 << 20),
            elapsed_ms: 62_000,
            kept: Some(KeptView {
                dir: "/d".into(),
                settings: "/d/holdfast.toml".into(),
                qdrant_url: "http://127.0.0.1:1".into(),
                pids: vec![1],
            }),
        }
    }

    #[test]
    fn the_summary_says_what_it_cost_and_what_differs() {
        insta::assert_snapshot!(view().text(), @r"
Server           qdrant 1.18.3
Data             100000 points × 384 dimensions, loaded and indexed in 29.0 s
                 180.0 MiB of files, 384.0 MiB with the holes in them
First backup     captured in 2.0 s (90.0 MiB/s); 130.0 MiB sent, 130.0 MiB stored
Then             1000 points changed, added or deleted
Second backup    captured in 2.0 s (90.0 MiB/s); 1.0 MiB sent, 1.0 MiB stored, 0.7 % of the first
Restore          180.0 MiB restored in 2.5 s (72.0 MiB/s)
Restored copy    180.0 MiB restored in 2.5 s (72.0 MiB/s)
Memory           agent 47.0 MiB, coordinator 240.0 MiB at most

Proof of holdfast_demo against the second backup's state
  DIFFERENT  points: captured 2, restored 1

NOT PROVEN: what was restored differs from what was captured. Whole demo: 1 min 2 s
");
    }

    #[test]
    fn the_reference_names_every_field() {
        let reference = include_str!("../../../docs/reference/json-output.md");
        let document = render_json(&view(), false);
        let value: serde_json::Value = serde_json::from_str(&document).expect("JSON");
        let part = |name: &str| value[name].as_object().expect("an object").clone();
        let names = part("kept").into_iter().chain(part("server"));
        for (name, _) in names.chain(value.as_object().expect("an object").clone()) {
            assert!(reference.contains(&format!("`{name}`")), "{name}");
        }
    }
}
