//! A single Qdrant-compatible node on the embedded engine, for demonstrations and tests.
//!
//! It speaks the part of Qdrant's REST and gRPC interfaces that Holdfast and an ordinary client use, keeps Qdrant's
//! layout on disk, and writes and reads Qdrant's shard snapshots. It is no replacement for a server: one node, one
//! shard a collection, no cluster, no strict mode, no inference. README.md lists every difference.

mod aliases;
pub mod answer;
pub mod collection;
pub mod error;
pub mod grpc;
pub mod node;
pub mod request;
pub mod rest;
pub mod serve;
pub mod settings;
pub mod snapshot;

pub use error::NodeError;
pub use node::Node;
pub use settings::Settings;
