//! What is wrong with an object of the repository.

use holdfast_archive::repository_file::RepositoryFileError;
use holdfast_archive::{
    CodecError, IndexError, KekError, ManifestError, PackError, RecipeError, SealedError,
    WalObjectError,
};
use holdfast_store::StoreError;
use std::fmt;
use std::sync::Arc;

/// The way in which an object is damaged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Damage {
    /// It should be there and is not.
    #[error("it is missing")]
    Missing,
    /// It is shorter or longer than it was when written.
    #[error("it has {found} bytes, not {expected}")]
    Size {
        /// Bytes that were written.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// It is larger than anything that Holdfast writes, and was not read.
    #[error("it has {found} bytes, more than any object of Holdfast")]
    TooLarge {
        /// Bytes that are there.
        found: u64,
    },
    /// Its bytes do not hash to its name.
    #[error("its bytes do not hash to its name")]
    Hash,
    /// It differs from its second copy, which is authentic.
    #[error("it contradicts its copy")]
    Contradiction,
    /// As an earlier check found it.
    #[error("{0}")]
    Known(String),
    /// The pack can't be read.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The sealed object can't be opened.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The index makes no sense.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The manifest makes no sense.
    #[error(transparent)]
    Manifest(Arc<ManifestError>),
    /// It is sound, and belongs under another name.
    #[error("it names another object")]
    Misplaced,
    /// The recipe makes no sense.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The archived log makes no sense, or does not go on where the part before it ends.
    #[error(transparent)]
    Wal(#[from] WalObjectError),
    /// A chunk does not decode.
    #[error(transparent)]
    Chunk(#[from] CodecError),
    /// The key file of another holder stands under this name.
    #[error("it is the key of another holder")]
    OtherHolder,
    /// A rotation of the master key died before it removed this key file.
    #[error(
        "it wraps a superseded master key: `holdfast key rotate-master` ends what left it behind"
    )]
    Superseded,
    /// The master key was rotated, and the key given opens only older ones.
    #[error("it wraps a newer master key, which the key given does not open")]
    NewerMaster,
    /// The key file makes no sense.
    #[error(transparent)]
    Key(#[from] KekError),
    /// The description of the repository makes no sense.
    #[error(transparent)]
    Description(Arc<RepositoryFileError>),
    /// The content of a tombstone, hold or pin makes no sense.
    #[error("its content makes no sense")]
    Note(#[source] Arc<serde_json::Error>),
}

impl Damage {
    /// The format number, if the object is not damaged but written by a newer program. A pack's
    /// number is not authentic, and a newer pack would stand in a repository of a newer format.
    pub(crate) fn newer_format(&self) -> Option<u32> {
        match self {
            Self::Sealed(SealedError::NewerFormat(format))
            | Self::Index(IndexError::NewerFormat(format))
            | Self::Recipe(RecipeError::NewerFormat(format))
            | Self::Wal(WalObjectError::NewerFormat(format)) => Some(u32::from(*format)),
            Self::Key(KekError::NewerFormat(format)) => Some(*format),
            Self::Manifest(error) => match **error {
                ManifestError::NewerFormat(format) => Some(format),
                ManifestError::Syntax(_) | ManifestError::Inconsistent(_) => None,
            },
            Self::Description(error) => match **error {
                RepositoryFileError::NewerFormat(format) => Some(format),
                RepositoryFileError::Foreign | RepositoryFileError::Damaged(_) => None,
            },
            Self::Missing
            | Self::Size { .. }
            | Self::TooLarge { .. }
            | Self::Hash
            | Self::Misplaced
            | Self::Contradiction
            | Self::Known(_)
            | Self::OtherHolder
            | Self::Superseded
            | Self::NewerMaster
            | Self::Pack(_)
            | Self::Sealed(_)
            | Self::Index(_)
            | Self::Recipe(_)
            | Self::Wal(_)
            | Self::Chunk(_)
            | Self::Note(_)
            | Self::Key(_) => None,
        }
    }

    /// What a failed read of a whole object says of the object; an error if it says something of the
    /// store instead.
    pub(crate) fn of_read(error: StoreError) -> Result<Self, StoreError> {
        match error {
            StoreError::NotFound { .. } => Ok(Self::Missing),
            StoreError::TooLarge { size, .. } => Ok(Self::TooLarge { found: size }),
            other @ (StoreError::AlreadyExists { .. }
            | StoreError::OutOfRange { .. }
            | StoreError::NoSuchStore { .. }
            | StoreError::NoSpace { .. }
            | StoreError::ReadOnly { .. }
            | StoreError::Permission { .. }
            | StoreError::Io { .. }
            | StoreError::Unavailable { .. }) => Err(other),
        }
    }

    /// A description or key that can't be written as JSON.
    pub(crate) fn json(error: serde_json::Error) -> Self {
        RepositoryFileError::Damaged(error).into()
    }
}

impl From<serde_json::Error> for Damage {
    fn from(error: serde_json::Error) -> Self {
        Self::Note(Arc::new(error))
    }
}

impl From<ManifestError> for Damage {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(Arc::new(error))
    }
}

impl From<RepositoryFileError> for Damage {
    fn from(error: RepositoryFileError) -> Self {
        Self::Description(Arc::new(error))
    }
}

/// An object and what is wrong with it.
#[derive(Clone, Debug)]
pub struct DamagedObject {
    /// Its key in the store, or what it is (`chunk …`).
    pub object: String,
    /// What is wrong.
    pub damage: Damage,
}

impl fmt::Display for DamagedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.damage)
    }
}
