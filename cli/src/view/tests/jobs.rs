//! Snapshots of one job in full.

use crate::output::{View as _, render_json};
use crate::view::{JobDetailView, UpkeepEndView};
use holdfast_proto::v1;

const START: i64 = 1_795_000_000_000_000;

fn step(node: &str, collection: &str, shard: u32, state: v1::StepState) -> v1::JobStep {
    v1::JobStep {
        action: v1::StepAction::Capture.into(),
        node: node.into(),
        collection: collection.into(),
        shard_id: Some(shard),
        state: state.into(),
        ..Default::default()
    }
}

fn line(number: u64, warning: bool, text: &str) -> v1::JobLogLine {
    v1::JobLogLine {
        at_us: START + i64::try_from(number).unwrap() * 1_000_000,
        number,
        warning,
        text: text.into(),
    }
}

pub(super) fn running() -> v1::JobDetail {
    let done = v1::JobStep {
        bytes_done: 1 << 20,
        bytes_total: Some(1 << 20),
        bytes_sent: 1 << 19,
        rate: Some(2 << 20),
        tries: 1,
        ..step("n1", "docs", 0, v1::StepState::Done)
    };
    let under_way = v1::JobStep {
        bytes_done: 1 << 20,
        bytes_total: Some(4 << 20),
        bytes_sent: 1 << 18,
        rate: Some(1 << 20),
        remaining_ms: Some(3000),
        stage: "reading".into(),
        tries: 2,
        failures: vec![v1::StepFailure {
            node: "n3".into(),
            why: "capture of docs/1 on n3: broke off".into(),
        }],
        ..step("n2", "docs", 1, v1::StepState::Running)
    };
    let to_come = v1::JobStep {
        bytes_total: Some(2 << 20),
        total_estimated: true,
        ..step("n2", "docs", 2, v1::StepState::Pending)
    };
    v1::JobDetail {
        job: Some(v1::JobSummary {
            job_id: "backup-7".into(),
            kind: "backup".into(),
            state: v1::JobState::Running.into(),
            started_us: START,
            ended_us: 0,
            failure: None,
            recovery_point: "20261121t101530z-0a1b2c3d".into(),
            asked_by: "schedule nightly".into(),
            result: String::new(),
        }),
        cancel_requested: false,
        note: "why".into(),
        steps: vec![done, under_way, to_come],
        totals: Some(v1::JobTotals {
            bytes_done: 2 << 20,
            bytes_total: Some(7 << 20),
            total_estimated: true,
            rate: Some(1 << 20),
            remaining_ms: Some(5000),
        }),
        log: vec![
            line(0, false, "backup begins, asked for by schedule nightly"),
            line(1, true, "capture of docs/1 on n3: broke off"),
        ],
        log_dropped: 0,
        safety_recovery_point: String::new(),
        upkeep: None,
    }
}

#[test]
fn a_running_job() {
    let view = JobDetailView::from(&running());
    insta::assert_snapshot!(view.text(), @r"
Job             backup-7
Action          backup
State           running
Asked for by    schedule nightly
Started         2026-11-18 11:06:40Z
Recovery point  20261121t101530z-0a1b2c3d
Note            why
Progress        2.0 MiB of about 7.0 MiB, 1.0 MiB/s, about 5.0 s left

STEP     NODE  COLLECTION  SHARD  STATE             DONE     OF             RATE       LEFT   TRIES
capture  n1    docs        0      done              1.0 MiB  1.0 MiB        2.0 MiB/s         1
capture  n2    docs        1      running: reading  1.0 MiB  4.0 MiB        1.0 MiB/s  3.0 s  2
capture  n2    docs        2      pending           0 B      about 2.0 MiB                    0

2026-11-18 11:06:40Z   backup begins, asked for by schedule nightly
2026-11-18 11:06:41Z ! capture of docs/1 on n3: broke off
");
}

#[test]
fn a_job_and_its_totals_for_programs() {
    let mut wire = running();
    wire.steps.clear();
    wire.log.clear();
    let text = render_json(&JobDetailView::from(&wire), true);
    insta::assert_snapshot!(text, @r#"
{
  "kind": "job",
  "format": 1,
  "job": "backup-7",
  "action": "backup",
  "state": "running",
  "cancel_requested": false,
  "asked_by": "schedule nightly",
  "started": "2026-11-18T11:06:40Z",
  "ended": null,
  "recovery_point": "20261121t101530z-0a1b2c3d",
  "safety_recovery_point": null,
  "note": "why",
  "failure": null,
  "totals": {
    "bytes_done": 2097152,
    "bytes_total": 7340032,
    "total_estimated": true,
    "bytes_per_sec": 1048576,
    "remaining_ms": 5000
  },
  "upkeep": null,
  "steps": [],
  "log": [],
  "log_dropped": 0
}
"#);
}

#[test]
fn a_step_and_a_line_for_programs() {
    let view = JobDetailView::from(&running());
    let step = serde_json::to_string_pretty(&view.steps[1]).unwrap();
    insta::assert_snapshot!(step, @r#"
{
  "action": "capture",
  "node": "n2",
  "collection": "docs",
  "shard": 1,
  "state": "running",
  "stage": "reading",
  "bytes_done": 1048576,
  "bytes_total": 4194304,
  "total_estimated": false,
  "bytes_per_sec": 1048576,
  "remaining_ms": 3000,
  "bytes_sent": 262144,
  "tries": 2,
  "failures": [
    {
      "node": "n3",
      "why": "capture of docs/1 on n3: broke off"
    }
  ]
}
"#);
    let line = serde_json::to_string(&view.log[1]).unwrap();
    insta::assert_snapshot!(line, @r#"{"at":"2026-11-18T11:06:41Z","warning":true,"text":"capture of docs/1 on n3: broke off","number":1}"#);
}

#[test]
fn a_job_that_failed() {
    let mut wire = running();
    let job = wire.job.as_mut().unwrap();
    job.kind = "restore".into();
    job.state = v1::JobState::Failed.into();
    job.ended_us = START + 61_000_000;
    job.failure = Some(v1::Failure {
        code: "qdrant-error".into(),
        message: "restore of docs: no space".into(),
        retryable: false,
    });
    wire.note = String::new();
    wire.safety_recovery_point = "20261121t101530z-00000002".into();
    wire.steps = vec![v1::JobStep {
        action: v1::StepAction::Restore.into(),
        shard_id: None,
        stage: "uploading".into(),
        ..step("n1", "docs", 0, v1::StepState::Failed)
    }];
    wire.totals = Some(v1::JobTotals::default());
    wire.log[1].number = 13;
    wire.log_dropped = 12;
    let view = JobDetailView::from(&wire);
    insta::assert_snapshot!(view.text(), @r"
Job             backup-7
Action          restore
State           failed after 1 min 1 s
Asked for by    schedule nightly
Started         2026-11-18 11:06:40Z
Ended           2026-11-18 11:07:41Z
Recovery point  20261121t101530z-0a1b2c3d
Safety capture  20261121t101530z-00000002
Progress        0 B
Failure         qdrant-error: restore of docs: no space
  at risk       the recovery point is untouched; check the target with `holdfast collections` before using it
  to do         look into Qdrant's log at the time of the failure

STEP     NODE  COLLECTION  SHARD  STATE   DONE  OF  RATE  LEFT  TRIES
restore  n1    docs        all    failed  0 B                   0

2026-11-18 11:06:40Z   backup begins, asked for by schedule nightly
(12 lines in between are not kept any more)
2026-11-18 11:06:41Z ! capture of docs/1 on n3: broke off
");
    let failure = serde_json::to_string(&view.failure).unwrap();
    insta::assert_snapshot!(failure, @r#"{"code":"qdrant-error","message":"restore of docs: no space","retryable":false,"at_risk":"the recovery point is untouched; check the target with `holdfast collections` before using it","to_do":"look into Qdrant's log at the time of the failure"}"#);
}

fn check() -> v1::JobDetail {
    v1::JobDetail {
        job: Some(v1::JobSummary {
            job_id: "verify-7".into(),
            kind: "verify".into(),
            state: v1::JobState::Running.into(),
            started_us: START,
            asked_by: "schedule".into(),
            ..Default::default()
        }),
        totals: Some(v1::JobTotals {
            bytes_done: 2 << 20,
            bytes_total: Some(4 << 20),
            rate: Some(1 << 20),
            remaining_ms: Some(2000),
            ..Default::default()
        }),
        log: vec![line(0, false, "verify begins by itself")],
        upkeep: Some(v1::UpkeepSummary {
            task: "check the repository: everything small, and every pack".into(),
            stage: "reading".into(),
            unit: "packs".into(),
            parts_done: 3,
            parts_total: Some(6),
            bytes_done: 2 << 20,
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn a_run_of_upkeep() {
    let view = JobDetailView::from(&check());
    insta::assert_snapshot!(view.text(), @r"
Job             verify-7
Action          verify
State           running
Asked for by    schedule
Started         2026-11-18 11:06:40Z
Does            check the repository: everything small, and every pack
Now             reading
Progress        3 of 6 packs, 2.0 MiB of 4.0 MiB, 1.0 MiB/s, about 2.0 s left

2026-11-18 11:06:40Z   verify begins by itself
");
    let upkeep = serde_json::to_string(&view.upkeep).unwrap();
    insta::assert_snapshot!(upkeep, @r#"{"task":"check the repository: everything small, and every pack","stage":"reading","copy":null,"collection":null,"unit":"packs","parts_done":3,"parts_total":6,"bytes_done":2097152,"found":[]}"#);
}

#[test]
fn what_a_run_of_upkeep_found() {
    let mut wire = check();
    let job = wire.job.as_mut().unwrap();
    job.state = v1::JobState::Interrupted.into();
    job.ended_us = START + 61_000_000;
    let run = wire.upkeep.as_mut().unwrap();
    run.stage = String::new();
    run.found = vec!["6 of 6 packs read, everything".into(), "and more".into()];
    let view = JobDetailView::from(&wire);
    assert_eq!(view.state, "interrupted");
    let text = view.text();
    assert!(
        text.contains("\nResult          6 of 6 packs read, everything; and more\n"),
        "{text}"
    );
    let end = UpkeepEndView {
        job: "verify-7".into(),
        upkeep: view.upkeep.unwrap(),
    };
    insta::assert_snapshot!(end.text(), @r"
Job verify-7: 3 of 6 packs, 2.0 MiB.
  6 of 6 packs read, everything
  and more
");
}
