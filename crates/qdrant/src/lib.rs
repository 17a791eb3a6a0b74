//! Talking to a Qdrant server, and reading and writing its shard snapshots.
//!
//! Three parts: a REST client ([`QdrantClient`]) with one error taxonomy ([`QdrantError`]); readers
//! that reduce both kinds of full shard snapshot (streamed and stored) to one set of files
//! ([`read_shard_snapshot`], [`FileSink`]) and refuse whatever is not provably complete; and the
//! composer of a clean archive that the server's shard or collection upload accepts ([`ComposedArchive`]).
//!
//! What it deliberately does not do: decide what to capture or restore, chunk or store anything,
//! retry, or touch the server's storage directory. The write-ahead log's entries are not read here.

mod client;
mod collection_files;
mod compose;
mod error;
#[cfg(test)]
mod fixture;
mod info;
mod inventory;
mod mapping;
mod shard_manifest;
mod snapshot;
mod stored;
mod tar;

pub use client::{
    ChangeAnswer, Listed, Optimization, OptimizationLog, QdrantClient, QdrantConfig, SearchCounts,
    Searches, SnapshotStream, Timeouts,
};
pub use collection_files::{CollectionFile, collection_files, has_shard_keys};
pub use compose::{ArchiveFile, ArchiveWriter, ComposeError, ComposedArchive};
pub use error::QdrantError;
pub use info::{
    ClusterState, CollectionCluster, CollectionInfo, CollectionStatus, LocalShard, RemoteShard,
    ServerInfo, ShardTransfer, SnapshotDescription,
};
pub use inventory::{CollectionInventory, NodeInventory, inventory};
pub use mapping::{
    MappingError, PayloadIndex, config_differences, create_request, fan_out_update, payload_indexes,
};
pub use secrecy::SecretString;
pub use shard_manifest::{SegmentManifest, ShardManifest};
pub use snapshot::{
    CollectionContents, FileSink, PartialShard, ReadError, SegmentContents, ShardContents,
    SnapshotError, inspect_collection_snapshot, read_partial_shard, read_shard_snapshot,
    read_shard_stream, read_stored_shard, shard_of_collection,
};
pub use stored::{ChecksumReader, stored_snapshot_path};
pub use url::Url;
