//! Renewed files are taken over without a restart; bad ones are refused and change nothing.

use super::support::{DAY, Log, TestServer, World, long_ago, now, replace, wait_until};
use crate::ca::renew;
use crate::tls::Reload;
use crate::{ClientTls, ServerTls, TlsError, TlsPaths};
use std::time::Duration;

fn renew_pair(world: &World, paths: &TlsPaths) {
    renew(&world.ca(), paths.cert.parent().unwrap(), DAY, now()).unwrap();
}

#[tokio::test]
async fn renewed_files_serve_the_next_connection() {
    let world = World::new();
    let (server_files, client_files) = (
        world.issue("coordinator", "c1"),
        world.issue("viewer", "eve"),
    );
    let server_tls = ServerTls::load(server_files.clone()).unwrap();
    let client_tls = ClientTls::load(client_files.clone()).unwrap();
    let server = TestServer::start(server_tls.clone()).await;
    assert_eq!(server_tls.reload().unwrap(), Reload::Unchanged);
    let before = server.seen_as(&client_tls).await;

    renew_pair(&world, &server_files);
    renew_pair(&world, &client_files);
    let old = server_tls.certificate();
    assert_eq!(server_tls.reload().unwrap(), Reload::Swapped);
    assert_eq!(client_tls.reload().unwrap(), Reload::Swapped);
    assert_ne!(server_tls.certificate().serial, old.serial);

    let after = server.seen_as(&client_tls).await;
    assert_ne!(before, after);
    assert!(after.ends_with(&client_tls.certificate().serial), "{after}");
}

#[tokio::test]
async fn a_bad_pair_is_refused_and_the_old_one_stays() {
    let (world, other) = (World::new(), World::new());
    let files = world.issue("coordinator", "c1");
    let tls = ServerTls::load(files.clone()).unwrap();
    let server = TestServer::start(tls.clone()).await;
    let client = world.client("viewer", "eve");
    let serial = tls.certificate().serial;

    let same = world.issue("coordinator", "c2");
    let foreign = other.issue("coordinator", "c1");
    let expired = other.issue_at("coordinator", "c9", long_ago());
    let garbage = TlsPaths {
        cert: world.ca().join("ca-key.pem"),
        key: world.ca().join("ca-key.pem"),
        ca: world.ca().join("ca.pem"),
    };
    let mismatched = TlsPaths {
        key: same.key.clone(),
        ..files.clone()
    };
    type Check = fn(&TlsError) -> bool;
    let cases: [(&TlsPaths, Check); 5] = [
        (&mismatched, |e| matches!(e, TlsError::KeyMismatch { .. })),
        (&same, |e| matches!(e, TlsError::OtherIdentity { .. })),
        (
            &TlsPaths {
                ca: files.ca.clone(),
                ..foreign
            },
            |e| matches!(e, TlsError::NotFromAuthority { .. }),
        ),
        (&expired, |e| matches!(e, TlsError::Expired { .. })),
        (&garbage, |e| matches!(e, TlsError::File(_))),
    ];
    let good = [&files.cert, &files.key, &files.ca].map(|path| std::fs::read(path).unwrap());
    for (bad, is_expected) in cases {
        let texts = [&bad.cert, &bad.key, &bad.ca].map(|path| std::fs::read(path).unwrap());
        for (path, text) in [&files.cert, &files.key, &files.ca].into_iter().zip(texts) {
            std::fs::write(path, text).unwrap();
        }
        let error = tls.reload().unwrap_err();
        assert!(is_expected(&error), "{error}");
        assert_eq!(tls.certificate().serial, serial);
        server.seen_as(&client).await;
        for (path, text) in [&files.cert, &files.key, &files.ca].into_iter().zip(&good) {
            std::fs::write(path, text).unwrap();
        }
    }
    std::fs::remove_file(&files.key).unwrap();
    let error = tls.reload().unwrap_err();
    assert!(error.to_string().contains("key.pem"), "{error}");
    server.seen_as(&client).await;
}

#[tokio::test]
async fn the_watch_takes_over_good_files_and_logs_bad_ones_once() {
    let log = Log::start();
    let world = World::new();
    let files = world.issue("viewer", "eve");
    let tls = ClientTls::load(files.clone()).unwrap();
    let old = tls.certificate().serial;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopping = async move {
        // An error means that the test has ended.
        let _ended = stopped.await;
    };
    let watch = tls.clone().watch(Duration::from_millis(2), stopping);
    let watch = tokio::spawn(watch);
    let mut changes = tls.changes();

    // Someone copied the wrong key.
    replace(&world.issue("viewer", "other").key, &files.key);
    wait_until(|| !log.lines().is_empty()).await;
    assert_eq!(tls.certificate().serial, old);

    renew_pair(&world, &files);
    changes.changed().await.unwrap();
    assert_ne!(tls.certificate().serial, old);
    log.expect_one("does not belong to the certificate").await;

    stop.send(()).unwrap();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_renewal_that_was_refused_is_taken_over_when_it_is_complete() {
    let log = Log::start();
    let world = World::new();
    let files = world.issue("viewer", "eve");
    let tls = ClientTls::load(files.clone()).unwrap();
    let old = tls.certificate().serial;
    let never = std::future::pending();
    let watch = tokio::spawn(tls.clone().watch(Duration::from_millis(2), never));
    let mut changes = tls.changes();
    let dir = world.path("renewed");
    std::fs::create_dir(&dir).unwrap();
    let renewed = TlsPaths::in_dir(&dir);
    for (from, to) in [(&files.cert, &renewed.cert), (&files.key, &renewed.key)] {
        std::fs::copy(from, to).unwrap();
    }
    renew_pair(&world, &renewed);

    replace(&renewed.cert, &files.cert);
    wait_until(|| !log.lines().is_empty()).await;
    assert_eq!(tls.certificate().serial, old);
    // The key follows with its size and time as before: a tool that syncs files may do that.
    let key = std::fs::File::options()
        .write(true)
        .open(&files.key)
        .unwrap();
    let modified = key.metadata().unwrap().modified().unwrap();
    replace(&renewed.key, &files.key);
    key.set_modified(modified).unwrap();
    changes.changed().await.unwrap();
    assert_ne!(tls.certificate().serial, old);
    log.expect_one("does not belong to the certificate").await;
    watch.abort();
}
