//! What opening and listing found.

use crate::{DamagedObject, QuarantineRecord, RepositoryError};
use holdfast_archive::Manifest;
use holdfast_types::RecoveryPointId;

/// What opening a repository found.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// Objects that are damaged. Whatever does not need them works.
    pub damaged: Vec<DamagedObject>,
    /// Packs that no index named, as a crash leaves them. They count from now on, and the next flush
    /// writes them into an index.
    pub adopted_packs: usize,
    /// Packs that are known, missing ones included.
    pub packs: usize,
    /// Places of chunks in them.
    pub chunks: usize,
    /// What earlier checks found, and recorded.
    pub quarantine: Vec<QuarantineRecord>,
}

/// A recovery point as listed.
#[derive(Clone, Debug)]
pub struct PointListing {
    /// Its name.
    pub id: RecoveryPointId,
    /// Size in bytes of its manifest as stored.
    pub size: u64,
    /// The manifest, or why it can't be read.
    pub manifest: Result<Manifest, RepositoryError>,
}

/// The size of a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepositoryStats {
    /// Packs that are there.
    pub packs: u64,
    /// Their sizes together, in bytes.
    pub stored_bytes: u64,
    /// Chunks in all packs; one stored twice counts twice.
    pub chunks: u64,
    /// Packs that are missing or have the wrong size.
    pub damaged_packs: u64,
}
