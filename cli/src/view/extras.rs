//! Extra files of a recovery point, and what an export of them wrote.

use super::text::{short_time, table};
use crate::output::View;
use holdfast_archive::{EntryKind, ExtraEntry, ExtraListing, ListedEntry};
use holdfast_types::{ByteCount, NodeId, Timestamp};
use serde::Serialize;

/// `backup files`.
#[derive(Debug, Serialize)]
pub(crate) struct ExtraFilesView {
    pub(crate) recovery_point: String,
    pub(crate) extras: Vec<ExtraView>,
    /// Nodes of which it is not known what extras they have, each with why.
    pub(crate) unknown: Vec<String>,
}

/// `backup export --extra`.
#[derive(Debug, Serialize)]
pub(crate) struct ExtraExportView {
    pub(crate) recovery_point: String,
    /// The directory.
    pub(crate) path: String,
    pub(crate) extra: ExtraView,
}

/// One extra.
#[derive(Debug, Serialize)]
pub(crate) struct ExtraView {
    pub(crate) node: String,
    pub(crate) name: String,
    /// Whether it is Qdrant's own configuration.
    pub(crate) config: bool,
    pub(crate) captured_at: Option<Timestamp>,
    /// Why it is not there.
    pub(crate) missing: Option<String>,
    pub(crate) bytes: u64,
    /// What went wrong and did not matter.
    pub(crate) warnings: Vec<String>,
    /// By path.
    pub(crate) entries: Vec<ExtraEntryView>,
}

/// One file, directory or link.
#[derive(Debug, Serialize)]
pub(crate) struct ExtraEntryView {
    /// As it was on the node.
    pub(crate) path: String,
    /// `file`, `directory` or `link`.
    pub(crate) kind: &'static str,
    /// `None` but for files.
    pub(crate) size: Option<u64>,
    /// BLAKE3 of the content; `None` but for files.
    pub(crate) blake3: Option<String>,
    /// Permissions in octal digits, such as `0640`; `None` for links.
    pub(crate) mode: Option<String>,
    pub(crate) changed: Option<Timestamp>,
    /// Where a link points.
    pub(crate) target: Option<String>,
}

impl ExtraView {
    pub(crate) fn new(node: &NodeId, extra: &ExtraEntry, listing: Option<ExtraListing>) -> Self {
        let captured = extra.captured.as_ref();
        let entries = listing.into_iter().flat_map(|listing| listing.entries);
        Self {
            node: node.to_string(),
            name: extra.name.to_string(),
            config: extra.config,
            captured_at: captured.map(|captured| captured.captured_at),
            missing: extra.missing.clone(),
            bytes: captured.map_or(0, |captured| captured.bytes),
            warnings: captured.map(|c| c.warnings.clone()).unwrap_or_default(),
            entries: entries.map(ExtraEntryView::from).collect(),
        }
    }

    fn lines(&self) -> String {
        let mut text = format!("{} of node {}", self.name, self.node);
        if self.config {
            text.push_str(" (Qdrant's configuration)");
        }
        match (&self.missing, self.captured_at) {
            (Some(why), _) => text.push_str(&format!(": NOT in this point: {why}")),
            (None, Some(at)) => {
                let bytes = ByteCount(self.bytes);
                text.push_str(&format!(": {bytes}, captured {}", short_time(at)));
            }
            (None, None) => {}
        }
        for warning in &self.warnings {
            text.push_str(&format!("\nWARNING: {warning}"));
        }
        if !self.entries.is_empty() {
            let rows = self.entries.iter().map(ExtraEntryView::row);
            text.push('\n');
            text.push_str(&table(&["PATH", "SIZE", "MODE", "CHANGED"], rows));
        }
        text
    }
}

impl From<ListedEntry> for ExtraEntryView {
    fn from(entry: ListedEntry) -> Self {
        let (kind, size, blake3, target) = match entry.kind {
            EntryKind::File { size, blake3 } => ("file", Some(size), Some(blake3), None),
            EntryKind::Directory => ("directory", None, None, None),
            EntryKind::Link { target } => ("link", None, None, Some(target)),
        };
        let is_link = target.is_some();
        Self {
            path: format!("/{}", entry.path),
            kind,
            size,
            blake3,
            mode: (!is_link).then(|| format!("{:04o}", entry.mode)),
            changed: (!is_link).then(|| Timestamp::from_micros(entry.mtime_us)),
            target,
        }
    }
}

impl ExtraEntryView {
    fn row(&self) -> Vec<String> {
        let path = match (self.kind, &self.target) {
            (_, Some(target)) => format!("{} -> {target}", self.path),
            ("directory", None) => format!("{}/", self.path),
            (_, None) => self.path.clone(),
        };
        vec![
            path,
            self.size
                .map_or_else(String::new, |n| ByteCount(n).to_string()),
            self.mode.clone().unwrap_or_default(),
            self.changed.map_or_else(String::new, short_time),
        ]
    }
}

impl View for ExtraFilesView {
    const KIND: &'static str = "backup-files";

    fn text(&self) -> String {
        let extras = self.extras.iter().map(ExtraView::lines);
        let unknown = self
            .unknown
            .iter()
            .map(|node| format!("not known of node {node}"));
        let parts: Vec<String> = extras.chain(unknown).collect();
        if parts.is_empty() {
            return format!(
                "{} holds no extra files: what a node's agent captures is named in its [[extra]] (docs/reference/extras.md).",
                self.recovery_point
            );
        }
        parts.join("\n\n")
    }
}

impl View for ExtraExportView {
    const KIND: &'static str = "backup-export-extra";

    fn text(&self) -> String {
        format!(
            "Exported {} to {}\n\n{}",
            self.recovery_point,
            self.path,
            self.extra.lines()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{ExtraExportView, ExtraFilesView, ExtraView};
    use crate::output::{View, render_json};
    use holdfast_archive::{CapturedExtra, EntryKind, ExtraEntry, ExtraListing, ListedEntry};
    use holdfast_types::Timestamp;

    const NOON: i64 = 1_795_262_400_000_000;

    fn entry(path: &str, mode: u32, kind: EntryKind) -> ListedEntry {
        ListedEntry {
            path: path.into(),
            mode,
            mtime_us: NOON,
            kind,
        }
    }

    fn held() -> ExtraView {
        let extra = ExtraEntry {
            name: "qdrant".parse().unwrap(),
            config: true,
            captured: Some(CapturedExtra {
                captured_at: Timestamp::from_micros(NOON),
                recipe: vec![],
                recipe_len: 1,
                recipe_hash: String::new(),
                files: 1,
                bytes: 2048,
                warnings: vec!["/etc/q/sock is a socket, a pipe or a device: left out".into()],
            }),
            missing: None,
        };
        let file = EntryKind::File {
            size: 2048,
            blake3: "ab".into(),
        };
        let listing = ExtraListing::new(vec![
            entry("etc/q", 0o755, EntryKind::Directory),
            entry("etc/q/config.yaml", 0o640, file),
            entry(
                "etc/q/current",
                0,
                EntryKind::Link {
                    target: "config.yaml".into(),
                },
            ),
        ]);
        ExtraView::new(&"n1".parse().unwrap(), &extra, Some(listing))
    }

    fn missing() -> ExtraView {
        let extra = ExtraEntry {
            name: "redis".parse().unwrap(),
            config: false,
            captured: None,
            missing: Some("the hook before of extra redis: no room".into()),
        };
        ExtraView::new(&"n1".parse().unwrap(), &extra, None)
    }

    fn view() -> ExtraFilesView {
        ExtraFilesView {
            recovery_point: "20261121t101530z-0a1b2c3d".into(),
            extras: vec![held(), missing()],
            unknown: vec!["n2: its agent is older".into()],
        }
    }

    #[test]
    fn people_see_what_is_there_and_what_is_not() {
        let text = view().text();
        for part in [
            "qdrant of node n1 (Qdrant's configuration): 2.0 KiB, captured 2026-11-21 12:00:00Z",
            "WARNING: /etc/q/sock is a socket",
            "/etc/q/ ",
            "/etc/q/config.yaml",
            "0640",
            "/etc/q/current -> config.yaml",
            "redis of node n1: NOT in this point: the hook before",
            "not known of node n2: its agent is older",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let none = ExtraFilesView {
            extras: vec![],
            unknown: vec![],
            ..view()
        };
        assert!(
            none.text().contains("holds no extra files"),
            "{}",
            none.text()
        );
    }

    #[test]
    fn programs_find_every_field_in_the_reference() {
        let reference = include_str!("../../../docs/reference/json-output.md");
        let export = ExtraExportView {
            recovery_point: "20261121t101530z-0a1b2c3d".into(),
            path: "/tmp/out".into(),
            extra: held(),
        };
        let exported: serde_json::Value =
            serde_json::from_str(&render_json(&export, false)).unwrap();
        let document: serde_json::Value =
            serde_json::from_str(&render_json(&view(), false)).unwrap();
        let extra = document["extras"][0].as_object().unwrap();
        let entry = extra["entries"][0].as_object().unwrap();
        let names = document.as_object().unwrap().keys();
        let names = names.chain(exported.as_object().unwrap().keys());
        for name in names.chain(extra.keys()).chain(entry.keys()) {
            assert!(reference.contains(&format!("`{name}`")), "{name}");
        }
        for kind in ["`backup-files`", "`backup-export-extra`"] {
            assert!(reference.contains(kind), "{kind}");
        }
    }
}
