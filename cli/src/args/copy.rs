//! `holdfast repo copy …`: copies of the repository in further stores.

use super::repo::DirectArgs;
use clap::{Args, Subcommand};

/// What to do with copies.
#[derive(Debug, Subcommand)]
pub(crate) enum CopyCommand {
    /// List the configured copies: what each holds, how far it is behind, what is wrong with it.
    #[command(after_help = "Examples:
  holdfast repo copy list
  holdfast repo copy list --output json | jq '.copies[] | {name, lag}'")]
    List,
    /// Make the place that the coordinator's configuration names under [[copy]] a copy, and begin to fill it.
    ///
    /// Without --confirm it only says what is there. A place that holds anything else is refused. A copy that was removed becomes one
    /// again with what it holds.
    #[command(after_help = "Examples:
  holdfast repo copy add offsite
  holdfast repo copy add offsite --confirm
  holdfast repo copy add old --take-over --confirm      the primary that a promotion has replaced")]
    Add(CopyAddArgs),
    /// Bring a copy up to date now, whatever its schedule says. The run goes on in the coordinator.
    ///
    /// With --release and without --confirm, it only shows what would be removed from the copy, and begins no run.
    #[command(after_help = "Examples:
  holdfast repo copy sync offsite --wait
  holdfast repo copy sync offsite --release
  holdfast repo copy sync offsite --release --confirm")]
    Sync(CopySyncArgs),
    /// Check a copy now, on its own. Damage is brought back from the repository, as far as that is sound.
    #[command(after_help = "Examples:
  holdfast repo copy verify offsite --full --wait")]
    Verify(CopyVerifyArgs),
    /// Apply the rules of a copy to what it holds. Without --confirm, only show what they would do.
    #[command(after_help = "Examples:
  holdfast repo copy prune offsite
  holdfast repo copy prune offsite --confirm")]
    Prune(CopyConfirmArgs),
    /// Leave a copy as it is: nothing is deleted, and it is brought up to date no more.
    ///
    /// Without --confirm it only looks whether that can be. Take it out of the configuration afterwards.
    #[command(after_help = "Examples:
  holdfast repo copy remove offsite
  holdfast repo copy remove offsite --confirm")]
    Remove(CopyConfirmArgs),
    /// Make a copy the primary: after the loss of the repository, or to move it. The coordinator must be stopped.
    ///
    /// Without --confirm it only shows what the copy holds, what of it is damaged, and what it lacks of what is known. It works without
    /// the primary. If the primary can be reached, it is told first that it was replaced.
    #[command(after_help = "Examples:
  holdfast repo copy promote offsite --coordinator-config coordinator.toml --full
  holdfast repo copy promote offsite --coordinator-config coordinator.toml --confirm

Afterwards name the copy's place under [repository] and start the coordinator: docs/runbooks, \"The primary repository is lost\".")]
    Promote(CopyPromoteArgs),
}

/// Options of `repo copy add`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CopyAddArgs {
    /// The copy's name in the configuration.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// The place holds the old primary, which this repository has replaced: tell it so, and make it a copy with what it holds.
    #[arg(long)]
    pub(crate) take_over: bool,

    /// Carry it out.
    #[arg(long)]
    pub(crate) confirm: bool,
}

/// Options of `repo copy sync`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CopySyncArgs {
    /// The copy's name in the configuration.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// First remove holds, pins and keys from the copy that the repository no longer has: they were released or removed on
    /// purpose.
    #[arg(long)]
    pub(crate) release: bool,

    /// Carry --release out.
    #[arg(long, requires = "release")]
    pub(crate) confirm: bool,

    /// Wait for the end of the run.
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Options of `repo copy verify`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CopyVerifyArgs {
    /// The copy's name in the configuration.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Read and authenticate every chunk; otherwise only sizes and small objects are looked at.
    #[arg(long)]
    pub(crate) full: bool,

    /// Wait for the end of the check.
    #[arg(long)]
    pub(crate) wait: bool,
}

/// A copy, and whether to carry it out.
#[derive(Clone, Debug, Args)]
pub(crate) struct CopyConfirmArgs {
    /// The copy's name in the configuration.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Carry it out.
    #[arg(long)]
    pub(crate) confirm: bool,
}

/// Options of `repo copy promote`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CopyPromoteArgs {
    /// The copy's name in the configuration.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) direct: DirectArgs,

    /// Read and authenticate every chunk of the copy first; otherwise only sizes and small objects are looked at.
    #[arg(long)]
    pub(crate) full: bool,

    /// Carry it out.
    #[arg(long)]
    pub(crate) confirm: bool,
}
