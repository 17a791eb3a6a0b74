//! Restores, planned and done.

use super::{POINT, failure};
use crate::output::{View as _, render_json};
use crate::view::{PlanView, RestoreView};
use holdfast_proto::v1;

pub(super) fn plan() -> v1::RestorePlan {
    v1::RestorePlan {
        recovery_point: POINT.into(),
        node: "n1".into(),
        steps: vec![v1::RestoreStep {
            source_collection: "products".into(),
            target_collection: "products".into(),
            replaces: true,
            shards: 1,
            logical_bytes: 603_979_776,
            aliases: vec!["current".into()],
            indexes: vec!["year".into()],
            logs: vec![v1::ReplayedLog {
                shard_id: 0,
                node: "n1".into(),
                timeline: "03".repeat(16),
                from: 40,
                until: 57,
                bytes: 2048,
                complete_before_us: 1_795_000_000_400_000,
            }],
            replicas: 2,
            shard_sizes: vec![v1::PlannedShard {
                shard_id: 0,
                logical_bytes: 603_979_776,
            }],
            recovery_order: Some(1),
        }],
        blockers: vec![failure()],
        warnings: vec!["the recovery point is 40 days old".into()],
        logical_bytes: 603_979_776,
        instant: Some(instant()),
        nodes: vec![
            v1::ReceivingNode {
                node: "n1".into(),
                qdrant_version: "1.18.3".into(),
                needed_bytes: 603_979_776,
                free_bytes: 7_000_000_000,
            },
            v1::ReceivingNode {
                node: "n2".into(),
                qdrant_version: "1.18.3".into(),
                needed_bytes: 603_979_776,
                free_bytes: 0,
            },
        ],
        estimated_ms: 12_000,
        estimate_measured: true,
        order_from: "the policy /etc/holdfast/policy.toml".into(),
    }
}

fn instant() -> v1::PlannedInstant {
    let target = v1::restore_target::Target::InstantUs(1_795_000_001_000_000);
    v1::PlannedInstant {
        target: Some(v1::RestoreTarget {
            target: Some(target),
            by_requests: false,
        }),
        instant_us: 1_795_000_001_000_000,
        complete_before_us: 1_795_000_000_400_000,
        entries: 17,
        bytes: 2048,
    }
}

pub(super) fn restored() -> v1::RestoreSummary {
    v1::RestoreSummary {
        recovery_point: POINT.into(),
        node: "n1".into(),
        collections: vec![v1::RestoredCollection {
            source_collection: "products".into(),
            target_collection: "products_check".into(),
            points: 300_000,
            points_expected: Some(300_000),
            uploaded_bytes: 603_979_776,
            elapsed_ms: 3600,
            aliases: Vec::new(),
            indexes: vec!["year".into()],
            replayed_entries: 0,
        }],
        elapsed_ms: 4000,
        safety_recovery_point: String::new(),
        instant: None,
    }
}

/// The plan, with one node and nothing in the way.
fn short() -> PlanView {
    let mut view = PlanView::from(&plan());
    view.nodes.truncate(1);
    view.blockers.clear();
    view
}

#[test]
fn restore_plans() {
    let view = short();
    insta::assert_snapshot!(render_json(&view, true), @r#"
{
  "kind": "restore-plan",
  "format": 1,
  "recovery_point": "20261121t101530z-0a1b2c3d",
  "node": "n1",
  "feasible": false,
  "steps": [
    {
      "source": "products",
      "target": "products",
      "replaces": true,
      "shards": 1,
      "replicas": 2,
      "logical_bytes": 603979776,
      "shard_sizes": [
        {
          "shard": 0,
          "logical_bytes": 603979776
        }
      ],
      "aliases": [
        "current"
      ],
      "indexes": [
        "year"
      ],
      "logs": [
        {
          "shard": 0,
          "node": "n1",
          "timeline": "03030303030303030303030303030303",
          "from": 40,
          "until": 57,
          "bytes": 2048,
          "complete_before": "2026-11-18T11:06:40.4Z"
        }
      ],
      "recovery_order": 1
    }
  ],
  "order_from": "the policy /etc/holdfast/policy.toml",
  "blockers": [],
  "warnings": [
    "the recovery point is 40 days old"
  ],
  "logical_bytes": 603979776,
  "nodes": [
    {
      "node": "n1",
      "qdrant_version": "1.18.3",
      "needed_bytes": 603979776,
      "free_bytes": 7000000000
    }
  ],
  "estimated_ms": 12000,
  "estimate_measured": true,
  "instant": {
    "to": "2026-11-18T11:06:41Z",
    "to_op": null,
    "by": "splice",
    "instant": "2026-11-18T11:06:41Z",
    "complete_before": "2026-11-18T11:06:40.4Z",
    "operations": 17,
    "bytes": 2048
  }
}
"#);
}

#[test]
fn the_order_of_a_restore_is_told() {
    let mut wire = plan();
    wire.steps.push(v1::RestoreStep {
        target_collection: "logs".into(),
        recovery_order: Some(1000),
        ..wire.steps[0].clone()
    });
    let text = PlanView::from(&wire).text();
    let line = "\n\nOne after the other, by recovery_order in the policy /etc/holdfast/policy.toml: products (1), logs (1000)\n";
    assert!(text.contains(line), "{text}");
    wire.order_from.clear();
    assert!(!PlanView::from(&wire).text().contains("recovery_order"));
}

#[test]
fn restore_plans_as_text() {
    let view = PlanView::from(&plan());
    insta::assert_snapshot!(view.text(), @r"
Restore of 20261121t101530z-0a1b2c3d into the cluster of n1: 576.0 MiB in all, about 12.0 s by the last restore's rate
Nothing written after 2026-11-18T11:06:41Z is contained; everything acknowledged before 2026-11-18T11:06:40.4Z is
What was written in the 0.600 s between is contained in part, in the order in which each shard logged it
Replayed: 17 operations, about 2.0 KiB, by splice

COLLECTION  INTO      ACTION                 SHARDS  BYTES      ALIASES  INDEXES
products    products  capture, then REPLACE  1 × 2   576.0 MiB  current  year

NODE  QDRANT  GETS             FREE
n1    1.18.3  about 576.0 MiB  6.5 GiB
n2    1.18.3  about 576.0 MiB  unknown
WARNING: the recovery point is 40 days old
BLOCKED (qdrant-unreachable): Qdrant at http://127.0.0.1:6333 does not answer
");
}

#[test]
fn restore_results() {
    let view = RestoreView::new("restore-8".into(), &restored());
    insta::assert_snapshot!(render_json(&view, true), @r#"
{
  "kind": "restore-run",
  "format": 1,
  "job": "restore-8",
  "recovery_point": "20261121t101530z-0a1b2c3d",
  "node": "n1",
  "collections": [
    {
      "source": "products",
      "target": "products_check",
      "points": 300000,
      "points_expected": 300000,
      "uploaded_bytes": 603979776,
      "elapsed_ms": 3600,
      "aliases": [],
      "indexes": [
        "year"
      ],
      "operations": 0
    }
  ],
  "elapsed_ms": 4000,
  "safety_recovery_point": null,
  "instant": null
}
"#);
    insta::assert_snapshot!(view.text(), @r"
Restored 20261121t101530z-0a1b2c3d into node n1 in 4.0 s

COLLECTION      POINTS                 UPLOADED   TOOK                 ALIASES  INDEXES
products_check  300,000 (as captured)  576.0 MiB  3.6 s (160.0 MiB/s)  -        year
");
}
