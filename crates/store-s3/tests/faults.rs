//! The S3 store over a connection that breaks: with enough tries it keeps every promise.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test file: a failed expectation is a failed test, and a failure prints its seed"
)]

mod rig;

use bytes::Bytes;
use holdfast_store::{ObjectKey, ObjectStore, PutMode, StoreError};
use holdfast_store_s3::{S3Options, S3Store};
use holdfast_store_suite::{FaultProxy, ProxyPlan, S3Server, Weed, conforms_in};
use rig::{retried, small_parts};
use std::time::{Duration, Instant};

const ALWAYS: u16 = 1000;
const NONE: ProxyPlan = ProxyPlan {
    seed: 0,
    reset_before: 0,
    reset_after: 0,
    hang_after: 0,
    slow_down: 0,
    truncate: 0,
    stall: 0,
    slow_body: 0,
};

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

/// Options that go through a proxy with this plan, patient enough for a busy machine.
async fn through(server: &S3Server, folder: &str, plan: ProxyPlan) -> (FaultProxy, S3Options) {
    let proxy = FaultProxy::start(server.address(), plan).await.unwrap();
    let options = S3Options {
        endpoint: Some(proxy.endpoint().parse().unwrap()),
        request_timeout: Duration::from_secs(15),
        ..small_parts(server, folder)
    };
    (proxy, options)
}

/// One server for everything here; each part has a folder and a proxy of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_breaks() {
    let Some(weed) = Weed::find("S3 store over a connection that breaks").unwrap() else {
        return;
    };
    let server = weed.start().unwrap();
    each_fault_is_an_error_that_can_be_retried(&server).await;
    an_answer_that_never_comes_is_given_up(&server).await;
    a_slow_body_is_read(&server).await;
    lost_answers_to_create_only_puts_are_ours(&server).await;
    for seed in 1..=2 {
        the_suite_holds(&server, seed).await;
    }
}

async fn each_fault_is_an_error_that_can_be_retried(server: &S3Server) {
    let direct = S3Store::open(small_parts(server, "each")).await.unwrap();
    let (present, body) = (key("present"), Bytes::from(vec![7; 100_000]));
    direct
        .put(&present, body.clone(), PutMode::CreateNew)
        .await
        .unwrap();
    #[rustfmt::skip]
    let plans = [
        ProxyPlan { reset_before: ALWAYS, ..NONE },
        ProxyPlan { reset_after: ALWAYS, ..NONE },
        ProxyPlan { slow_down: ALWAYS, ..NONE },
        ProxyPlan { truncate: ALWAYS, ..NONE },
    ];
    for plan in plans {
        let (_proxy, options) = through(server, "each", plan).await;
        let store = S3Store::open(options).await.unwrap();
        let errors = [
            store.get(&present).await.map(drop),
            store.get_range(&present, 10, 50_000).await.map(drop),
            store.list(&"present".parse().unwrap()).await.map(drop),
            store
                .put(&key("new"), body.clone(), PutMode::Overwrite)
                .await,
        ];
        // An answer without a body has nothing to lose: a cut in its head breaks it all the same.
        for (n, outcome) in errors.into_iter().enumerate() {
            let error = outcome.expect_err(&format!("operation {n} under {plan:?}"));
            assert!(
                error.is_retryable(),
                "operation {n} under {plan:?}: {error:?}"
            );
        }
    }
}

/// Both before the head of the answer and in the middle of its body.
async fn an_answer_that_never_comes_is_given_up(server: &S3Server) {
    #[rustfmt::skip]
    let plans = [
        ProxyPlan { hang_after: ALWAYS, ..NONE },
        ProxyPlan { stall: ALWAYS, ..NONE },
    ];
    for plan in plans {
        let (_proxy, mut options) = through(server, "each", plan).await;
        options.request_timeout = Duration::from_millis(1_500);
        let store = S3Store::open(options).await.unwrap();
        let began = Instant::now();
        let error = store.get(&key("present")).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains("no answer within"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

async fn a_slow_body_is_read(server: &S3Server) {
    let slow = ProxyPlan {
        slow_body: ALWAYS,
        ..NONE
    };
    let (_proxy, options) = through(server, "each", slow).await;
    let store = S3Store::open(options).await.unwrap();
    assert_eq!(store.get(&key("present")).await.unwrap().len(), 100_000);
}

/// The server does every put and many answers are lost: every second one of small objects, and every
/// fourth of large ones, whose upload takes four requests in a row that must all be answered.
async fn lost_answers_to_create_only_puts_are_ours(server: &S3Server) {
    for (seed, lost, len) in [
        (1, 500, 100),
        (2, 500, 100),
        (3, 250, 6 << 20),
        (4, 250, 6 << 20),
    ] {
        let plan = ProxyPlan {
            seed,
            reset_after: lost,
            ..NONE
        };
        let (proxy, options) = through(server, &format!("lost/{seed}"), plan).await;
        let store = retried(options).await;
        for n in 0..4 {
            let (key, ours) = (key(&format!("k{n}")), Bytes::from(vec![1; len]));
            store
                .put(&key, ours.clone(), PutMode::CreateNew)
                .await
                .unwrap();
            let theirs = Bytes::from(vec![2; len]);
            let taken = store.put(&key, theirs, PutMode::CreateNew).await;
            assert!(matches!(taken, Err(StoreError::AlreadyExists { .. })));
            assert_eq!(store.get(&key).await.unwrap(), ours, "seed {seed}");
        }
        assert!(proxy.tally().faults > 0, "seed {seed} broke nothing");
    }
}

async fn the_suite_holds(server: &S3Server, seed: u64) {
    let plan = ProxyPlan {
        seed,
        reset_before: 60,
        reset_after: 60,
        hang_after: 3,
        slow_down: 80,
        truncate: 60,
        stall: 3,
        slow_body: 50,
    };
    let (proxy, options) = through(server, &format!("suite/{seed}"), plan).await;
    eprintln!("seed {seed}");
    conforms_in(retried(options).await, 1).await;
    let tally = proxy.tally();
    eprintln!("seed {seed}: {tally:?}");
    assert!(tally.faults * 10 > tally.requests, "{tally:?}");
}
