//! Captures that may not take all they could.

use super::world::{World, world_with_docs};
use holdfast_proto::v1;
use holdfast_proto::v1::CaptureMethod::{self, Stored, Stream};
use holdfast_proto::v1::command::Command;
use holdfast_proto::v1::command_result::Outcome;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

fn order(method: CaptureMethod, bytes_per_second: u64) -> v1::CaptureShard {
    v1::CaptureShard {
        collection: "docs".into(),
        shard_id: 0,
        method: method.into(),
        bytes_per_second,
        ..Default::default()
    }
}

async fn captured(world: &World, id: &str, order: v1::CaptureShard) -> v1::CaptureDone {
    world
        .coordinator
        .give(id, Command::CaptureShard(order))
        .await;
    let outcome = world.coordinator.result(id, 0).await;
    let Outcome::Capture(done) = outcome else {
        panic!("no capture: {outcome:?}")
    };
    done
}

/// What stands in the recovery point of why it was captured so.
fn reasons(world: &World, id: &str) -> Vec<String> {
    world.coordinator.lock().commits[id].shard.reasons.clone()
}

/// The least time in which so many bytes can be earned, but for what a bucket may owe.
fn least(bytes: u64, rate: u64) -> Duration {
    Duration::from_millis(bytes * 1000 / rate).saturating_sub(Duration::from_millis(100))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_read_than_may_be() {
    let (world, files) = world_with_docs(9).await;
    let size = files.values().map(Vec::len).sum::<usize>() as u64;
    let agent = world.start();
    for (id, method) in [("stored", Stored), ("stream", Stream)] {
        let began = Instant::now();
        let done = captured(&world, id, order(method, 6 * MIB)).await;
        assert_eq!((done.method(), done.logical_bytes), (method, size));
        let (took, least) = (began.elapsed(), least(size, 6 * MIB));
        assert!(
            took >= least,
            "{took:?} for {size} bytes, {least:?} at least"
        );
        assert_eq!(done.held_up_ms, 0, "nobody searches");
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_gives_way_to_slow_searches_and_says_so() {
    let (world, files) = world_with_docs(9).await;
    let size = files.values().map(Vec::len).sum::<usize>() as u64;
    world.qdrant.lock().search_us = Some(120_000);
    let agent = world.start();
    let gentle = v1::CaptureShard {
        max_query_latency_us: 50_000,
        max_delay_ms: 3_600_000,
        ..order(Stream, 4 * MIB)
    };
    let began = Instant::now();
    let capturing = captured(&world, "gentle", gentle);
    let said = world.coordinator.until("that it is slowed down", |inner| {
        let told = inner
            .progress
            .iter()
            .filter_map(|told| told.progress.as_ref());
        told.rev().find(|told| !told.slowed.is_empty()).cloned()
    });
    let calm = async {
        let said = said.await;
        world.qdrant.lock().search_us = Some(10_000);
        said
    };
    let (done, said) = tokio::join!(capturing, calm);
    assert_eq!(said.slowed, "searches take 120 ms, limit 50 ms");
    assert!(
        said.stage
            .ends_with("(slowed down: searches take 120 ms, limit 50 ms)")
    );
    assert!(done.held_up_ms > 0, "{done:?}");
    let held_up = Duration::from_millis(done.held_up_ms);
    let (took, least) = (began.elapsed(), least(size, 4 * MIB));
    assert!(
        took >= least + held_up.mul_f64(0.5),
        "{took:?}, held up for {held_up:?}"
    );
    assert_eq!(done.logical_bytes, size, "nothing is left out for it");
    assert!(
        !reasons(&world, "gentle")
            .iter()
            .any(|r| r.contains("searches"))
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_held_up_no_longer_than_it_may_be() {
    let (world, _) = world_with_docs(9).await;
    world.qdrant.lock().search_us = Some(120_000);
    let agent = world.start();
    let short = v1::CaptureShard {
        max_query_latency_us: 50_000,
        max_delay_ms: 500,
        ..order(Stream, 4 * MIB)
    };
    let done = captured(&world, "short", short).await;
    assert!(done.held_up_ms >= 500, "{done:?}");
    let reasons = reasons(&world, "short");
    assert!(
        reasons
            .iter()
            .any(|r| r.contains("the capture went on after")),
        "{reasons:?}"
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_tells_nothing_is_not_waited_for_and_the_point_says_so() {
    let (world, _) = world_with_docs(1).await;
    let agent = world.start();
    let blind = v1::CaptureShard {
        max_query_latency_us: 1,
        max_delay_ms: 3_600_000,
        ..order(Stored, MIB)
    };
    let done = captured(&world, "blind", blind).await;
    assert_eq!(done.held_up_ms, 0);
    let reasons = reasons(&world, "blind");
    let told =
        "Qdrant does not tell how long searches take, so that max_query_latency was not kept";
    assert!(reasons.iter().any(|r| r == told), "{reasons:?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_say_how_long_searches_take_and_that_limits_are_kept() {
    let (world, _) = world_with_docs(1).await;
    world.qdrant.lock().search_us = Some(7_000);
    let agent = world.start();
    let told = world.coordinator.until("how long searches take", |inner| {
        inner
            .heartbeats
            .iter()
            .find(|beat| beat.search_us != 0)
            .cloned()
    });
    let told = told.await;
    assert_eq!(told.search_us, 7_000);
    assert!(told.inventory.unwrap().keeps_limits);
    agent.stop().await;
}
