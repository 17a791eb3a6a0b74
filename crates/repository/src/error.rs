//! What can go wrong with a repository, split by what a caller would do about it.

use crate::{Damage, KeyRefusal, RoleRefusal};
use holdfast_archive::KekError;
use holdfast_decide::{NotYet, Refused};
use holdfast_store::StoreError;
use holdfast_types::{ChunkId, Epoch, RecoveryPointId, Timestamp};

/// A failed operation on a repository. Cheap to clone: one failed pack may concern several captures.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The place is empty.
    #[error("there is no repository at {place}")]
    NotFound {
        /// The store, as it describes itself.
        place: String,
    },
    /// `init` found a repository.
    #[error("there is already a repository at {place}")]
    AlreadyExists {
        /// The store, as it describes itself.
        place: String,
    },
    /// The place holds other things.
    #[error("{place} holds something that is not a Holdfast repository")]
    Foreign {
        /// The store, as it describes itself.
        place: String,
    },
    /// A newer program wrote here.
    #[error("{object} was written by a newer version of Holdfast (format {format})")]
    NewerFormat {
        /// The object.
        object: String,
        /// Its format number.
        format: u32,
    },
    /// The key or passphrase does not unlock the repository.
    #[error("the repository at {place} can't be unlocked")]
    WrongKey {
        /// The store, as it describes itself.
        place: String,
        /// How the key does not fit.
        #[source]
        source: KekError,
    },
    /// A change of the keys was refused.
    #[error(transparent)]
    Keys(#[from] KeyRefusal),
    /// The store is not what it was taken for among the stores of its repository.
    #[error(transparent)]
    Role(#[from] RoleRefusal),
    /// Another process of this machine writes to the repository.
    #[error("the repository at {place} is in use by {holder}")]
    Locked {
        /// The store, as it describes itself.
        place: String,
        /// What the holder said of itself.
        holder: String,
    },
    /// A newer coordinator has taken over: stop writing.
    #[error("epoch {ours} has been superseded by epoch {newest}")]
    StaleEpoch {
        /// The epoch that was to be written under.
        ours: Epoch,
        /// The newest claimed one.
        newest: Epoch,
    },
    /// The repository that was opened is not at its place any more.
    #[error(
        "the repository is gone from {place}: the claim of its writer's epoch {ours} is not there"
    )]
    Vanished {
        /// The store, as it describes itself.
        place: String,
        /// The epoch that was claimed there.
        ours: Epoch,
    },
    /// An object is damaged; other objects are not concerned.
    #[error("{object} is damaged")]
    Damaged {
        /// Its key in the store, or what it is (`chunk …`).
        object: String,
        /// What is wrong with it.
        #[source]
        source: Damage,
    },
    /// No pack contains the chunk.
    #[error("chunk {id} is not in the repository")]
    ChunkMissing {
        /// The chunk.
        id: ChunkId,
    },
    /// There is no such recovery point.
    #[error("recovery point {id} does not exist")]
    PointNotFound {
        /// The point asked for.
        id: RecoveryPointId,
    },
    /// A recovery point of this name was committed before.
    #[error("recovery point {id} already exists")]
    PointExists {
        /// The point.
        id: RecoveryPointId,
    },
    /// The manifest names chunks that are not durable: it was not committed.
    #[error("recovery point {id} lacks {missing} chunks, the first being {first}")]
    Incomplete {
        /// The point.
        id: RecoveryPointId,
        /// Number of distinct chunks that are missing.
        missing: usize,
        /// One of them.
        first: ChunkId,
    },
    /// Nothing can be deleted while it is not known what a recovery point needs.
    #[error("which chunks recovery point {id} needs can't be read, so nothing is deleted")]
    Unaccounted {
        /// The point.
        id: RecoveryPointId,
        /// What can't be read.
        #[source]
        source: Box<RepositoryError>,
    },
    /// The point's objects are being deleted.
    #[error("recovery point {id} is gone")]
    PointGone {
        /// The point.
        id: RecoveryPointId,
        /// Why there is no way back.
        #[source]
        source: Refused,
    },
    /// The point must not be deleted now.
    #[error("recovery point {id} must not be deleted yet")]
    NotYet {
        /// The point.
        id: RecoveryPointId,
        /// What has to happen before.
        #[source]
        source: NotYet,
    },
    /// The store keeps everybody from removing the point.
    #[error("recovery point {id} is locked in its store until {until}")]
    PointLocked {
        /// The point.
        id: RecoveryPointId,
        /// When its lock ends.
        until: Timestamp,
    },
    /// Somebody wants the point kept.
    #[error("recovery point {id} is kept: {by}")]
    PointHeld {
        /// The point.
        id: RecoveryPointId,
        /// The pin or hold that keeps it.
        by: String,
    },
    /// What was handed over can't be stored: a fault of the caller.
    #[error("{what} can't be stored")]
    Invalid {
        /// What was handed over.
        what: String,
        /// Why it can't be stored.
        #[source]
        source: Damage,
    },
    /// The store failed.
    #[error("the repository's storage failed")]
    Store(#[source] StoreError),
    /// The operating system gave no random bytes, or the program is shutting down.
    #[error("the operation was given up: {reason}")]
    Aborted {
        /// Why.
        reason: String,
    },
}

impl RepositoryError {
    /// Whether the same operation may succeed a moment later without anybody doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::Foreign { .. }
            | Self::NewerFormat { .. }
            | Self::WrongKey { .. }
            | Self::Keys(_)
            | Self::Role(_)
            | Self::Locked { .. }
            | Self::StaleEpoch { .. }
            | Self::Vanished { .. }
            | Self::Damaged { .. }
            | Self::ChunkMissing { .. }
            | Self::PointNotFound { .. }
            | Self::PointExists { .. }
            | Self::Incomplete { .. }
            | Self::Unaccounted { .. }
            | Self::PointGone { .. }
            | Self::NotYet { .. }
            | Self::PointLocked { .. }
            | Self::PointHeld { .. }
            | Self::Invalid { .. }
            | Self::Aborted { .. } => false,
        }
    }

    /// What can't be stored because of a fault of the caller.
    pub(crate) fn invalid(what: impl ToString, source: impl Into<Damage>) -> Self {
        Self::Invalid {
            what: what.to_string(),
            source: source.into(),
        }
    }

    /// An object that is damaged, or that only a newer program can read.
    pub(crate) fn damaged(object: impl ToString, source: impl Into<Damage>) -> Self {
        let (object, source) = (object.to_string(), source.into());
        match source.newer_format() {
            Some(format) => Self::NewerFormat { object, format },
            None => Self::Damaged { object, source },
        }
    }
}

impl From<StoreError> for RepositoryError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
