//! `holdfast repo …`: work on the repository itself, with no coordinator between.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to do with the repository.
#[derive(Debug, Subcommand)]
pub(crate) enum RepoCommand {
    /// Try whether the configured place keeps every promise that a repository needs, before trusting it.
    #[command(after_help = "Examples:
  holdfast repo probe --coordinator-config coordinator.toml
  holdfast repo probe --output json | jq '.checks[] | select(.failure)'")]
    Probe(DirectArgs),
}

/// How the repository is reached where no coordinator is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct DirectArgs {
    /// The coordinator's configuration: it says where the repository is and what unlocks it. No coordinator need run.
    #[arg(
        long,
        value_name = "FILE",
        env = "HOLDFAST_COORDINATOR_CONFIG",
        help_heading = "Repository"
    )]
    pub(crate) coordinator_config: PathBuf,
}
