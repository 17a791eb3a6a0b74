//! Recovery points as plain Qdrant snapshot files: where the data comes from, how a file is written, how it is loaded. And
//! the extra files beside them, as they were.
//!
//! Nothing here needs Holdfast afterwards: that is the point. What is exported is proven chunk by chunk; that a
//! server takes it in is proven by tests on a real one.

mod curl;
mod extra;
mod extra_dir;
mod origin;
mod target;
mod write;

pub(crate) use curl::load_command;
pub(crate) use extra::{HeldExtra, list as list_extra, write as write_extra};
pub(crate) use extra_dir::ExtraDir;
pub(crate) use origin::Origin;
pub(crate) use target::Target;
pub(crate) use write::{Piece, write};
