//! An authority for agents alone vouches for nobody else, whatever its key signs.

use super::support::{DAY, TestServer, World, now};
use crate::ca::{self, CA_FILE, CA_KEY_FILE, CaError, IssueRequest};
use crate::{ClientTls, ConnectError, Scope, ServerTls, TlsPaths};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::path::{Path, PathBuf};

/// A world with a second authority, for agents, whose certificate every party trusts, too.
struct Two {
    world: World,
    agents: PathBuf,
}

impl Two {
    fn new() -> Self {
        let world = World::new();
        let agents = world.path("agents-ca");
        let domain = "demo".parse().unwrap();
        ca::init(&agents, &domain, Scope::AgentsOnly, 30 * DAY, now()).unwrap();
        Self { world, agents }
    }

    /// Lets the holder of a pair trust both.
    fn trusting(&self, paths: TlsPaths) -> TlsPaths {
        let read = |dir: &Path| std::fs::read_to_string(dir.join(CA_FILE)).unwrap();
        let both = read(&self.world.ca()) + &read(&self.agents);
        std::fs::write(&paths.ca, both).unwrap();
        paths
    }

    /// What whoever stole the second authority's key would make.
    fn forged(&self, role: &str) -> TlsPaths {
        self.forged_by(role, false)
    }

    /// The same, by way of an authority of another name in between if there is a `detour`.
    fn forged_by(&self, role: &str, detour: bool) -> TlsPaths {
        let dir = self.world.path(&format!("forged-{role}-{detour}"));
        std::fs::create_dir(&dir).unwrap();
        let ca = CertificateDer::from_pem_file(self.agents.join(CA_FILE)).unwrap();
        let key = std::fs::read_to_string(self.agents.join(CA_KEY_FILE)).unwrap();
        let issuer = Issuer::from_ca_cert_der(&ca, KeyPair::from_pem(&key).unwrap()).unwrap();
        let mut params = CertificateParams::default();
        let identity = format!("spiffe://demo/{role}/x");
        params.subject_alt_names = vec![
            SanType::URI(identity.as_str().try_into().unwrap()),
            SanType::IpAddress("127.0.0.1".parse().unwrap()),
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let own = KeyPair::generate().unwrap();
        let mut between = CertificateParams::default();
        between.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        between
            .distinguished_name
            .push(DnType::CommonName, "between");
        let key = KeyPair::generate().unwrap();
        let shown = match detour {
            false => params.signed_by(&own, &issuer).unwrap().pem(),
            true => {
                let authority = between.signed_by(&key, &issuer).unwrap().pem();
                let leaf = params.signed_by(&own, &Issuer::new(between, key)).unwrap();
                leaf.pem() + &authority
            }
        };
        let paths = TlsPaths::in_dir(&dir);
        std::fs::write(&paths.cert, shown).unwrap();
        std::fs::write(&paths.key, own.serialize_pem()).unwrap();
        self.trusting(paths)
    }
}

async fn serve(paths: TlsPaths) -> TestServer {
    TestServer::start(ServerTls::load(paths).unwrap()).await
}

async fn call(server: &TestServer, paths: TlsPaths) -> Result<(), ConnectError> {
    let connected = server.connect(&ClientTls::load(paths).unwrap()).await;
    connected.map(drop)
}

#[tokio::test]
async fn it_vouches_for_agents_and_for_nobody_else() {
    let two = Two::new();
    let coordinator = two.trusting(two.world.issue("coordinator", "c1"));
    let endpoint = serve(coordinator).await;
    call(&endpoint, two.forged("agent")).await.unwrap();
    call(&endpoint, two.world.issue("operator", "alice"))
        .await
        .unwrap();
    for detour in [false, true] {
        for role in ["operator", "viewer", "coordinator"] {
            let paths = two.forged_by(role, detour);
            let refused = call(&endpoint, paths).await.unwrap_err();
            assert!(
                matches!(refused, ConnectError::Refused { .. }),
                "{role}, {detour}: {refused}"
            );
        }
    }
    // A detour alone is no offence.
    call(&endpoint, two.forged_by("agent", true)).await.unwrap();
}

#[tokio::test]
async fn nobody_takes_what_it_signed_for_a_coordinator() {
    let two = Two::new();
    let agent = two.trusting(two.world.issue("agent", "n1"));
    for detour in [false, true] {
        let forged = serve(two.forged_by("coordinator", detour)).await;
        let refused = call(&forged, agent.clone()).await.unwrap_err();
        assert!(
            matches!(refused, ConnectError::WrongServer { .. }),
            "{detour}: {refused}"
        );
    }
}

#[test]
fn it_refuses_to_issue_anything_else() {
    let two = Two::new();
    let issue = |role: &str| {
        let request = IssueRequest {
            identity: format!("spiffe://demo/{role}/x1").parse().unwrap(),
            dns_names: vec![],
            ip_addresses: vec!["127.0.0.1".parse().unwrap()],
            validity: DAY,
        };
        ca::issue(&two.agents, &request, &two.world.path(role), now())
    };
    issue("agent").unwrap();
    for role in ["operator", "viewer", "coordinator"] {
        let refused = issue(role).unwrap_err();
        assert!(matches!(refused, CaError::BeyondScope { .. }), "{refused}");
    }
}
