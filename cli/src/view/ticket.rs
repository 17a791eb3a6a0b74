//! A ticket for a cold restore.

use super::text::{list, short_time};
use crate::output::View;
use holdfast_types::{ByteCount, Timestamp};
use serde::Serialize;

/// `restore ticket`.
#[derive(Debug, Serialize)]
pub(crate) struct TicketView {
    pub(crate) ticket: String,
    pub(crate) recovery_point: String,
    pub(crate) node: String,
    pub(crate) collections: Vec<String>,
    pub(crate) logical_bytes: u64,
    /// When it ends, if it was not used up before.
    pub(crate) ends: Timestamp,
}

impl View for TicketView {
    const KIND: &'static str = "restore-ticket";

    fn text(&self) -> String {
        format!(
            "Ticket for node {}: {} of {}, {}, until {}\n\nOn that node, with its Qdrant stopped:\n  \
             holdfast-agent --config /etc/holdfast/agent.toml restore --data-dir /qdrant/storage \\\n    --ticket {}",
            self.node,
            list(&self.collections, "nothing"),
            self.recovery_point,
            ByteCount(self.logical_bytes),
            short_time(self.ends),
            self.ticket
        )
    }
}

#[cfg(test)]
mod tests {
    use super::TicketView;
    use crate::output::{View, render_json};
    use holdfast_types::Timestamp;

    #[test]
    fn it_says_what_to_type_and_every_field_is_in_the_reference() {
        let view = TicketView {
            ticket: "ticket-ab".into(),
            recovery_point: "20261121t101530z-0a1b2c3d".into(),
            node: "n1".into(),
            collections: vec!["docs".into()],
            logical_bytes: 1 << 20,
            ends: Timestamp::EPOCH,
        };
        insta::assert_snapshot!(view.text(), @r"
Ticket for node n1: docs of 20261121t101530z-0a1b2c3d, 1.0 MiB, until 1970-01-01 00:00:00Z

On that node, with its Qdrant stopped:
  holdfast-agent --config /etc/holdfast/agent.toml restore --data-dir /qdrant/storage \
    --ticket ticket-ab
");
        let reference = include_str!("../../../docs/reference/json-output.md");
        let document: serde_json::Value = serde_json::from_str(&render_json(&view, false)).unwrap();
        for name in document.as_object().unwrap().keys() {
            assert!(reference.contains(&format!("`{name}`")), "{name}");
        }
        assert!(reference.contains("`restore-ticket`"));
    }
}
