//! Tar, as far as Qdrant's snapshots need it.
//!
//! Reads ustar, GNU long names, GNU sparse entries (the old `S` header and the three PAX forms)
//! and PAX paths and sizes, and writes GNU headers. It refuses links, devices and everything that is not a
//! file or a directory, and it refuses an archive without its trailer: Qdrant ends a stream that
//! failed as if it had succeeded, so only the trailer shows that an archive is whole.

mod error;
mod header;
mod pax;
mod reader;
mod sparse;
mod write;

pub(crate) use error::TarError;
pub(crate) use reader::{Entry, EntryKind, Piece, TarReader};
pub(crate) use sparse::Region;
pub(crate) use write::{BLOCK, TRAILER_LEN, header_blocks, padding};
