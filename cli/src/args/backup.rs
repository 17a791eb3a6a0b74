//! `holdfast backup …`

use super::{DeleteArgs, PinArgs, PointArgs, PruneArgs, UnpinArgs};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};
use holdfast_decide::policy::parse_duration;
use holdfast_proto::v1;
use holdfast_types::{ExtraName, NodeId};
use std::path::PathBuf;
use std::time::Duration;

/// What to do with recovery points.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Capture collections now and commit them as one recovery point.
    #[command(after_help = "Examples:
  holdfast backup create
  holdfast backup create --collection products --collection users --note 'before the migration'
  holdfast backup create --collection 'tenant_a_*' --dry-run
  holdfast backup create --max-nodes 1 --max-mib-per-sec 50 --max-query-latency 50ms
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
    /// Write collections of a recovery point as plain Qdrant snapshot files, which any Qdrant loads without Holdfast.
    #[command(after_help = "Examples:
  holdfast backup export latest --collection products -o products.snapshot
  holdfast backup export 20261121t101530z-0a1b2c3d -o /mnt/exports/
  holdfast backup export latest -c products --shard 2 -o products-2.snapshot
  holdfast backup export latest -c products -o p.snapshot --coordinator-config coordinator.toml
  holdfast backup export latest --extra redis --node n1 -o ./redis-n1

The result names the curl command that loads each file. With --coordinator-config the repository is read
directly: no coordinator need be left. Every chunk is authenticated and hashed; a file appears under its name
only when it is whole and on disk. With --extra the extra files of a node are written into a directory, below the
paths that they had, with their modes and times.")]
    Export(BackupExportArgs),
    /// List the extra files that a recovery point holds beside its collections: config files, dumps.
    #[command(after_help = "Examples:
  holdfast backup files latest
  holdfast backup files 20261121t101530z-0a1b2c3d --node n1 --extra redis --output json

What a node's agent captures is configured there, in [[extra]] (docs/reference/extras.md).")]
    Files(BackupFilesArgs),
    /// Make a recovery point of a Qdrant snapshot file of a collection.
    #[command(after_help = "Examples:
  holdfast backup import products-8687-2026-11-25-17-45-39.snapshot --collection products --qdrant-version 1.18.3
  holdfast backup import old.snapshot -c products --qdrant-version 1.18.3 --note 'from before Holdfast'

The file is what POST /collections/NAME/snapshots made. It is proven complete like any capture, sent to the
coordinator, and committed as a recovery point. `latest` never means it: restore it by its id. It is pinned. Ctrl-C ends the
import; what has arrived is not sent again the next time.")]
    Import(BackupImportArgs),
}

/// How the agents obtain the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// What each agent's configuration says; by default the quickest that its node allows.
    Auto,
    /// Immutable files from the storage directory shared with the agent, the rest from a partial snapshot.
    Direct,
    /// What has changed since the last capture; needs the shared storage directory too.
    Partial,
    /// A stored shard snapshot, read from the snapshots directory shared with the agent.
    Stored,
    /// A streamed shard snapshot: needs nothing shared, but is slower.
    Stream,
}

/// Options of `backup create`.
#[derive(Debug, Args)]
pub(crate) struct BackupCreateArgs {
    /// A collection to back up, or a pattern in which '*' stands for any characters; may be given several times
    /// [default: all].
    #[arg(long = "collection", short = 'c', value_name = "NAME")]
    pub(crate) collections: Vec<String>,

    /// Show what would be captured and from which nodes, and do nothing.
    #[arg(long, conflicts_with = "events")]
    pub(crate) dry_run: bool,

    /// How the agents obtain the bytes.
    #[arg(long, value_enum, default_value_t = Method::Auto)]
    pub(crate) method: Method,

    /// A note kept with the recovery point.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) note: String,

    /// A word that retention rules may name, such as nightly; may be given several times.
    #[arg(long = "tag", value_name = "WORD")]
    pub(crate) tags: Vec<String>,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// With --output json: print every event of the job as one JSON line, the result last.
    #[arg(long)]
    pub(crate) events: bool,
}

/// How much a backup may take from the database.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// At most this many nodes capture at once [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) max_nodes: Option<u32>,

    /// Agents read and send at most this many MiB per second, all together [default: no bound].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) max_mib_per_sec: Option<u32>,

    /// Agents read less while searches of others take longer than this at their Qdrant, such as 50ms [default: they don't look].
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) max_query_latency: Option<Duration>,

    /// But the backup is held up by that no longer than this in all, such as 10m [default: 30m].
    #[arg(long, value_name = "TIME", value_parser = time, requires = "max_query_latency")]
    pub(crate) max_delay: Option<Duration>,
}

fn time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    // 0 would stand for "not given".
    match time < Duration::from_millis(1) {
        true => Err("it must be 1ms at least".to_owned()),
        false => Ok(time),
    }
}

impl LimitArgs {
    /// `None` if there are none.
    pub(crate) fn wire(&self) -> Option<v1::BackupLimits> {
        let Self {
            max_nodes,
            max_mib_per_sec,
            max_query_latency,
            max_delay,
        } = self;
        let millis = |time: &Option<Duration>| time.map_or(0, |time| time.as_millis());
        let limits = v1::BackupLimits {
            max_nodes: max_nodes.unwrap_or(0),
            max_mib_per_sec: max_mib_per_sec.unwrap_or(0),
            max_query_latency_ms: u32::try_from(millis(max_query_latency)).unwrap_or(u32::MAX),
            max_delay_ms: u64::try_from(millis(max_delay)).unwrap_or(u64::MAX),
        };
        (limits != v1::BackupLimits::default()).then_some(limits)
    }
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

    /// List what this copy of the repository holds, by its name in the coordinator's configuration.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) from_copy: Option<String>,
}

/// Options of `backup show`.
#[derive(Debug, Args)]
pub(crate) struct BackupShowArgs {
    /// The recovery point's id, or `latest` (never the safety capture of an overwriting restore).
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Read it from this copy of the repository, by its name in the coordinator's configuration.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) from_copy: Option<String>,
}

/// Options of `backup export`.
#[derive(Debug, Args)]
pub(crate) struct BackupExportArgs {
    /// The recovery point's id, or `latest` (the newest that contains the collections asked for; never the safety
    /// capture of an overwriting restore).
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// A collection to export; may be given several times [default: all of the recovery point].
    #[arg(long = "collection", short = 'c', value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) collections: Vec<String>,

    /// Only this shard, as a shard snapshot: for a collection that exists, such as one of a Qdrant cluster.
    #[arg(long, value_name = "N", requires = "collections")]
    pub(crate) shard: Option<u32>,

    /// In place of collections: this extra of a node, such as config files or a dump. Its files are written below -o DIR, which is
    /// made, or must be empty.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["collections", "shard"])]
    pub(crate) extra: Option<ExtraName>,

    /// The node whose extra it is [default: the only one that has it].
    #[arg(long, value_name = "NODE", requires = "extra")]
    pub(crate) node: Option<NodeId>,

    /// The file to write; or an existing directory, which gets one file for each collection.
    #[arg(long, short = 'o', value_name = "FILE|DIR")]
    pub(crate) out: PathBuf,

    /// Replace files that exist; with --extra, write into a directory that is not empty.
    #[arg(long)]
    pub(crate) force: bool,

    /// Read the repository directly, as this coordinator's configuration says where it is and what unlocks it. No
    /// coordinator need run; one that does is not disturbed: nothing is written or locked.
    #[arg(long, value_name = "FILE", help_heading = "Repository")]
    pub(crate) coordinator_config: Option<PathBuf>,

    /// Read it from this copy of the repository, by its name in the coordinator's configuration.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) from_copy: Option<String>,
}

/// Options of `backup files`.
#[derive(Debug, Args)]
pub(crate) struct BackupFilesArgs {
    /// The recovery point's id, or `latest` (never the safety capture of an overwriting restore).
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// Only of this node.
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<NodeId>,

    /// Only this extra.
    #[arg(long, value_name = "NAME")]
    pub(crate) extra: Option<ExtraName>,

    /// Read the repository directly, as this coordinator's configuration says where it is and what unlocks it. No
    /// coordinator need run; one that does is not disturbed: nothing is written or locked.
    #[arg(long, value_name = "FILE", help_heading = "Repository")]
    pub(crate) coordinator_config: Option<PathBuf>,

    /// Read it from this copy of the repository, by its name in the coordinator's configuration.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) from_copy: Option<String>,
}

/// Options of `backup import`.
#[derive(Debug, Args)]
pub(crate) struct BackupImportArgs {
    /// The snapshot file of a whole collection (not of a shard, nor of the whole storage).
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The collection's name in the recovery point.
    #[arg(long, short = 'c', value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) collection: String,

    /// The version of the Qdrant that made the file, which the file does not say. Restores go into the same or the
    /// next minor release only; if you don't know it, `GET /` of that server tells.
    #[arg(long, value_name = "X.Y.Z")]
    pub(crate) qdrant_version: holdfast_types::ServerVersion,

    /// A note kept with the recovery point.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) note: String,

    /// With --output json: print every event of the job as one JSON line, the result last.
    #[arg(long)]
    pub(crate) events: bool,
}
