//! Why a change of the keys is refused.

use holdfast_archive::keyring::KeyringFull;
use holdfast_types::KeyHolder;

/// A change of the keys that would do harm, or makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// The name is another's.
    #[error("there is already a key of {holder}")]
    NameTaken {
        /// The name.
        holder: KeyHolder,
    },
    /// The KEK opens the repository already.
    #[error("this key opens the repository already, as that of {holder}")]
    KeyHeld {
        /// Whose it is.
        holder: KeyHolder,
    },
    /// There is no key of this holder.
    #[error("there is no key of {holder}")]
    NotFound {
        /// The name.
        holder: KeyHolder,
    },
    /// It is the only key that is proven to open the repository.
    #[error(
        "the key of {holder} is the one that opened the repository, the only one that is proven to be at hand"
    )]
    InUse {
        /// Whose it is.
        holder: KeyHolder,
    },
    /// Somebody removes the key that the repository was opened with.
    #[error("the key of {holder}, which opened the repository, is being removed by somebody else")]
    OwnRemoved {
        /// Whose it is.
        holder: KeyHolder,
    },
    /// The master key was rotated since the repository was opened.
    #[error("the master key has been rotated, and the key given does not open the new one")]
    Outdated,
    /// There are too many holders.
    #[error("a repository has at most {max} keys")]
    TooMany {
        /// Most that there may be.
        max: usize,
    },
    /// The store lost what was written.
    #[error("{object} was written and does not open")]
    NotWritten {
        /// The key file.
        object: String,
    },
    /// The master key was rotated too often.
    #[error(transparent)]
    Full(#[from] KeyringFull),
    /// The KEK is not the one that the repository was opened with.
    #[error("the key given is not the one that the repository was opened with")]
    OtherKey,
}
