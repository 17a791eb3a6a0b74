//! What is decided around logical replay.

use super::super::tests::order;
use super::{anew, explain, sources};
use crate::commands::phase::{Replaying, RestoreProgress, TargetMode};
use crate::failure::Failed;
use holdfast_service::failure::Code;
use holdfast_types::ShardId;
use serde_json::{Value, json};

fn progress(target: TargetMode, created: Option<Value>) -> RestoreProgress {
    RestoreProgress {
        target,
        kept_aliases: vec!["live".parse().unwrap()],
        replaced: None,
        created,
        holds_data: true,
        uploaded: vec![ShardId(0)],
        replayed: None,
    }
}

#[test]
fn a_new_beginning_forgets_what_was_done_and_keeps_what_was_there() {
    for (before, after) in [
        (TargetMode::Create, TargetMode::Create),
        (TargetMode::Recreate, TargetMode::Recreate),
        (TargetMode::Replace, TargetMode::Recreate),
    ] {
        let next = anew(progress(before, Some(json!(1))), json!({"config": 2}));
        assert_eq!(next.target, after);
        assert_eq!(next.replaced, Some(json!({"config": 2})));
        assert_eq!(
            (next.created, next.uploaded, next.holds_data),
            (None, vec![], false)
        );
        assert_eq!(next.kept_aliases.len(), 1);
    }
}

#[test]
fn points_are_spread_over_the_shards_of_their_key() {
    let mut order = order(false);
    let mut second = order.entry.shards[0].clone();
    second.shard_id = ShardId(4);
    order.entry.shards.push(second);
    let found = sources(&order.entry).unwrap();
    assert_eq!(found[1].ring.shards(), [0, 4]);
    assert_eq!(found[1].key, None);
    order.entry.shard_keys =
        serde_json::from_value(json!([{"key": "a", "shards": [0]}, {"key": 7, "shards": [4]}]))
            .unwrap();
    let found = sources(&order.entry).unwrap();
    assert_eq!(found[0].key.as_deref(), Some("\"a\""));
    assert_eq!(
        (found[1].ring.shards(), found[1].key.as_deref()),
        (&[4][..], Some("7"))
    );
    order.entry.shard_keys.pop();
    let failed = sources(&order.entry).unwrap_err();
    assert!(
        failed.message.contains("no shard key for shard 4"),
        "{failed}"
    );
}

#[test]
fn what_is_left_is_told() {
    let order = order(false);
    let told = |target, created: bool, holds_data| {
        let mut progress = progress(target, created.then(|| json!(1)));
        progress.holds_data = holds_data;
        let replaying = Replaying {
            progress,
            uuid: None,
        };
        explain(Failed::new(Code::Cancelled, "x"), &replaying, &order).message
    };
    assert!(told(TargetMode::Create, true, true).contains("is deleted again"));
    for (created, holds_data) in [(false, true), (true, false)] {
        let text = told(TargetMode::Create, created, holds_data);
        assert!(text.contains("at no instant that was asked for"), "{text}");
    }
    let text = told(TargetMode::Replace, false, true);
    assert!(text.contains("restore the safety recovery point"), "{text}");
}
