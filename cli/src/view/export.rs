//! What an export wrote, and how to load it.

use crate::output::View;
use holdfast_types::ByteCount;
use serde::Serialize;

/// The files of one export.
#[derive(Debug, Serialize)]
pub(crate) struct ExportView {
    pub(crate) recovery_point: String,
    /// In the order in which they were written.
    pub(crate) files: Vec<ExportedView>,
}

/// One file.
#[derive(Debug, Serialize)]
pub(crate) struct ExportedView {
    pub(crate) collection: String,
    /// `None` for a snapshot of the whole collection.
    pub(crate) shard: Option<u32>,
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// Exact number of points, where it is known.
    pub(crate) points: Option<u64>,
    /// The server that wrote the data: the same or the next minor loads it.
    pub(crate) qdrant_version: Option<String>,
    /// The command that loads it.
    pub(crate) load: String,
    /// What the file alone does not bring back.
    pub(crate) hints: Vec<String>,
}

impl View for ExportView {
    const KIND: &'static str = "backup-export";

    fn text(&self) -> String {
        let mut text = format!("Exported {}", self.recovery_point);
        for file in &self.files {
            text.push_str(&file.text());
        }
        text
    }
}

impl ExportedView {
    fn text(&self) -> String {
        let what = match self.shard {
            Some(shard) => format!("shard {shard} of collection {}", self.collection),
            None => format!("collection {}", self.collection),
        };
        let from = self.qdrant_version.as_deref().unwrap_or("?");
        let mut text = format!(
            "\n\n{what}: {} ({}, of Qdrant {from})\n  sha256  {}\n  load    {}",
            self.path,
            ByteCount(self.bytes),
            self.sha256,
            self.load
        );
        for hint in &self.hints {
            text.push_str(&format!("\n  note    {hint}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{ExportView, ExportedView};
    use crate::output::{View, render_json};

    fn view() -> ExportView {
        ExportView {
            recovery_point: "20261121t101530z-0a1b2c3d".into(),
            files: vec![ExportedView {
                collection: "docs".into(),
                shard: None,
                path: "/tmp/docs.snapshot".into(),
                bytes: 3 << 20,
                sha256: "ab".into(),
                points: Some(10),
                qdrant_version: Some("1.18.3".into()),
                load: "curl …".into(),
                hints: vec!["aliases are not in a snapshot: live".into()],
            }],
        }
    }

    #[test]
    fn people_see_where_it_is_and_how_to_load_it() {
        insta::assert_snapshot!(view().text(), @r"
Exported 20261121t101530z-0a1b2c3d

collection docs: /tmp/docs.snapshot (3.0 MiB, of Qdrant 1.18.3)
  sha256  ab
  load    curl …
  note    aliases are not in a snapshot: live
");
    }

    #[test]
    fn programs_find_every_field_in_the_reference() {
        let reference = include_str!("../../../docs/reference/json-output.md");
        let document: serde_json::Value =
            serde_json::from_str(&render_json(&view(), false)).unwrap();
        let file = document["files"][0].as_object().unwrap();
        for name in document.as_object().unwrap().keys().chain(file.keys()) {
            assert!(reference.contains(&format!("`{name}`")), "{name}");
        }
        assert!(reference.contains("`backup-export`"));
    }
}
