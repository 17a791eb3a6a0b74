//! Tokens, and the exchange between an applicant and a coordinator.

use super::support::{DAY, World, call, now, replace};
use crate::ca::{self, CA_FILE, CA_KEY_FILE, CaError, SigningRequest};
use crate::enrol::{Answer, Applicant, EnrolError, EnrolToken, PinnedServer};
use crate::incoming::Stranger;
use crate::{ClientTls, ConnectError, ConnectOptions, Fingerprint, ServerTls, TlsPaths};
use crate::{Role, incoming_strangers};
use holdfast_types::NodeId;
use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::{Code, Status};

const N1: (Role, &str) = (Role::Agent, "n1");

fn n1() -> NodeId {
    "n1".parse().unwrap()
}

/// A coordinator that serves strangers: it says where they come from.
async fn serve(tls: ServerTls) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let service = tower::service_fn(|request: http::Request<tonic::body::Body>| async move {
        let known = request.extensions().get::<crate::PeerIdentity>().is_some();
        let stranger: &Stranger = request.extensions().get().unwrap();
        let text = format!("{} {known}", stranger.remote().ip());
        Ok::<_, Infallible>(Status::unimplemented(text).into_http::<tonic::body::Body>())
    });
    let serving = Server::builder().serve_with_incoming_shutdown(
        service,
        incoming_strangers(listener, tls),
        std::future::pending(),
    );
    drop(tokio::spawn(async move { serving.await.unwrap() }));
    endpoint
}

/// The same one however often it is asked for.
fn coordinator(world: &World) -> ServerTls {
    let dir = world.path("coordinator-c9");
    let paths = if dir.exists() {
        TlsPaths::in_dir(&dir)
    } else {
        world.issue("coordinator", "c9")
    };
    ServerTls::load(paths).unwrap()
}

async fn connect(endpoint: &str, token: &EnrolToken) -> Result<PinnedServer, ConnectError> {
    PinnedServer::connect(endpoint, token, &ConnectOptions::default()).await
}

fn signed(world: &World, csr: &[u8], (role, name): (Role, &str)) -> Result<ca::Signed, CaError> {
    let request = SigningRequest {
        csr,
        role,
        name: &name.parse().unwrap(),
        validity: DAY,
        not_before: None,
    };
    let (cert, key) = (world.ca().join(CA_FILE), world.ca().join(CA_KEY_FILE));
    ca::sign((&cert, &key), &request, now())
}

fn answer(signed: &ca::Signed, server: &PinnedServer) -> Answer {
    Answer::new(vec![signed.der.to_vec()], vec![server.authority.to_vec()])
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn tokens_round_trip_and_hide_their_secret() {
    let pin: Fingerprint = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    let token = EnrolToken::generate(pin).unwrap();
    let text = token.to_string();
    assert_eq!(text.len(), 4 + 1 + 32 + 1 + 64);
    assert_eq!(text.parse::<EnrolToken>().unwrap(), token);
    let other = EnrolToken::generate(pin).unwrap();
    assert_ne!(token.secret().hash(), other.secret().hash());
    let secret = &text[5..37];
    assert!(!format!("{token:?} {:?}", token.secret()).contains(secret));
    assert_ne!(token.secret().hash()[..32], *secret);
    let bad = [
        String::new(),
        text[..text.len() - 1].to_owned(),
        format!("{text}."),
        format!(" {text}"),
        text.replace("hfe1", "hfe2"),
        text.replacen(secret, &secret.to_uppercase().replace('0', "O"), 1),
        text.replacen(secret, "", 1),
    ];
    for bad in bad.iter().filter(|bad| **bad != text) {
        assert!(bad.parse::<EnrolToken>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn an_applicant_gets_a_pair_that_peers_accept() {
    let world = World::new();
    let tls = coordinator(&world);
    let token = EnrolToken::generate(tls.authority()).unwrap();
    let endpoint = serve(tls).await;
    let server = connect(&endpoint, &token).await.unwrap();
    let told = call(&server.channel, "/any/Thing").await;
    assert_eq!(told.code(), Code::Unimplemented, "{told}");
    assert_eq!(told.message(), "127.0.0.1 false", "no identity is known");

    let paths = TlsPaths::in_dir(&world.path("deep/new"));
    let applicant = Applicant::begin(&n1(), &paths, token.pin()).unwrap();
    assert_eq!(files(&world.path("deep/new")), Vec::<String>::new());
    let signed = signed(&world, applicant.csr(), N1).unwrap();
    let info = applicant
        .finish(&n1(), &server, &answer(&signed, &server))
        .unwrap();
    assert_eq!(info.serial, signed.info.serial);
    assert_eq!(
        files(&world.path("deep/new")),
        ["ca.pem", "cert.pem", "key.pem"]
    );
    let mode = std::fs::metadata(&paths.key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // As every other pair of this authority.
    let agent = ClientTls::load(paths.clone()).unwrap();
    assert_eq!(agent.identity().to_string(), "spiffe://demo/agent/n1");
    let channel = world.server().await.connect(&agent).await.unwrap();
    let seen = call(&channel, "/holdfast.v1.AgentControl/Connect").await;
    assert_eq!(seen.code(), Code::Unimplemented, "{seen}");
    let who = seen.message();
    assert!(who.starts_with("spiffe://demo/agent/n1 "), "{who}");
    // What is there is never overwritten.
    let again = Applicant::begin(&n1(), &paths, token.pin()).unwrap_err();
    assert!(again.to_string().contains("is not overwritten"), "{again}");
}

#[tokio::test]
async fn a_server_that_is_not_pinned_is_not_trusted() {
    let (world, other) = (World::new(), World::new());
    let endpoint = serve(coordinator(&other)).await;
    let token = EnrolToken::generate(coordinator(&world).authority()).unwrap();
    let refused = connect(&endpoint, &token).await.unwrap_err();
    assert!(
        matches!(refused, ConnectError::WrongPin { .. }),
        "{refused}"
    );
    assert_eq!(refused.code(), "certificate");
    // The right authority, but not a coordinator's address: a name that its certificate lacks.
    let endpoint = serve(coordinator(&world)).await;
    let elsewhere = endpoint.replace("127.0.0.1", "localhost");
    let refused = connect(&elsewhere, &token).await.unwrap_err();
    assert!(
        matches!(refused, ConnectError::WrongName { .. }),
        "{refused}"
    );
    assert!(connect(&endpoint, &token).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_is_not_right_leaves_nothing() {
    let (world, other) = (World::new(), World::new());
    let tls = coordinator(&world);
    let token = EnrolToken::generate(tls.authority()).unwrap();
    let server = connect(&serve(tls).await, &token).await.unwrap();
    let dir = world.path("new");
    let paths = TlsPaths::in_dir(&dir);
    let begin = || Applicant::begin(&n1(), &paths, token.pin()).unwrap();

    let applicant = begin();
    let stranger = begin();
    let not_ours = signed(&world, stranger.csr(), N1).unwrap();
    let wrong = applicant.finish(&n1(), &server, &answer(&not_ours, &server));
    assert!(wrong.unwrap_err().to_string().contains("another key"));

    for (identity, why) in [
        ((Role::Agent, "n2"), "another node"),
        ((Role::Viewer, "n1"), "not this agent's"),
    ] {
        let applicant = begin();
        let signed = signed(&world, applicant.csr(), identity).unwrap();
        let wrong = applicant.finish(&n1(), &server, &answer(&signed, &server));
        let wrong = wrong.unwrap_err();
        assert!(wrong.to_string().contains(why), "{wrong}");
    }

    // Of an authority that does not come with it.
    let applicant = begin();
    let foreign = signed(&other, applicant.csr(), N1).unwrap();
    let wrong = applicant.finish(&n1(), &server, &answer(&foreign, &server));
    assert!(
        matches!(wrong, Err(EnrolError::NotAccepted(_))),
        "{wrong:?}"
    );
    let applicant = begin();
    let alone = Answer::new(vec![foreign.der.to_vec()], vec![]);
    let wrong = applicant.finish(&n1(), &server, &alone).unwrap_err();
    assert!(matches!(wrong, EnrolError::Answer(_)), "{wrong}");
    assert_eq!(files(&dir), Vec::<String>::new());
}

#[test]
fn what_would_stop_the_writing_is_found_before() {
    let world = World::new();
    let pin = coordinator(&world).authority();
    // An authority of something else lies there.
    let other = World::new();
    let dir = world.path("taken");
    std::fs::create_dir(&dir).unwrap();
    replace(&other.ca().join(CA_FILE), &dir.join(CA_FILE));
    let refused = Applicant::begin(&n1(), &TlsPaths::in_dir(&dir), pin).unwrap_err();
    assert!(
        matches!(refused, EnrolError::OtherAuthority { .. }),
        "{refused}"
    );
    // The right one may.
    replace(&world.ca().join(CA_FILE), &dir.join(CA_FILE));
    Applicant::begin(&n1(), &TlsPaths::in_dir(&dir), pin).unwrap();
    assert_eq!(files(&dir), ["ca.pem"]);
    // A file where a directory should be.
    std::fs::write(world.path("file"), "x").unwrap();
    let inside = TlsPaths::in_dir(&world.path("file/tls"));
    let refused = Applicant::begin(&n1(), &inside, pin).unwrap_err();
    assert!(matches!(refused, EnrolError::Directory(_)), "{refused}");
}

#[test]
fn a_request_must_be_signed_by_its_key() {
    let world = World::new();
    let paths = TlsPaths::in_dir(&world.path("new"));
    let pin = coordinator(&world).authority();
    let applicant = Applicant::begin(&n1(), &paths, pin).unwrap();
    let mut csr = applicant.csr().to_vec();
    let last = csr.len() - 1;
    csr[last] ^= 1;
    for bad in [&csr[..], b"", b"nothing of the kind"] {
        let refused = signed(&world, bad, N1).unwrap_err();
        assert!(matches!(refused, CaError::BadRequest(_)), "{refused}");
    }
    assert!(signed(&world, applicant.csr(), N1).is_ok());
}

#[test]
fn a_lifetime_begins_no_sooner_than_asked_for() {
    let world = World::new();
    let paths = TlsPaths::in_dir(&world.path("new"));
    let pin = coordinator(&world).authority();
    let applicant = Applicant::begin(&n1(), &paths, pin).unwrap();
    let (cert, key) = (world.ca().join(CA_FILE), world.ca().join(CA_KEY_FILE));
    let mut request = SigningRequest {
        csr: applicant.csr(),
        role: Role::Agent,
        name: &n1(),
        validity: DAY,
        not_before: Some(now()),
    };
    let clamped = ca::sign((&cert, &key), &request, now()).unwrap().info;
    assert!(
        now().since(clamped.not_before).as_secs() < 60,
        "{clamped:?}"
    );
    request.not_before = Some(holdfast_types::Timestamp::EPOCH);
    let usual = ca::sign((&cert, &key), &request, now()).unwrap().info;
    assert!(now().since(usual.not_before) >= ca::BACKDATE);
}
