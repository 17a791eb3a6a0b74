//! The demo's small deployment: one Qdrant, one coordinator, one agent, each a real process on
//! loopback, with identities and configuration files as a user would have made them.

use super::binaries::{Binaries, ServerBinary};
use super::child::{Child, Recipe};
use super::configs::{self, Ports};
use super::rest::{Qdrant, Root};
use super::summary::KeptView;
use super::workdir::{WorkDir, free_ports};
use crate::client::{Coordinator, connect};
use crate::failure::{Failure, Outcome};
use crate::pki::{self, Wish};
use crate::progress::Progress;
use crate::settings::Settings;
use holdfast_certs::{Role, Scope};
use holdfast_service::failure::Code;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

/// A process that is not ready after this long won't be.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(100);

/// Days that the demo's certificates are valid.
const CERT_DAYS: u32 = 7;

/// Everything that runs. Dropping it kills the processes, then removes the directory.
#[derive(Debug)]
pub(super) struct Topology {
    // In the order of starting; fields drop in order, so processes end before their directory goes.
    children: Vec<Child>,
    ports: Ports,
    qdrant: Qdrant,
    dir: WorkDir,
}

/// Which server was started.
#[derive(Debug)]
pub(super) struct Server {
    /// True for a Qdrant, false for the stand-in.
    pub(super) real: bool,
    pub(super) root: Root,
}

impl Topology {
    /// Prepares a deployment in `dir`; nothing is started yet.
    pub(super) fn new(dir: WorkDir) -> Outcome<Self> {
        let [
            qdrant_http,
            qdrant_grpc,
            coordinator,
            coordinator_health,
            agent_health,
        ] = free_ports()?;
        let ports = Ports {
            qdrant_http,
            qdrant_grpc,
            coordinator,
            coordinator_health,
            agent_health,
        };
        Ok(Self {
            children: Vec::new(),
            qdrant: Qdrant::new(ports.qdrant_http)?,
            ports,
            dir,
        })
    }

    /// The server, past everything of Holdfast.
    pub(super) fn qdrant(&self) -> Qdrant {
        self.qdrant.clone()
    }

    /// The directory is removed in the end, even if it was to be kept.
    pub(super) fn discard(&mut self) {
        self.dir.discard();
    }

    /// The demo's directory.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the server and waits until it is ready.
    pub(super) async fn start_qdrant(&mut self, binary: &ServerBinary) -> Outcome<Server> {
        let (program, real) = match binary {
            ServerBinary::Qdrant(path) => (path, true),
            ServerBinary::Devnode(path) => (path, false),
        };
        let cwd = self.dir.subdir("qdrant")?;
        let recipe = Recipe {
            name: "qdrant",
            program,
            args: Vec::new(),
            env: configs::qdrant_env(&cwd, self.ports),
            dir: &cwd,
            logs: &self.dir.subdir("logs")?,
        };
        self.children.push(Child::start(recipe)?);
        let qdrant = self.qdrant();
        self.until("Qdrant", async || Ok(qdrant.is_ready().await.then_some(())))
            .await?;
        let root = self.qdrant.root().await?;
        Ok(Server { real, root })
    }

    /// Makes the authority, all identities, the repository's key and all configuration files.
    pub(super) fn write_files(&self) -> Outcome<()> {
        let dir = self.dir.path();
        let ca = dir.join("pki");
        pki::init(&ca, configs::CLUSTER, Scope::Everybody, CERT_DAYS + 1)?;
        let loopback = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        for (role, name, ips) in [
            (Role::Coordinator, configs::COORDINATOR, loopback),
            (Role::Agent, configs::NODE, Vec::new()),
            (Role::Operator, configs::OPERATOR, Vec::new()),
        ] {
            let wish = Wish {
                role,
                name,
                dns: Vec::new(),
                ips,
                days: CERT_DAYS,
            };
            pki::issue(&ca, &wish, &dir.join("tls").join(name))?;
        }
        let key: [u8; 32] = rand::random();
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.write("repository.key", &digits)?;
        self.dir.subdir("repository")?;
        self.dir
            .write("coordinator.toml", &configs::coordinator(dir, self.ports))?;
        self.dir
            .write("agent.toml", &configs::agent(dir, self.ports))?;
        self.dir
            .write("holdfast.toml", &configs::operator(self.ports))?;
        Ok(())
    }

    /// Starts the coordinator and connects to it as an operator.
    pub(super) async fn start_coordinator(&mut self, binaries: &Binaries) -> Outcome<Coordinator> {
        self.start_service("coordinator", &binaries.coordinator)?;
        let tls = self.dir.path().join("tls").join(configs::OPERATOR);
        let settings = Settings {
            coordinator: format!("https://127.0.0.1:{}", self.ports.coordinator),
            cert: tls.join("cert.pem"),
            key: tls.join("key.pem"),
            ca: tls.join("ca.pem"),
        };
        self.until("the coordinator", async || {
            let mut coordinator = connect(&settings).await?;
            coordinator.status().await?;
            Ok(Some(coordinator))
        })
        .await
    }

    /// Starts the agent and waits until the coordinator has heard of its Qdrant.
    pub(super) async fn start_agent(
        &mut self,
        binaries: &Binaries,
        coordinator: &mut Coordinator,
    ) -> Outcome<()> {
        self.start_service("agent", &binaries.agent)?;
        self.until("the agent", async || {
            let nodes = coordinator.nodes().await?.nodes;
            let node = nodes.iter().find(|node| node.connected);
            if let Some(error) = node.and_then(|node| node.qdrant_error.as_ref()) {
                return Err(Failure::new(Code::QdrantError, error.message.clone()));
            }
            Ok(node.and_then(|node| node.inventory.as_ref()).map(drop))
        })
        .await
    }

    fn start_service(&mut self, name: &'static str, program: &Path) -> Outcome<()> {
        let config = self.dir.path().join(format!("{name}.toml"));
        let recipe = Recipe {
            name,
            program,
            args: vec!["--config".into(), config.into(), "run".into()],
            // A proxy in the environment must not come between the parts.
            env: vec![
                ("NO_PROXY", "127.0.0.1".to_owned()),
                ("no_proxy", "127.0.0.1".to_owned()),
            ],
            dir: self.dir.path(),
            logs: &self.dir.subdir("logs")?,
        };
        self.children.push(Child::start(recipe)?);
        Ok(())
    }

    /// Looks again and again until `probe` has an answer. A failure of the probe is kept for the
    /// message and tried again; a process that has ended is a failure at once.
    pub(super) async fn until<T>(
        &mut self,
        what: &str,
        mut probe: impl AsyncFnMut() -> Outcome<Option<T>>,
    ) -> Outcome<T> {
        let begun = Instant::now();
        loop {
            let last = match probe().await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => None,
                Err(failure) => Some(failure),
            };
            for child in &mut self.children {
                child.check()?;
            }
            if begun.elapsed() > START_LIMIT {
                let late = format!("{what} was not ready after {} s", START_LIMIT.as_secs());
                let failure = Failure::new(Code::Internal, late);
                return Err(match last {
                    Some(last) => failure.because(last.render()),
                    None => failure,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Peak memory of a service in bytes, where the system tells.
    pub(super) fn peak_memory(&self, name: &str) -> Option<u64> {
        self.children
            .iter()
            .find(|child| child.name() == name)?
            .peak_memory()
    }

    /// Shows the end of every log.
    pub(super) fn show_logs(&self, progress: &mut Progress) {
        for child in &self.children {
            progress.say(&child.log_tail());
        }
    }

    /// Stops everything, last started first, and removes the directory.
    pub(super) async fn stop(mut self) {
        // Qdrant waits for connections that are open, and ours would stay open.
        drop(self.qdrant);
        for child in self.children.iter_mut().rev() {
            child.stop().await;
        }
    }

    /// What there is to know of a deployment that is left running.
    pub(super) fn kept(&self) -> KeptView {
        KeptView {
            dir: self.dir().to_owned(),
            settings: self.dir().join("holdfast.toml"),
            qdrant_url: self.qdrant.url().to_owned(),
            pids: self.children.iter().rev().map(Child::pid).collect(),
        }
    }

    /// Leaves everything running.
    pub(super) fn release(mut self) {
        for child in &mut self.children {
            child.release();
        }
    }
}
