//! A Qdrant node for a test: `$HOLDFAST_QDRANT_BIN`, else `qdrant` on PATH, else the devnode.

use crate::process::{Process, Recipe, built, free_port};
use crate::wait::until;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A real Qdrant server.
    Real,
    /// The project's own node on the embedded engine: what is proven on it alone is not proven.
    Devnode,
}

/// A running node with its own storage.
#[derive(Debug)]
pub struct Qdrant {
    /// Which server it is.
    pub kind: Kind,
    /// Its REST address, such as `http://127.0.0.1:6333`.
    pub url: String,
    /// Its snapshots volume.
    pub snapshots: PathBuf,
    /// Its storage volume.
    pub storage: PathBuf,
    /// The process.
    pub process: Process,
    http: reqwest::Client,
}

/// The server program that tests use on this machine.
///
/// # Errors
/// If `$HOLDFAST_QDRANT_BIN` names no file, or neither a server nor the devnode is there.
pub fn program() -> Result<(Kind, PathBuf)> {
    if let Some(path) = std::env::var_os("HOLDFAST_QDRANT_BIN") {
        let path = PathBuf::from(path);
        ensure!(
            path.is_file(),
            "HOLDFAST_QDRANT_BIN={} is no file",
            path.display()
        );
        return Ok((Kind::Real, path));
    }
    let on_path = std::env::var_os("PATH")
        .iter()
        .flat_map(|paths| std::env::split_paths(paths).collect::<Vec<_>>())
        .map(|folder| folder.join("qdrant"))
        .find(|path| path.is_file());
    match on_path {
        Some(path) => Ok((Kind::Real, path)),
        None => Ok((Kind::Devnode, built("holdfast-devnode")?)),
    }
}

impl Qdrant {
    /// Starts a node under `dir` and waits until it answers.
    ///
    /// # Errors
    /// If it can't be started or does not answer within a minute.
    pub async fn start(dir: &Path) -> Result<Self> {
        Self::start_with(dir, &[]).await
    }

    /// Like [`Self::start`], with more environment (settings of the server).
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(dir: &Path, extra: &[(&str, &str)]) -> Result<Self> {
        Self::launch(dir, Vec::new(), extra).await
    }

    /// Starts a peer of a Qdrant cluster under `dir`: the first one, or one that joins the peer at `bootstrap`. Yields it
    /// with its own address among the peers.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_peer(
        dir: &Path,
        bootstrap: Option<&str>,
        extra: &[(&str, &str)],
    ) -> Result<(Self, String)> {
        let port = free_port()?.to_string();
        let uri = format!("http://127.0.0.1:{port}");
        let mut args: Vec<OsString> = vec!["--uri".into(), uri.clone().into()];
        if let Some(first) = bootstrap {
            args.extend(["--bootstrap".into(), first.into()]);
        }
        let mut env = vec![
            ("QDRANT__CLUSTER__ENABLED", "true"),
            ("QDRANT__CLUSTER__P2P__PORT", port.as_str()),
        ];
        env.extend(extra);
        Ok((Self::launch(dir, args, &env).await?, uri))
    }

    async fn launch(dir: &Path, args: Vec<OsString>, extra: &[(&str, &str)]) -> Result<Self> {
        let (kind, program) = program()?;
        let (storage, snapshots, cwd) =
            (dir.join("storage"), dir.join("snapshots"), dir.join("cwd"));
        for folder in [&storage, &snapshots, &cwd] {
            fs::create_dir_all(folder)?;
        }
        let (http_port, grpc_port) = (free_port()?, free_port()?);
        let mut env: Vec<(String, String)> = [
            ("RUN_MODE", "test".to_owned()),
            ("QDRANT__SERVICE__HOST", "127.0.0.1".to_owned()),
            ("QDRANT__SERVICE__HTTP_PORT", http_port.to_string()),
            ("QDRANT__SERVICE__GRPC_PORT", grpc_port.to_string()),
            (
                "QDRANT__STORAGE__STORAGE_PATH",
                storage.display().to_string(),
            ),
            (
                "QDRANT__STORAGE__SNAPSHOTS_PATH",
                snapshots.display().to_string(),
            ),
            ("QDRANT__TELEMETRY_DISABLED", "true".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        env.extend(
            extra
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let log = dir.join("qdrant.log");
        let process = Process::start(Recipe {
            program,
            args,
            env,
            dir: cwd,
            log,
        })?;
        let url = format!("http://127.0.0.1:{http_port}");
        let node = Self {
            kind,
            url,
            snapshots,
            storage,
            process,
            http: reqwest::Client::new(),
        };
        node.wait_ready().await?;
        Ok(node)
    }

    /// Waits until the node answers.
    ///
    /// # Errors
    /// If its process ended, or after three minutes; the log is in the error.
    pub async fn wait_ready(&self) -> Result<()> {
        let ready = until("Qdrant to answer", Duration::from_secs(180), || async {
            if !self.process.alive() {
                return Some(false);
            }
            let url = format!("{}/readyz", self.url);
            let answer = self.http.get(url).send().await.ok()?;
            answer.status().is_success().then_some(true)
        });
        let alive = ready.await.with_context(|| self.process.log())?;
        ensure!(alive, "Qdrant ended:\n{}", self.process.log());
        Ok(())
    }

    /// One REST call; yields the field `result`.
    ///
    /// # Errors
    /// If the server can't be reached or answers anything but success; the answer is in the error.
    pub async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("{method} {path}"))?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{method} {path}: {status}: {text}");
        let value: Value =
            serde_json::from_str(&text).with_context(|| format!("{method} {path}: {text}"))?;
        Ok(value["result"].clone())
    }

    /// `GET path`.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(reqwest::Method::GET, path, None).await
    }

    /// `POST path` with a body.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.call(reqwest::Method::POST, path, Some(body)).await
    }

    /// `PUT path` with a body.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn put(&self, path: &str, body: Value) -> Result<Value> {
        self.call(reqwest::Method::PUT, path, Some(body)).await
    }

    /// `PATCH path` with a body.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn patch(&self, path: &str, body: Value) -> Result<Value> {
        self.call(reqwest::Method::PATCH, path, Some(body)).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.call(reqwest::Method::DELETE, path, None).await
    }
}
