//! Why bytes are not a whole tar archive.

use std::io;

/// An archive that can't be read to its proper end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TarError {
    /// The bytes stop inside something.
    #[error("the archive is cut off inside {inside}")]
    Cut {
        /// What the reader was in the middle of.
        inside: String,
    },
    /// The bytes stop between two entries: a tar tool would call that archive complete.
    #[error("the archive ends without its trailer, after {after}")]
    NoTrailer {
        /// The last whole entry.
        after: String,
    },
    /// Bytes that break the format.
    #[error("the archive is malformed: {0}")]
    Malformed(String),
    /// A link, device or other entry that no snapshot contains.
    #[error("the archive contains {path:?} of forbidden type {kind:?}")]
    Forbidden {
        /// Path of the entry.
        path: String,
        /// Its type flag.
        kind: char,
    },
    /// The source of the bytes failed.
    #[error("reading the archive failed")]
    Read(#[source] io::Error),
}

impl TarError {
    /// A read error while `inside`; an early end of the source is a cut.
    pub(crate) fn from_read(error: io::Error, inside: &str) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Cut {
                inside: inside.to_owned(),
            }
        } else {
            Self::Read(error)
        }
    }

    /// Malformed for the reason given.
    pub(crate) fn malformed(why: impl Into<String>) -> Self {
        Self::Malformed(why.into())
    }
}
