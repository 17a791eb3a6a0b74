//! The way of captured data into the repository: sessions, verification of chunks, commits.
//!
//! Nothing that an agent sends is believed: chunks are decoded and hashed again, recipes are decoded and
//! every chunk they name must be there. Memory is bounded by the number of batches in verification.

pub mod commit;
pub mod commit_extra;
pub mod imports;
pub mod put;
pub mod session;
mod verify;
