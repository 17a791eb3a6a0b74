//! `holdfast diff`

use super::ConnectionArgs;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use holdfast_types::Timestamp;

/// Options of `diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    /// The collection, by the name that it had then.
    #[arg(value_name = "COLLECTION", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) collection: String,

    /// The earlier instant (RFC 3339, like 2026-11-21T10:00:00Z): what had been seen in the logs by then does not count.
    #[arg(long, value_name = "INSTANT")]
    pub(crate) from: Timestamp,

    /// The later instant: what had been seen by then counts.
    #[arg(long, value_name = "INSTANT")]
    pub(crate) to: Timestamp,

    /// How many ids of points are named that were put, changed, or removed. The rest is counted.
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) ids: u32,
}
