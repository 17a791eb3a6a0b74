//! Makes one connection: TCP, TLS, the server's role, the first frame.

use super::connect_error::ConnectError;
use crate::certificate::CertificateInfo;
use crate::identity::{IdentityError, Role, authority_domain};
use crate::scope::Limits;
use crate::socket::{self, Socket};
use crate::tls::{ClientTls, PinnedTls};
use futures::future::BoxFuture;
use holdfast_types::ClusterName;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

/// Where to connect to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// As it was written, for messages.
    endpoint: String,
    host: String,
    port: u16,
    name: ServerName<'static>,
}

/// What tonic calls for every connection of a channel.
#[derive(Clone, Debug)]
pub(super) struct Connector(Arc<Shared>);

/// What is shown to the server, and what is asked of it.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    /// By files.
    Files(ClientTls),
    /// By a fingerprint, without a certificate of one's own.
    Pin(PinnedTls),
}

#[derive(Debug)]
struct Shared {
    target: Target,
    trust: Trust,
    role: Role,
    timeout: Duration,
}

impl Target {
    pub(super) fn parse(endpoint: &str) -> Result<Self, ConnectError> {
        let bad = |reason| ConnectError::endpoint(endpoint, reason);
        let uri: Uri = endpoint.parse().map_err(|_| bad("it is not a valid URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("it must begin with https://"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("nothing may follow the port"));
        }
        let host = uri.host().ok_or_else(|| bad("it has no host"))?;
        let port = uri.port_u16().ok_or_else(|| bad("it has no port"))?;
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(bad("it must not contain a user name"));
        }
        // An IPv6 address stands in brackets in a URL and nowhere else.
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(host.clone())
            .map_err(|_| bad("its host is neither a name nor an address"))?;
        Ok(Self {
            endpoint: endpoint.to_owned(),
            host,
            port,
            name,
        })
    }

    /// `host:port`, as it stands in a URL.
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

impl Connector {
    pub(super) fn new(target: Target, trust: Trust, role: Role, timeout: Duration) -> Self {
        Self(Arc::new(Shared {
            target,
            trust,
            role,
            timeout,
        }))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<Socket>>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let connected = tokio::time::timeout(shared.timeout, shared.connect()).await;
            match connected {
                Ok(result) => result.map(TokioIo::new),
                Err(_) => Err(ConnectError::Timeout {
                    endpoint: shared.target.endpoint.clone(),
                    after: shared.timeout,
                }),
            }
        })
    }
}

impl Shared {
    async fn connect(&self) -> Result<TlsStream<Socket>, ConnectError> {
        let Target {
            endpoint,
            host,
            port,
            name,
        } = &self.target;
        let socket = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| ConnectError::unreachable(endpoint, error))?;
        // The configuration of this moment: a renewed certificate is used from here on.
        let connector = TlsConnector::from(self.trust.config());
        let own = self.trust.certificate();
        let mut stream = connector
            .connect(name.clone(), socket::prepare(socket))
            .await
            .map_err(|error| ConnectError::from_handshake(endpoint, error, own.as_ref()))?;
        self.check_server(&stream)
            .map_err(|source| ConnectError::WrongServer {
                endpoint: endpoint.clone(),
                source,
            })?;
        let first = stream
            .fill_buf()
            .await
            .map_err(|error| ConnectError::from_handshake(endpoint, error, own.as_ref()))?;
        if first.is_empty() {
            return Err(ConnectError::closed(endpoint));
        }
        Ok(stream)
    }

    fn check_server(&self, stream: &TlsStream<Socket>) -> Result<(), IdentityError> {
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().unwrap_or_default();
        let (cert, between) = shown.split_first().ok_or(IdentityError::Missing)?;
        let info = CertificateInfo::from_der(cert)?;
        self.trust.limits().check(&info, !between.is_empty())?;
        let server = info.require_identity()?;
        if let Some(domain) = self.trust.domain() {
            server.check_domain(&domain)?;
        }
        server.check_role(self.role)
    }
}

impl Trust {
    fn config(&self) -> Arc<ClientConfig> {
        match self {
            Self::Files(tls) => tls.config(),
            Self::Pin(tls) => tls.config(),
        }
    }

    /// What is shown.
    fn certificate(&self) -> Option<CertificateInfo> {
        match self {
            Self::Files(tls) => Some(tls.certificate()),
            Self::Pin(_) => None,
        }
    }

    fn limits(&self) -> Limits {
        match self {
            Self::Files(tls) => tls.limits(),
            Self::Pin(tls) => tls
                .authority()
                .map(|der| Limits::of(&[der]))
                .unwrap_or_default(),
        }
    }

    /// The trust domain that the server must be of: one's own, or the pinned authority's if it serves one.
    fn domain(&self) -> Option<ClusterName> {
        match self {
            Self::Files(tls) => Some(tls.identity().trust_domain().clone()),
            Self::Pin(tls) => {
                let info = CertificateInfo::from_der(&tls.authority()?).ok()?;
                authority_domain(&info.uris)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn endpoints() {
        for (good, authority) in [
            ("https://coordinator:6350", "coordinator:6350"),
            ("https://127.0.0.1:6350/", "127.0.0.1:6350"),
            ("https://[::1]:6350", "[::1]:6350"),
        ] {
            assert_eq!(Target::parse(good).unwrap().authority(), authority);
        }
        for bad in [
            "",
            "coordinator:6350",
            "http://coordinator:6350",
            "https://coordinator",
            "https://coordinator:6350/x",
            "https://coordinator:6350/?x",
            "https://user@coordinator:6350",
            "https://:6350",
            "https://a_b..c:6350",
        ] {
            let error = Target::parse(bad).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }
}
