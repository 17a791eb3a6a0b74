//! The JSON contract, field by field: a change here is a change of the contract.

mod backups;
mod copies;
mod events;
mod jobs;
mod members;
mod policy;
mod reference;
mod removal;
mod repo;
mod restores;

use super::{
    BackupDetailView, BackupPlanView, BackupView, CancelView, CollectionsView, JobsView, NodesView,
    ShardsView, StatusView,
};
use crate::output::View;
use crate::output::render_json;
use holdfast_proto::v1;

const POINT: &str = "20261121t101530z-0a1b2c3d";

fn failure() -> v1::Failure {
    v1::Failure {
        code: "qdrant-unreachable".into(),
        message: "Qdrant at http://127.0.0.1:6333 does not answer".into(),
        retryable: true,
    }
}

fn summary() -> v1::BackupSummary {
    v1::BackupSummary {
        recovery_point: POINT.into(),
        begun_us: 1_795_000_000_000_000,
        committed_us: 1_795_000_004_500_000,
        collections: vec!["products".into()],
        logical_bytes: 603_979_776,
        sent_bytes: 5_242_880,
        stored_bytes: 4_194_304,
        note: "nightly".into(),
        points: Some(300_000),
        elapsed_ms: 4500,
        safety_for: String::new(),
        tags: vec!["nightly".into()],
        pin: String::new(),
        holds: vec!["case-17".into()],
        removal: Some(v1::RemovalMark {
            recovery_point: POINT.into(),
            since_us: 1_795_000_100_000_000,
            until_us: 1_795_259_300_000_000,
            reasons: vec!["no rule keeps it: products".into()],
            by: "retention".into(),
        }),
        imported: false,
        left_out: vec!["collection logs: it was dropped during the capture".into()],
        proofs: vec![v1::CollectionProof {
            collection: "products".into(),
            state: v1::collection_proof::State::Proven.into(),
            why: String::new(),
            at_us: 1_795_000_200_000_000,
            job: "restore-7".into(),
        }],
        extras: [("qdrant", ""), ("redis", "no room")].map(extra).into(),
    }
}

fn extra((name, missing): (&str, &str)) -> v1::ExtraSummary {
    v1::ExtraSummary {
        node: "n1".into(),
        name: name.into(),
        missing: missing.into(),
    }
}

fn backup_plan() -> v1::BackupPlan {
    let capture = |shard_id, left: [&str; 2]| v1::PlannedCapture {
        node: "n2".into(),
        collection: "products".into(),
        shard_id,
        left_node: left[0].into(),
        left_because: left[1].into(),
    };
    v1::BackupPlan {
        captures: vec![
            capture(0, ["", ""]),
            capture(1, ["n1", "its agent is not connected"]),
        ],
        notes: vec!["collection products is yellow on n2: it is captured as it is".into()],
        extras: vec![v1::PlannedExtra {
            node: "n2".into(),
            name: "redis".into(),
            required: true,
            absent: String::new(),
        }],
        limits: Some(v1::BackupLimits {
            max_nodes: 1,
            max_mib_per_sec: 50,
            max_query_latency_ms: 40,
            max_delay_ms: 90_000,
        }),
    }
}

#[test]
fn backup_plans() {
    let view = BackupPlanView::from(&backup_plan());
    insta::assert_snapshot!(view.text(), @r"
COLLECTION  SHARD  NODE  WHY
products    0      n2
products    1      n2    not n1 as before: its agent is not connected

EXTRA  NODE  WHY
redis  n2    required
LIMITS: at most 1 node at once; at most 50 MiB/s of all nodes together; reads less while searches take more than 40 ms, for 1 min 30 s in all at most
NOTE: collection products is yellow on n2: it is captured as it is
");
}

fn status() -> v1::StatusResponse {
    v1::StatusResponse {
        program: Some(v1::ProgramVersion {
            version: "0.1.0".into(),
        }),
        cluster: "demo".into(),
        epoch: 3,
        now_us: 1_795_000_100_000_000,
        started_us: 1_795_000_000_000_000,
        repository: "/var/lib/holdfast".into(),
        recovery_points: 2,
        stored_bytes: 608_174_080,
        chunks: 1234,
        nodes_connected: 1,
        nodes_known: 2,
        newest_recovery_point: POINT.into(),
        last_check: Some(v1::RepositoryCheck {
            ended_us: 1_795_000_000_000_000,
            covered: "104 of 2000 packs read".into(),
            needs_attention: false,
        }),
        copies: vec![],
        drained: vec!["n1".into()],
        warnings: vec!["node n2 is not connected: look at its agent".into()],
        jobs: vec![v1::JobSummary {
            job_id: "backup-7".into(),
            kind: "backup".into(),
            state: v1::JobState::Failed.into(),
            started_us: 1_795_000_000_000_000,
            ended_us: 1_795_000_001_000_000,
            failure: Some(failure()),
            recovery_point: String::new(),
            asked_by: "operator op".into(),
            result: String::new(),
        }],
    }
}

fn watched() -> v1::StorageWatch {
    let shard = v1::WatchedShard {
        collection: "products".into(),
        shard_id: 0,
        stored_bytes: 600 << 20,
        files: 120,
        segments: 4,
        touched_bytes: 64 << 20,
        touched_per_sec: 1 << 20,
        new_segments: 3,
        gone_segments: 2,
        changed_us: 1_794_999_990_000_000,
    };
    v1::StorageWatch {
        looked_us: 1_795_000_000_000_000,
        look_ms: 3,
        looks: 1234,
        polling_because: "/q is on a NFS file system".into(),
        overflows: 1,
        unseen_shards: 2,
        next_look_secs: 10,
        total_bytes: 100 << 30,
        free_bytes: 10 << 30,
        bytes_last_secs: Some(7200),
        troubles: vec![v1::StorageTrouble {
            at_us: 1_794_999_990_000_000,
            message: "products/0: Input/output error".into(),
        }],
        shards: vec![shard],
        ..Default::default()
    }
}

#[test]
fn shards_that_are_watched() {
    let view = ShardsView::from(&nodes());
    insta::assert_snapshot!(render_json(&view, false), @r#"{"kind":"node-shards","format":1,"nodes":[{"node":"n1","storage":{"looked":"2026-11-18T11:06:40Z","look_ms":3,"looks":1234,"polling_because":"/q is on a NFS file system","event_overflows":1,"total_bytes":107374182400,"free_bytes":10737418240,"total_inodes":null,"free_inodes":null,"bytes_last_secs":7200,"inodes_last_secs":null,"unseen_shards":2,"next_look_secs":10,"troubles":[{"last_seen":"2026-11-18T11:06:30Z","message":"products/0: Input/output error"}],"shards":[{"collection":"products","shard":0,"stored_bytes":629145600,"files":120,"segments":4,"touched_bytes":67108864,"touched_per_sec":1048576,"new_segments":3,"gone_segments":2,"changed":"2026-11-18T11:06:30Z"}]}},{"node":"n2","storage":null}]}"#);
    insta::assert_snapshot!(view.text(), @r"
    NODE  SHARD       ON DISK    FILES  SEGMENTS  REPLACED  TOUCHED   NOW        CHANGED
    n1    products/0  600.0 MiB  120    4         2         64.0 MiB  1.0 MiB/s  2026-11-18 11:06:30Z

    n1: 1,234 looks since the agent's start, the last at 2026-11-18 11:06:40Z in 3 ms; 10.0 GiB of 100.0 GiB free
    n1: changes are found by looks alone: /q is on a NFS file system
    n1: of 2 shards not every file could be looked at: they have too many, or can't be read
    n1: the kernel lost events 1 times; looks followed
    n1: products/0: Input/output error
    n2: its agent does not see Qdrant's storage directory ([qdrant] storage_dir in its configuration), or has not looked yet
    ");
}

fn mark() -> v1::NodeMark {
    v1::NodeMark {
        since_us: 1_795_000_000_000_000,
        by: "alice".into(),
        reason: "new disk".into(),
    }
}

fn nodes() -> v1::ListNodesResponse {
    let inventory = v1::Inventory {
        qdrant_version: "1.18.3".into(),
        qdrant_commit: "abc123".into(),
        peer_id: 0,
        collections: vec![v1::CollectionInfo {
            name: "products".into(),
            ..Default::default()
        }],
        storage_free_bytes: 10 << 30,
        snapshots_shared: true,
        peers: 0,
        ..Default::default()
    };
    let node = v1::NodeStatus {
        node: "n1".into(),
        connected: true,
        last_seen_us: 1_795_000_000_000_000,
        program: Some(v1::ProgramVersion {
            version: "0.1.0".into(),
        }),
        inventory: Some(inventory),
        qdrant_error: None,
        clock_offset_ms: -3,
        storage: Some(watched()),
        drained: Some(mark()),
    };
    let lost = v1::NodeStatus {
        node: "n2".into(),
        qdrant_error: Some(failure()),
        ..Default::default()
    };
    v1::ListNodesResponse {
        nodes: vec![node, lost],
        removed: vec![v1::RemovedNode {
            node: "n0".into(),
            mark: Some(mark()),
            successor: "n1".into(),
        }],
    }
}

fn collections() -> v1::ListCollectionsResponse {
    v1::ListCollectionsResponse {
        collections: vec![v1::CollectionStatus {
            name: "products".into(),
            status: "green".into(),
            shard_count: 1,
            points_approx: 300_000,
            aliases: vec!["current".into()],
            nodes: vec!["n1".into()],
            newest_recovery_point: String::new(),
            recoverable_until_us: 1_795_000_099_200_000,
            rpo_ms: 800,
            continuous: true,
        }],
        unseen: vec!["node n2 is not connected".into()],
    }
}

fn detail() -> BackupDetailView {
    BackupDetailView {
        backup: BackupView::from(&summary()),
        manifest: serde_json::json!({
            "collections": [{
                "name": "products", "aliases": ["current"],
                "shards": [{
                    "shard_id": 0, "node": "n1", "server_version": "1.18.3", "method": "stored",
                    "captured_at": "2026-11-21T10:15:30Z", "files": 42, "logical_bytes": 603_979_776,
                }],
            }],
        }),
    }
}

#[test]
fn status_of_the_coordinator() {
    let view = StatusView::new("https://127.0.0.1:6350".into(), &status());
    insta::assert_snapshot!(render_json(&view, true), @r#"
{
  "kind": "status",
  "format": 1,
  "coordinator": {
    "endpoint": "https://127.0.0.1:6350",
    "version": "0.1.0",
    "epoch": 3,
    "now": "2026-11-18T11:08:20Z",
    "started": "2026-11-18T11:06:40Z"
  },
  "cluster": "demo",
  "repository": {
    "location": "/var/lib/holdfast",
    "recovery_points": 2,
    "stored_bytes": 608174080,
    "chunks": 1234
  },
  "nodes_connected": 1,
  "nodes_known": 2,
  "nodes_drained": [
    "n1"
  ],
  "newest_recovery_point": "20261121t101530z-0a1b2c3d",
  "last_check": {
    "ended": "2026-11-18T11:06:40Z",
    "covered": "104 of 2000 packs read",
    "needs_attention": false
  },
  "copies": [],
  "warnings": [
    "node n2 is not connected: look at its agent"
  ],
  "jobs": [
    {
      "job": "backup-7",
      "action": "backup",
      "state": "failed",
      "started": "2026-11-18T11:06:40Z",
      "ended": "2026-11-18T11:06:41Z",
      "recovery_point": null,
      "asked_by": "operator op",
      "result": null,
      "failure": {
        "code": "qdrant-unreachable",
        "message": "Qdrant at http://127.0.0.1:6333 does not answer",
        "retryable": true
      }
    }
  ]
}
"#);
    insta::assert_snapshot!(view.text(), @r"
Cluster          demo
Coordinator      https://127.0.0.1:6350, version 0.1.0, epoch 3
Running since    2026-11-18 11:06:40Z
Nodes            1 connected of 2 known, drained: n1
Repository       /var/lib/holdfast: 580.0 MiB in 1,234 chunks
Recovery points  2, newest 20261121t101530z-0a1b2c3d
Last check       2026-11-18 11:06:40Z, sound: 104 of 2000 packs read
WARNING: node n2 is not connected: look at its agent

JOB       ACTION  STATE   STARTED               TOOK   RESULT
backup-7  backup  failed  2026-11-18 11:06:40Z  1.0 s  qdrant-unreachable: Qdrant at http://127.0.0.1:6333 does not answer
");
}

#[test]
fn jobs() {
    let view = JobsView::from(&status());
    insta::assert_snapshot!(render_json(&view, true), @r#"
{
  "kind": "jobs",
  "format": 1,
  "jobs": [
    {
      "job": "backup-7",
      "action": "backup",
      "state": "failed",
      "started": "2026-11-18T11:06:40Z",
      "ended": "2026-11-18T11:06:41Z",
      "recovery_point": null,
      "asked_by": "operator op",
      "result": null,
      "failure": {
        "code": "qdrant-unreachable",
        "message": "Qdrant at http://127.0.0.1:6333 does not answer",
        "retryable": true
      }
    }
  ]
}
"#);
    let view = CancelView {
        job: "backup-7".into(),
        cancelled: false,
    };
    insta::assert_snapshot!(render_json(&view, false), @r#"{"kind":"job-cancel","format":1,"job":"backup-7","cancelled":false}"#);
}

#[test]
fn nodes_and_their_qdrant() {
    let view = NodesView::from(&nodes());
    insta::assert_snapshot!(render_json(&view, true), @r#"
{
  "kind": "nodes",
  "format": 1,
  "nodes": [
    {
      "node": "n1",
      "connected": true,
      "last_seen": "2026-11-18T11:06:40Z",
      "agent_version": "0.1.0",
      "clock_offset_ms": -3,
      "qdrant": {
        "version": "1.18.3",
        "commit": "abc123",
        "peer_id": null,
        "collections": [
          "products"
        ],
        "snapshots_shared": true,
        "storage_free_bytes": 10737418240
      },
      "qdrant_error": null,
      "drained": {
        "since": "2026-11-18T11:06:40Z",
        "by": "alice",
        "reason": "new disk"
      }
    },
    {
      "node": "n2",
      "connected": false,
      "last_seen": null,
      "agent_version": null,
      "clock_offset_ms": 0,
      "qdrant": null,
      "qdrant_error": {
        "code": "qdrant-unreachable",
        "message": "Qdrant at http://127.0.0.1:6333 does not answer",
        "retryable": true
      },
      "drained": null
    }
  ],
  "removed": [
    {
      "node": "n0",
      "since": "2026-11-18T11:06:40Z",
      "by": "alice",
      "reason": "new disk",
      "successor": "n1"
    }
  ]
}
"#);
    insta::assert_snapshot!(view.text(), @r"
NODE  STATE               LAST SEEN             AGENT  QDRANT                                                               COLLECTIONS  CAPTURE  FREE
n1    connected, drained  2026-11-18 11:06:40Z  0.1.0  1.18.3                                                               1            stored   10.0 GiB
n2    NOT CONNECTED       never                        qdrant-unreachable: Qdrant at http://127.0.0.1:6333 does not answer

n1 is drained since 2026-11-18 11:06:40Z by alice: new disk
n0 was removed at 2026-11-18 11:06:40Z by alice: new disk; n1 took its place
");
}

#[test]
fn collections_of_nodes() {
    let view = CollectionsView::from(&collections());
    insta::assert_snapshot!(render_json(&view, true), @r#"
{
  "kind": "collections",
  "format": 1,
  "collections": [
    {
      "collection": "products",
      "status": "green",
      "shards": 1,
      "points_approx": 300000,
      "aliases": [
        "current"
      ],
      "nodes": [
        "n1"
      ],
      "newest_recovery_point": null,
      "recoverable_until": "2026-11-18T11:08:19.2Z",
      "rpo_ms": 800,
      "continuous": true
    }
  ],
  "unseen": [
    "node n2 is not connected"
  ]
}
"#);
    insta::assert_snapshot!(view.text(), @r"
COLLECTION  STATUS  SHARDS  POINTS    ALIASES  NODES  NEWEST RECOVERY POINT  RECOVERABLE TO
products    green   1       ~300,000  current  n1     NONE                   800 ms ago
Not shown: node n2 is not connected
");
}
