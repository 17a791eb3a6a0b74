//! Runs both interfaces and the background work until a signal, then flushes.

use crate::{Node, Settings, grpc, rest};
use anyhow::Context;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Qdrant's default flush interval.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// When the storage can't be opened, a port is taken, or a server fails.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let http = bind(settings.http_address()).await?;
    let grpc = bind(settings.grpc_address()).await?;
    tracing::warn!(
        "holdfast-devnode is a stand-in for Qdrant in demonstrations and tests; don't keep data in it that matter"
    );
    let opened = settings.clone();
    let node = tokio::task::spawn_blocking(move || Node::open(&opened)).await??;
    let node = Arc::new(node);
    tracing::info!(http = %http.local_addr()?, grpc = %grpc.local_addr()?, "serving");

    let stop = CancellationToken::new();
    let background = tokio::spawn(maintain(Arc::clone(&node), settings.optimize, stop.clone()));
    let router = rest::router(Arc::clone(&node), settings.api_key.clone());
    let rest = axum::serve(http, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let grpc = grpc::serve(Arc::clone(&node), settings.api_key, grpc, stop.clone());
    let servers = async { tokio::join!(rest.into_future(), grpc) };
    let mut servers = std::pin::pin!(servers);
    let outcome = tokio::select! {
        outcome = &mut servers => Some(outcome),
        signal = signalled() => {
            tracing::info!(signal = signal?, "stopping");
            None
        }
    };
    stop.cancel();
    let (rest, grpc) = match outcome {
        Some(outcome) => outcome,
        // connections that stay open don't keep the node from ending
        None => match tokio::time::timeout(Duration::from_secs(5), servers).await {
            Ok(outcome) => outcome,
            Err(_) => (Ok(()), Ok(())),
        },
    };
    background.await?;
    tokio::task::spawn_blocking(move || node.flush_all()).await?;
    rest.context("REST server")?;
    grpc.context("gRPC server")
}

async fn bind(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address}; is another server running there?"))
}

async fn maintain(node: Arc<Node>, optimize: bool, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(FLUSH_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let node = Arc::clone(&node);
        let work = tokio::task::spawn_blocking(move || {
            node.flush_all();
            if optimize {
                node.optimize_all();
            }
        });
        if work.await.is_err() {
            tracing::error!("background work panicked");
        }
    }
}

async fn signalled() -> anyhow::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        result = tokio::signal::ctrl_c() => result.map(|()| "SIGINT").map_err(Into::into),
    }
}
