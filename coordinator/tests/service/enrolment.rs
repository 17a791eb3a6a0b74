//! Agents that come with a token and nothing else.

use crate::agent::{Agent, hello};
use crate::members::{code, members};
use crate::world::{Running, World};
use holdfast_certs::enrol::{Answer, Applicant, EnrolToken, PinnedServer};
use holdfast_certs::{CertificateInfo, ConnectOptions, ServerTls, TlsPaths};
use holdfast_coordinator::serve;
use holdfast_proto::v1;
use holdfast_proto::v1::admin_client::AdminClient;
use holdfast_proto::v1::enrolment_client::EnrolmentClient;
use holdfast_service::clock::{Clock, FixedClock, SystemClock};
use holdfast_types::NodeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::Status;

const SECTION: &str = "[enrolment]\nlisten = \"127.0.0.1:0\"\nca_cert = \"ROOT/ca/ca.pem\"\n\
                       ca_key = \"ROOT/ca/ca-key.pem\"\ndays = 1\n";

struct Scene {
    world: World,
    running: Running,
    endpoint: String,
}

impl Scene {
    async fn start() -> Self {
        Self::of(World::with(SECTION), Arc::new(SystemClock)).await
    }

    async fn of(world: World, clock: Arc<dyn Clock>) -> Self {
        let (running, core) = world.start_at(clock).await;
        let tls = ServerTls::load(TlsPaths::in_dir(&world.dir.path().join("c1"))).unwrap();
        holdfast_coordinator::enrolment::check(core.enrolments.section().unwrap(), &tls).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let tracker = core.shutdown.clone();
        drop(tracker.spawn(serve::serve_enrolment(core, listener, tls)));
        Self {
            world,
            running,
            endpoint,
        }
    }

    async fn restart(self, clock: Arc<dyn Clock>) -> Self {
        self.running.stop().await;
        Self::of(self.world, clock).await
    }

    async fn token(&self, node: &str) -> EnrolToken {
        let request = v1::CreateTokenRequest {
            node: node.into(),
            valid_secs: 60,
        };
        let made = members(&self.world, &self.running).await;
        let made = { made }.create_token(request).await.unwrap().into_inner();
        assert_eq!(made.about.unwrap().state, "open");
        made.token.parse().unwrap()
    }

    async fn tokens(&self) -> Vec<v1::EnrolmentToken> {
        let mut listed = members(&self.world, &self.running).await;
        let listed = listed.list_tokens(v1::ListTokensRequest {}).await;
        listed.unwrap().into_inner().tokens
    }

    /// Enrols as an agent does, which may change what it says.
    async fn enrol_as(
        &self,
        token: &EnrolToken,
        node: &str,
        change: impl FnOnce(&mut v1::EnrolRequest),
    ) -> Result<CertificateInfo, Status> {
        let name: NodeId = node.parse().unwrap();
        let dir = self.world.dir.path().join(node);
        let paths = TlsPaths::in_dir(&dir);
        let applicant = Applicant::begin(&name, &paths, token.pin()).unwrap();
        let options = ConnectOptions::default();
        let server = PinnedServer::connect(&self.endpoint, token, &options).await;
        let server = server.unwrap();
        let mut request = v1::EnrolRequest {
            secret: token.secret().as_bytes().to_vec().into(),
            node: node.into(),
            cluster: "demo".into(),
            csr: applicant.csr().to_vec().into(),
            now_us: SystemClock.now().as_micros(),
            program: hello(node).program,
        };
        change(&mut request);
        let mut client = EnrolmentClient::new(server.channel.clone());
        let answer = client.enrol(request).await?.into_inner();
        let ders = |list: Vec<bytes::Bytes>| list.iter().map(|der| der.to_vec()).collect();
        let answer = Answer::new(ders(answer.chain), ders(answer.authorities));
        Ok(applicant.finish(&name, &server, &answer).unwrap())
    }

    async fn enrol(&self, token: &EnrolToken, node: &str) -> Result<CertificateInfo, Status> {
        self.enrol_as(token, node, |_| {}).await
    }

    async fn refused(&self, token: &EnrolToken, node: &str) -> String {
        let refused = self.enrol(token, node).await.unwrap_err();
        assert!(!self.world.dir.path().join(node).join("cert.pem").exists());
        code(&refused)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_makes_the_agent_of_its_node_once_and_across_restarts() {
    let scene = Scene::start().await;
    let token = scene.token("n4").await;
    let (other, unused) = (scene.token("n5").await, scene.token("n6").await);
    // Another name does not spend it.
    assert_eq!(scene.refused(&token, "n7").await, "token-other-node");
    let info = scene.enrol(&token, "n4").await.unwrap();
    let identity = info.identity.as_ref().unwrap().to_string();
    assert_eq!(identity, "spiffe://demo/agent/n4");
    // It is an agent like every other.
    let agent = Agent::join(&scene.world, &scene.running, "n4").await;
    agent.report(&["docs"]).await;
    let mut operator = scene.world.operator(&scene.running).await;
    operator.sees("n4", &["docs"]).await;

    assert_eq!(scene.refused(&token, "n8").await, "token-used");
    let listed = scene.tokens().await;
    let used = listed.iter().find(|token| token.node == "n4").unwrap();
    assert_eq!((used.state.as_str(), &used.serial), ("used", &info.serial));
    assert!(used.ended_by.starts_with("127.0.0.1:"), "{used:?}");
    let mut members_of = members(&scene.world, &scene.running).await;
    let id = used.id.clone();
    let too_late = members_of.revoke_token(v1::RevokeTokenRequest { id }).await;
    let too_late = too_late.unwrap_err();
    assert_eq!(code(&too_late), "token-used");
    assert!(too_late.message().contains("nodes remove n4"), "{too_late}");
    let id = listed.iter().find(|token| token.node == "n5").unwrap().id[..6].to_owned();
    let revoked = members_of.revoke_token(v1::RevokeTokenRequest { id }).await;
    assert_eq!(
        revoked.unwrap().into_inner().token.unwrap().state,
        "revoked"
    );
    assert_eq!(scene.refused(&other, "n5").await, "token-used");

    let scene = scene.restart(Arc::new(SystemClock)).await;
    assert_eq!(scene.refused(&token, "n8").await, "token-used");
    assert_eq!(scene.refused(&other, "n5").await, "token-used");
    scene.enrol(&unused, "n6").await.unwrap();
    // The secret stands nowhere.
    let catalogue = std::fs::read(scene.world.dir.path().join("state/catalog.redb")).unwrap();
    let secret = unused.secret();
    let hex = &unused.to_string()[5..37];
    assert!(!catalogue.windows(16).any(|w| w == secret.as_bytes()));
    assert!(!catalogue.windows(32).any(|w| w == hex.as_bytes()));
    assert!(catalogue.windows(64).any(|w| w == secret.hash().as_bytes()));
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_its_time() {
    let scene = Scene::start().await;
    let token = scene.token("n4").await;
    let later = SystemClock.now().after(Duration::from_secs(61));
    let scene = scene.restart(Arc::new(FixedClock::new(later))).await;
    assert_eq!(scene.tokens().await[0].state, "expired");
    assert_eq!(scene.refused(&token, "n4").await, "token-expired");
    for secs in [59, 8 * 86_400] {
        let request = v1::CreateTokenRequest {
            node: "n4".into(),
            valid_secs: secs,
        };
        let refused = members(&scene.world, &scene.running).await;
        let refused = { refused }.create_token(request).await.unwrap_err();
        assert_eq!(code(&refused), "usage", "{refused}");
    }
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_keep_an_agent_out_does_not_spend_its_token() {
    let scene = Scene::start().await;
    let token = scene.token("n4").await;
    let hour = 3_600_000_000;
    type Change = fn(&mut v1::EnrolRequest, i64);
    let changes: [(&str, Change); 5] = [
        ("clock-skew", |request, hour| request.now_us += hour),
        ("config", |request, _| request.cluster = "prod".into()),
        ("version-mismatch", |request, _| {
            request.program = Some(v1::ProgramVersion {
                version: "9.0.0".into(),
            });
        }),
        ("certificate", |request, _| {
            request.csr = vec![1, 2, 3].into()
        }),
        ("usage", |request, _| request.secret = vec![1, 2, 3].into()),
    ];
    for (want, change) in changes {
        let refused = scene.enrol_as(&token, "n4", |request| change(request, hour));
        let refused = refused.await.unwrap_err();
        assert_eq!(code(&refused), want, "{refused}");
    }
    scene.enrol(&token, "n4").await.unwrap();
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_guess_for_long_and_nothing_else_is_served() {
    let scene = Scene::start().await;
    let token = scene.token("n4").await;
    let options = ConnectOptions::default();
    let server = PinnedServer::connect(&scene.endpoint, &token, &options).await;
    let channel = server.unwrap().channel;
    let admin = AdminClient::new(channel.clone());
    let status = { admin }.status(v1::StatusRequest {}).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented, "{status}");
    for n in 0..10 {
        let wrong = scene.enrol_as(&token, "n4", |request| request.secret = vec![n; 16].into());
        assert_eq!(code(&wrong.await.unwrap_err()), "token-unknown");
    }
    assert_eq!(scene.refused(&token, "n4").await, "throttled");
    assert_eq!(scene.tokens().await[0].state, "open");
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_can_be_enrolled_anew() {
    let scene = Scene::start().await;
    let token = scene.token("n4").await;
    scene.enrol(&token, "n4").await.unwrap();
    let _agent = Agent::join(&scene.world, &scene.running, "n4").await;
    let remove = v1::RemoveNodeRequest {
        node: "n4".into(),
        confirm: true,
        ..Default::default()
    };
    let mut members_of = members(&scene.world, &scene.running).await;
    members_of.remove_node(remove).await.unwrap();
    let old = scene.world.channel(&scene.running, "n4").await;
    std::fs::remove_dir_all(scene.world.dir.path().join("n4")).unwrap();
    // Its lifetime begins at the removal, not five minutes before, as the old one's did.
    let token = scene.token("n4").await;
    scene.enrol(&token, "n4").await.unwrap();
    let back = Agent::join(&scene.world, &scene.running, "n4").await;
    back.report(&["docs"]).await;
    let mut operator = scene.world.operator(&scene.running).await;
    operator.sees("n4", &["docs"]).await;
    let refused = Agent::with(old, hello("n4")).await.err().unwrap();
    assert_eq!(code(&refused), "node-removed");
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_authority_nobody_is_enrolled() {
    let world = World::new();
    let running = world.start().await;
    let request = v1::CreateTokenRequest {
        node: "n4".into(),
        valid_secs: 0,
    };
    let refused = members(&world, &running).await;
    let refused = { refused }.create_token(request).await.unwrap_err();
    assert_eq!(code(&refused), "config", "{refused}");
    assert!(refused.message().contains("certs issue"), "{refused}");
    running.stop().await;

    // An authority that peers don't accept is found at the start.
    let world = World::with(SECTION);
    let other = World::new();
    let mut section = world.config.enrolment.clone().unwrap();
    let tls = ServerTls::load(TlsPaths::in_dir(&world.dir.path().join("c1"))).unwrap();
    holdfast_coordinator::enrolment::check(&section, &tls).unwrap();
    section.ca_cert = other.dir.path().join("ca/ca.pem");
    let mixed = holdfast_coordinator::enrolment::check(&section, &tls).unwrap_err();
    assert_eq!(mixed.code, "certificate", "{mixed}");
    section.ca_key = other.dir.path().join("ca/ca-key.pem");
    let foreign = holdfast_coordinator::enrolment::check(&section, &tls).unwrap_err();
    assert!(foreign.message.contains("tls.ca"), "{foreign}");
}
