//! The whole suite once more, over a real S3 server, straight and through a connection that breaks.
//!
//! This program runs itself, told where the server is (see `place.rs`).

use crate::place::{ENDPOINT, KEYS};
use holdfast_store_suite::{FaultProxy, ProxyPlan, S3Server, Weed};
use std::process::{Command, Stdio};

/// The seed of the faults; any may be given, to see a failure again.
const SEED: &str = "HOLDFAST_SUITE_SEED";

/// Left out: what makes thousands of repositories, one for every write at which a program can die, or every way to damage one.
/// It tries the repository's own order of writes, which is the same over every store. Sizes are counted, not stored.
const LEFT_OUT: &[&str] = &["s3::", "crash::", "damage::every_kind", "sizes::"];
/// The stress test has one seed and fewer steps than in memory.
const STRESS: [(&str, &str); 2] = [
    ("HOLDFAST_STRESS_SEED", "1"),
    ("HOLDFAST_STRESS_STEPS", "30"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_holds_over_a_real_server() {
    let Some(weed) = Weed::find("the repository suite over a real S3 server").unwrap() else {
        return;
    };
    let server = weed.start().unwrap();
    run(&server, server.endpoint(), "no faults").await;

    let seed = std::env::var(SEED).map_or_else(|_| fresh_seed(), |set| set.parse().unwrap());
    let plan = ProxyPlan {
        seed,
        reset_before: 15,
        // Time-outs after success, both ways: the connection ends, or nothing ever comes.
        reset_after: 15,
        hang_after: 1,
        slow_down: 30,
        truncate: 15,
        stall: 1,
        slow_body: 20,
        ..ProxyPlan::default()
    };
    let proxy = FaultProxy::start(server.address(), plan).await.unwrap();
    let what = format!("faults by {SEED}={seed}");
    run(&server, proxy.endpoint(), &what).await;
    let tally = proxy.tally();
    assert!(tally.faults * 20 > tally.requests, "{what}: {tally:?}");
}

/// Every other test of this program, over the server.
async fn run(server: &S3Server, endpoint: String, what: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for left_out in LEFT_OUT {
        command.args(["--skip", left_out]);
    }
    command
        .args(["--test-threads", "4"])
        .envs(STRESS)
        .env(ENDPOINT, endpoint)
        .env(KEYS, server.credentials())
        .stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output()).await;
    let ended = ended.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success(),
        "{what}\n{printed}\n{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0)
}
