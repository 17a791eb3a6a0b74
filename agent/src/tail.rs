//! Following the write-ahead logs of the node's shards, and sending what is found (docs/rfcs/0002).
//!
//! [`LogFolder`] gives a [`holdfast_wal::Tail`] what it asks for, a [`follower`] makes looks of what comes out, [`logs`] has one for each
//! log, and [`run`] sends and takes acknowledgements. Nothing is kept but which folder is which collection: what was not acknowledged is
//! read again, and if it is gone from the log, that is a gap, and said.

mod board;
#[cfg(test)]
mod fixture;
mod follower;
mod incarnations;
mod log_folder;
mod logs;
mod look;
mod run;
mod scan;
mod wire;

pub use board::{Board, Reading};
pub use log_folder::LogFolder;
pub use run::Following;
pub use scan::LogKey;
pub(crate) use scan::scan;
