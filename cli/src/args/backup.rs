//! `holdfast backup …`

use super::{DeleteArgs, PinArgs, PointArgs, PruneArgs, UnpinArgs};
use clap::{Args, Subcommand, ValueEnum};

/// What to do with recovery points.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Capture collections now and commit them as one recovery point.
    #[command(after_help = "Examples:
  holdfast backup create
  holdfast backup create --collection products --collection users --note 'before the migration'
  holdfast backup create --output json --events

Ctrl-C stops watching, not the backup: it goes on in the coordinator (exit code 130).")]
    Create(BackupCreateArgs),
    /// List recovery points, newest first.
    #[command(after_help = "Examples:
  holdfast backup list
  holdfast backup list --collection products --limit 10")]
    List(BackupListArgs),
    /// Show one recovery point in full.
    #[command(after_help = "Examples:
  holdfast backup show latest
  holdfast backup show 20261121t101530z-0a1b2c3d --output json | jq .manifest.collections")]
    Show(BackupShowArgs),
    /// Remove what the retention rules no longer keep: mark it, delete what was marked long enough ago, free its space.
    #[command(after_help = "Examples:
  holdfast backup prune
  holdfast backup prune --confirm
  holdfast backup prune --output json | jq '.verdicts[] | select(.keep | not)'

What is marked can be undeleted until its grace is over ([retention] grace_hours).")]
    Prune(PruneArgs),
    /// Mark one recovery point for removal, whatever the rules say.
    #[command(after_help = "Examples:
  holdfast backup delete 20261121t101530z-0a1b2c3d
  holdfast backup delete 20261121t101530z-0a1b2c3d --reason 'wrong data' --confirm")]
    Delete(DeleteArgs),
    /// Take a removal mark back.
    #[command(after_help = "Examples:
  holdfast backup list --deleted
  holdfast backup undelete 20261121t101530z-0a1b2c3d")]
    Undelete(PointArgs),
    /// Keep a recovery point whatever the rules say, until it is unpinned.
    #[command(after_help = "Examples:
  holdfast backup pin latest --reason 'before the migration'")]
    Pin(PinArgs),
    /// Let the rules decide about a pinned recovery point again.
    #[command(after_help = "Examples:
  holdfast backup unpin 20261121t101530z-0a1b2c3d --confirm")]
    Unpin(UnpinArgs),
}

/// How the agents obtain the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// The quickest that each node allows.
    Auto,
    /// A stored shard snapshot, read from the snapshots directory shared with the agent.
    Stored,
    /// A streamed shard snapshot: needs nothing shared, but is slower.
    Stream,
}

/// Options of `backup create`.
#[derive(Debug, Args)]
pub(crate) struct BackupCreateArgs {
    /// A collection to back up; may be given several times [default: all].
    #[arg(long = "collection", short = 'c', value_name = "NAME")]
    pub(crate) collections: Vec<String>,

    /// How the agents obtain the bytes.
    #[arg(long, value_enum, default_value_t = Method::Auto)]
    pub(crate) method: Method,

    /// A note kept with the recovery point.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) note: String,

    /// A word that retention rules may name, such as nightly; may be given several times.
    #[arg(long = "tag", value_name = "WORD")]
    pub(crate) tags: Vec<String>,

    /// With --output json: print every event of the job as one JSON line, the result last.
    #[arg(long)]
    pub(crate) events: bool,
}

/// Options of `backup list`.
#[derive(Debug, Args)]
pub(crate) struct BackupListArgs {
    /// Only recovery points that contain this collection.
    #[arg(long, short = 'c', value_name = "NAME")]
    pub(crate) collection: Option<String>,

    /// Also those that are marked for removal.
    #[arg(long)]
    pub(crate) deleted: bool,

    /// At most this many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
}

/// Options of `backup show`.
#[derive(Debug, Args)]
pub(crate) struct BackupShowArgs {
    /// The recovery point's id, or `latest` (never the safety capture of an overwriting restore).
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}
