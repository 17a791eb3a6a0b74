//! Following the write-ahead logs of the node's shards.
//!
//! [`LogFolder`] gives a [`holdfast_wal::Tail`] what it asks for. Sending what comes out of it to the coordinator is not built
//! yet (docs/rfcs/0002).

mod log_folder;

pub use log_folder::LogFolder;
