//! `holdfast.json`: the one plain file of a repository, which says what the rest is.

use holdfast_types::{ClusterName, Timestamp};
use serde::{Deserialize, Serialize};

/// The repository format that this program writes and the newest it reads.
pub const REPOSITORY_FORMAT: u32 = 1;

/// The content of `holdfast.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryFile {
    /// Always `holdfast`: tells a foreign `holdfast.json` from ours.
    pub repository: String,
    /// [`REPOSITORY_FORMAT`] of the newest object it may contain.
    pub format: u32,
    /// Random identity, 32 hexadecimal digits: two copies of one repository have the same.
    pub id: String,
    /// The deployment it was made for.
    pub cluster: ClusterName,
    /// When it was made.
    pub created: Timestamp,
    /// Program and version that made it.
    pub program: String,
}

/// Why `holdfast.json` can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryFileError {
    /// It is not a repository's description.
    #[error("holdfast.json does not describe a Holdfast repository")]
    Foreign,
    /// It is not valid JSON, or fields are missing.
    #[error("holdfast.json is damaged")]
    Damaged(#[source] serde_json::Error),
    /// Written by a newer program.
    #[error("repository format {0} is newer than this program knows ({REPOSITORY_FORMAT})")]
    NewerFormat(u32),
}

impl RepositoryFile {
    /// Describes a new repository. `id` is random.
    #[must_use]
    pub fn new(id: [u8; 16], cluster: ClusterName, created: Timestamp, program: String) -> Self {
        Self {
            repository: "holdfast".to_owned(),
            format: REPOSITORY_FORMAT,
            id: hex::encode(id),
            cluster,
            created,
            program,
        }
    }

    /// The file's content: readable JSON and a newline.
    ///
    /// # Errors
    /// Never for values of this type; the signature leaves the decision to the caller.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads the file's content.
    ///
    /// # Errors
    /// Foreign, newer or damaged content.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RepositoryFileError> {
        #[derive(Deserialize)]
        struct Mark {
            repository: Option<String>,
            format: Option<u32>,
        }
        let mark: Mark = serde_json::from_slice(bytes).map_err(RepositoryFileError::Damaged)?;
        if mark.repository.as_deref() != Some("holdfast") {
            return Err(RepositoryFileError::Foreign);
        }
        match mark.format {
            Some(format) if format > REPOSITORY_FORMAT => {
                Err(RepositoryFileError::NewerFormat(format))
            }
            Some(_) | None => serde_json::from_slice(bytes).map_err(RepositoryFileError::Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{RepositoryFile, RepositoryFileError};
    use holdfast_types::Timestamp;

    #[test]
    fn round_trips() {
        let cluster = "demo".parse().unwrap();
        let program = "holdfast 0.1.0".to_owned();
        let file = RepositoryFile::new([1; 16], cluster, Timestamp::EPOCH, program);
        let json = file.to_json().unwrap();
        assert_eq!(RepositoryFile::from_json(&json).unwrap(), file);
    }

    #[test]
    fn tells_foreign_newer_and_damaged_apart() {
        let read = RepositoryFile::from_json;
        assert!(matches!(read(b"{}"), Err(RepositoryFileError::Foreign)));
        assert!(matches!(
            read(br#"{"repository":"other","format":1}"#),
            Err(RepositoryFileError::Foreign)
        ));
        assert!(matches!(
            read(br#"{"repository":"holdfast","format":2,"anything":[]}"#),
            Err(RepositoryFileError::NewerFormat(2))
        ));
        assert!(matches!(
            read(br#"{"repository":"holdfast","format":1}"#),
            Err(RepositoryFileError::Damaged(_))
        ));
        assert!(matches!(read(b"{"), Err(RepositoryFileError::Damaged(_))));
    }
}
