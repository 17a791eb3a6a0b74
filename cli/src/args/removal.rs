//! Arguments of the commands that say which recovery points stay and which go.

use clap::{Args, Subcommand};

/// Options of `backup prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Carry it out. Without this, only show what would happen.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) confirm: bool,

    /// Only show what would happen (the default).
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Options of `backup delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The recovery point's id.
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// Why; kept with the mark.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,

    /// Mark it although one of its collections has nothing better left, or although it is a young safety capture.
    #[arg(long)]
    pub(crate) even_the_last: bool,

    /// Carry it out. Without this, only say whether it could be.
    #[arg(long)]
    pub(crate) confirm: bool,
}

/// A recovery point.
#[derive(Debug, Args)]
pub(crate) struct PointArgs {
    /// The recovery point's id.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Options of `backup pin`.
#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// The recovery point's id, or `latest`.
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// Why it must stay.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// Options of `backup unpin`.
#[derive(Debug, Args)]
pub(crate) struct UnpinArgs {
    /// The recovery point's id.
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// Carry it out. Without this, nothing is changed.
    #[arg(long)]
    pub(crate) confirm: bool,
}

/// What to do about legal holds.
#[derive(Debug, Subcommand)]
pub(crate) enum HoldCommand {
    /// Forbid the removal of recovery points until the hold expires or is released.
    #[command(after_help = "Examples:
  holdfast hold place case-17 --owner legal --reason 'Doe v. Acme' --collection 'tenant_a_*'
  holdfast hold place audit-2026 --owner cfo --reason audit --expires 2027-04-01T00:00:00Z --point 20261121t101530z-0a1b2c3d

Removal marks on what it covers are taken back.")]
    Place(HoldPlaceArgs),
    /// End a hold.
    #[command(after_help = "Examples:
  holdfast hold release case-17
  holdfast hold release case-17 --confirm")]
    Release(HoldReleaseArgs),
    /// List every hold, expired ones too, with what it is on.
    #[command(after_help = "Examples:
  holdfast hold list
  holdfast hold list --output json | jq '.holds[] | select(.active)'")]
    List,
}

/// Options of `hold place`.
#[derive(Debug, Args)]
pub(crate) struct HoldPlaceArgs {
    /// A name for the hold.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,

    /// Who answers for it.
    #[arg(long, value_name = "WHO")]
    pub(crate) owner: String,

    /// When it ends by itself (RFC 3339) [default: when it is released].
    #[arg(long, value_name = "INSTANT")]
    pub(crate) expires: Option<holdfast_types::Timestamp>,

    /// A recovery point that it is on; may be given several times.
    #[arg(
        long = "point",
        value_name = "ID",
        required_unless_present = "collections"
    )]
    pub(crate) points: Vec<String>,

    /// Collections by name or pattern, as in 'tenant_a_*': it is on every recovery point that holds one of them, future ones
    /// too; may be given several times.
    #[arg(long = "collection", short = 'c', value_name = "PATTERN")]
    pub(crate) collections: Vec<String>,
}

/// Options of `hold release`.
#[derive(Debug, Args)]
pub(crate) struct HoldReleaseArgs {
    /// The hold's name.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Carry it out. Without this, nothing is changed.
    #[arg(long)]
    pub(crate) confirm: bool,
}
