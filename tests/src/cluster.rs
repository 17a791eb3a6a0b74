//! A real Qdrant cluster with an agent beside each node, and one coordinator.
//!
//! The devnode has no cluster mode: where no real server is found, [`available`] says that it was skipped.

use crate::process::{Process, free_port};
use crate::qdrant::{Kind, Qdrant, program};
use crate::site::{self, Options, agent_config, certificates, coordinator_config, start_program};
use crate::skipped;
use crate::wait::until;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

const LIMIT: Duration = Duration::from_secs(180);
/// A name that a stand-alone node may take beside the cluster; it has a certificate.
pub const ALONE: &str = "alone";
/// Names that the nodes of another Qdrant cluster may take beside it; they have certificates.
pub const OTHERS: [&str; 5] = ["b1", "b2", "b3", "b4", "b5"];

/// Whether there is a server that can form a cluster; says so if not.
#[must_use]
pub fn available() -> bool {
    let real = matches!(program(), Ok((Kind::Real, _)));
    if !real {
        skipped("a real Qdrant server is needed: holdfast-devnode has no cluster mode");
    }
    real
}

/// One site at a time: eleven servers at once on two cores answer so late that their own time limits strike.
static TURN: Mutex<()> = Mutex::const_new(());

/// A running cluster; everything ends and is removed when it is dropped. Another one starts only then.
#[derive(Debug)]
pub struct ClusterSite {
    /// `n1`, `n2`, …
    pub nodes: Vec<Member>,
    /// The coordinator.
    pub coordinator: Process,
    endpoint: String,
    options: Options,
    dir: TempDir,
    // Last, so that it is dropped after the programs have ended.
    _turn: MutexGuard<'static, ()>,
}

/// One node and its agent.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its Qdrant.
    pub qdrant: Qdrant,
    /// Its agent.
    pub agent: Process,
}

impl ClusterSite {
    /// Starts so many nodes and waits until they are one cluster and the coordinator sees all of them.
    ///
    /// # Errors
    /// If any part can't be started; the error holds the logs.
    pub async fn start(count: usize, options: Options) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let turn = TURN.lock().await;
        let dir = tempfile::Builder::new()
            .prefix("holdfast-test-")
            .tempdir()?;
        let root = dir.path();
        let names: Vec<String> = (1..=count).map(|n| format!("n{n}")).collect();
        let folders: Vec<String> = names.iter().map(|name| format!("agent-{name}")).collect();
        let pairs = names.iter().zip(&folders);
        let mut agents: Vec<(&str, &str)> =
            pairs.map(|(name, folder)| (&**name, &**folder)).collect();
        agents.push((ALONE, "agent-alone"));
        let others: Vec<String> = OTHERS.iter().map(|name| format!("agent-{name}")).collect();
        let pairs = OTHERS.iter().zip(&others);
        agents.extend(pairs.map(|(name, folder)| (*name, &**folder)));
        certificates(root, &agents)?;
        let port = free_port()?;
        let endpoint = format!("https://127.0.0.1:{port}");
        fs::write(root.join("repository.key"), "0123456789abcdef".repeat(4))?;
        let config = coordinator_config(root, port) + options.coordinator;
        fs::write(root.join("coordinator.toml"), config)?;
        let servers = form_cluster(root, &names).await?;
        let coordinator = start_program(root, "coordinator", "coordinator")?;
        let mut nodes = Vec::new();
        for (name, qdrant) in names.into_iter().zip(servers) {
            let agent = start_agent(root, &name, &endpoint, &qdrant, options)?;
            nodes.push(Member {
                name,
                qdrant,
                agent,
            });
        }
        let site = Self {
            nodes,
            coordinator,
            endpoint,
            options,
            dir,
            _turn: turn,
        };
        site.wait_connected().await?;
        Ok(site)
    }

    /// Starts a stand-alone node of the same Holdfast cluster, with an agent called [`ALONE`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_alone(&self) -> Result<Member> {
        let root = self.dir();
        let qdrant = Qdrant::start(&root.join("qdrant-alone")).await?;
        let agent = start_agent(root, ALONE, &self.endpoint, &qdrant, self.options)?;
        let member = Member {
            name: ALONE.to_owned(),
            qdrant,
            agent,
        };
        self.wait_for(&[ALONE]).await?;
        Ok(member)
    }

    /// Starts another Qdrant cluster of so many nodes, with agents called by the first of [`OTHERS`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_others(&self, count: usize) -> Result<Vec<Member>> {
        let root = self.dir();
        let names: Vec<String> = OTHERS.map(str::to_owned).into_iter().take(count).collect();
        let servers = form_cluster(root, &names).await?;
        let mut members = Vec::new();
        for (name, qdrant) in names.into_iter().zip(servers) {
            let agent = start_agent(root, &name, &self.endpoint, &qdrant, self.options)?;
            members.push(Member {
                name,
                qdrant,
                agent,
            });
        }
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        self.wait_for(&names).await?;
        Ok(members)
    }

    /// The site's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The repository's folder.
    #[must_use]
    pub fn repository(&self) -> PathBuf {
        self.dir().join("repository")
    }

    /// Waits until the coordinator sees every node and its Qdrant.
    ///
    /// # Errors
    /// After three minutes, with the logs.
    pub async fn wait_connected(&self) -> Result<()> {
        let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        self.wait_for(&names).await
    }

    /// Waits until the coordinator sees these nodes and their Qdrants.
    ///
    /// # Errors
    /// As [`Self::wait_connected`].
    pub async fn wait_for(&self, names: &[&str]) -> Result<()> {
        until("the agents to be connected", LIMIT, || async {
            let (code, seen) = self.json(&["nodes"]).ok()?;
            let seen = seen["nodes"].as_array()?.clone();
            let there = |name: &&str| {
                let good = |n: &Value| {
                    n["node"] == **name
                        && n["connected"] == true
                        && !n["qdrant"].is_null()
                        && n["qdrant_error"].is_null()
                };
                seen.iter().any(good)
            };
            (code == 0 && names.iter().all(there)).then_some(())
        })
        .await
        .with_context(|| self.logs())
    }

    /// Runs `holdfast … --output json` as an operator; yields the exit code and the document.
    ///
    /// # Errors
    /// If stdout is no JSON document; stderr is in the error.
    pub fn json(&self, args: &[&str]) -> Result<(i32, Value)> {
        site::json(self.dir(), &self.endpoint, args)
    }

    /// Like [`Self::json`] and requires exit code 0.
    ///
    /// # Errors
    /// If the exit code is another one; the logs are in the error.
    pub fn ok(&self, args: &[&str]) -> Result<Value> {
        let (code, value) = self.json(args)?;
        ensure!(
            code == 0,
            "holdfast {args:?} ended with {code}: {value}\n{}",
            self.logs()
        );
        Ok(value)
    }

    /// Starts `holdfast … --output json` as an operator and does not wait; its stdout can be read from the child.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn spawn(&self, args: &[&str]) -> Result<Child> {
        let mut all = args.to_vec();
        all.extend(["--output", "json"]);
        site::command(self.dir(), &self.endpoint, "operator", &all)?
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("can't start holdfast")
    }

    /// A node by its name.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn node(&self, name: &str) -> &Member {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.expect("the test names a node of its site")
    }

    /// A node by its name, to be stopped or started.
    ///
    /// # Panics
    /// If there is none.
    pub fn node_mut(&mut self, name: &str) -> &mut Member {
        let found = self.nodes.iter_mut().find(|node| node.name == name);
        found.expect("the test names a node of its site")
    }

    /// Everything that coordinator and agents have printed.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut all = format!("coordinator:\n{}", self.coordinator.log());
        for node in &self.nodes {
            let _ = write!(all, "\nagent of {}:\n{}", node.name, node.agent.log());
        }
        all
    }
}

/// Starts a Qdrant for each name and waits until they are one cluster.
async fn form_cluster(root: &Path, names: &[String]) -> Result<Vec<Qdrant>> {
    let mut servers = Vec::new();
    let mut first = None;
    for name in names {
        let folder = root.join(format!("qdrant-{name}"));
        let (server, uri) = Qdrant::start_peer(&folder, first.as_deref(), &[]).await?;
        servers.push(server);
        first.get_or_insert(uri);
    }
    whole(&servers).await?;
    Ok(servers)
}

/// Waits until every server knows all peers and a leader.
async fn whole(servers: &[Qdrant]) -> Result<()> {
    until("the Qdrant nodes to form a cluster", LIMIT, || async {
        for server in servers {
            let cluster = server.get("/cluster").await.ok()?;
            let peers = cluster["peers"].as_object()?.len();
            let leader = cluster["raft_info"]["leader"].as_u64()?;
            if peers != servers.len() || leader == 0 {
                return None;
            }
        }
        Some(())
    })
    .await
}

fn start_agent(
    root: &Path,
    name: &str,
    endpoint: &str,
    qdrant: &Qdrant,
    options: Options,
) -> Result<Process> {
    let folder = format!("agent-{name}");
    let config = agent_config(root, (name, &folder), endpoint, qdrant, options);
    fs::write(root.join(format!("{folder}.toml")), config)?;
    start_program(root, "agent", &folder)
}
