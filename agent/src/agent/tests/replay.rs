//! Restores to an instant against stand-ins: the archived log takes the place of the captured one, proven entry by entry.

use super::coordinator::Commit;
use super::shard::{self, Files};
use super::world::{World, failure_code, restore, world_with_docs};
use bytes::Bytes;
use holdfast_archive::WalMark;
use holdfast_proto::v1;
use holdfast_wal::Entries;
use holdfast_wal::format::entry_crc;
use holdfast_wal::splice;
use v1::CaptureMethod::Stored;
use v1::command::Command;
use v1::command_result::Outcome;

/// Operations 3 to 7 of a shard that was captured at 5, 3 of them certain.
const FROM: u64 = 3;
const UNTIL: u64 = 8;

fn entries() -> Vec<Vec<u8>> {
    (FROM..UNTIL)
        .map(|n| vec![u8::try_from(n).unwrap(); 1000])
        .collect()
}

fn pieces() -> Vec<v1::LogPiece> {
    let mut crc = 99;
    let mut pieces = Vec::new();
    for (n, data) in entries().into_iter().enumerate() {
        let before = (n == 0).then_some(crc);
        crc = entry_crc(crc, &data);
        let entry = v1::LogEntry {
            seed: None,
            crc,
            length: u32::try_from(data.len()).unwrap(),
            data: data.into(),
        };
        pieces.push(v1::LogPiece {
            before,
            rest: Bytes::new(),
            entries: vec![entry],
        });
    }
    pieces
}

/// The order to restore what was captured and to replay these operations on it.
fn replay(commit: &Commit, target: &str, from: u64, until: u64) -> Command {
    let mut commit = commit.clone();
    commit.shard.next_operation = Some(5);
    commit.shard.wal = Some(WalMark {
        certain: FROM,
        timeline: None,
    });
    match restore(&commit, target, false) {
        Command::RestoreCollection(mut order) => {
            order.logs = vec![v1::ShardLog {
                shard_id: 0,
                from,
                until,
                requests_from: None,
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

/// The restored shard: its files without the log, and the log's entries with the index of the first.
fn restored(world: &World, name: &str) -> (Files, Vec<Vec<u8>>) {
    let archive = world.qdrant.lock().collections[name].archive.clone();
    let mut files = shard::unpack(&archive);
    let log = files.remove(&format!("wal/closed-{FROM}")).unwrap();
    let mark = files.remove("wal/first-index").unwrap();
    assert_eq!(mark, splice::first_index(FROM));
    let read = Entries::new(&log).unwrap().map(<[u8]>::to_vec).collect();
    (files, read)
}

fn without_log(mut files: Files) -> Files {
    files.retain(|path, _| !path.starts_with("wal/"));
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_archived_log_takes_the_place_of_the_captured_one() {
    let (world, files) = world_with_docs(2).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    world.coordinator.lock().log = pieces();
    let order = replay(&commit, "copy", FROM, UNTIL);
    world.coordinator.give("restore", order).await;
    let Outcome::Restore(done) = world.coordinator.result("restore", 0).await else {
        panic!("no restore");
    };
    assert_eq!(done.replayed_entries, UNTIL - FROM);
    assert_eq!(restored(&world, "copy"), (without_log(files), entries()));
    let beats = world.coordinator.until("an inventory", |inner| {
        let beats = inner.heartbeats.iter();
        beats.filter_map(|beat| beat.inventory.clone()).next_back()
    });
    assert!(beats.await.splices_logs, "the coordinator must be told");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_breaks_off_is_fetched_again_and_one_that_lies_is_refused() {
    let (world, files) = world_with_docs(2).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    world.coordinator.lock().log = pieces();
    world.coordinator.lock().break_log_after = Some(2);
    let order = replay(&commit, "copy", FROM, UNTIL);
    world.coordinator.give("broken", order).await;
    let outcome = world.coordinator.result("broken", 0).await;
    assert!(matches!(outcome, Outcome::Restore(_)), "{outcome:?}");
    assert_eq!(restored(&world, "copy"), (without_log(files), entries()));
    assert_eq!(world.coordinator.lock().log_requests.1, 2);

    // One bit of one entry: the collection that was created for it goes again.
    let mut bytes = pieces()[3].entries[0].data.to_vec();
    bytes[500] ^= 1;
    world.coordinator.lock().log[3].entries[0].data = bytes.into();
    let order = replay(&commit, "lied", FROM, UNTIL);
    world.coordinator.give("lied", order).await;
    let outcome = world.coordinator.result("lied", 0).await;
    assert_eq!(failure_code(&outcome), "repository-damaged");
    world
        .eventually(|| !world.qdrant.lock().collections.contains_key("lied"))
        .await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_the_capture_touches_nothing() {
    let (world, _) = world_with_docs(2).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    world.coordinator.lock().log = pieces();
    world.qdrant.lock().changes.clear();
    // From elsewhere; to where it may be behind already; more than the archive has.
    for (id, from, until) in [("a", 4, 8), ("b", 3, 4), ("c", 3, 9), ("d", 3, 7)] {
        let order = replay(&commit, "copy", from, until);
        world.coordinator.give(id, order).await;
        let outcome = world.coordinator.result(id, 0).await;
        assert!(matches!(outcome, Outcome::Failure(_)), "{id}: {outcome:?}");
    }
    assert!(world.qdrant.lock().changes.is_empty());
    agent.stop().await;
}
