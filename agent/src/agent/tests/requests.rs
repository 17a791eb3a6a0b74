//! Logical replay against stand-ins: operations are sent in order when the captured shard is there, and never twice.

use super::coordinator::Commit;
use super::world::{World, cancel, failure_code, restore, world_with_docs};
use ciborium::{Value, cbor};
use holdfast_archive::WalMark;
use holdfast_proto::v1;
use holdfast_wal::format::entry_crc;
use std::sync::Arc;
use tokio::sync::Notify;
use v1::CaptureMethod::Stored;
use v1::command::Command;
use v1::command_result::Outcome;

/// Operations 3 to 8 of a shard that was captured at 5, 3 of them certain: 3 and 4 are spliced.
const FROM: u64 = 3;
const NEXT: u64 = 5;
const UNTIL: u64 = 9;

fn entries() -> Vec<Vec<u8>> {
    let put = |id: u64| cbor!({"upsert_points" => {"points" => [{"id" => id, "vector" => [1.0, 2.0, 3.0, 4.0], "payload" => {}}]}});
    let named = cbor!({"create_vector_name" => {"vector_name" => "extra", "config" => {"dense" => {"size" => 4, "distance" => "Dot"}}}});
    let operations = [
        put(3),
        put(4),
        put(5),
        cbor!({"set_payload" => {"payload" => {"a" => 1}, "points" => [5, 6], "filter" => null}}),
        cbor!({"delete_points_by_filter" => {"must" => []}}),
        named,
    ];
    let encoded = operations.into_iter().map(|operation| {
        let mut bytes = Vec::new();
        ciborium::into_writer::<Value, _>(&operation.unwrap(), &mut bytes).unwrap();
        bytes
    });
    encoded.collect()
}

fn pieces(entries: &[Vec<u8>]) -> Vec<v1::LogPiece> {
    let mut crc = 99;
    let mut pieces = Vec::new();
    for (n, data) in entries.iter().enumerate() {
        let before = (n == 0).then_some(crc);
        crc = entry_crc(crc, data);
        let entry = v1::LogEntry {
            seed: None,
            crc,
            length: u32::try_from(data.len()).unwrap(),
            data: data.clone().into(),
        };
        pieces.push(v1::LogPiece {
            before,
            rest: bytes::Bytes::new(),
            entries: vec![entry],
        });
    }
    pieces
}

fn replay(commit: &Commit, target: &str, overwrite: bool) -> Command {
    let mut commit = commit.clone();
    commit.shard.next_operation = Some(NEXT);
    commit.shard.wal = Some(WalMark {
        certain: FROM,
        timeline: None,
    });
    match restore(&commit, target, overwrite) {
        Command::RestoreCollection(mut order) => {
            order.logs = vec![v1::ShardLog {
                shard_id: 0,
                from: FROM,
                until: UNTIL,
                requests_from: Some(NEXT),
            }];
            Command::RestoreCollection(order)
        }
        other @ (Command::CaptureShard(_)
        | Command::CaptureExtra(_)
        | Command::RestorePart(_)
        | Command::Cancel(_)) => {
            panic!("{other:?}")
        }
    }
}

/// A world whose `docs` are captured, and whose log is the entries'.
async fn captured(entries: &[Vec<u8>]) -> (World, super::world::RunningAgent, Commit) {
    let (world, _) = world_with_docs(2).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    let mut coordinator = world.coordinator.lock();
    coordinator.log = pieces(entries);
    coordinator.log_begins = Some(FROM);
    drop(coordinator);
    world.qdrant.lock().changes.clear();
    (world, agent, commit)
}

/// What was sent for the operations from [`NEXT`] on.
fn sent(name: &str) -> Vec<String> {
    let sent = [
        r#"PUT NAME points/ {"points":[{"id":5,"vector":[1.0,2.0,3.0,4.0],"payload":{}}]}"#,
        r#"POST NAME points/payload {"points":[5,6],"payload":{"a":1}}"#,
        r#"POST NAME points/delete {"filter":{"must":[]}}"#,
        r#"PUT NAME vectors/extra {"dense":{"size":4,"distance":"Dot"}}"#,
    ];
    sent.iter().map(|line| line.replace("NAME", name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_are_sent_when_the_shard_is_there() {
    let (world, agent, commit) = captured(&entries()).await;
    // The second: a point is missing, as it was at the source. The third: Qdrant refuses.
    world.qdrant.lock().change_answers = [
        (200, ""),
        (404, "No point with id 6 found"),
        (400, "no such vector"),
    ]
    .into();
    world
        .coordinator
        .give("restore", replay(&commit, "copy", false))
        .await;
    let Outcome::Restore(done) = world.coordinator.result("restore", 0).await else {
        panic!("no restore");
    };
    assert_eq!(done.replayed_entries, UNTIL - FROM);
    assert_eq!(done.notes.len(), 1, "{:?}", done.notes);
    assert!(done.notes[0].contains("refused 1 of"), "{:?}", done.notes);
    let changes = world.qdrant.lock().changes.clone();
    let made = ["create copy", "index copy.title", "upload copy"].map(str::to_owned);
    assert_eq!(changes[..3], made, "{changes:?}");
    let sent = sent("copy");
    assert_eq!(
        changes[3..],
        [sent[0].clone(), sent[3].clone()],
        "{changes:?}"
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_everything_begins_anew() {
    let (world, agent, commit) = captured(&entries()).await;
    let hold = Arc::new(Notify::new());
    world.qdrant.lock().hold_changes = Some(Arc::clone(&hold));
    world
        .coordinator
        .give("restore", replay(&commit, "copy", false))
        .await;
    world.eventually(|| world.qdrant.lock().held == 1).await;
    agent.kill().await;
    world.qdrant.lock().hold_changes = None;
    // What was on its way takes effect.
    hold.notify_waiters();
    world
        .eventually(|| world.qdrant.lock().changes.len() == 4)
        .await;
    let agent = world.start();
    let Outcome::Restore(done) = world.coordinator.result("restore", 0).await else {
        panic!("no restore");
    };
    assert_eq!(done.replayed_entries, UNTIL - FROM);
    let changes = world.qdrant.lock().changes.clone();
    let made = ["create copy", "index copy.title", "upload copy"].map(str::to_owned);
    let expected = [
        &made[..],
        &sent("copy")[..1],
        &["delete copy".to_owned()],
        &made,
        &sent("copy"),
    ]
    .concat();
    assert_eq!(changes, expected);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_says_nothing_is_followed_by_a_new_beginning() {
    let (world, agent, commit) = captured(&entries()).await;
    world.qdrant.lock().change_answers = [(200, ""), (503, "overloaded")].into();
    // Over the collection itself: it is made anew then, and keeps its alias.
    world
        .qdrant
        .lock()
        .aliases
        .insert("live".to_owned(), "docs".to_owned());
    world
        .coordinator
        .give("restore", replay(&commit, "docs", true))
        .await;
    let outcome = world.coordinator.result("restore", 0).await;
    assert!(matches!(outcome, Outcome::Restore(_)), "{outcome:?}");
    let changes = world.qdrant.lock().changes.clone();
    let made = ["create docs", "index docs.title", "upload docs"].map(str::to_owned);
    let expected = [
        &["upload docs".to_owned()],
        &sent("docs")[..1],
        &["delete docs".to_owned()],
        &made,
        &sent("docs"),
        // The captured one, and the one that it had.
        &["alias current -> docs".to_owned()],
        &["alias live -> docs".to_owned()],
    ]
    .concat();
    assert_eq!(changes, expected);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_breaks_off_while_qdrant_is_slow_is_sent_once_and_in_order() {
    let put = |id: u64| {
        let put = cbor!({"upsert_points" => {"points" => [{"id" => id, "vector" => [1.0], "payload" => {}}]}});
        let mut bytes = Vec::new();
        ciborium::into_writer::<Value, _>(&put.unwrap(), &mut bytes).unwrap();
        bytes
    };
    let until = NEXT + 40;
    let (world, agent, commit) = captured(&(FROM..until).map(put).collect::<Vec<_>>()).await;
    let hold = Arc::new(Notify::new());
    world.qdrant.lock().hold_changes = Some(Arc::clone(&hold));
    {
        let mut coordinator = world.coordinator.lock();
        // The first time they are only checked, the second time the others are spliced. Eight fit between the agent and Qdrant.
        (coordinator.break_log_after, coordinator.break_log_later) = (Some(8), 2);
    }
    let Command::RestoreCollection(mut order) = replay(&commit, "copy", false) else {
        unreachable!("it is made so");
    };
    order.logs[0].until = until;
    world
        .coordinator
        .give("restore", Command::RestoreCollection(order))
        .await;
    world.eventually(|| world.qdrant.lock().held == 1).await;
    // Longer than the agent waits before it fetches again.
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    world.qdrant.lock().hold_changes = None;
    hold.notify_waiters();
    let outcome = world.coordinator.result("restore", 0).await;
    assert!(matches!(outcome, Outcome::Restore(_)), "{outcome:?}");
    assert_eq!(
        world.coordinator.lock().log_requests.1,
        4,
        "it was broken off"
    );
    let changes = world.qdrant.lock().changes.clone();
    let put = |id: u64| {
        format!(r#"PUT copy points/ {{"points":[{{"id":{id},"vector":[1.0],"payload":{{}}}}]}}"#)
    };
    assert_eq!(changes[3..], (NEXT..until).map(put).collect::<Vec<_>>());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_replayed_touches_nothing() {
    let mut entries = entries();
    let later = cbor!({"turn_points_around" => {"points" => [1]}}).unwrap();
    let mut bytes = Vec::new();
    ciborium::into_writer(&later, &mut bytes).unwrap();
    entries[4] = bytes;
    let (world, agent, commit) = captured(&entries).await;
    world
        .coordinator
        .give("restore", replay(&commit, "docs", true))
        .await;
    let outcome = world.coordinator.result("restore", 0).await;
    assert_eq!(failure_code(&outcome), "plan-blocked");
    let Outcome::Failure(failure) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(
        failure.message.contains("operation 7 of shard 0")
            && failure.message.contains("turn_points_around")
            && failure.message.contains("--by splice"),
        "{}",
        failure.message
    );
    assert!(world.qdrant.lock().changes.is_empty());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_cancelled_between_the_point_and_the_instant_goes_again() {
    let (world, agent, commit) = captured(&entries()).await;
    world.qdrant.lock().hold_changes = Some(Arc::new(Notify::new()));
    world
        .coordinator
        .give("restore", replay(&commit, "copy", false))
        .await;
    world.eventually(|| world.qdrant.lock().held == 1).await;
    world.coordinator.give("stop", cancel("restore")).await;
    let outcome = world.coordinator.result("restore", 0).await;
    let Outcome::Failure(failure) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(failure.code, "cancelled");
    assert!(
        failure.message.contains("is deleted again"),
        "{}",
        failure.message
    );
    world
        .eventually(|| !world.qdrant.lock().collections.contains_key("copy"))
        .await;
    agent.stop().await;
}
