//! A certificate authority in a temporary directory, a server that says who called, and the log.

use crate::authz::AuthzLayer;
use crate::ca::{IssueRequest, init, issue};
use crate::incoming::PeerIdentity;
use crate::{
    ClientTls, ConnectError, ConnectOptions, Scope, ServerTls, TlsPaths, connect, incoming,
};
use holdfast_types::Timestamp;
use http::uri::PathAndQuery;
use rustls_pki_types::UnixTime;
use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};

pub(super) const DAY: Duration = Duration::from_secs(86_400);
pub(super) const STATUS: &str = "/holdfast.v1.Admin/Status";

/// One authority and what it issued.
pub(super) struct World {
    dir: TempDir,
}

impl World {
    /// The authority of the trust domain `demo`.
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Long before and after now, so that expired and future certificates can be had.
        let domain = "demo".parse().unwrap();
        init(
            &dir.path().join("ca"),
            &domain,
            Scope::Everybody,
            300 * DAY,
            long_ago(),
        )
        .unwrap();
        Self { dir }
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A pair valid from now on.
    pub(super) fn issue(&self, role: &str, name: &str) -> TlsPaths {
        self.issue_at(role, name, now())
    }

    /// A pair valid for a day from `from`.
    pub(super) fn issue_at(&self, role: &str, name: &str, from: Timestamp) -> TlsPaths {
        let request = IssueRequest {
            identity: format!("spiffe://demo/{role}/{name}").parse().unwrap(),
            dns_names: Vec::new(),
            ip_addresses: vec!["127.0.0.1".parse().unwrap()],
            validity: DAY,
        };
        self.issue_as(&request, &format!("{role}-{name}"), from)
    }

    pub(super) fn issue_as(&self, request: &IssueRequest, dir: &str, from: Timestamp) -> TlsPaths {
        let out = self.path(dir);
        issue(&self.ca(), request, &out, from).unwrap();
        TlsPaths::in_dir(&out)
    }

    /// A server with a certificate valid now.
    pub(super) async fn server(&self) -> TestServer {
        let paths = self.issue("coordinator", "c1");
        TestServer::start(ServerTls::load(paths).unwrap()).await
    }

    /// The same, behind a layer of the caller's.
    pub(super) async fn server_with(&self, layer: AuthzLayer) -> TestServer {
        let paths = self.issue("coordinator", "c1");
        TestServer::start_with(ServerTls::load(paths).unwrap(), layer).await
    }

    pub(super) fn client(&self, role: &str, name: &str) -> ClientTls {
        ClientTls::load(self.issue(role, name)).unwrap()
    }
}

/// Answers every call that the table lets through with UNIMPLEMENTED and the caller's identity.
pub(super) struct TestServer {
    pub(super) addr: SocketAddr,
}

impl TestServer {
    pub(super) async fn start(tls: ServerTls) -> Self {
        Self::start_with(tls, AuthzLayer::new()).await
    }

    async fn start_with(tls: ServerTls, layer: AuthzLayer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let service = tower::service_fn(|request: http::Request<tonic::body::Body>| async move {
            let peer: &PeerIdentity = request.extensions().get().unwrap();
            let text = format!("{} {}", peer.identity(), peer.serial());
            Ok::<_, Infallible>(Status::unimplemented(text).into_http::<tonic::body::Body>())
        });
        let serving = Server::builder().layer(layer).serve_with_incoming_shutdown(
            service,
            incoming(listener, tls),
            std::future::pending(),
        );
        // Ends with the runtime of the test.
        drop(tokio::spawn(async move { serving.await.unwrap() }));
        Self { addr }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("https://{}", self.addr)
    }

    pub(super) async fn connect(&self, tls: &ClientTls) -> Result<Channel, ConnectError> {
        connect(&self.endpoint(), tls, &ConnectOptions::default()).await
    }

    /// Calls as `tls` and expects to get through; yields the identity and serial that the server saw.
    pub(super) async fn seen_as(&self, tls: &ClientTls) -> String {
        let status = call(&self.connect(tls).await.unwrap(), STATUS).await;
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        status.message().to_owned()
    }
}

pub(super) async fn call(channel: &Channel, path: &str) -> Status {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    if let Err(error) = grpc.ready().await {
        return Status::from_error(Box::new(error));
    }
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path: PathAndQuery = path.parse().unwrap();
    let answer = grpc.unary(tonic::Request::new(()), path, codec).await;
    answer.expect_err("the test server never answers with a message")
}

pub(super) fn now() -> Timestamp {
    Timestamp::EPOCH.after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap())
}

/// A hundred days ago.
pub(super) fn long_ago() -> Timestamp {
    Timestamp::EPOCH.after(now().since(Timestamp::EPOCH) - 100 * DAY)
}

/// In a hundred days.
pub(super) fn far_ahead() -> Timestamp {
    now().after(100 * DAY)
}

pub(super) fn soon_after(instant: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(instant.since(Timestamp::EPOCH) + Duration::from_secs(60))
}

/// Copies a file over another.
pub(super) fn replace(from: &Path, to: &Path) {
    std::fs::write(to, std::fs::read(from).unwrap()).unwrap();
}

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The warnings of this test: every test runs its runtime on its own thread.
pub(super) struct Log;

impl Log {
    pub(super) fn start() -> Self {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            tracing_subscriber::fmt()
                .with_ansi(false)
                .with_max_level(tracing::Level::WARN)
                .with_writer(|| LogWriter)
                .init();
        });
        Self
    }

    pub(super) fn lines(&self) -> Vec<String> {
        LOG.with_borrow(|log| {
            let text = String::from_utf8_lossy(log);
            text.lines()
                .filter(|line| line.contains("holdfast_certs"))
                .map(str::to_owned)
                .collect()
        })
    }

    /// Waits for one line, and checks that it is the only one and contains `text`.
    pub(super) async fn expect_one(&self, text: &str) {
        wait_until(|| !self.lines().is_empty()).await;
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains(text), "{lines:#?}");
    }
}

/// Lets other tasks run until something is so.
pub(super) async fn wait_until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, waiting).await.unwrap();
}

struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
