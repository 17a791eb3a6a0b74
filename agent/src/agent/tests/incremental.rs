//! The direct and the partial way against stand-ins: whatever happens meanwhile, what is committed is the shard at one
//! instant, equal to a stored snapshot of it, or nothing.

use super::living::{CHUNK, GRAPH, GROWING, MARKS, PAGE, SEALED};
use super::shard;
use super::shop::{Shop, one_says};
use super::world::failure_code;
use holdfast_proto::v1::CaptureMethod::{Auto, Direct, Partial};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn direct_reads_from_disk_what_never_changes() {
    let shop = Shop::open(24).await;
    let reasons = shop.right(Direct, "stream").await;
    one_says(&reasons, "no earlier capture");
    shop.right(Direct, "direct").await;
    let (sent, all) = shop.shard(|s| (s.answered, shard::archive(&s.files).len()));
    assert!(sent < all - 300_000, "{sent} of {all}");
    shop.shard(|s| s.operate(SEALED, MARKS));
    shop.shard(|s| s.operate(GROWING, CHUNK));
    shop.right(Direct, "direct").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_takes_only_what_has_changed() {
    let shop = Shop::open(24).await;
    let reasons = shop.right(Partial, "stream").await;
    one_says(&reasons, "no earlier capture");
    shop.right(Partial, "partial").await;
    let least = shop.shard(|s| s.answered);
    assert!(least < 20_000, "{least}");
    shop.shard(|s| s.operate(GROWING, PAGE));
    shop.shard(|s| s.operate(SEALED, MARKS));
    shop.right(Partial, "partial").await;
    shop.shard(|s| s.optimize(SEALED));
    shop.right(Partial, "partial").await;
    shop.right(Auto, "partial").await;
    shop.shard(|s| drop(s.optimize(GROWING)));
    shop.right(Auto, "partial").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_vanishes_leads_to_a_retry() {
    let shop = Shop::open(24).await;
    shop.right(Direct, "stream").await;
    shop.meanwhile(|s| drop(std::fs::remove_file(s.path(SEALED, GRAPH))));
    shop.meanwhile(|s| drop(s.optimize(SEALED)));
    // Qdrant's own view still has the file; the second try finds that it can't be opened, the third a new segment.
    let commit = shop.take(Direct).await;
    one_says(&commit.shard.reasons, "graph.bin has vanished");
    assert_eq!(commit.shard.method, "stored");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_is_replaced_while_it_is_read_leads_to_a_retry() {
    let shop = Shop::open(24).await;
    shop.right(Direct, "stream").await;
    shop.meanwhile(|s| drop(s.optimize(SEALED)));
    let reasons = shop.right(Direct, "direct").await;
    one_says(&reasons, "has vanished");
    assert_eq!(shop.shard(|s| s.asked), 3);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_leads_to_a_retry() {
    let shop = Shop::open(24).await;
    shop.right(Direct, "stream").await;
    shop.meanwhile(|s| s.operate(SEALED, GRAPH));
    let reasons = shop.right(Direct, "direct").await;
    one_says(&reasons, "has changed");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_moves_leads_to_a_retry() {
    let shop = Shop::open(24).await;
    shop.right(Partial, "stream").await;
    // the page keeps its own version, so Qdrant leaves it out, but the segment has moved
    shop.meanwhile(|s| s.operate(GROWING, CHUNK));
    let reasons = shop.right(Partial, "partial").await;
    one_says(&reasons, "moved on");
    assert_eq!(shop.shard(|s| s.asked), 3);
    // always moving: what moves is then sent whole
    for _ in 0..3 {
        shop.meanwhile(|s| s.operate(GROWING, CHUNK));
    }
    shop.right(Partial, "partial").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claimed_file_that_comes_anyway_is_used_as_sent() {
    let shop = Shop::open(24).await;
    shop.right(Partial, "stream").await;
    shop.shard(|s| s.send_all = true);
    shop.right(Partial, "stream").await;
    shop.right(Direct, "stream").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_claimed_must_not_be_missing() {
    let shop = Shop::open(24).await;
    shop.right(Direct, "stream").await;
    shop.shard(|s| s.leave_out = Some(PAGE.to_owned()));
    let reasons = shop.right(Direct, "stored").await;
    one_says(&reasons, "which was not claimed");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_304_is_not_believed() {
    let shop = Shop::open(24).await;
    shop.right(Partial, "stream").await;
    shop.shard(|s| s.unmodified = true);
    let reasons = shop.right(Partial, "stored").await;
    one_says(&reasons, "nothing differs");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_off_is_tried_again_and_then_another_way() {
    let shop = Shop::open(24).await;
    shop.right(Direct, "stream").await;
    shop.shard(|s| s.cut = Some((1, 2048)));
    let reasons = shop.right(Direct, "direct").await;
    one_says(&reasons, "truncated");
    shop.shard(|s| s.cut = Some((3, 2048)));
    shop.right(Direct, "stored").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_or_a_restore_voids_the_last_capture() {
    let shop = Shop::open(24).await;
    shop.right(Partial, "stream").await;
    shop.world.qdrant.lock().started = "one o'clock".to_owned();
    let reasons = shop.right(Partial, "stream").await;
    one_says(&reasons, "started anew");
    shop.right(Partial, "partial").await;
    shop.shard(|s| s.restore_in_place(GROWING));
    let reasons = shop.right(Partial, "stream").await;
    one_says(&reasons, "put in place anew");
    // while the capture runs
    shop.meanwhile(|s| s.restore_in_place(GROWING));
    let reasons = shop.right(Partial, "stream").await;
    one_says(&reasons, "put in place anew meanwhile");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_the_repository_has_lost_are_read_again() {
    let shop = Shop::open(24).await;
    shop.right(Partial, "stream").await;
    shop.world.coordinator.lock().chunks.clear();
    let reasons = shop.right(Partial, "stream").await;
    one_says(&reasons, "the repository lacks");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_capture_finds_what_the_others_missed_and_says_so_loudly() {
    let shop = Shop::open(3).await;
    shop.right(Partial, "stream").await;
    shop.right(Partial, "partial").await;
    shop.right(Partial, "partial").await;
    let reasons = shop.right(Partial, "stream").await;
    one_says(&reasons, "one in 3");
    shop.shard(|s| s.write_unseen(GROWING, PAGE));
    shop.take(Partial).await;
    shop.take(Partial).await;
    let (_, outcome) = shop.outcome(Partial).await;
    assert_eq!(failure_code(&outcome), "proof-failed", "{outcome:?}");
    let reasons = shop.right(Partial, "stored").await;
    one_says(&reasons, "an earlier check found a difference");
    shop.close().await;
}
