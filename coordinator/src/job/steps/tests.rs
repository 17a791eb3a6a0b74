//! Steps of records in all their states.

use super::{Live, Overall, Step, StepAction, StepState, expected, overall, steps};
use crate::fixture::{NOW, backup_record, backup_work, committed};
use crate::job::feed::{Figures, ProgressKey};
use crate::job::pace::Rate;
use crate::job::{
    ClusterParts, FailedCapture, JobRecord, JobState, RestoreWork, RestoredStep, ShardUpload, Work,
    restore_id,
};
use holdfast_decide::{RestorePlan, RestoreStep};
use holdfast_proto::v1;
use holdfast_types::{Epoch, ShardId};
use std::collections::BTreeMap;
use std::time::Duration;

fn states(steps: &[Step]) -> Vec<StepState> {
    steps.iter().map(|step| step.state).collect()
}

fn told(done: u64, total: u64, rate: u64) -> Figures {
    let progress = v1::Progress {
        stage: "reading".into(),
        bytes_done: done,
        bytes_total: total,
        bytes_sent: done / 2,
        slowed: String::new(),
    };
    Figures {
        progress,
        rate: Some(Rate(rate)),
    }
}

fn key(collection: &str, shard: u32) -> ProgressKey {
    ProgressKey {
        node: "n1".parse().unwrap(),
        collection: collection.parse().unwrap(),
        shard: ShardId(shard),
    }
}

/// One shard is captured, one is under way, one is to come.
fn half_way() -> (JobRecord, Live) {
    let mut job = backup_record();
    let id = job.id.clone();
    let work = job.backup_mut().unwrap();
    let mut books = committed("books", 0, 1);
    books.elapsed_ms = 500;
    work.committed.insert(0, books);
    let command = work.capture_id(&id, 1).unwrap();
    let live = Live {
        figures: [(key("docs", 0), told(400, 1000, 100))].into(),
        open: [(command, None)].into(),
        expected: [(("docs".parse().unwrap(), ShardId(1)), 3000)].into(),
        ..Live::default()
    };
    (job, live)
}

#[test]
fn captures_are_done_running_and_pending_with_their_figures() {
    let (job, live) = half_way();
    let made = steps(&job, &live);
    assert_eq!(
        states(&made),
        [StepState::Done, StepState::Running, StepState::Pending]
    );
    let figures = |step: &Step| (step.done, step.total, step.total_estimated, step.rate);
    assert_eq!(
        figures(&made[0]),
        (1000, Some(1000), false, Some(Rate(2000)))
    );
    assert_eq!(figures(&made[1]), (400, Some(1000), false, Some(Rate(100))));
    assert_eq!(figures(&made[2]), (0, Some(3000), true, None));
    assert_eq!(made[1].stage, "reading");
    assert_eq!(made[1].remaining(), Some(Duration::from_secs(6)));
    let tries: Vec<u32> = made.iter().map(|step| step.tries).collect();
    assert_eq!(tries, [1, 1, 0]);
    assert_eq!(
        overall(&made),
        Overall {
            done: 1400,
            total: Some(5000),
            estimated: true,
            rate: Some(Rate(100)),
            // 600 of the one and 3000 of the next, on the same node.
            remaining: Some(Duration::from_secs(36)),
        }
    );
}

#[test]
fn what_nobody_knows_is_not_guessed() {
    let (job, mut live) = half_way();
    live.expected.clear();
    let all = overall(&steps(&job, &live));
    assert_eq!((all.total, all.remaining), (None, None));
    assert_eq!(all.rate, Some(Rate(100)));
}

#[test]
fn a_node_that_is_away_is_waited_for() {
    let (job, mut live) = half_way();
    live.away.insert("n1".parse().unwrap());
    let made = steps(&job, &live);
    assert_eq!(made[1].state, StepState::Waiting);
    assert_eq!(made[1].done, 400);
    assert_eq!(made[1].remaining(), None);
    assert_eq!(overall(&made).remaining, None);
}

#[test]
fn a_capture_that_failed_is_pending_elsewhere() {
    let (mut job, mut live) = half_way();
    live.open.clear();
    let failed = FailedCapture {
        index: 1,
        node: "n1".parse().unwrap(),
        why: "broke off".into(),
    };
    let work = job.backup_mut().unwrap();
    work.failed.push(failed);
    work.dropped.insert(2);
    let made = steps(&job, &live);
    assert_eq!(
        states(&made),
        [StepState::Done, StepState::Failed, StepState::LeftOut]
    );
    // What is left out is no part of the whole.
    assert_eq!(overall(&made).total, None);
    job.backup_mut().unwrap().plan.captures[1].node = "n2".parse().unwrap();
    let made = steps(&job, &live);
    assert_eq!(made[1].state, StepState::Pending);
    assert_eq!(made[1].tries, 1);
    assert_eq!(
        made[1].failures,
        [("n1".parse().unwrap(), "broke off".into())]
    );
}

#[test]
fn an_ended_job_keeps_its_figures_and_tells_what_the_next_may_expect() {
    let (mut job, _) = half_way();
    job.state = JobState::Failed;
    job.backup_mut().unwrap().forget_entries();
    let made = steps(&job, &Live::default());
    assert_eq!(
        states(&made),
        [StepState::Done, StepState::NotDone, StepState::NotDone]
    );
    assert_eq!((made[0].done, made[0].sent), (1000, 100));
    let mut older = job.clone();
    older
        .backup_mut()
        .unwrap()
        .captured
        .get_mut(&0)
        .unwrap()
        .logical_bytes = 7;
    let known = expected([&job, &older].into_iter());
    assert_eq!(
        known,
        [(("books".parse().unwrap(), ShardId(0)), 1000)].into()
    );
}

#[test]
fn imports_count_what_is_delivered() {
    let mut job = backup_record();
    let id = job.id.clone();
    let work = job.backup_mut().unwrap();
    work.imported_by = Some("op".into());
    let command = work.capture_id(&id, 0).unwrap();
    let live = Live {
        open: [(command, Some(77))].into(),
        ..Live::default()
    };
    let made = steps(&job, &live);
    assert_eq!(made[0].action, StepAction::TakeIn);
    assert_eq!((made[0].state, made[0].sent), (StepState::Running, 77));
}

fn restore_record(in_cluster: bool) -> JobRecord {
    let step = |name: &str, shards: u32| RestoreStep {
        source: name.parse().unwrap(),
        target: format!("{name}2").parse().unwrap(),
        replaces: false,
        shards,
        logical_bytes: 1000 * u64::from(shards),
        shard_sizes: (0..shards).map(|shard| (ShardId(shard), 1000)).collect(),
        replicas: None,
        replication_factor: None,
        kept_aliases: vec![],
        aliases: vec![],
        indexes: vec![],
        points: None,
        recovery_order: None,
    };
    let work = RestoreWork {
        plan: RestorePlan {
            epoch: Epoch(1),
            point: "20261121t101530z-00000001".parse().unwrap(),
            node: None,
            in_cluster,
            receivers: vec![],
            with_aliases: false,
            steps: vec![step("a", 1), step("b", 2)],
            order_from: None,
            safety: None,
            instant: None,
            blockers: vec![],
            warnings: vec![],
        },
        node: "n1".parse().unwrap(),
        from_copy: None,
        safety: None,
        begun: 2,
        resumed: false,
        done: vec![RestoredStep {
            points: 1,
            uploaded_bytes: 900,
            elapsed_ms: 1000,
            aliases: vec![],
            indexes: vec![],
            replayed: 0,
            uploads: BTreeMap::new(),
        }],
        parts: None,
    };
    let work = Work::Restore(Box::new(work));
    JobRecord::begun("restore-1".parse().unwrap(), NOW, "op".into(), work)
}

#[test]
fn a_restore_on_one_node_has_a_step_for_each_collection() {
    let mut job = restore_record(false);
    let live = Live {
        figures: [(key("b2", 0), told(500, 2100, 50))].into(),
        open: [(restore_id(&job.id, 1).unwrap(), None)].into(),
        ..Live::default()
    };
    let made = steps(&job, &live);
    assert_eq!(states(&made), [StepState::Done, StepState::Running]);
    assert_eq!((made[0].done, made[0].rate), (900, Some(Rate(900))));
    assert_eq!(
        (made[1].shard, made[1].done, made[1].total),
        (None, 500, Some(2100))
    );
    assert_eq!(made[1].remaining(), Some(Duration::from_secs(32)));
    job.state = JobState::Failed;
    let made = steps(&job, &Live::default());
    assert_eq!(states(&made), [StepState::Done, StepState::Failed]);
}

#[test]
fn a_safety_capture_comes_first() {
    let mut job = restore_record(false);
    if let Work::Restore(work) = &mut job.work {
        work.safety = Some(backup_work());
        work.begun = 0;
        work.done.clear();
    }
    let made = steps(&job, &Live::default());
    let actions: Vec<StepAction> = made.iter().map(|step| step.action).collect();
    let (safety, restore) = (StepAction::SafetyCapture, StepAction::Restore);
    assert_eq!(actions, [safety, safety, safety, restore, restore]);
    assert_eq!(states(&made), [StepState::Pending; 5]);
}

#[test]
fn a_restore_into_a_cluster_has_a_step_for_each_shard() {
    let mut job = restore_record(true);
    let upload = |node: &str, tries, done| ShardUpload {
        node: node.parse().unwrap(),
        tries,
        failed: false,
        done,
        bytes: if done { 800 } else { 0 },
        replayed: 0,
    };
    if let Work::Restore(work) = &mut job.work {
        let mut parts = ClusterParts::new(1);
        parts.uploads.insert(ShardId(1), upload("n2", 2, false));
        work.parts = Some(parts);
        work.done[0]
            .uploads
            .insert(ShardId(0), upload("n3", 1, true));
    }
    let open = format!("{}-u1-2", restore_id(&job.id, 1).unwrap());
    let live = Live {
        open: [(open.parse().unwrap(), None)].into(),
        ..Live::default()
    };
    let made = steps(&job, &live);
    let told: Vec<String> = made
        .iter()
        .map(|step| {
            let node = step.node.as_ref().map_or("?", |node| node.as_str());
            let shard = step.shard.unwrap();
            format!(
                "{node} {}/{shard} {:?} {}",
                step.collection, step.state, step.tries
            )
        })
        .collect();
    assert_eq!(
        told,
        ["n3 a2/0 Done 1", "? b2/0 Pending 0", "n2 b2/1 Running 2"]
    );
    assert_eq!((made[0].total, made[1].total), (Some(800), Some(1000)));
    assert!(!made[0].total_estimated && made[1].total_estimated);
    // Where the next shard goes is not known, so neither is how long it takes.
    assert_eq!(overall(&made).remaining, None);
    job.state = JobState::Cancelled;
    let made = steps(&job, &Live::default());
    assert_eq!(
        states(&made),
        [StepState::Done, StepState::NotDone, StepState::NotDone]
    );
}
