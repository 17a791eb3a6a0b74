//! The calling side: a gRPC channel whose every connection is verified on both sides.
//!
//! In TLS 1.3 a client has finished its handshake before the server has looked at the client's
//! certificate, so a refusal would surface on some later call as a vague transport error. Therefore a
//! connection counts as made only when the server's first HTTP/2 frame has arrived; its server sends
//! one unasked. The channel reconnects by itself and reads the certificate files' newest state each time.
//! It doesn't retry calls: whoever calls knows what may be repeated.

mod connect_error;
mod connector;

use crate::fingerprint::Fingerprint;
use crate::identity::Role;
use crate::tls::{ClientTls, PinnedTls};
pub use connect_error::{ConnectError, Whose};
use connector::{Connector, Target, Trust};
use rustls_pki_types::CertificateDer;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// Times and sizes of a channel; `holdfast_proto::limits` has the values that both sides agreed on.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The role that the server's certificate must have.
    pub server_role: Role,
    /// Time for TCP, TLS and the first frame together.
    pub connect_timeout: Duration,
    /// A ping is sent after this much silence.
    pub keep_alive_interval: Duration,
    /// A connection whose ping stays unanswered this long is closed.
    pub keep_alive_timeout: Duration,
    /// HTTP/2 window of one stream, in bytes.
    pub stream_window: u32,
    /// HTTP/2 window of the connection, in bytes.
    pub connection_window: u32,
    /// Largest HTTP/2 frame that the server may send, in bytes.
    pub max_frame: u32,
}

impl Default for ConnectOptions {
    /// To a coordinator, with times for a LAN and HTTP/2's own sizes.
    fn default() -> Self {
        Self {
            server_role: Role::Coordinator,
            connect_timeout: Duration::from_secs(10),
            keep_alive_interval: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(20),
            stream_window: 65_535,
            connection_window: 65_535,
            max_frame: 16_384,
        }
    }
}

/// Connects to `endpoint`, `https://host:port`, and returns when the server has accepted us.
///
/// # Errors
/// [`ConnectError`], which says what to do about it in [`ConnectError::advice`].
pub async fn connect(
    endpoint: &str,
    tls: &ClientTls,
    options: &ConnectOptions,
) -> Result<Channel, ConnectError> {
    let (channel, connector) = prepare(endpoint, Trust::Files(tls.clone()), options)?;
    channel
        .connect_with_connector(connector)
        .await
        .map_err(|error| ConnectError::from_transport(endpoint, error))
}

/// Connects to `endpoint` without a certificate of one's own, and only if the server's comes from the authority with this
/// fingerprint. For enrolment alone: no other service lets such a caller in.
///
/// # Errors
/// [`ConnectError`], [`ConnectError::WrongPin`] among them.
pub(crate) async fn connect_pinned(
    endpoint: &str,
    pin: Fingerprint,
    options: &ConnectOptions,
) -> Result<(Channel, CertificateDer<'static>), ConnectError> {
    let unlikely = |source| ConnectError::Tls {
        endpoint: endpoint.to_owned(),
        source,
    };
    let tls = PinnedTls::new(pin).map_err(unlikely)?;
    let (channel, connector) = prepare(endpoint, Trust::Pin(tls.clone()), options)?;
    let connected = channel.connect_with_connector(connector).await;
    let channel = connected.map_err(|error| {
        let error = ConnectError::from_transport(endpoint, error);
        if let ConnectError::WrongCa { endpoint } = error {
            return ConnectError::WrongPin { endpoint };
        }
        error
    })?;
    let authority = tls.authority();
    let authority = authority.ok_or_else(|| ConnectError::closed(endpoint))?;
    Ok((channel, authority))
}

/// A channel that connects with its first call. Only for what should start before its server does.
///
/// # Errors
/// If the endpoint is not valid; every other [`ConnectError`] comes with the first call's status.
pub fn connect_lazy(
    endpoint: &str,
    tls: &ClientTls,
    options: &ConnectOptions,
) -> Result<Channel, ConnectError> {
    let (channel, connector) = prepare(endpoint, Trust::Files(tls.clone()), options)?;
    Ok(channel.connect_with_connector_lazy(connector))
}

fn prepare(
    endpoint: &str,
    trust: Trust,
    options: &ConnectOptions,
) -> Result<(Endpoint, Connector), ConnectError> {
    let target = Target::parse(endpoint)?;
    // tonic wants to do TLS itself where it sees https, so it is shown http.
    let channel = Endpoint::from_shared(format!("http://{}", target.authority()))
        .map_err(|_| ConnectError::endpoint(endpoint, "it is not a valid address"))?
        .http2_keep_alive_interval(options.keep_alive_interval)
        .keep_alive_timeout(options.keep_alive_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .max_frame_size(options.max_frame);
    let connector = Connector::new(target, trust, options.server_role, options.connect_timeout);
    Ok((channel, connector))
}
