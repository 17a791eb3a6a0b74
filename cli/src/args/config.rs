//! `holdfast config …`

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What to do with configuration files.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the configuration file of an agent or a coordinator. Unknown keys are errors here.
    #[command(after_help = "Examples:
  holdfast config check /etc/holdfast/agent.toml
  holdfast config check coordinator.toml --kind coordinator --no-paths")]
    Check(ConfigCheckArgs),
}

/// Which program a configuration file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConfigKind {
    /// holdfast-agent
    Agent,
    /// holdfast-coordinator
    Coordinator,
}

/// Options of `config check`.
#[derive(Debug, Args)]
pub(crate) struct ConfigCheckArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Which program it is for [default: told by its keys].
    #[arg(long, value_enum)]
    pub(crate) kind: Option<ConfigKind>,

    /// Do not look whether the files it names are there: for checking on another machine.
    #[arg(long)]
    pub(crate) no_paths: bool,
}
