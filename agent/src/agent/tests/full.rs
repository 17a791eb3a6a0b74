//! The full capture of the direct and partial ways: that it comes, whatever happens, and that what it leaves is built on; and
//! servers that refuse these ways or report failures.

use super::living::{GROWING, MARKS, PAGE, SEALED};
use super::shop::{Shop, one_says};
use super::world::failure_code;
use holdfast_proto::v1::CaptureMethod::{Auto, Direct, Partial, Stored, Stream};
use holdfast_types::ByteCount;

/// More than is streamed if it can be stored.
const MUCH: u64 = 260;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_to_stream_is_stored_and_then_built_on() {
    let shop = Shop::open(24).await;
    shop.shard(|s| s.bloat(GROWING, PAGE, MUCH));
    let reasons = shop.right(Auto, "stored").await;
    one_says(&reasons, "storing a snapshot is quicker");
    assert_eq!(shop.shard(|s| s.asked), 0);
    shop.right(Auto, "partial").await;
    let least = shop.shard(|s| s.answered);
    assert!(least < 20_000, "{least}");
    shop.shard(|s| s.operate(SEALED, MARKS));
    shop.right(Auto, "partial").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_moves_while_it_is_stored_only_what_never_changes_is_built_on() {
    let shop = Shop::open(24).await;
    shop.shard(|s| s.bloat(GROWING, PAGE, MUCH));
    // after the snapshot was made, before the second manifest
    shop.shard(|s| s.at_whole.push_back(Box::new(|s| s.operate(SEALED, MARKS))));
    let commit = shop.take(Auto).await;
    assert_eq!(commit.shard.method, "stored");
    shop.world.until_clean().await;
    shop.right(Auto, "partial").await;
    let marks = shop.shard(|s| s.answered);
    assert!(marks < 20_000, "{marks}");
    // a restart in between: nothing is built on it
    shop.shard(|s| s.bloat(GROWING, PAGE, MUCH));
    shop.world.qdrant.lock().started = "one o'clock".to_owned();
    let reasons = shop.right(Auto, "stored").await;
    one_says(&reasons, "started anew");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_capture_that_overflows_the_spool_is_stored_and_counts() {
    let shop = Shop::with(|config| {
        config.capture.full_every = 3;
        config.spool_limit = ByteCount(20 << 10);
    })
    .await;
    for _ in 0..2 {
        let asked = shop.shard(|s| s.asked);
        let reasons = shop.right(Partial, "stored").await;
        one_says(&reasons, "the spool of");
        one_says(&reasons, "needs no spool");
        assert_eq!(shop.shard(|s| s.asked), asked + 1, "not tried again");
        shop.right(Partial, "partial").await;
        shop.right(Partial, "partial").await;
    }
    // what it finds counts, too
    shop.right(Partial, "stored").await;
    shop.shard(|s| s.write_unseen(GROWING, PAGE));
    shop.take(Partial).await;
    shop.take(Partial).await;
    let (_, outcome) = shop.outcome(Partial).await;
    assert_eq!(failure_code(&outcome), "proof-failed", "{outcome:?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_of_the_server_do_not_put_the_full_capture_off() {
    let shop = Shop::open(3).await;
    let restart = |when: &str| when.clone_into(&mut shop.world.qdrant.lock().started);
    shop.right(Direct, "stream").await;
    restart("one o'clock");
    shop.right(Direct, "direct").await;
    restart("two o'clock");
    shop.right(Direct, "direct").await;
    restart("three o'clock");
    let reasons = shop.right(Direct, "stream").await;
    one_says(&reasons, "one in 3");
    shop.right(Direct, "direct").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_can_t_be_kept_makes_the_next_capture_a_full_one() {
    let shop = Shop::open(24).await;
    shop.right(Partial, "stream").await;
    let bases = shop.world.config.state_dir.join("bases");
    let record = std::fs::read_dir(&bases).unwrap().next().unwrap();
    let record = record.unwrap().path();
    // Nothing can be written where a directory is in the way.
    std::fs::create_dir(record.with_extension("new")).unwrap();
    shop.right(Partial, "partial").await;
    assert!(!record.exists());
    shop.right(Partial, "stream").await;
    std::fs::remove_dir(record.with_extension("new")).unwrap();
    shop.right(Partial, "stream").await;
    shop.right(Partial, "partial").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_may_not_ask_for_partial_snapshots_makes_stored_ones() {
    let shop = Shop::open(24).await;
    shop.right(Partial, "stream").await;
    for what in ["partial/manifest", "partial/create"] {
        for status in [401, 403] {
            shop.shard(|s| s.refuse = Some((what, status)));
            let reasons = shop.right(Auto, "stored").await;
            one_says(&reasons, "refuses partial snapshots to this API key");
        }
    }
    shop.shard(|s| s.refuse = Some(("telemetry", 403)));
    let reasons = shop.right(Auto, "stored").await;
    one_says(&reasons, "does not say when it was started");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_prove_nothing_while_a_failed_operation_is_pending() {
    let shop = Shop::open(24).await;
    shop.right(Partial, "stream").await;
    shop.shard(|s| s.status = "red");
    let asked = shop.shard(|s| s.asked);
    let reasons = shop.right(Partial, "stored").await;
    one_says(&reasons, "failed optimization or operation: versions");
    one_says(&reasons, "is not in the snapshot");
    assert_eq!(shop.shard(|s| s.asked), asked);
    let commit = shop.take(Stream).await;
    one_says(&commit.shard.reasons, "is not in the snapshot");
    // red once the snapshot is made, then green again
    shop.shard(|s| s.status = "green");
    shop.meanwhile(|s| {
        s.write_unseen(GROWING, PAGE);
        s.status = "red";
    });
    let commit = shop.take(Partial).await;
    one_says(
        &commit.shard.reasons,
        "failed optimization or operation since",
    );
    assert_eq!(commit.shard.method, "stored");
    shop.shard(|s| s.status = "green");
    shop.world.until_clean().await;
    shop.shard(|s| s.at_whole.push_back(Box::new(|s| s.status = "red")));
    let commit = shop.take(Stored).await;
    one_says(&commit.shard.reasons, "is not in the snapshot");
    shop.close().await;
}
