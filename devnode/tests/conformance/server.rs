//! Starts a server under test in empty directories, and stops it in the ways a server stops.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to answer its first request.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Which server to start.
#[derive(Clone)]
pub(crate) struct Program {
    path: PathBuf,
    api_key: Option<String>,
}

impl Program {
    pub(crate) fn devnode() -> Self {
        Self {
            path: env!("CARGO_BIN_EXE_holdfast-devnode").into(),
            api_key: None,
        }
    }

    /// The real server, if there is one.
    pub(crate) fn real() -> Option<Self> {
        let named = std::env::var_os("HOLDFAST_QDRANT_BIN").map(PathBuf::from);
        let on_path = || {
            std::env::split_paths(&std::env::var_os("PATH")?)
                .map(|dir| dir.join("qdrant"))
                .find(|path| path.is_file())
        };
        let path = named.or_else(on_path)?;
        Some(Self {
            path,
            api_key: None,
        })
    }
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    program: Program,
    child: Child,
    dir: TempDir,
    pub(crate) url: String,
    pub(crate) grpc_url: String,
}

impl Server {
    pub(crate) async fn start(program: Program) -> Self {
        // reqwest is built without a default provider; a second install in the same process is refused, which is fine
        let _already = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let (http, grpc) = (free_port(), free_port());
        let child = spawn(&program, &dir, http, grpc);
        let server = Self {
            program,
            child,
            dir,
            url: format!("http://127.0.0.1:{http}"),
            grpc_url: format!("http://127.0.0.1:{grpc}"),
        };
        server.wait_until_up().await;
        server
    }

    /// Another server of the same kind.
    pub(crate) async fn sibling(&self) -> Self {
        Self::start(self.program.clone()).await
    }

    /// Starts again on the same directories, now asking for a key.
    pub(crate) async fn restart_with_key(mut self, key: &str) -> Self {
        self.program.api_key = Some(key.to_owned());
        self.restart().await
    }

    /// Ends the server with SIGTERM and starts it again on the same directories.
    pub(crate) async fn restart(mut self) -> Self {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap();
        self.again().await
    }

    /// Ends the server with SIGKILL and starts it again on the same directories.
    pub(crate) async fn kill_and_restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.again().await
    }

    async fn again(mut self) -> Self {
        let (http, grpc) = (free_port(), free_port());
        self.child = spawn(&self.program, &self.dir, http, grpc);
        self.url = format!("http://127.0.0.1:{http}");
        self.grpc_url = format!("http://127.0.0.1:{grpc}");
        self.wait_until_up().await;
        self
    }

    pub(crate) fn storage(&self) -> PathBuf {
        self.dir.path().join("storage")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.dir.path().join("snapshots")
    }

    async fn wait_until_up(&self) {
        let begun = Instant::now();
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        loop {
            let up = reqwest::get(format!("{}/readyz", self.url)).await;
            // A real server opens its gRPC port on a thread of its own, perhaps later.
            let grpc = self.grpc_url.trim_start_matches("http://");
            if up.is_ok_and(|answer| answer.status().is_success())
                && tokio::net::TcpStream::connect(grpc).await.is_ok()
            {
                return;
            }
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap();
            assert!(begun.elapsed() < START_LIMIT, "not up in time:\n{}", log());
            pause.tick().await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both servers are configured by the environment, in a working directory without configuration files.
fn spawn(program: &Program, dir: &TempDir, http: u16, grpc: u16) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.path().join("log"))
        .unwrap();
    let mut command = Command::new(&program.path);
    command
        .current_dir(dir.path())
        .env("RUN_MODE", "test")
        .env("QDRANT__TELEMETRY_DISABLED", "true")
        .env("QDRANT__SERVICE__HOST", "127.0.0.1")
        .env("QDRANT__SERVICE__HTTP_PORT", http.to_string())
        .env("QDRANT__SERVICE__GRPC_PORT", grpc.to_string())
        .env("QDRANT__STORAGE__STORAGE_PATH", dir.path().join("storage"))
        .env(
            "QDRANT__STORAGE__SNAPSHOTS_PATH",
            dir.path().join("snapshots"),
        )
        .env_remove("QDRANT__SERVICE__API_KEY")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    if let Some(key) = &program.api_key {
        command.env("QDRANT__SERVICE__API_KEY", key);
    }
    command.spawn().unwrap()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
