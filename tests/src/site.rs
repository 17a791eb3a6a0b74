//! One complete Holdfast site on loopback: certificates, a Qdrant node, its agent, a coordinator.

use crate::process::{Process, Recipe, built, free_port};
use crate::qdrant::Qdrant;
use crate::wait::until;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The one node's name.
pub const NODE: &str = "n1";
/// The cluster's name.
pub const CLUSTER: &str = "test";

/// A running site; everything ends and is removed when it is dropped.
#[derive(Debug)]
pub struct Site {
    /// The Qdrant node.
    pub qdrant: Qdrant,
    /// The coordinator.
    pub coordinator: Process,
    /// The agent.
    pub agent: Process,
    /// The coordinator's address, such as `https://127.0.0.1:6350`.
    pub endpoint: String,
    dir: TempDir,
}

/// What can differ between sites.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether the agent sees Qdrant's snapshots volume (the quick way of capture).
    pub shared_snapshots: bool,
    /// Whether the agent sees Qdrant's storage volume (the direct and the partial way).
    pub shared_storage: bool,
    /// Sections added to the agent's configuration.
    pub agent: &'static str,
    /// Bound of the agent's spool, MiB.
    pub spool_mib: u64,
    /// Sections added to the coordinator's configuration.
    pub coordinator: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shared_snapshots: true,
            shared_storage: false,
            agent: "",
            spool_mib: 256,
            coordinator: "",
        }
    }
}

impl Site {
    /// Starts a site and waits until the coordinator sees the agent and the agent sees Qdrant.
    ///
    /// # Errors
    /// If any part can't be started; the error holds its log.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Like [`Self::start`], with options.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(options: Options) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::Builder::new()
            .prefix("holdfast-test-")
            .tempdir()?;
        let root = dir.path();
        let qdrant = Qdrant::start(&root.join("qdrant")).await?;
        certificates(root, &[(NODE, "agent")])?;
        let port = free_port()?;
        let endpoint = format!("https://127.0.0.1:{port}");
        fs::write(root.join("repository.key"), "0123456789abcdef".repeat(4))?;
        fs::write(
            root.join("coordinator.toml"),
            coordinator_config(root, port) + options.coordinator,
        )?;
        fs::write(
            root.join("agent.toml"),
            agent_config(root, (NODE, "agent"), &endpoint, &qdrant, options),
        )?;
        let coordinator = start_program(root, "coordinator", "coordinator")?;
        let agent = start_program(root, "agent", "agent")?;
        let site = Self {
            qdrant,
            coordinator,
            agent,
            endpoint,
            dir,
        };
        site.wait_connected().await?;
        Ok(site)
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

    /// Waits until the coordinator reports the node as connected, with an inventory.
    ///
    /// # Errors
    /// After a minute, with both logs.
    pub async fn wait_connected(&self) -> Result<()> {
        until(
            "the agent to be connected",
            Duration::from_secs(180),
            || async {
                let (code, nodes) = self.json(&["nodes"]).ok()?;
                let node = nodes["nodes"].as_array()?.first()?.clone();
                (code == 0 && node["connected"] == true && !node["qdrant"].is_null()).then_some(())
            },
        )
        .await
        .with_context(|| {
            format!(
                "coordinator:\n{}\nagent:\n{}",
                self.coordinator.log(),
                self.agent.log()
            )
        })
    }

    /// Restarts the coordinator with a policy of this text. Returns the policy's file.
    ///
    /// # Errors
    /// A coordinator that does not stop, or does not come back with its agent.
    pub async fn follow(&mut self, policy: &str) -> Result<PathBuf> {
        self.coordinator.stop(Duration::from_secs(30))?;
        let file = self.dir().join("policy.toml");
        fs::write(&file, policy)?;
        let config = self.dir().join("coordinator.toml");
        let text = fs::read_to_string(&config)?;
        let name = file.display().to_string();
        fs::write(&config, format!("policy = {name:?}\n{text}"))?;
        self.coordinator.restart()?;
        self.wait_connected().await?;
        Ok(file)
    }

    /// Restarts the coordinator as one that enrols agents, with the key of the site's authority.
    ///
    /// # Errors
    /// A coordinator that does not stop, or does not come back with its agent.
    pub async fn enrols(&mut self) -> Result<()> {
        self.coordinator.stop(Duration::from_secs(30))?;
        let config = self.dir().join("coordinator.toml");
        let text = fs::read_to_string(&config)?;
        let ca = |name: &str| self.dir().join("certs/ca").join(name).display().to_string();
        let section = format!(
            "[enrolment]\nlisten = \"127.0.0.1:{}\"\nca_cert = {:?}\nca_key = {:?}\n",
            free_port()?,
            ca("ca.pem"),
            ca("ca-key.pem")
        );
        fs::write(&config, text + &section)?;
        self.coordinator.restart()?;
        self.wait_connected().await
    }

    /// Writes the configuration of another agent beside the same Qdrant, whose certificates are to be in `certs/<node>`.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn write_agent(&self, node: &str) -> Result<()> {
        let (root, options) = (self.dir(), Options::default());
        let config = agent_config(root, (node, node), &self.endpoint, &self.qdrant, options);
        Ok(fs::write(root.join(format!("{node}.toml")), config)?)
    }

    /// Starts that agent.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start_agent(&self, node: &str) -> Result<Process> {
        start_program(self.dir(), "agent", node)
    }

    /// Runs `holdfast-agent` with that agent's configuration.
    ///
    /// # Errors
    /// If the program can't be run at all.
    pub fn agent_command(&self, node: &str, args: &[&str]) -> Result<Output> {
        Command::new(built("holdfast-agent")?)
            .arg("--config")
            .arg(self.dir().join(format!("{node}.toml")))
            .args(args)
            .output()
            .context("can't run holdfast-agent")
    }

    /// Runs `holdfast` with the operator's identity.
    ///
    /// # Errors
    /// If the program can't be run at all.
    pub fn cli(&self, args: &[&str]) -> Result<Output> {
        self.cli_as("operator", args)
    }

    /// Runs `holdfast` with another identity of the site: `viewer`, `agent`, ….
    ///
    /// # Errors
    /// If the program can't be run at all.
    pub fn cli_as(&self, identity: &str, args: &[&str]) -> Result<Output> {
        self.command(identity, args)?
            .output()
            .context("can't run holdfast")
    }

    /// Starts `holdfast` with the operator's identity and does not wait for it.
    ///
    /// # Errors
    /// If the program can't be started.
    pub fn spawn_cli(&self, args: &[&str]) -> Result<Child> {
        self.command("operator", args)?
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("can't start holdfast")
    }

    /// Runs `holdfast-coordinator rebuild` while the coordinator is stopped.
    ///
    /// # Errors
    /// If it fails; what it printed is in the error.
    pub fn rebuild_catalogue(&self) -> Result<()> {
        let output = Command::new(built("holdfast-coordinator")?)
            .arg("--config")
            .arg(self.dir().join("coordinator.toml"))
            .arg("rebuild")
            .output()?;
        ensure!(
            output.status.success(),
            "rebuild: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn command(&self, identity: &str, args: &[&str]) -> Result<Command> {
        command(self.dir(), &self.endpoint, identity, args)
    }

    /// Runs `holdfast … --output json`; yields the exit code and the document on stdout.
    ///
    /// # Errors
    /// If stdout is no JSON document; stderr is in the error.
    pub fn json(&self, args: &[&str]) -> Result<(i32, Value)> {
        json(self.dir(), &self.endpoint, args)
    }

    /// Like [`Self::json`] and requires exit code 0.
    ///
    /// # Errors
    /// If the exit code is another one; both streams are in the error.
    pub fn ok(&self, args: &[&str]) -> Result<Value> {
        let (code, value) = self.json(args)?;
        ensure!(
            code == 0,
            "holdfast {args:?} ended with {code}: {value}\ncoordinator:\n{}\nagent:\n{}",
            self.coordinator.log(),
            self.agent.log()
        );
        Ok(value)
    }
}

/// `holdfast` with an identity of the site under `root`.
pub(crate) fn command(
    root: &Path,
    endpoint: &str,
    identity: &str,
    args: &[&str],
) -> Result<Command> {
    let mut command = Command::new(built("holdfast")?);
    command
        .env("HOLDFAST_COORDINATOR", endpoint)
        .env("HOLDFAST_TLS_DIR", root.join("certs").join(identity))
        .args(args);
    Ok(command)
}

/// Runs `holdfast … --output json` as an operator; yields the exit code and the document on stdout.
pub(crate) fn json(root: &Path, endpoint: &str, args: &[&str]) -> Result<(i32, Value)> {
    let mut all = args.to_vec();
    all.extend(["--output", "json"]);
    let output = command(root, endpoint, "operator", &all)?.output()?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().context("holdfast was killed")?;
    let value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("exit code {code}, stdout is no JSON; stderr: {stderr}"))?;
    Ok((code, value))
}

/// Runs `holdfast` without any site.
///
/// # Errors
/// If the program can't be run at all.
pub fn holdfast(dir: &Path, args: &[OsString]) -> Result<Output> {
    Command::new(built("holdfast")?)
        .args(args)
        .current_dir(dir)
        .output()
        .context("can't run holdfast")
}

/// Makes the site's certificates; of agents, each node's name and its folder.
pub(crate) fn certificates(root: &Path, agents: &[(&str, &str)]) -> Result<()> {
    let certs = root.join("certs");
    let run = |args: &[&str]| -> Result<()> {
        let args: Vec<OsString> = args.iter().map(Into::into).collect();
        let output = holdfast(root, &args)?;
        ensure!(
            output.status.success(),
            "holdfast {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    };
    let ca = certs.join("ca").display().to_string();
    run(&["certs", "init", &ca])?;
    let others = [
        ("coordinator", "c1", "coordinator"),
        ("operator", "alice", "operator"),
        ("operator", "carol", "operator2"),
        ("viewer", "bob", "viewer"),
    ];
    let agents = agents
        .iter()
        .map(|(node, folder)| ("agent", *node, *folder));
    for (role, name, folder) in others.into_iter().chain(agents) {
        let out = certs.join(folder).display().to_string();
        let mut args = vec![
            "certs", "issue", "--ca", &ca, "--role", role, "--name", name, "--out", &out,
        ];
        if role == "coordinator" {
            args.extend(["--ip", "127.0.0.1"]);
        }
        run(&args)?;
    }
    Ok(())
}

fn tls(root: &Path, identity: &str) -> String {
    let dir = root.join("certs").join(identity);
    let file = |name: &str| dir.join(name).display().to_string();
    format!(
        "[tls]\ncert = {:?}\nkey = {:?}\nca = {:?}\n",
        file("cert.pem"),
        file("key.pem"),
        file("ca.pem")
    )
}

pub(crate) fn coordinator_config(root: &Path, port: u16) -> String {
    let path = |name: &str| root.join(name).display().to_string();
    format!(
        "name = \"c1\"\ncluster = {CLUSTER:?}\nlisten = \"127.0.0.1:{port}\"\nstate_dir = {:?}\n\
         {}[repository]\npath = {:?}\nkey_file = {:?}\ninit = true\n",
        path("coordinator"),
        tls(root, "coordinator"),
        path("repository"),
        path("repository.key"),
    )
}

/// The configuration of the agent of `node`, whose certificates and state are in folders called `folder`.
pub(crate) fn agent_config(
    root: &Path,
    (node, folder): (&str, &str),
    endpoint: &str,
    qdrant: &Qdrant,
    options: Options,
) -> String {
    let snapshots = match options.shared_snapshots {
        true => format!(
            "snapshots_dir = {:?}\n",
            qdrant.snapshots.display().to_string()
        ),
        false => String::new(),
    };
    let storage = match options.shared_storage {
        true => format!("storage_dir = {:?}\n", qdrant.storage.display().to_string()),
        false => String::new(),
    };
    format!(
        "node = {node:?}\ncluster = {CLUSTER:?}\nstate_dir = {:?}\n[coordinator]\nendpoint = {endpoint:?}\n\
         {}[qdrant]\nurl = {:?}\n{snapshots}{storage}[spool]\nmax_mib = {}\n{}",
        root.join(folder).display().to_string(),
        tls(root, folder),
        qdrant.url,
        options.spool_mib,
        options.agent,
    )
}

/// Starts `holdfast-<program>` with the configuration `<name>.toml`.
pub(crate) fn start_program(root: &Path, program: &str, name: &str) -> Result<Process> {
    Process::start(Recipe {
        program: built(&format!("holdfast-{program}"))?,
        args: vec!["--config".into(), root.join(format!("{name}.toml")).into()],
        env: Vec::new(),
        dir: root.to_owned(),
        log: root.join(format!("{name}.log")),
    })
}
