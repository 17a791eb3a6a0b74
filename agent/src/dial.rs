//! Dialling the coordinator over mutual TLS.

use crate::failure::{Failed, chain};
use crate::link::Dial;
use futures::future::BoxFuture;
use holdfast_certs::{ClientTls, ConnectOptions, Role, connect};
use holdfast_proto::limits;
use holdfast_service::failure::Code;
use tonic::transport::Channel;
use url::Url;

/// The coordinator's address and this agent's identity.
#[derive(Clone, Debug)]
pub struct TlsDial {
    endpoint: String,
    tls: ClientTls,
}

impl TlsDial {
    /// A dialler for `endpoint`, `https://host:port`.
    #[must_use]
    pub fn new(endpoint: &Url, tls: ClientTls) -> Self {
        Self {
            endpoint: endpoint.as_str().trim_end_matches('/').to_owned(),
            tls,
        }
    }
}

impl Dial for TlsDial {
    fn dial(&self) -> BoxFuture<'_, Result<Channel, Failed>> {
        Box::pin(async {
            let options = ConnectOptions {
                server_role: Role::Coordinator,
                connect_timeout: limits::CONNECT_TIMEOUT,
                keep_alive_interval: limits::KEEP_ALIVE_INTERVAL,
                keep_alive_timeout: limits::KEEP_ALIVE_TIMEOUT,
                stream_window: limits::STREAM_WINDOW_BYTES,
                connection_window: limits::CONNECTION_WINDOW_BYTES,
                max_frame: limits::FRAME_BYTES,
            };
            connect(&self.endpoint, &self.tls, &options)
                .await
                .map_err(|error| {
                    let code = error.code().parse().unwrap_or(Code::CoordinatorUnreachable);
                    Failed::new(code, chain(&error)).and(error.advice())
                })
        })
    }
}
