//! Qdrant's write-ahead log, sans IO: bytes and directory listings in, entries and events out.
//!
//! A shard's log is the folder `collections/<c>/<shard>/wal/`. [`format`] is what a file of it looks like, [`FileName`]
//! what the names mean, [`Tail`] follows a log that a server is writing to, [`splice`] makes a log that a server will
//! replay, and [`Operation`] says what kind of change an entry is. [`change`] reads an entry in full, [`replay`] says what to send to another
//! collection so that it has the same effect there, [`diff`] what happened between two places of a log.
//!
//! This crate opens nothing and locks nothing: the caller reads, and must never use Qdrant's own log library on a live
//! folder, since that opens files for writing, deletes some, and takes the server's lock.

mod cbor;
pub mod change;
pub mod diff;
mod entries;
pub mod format;
mod json;
mod name;
mod operation;
pub mod replay;
pub mod splice;
mod tail;

pub use entries::Entries;
pub use name::FileName;
pub use operation::{ClockTag, Operation, Scope};
pub use tail::{Cause, Event, FileId, Frame, Listed, Listing, Position, Tail, Want};
