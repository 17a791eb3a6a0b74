//! The whole suite once more, over a real S3 server, straight and through a connection that breaks.
//!
//! This program runs itself, told where the server is (see `place.rs`). With faults, an operation has as many tries as in
//! production; the proxy lets no address suffer more often than that, so that chance alone fails nothing.

use crate::place::{ENDPOINT, FAULTS, KEYS, TestStore};
use crate::stress::fresh_seed;
use crate::support::{capture, create, files, open, point_id, restore, store_files};
use holdfast_repository::RepositoryError;
use holdfast_store::RetryPolicy;
use holdfast_store_suite::{FaultProxy, ProxyPlan, S3Server, Weed};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// The seed of the faults; any may be given, to see a failure again.
const SEED: &str = "HOLDFAST_SUITE_SEED";

/// Left out over a server, by their whole names, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "s3::the_suite_holds_over_a_real_server",
        "it is what runs the others",
    ),
    (
        "s3::a_storm_is_outlived_or_told",
        "it starts a server of its own",
    ),
    (
        "sizes::two_known_files_look_the_same",
        "it stores 9 GB, of which it looks at nothing but the sizes, which are the same over every store",
    ),
];
/// Left out with faults only, and why.
const LEFT_OUT_WITH_FAULTS: &[(&str, &str)] = &[
    (
        "copy_crash::a_crash_at_any_step_leaves_whole_points_only",
        "it makes a copy for each write at which a run can die and waits out the faults of all: a quarter of an hour on two cores",
    ),
    (
        "keeping::a_pass_that_is_cut_off_anywhere_is_finished_by_the_next",
        "likewise",
    ),
    (
        "damage::every_kind_in_every_way",
        "likewise, for each of some 500 damages",
    ),
];

/// The stress tests have one seed and fewer steps than in memory.
const STRESS_STEPS: (&str, &str) = ("HOLDFAST_STRESS_STEPS", "30");
const STRESS_SEED: &str = "HOLDFAST_STRESS_SEED";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_holds_over_a_real_server() {
    let Some(weed) = Weed::find("the repository suite over a real S3 server").unwrap() else {
        return;
    };
    let server = weed.start().unwrap();
    let seed = std::env::var(SEED).map_or_else(|_| fresh_seed(), |set| set.parse().unwrap());
    println!("{SEED}={seed}");
    run(&server, server.endpoint(), seed, false).await;

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
        cut_upload: 10,
        slow_upload: 10,
        storm: 2,
        storm_requests: 20,
        // Of six tries, two are left.
        mercy: 4,
    };
    let proxy = FaultProxy::start(server.address(), plan).await.unwrap();
    run(&server, proxy.endpoint(), seed, true).await;
    let tally = proxy.tally();
    assert!(
        tally.faults * 20 > tally.requests && tally.storms > 10,
        "{SEED}={seed}: {tally:?}"
    );
}

/// Every other test of this program, over the server.
async fn run(server: &S3Server, endpoint: String, seed: u64, faults: bool) {
    let mut left_out: Vec<_> = LEFT_OUT.iter().collect();
    if faults {
        left_out.extend(LEFT_OUT_WITH_FAULTS);
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--test-threads", "4"]);
    for (name, _) in &left_out {
        command.args(["--skip", name]);
    }
    let (name, steps) = STRESS_STEPS;
    command
        .env(name, steps)
        .env(STRESS_SEED, seed.to_string())
        .env(ENDPOINT, endpoint)
        .env(KEYS, server.credentials())
        .stdin(Stdio::null());
    if faults {
        command.env(FAULTS, "1");
    }
    let ended = tokio::task::spawn_blocking(move || command.output()).await;
    let ended = ended.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&ended.stdout);
    let what = format!("{SEED}={seed}, faults: {faults}");
    assert!(
        ended.status.success(),
        "{what}\n{printed}\n{}\nthe server's last words:\n{}",
        String::from_utf8_lossy(&ended.stderr),
        last_lines(&server.log(), 30)
    );
    // A name that no test has any more leaves nothing out.
    let counted = format!("; {} filtered out", left_out.len());
    assert!(
        printed.contains(&counted),
        "{what}: not{counted}\n{printed}"
    );
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The service refuses everybody, in the middle of a capture: for less than all tries, which nobody notices, and for longer,
/// which is told. What was captured before stays, and so does what the next capture stores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_is_outlived_or_told() {
    let Some(weed) = Weed::find("a repository in a bucket that refuses everybody").unwrap() else {
        return;
    };
    let server = weed.start().unwrap();
    let proxy = FaultProxy::start(server.address(), ProxyPlan::default()).await;
    let proxy = proxy.unwrap();
    let store = Arc::new(TestStore::at(proxy.endpoint(), server.credentials()));
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &files(1)).await.unwrap();

    let tries = u64::from(RetryPolicy::default().attempts);
    proxy.storm(tries - 1);
    capture(&repository, epoch, 2, &files(2)).await.unwrap();
    assert_eq!(proxy.tally().faults, tries - 1);

    // While chunks are stored, and when only the commit is left.
    let session = repository.begin(epoch).await.unwrap();
    proxy.storm(u64::MAX);
    let refused = store_files(&repository, &session, 3, &files(3)).await;
    told(&refused.unwrap_err());
    proxy.storm(0);
    drop(session);
    let session = repository.begin(epoch).await.unwrap();
    let stored = store_files(&repository, &session, 4, &files(4)).await;
    let manifest = stored.unwrap();
    proxy.storm(u64::MAX);
    told(&repository.commit_point(&manifest).await.unwrap_err());
    proxy.storm(0);
    let listed = repository.list_point_ids().await.unwrap();
    assert_eq!(listed, [point_id(1), point_id(2)]);

    repository.commit_point(&manifest).await.unwrap();
    drop(session);
    capture(&repository, epoch, 3, &files(3)).await.unwrap();
    let again = open(store).await;
    assert!(again.report().damaged.is_empty(), "{:?}", again.report());
    for n in 1..=4 {
        assert_eq!(restore(&again, n).await.unwrap(), files(n.into()));
    }
    assert_eq!(proxy.tally().storms, 3);
}

fn told(refused: &RepositoryError) {
    assert!(refused.is_retryable(), "{refused:?}");
}
