//! `holdfast restore …`

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};
use holdfast_types::Timestamp;

/// What to do about a restore.
#[derive(Debug, Subcommand)]
pub(crate) enum RestoreCommand {
    /// Show what a restore would do, and what forbids it, without doing anything.
    #[command(after_help = "Examples:
  holdfast restore plan latest
  holdfast restore plan latest --collection products --as products_check
  holdfast restore plan latest --prefix restored_ --replication-factor 2
  holdfast restore plan --to 2026-11-21T10:15:30Z --collection products

Exits with 0 if the plan could be run, else with the code of what forbids it (mostly 9 or 10).")]
    Plan(RestorePlanArgs),
    /// Restore collections into a node, or into a Qdrant cluster.
    #[command(after_help = "Examples:
  holdfast restore run latest --collection products --as products_check
  holdfast restore run 20261121t101530z-0a1b2c3d --collection products --overwrite --yes
  holdfast restore run latest --node n2 --output json --events
  holdfast restore run --to 2026-11-21T10:15:30Z --collection products --as products_check
  holdfast restore run --to latest --collection products --overwrite
  holdfast restore run --to latest --by requests --collection products --as products_check
  holdfast restore run --before-drop products --as products_before

A collection that exists is refused without --overwrite; with it, its present state is captured first and
then replaced. Ctrl-C stops watching, not the restore: it goes on in the coordinator (exit code 130).")]
    Run(RestoreRunArgs),
    /// Show which instants can be restored with --to, for each collection, and why not the others.
    #[command(after_help = "Examples:
  holdfast restore window
  holdfast restore window products --output json

Every instant within a stretch can be given to `holdfast restore run --to`. The first call after a start of the
coordinator reads every archived part of the logs, which takes a while where there are many.")]
    Window(RestoreWindowArgs),
    /// Let the agent of a node whose Qdrant is stopped lay collections out in its data directory (a cold restore).
    #[command(after_help = "Examples:
  holdfast restore ticket latest --node n1
  holdfast restore ticket 20261121t101530z-0a1b2c3d --node n1 --collection products --valid-hours 2

The result is the command to type on that node. A ticket opens nothing to anybody else: the node's own certificate
must fit. It ends when the restore is done, after its time, or when the coordinator restarts.")]
    Ticket(RestoreTicketArgs),
}

/// Where `--to` leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// An instant.
    Instant(Timestamp),
    /// The end of each log.
    Latest,
}

impl std::str::FromStr for To {
    type Err = holdfast_types::ParseTimestampError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "latest" => Ok(Self::Latest),
            instant => instant.parse().map(Self::Instant),
        }
    }
}

/// How archived operations get into a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// They take the place of the captured shard's own log, and Qdrant replays them when it loads the shard.
    Splice,
    /// They are sent to the running collection, one after the other (logical replay).
    Requests,
}

/// What to restore, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct RestoreSelection {
    /// The recovery point's id, or `latest` (the newest that contains the collections asked for; never the safety
    /// capture of an overwriting restore). With --to, --to-op or --before-drop it may be left out: then it is the newest that leads there.
    #[arg(value_name = "ID", required_unless_present_any = ["to", "to_op", "before_drop"])]
    pub(crate) id: Option<String>,

    /// A collection to restore; may be given several times [default: all of the recovery point].
    #[arg(long = "collection", short = 'c', value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) collections: Vec<String>,

    /// Replay archived logs up to this instant (RFC 3339, like 2026-11-21T10:15:30Z), or `latest`: up to their ends. All
    /// shards and collections end at the same instant.
    #[arg(long, value_name = "INSTANT", conflicts_with_all = ["to_op", "from_copy"])]
    pub(crate) to: Option<To>,

    /// Replay the archived log up to and including this operation. For one collection with one shard.
    #[arg(long, value_name = "NUMBER", conflicts_with = "from_copy")]
    pub(crate) to_op: Option<u64>,

    /// Bring this collection to its state just before it was dropped, also if there is another one by its name now. Its log must have
    /// been archived until then.
    #[arg(long, value_name = "COLLECTION", conflicts_with_all = ["to", "to_op", "from_copy", "collections"], value_parser = NonEmptyStringValueParser::new())]
    pub(crate) before_drop: Option<String>,

    /// How archived operations get into the collection. Splicing is several times faster and keeps every bit; requests also bring back
    /// indexes and named vectors that were created or removed since the capture.
    #[arg(long, value_name = "WAY", value_enum, default_value_t = By::Splice)]
    pub(crate) by: By,

    /// The new name of the collection. Give it once for each --collection, in the same order, or not at all.
    #[arg(long = "as", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) targets: Vec<String>,

    /// Put this before the name of every collection that is restored.
    #[arg(long, value_name = "TEXT", conflicts_with = "targets", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) prefix: Option<String>,

    /// The node that receives the data, or any node of the Qdrant cluster that does [default: the only connected node or cluster].
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) node: Option<String>,

    /// Replicas of each shard in a Qdrant cluster [default: as captured, or one on each node where there are fewer nodes].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) replication_factor: Option<u32>,

    /// Replace collections that exist, after capturing their present state.
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Do not re-create aliases. This is also the default when every collection gets a new name, so that
    /// a restored copy never takes an alias away from the original.
    #[arg(long, conflicts_with = "with_aliases")]
    pub(crate) without_aliases: bool,

    /// Re-create aliases even though every collection gets a new name.
    #[arg(long)]
    pub(crate) with_aliases: bool,

    /// Read it from this copy of the repository, by its name in the coordinator's configuration.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) from_copy: Option<String>,
}

/// Options of `restore window`.
#[derive(Debug, Args)]
pub(crate) struct RestoreWindowArgs {
    /// Only this collection.
    #[arg(value_name = "COLLECTION", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) collection: Option<String>,
}

/// Options of `restore plan`.
#[derive(Debug, Args)]
pub(crate) struct RestorePlanArgs {
    #[command(flatten)]
    pub(crate) selection: RestoreSelection,
}

/// Options of `restore run`.
#[derive(Debug, Args)]
pub(crate) struct RestoreRunArgs {
    #[command(flatten)]
    pub(crate) selection: RestoreSelection,

    /// Do not ask. Needed when something would be replaced and standard input is not a terminal.
    #[arg(long, short)]
    pub(crate) yes: bool,

    /// With --output json: print every event of the job as one JSON line, the result last.
    #[arg(long)]
    pub(crate) events: bool,
}

/// Options of `restore ticket`.
#[derive(Debug, Args)]
pub(crate) struct RestoreTicketArgs {
    /// The recovery point's id, or `latest` (the newest that contains the collections asked for; never the safety
    /// capture of an overwriting restore).
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// A collection to restore; may be given several times [default: all of the recovery point].
    #[arg(long = "collection", short = 'c', value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) collections: Vec<String>,

    /// The node whose agent may use it: the name in its certificate.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) node: String,

    /// How long it may be used.
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=168))]
    pub(crate) valid_hours: u32,

    /// Read it from this copy of the repository, by its name in the coordinator's configuration.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) from_copy: Option<String>,
}
