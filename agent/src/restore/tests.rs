//! Tests of the decisions of a restore.

use super::target::{decide, is_still_ours};
use super::{check_order, check_version, explain};
use crate::commands::phase::{RestoreProgress, TargetMode};
use crate::failure::Failed;
use crate::order::{PartKind, PartOrder, RestoreOrder};
use holdfast_archive::{CollectionEntry, ShardEntry};
use holdfast_service::failure::Code;
use holdfast_types::{ServerVersion, ShardId, Timestamp};
use serde_json::{Value, json};

fn info(size: u32, index: &str) -> Value {
    json!({"config": {"params": {"vectors": {"size": size}, "shard_number": 1}},
        "points_count": size, "payload_schema": {"title": {"data_type": index}}})
}

pub(super) fn order(overwrite: bool) -> RestoreOrder {
    RestoreOrder {
        recovery_point: "20261121t101530z-0a1b2c3d".parse().unwrap(),
        target: "docs".parse().unwrap(),
        overwrite,
        with_aliases: true,
        logs: vec![],
        requests: vec![],
        part: None,
        entry: CollectionEntry {
            name: "docs".parse().unwrap(),
            info: info(4, "keyword"),
            aliases: vec![],
            cluster: None,
            shard_count: 1,
            uuid: None,
            shard_keys: Vec::new(),
            points: None,
            shards: vec![ShardEntry {
                shard_id: ShardId(0),
                node: "n1".parse().unwrap(),
                server_version: "1.18.3".parse().unwrap(),
                method: "stored".into(),
                reasons: Vec::new(),
                captured_at: Timestamp::EPOCH,
                next_operation: None,
                wal: None,
                clocks: None,
                replica_state: None,
                replicas: Vec::new(),
                recipe: vec![],
                recipe_len: 1,
                recipe_hash: "ab".repeat(32),
                files: 1,
                logical_bytes: 1,
            }],
        },
    }
}

fn progress(target: TargetMode, uploaded: &[u32]) -> RestoreProgress {
    RestoreProgress {
        target,
        kept_aliases: vec![],
        replaced: None,
        created: None,
        holds_data: !uploaded.is_empty(),
        uploaded: uploaded.iter().map(|id| ShardId(*id)).collect(),
        replayed: None,
    }
}

#[test]
fn how_the_target_comes_about() {
    let same = info(4, "keyword");
    for (overwrite, existing, want) in [
        (false, None, Some(TargetMode::Create)),
        (true, None, Some(TargetMode::Create)),
        (false, Some(&same), None),
        (true, Some(&same), Some(TargetMode::Replace)),
        (true, Some(&info(8, "keyword")), Some(TargetMode::Recreate)),
        (true, Some(&info(4, "integer")), Some(TargetMode::Recreate)),
    ] {
        let decided = decide(&order(overwrite), existing);
        assert_eq!(
            decided.as_ref().ok(),
            want.as_ref(),
            "{overwrite} {existing:?}"
        );
        if let Err(failed) = decided {
            assert_eq!(failed.code, Code::TargetExists);
        }
    }
}

#[test]
fn after_a_restart_only_its_own_collection_is_touched() {
    use TargetMode::{Create, Recreate, Replace};
    let captured = info(4, "keyword");
    let bare = json!({"config": captured["config"], "payload_schema": {}});
    let (other, old) = (info(8, "keyword"), info(4, "integer"));
    // created; uploaded; what is there, with how many points; whether it is the command's
    for (mode, created, uploaded, existing, points, want) in [
        (Create, false, false, None, 0, true),
        (Create, false, false, Some(&bare), 0, true),
        (Create, false, false, Some(&bare), 3, false),
        (Create, true, false, Some(&bare), 0, true),
        (Create, true, false, Some(&bare), 3, false),
        (Create, true, true, Some(&bare), 3, true),
        (Create, true, true, Some(&other), 3, false),
        (Recreate, false, false, None, 0, true),
        (Recreate, false, false, Some(&old), 9, true),
        (Recreate, false, false, Some(&bare), 0, true),
        (Recreate, false, false, Some(&bare), 9, false),
        (Recreate, false, false, Some(&other), 0, false),
        (Recreate, true, false, Some(&old), 9, false),
        (Recreate, true, true, Some(&captured), 9, true),
        (Recreate, true, true, Some(&other), 9, false),
        (Replace, false, false, Some(&captured), 9, true),
        (Replace, false, true, Some(&other), 9, false),
        (Replace, false, false, None, 0, false),
    ] {
        let mut progress = progress(mode, if uploaded { &[0] } else { &[] });
        progress.created = created.then(|| captured.clone());
        progress.replaced = (mode == Recreate).then(|| old.clone());
        let ours = is_still_ours(&progress, existing, points, &captured);
        assert_eq!(ours, want, "{progress:?} {existing:?} {points}");
    }
}

#[test]
fn versions_and_completeness_are_checked_before_anything_changes() {
    let version = |text: &str| text.parse::<ServerVersion>().unwrap();
    assert!(check_version(&order(false), &version("1.19.0")).is_ok());
    for bad in ["1.17.0", "1.20.0"] {
        let failed = check_version(&order(false), &version(bad)).unwrap_err();
        assert_eq!(failed.code, Code::VersionMismatch);
        assert!(failed.message.contains(bad), "{failed}");
    }
    assert!(check_order(&order(false)).is_ok());
    let mut short = order(false);
    short.entry.shard_count = 2;
    assert_eq!(
        check_order(&short).unwrap_err().code,
        Code::RepositoryDamaged
    );
    let mut unhashed = order(false);
    unhashed.entry.shards[0].recipe_hash.clear();
    assert!(check_order(&unhashed).is_err());
}

#[test]
fn a_failure_says_what_state_the_target_is_in() {
    let told = |progress: &RestoreProgress| {
        let failed = Failed::new(Code::QdrantError, "no space");
        explain(failed, progress, &order(true)).message
    };
    let made = |mut progress: RestoreProgress| {
        progress.created = Some(info(4, "keyword"));
        progress
    };
    let mut two = order(true);
    two.entry.shards.push(two.entry.shards[0].clone());
    two.entry.shards[1].shard_id = ShardId(1);
    two.entry.shard_count = 2;
    let halfway = |progress: &RestoreProgress| {
        let failed = Failed::new(Code::QdrantError, "no space");
        explain(failed, progress, &two).message
    };
    assert_eq!(
        told(&made(progress(TargetMode::Create, &[]))),
        "no space; docs did not exist before and is deleted again"
    );
    assert!(told(&progress(TargetMode::Create, &[])).ends_with("nothing is deleted"));
    assert_eq!(
        told(&progress(TargetMode::Replace, &[])),
        "no space; docs still holds its data of before"
    );
    let half = halfway(&progress(TargetMode::Replace, &[0]));
    assert_eq!(
        half,
        "no space; shard 0 of docs: the restored data; shard 1 of docs: either, since its upload was interrupted; \
         run the restore again, or restore the safety recovery point taken before"
    );
    let gone = told(&made(progress(TargetMode::Recreate, &[])));
    assert!(gone.contains("restore the safety recovery point"), "{gone}");
    let mut doubtful = made(progress(TargetMode::Create, &[0]));
    doubtful.holds_data = false;
    assert!(halfway(&doubtful).contains("is kept"));
    let whole = told(&made(progress(TargetMode::Create, &[0])));
    assert!(
        whole.contains("every shard of docs is restored and stays"),
        "{whole}"
    );
}

#[test]
fn in_a_cluster_what_exists_is_never_written_over() {
    let mut order = order(true);
    let there = info(4, "keyword");
    assert_eq!(decide(&order, Some(&there)).unwrap(), TargetMode::Replace);
    order.part = Some(PartOrder {
        kind: PartKind::Prepare,
        uuid: None,
    });
    assert_eq!(decide(&order, Some(&there)).unwrap(), TargetMode::Recreate);
    order.overwrite = false;
    assert!(decide(&order, Some(&there)).is_err());
}
