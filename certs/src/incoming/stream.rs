//! A connection behind TLS, and who is at its other end.

use crate::certificate::CertificateInfo;
use crate::identity::{Identity, IdentityError};
use crate::socket::Socket;
use crate::tls::{ServerTls, TlsError};
use holdfast_types::Timestamp;
use rustls::{ServerConfig, ServerConnection};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// Who is at the other end; found in the extensions of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity(Arc<Peer>);

#[derive(Debug, PartialEq, Eq)]
struct Peer {
    identity: Identity,
    serial: String,
    valid_from: Timestamp,
    remote: SocketAddr,
}

impl PeerIdentity {
    /// A peer, for tests of services that ask who is calling.
    #[must_use]
    pub fn new(
        identity: Identity,
        serial: String,
        valid_from: Timestamp,
        remote: SocketAddr,
    ) -> Self {
        Self(Arc::new(Peer {
            identity,
            serial,
            valid_from,
            remote,
        }))
    }

    /// The peer of a request that came through [`crate::incoming`].
    #[must_use]
    pub fn of<T>(request: &tonic::Request<T>) -> Option<&Self> {
        request.extensions().get()
    }

    /// The identity in the peer's certificate.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The certificate's serial number in lowercase hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.0.serial
    }

    /// When the certificate's lifetime began.
    #[must_use]
    pub fn valid_from(&self) -> Timestamp {
        self.0.valid_from
    }

    /// The peer's address.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.0.remote
    }
}

/// A client that has shown no certificate; found in the extensions of its requests in place of a [`PeerIdentity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stranger {
    remote: SocketAddr,
}

impl Stranger {
    /// A stranger, for tests of services that ask who is calling.
    #[must_use]
    pub fn new(remote: SocketAddr) -> Self {
        Self { remote }
    }

    /// The stranger of a request that came through [`crate::incoming_strangers`].
    #[must_use]
    pub fn of<T>(request: &tonic::Request<T>) -> Option<&Self> {
        request.extensions().get()
    }

    /// Its address.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }
}

/// Who may be at the other end: decides what TLS asks of it.
pub trait Guest: Clone + Send + Sync + Unpin + Sized + 'static {
    /// The configuration for the next handshake.
    #[doc(hidden)]
    fn config(tls: &ServerTls) -> Result<Arc<ServerConfig>, TlsError>;

    /// Who has finished a handshake.
    #[doc(hidden)]
    fn welcome(session: &ServerConnection, remote: SocketAddr) -> Result<Self, IdentityError>;
}

impl Guest for PeerIdentity {
    fn config(tls: &ServerTls) -> Result<Arc<ServerConfig>, TlsError> {
        Ok(tls.config())
    }

    fn welcome(session: &ServerConnection, remote: SocketAddr) -> Result<Self, IdentityError> {
        let cert = session
            .peer_certificates()
            .and_then(<[_]>::first)
            .ok_or(IdentityError::Missing)?;
        let info = CertificateInfo::from_der(cert)?;
        let identity = info.require_identity()?;
        Ok(Self::new(identity, info.serial, info.not_before, remote))
    }
}

impl Guest for Stranger {
    fn config(tls: &ServerTls) -> Result<Arc<ServerConfig>, TlsError> {
        tls.config_for_strangers()
    }

    fn welcome(_session: &ServerConnection, remote: SocketAddr) -> Result<Self, IdentityError> {
        Ok(Self { remote })
    }
}

/// A TLS connection, and who is at its other end.
#[derive(Debug)]
pub struct PeerStream<G = PeerIdentity> {
    io: TlsStream<Socket>,
    peer: G,
}

impl<G: Guest> PeerStream<G> {
    pub(super) fn new(io: TlsStream<Socket>, remote: SocketAddr) -> Result<Self, IdentityError> {
        let (_, session) = io.get_ref();
        let peer = G::welcome(session, remote)?;
        Ok(Self { io, peer })
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &G {
        &self.peer
    }
}

impl<G: Guest> Connected for PeerStream<G> {
    type ConnectInfo = G;

    fn connect_info(&self) -> G {
        self.peer.clone()
    }
}

impl<G: Unpin> AsyncRead for PeerStream<G> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl<G: Unpin> AsyncWrite for PeerStream<G> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
