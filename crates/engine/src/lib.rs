//! The only crate that links `qdrant-edge`: opens, changes, reads and packs one shard on disk.
//!
//! What it adds to the engine: an index for every operation, recovery of a write-ahead log after a crash, truncation of
//! that log behind a flush, and a frozen view whose files may be copied. It knows nothing of HTTP, gRPC, collections
//! or aliases, and it never opens a directory that another process serves: opening repairs in place.

mod error;
mod frozen;
pub mod model;
mod replay;
mod shard;
pub mod wal_dir;

pub use error::EngineError;
pub use frozen::{Frozen, SegmentFiles};
pub use shard::{Shard, unpack};
