//! What can go wrong with a store, split by what a caller would do about it.

use crate::{MAX_OBJECT_BYTES, ObjectKey};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A failed operation on a store. Cheap to clone, because one failed write may concern several
/// captures at once.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("object {key} does not exist")]
    NotFound {
        /// The object asked for.
        key: ObjectKey,
    },
    /// A conditional put found the key taken.
    #[error("object {key} already exists")]
    AlreadyExists {
        /// The key that was to be new.
        key: ObjectKey,
    },
    /// The object ends before the range asked for: it is shorter than its index says.
    #[error("object {key} has {size} bytes, too few for {len} bytes from offset {offset}")]
    OutOfRange {
        /// The object asked for.
        key: ObjectKey,
        /// First byte asked for.
        offset: u64,
        /// Number of bytes asked for.
        len: u64,
        /// Bytes that the object has.
        size: u64,
    },
    /// Nothing that Holdfast writes is that large: the object is damaged or somebody else's. Restore
    /// it from a copy, or remove it if it does not belong there.
    #[error(
        "object {key} has {size} bytes, and no object of Holdfast has more than {MAX_OBJECT_BYTES}"
    )]
    TooLarge {
        /// The object read or to be written.
        key: ObjectKey,
        /// Bytes that it has, or that were asked for.
        size: u64,
    },
    /// The folder or bucket that should hold the store does not exist, or the folder is none.
    #[error("{place} is not an existing directory or bucket")]
    NoSuchStore {
        /// Path or address of the store.
        place: String,
    },
    /// The disk, the quota or the bucket is full.
    #[error("no space left at {place}")]
    NoSpace {
        /// Path or key that was written.
        place: String,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The file system is mounted read-only.
    #[error("{place} is on a read-only file system")]
    ReadOnly {
        /// Path that was written.
        place: String,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The process may not read or write there.
    #[error("permission denied at {place}")]
    Permission {
        /// Path or key that was touched.
        place: String,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// Any other failure of the system.
    #[error("input or output failed at {place}")]
    Io {
        /// Path or key that was touched.
        place: String,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The store did not answer. The operation may or may not have taken effect.
    #[error("{store} is unavailable: {reason}")]
    Unavailable {
        /// The store, as it describes itself.
        store: String,
        /// Why, in a few words.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same operation may succeed a moment later without anybody doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::Interrupted
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::ResourceBusy
            ),
            Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::OutOfRange { .. }
            | Self::TooLarge { .. }
            | Self::NoSuchStore { .. }
            | Self::NoSpace { .. }
            | Self::ReadOnly { .. }
            | Self::Permission { .. } => false,
        }
    }

    /// What says that a store can neither lock objects nor move them, although somebody thought so.
    pub(crate) fn no_keeper(store: String) -> Self {
        let reason = "it can neither lock objects nor move them".to_owned();
        Self::Unavailable { store, reason }
    }

    /// An error if this many bytes of an object are more than may be in memory.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub fn check_size(key: &ObjectKey, size: u64) -> Result<(), Self> {
        if size <= MAX_OBJECT_BYTES {
            return Ok(());
        }
        let key = key.clone();
        Err(Self::TooLarge { key, size })
    }

    /// Sorts a system error at `path` by what a caller would do about it.
    pub(crate) fn from_io(path: &Path, error: io::Error) -> Self {
        let place = path.display().to_string();
        let kind = error.kind();
        let source = Arc::new(error);
        // The kinds that matter are listed; the rest of that open list is Io by intent.
        if matches!(
            kind,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            Self::NoSpace { place, source }
        } else if kind == io::ErrorKind::ReadOnlyFilesystem {
            Self::ReadOnly { place, source }
        } else if kind == io::ErrorKind::PermissionDenied {
            Self::Permission { place, source }
        } else {
            Self::Io { place, source }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StoreError;
    use rustix::io::Errno;
    use std::path::Path;

    fn sort(errno: Errno) -> StoreError {
        // Wrapped by fs-err as the disk store's errors are: the kind must survive.
        let plain = std::io::Error::from(errno);
        let wrapped = std::io::Error::new(plain.kind(), "failed to write to file `/r/packs/x`");
        StoreError::from_io(Path::new("/r/packs/x"), wrapped)
    }

    #[test]
    fn system_errors_are_sorted_by_what_to_do() {
        for full in [Errno::NOSPC, Errno::DQUOT] {
            assert!(matches!(sort(full), StoreError::NoSpace { .. }), "{full}");
        }
        assert!(matches!(sort(Errno::ROFS), StoreError::ReadOnly { .. }));
        for denied in [Errno::ACCESS, Errno::PERM] {
            assert!(matches!(sort(denied), StoreError::Permission { .. }));
        }
        assert!(matches!(sort(Errno::IO), StoreError::Io { .. }));
        assert!(!sort(Errno::IO).is_retryable());
        assert!(sort(Errno::INTR).is_retryable());
        assert!(!sort(Errno::NOSPC).is_retryable());
    }

    #[test]
    fn the_message_names_the_place_and_not_the_cause() {
        let error = sort(Errno::NOSPC);
        assert_eq!(error.to_string(), "no space left at /r/packs/x");
        assert!(std::error::Error::source(&error).is_some());
    }
}
