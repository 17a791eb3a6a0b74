//! Reading a full shard snapshot, streamed or stored, into one normal form.
//!
//! Normal form: the shard's own directory layout, `segments/{uuid}/…`, `wal/closed-{n}`,
//! `replica_state.json`, `shard_config.json` and, if there are any, `newest_clocks.json` and
//! `oldest_clocks.json`. What differs between two captures of an equal state is taken out: the
//! nesting of segments, and the random seed in the header of the empty write-ahead log, which only its
//! name gives a meaning to. A partial snapshot's segment manifests are checked, then left out.

mod collection;
mod contents;
mod error;
mod layout;
mod read;
mod sink;
mod wal;

pub use collection::{CollectionContents, inspect_collection_snapshot, shard_of_collection};
pub use contents::{PartialShard, SegmentContents, ShardContents};
pub use error::{ReadError, SnapshotError};
pub use read::{read_partial_shard, read_shard_snapshot, read_shard_stream, read_stored_shard};
pub use sink::FileSink;

pub(crate) use layout::{is_safe_path, is_segment_id};
