//! Liveness and readiness over plain HTTP, for container health checks and load balancers.
//!
//! `/livez` answers as long as the process serves requests; `/readyz` says whether each named part is
//! ready, and why not. `/metrics` answers what the process tells Prometheus, where it does. None shows anything confidential beyond names, and
//! nothing can be changed here.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A container health check gives up after this; Docker's own default is 30 s.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// The text format that Prometheus asks for first.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The answer of a probe is read up to here, in bytes.
const PROBE_ANSWER_LIMIT: u64 = 64 << 10;

/// Draws up metrics, as OpenMetrics text, or says why it can't.
pub type Scrape =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> + Send + Sync>;

/// Which parts of the process are ready; clones share it.
#[derive(Clone, Default)]
pub struct HealthState {
    parts: Arc<RwLock<BTreeMap<&'static str, Result<(), String>>>>,
    metrics: Arc<OnceLock<Scrape>>,
}

impl fmt::Debug for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthState")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

/// Why the health endpoint failed.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The address can't be listened on.
    #[error("cannot listen on {addr} for health checks; is the port taken?")]
    Bind {
        /// The address as configured.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server ended with an error.
    #[error("the health endpoint failed")]
    Serve(#[source] io::Error),
}

/// Why a probe was negative.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody answers.
    #[error("nobody answers on {addr}")]
    Unreachable {
        /// The address asked.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error("no answer from {addr} within {}s", PROBE_TIMEOUT.as_secs())]
    Timeout {
        /// The address asked.
        addr: SocketAddr,
    },
    /// The process answers, but is not ready.
    #[error("not ready: {answer}")]
    NotReady {
        /// The body of the answer.
        answer: String,
    },
}

#[derive(Serialize)]
struct Report {
    ready: bool,
    parts: BTreeMap<&'static str, String>,
}

impl HealthState {
    /// A process whose named `parts` are still starting; it is ready when all of them are.
    #[must_use]
    pub fn new(parts: &[&'static str]) -> Self {
        let starting = parts.iter().map(|part| (*part, Err("starting".to_owned())));
        Self {
            parts: Arc::new(RwLock::new(starting.collect())),
            metrics: Arc::default(),
        }
    }

    /// Says where metrics come from; the first one to say so counts.
    pub fn measured_by(&self, scrape: Scrape) {
        let _second = self.metrics.set(scrape);
    }

    /// Says that a part is ready.
    pub fn ready(&self, part: &'static str) {
        self.set(part, Ok(()));
    }

    /// Says that a part is not ready, and why.
    pub fn not_ready(&self, part: &'static str, why: impl Into<String>) {
        self.set(part, Err(why.into()));
    }

    /// Whether every part is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.report().ready
    }

    fn set(&self, part: &'static str, state: Result<(), String>) {
        // A poisoned map is still a map of strings.
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        parts.insert(part, state);
    }

    fn report(&self) -> Report {
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        Report {
            ready: parts.values().all(Result::is_ok),
            parts: parts
                .iter()
                .map(|(part, state)| (*part, state.clone().err().unwrap_or("ready".to_owned())))
                .collect(),
        }
    }
}

/// A bound health endpoint that does not serve yet.
#[derive(Debug)]
pub struct HealthServer {
    listener: TcpListener,
    addr: SocketAddr,
    state: HealthState,
}

impl HealthServer {
    /// Takes the port, so that a taken one is known at start.
    ///
    /// # Errors
    /// [`HealthError::Bind`].
    pub async fn bind(addr: SocketAddr, state: HealthState) -> Result<Self, HealthError> {
        let bind_error = |source| HealthError::Bind { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(bind_error)?;
        let addr = listener.local_addr().map_err(bind_error)?;
        Ok(Self {
            listener,
            addr,
            state,
        })
    }

    /// The address bound, with the real port if 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop` is cancelled.
    ///
    /// # Errors
    /// [`HealthError::Serve`].
    pub async fn run(self, stop: CancellationToken) -> Result<(), HealthError> {
        let app = Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self.state);
        axum::serve(self.listener, app)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
            .map_err(HealthError::Serve)
    }
}

/// Binds `addr` and serves until `stop` is cancelled.
///
/// # Errors
/// [`HealthError`].
pub async fn serve(
    addr: SocketAddr,
    state: HealthState,
    stop: CancellationToken,
) -> Result<(), HealthError> {
    HealthServer::bind(addr, state).await?.run(stop).await
}

/// Asks a running process whether it is ready. An unspecified address (0.0.0.0) means loopback.
///
/// # Errors
/// [`ProbeError`] if it does not answer or is not ready.
pub async fn probe(addr: SocketAddr) -> Result<(), ProbeError> {
    let addr = reachable(addr);
    let answer = tokio::time::timeout(PROBE_TIMEOUT, ask(addr))
        .await
        .map_err(|_| ProbeError::Timeout { addr })?
        .map_err(|source| ProbeError::Unreachable { addr, source })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.0 200 ") {
        return Ok(());
    }
    let text = if body.trim().is_empty() { head } else { body };
    Err(ProbeError::NotReady {
        answer: text.trim().to_owned(),
    })
}

async fn readyz(State(state): State<HealthState>) -> Response {
    let report = state.report();
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report)).into_response()
}

async fn metrics(State(state): State<HealthState>) -> Response {
    let Some(scrape) = state.metrics.get() else {
        let why = "nothing is measured yet\n";
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    };
    match scrape().await {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
    }
}

// A whole HTTP client for one GET would be most of a container health check's start-up time.
async fn ask(addr: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(PROBE_ANSWER_LIMIT)
        .read_to_end(&mut answer)
        .await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, addr.port())
}

#[cfg(test)]
mod tests {
    use super::{HealthError, HealthServer, HealthState, ProbeError, probe, reachable};
    use std::net::SocketAddr;
    use tokio_util::sync::CancellationToken;

    fn any_port() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn readiness_follows_the_parts() {
        let state = HealthState::new(&["qdrant", "coordinator"]);
        let server = HealthServer::bind(any_port(), state.clone()).await.unwrap();
        let addr = server.local_addr();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));

        let error = probe(addr).await.unwrap_err();
        assert!(matches!(error, ProbeError::NotReady { .. }), "{error}");
        assert!(error.to_string().contains("starting"), "{error}");

        state.ready("qdrant");
        state.ready("coordinator");
        probe(addr).await.unwrap();

        state.not_ready("qdrant", "connection refused");
        let error = probe(addr).await.unwrap_err().to_string();
        assert!(
            error.contains("\"qdrant\":\"connection refused\""),
            "{error}"
        );

        stop.cancel();
        task.await.unwrap().unwrap();
        assert!(matches!(
            probe(addr).await,
            Err(ProbeError::Unreachable { .. })
        ));
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = HealthServer::bind(any_port(), HealthState::default())
            .await
            .unwrap();
        let error = HealthServer::bind(first.local_addr(), HealthState::default())
            .await
            .unwrap_err();
        assert!(matches!(error, HealthError::Bind { .. }));
        assert!(error.to_string().contains("is the port taken"), "{error}");
    }

    #[test]
    fn an_unspecified_address_is_probed_on_loopback() {
        let probed = reachable("0.0.0.0:1".parse().unwrap());
        assert_eq!(probed, "127.0.0.1:1".parse().unwrap());
        let probed = reachable("[::]:1".parse().unwrap());
        assert_eq!(probed, "[::1]:1".parse().unwrap());
    }
}
