//! Certificates, a configuration, and a coordinator in this process that can be stopped and started.

use holdfast_certs::ca::{self, IssueRequest};
use holdfast_certs::{
    ClientTls, ConnectOptions, Identity, Role, Scope, ServerTls, TlsPaths, connect,
};
use holdfast_coordinator::config::{self, CoordinatorConfig};
use holdfast_coordinator::core::Core;
use holdfast_coordinator::{execute, serve, start};
use holdfast_proto::limits::MAX_MESSAGE_BYTES;
use holdfast_proto::v1;
use holdfast_proto::v1::admin_client::AdminClient;
use holdfast_service::clock::{Clock, SystemClock};
use holdfast_service::config::Strictness;
use holdfast_service::shutdown::Shutdown;
use holdfast_types::ClusterName;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) config: CoordinatorConfig,
}

pub(crate) struct Running {
    address: String,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

pub(crate) fn cluster() -> ClusterName {
    "demo".parse().unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// A world whose configuration ends with `more`, in which `ROOT` is its folder.
    pub(crate) fn with(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let now = SystemClock.now();
        ca::init(&root.join("ca"), &cluster(), Scope::Everybody, 4 * DAY, now).unwrap();
        for (role, name) in [
            (Role::Coordinator, "c1"),
            (Role::Agent, "n1"),
            (Role::Agent, "n2"),
            (Role::Agent, "n3"),
            (Role::Operator, "op"),
        ] {
            let request = IssueRequest {
                identity: Identity::new(cluster(), role, name).unwrap(),
                dns_names: vec![],
                ip_addresses: vec!["127.0.0.1".parse().unwrap()],
                validity: DAY / 2,
            };
            ca::issue(&root.join("ca"), &request, &root.join(name), now).unwrap();
        }
        std::fs::write(root.join("key"), "5a".repeat(32)).unwrap();
        let path = root.join("coordinator.toml");
        std::fs::write(&path, config_text(root, more)).unwrap();
        let (config, _) = config::load(&path, Strictness::Strict).unwrap();
        Self { dir, config }
    }

    /// Follows this policy from the next start on.
    pub(crate) fn follow(&mut self, policy: &str) {
        let dir = self.dir.path();
        let (place, path) = (dir.join("policy.toml"), dir.join("coordinator.toml"));
        std::fs::write(&place, policy).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        if !text.starts_with("policy = ") {
            text = format!("policy = \"{}\"\n{text}", place.display());
        }
        std::fs::write(&path, text).unwrap();
        (self.config, _) = config::load(&path, Strictness::Strict).unwrap();
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_at(Arc::new(SystemClock)).await.0
    }

    pub(crate) async fn start_at(&self, clock: Arc<dyn Clock>) -> (Running, Arc<Core>) {
        let shutdown = Shutdown::new();
        let core = start::open_core(&self.config, shutdown.clone(), clock)
            .await
            .unwrap();
        let shared = Arc::clone(&core);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        let tls = ServerTls::load(TlsPaths::in_dir(&self.dir.path().join("c1"))).unwrap();
        execute::resume(&core).await;
        let serving = tokio::spawn(async move { serve::serve(core, listener, tls).await.unwrap() });
        let running = Running {
            address,
            shutdown,
            serving,
        };
        (running, shared)
    }

    pub(crate) async fn channel(&self, running: &Running, name: &str) -> Channel {
        let tls = ClientTls::load(TlsPaths::in_dir(&self.dir.path().join(name))).unwrap();
        connect(&running.address, &tls, &ConnectOptions::default())
            .await
            .unwrap()
    }

    pub(crate) async fn operator(&self, running: &Running) -> Operator {
        let channel = self.channel(running, "op").await;
        Operator(AdminClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }
}

impl Running {
    /// Ends the coordinator. Jobs that run are left as a crash would leave them.
    pub(crate) async fn stop(self) {
        self.shutdown.stop();
        self.serving.await.unwrap();
        self.shutdown.drain(Duration::from_secs(30)).await.unwrap();
    }
}

fn config_text(root: &Path, more: &str) -> String {
    let path = |name: &str| root.join(name).display().to_string();
    format!(
        "name = \"c1\"\ncluster = \"demo\"\nlisten = \"127.0.0.1:0\"\nstate_dir = \"{}\"\n\
         [tls]\ncert = \"{}\"\nkey = \"{}\"\nca = \"{}\"\n\
         [repository]\npath = \"{}\"\nkey_file = \"{}\"\ninit = true\n{}",
        path("state"),
        path("c1/cert.pem"),
        path("c1/key.pem"),
        path("c1/ca.pem"),
        path("repo"),
        path("key"),
        more.replace("ROOT", &root.display().to_string()),
    )
}

/// What an operator does.
pub(crate) struct Operator(pub(crate) AdminClient<Channel>);

/// A job being followed.
#[derive(Debug)]
pub(crate) struct Job(tonic::Streaming<v1::JobEvent>);

impl Operator {
    /// Waits until the node is known with exactly these collections.
    pub(crate) async fn sees(&mut self, node: &str, collections: &[&str]) {
        loop {
            let nodes = self.0.list_nodes(v1::ListNodesRequest {}).await.unwrap();
            let found = nodes
                .into_inner()
                .nodes
                .into_iter()
                .find(|n| n.node == node);
            let inventory = found.filter(|n| n.connected).and_then(|n| n.inventory);
            let names = inventory.map(|inventory| {
                let names = inventory.collections.into_iter().map(|c| c.name);
                names.collect::<Vec<String>>()
            });
            if names.is_some_and(|names| names == collections) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn backup(&mut self) -> Job {
        let request = v1::CreateBackupRequest {
            collections: vec![],
            method: v1::CaptureMethod::Auto.into(),
            note: "a note".into(),
            tags: vec!["nightly".into()],
            limits: None,
        };
        Job(self.0.create_backup(request).await.unwrap().into_inner())
    }

    pub(crate) async fn restore(&mut self, request: v1::RestoreRequest) -> Job {
        Job(self.0.run_restore(request).await.unwrap().into_inner())
    }

    /// Ids of the listed recovery points, newest first.
    pub(crate) async fn points(&mut self) -> Vec<String> {
        let request = v1::ListBackupsRequest::default();
        let listed = self.0.list_backups(request).await.unwrap().into_inner();
        listed
            .backups
            .into_iter()
            .map(|b| b.recovery_point)
            .collect()
    }

    pub(crate) async fn status(&mut self) -> v1::StatusResponse {
        let status = self.0.status(v1::StatusRequest {}).await;
        status.unwrap().into_inner()
    }

    /// Waits until no job runs and returns the newest.
    pub(crate) async fn settled(&mut self) -> v1::JobSummary {
        loop {
            let job = self.status().await.jobs.remove(0);
            if job.state() != v1::JobState::Running {
                return job;
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Job {
    /// A job that is being followed by this stream.
    pub(crate) fn of(events: tonic::Streaming<v1::JobEvent>) -> Self {
        Self(events)
    }

    /// The end of the job and the notes before it.
    pub(crate) async fn end(mut self) -> (v1::JobEnded, Vec<String>) {
        let mut notes = Vec::new();
        while let Some(event) = self.0.message().await.unwrap() {
            match event.event.unwrap() {
                v1::job_event::Event::Note(note) => notes.push(note),
                v1::job_event::Event::Ended(ended) => return (ended, notes),
                v1::job_event::Event::Started(_) | v1::job_event::Event::Progress(_) => {}
            }
        }
        panic!("the job's stream ended without its last event");
    }

    /// The job's id, from its first event.
    pub(crate) async fn id(&mut self) -> String {
        self.0.message().await.unwrap().unwrap().job_id
    }
}

impl World {
    /// Why the coordinator does not start.
    pub(crate) async fn refused_start(&self) -> holdfast_coordinator::fault::Fault {
        let opened = start::open_core(&self.config, Shutdown::new(), Arc::new(SystemClock)).await;
        opened.unwrap_err()
    }

    /// What `holdfast-coordinator rebuild` does.
    pub(crate) async fn rebuild(&self) {
        use holdfast_coordinator::catalog::rebuild::rebuild;
        use holdfast_coordinator::repository::{Creation, open};
        let repository = open(&self.config, Creation::Never, SystemClock.now()).await;
        rebuild(&self.config.catalog_path(), &repository.unwrap())
            .await
            .unwrap();
    }

    /// What another coordinator does that has no job of its own: it collects garbage, so many times, with an hour between.
    pub(crate) async fn collect_garbage(&self, runs: u64) {
        use holdfast_coordinator::repository::{Creation, open};
        use holdfast_repository::GarbageOptions;
        let repository = open(&self.config, Creation::Never, SystemClock.now()).await;
        let repository = repository.unwrap();
        let epoch = repository.claim_epoch().await.unwrap();
        for run in 0..runs {
            let options = GarbageOptions {
                now: SystemClock.now().after(Duration::from_secs(3600 * run)),
                grace: Duration::from_secs(60),
                ..GarbageOptions::default()
            };
            repository.collect_garbage(epoch, options).await.unwrap();
        }
    }
}
