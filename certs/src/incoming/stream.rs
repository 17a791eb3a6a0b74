//! A verified connection, and who is at its other end.

use crate::certificate::CertificateInfo;
use crate::identity::{Identity, IdentityError};
use crate::socket::Socket;
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
    remote: SocketAddr,
}

impl PeerIdentity {
    /// A peer, for tests of services that ask who is calling.
    #[must_use]
    pub fn new(identity: Identity, serial: String, remote: SocketAddr) -> Self {
        Self(Arc::new(Peer {
            identity,
            serial,
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

    /// The peer's address.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.0.remote
    }
}

/// A TLS connection whose peer is known.
#[derive(Debug)]
pub struct PeerStream {
    io: TlsStream<Socket>,
    peer: PeerIdentity,
}

impl PeerStream {
    pub(super) fn new(io: TlsStream<Socket>, remote: SocketAddr) -> Result<Self, IdentityError> {
        let (_, session) = io.get_ref();
        let cert = session
            .peer_certificates()
            .and_then(<[_]>::first)
            .ok_or(IdentityError::Missing)?;
        let info = CertificateInfo::from_der(cert)?;
        let peer = PeerIdentity::new(info.require_identity()?, info.serial, remote);
        Ok(Self { io, peer })
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }
}

impl Connected for PeerStream {
    type ConnectInfo = PeerIdentity;

    fn connect_info(&self) -> PeerIdentity {
        self.peer.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
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
