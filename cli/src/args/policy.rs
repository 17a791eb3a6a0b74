//! `holdfast policy …`, `holdfast schedules`

use super::ConnectionArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a policy file as the coordinator does at its start. No coordinator is asked.
    #[command(after_help = "Examples:
  holdfast policy check /etc/holdfast/policy.toml

Ends with 3 if the coordinator would refuse it. Advice is not an error.")]
    Check(PolicyFileArgs),
    /// Show everything a policy says, with what its preset brings.
    #[command(after_help = "Examples:
  holdfast policy show                      the one that the coordinator follows
  holdfast policy show --file policy.toml   one that it does not follow yet")]
    Show(PolicyShowArgs),
    /// Say what will happen to a collection, when, and why.
    #[command(after_help = "Examples:
  holdfast policy explain products
  holdfast policy explain products --file policy.toml

The collection need not exist yet.")]
    Explain(PolicyExplainArgs),
    /// Say what would change with another policy file.
    #[command(after_help = "Examples:
  holdfast policy diff policy.toml                   against the one that the coordinator follows
  holdfast policy diff new.toml --from old.toml -c products

Ends with 0 whether or not something changes; `changes` in JSON is empty if nothing does.")]
    Diff(PolicyDiffArgs),
}

/// A policy file.
#[derive(Debug, Args)]
pub(crate) struct PolicyFileArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Options of `policy show`.
#[derive(Debug, Args)]
pub(crate) struct PolicyShowArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    /// A policy file, in place of the one that the coordinator follows.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Options of `policy explain`.
#[derive(Debug, Args)]
pub(crate) struct PolicyExplainArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    /// The collection.
    #[arg(value_name = "COLLECTION")]
    pub(crate) collection: String,

    /// A policy file, in place of the one that the coordinator follows.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Options of `policy diff`.
#[derive(Debug, Args)]
pub(crate) struct PolicyDiffArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    /// The new policy file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The old policy file, in place of the one that the coordinator follows.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,

    /// Collections to compare, besides those that the coordinator knows.
    #[arg(long = "collection", short = 'c', value_name = "COLLECTION")]
    pub(crate) collections: Vec<String>,
}
