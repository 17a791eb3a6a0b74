//! What became of an operator's word on a node.

use super::nodes::MarkView;
use crate::output::View;
use holdfast_proto::v1;
use serde::Serialize;

/// `nodes drain` and `nodes undrain`.
#[derive(Debug, Serialize)]
pub(crate) struct DrainView {
    node: String,
    /// Whether it is drained now.
    drained: bool,
    /// Whether that was so before.
    unchanged: bool,
    /// The word that is in force; null if it is not drained.
    mark: Option<MarkView>,
    /// Replicas that no other connected node has.
    only_here: Vec<String>,
}

/// `nodes remove`.
#[derive(Debug, Serialize)]
pub(crate) struct NodeRemovalView {
    node: String,
    /// The node that takes its place.
    successor: Option<String>,
    /// Whether it is removed now.
    removed: bool,
    /// Whether that was so before.
    unchanged: bool,
    risks: Vec<String>,
    effects: Vec<String>,
}

impl DrainView {
    pub(crate) fn begun(node: String, wire: &v1::DrainNodeResponse) -> Self {
        Self {
            node,
            drained: true,
            unchanged: wire.was_drained,
            mark: wire.mark.as_ref().map(MarkView::from),
            only_here: wire.only_here.clone(),
        }
    }

    pub(crate) fn ended(node: String, was_drained: bool) -> Self {
        Self {
            node,
            drained: false,
            unchanged: !was_drained,
            mark: None,
            only_here: Vec::new(),
        }
    }
}

impl View for DrainView {
    const KIND: &'static str = "node-drain";

    fn text(&self) -> String {
        let node = &self.node;
        if !self.drained {
            return match self.unchanged {
                true => format!("{node} was not drained."),
                false => format!("{node} is not drained any more: captures may be placed on it."),
            };
        }
        let since = self.mark.as_ref().map(MarkView::words).unwrap_or_default();
        let mut text = match self.unchanged {
            true => format!("{node} was drained before, at {since}."),
            false => {
                format!("{node} is drained: the next captures are placed on other nodes.")
            }
        };
        if !self.only_here.is_empty() {
            text.push_str(&format!(
                "\nNo other connected node has {}: still captured on {node}.",
                self.only_here.join(", ")
            ));
        }
        text.push_str(&format!("\n`holdfast nodes undrain {node}` ends it."));
        text
    }
}

impl NodeRemovalView {
    pub(crate) fn new(
        node: String,
        successor: Option<String>,
        wire: v1::RemoveNodeResponse,
    ) -> Self {
        Self {
            node,
            successor,
            removed: wire.removed,
            unchanged: wire.was_removed,
            risks: wire.risks,
            effects: wire.effects,
        }
    }
}

impl View for NodeRemovalView {
    const KIND: &'static str = "node-removal";

    fn text(&self) -> String {
        let node = &self.node;
        let mut text = match (self.removed, self.unchanged) {
            (true, true) => format!("{node} was removed before; nothing was done."),
            (true, false) => format!("{node} is removed."),
            (false, _) => format!("{node} would be removed."),
        };
        for risk in &self.risks {
            text.push_str(&format!("\n  at risk  {risk}"));
        }
        for effect in &self.effects {
            text.push_str(&format!("\n  follows  {effect}"));
        }
        if !self.removed {
            text.push_str("\nNothing was done: repeat it with --confirm.");
        }
        text
    }
}
