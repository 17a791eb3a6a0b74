//! The S3 store over a real server.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test file: a failed expectation is a failed test; patterns are small"
)]

mod rig;

use bytes::Bytes;
use holdfast_store::{
    ColdClass, KeyPrefix, LockMode, ObjectKeeper as _, ObjectKey, ObjectStore as _, ProbeOptions,
    PutMode, StoreError, probe,
};
use holdfast_store_s3::{Credentials, OpenError, S3Options, S3Store};
use holdfast_store_suite::{S3Server, Weed, can_not_lock, conforms_in, keeps};
use holdfast_types::Timestamp;
use rig::{holder, locking, options, raw, retried, small_parts};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(micros.as_micros()).unwrap())
}

fn bytes(len: usize) -> Bytes {
    (0..len).map(|n| (n % 251) as u8).collect()
}

/// One server for everything here; each part has a folder of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_real_server() {
    let Some(weed) = Weed::find("S3 store over a real server").unwrap() else {
        return;
    };
    let server = weed.start().unwrap();
    conforms_in(retried(options(&server, "suite")).await, 3).await;
    the_probe_passes_it(&server).await;
    large_objects_go_in_parts(&server).await;
    listings_have_many_pages(&server).await;
    what_is_not_ours_is_ignored(&server).await;
    refusals_say_what_is_wrong(&server).await;
    locks_are_kept(&server).await;
    a_colder_class_keeps_the_bytes(&server).await;
    tls_needs_a_trusted_certificate(&server).await;
}

async fn the_probe_passes_it(server: &S3Server) {
    let store = retried(small_parts(server, "probed")).await;
    let options = ProbeOptions {
        races: 1,
        ..ProbeOptions::at(now())
    };
    probe(&store, options).await.unwrap().verdict().unwrap();
    assert!(store.is_empty().await.unwrap(), "it leaves nothing");
}

async fn large_objects_go_in_parts(server: &S3Server) {
    let store = S3Store::open(small_parts(server, "parts")).await.unwrap();
    for len in [(5 << 20) + 1, 10 << 20, (12 << 20) + 7] {
        let (key, body) = (key(&format!("large/{len}")), bytes(len));
        store
            .put(&key, body.clone(), PutMode::CreateNew)
            .await
            .unwrap();
        assert_eq!(store.get(&key).await.unwrap(), body, "{len}");
        let edge = store.get_range(&key, (5 << 20) - 3, 4).await.unwrap();
        assert_eq!(edge, body.slice((5 << 20) - 3..(5 << 20) + 1));
        let other = store.put(&key, bytes(6 << 20), PutMode::CreateNew).await;
        assert!(matches!(other, Err(StoreError::AlreadyExists { .. })));
        assert_eq!(
            store.head(&key).await.unwrap().unwrap().size,
            len as u64,
            "the loser changed nothing"
        );
        store
            .put(&key, bytes(6 << 20), PutMode::Overwrite)
            .await
            .unwrap();
        assert_eq!(store.get(&key).await.unwrap().len(), 6 << 20);
    }
    assert_eq!(unfinished_uploads(server).await, 0, "losers are aborted");
}

async fn unfinished_uploads(server: &S3Server) -> usize {
    let request = raw(server)
        .list_multipart_uploads()
        .bucket(S3Server::BUCKET);
    request.send().await.unwrap().uploads().len()
}

/// More objects than a page has, in an order that a walk by folders gets wrong: `b-1` < `b/1` < `b1`.
async fn listings_have_many_pages(server: &S3Server) {
    let store = S3Store::open(options(server, "pages")).await.unwrap();
    let mut names: Vec<String> = (0..800)
        .flat_map(|n| ["b-", "b/", "b"].map(|middle| format!("many/{middle}{n:03}")))
        .collect();
    names.sort();
    for chunk in names.chunks(50) {
        let keys: Vec<_> = chunk.iter().map(|name| key(name)).collect();
        let puts = keys
            .iter()
            .map(|key| store.put(key, Bytes::new(), PutMode::CreateNew));
        futures::future::try_join_all(puts).await.unwrap();
    }
    for prefix in [KeyPrefix::root(), "many".parse().unwrap()] {
        let listed = store.list(&prefix).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|meta| meta.key.to_string()).collect();
        assert_eq!(listed.len(), names.len());
        assert!(listed == names);
    }
}

async fn what_is_not_ours_is_ignored(server: &S3Server) {
    let mine = S3Store::open(options(server, "shared/mine")).await.unwrap();
    let outer = S3Store::open(options(server, "shared")).await.unwrap();
    let beside = S3Store::open(options(server, "shared/mine-too"))
        .await
        .unwrap();
    beside
        .put(&key("a"), Bytes::new(), PutMode::CreateNew)
        .await
        .unwrap();
    assert!(mine.is_empty().await.unwrap());
    assert!(mine.list(&KeyPrefix::root()).await.unwrap().is_empty());
    // Not a name of ours within the outer store: it counts as something, and as no object.
    let odd = S3Store::open(options(server, "odd/UPPER")).await.unwrap();
    odd.put(&key("x"), Bytes::new(), PutMode::CreateNew)
        .await
        .unwrap();
    let around = S3Store::open(options(server, "odd")).await.unwrap();
    assert!(around.list(&KeyPrefix::root()).await.unwrap().is_empty());
    assert!(!around.is_empty().await.unwrap());
    assert_eq!(outer.list(&KeyPrefix::root()).await.unwrap().len(), 1);
}

async fn refusals_say_what_is_wrong(server: &S3Server) {
    let (key, body) = (key("k"), Bytes::from_static(b"body"));
    let as_profile = |name: &str| {
        let mut options = options(server, "refusals");
        options.credentials = Credentials::Profile {
            name: name.to_owned(),
            file: Some(server.credentials()),
        };
        options
    };
    let reader = S3Store::open(as_profile(S3Server::READER)).await.unwrap();
    assert!(reader.is_empty().await.unwrap());
    for mode in [PutMode::CreateNew, PutMode::Overwrite] {
        let error = reader.put(&key, body.clone(), mode).await.unwrap_err();
        assert!(matches!(error, StoreError::Permission { .. }), "{error:?}");
    }
    let stranger = S3Store::open(as_profile(S3Server::STRANGER)).await.unwrap();
    let error = stranger.get(&key).await.unwrap_err();
    assert!(matches!(error, StoreError::Permission { .. }), "{error:?}");

    let error = S3Store::open(as_profile("nobody")).await.unwrap_err();
    assert!(
        matches!(error, OpenError::NoCredentials { .. }),
        "{error:?}"
    );

    let mut elsewhere = options(server, "");
    elsewhere.bucket = "no-such-bucket".to_owned();
    let store = S3Store::open(elsewhere).await.unwrap();
    let errors = [
        store.get(&key).await.map(drop).unwrap_err(),
        store.list(&KeyPrefix::root()).await.map(drop).unwrap_err(),
        store.is_empty().await.map(drop).unwrap_err(),
        store.put(&key, body, PutMode::CreateNew).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::NoSuchStore { .. }), "{error:?}");
    }
}

async fn locks_are_kept(server: &S3Server) {
    can_not_lock(S3Store::open(options(server, "no-locks")).await.unwrap()).await;
    let in_folder = |folder| locking(options(server, folder));
    let store = S3Store::open(in_folder("kept")).await.unwrap();
    keeps(store, &holder(server, "kept"), true).await;

    // A deletion only hides it: the locked version is still there.
    let store = S3Store::open(in_folder("hidden")).await.unwrap();
    let (key, until) = (key("packs/p"), now().after(Duration::from_secs(3600)));
    let body = Bytes::from_static(b"kept");
    store.put(&key, body, PutMode::CreateNew).await.unwrap();
    let mode = LockMode::Governance;
    store.extend_lock(&key, mode, until).await.unwrap();
    store.delete(&key).await.unwrap();
    assert_eq!(store.head(&key).await.unwrap(), None);
    let versions = raw(server).list_object_versions();
    let versions = versions.bucket(S3Server::LOCKING).prefix("hidden/");
    assert_eq!(versions.send().await.unwrap().versions().len(), 1);
}

async fn a_colder_class_keeps_the_bytes(server: &S3Server) {
    let store = S3Store::open(options(server, "classes")).await.unwrap();
    let (key, body) = (key("packs/p"), bytes(100_000));
    store
        .put(&key, body.clone(), PutMode::CreateNew)
        .await
        .unwrap();
    for moved in [true, false] {
        let class = ColdClass::InfrequentAccess;
        assert_eq!(store.move_to(&key, class).await.unwrap(), moved);
    }
    assert_eq!(store.get(&key).await.unwrap(), body);
    let head = raw(server).head_object().bucket(S3Server::BUCKET);
    let found = head.key("classes/packs/p").send().await.unwrap();
    assert_eq!(found.storage_class.unwrap().as_str(), "STANDARD_IA");
}

async fn tls_needs_a_trusted_certificate(server: &S3Server) {
    let encrypted = |ca_file| S3Options {
        endpoint: Some(server.https_endpoint().parse().unwrap()),
        ca_file,
        ..options(server, "tls")
    };
    let (key, body) = (key("k"), bytes(300_000));
    let store = S3Store::open(encrypted(Some(server.certificate())))
        .await
        .unwrap();
    store
        .put(&key, body.clone(), PutMode::CreateNew)
        .await
        .unwrap();
    assert_eq!(store.get(&key).await.unwrap(), body);

    let distrustful = S3Store::open(encrypted(None)).await.unwrap();
    let error = distrustful.get(&key).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");

    // A file without a certificate, and one that does not exist.
    for file in [
        server.credentials(),
        server.credentials().with_extension("no"),
    ] {
        let error = S3Store::open(encrypted(Some(file))).await.unwrap_err();
        assert!(
            matches!(&error, OpenError::Options(wrong) if wrong.option == "ca_file"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_absent_server_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    std::fs::write(
        &file,
        "[p]\naws_access_key_id = a\naws_secret_access_key = b\n",
    )
    .unwrap();
    // A port that was free a moment ago and has no listener.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut options = S3Options::new("bucket");
    options.endpoint = Some(endpoint.parse().unwrap());
    options.path_style = true;
    options.credentials = Credentials::Profile {
        name: "p".to_owned(),
        file: Some(file),
    };
    let store = S3Store::open(options).await.unwrap();
    let error = store.get(&key("k")).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("refused"), "{text}");
    assert!(!format!("{store:?} {text}").contains("secret"));
}
