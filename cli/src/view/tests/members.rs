//! What commands about nodes show.

use super::{mark, nodes};
use crate::output::{View, render_json};
use crate::view::{DrainView, NodeRemovalView, NodesView};
use holdfast_proto::v1;

pub(super) fn member_removal() -> NodeRemovalView {
    let wire = v1::RemoveNodeResponse {
        removed: false,
        was_removed: false,
        risks: vec!["it is the last known holder of docs/0".into()],
        effects: vec!["it is turned away".into()],
    };
    NodeRemovalView::new("n1".into(), None, wire)
}

#[test]
fn drained_and_removed_nodes_are_listed_as_such() {
    let text = NodesView::from(&nodes()).text();
    assert!(text.contains("n1    connected, drained"), "{text}");
    let end = "n1 is drained since 2026-11-18 11:06:40Z by alice: new disk\n\
               n0 was removed at 2026-11-18 11:06:40Z by alice: new disk; n1 took its place";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn draining() {
    let wire = v1::DrainNodeResponse {
        mark: Some(mark()),
        was_drained: false,
        only_here: vec!["docs/0".into()],
    };
    let view = DrainView::begun("n1".into(), &wire);
    insta::assert_snapshot!(view.text(), @r"
    n1 is drained: the next captures are placed on other nodes.
    No other connected node has docs/0: still captured on n1.
    `holdfast nodes undrain n1` ends it.
    ");
    insta::assert_snapshot!(render_json(&view, false), @r#"{"kind":"node-drain","format":1,"node":"n1","drained":true,"unchanged":false,"mark":{"since":"2026-11-18T11:06:40Z","by":"alice","reason":"new disk"},"only_here":["docs/0"]}"#);
    let ended = DrainView::ended("n1".into(), true).text();
    assert!(ended.contains("not drained any more"), "{ended}");
}

#[test]
fn removing() {
    insta::assert_snapshot!(member_removal().text(), @r"
    n1 would be removed.
      at risk  it is the last known holder of docs/0
      follows  it is turned away
    Nothing was done: repeat it with --confirm.
    ");
}
