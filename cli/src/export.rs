//! Recovery points as plain Qdrant snapshot files: where the data comes from, how a file is written, how it is loaded.
//!
//! Nothing here needs Holdfast afterwards: that is the point. What is exported is proven chunk by chunk; that a
//! server takes it in is proven by tests on a real one.

mod curl;
mod origin;
mod target;
mod write;

pub(crate) use curl::load_command;
pub(crate) use origin::Origin;
pub(crate) use target::Target;
pub(crate) use write::{Piece, write};
