//! What can go wrong with a shard, split by what a caller can do about it.

use qdrant_edge::OperationError;
use std::path::PathBuf;

/// An operation on a shard that failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The request is wrong and repeating it is pointless: unknown vector, wrong dimension, missing index.
    #[error("{0}")]
    Rejected(String),
    /// The engine failed: damaged files, no space, out of memory.
    #[error("{0}")]
    Failed(String),
    /// A file of the shard could not be read or written.
    #[error("shard directory")]
    Io(#[from] std::io::Error),
    /// An entry of the write-ahead log is not an operation that this engine knows.
    #[error("write-ahead log entry {index} is unreadable: {reason}")]
    WalEntry {
        /// Index of the entry.
        index: u64,
        /// What the decoder said.
        reason: String,
    },
    /// A file of the write-ahead log does not begin as one.
    #[error("{} is not a write-ahead log file", path.display())]
    WalFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: holdfast_wal::format::HeaderError,
    },
    /// The engine hit an internal assertion; the shard must be opened again.
    #[error("engine panicked while {0}")]
    Panicked(&'static str),
}

impl EngineError {
    /// True if the caller's request is at fault, not the shard.
    #[must_use]
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }
}

impl From<OperationError> for EngineError {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::WrongVectorDimension { .. }
            | OperationError::VectorNameNotExists { .. }
            | OperationError::PointIdError { .. }
            | OperationError::TypeError { .. }
            | OperationError::TypeInferenceError { .. }
            | OperationError::ValidationError { .. }
            | OperationError::WrongSparse
            | OperationError::WrongMulti
            | OperationError::MissingRangeIndexForOrderBy { .. }
            | OperationError::MissingMapIndexForFacet { .. }
            | OperationError::VariableTypeError { .. }
            | OperationError::NonFiniteNumber { .. } => Self::Rejected(error.to_string()),
            OperationError::ServiceError { .. }
            | OperationError::InconsistentStorage { .. }
            | OperationError::OutOfMemory { .. }
            | OperationError::Cancelled { .. }
            | OperationError::Timeout { .. } => Self::Failed(error.to_string()),
        }
    }
}
