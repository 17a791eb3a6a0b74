//! The serving side's accept loop: TCP, then TLS, then a stream that knows its peer, or that it is a stranger.
//!
//! A handshake that fails is logged with its reason, once for each client and reason, and never stops
//! the loop. Handshakes run beside each other, limited in number and time. What a peer may call is not
//! decided here.

mod refusal;
mod stream;

use crate::log_once::LogOnce;
use crate::socket;
use crate::tls::ServerTls;
use futures::Stream;
pub use refusal::Refusal;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
pub use stream::{Guest, PeerIdentity, PeerStream, Stranger};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;

/// A client that has not finished its handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most handshakes at once; more clients wait in the kernel's queue.
const MAX_HANDSHAKES: usize = 128;
/// Pause after a failed accept, which means that the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

type Refusals = Arc<LogOnce<(IpAddr, String)>>;

/// Connections behind TLS, for `serve_with_incoming`. It never ends and never yields an error.
#[derive(Debug)]
pub struct Incoming<G: Guest = PeerIdentity> {
    listener: TcpListener,
    tls: ServerTls,
    handshakes: JoinSet<Option<PeerStream<G>>>,
    pause: Option<Pin<Box<Sleep>>>,
    refusals: Refusals,
}

/// Accepts connections on `listener` and yields those whose peer has a valid certificate.
#[must_use]
pub fn incoming(listener: TcpListener, tls: ServerTls) -> Incoming {
    Incoming::new(listener, tls)
}

/// Accepts connections on `listener` of clients that need no certificate. Nothing that matters may be served to them.
#[must_use]
pub fn incoming_strangers(listener: TcpListener, tls: ServerTls) -> Incoming<Stranger> {
    Incoming::new(listener, tls)
}

impl<G: Guest> Incoming<G> {
    fn new(listener: TcpListener, tls: ServerTls) -> Self {
        Self {
            listener,
            tls,
            handshakes: JoinSet::new(),
            pause: None,
            refusals: Arc::new(LogOnce::new()),
        }
    }

    /// Accepts until there is nothing to accept, or no room for more handshakes. Leaves a waker behind
    /// for whatever would change that, unless the room is used up: then a handshake's end wakes.
    fn poll_accept(&mut self, cx: &mut Context<'_>) {
        while self.handshakes.len() < MAX_HANDSHAKES {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return;
                }
                self.pause = None;
            }
            match self.listener.poll_accept(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok((socket, remote))) => {
                    // The configuration of this moment: a reload counts from the next connection on.
                    let acceptor = match G::config(&self.tls) {
                        Ok(config) => TlsAcceptor::from(config),
                        Err(error) => {
                            tracing::error!(%error, "a connection can't be taken");
                            continue;
                        }
                    };
                    let refusals = Arc::clone(&self.refusals);
                    self.handshakes
                        .spawn(handshake(acceptor, socket, remote, refusals));
                }
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    self.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }
}

impl<G: Guest> Stream for Incoming<G> {
    type Item = Result<PeerStream<G>, io::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            this.poll_accept(cx);
            if this.handshakes.is_empty() {
                return Poll::Pending;
            }
            // A refused handshake makes room for another connection: round again.
            if let Some(Ok(Some(stream))) = ready!(this.handshakes.poll_join_next(cx)) {
                return Poll::Ready(Some(Ok(stream)));
            }
        }
    }
}

async fn handshake<G: Guest>(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    remote: SocketAddr,
    refusals: Refusals,
) -> Option<PeerStream<G>> {
    let socket = socket::prepare(socket);
    let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await;
    let refusal = match accepted {
        Err(_) => Refusal::Timeout,
        Ok(Err(error)) => Refusal::from_handshake(&error),
        Ok(Ok(stream)) => match PeerStream::new(stream, remote) {
            Ok(stream) => return Some(stream),
            Err(error) => Refusal::Identity(error),
        },
    };
    if refusal == Refusal::Silent {
        tracing::debug!(%remote, "a connection was closed before it said anything");
    } else if refusals.should_log((remote.ip(), refusal.to_string()), Instant::now()) {
        tracing::warn!(%remote, reason = %refusal, "refused a connection");
    }
    None
}
