//! `holdfast demo`

use super::Method;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Which server the demo runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServerChoice {
    /// A real Qdrant if one is found, else holdfast-devnode.
    Auto,
    /// A real Qdrant: $HOLDFAST_QDRANT_BIN, else `qdrant` on the PATH.
    Qdrant,
    /// holdfast-devnode, the embedded stand-in for demos and tests.
    Devnode,
}

/// Options of `demo`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  holdfast demo
  holdfast demo --points 20000 --dim 128
  holdfast demo --keep --dir /tmp/holdfast-demo

Everything runs on 127.0.0.1, on free ports, in a directory of its own, and is removed at the end.
Exit code 12 means that restored data differed from what was captured.")]
pub(crate) struct DemoArgs {
    /// Points to load [default: 100000 on a real Qdrant, 20000 on holdfast-devnode].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(100..=50_000_000))]
    pub(crate) points: Option<u64>,

    /// Dimension of the vectors [default: 384 on a real Qdrant, 128 on holdfast-devnode].
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u32).range(2..=16384))]
    pub(crate) dim: Option<u32>,

    /// Leave everything running at the end, and print how to look around and how to stop it.
    #[arg(long)]
    pub(crate) keep: bool,

    /// Work in this directory (new or empty) [default: a new one in the system's temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// How the agent obtains the bytes.
    #[arg(long, value_enum, default_value_t = Method::Auto)]
    pub(crate) method: Method,

    /// Which server to run.
    #[arg(long, value_enum, default_value_t = ServerChoice::Auto)]
    pub(crate) server: ServerChoice,
}
