//! Why a snapshot can't be trusted.

use crate::tar::TarError;
use std::io;

/// A snapshot that is not provably a whole, full snapshot of one shard.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes end too early. A server that fails while it streams ends the stream as if all were well.
    #[error("the snapshot is truncated: {0}")]
    Truncated(String),
    /// The archive is whole, but something that belongs to every snapshot is not in it.
    #[error("the snapshot is incomplete: {0} is missing")]
    Incomplete(String),
    /// Only a part of the segment's files is in the archive: a partial snapshot.
    #[error("the snapshot is partial: {file:?} of segment {segment} is not in it")]
    Partial {
        /// The segment's id.
        segment: String,
        /// A file that its manifest names.
        file: String,
    },
    /// The snapshot of one shard, where one of a collection is asked for.
    #[error(
        "it is the snapshot of one shard, not of a collection: the collection's settings are not in it"
    )]
    OfShard,
    /// Bytes that no server writes.
    #[error("the snapshot is malformed: {0}")]
    Malformed(String),
    /// The source of the bytes failed.
    #[error("the snapshot could not be read to its end")]
    Read(#[source] io::Error),
}

impl SnapshotError {
    /// The failure code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Truncated(_) | Self::Incomplete(_) | Self::Partial { .. } | Self::Read(_) => {
                "snapshot-truncated"
            }
            Self::OfShard => "plan-blocked",
            Self::Malformed(_) => "qdrant-error",
        }
    }

    /// Whether another capture may well succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Truncated(_) | Self::Incomplete(_) | Self::Read(_) => true,
            Self::Partial { .. } | Self::OfShard | Self::Malformed(_) => false,
        }
    }
}

impl From<TarError> for SnapshotError {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Cut { .. } | TarError::NoTrailer { .. } => Self::Truncated(error.to_string()),
            TarError::Malformed(_) | TarError::Forbidden { .. } => {
                Self::Malformed(error.to_string())
            }
            TarError::Read(error) => Self::Read(error),
        }
    }
}

/// Reading stopped, because of the snapshot or because of the sink.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// The snapshot is at fault.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The sink refused to go on.
    #[error("the files of the snapshot could not be taken over")]
    Sink(#[source] E),
}

impl<E> From<TarError> for ReadError<E> {
    fn from(error: TarError) -> Self {
        Self::Snapshot(error.into())
    }
}
