//! What the node is told at start: flags, or the environment variables of the real server.
//!
//! There is no configuration file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The version that `GET /` reports: the server release whose files the embedded engine reads and writes.
pub const COMPATIBLE_VERSION: &str = "1.18.3";

/// A Qdrant-compatible node for demonstrations and tests.
///
/// Takes flags, or the same environment variables as the real server:
///   holdfast-devnode --http 127.0.0.1:6333 --storage ./storage --snapshots ./snapshots
///   QDRANT__STORAGE__STORAGE_PATH=/data/storage QDRANT__SERVICE__HTTP_PORT=7333 holdfast-devnode
#[derive(Clone, Debug, clap::Parser)]
#[command(version, verbatim_doc_comment)]
pub struct Settings {
    /// Address and port of the REST interface; port 0 takes a free one. Goes before --host and --http-port.
    #[arg(long, value_name = "ADDR:PORT")]
    pub http: Option<SocketAddr>,
    /// Address and port of the gRPC interface; port 0 takes a free one. Goes before --host and --grpc-port.
    #[arg(long, value_name = "ADDR:PORT")]
    pub grpc: Option<SocketAddr>,
    /// Address of both interfaces. Unlike the real server's default it is the loopback address.
    #[arg(long, env = "QDRANT__SERVICE__HOST", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub host: IpAddr,
    /// Port of the REST interface.
    #[arg(long, env = "QDRANT__SERVICE__HTTP_PORT", default_value_t = 6333)]
    pub http_port: u16,
    /// Port of the gRPC interface.
    #[arg(long, env = "QDRANT__SERVICE__GRPC_PORT", default_value_t = 6334)]
    pub grpc_port: u16,
    /// Key that clients must send as `api-key` or as a bearer token.
    #[arg(long, env = "QDRANT__SERVICE__API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Where collections are kept.
    #[arg(
        long,
        env = "QDRANT__STORAGE__STORAGE_PATH",
        default_value = "./storage"
    )]
    pub storage: PathBuf,
    /// Where snapshots are kept.
    #[arg(
        long,
        env = "QDRANT__STORAGE__SNAPSHOTS_PATH",
        default_value = "./snapshots"
    )]
    pub snapshots: PathBuf,
    /// Build vector indexes and merge segments in the background, as the real server does. Writes wait meanwhile.
    #[arg(long, env = "HOLDFAST_DEVNODE_OPTIMIZE")]
    pub optimize: bool,
    /// Version to report in place of the compatible one, for tests of version checks.
    #[arg(
        long,
        env = "HOLDFAST_DEVNODE_VERSION",
        default_value = COMPATIBLE_VERSION
    )]
    pub report_version: String,
}

impl Settings {
    /// Where the REST interface listens.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http
            .unwrap_or_else(|| SocketAddr::new(self.host, self.http_port))
    }

    /// Where the gRPC interface listens.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc
            .unwrap_or_else(|| SocketAddr::new(self.host, self.grpc_port))
    }
}
