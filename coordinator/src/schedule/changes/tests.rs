//! When a collection looks the same as it was captured.

use super::looks_the_same;
use crate::fixture::heard;
use crate::logs::{Settings, SinceCapture};
use crate::observe::NodeRecord;
use holdfast_proto::v1;
use holdfast_types::{NodeId, ShardId};
use serde_json::json;

fn captured() -> SinceCapture {
    let info = json!({"config": {"params": {"shard_number": 1}}});
    SinceCapture {
        written: None,
        settings: Settings::new(&info, ["live"].iter(), ["1.18.3"].iter()),
        shards: [ShardId(0)].into(),
    }
}

fn inventory() -> v1::Inventory {
    v1::Inventory {
        qdrant_version: "1.18.3".into(),
        collections: vec![v1::CollectionInfo {
            name: "docs".into(),
            info_json: json!({"config": {"params": {"shard_number": 1}}, "points_count": 9})
                .to_string(),
            aliases: vec!["live".into()],
            local_shards: vec![v1::ShardInfo {
                shard_id: 0,
                state: "Active".into(),
                ..Default::default()
            }],
            remote_shards: vec![v1::RemoteShard {
                shard_id: 0,
                peer_id: 2,
                state: "Active".into(),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn nodes(inventory: v1::Inventory) -> Vec<(NodeId, NodeRecord)> {
    let beat = v1::Heartbeat {
        inventory: Some(inventory),
        ..Default::default()
    };
    heard(beat).list()
}

#[test]
fn whatever_differs_is_seen() {
    let docs = "docs".parse().unwrap();
    let same = |change: &dyn Fn(&mut v1::Inventory)| {
        let mut inventory = inventory();
        change(&mut inventory);
        looks_the_same(&captured(), &docs, &nodes(inventory))
    };
    assert!(same(&|_| ()));
    let changes: [&dyn Fn(&mut v1::CollectionInfo); 9] = [
        &|info| info.info_json = json!({"config": {"params": {"shard_number": 2}}}).to_string(),
        &|info| info.info_json = json!({"config": null}).to_string(),
        &|info| info.info_json.clear(),
        &|info| info.aliases.clear(),
        &|info| info.local_shards[0].state = "Partial".into(),
        &|info| info.remote_shards[0].state = "Dead".into(),
        &|info| info.local_shards[0].shard_id = 1,
        &|info| info.transfers = vec![v1::ShardTransfer::default()],
        &|info| info.name = "other".into(),
    ];
    for (nth, change) in changes.into_iter().enumerate() {
        assert!(
            !same(&|all| change(&mut all.collections[0])),
            "change {nth}"
        );
    }
    assert!(!same(&|all| all.qdrant_version = "1.19.0".into()));
    let unknown = SinceCapture {
        settings: None,
        ..captured()
    };
    assert!(!looks_the_same(&unknown, &docs, &nodes(inventory())));
    let mut away = nodes(inventory());
    away[0].1.connected = false;
    assert!(!looks_the_same(&captured(), &docs, &away));
}
