//! `holdfast restore …`

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

/// What to do about a restore.
#[derive(Debug, Subcommand)]
pub(crate) enum RestoreCommand {
    /// Show what a restore would do, and what forbids it, without doing anything.
    #[command(after_help = "Examples:
  holdfast restore plan latest
  holdfast restore plan latest --collection products --as products_check

Exits with 0 if the plan could be run, else with the code of what forbids it (mostly 9 or 10).")]
    Plan(RestorePlanArgs),
    /// Restore collections into a node.
    #[command(after_help = "Examples:
  holdfast restore run latest --collection products --as products_check
  holdfast restore run 20261121t101530z-0a1b2c3d --collection products --overwrite --yes
  holdfast restore run latest --node n2 --output json --events

A collection that exists is refused without --overwrite; with it, its present state is captured first and
then replaced. Ctrl-C stops watching, not the restore: it goes on in the coordinator (exit code 130).")]
    Run(RestoreRunArgs),
    /// Let the agent of a node whose Qdrant is stopped lay collections out in its data directory (a cold restore).
    #[command(after_help = "Examples:
  holdfast restore ticket latest --node n1
  holdfast restore ticket 20261121t101530z-0a1b2c3d --node n1 --collection products --valid-hours 2

The result is the command to type on that node. A ticket opens nothing to anybody else: the node's own certificate
must fit. It ends when the restore is done, after its time, or when the coordinator restarts.")]
    Ticket(RestoreTicketArgs),
}

/// What to restore, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct RestoreSelection {
    /// The recovery point's id, or `latest` (the newest that contains the collections asked for; never the safety
    /// capture of an overwriting restore).
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// A collection to restore; may be given several times [default: all of the recovery point].
    #[arg(long = "collection", short = 'c', value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) collections: Vec<String>,

    /// The new name of the collection. Give it once for each --collection, in the same order, or not at all.
    #[arg(long = "as", value_name = "NAME", requires = "collections", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) targets: Vec<String>,

    /// The node that receives the data [default: the only connected node].
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) node: Option<String>,

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
