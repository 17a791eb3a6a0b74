//! Starts the node: parse, open, serve, drain, flush.

use clap::Parser;
use holdfast_devnode::{Settings, serve};

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "info,qdrant_edge=error".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    // the only use of TLS is a snapshot fetched from an https URL
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("a TLS provider was installed before main");
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve::run(settings))
}
