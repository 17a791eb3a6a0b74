//! The tail against a model of Qdrant's log that appends, rotates, truncates, rewinds and breaks while it is read.
#![expect(
    clippy::unwrap_used,
    reason = "a test file: a failed expectation is a failed test"
)]

mod arbitrary;
mod driver;
mod follow;
mod model;
mod scenes;
