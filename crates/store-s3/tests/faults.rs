//! The S3 store over a connection that breaks: with enough tries it keeps every promise.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test file: a failed expectation is a failed test, and a failure prints its seed"
)]

mod rig;

use bytes::Bytes;
use holdfast_store::{
    ColdClass, LockMode, ObjectKeeper as _, ObjectKey, ObjectStore, PutMode, RetryPolicy,
    StoreError,
};
use holdfast_store_s3::{S3Options, S3Store};
use holdfast_store_suite::{FaultProxy, ProxyPlan, S3Server, Weed, conforms_in, keeps};
use holdfast_types::Timestamp;
use rig::{holder, locking, options, retried, small_parts};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    cut_upload: 0,
    slow_upload: 0,
    storm: 0,
    storm_requests: 0,
    mercy: 0,
};
/// Faults of one address before it is spared: an operation has two tries left.
const MERCY: u16 = 4;

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
    an_upload_that_is_cut_is_none(&server).await;
    a_slow_upload_arrives(&server).await;
    a_storm_is_outlived_or_told(&server).await;
    lost_answers_to_create_only_puts_are_ours(&server).await;
    no_fault_looks_like_no_lock(&server).await;
    a_lock_whose_answer_is_lost_is_set(&server).await;
    for seed in 1..=2 {
        the_suite_holds(&server, seed).await;
        locks_are_kept(&server, seed).await;
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

/// The server has seen half of it: nothing of that is ever an object, nor is what was there harmed.
async fn an_upload_that_is_cut_is_none(server: &S3Server) {
    let direct = S3Store::open(small_parts(server, "cut")).await.unwrap();
    let before = Bytes::from_static(b"before");
    let there = key("there");
    let put = direct.put(&there, before.clone(), PutMode::CreateNew);
    put.await.unwrap();
    let cut = ProxyPlan {
        cut_upload: ALWAYS,
        ..NONE
    };
    let (proxy, options) = through(server, "cut", cut).await;
    let store = S3Store::open(options).await.unwrap();
    // In one request and in parts.
    for len in [200_000, 6 << 20] {
        let body = Bytes::from(vec![7; len]);
        for (key, mode) in [
            (&key("new"), PutMode::CreateNew),
            (&there, PutMode::Overwrite),
        ] {
            let error = store.put(key, body.clone(), mode).await.unwrap_err();
            assert!(error.is_retryable(), "{len} bytes: {error:?}");
        }
        assert_eq!(direct.head(&key("new")).await.unwrap(), None);
        assert_eq!(direct.get(&there).await.unwrap(), before);
    }
    assert!(proxy.tally().faults >= 4, "{:?}", proxy.tally());
}

async fn a_slow_upload_arrives(server: &S3Server) {
    let slow = ProxyPlan {
        slow_upload: ALWAYS,
        ..NONE
    };
    let (_proxy, options) = through(server, "slow", slow).await;
    let store = S3Store::open(options).await.unwrap();
    for len in [200_000, 6 << 20] {
        let (key, body) = (key(&format!("k{len}")), Bytes::from(vec![7; len]));
        let put = store.put(&key, body.clone(), PutMode::CreateNew);
        put.await.unwrap();
        assert_eq!(store.get(&key).await.unwrap(), body);
    }
}

/// The service refuses everybody for a while. One request less than there are tries is outlived; as many are an error that says
/// so, nothing is half done, and afterwards all is as before.
async fn a_storm_is_outlived_or_told(server: &S3Server) {
    let (proxy, options) = through(server, "storm", NONE).await;
    let store = retried(options).await;
    let tries = u64::from(RetryPolicy::default().attempts);
    let small = Bytes::from_static(b"small");
    let large = Bytes::from(vec![7; 6 << 20]);
    for (n, body) in [small, large].into_iter().enumerate() {
        let [first, second] = ["first", "second"].map(|name| key(&format!("{name}{n}")));
        proxy.storm(tries - 1);
        let put = store.put(&first, body.clone(), PutMode::CreateNew);
        put.await.unwrap();
        proxy.storm(tries - 1);
        assert_eq!(store.get(&first).await.unwrap(), body);

        let before = proxy.tally().requests;
        proxy.storm(tries);
        let put = store.put(&second, body.clone(), PutMode::CreateNew);
        let error = put.await.unwrap_err();
        assert!(
            matches!(error, StoreError::Unavailable { .. }) && error.is_retryable(),
            "{error:?}"
        );
        assert_eq!(proxy.tally().requests - before, tries);
        assert_eq!(store.head(&second).await.unwrap(), None);
        let put = store.put(&second, body.clone(), PutMode::CreateNew);
        put.await.unwrap();
        assert_eq!(store.get(&second).await.unwrap(), body);
    }
}

/// Who obeys locks must never take a broken answer for "not locked", nor for "can't be locked".
async fn no_fault_looks_like_no_lock(server: &S3Server) {
    let direct = S3Store::open(locking(options(server, "kept"))).await;
    let (direct, key) = (direct.unwrap(), key("locked"));
    let until = ahead(1);
    direct
        .put(&key, Bytes::from_static(b"kept"), PutMode::CreateNew)
        .await
        .unwrap();
    let mode = LockMode::Governance;
    let lock = direct.extend_lock(&key, mode, until).await.unwrap();
    #[rustfmt::skip]
    let plans = [
        ProxyPlan { reset_before: ALWAYS, ..NONE },
        ProxyPlan { reset_after: ALWAYS, ..NONE },
        ProxyPlan { slow_down: ALWAYS, ..NONE },
        ProxyPlan { truncate: ALWAYS, ..NONE },
    ];
    for plan in plans {
        let (_proxy, options) = through(server, "kept", plan).await;
        let store = S3Store::open(locking(options)).await.unwrap();
        let outcomes = [
            store.can_lock().await.map(drop),
            store.lock_of(&key).await.map(drop),
            store.extend_lock(&key, mode, ahead(2)).await.map(drop),
            store
                .move_to(&key, ColdClass::InfrequentAccess)
                .await
                .map(drop),
        ];
        for (n, outcome) in outcomes.into_iter().enumerate() {
            let error = outcome.expect_err(&format!("operation {n} under {plan:?}"));
            assert!(
                error.is_retryable(),
                "operation {n} under {plan:?}: {error:?}"
            );
        }
    }
    assert_eq!(direct.lock_of(&key).await.unwrap(), Some(lock));
}

/// The server locks and the answer never comes, or is cut off: another try finds the lock, and says so. All three requests
/// of one attempt must be answered.
async fn a_lock_whose_answer_is_lost_is_set(server: &S3Server) {
    for (seed, plan) in [
        (
            1,
            ProxyPlan {
                reset_after: 500,
                mercy: MERCY,
                ..NONE
            },
        ),
        (
            2,
            ProxyPlan {
                hang_after: 200,
                mercy: MERCY,
                ..NONE
            },
        ),
        (
            3,
            ProxyPlan {
                slow_down: 400,
                mercy: MERCY,
                ..NONE
            },
        ),
    ] {
        let folder = format!("lost-locks/{seed}");
        let (proxy, options) = through(server, &folder, ProxyPlan { seed, ..plan }).await;
        let options = S3Options {
            request_timeout: Duration::from_millis(1_500),
            ..options
        };
        let store = retried(locking(options)).await;
        let direct = S3Store::open(locking(small_parts(server, &folder))).await;
        let direct = direct.unwrap();
        let keeper = store.keeper().unwrap();
        for n in 0..4 {
            let (key, until) = (key(&format!("k{n}")), ahead(1));
            direct
                .put(&key, Bytes::from_static(b"kept"), PutMode::CreateNew)
                .await
                .unwrap();
            let mode = LockMode::Governance;
            let lock = keeper.extend_lock(&key, mode, until).await.unwrap();
            assert!(lock.until >= until, "seed {seed}: {lock:?}");
            assert_eq!(direct.lock_of(&key).await.unwrap(), Some(lock));
        }
        assert!(proxy.tally().faults > 0, "seed {seed} broke nothing");
    }
}

async fn locks_are_kept(server: &S3Server, seed: u64) {
    let plan = ProxyPlan {
        seed,
        reset_before: 80,
        reset_after: 80,
        hang_after: 3,
        slow_down: 120,
        truncate: 80,
        stall: 3,
        slow_body: 50,
        cut_upload: 30,
        slow_upload: 30,
        storm: 30,
        storm_requests: 8,
        mercy: MERCY,
    };
    let folder = format!("kept/{seed}");
    let (proxy, options) = through(server, &folder, plan).await;
    eprintln!("seed {seed}");
    let store = retried(locking(options)).await;
    keeps(store, &holder(server, &folder), false).await;
    let tally = proxy.tally();
    assert!(
        tally.faults * 10 > tally.requests && tally.storms > 0,
        "{tally:?}"
    );
}

fn ahead(hours: u64) -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let micros = i64::try_from(now.as_micros()).unwrap();
    Timestamp::from_micros(micros).after(Duration::from_secs(hours * 3600))
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
            mercy: MERCY,
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
        cut_upload: 30,
        slow_upload: 30,
        storm: 30,
        storm_requests: 8,
        mercy: MERCY,
    };
    let (proxy, options) = through(server, &format!("suite/{seed}"), plan).await;
    eprintln!("seed {seed}");
    conforms_in(retried(options).await, 1).await;
    let tally = proxy.tally();
    eprintln!("seed {seed}: {tally:?}");
    assert!(
        tally.faults * 10 > tally.requests && tally.storms > 0,
        "{tally:?}"
    );
}
