//! Who gets in, and what both sides say about everybody else.

use super::support::{
    DAY, Log, STATUS, TestServer, World, call, far_ahead, long_ago, now, soon_after,
};
use crate::ca::IssueRequest;
use crate::{
    ClientTls, ConnectError, ConnectOptions, IdentityError, Role, ServerTls, TlsError, TlsPaths,
    Whose, connect, connect_lazy,
};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

/// A certificate of the world's authority with any URIs.
fn odd_pair(world: &World, dir: &str, uris: &[&str]) -> TlsPaths {
    let ca = world.ca();
    let key = KeyPair::from_pem(&std::fs::read_to_string(ca.join("ca-key.pem")).unwrap());
    let root = std::fs::read_to_string(ca.join("ca.pem")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&root, key.unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let uris = uris.iter().map(|uri| (*uri).try_into().unwrap());
    params.subject_alt_names.extend(uris.map(SanType::URI));
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&leaf_key, &issuer).unwrap();
    let out = world.path(dir);
    std::fs::create_dir(&out).unwrap();
    for (file, text) in [
        ("cert.pem", leaf.pem()),
        ("key.pem", leaf_key.serialize_pem()),
        ("ca.pem", root),
    ] {
        let path = out.join(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    TlsPaths::in_dir(&out)
}

#[tokio::test]
async fn mutual_tls_works_and_tells_who_called() {
    let log = Log::start();
    let world = World::new();
    let server = world.server().await;
    for role in ["agent", "coordinator", "operator", "viewer"] {
        let tls = world.client(role, "x1");
        let channel = server.connect(&tls).await.unwrap();
        let status = call(&channel, "/grpc.health.v1.Health/Check").await;
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        let want = format!("spiffe://demo/{role}/x1 {}", tls.certificate().serial);
        assert_eq!(status.message(), want);
    }
    assert_eq!(log.lines(), [""; 0]);
}

#[tokio::test]
async fn a_plain_text_client_is_refused() {
    let log = Log::start();
    let world = World::new();
    let server = world.server().await;
    for request in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"] {
        let mut socket = TcpStream::connect(server.addr).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good as a close.
        let _end = socket.read_to_end(&mut answer).await;
        assert!(answer.len() < 64, "only an alert: {answer:?}");
    }
    log.expect_one("the client speaks plain text").await;
    server.seen_as(&world.client("viewer", "eve")).await;
}

#[tokio::test]
async fn a_plain_text_server_is_named() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut hello = [0; 16];
        socket.read_exact(&mut hello).await.unwrap();
        socket
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        socket
    });
    let tls = world.client("viewer", "eve");
    let error = connect(&endpoint, &tls, &ConnectOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::NotTls { .. }), "{error}");
    drop(server);
}

#[tokio::test]
async fn another_authority_is_refused_by_the_client() {
    let log = Log::start();
    let (world, other) = (World::new(), World::new());
    let server = world.server().await;
    let tls = other.client("viewer", "eve");
    let error = server.connect(&tls).await.unwrap_err();
    assert!(matches!(error, ConnectError::WrongCa { .. }), "{error}");
    assert_eq!(error.code(), "certificate");
    log.expect_one("it trusts another authority").await;
}

#[tokio::test]
async fn another_authority_is_refused_by_the_server_and_logged_once() {
    let log = Log::start();
    let (world, other) = (World::new(), World::new());
    let server = world.server().await;
    // It trusts both authorities, so that only the server objects.
    let paths = other.issue("operator", "mallory");
    let both = [other.ca().join("ca.pem"), world.ca().join("ca.pem")];
    let both = both.map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&paths.ca, both.concat()).unwrap();
    let tls = ClientTls::load(paths).unwrap();
    for _ in 0..3 {
        let error = server.connect(&tls).await.unwrap_err();
        assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("issued by another authority"));
    }
    log.expect_one("issued by another authority").await;
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let log = Log::start();
    let world = World::new();
    let server = world.server().await;
    let tls = ClientTls::load_anonymous(world.issue("viewer", "eve")).unwrap();
    let error = server.connect(&tls).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(error.to_string().ends_with("none was shown"), "{error}");
    log.expect_one("the client showed no certificate").await;
}

#[tokio::test]
async fn an_expired_client_is_refused() {
    let log = Log::start();
    let world = World::new();
    let server = world.server().await;
    let paths = world.issue_at("viewer", "eve", long_ago());
    let error = ClientTls::load(paths.clone()).unwrap_err();
    assert!(matches!(error, TlsError::Expired { .. }), "{error}");

    // It was valid when the program started.
    let tls = ClientTls::load_at(paths, soon_after(long_ago())).unwrap();
    let error = server.connect(&tls).await.unwrap_err();
    let ConnectError::Expired {
        whose: Whose::Own,
        not_after,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*not_after, Some(tls.certificate().not_after));
    log.expect_one("the client's certificate has expired").await;
}

#[tokio::test]
async fn a_client_of_the_future_shows_that_a_clock_is_off() {
    let log = Log::start();
    let world = World::new();
    let server = world.server().await;
    let paths = world.issue_at("viewer", "eve", far_ahead());
    let error = ClientTls::load(paths.clone()).unwrap_err();
    assert!(matches!(error, TlsError::NotYetValid { .. }), "{error}");
    assert!(error.to_string().contains("clock"), "{error}");

    let tls = ClientTls::load_at(paths, soon_after(far_ahead())).unwrap();
    let error = server.connect(&tls).await.unwrap_err();
    assert!(matches!(error, ConnectError::ClockOff { .. }), "{error}");
    assert_eq!(error.code(), "clock-skew");
    log.expect_one("the client's certificate is not valid yet")
        .await;
}

#[tokio::test]
async fn an_expired_or_future_server_is_refused() {
    let log = Log::start();
    let world = World::new();
    let tls = world.client("viewer", "eve");

    let paths = world.issue_at("coordinator", "old", long_ago());
    let old = ServerTls::load_at(paths, soon_after(long_ago())).unwrap();
    let not_after = old.certificate().not_after;
    let server = TestServer::start(old).await;
    let error = server.connect(&tls).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::Expired { whose: Whose::Server, not_after: Some(t), .. } if *t == not_after),
        "{error}"
    );
    log.expect_one("expired or not yet valid by the client's clock")
        .await;

    let paths = world.issue_at("coordinator", "new", far_ahead());
    let new = ServerTls::load_at(paths, soon_after(far_ahead())).unwrap();
    let error = TestServer::start(new).await.connect(&tls).await;
    let error = error.unwrap_err();
    assert!(matches!(error, ConnectError::ClockOff { .. }), "{error}");
}

#[tokio::test]
async fn a_server_of_another_role_or_name_is_refused() {
    let world = World::new();
    let server = world.server().await;
    let tls = world.client("viewer", "eve");
    let options = ConnectOptions {
        server_role: Role::Agent,
        ..ConnectOptions::default()
    };
    let error = connect(&server.endpoint(), &tls, &options)
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            ConnectError::WrongServer {
                source: IdentityError::OtherRole { .. },
                ..
            }
        ),
        "{error}"
    );

    let request = IssueRequest {
        identity: "spiffe://demo/coordinator/c2".parse().unwrap(),
        dns_names: vec!["coordinator.example".to_owned()],
        ip_addresses: Vec::new(),
        validity: DAY,
    };
    let paths = world.issue_as(&request, "c2", now());
    let named = TestServer::start(ServerTls::load(paths).unwrap()).await;
    let error = named.connect(&tls).await.unwrap_err();
    assert!(matches!(error, ConnectError::WrongName { .. }), "{error}");
    assert!(error.to_string().contains("coordinator.example"), "{error}");
}

#[tokio::test]
async fn only_a_coordinator_can_serve() {
    let world = World::new();
    let error = ServerTls::load(world.issue("agent", "n1")).unwrap_err();
    assert!(
        matches!(
            &error,
            TlsError::Identity {
                source: IdentityError::OtherRole { .. },
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn identities_of_other_domains_are_refused_on_both_sides() {
    let log = Log::start();
    let world = World::new();
    let server = world.server().await;
    let paths = odd_pair(&world, "other", &["spiffe://other/viewer/eve"]);
    let tls = ClientTls::load(paths).unwrap();
    let error = server.connect(&tls).await.unwrap_err();
    assert!(
        matches!(
            &error,
            ConnectError::WrongServer {
                source: IdentityError::OtherDomain { .. },
                ..
            }
        ),
        "{error}"
    );
    log.expect_one("is of another trust domain than demo").await;
}

#[tokio::test]
async fn a_certificate_without_one_identity_is_not_loaded() {
    let world = World::new();
    let two = ["spiffe://demo/viewer/eve", "spiffe://demo/operator/eve"];
    for (dir, uris, want) in [
        ("none", &[][..], IdentityError::Missing),
        ("two", &two[..], IdentityError::Several(2)),
    ] {
        let error = ClientTls::load(odd_pair(&world, dir, uris)).unwrap_err();
        assert!(
            matches!(&error, TlsError::Identity { source, .. } if *source == want),
            "{error}"
        );
    }
}

#[tokio::test]
async fn silence_and_absence_are_named() {
    let log = Log::start();
    let world = World::new();
    let tls = world.client("viewer", "eve");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());

    // The kernel accepts for the listener; nobody answers.
    let hasty = ConnectOptions {
        connect_timeout: Duration::from_millis(50),
        ..ConnectOptions::default()
    };
    let error = connect(&endpoint, &tls, &hasty).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error}");

    drop(listener);
    let error = connect(&endpoint, &tls, &ConnectOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert_eq!(error.code(), "coordinator-unreachable");
    assert!(error.is_retryable());

    // A TCP health check is no event.
    let server = world.server().await;
    drop(TcpStream::connect(server.addr).await.unwrap());
    server.seen_as(&tls).await;
    assert_eq!(log.lines(), [""; 0]);
}

#[tokio::test]
async fn a_connection_closed_at_once_is_named() {
    let world = World::new();
    let tls = world.client("viewer", "eve");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let closing = tokio::spawn(async move { drop(listener.accept().await.unwrap()) });
    let error = connect(&endpoint, &tls, &ConnectOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Closed { .. }), "{error}");
    closing.await.unwrap();
}

#[tokio::test]
async fn a_refusal_on_reconnect_shows_in_the_status() {
    let (world, other) = (World::new(), World::new());
    let tls = world.client("viewer", "eve");
    // A channel that has not connected yet meets the refusal in its first call, as a reconnecting one does.
    let paths = other.issue("coordinator", "c1");
    let server = TestServer::start(ServerTls::load(paths).unwrap()).await;
    let channel = connect_lazy(&server.endpoint(), &tls, &ConnectOptions::default()).unwrap();
    let status = call(&channel, STATUS).await;
    let error = ConnectError::from_status(&status).unwrap();
    assert!(matches!(error, ConnectError::WrongCa { .. }), "{error}");
}
