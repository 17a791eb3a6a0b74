//! What a recipe does not say of an extra's files: modes, times, links, directories, and a hash of each file.
//!
//! The listing is a file of the recipe itself, `listing.json`; the contents stand beside it under `files/`, each by the path
//! that it had on the node without the leading slash (docs/format/extras.md). This module reads what a node wrote, and
//! refuses whatever could be written outside the directory that it is exported to. It writes nothing.

use crate::recipe::{FileRecipe, ShardRecipe};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Path of the listing in the recipe.
pub const LISTING_PATH: &str = "listing.json";
/// What the paths of contents begin with.
pub const FILES_PREFIX: &str = "files/";
/// The newest listing that this program reads, and the one that it writes.
pub const LISTING_FORMAT: u32 = 1;
/// Most bytes of a listing.
pub const MAX_LISTING_BYTES: u64 = 64 << 20;
/// Most entries of a listing.
pub const MAX_ENTRIES: usize = 100_000;
/// The bits of a mode that are kept: permissions, set-id and sticky.
pub const MODE_BITS: u32 = 0o7777;

/// The files of one extra.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraListing {
    /// [`LISTING_FORMAT`] of the writer.
    pub format: u32,
    /// Strictly ascending by path, compared as bytes.
    pub entries: Vec<ListedEntry>,
}

/// A file, a directory or a symbolic link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedEntry {
    /// Its path on the node, without the leading slash.
    pub path: String,
    /// Permissions and the like: [`MODE_BITS`]; 0 for a link.
    #[serde(default)]
    pub mode: u32,
    /// When it was changed last, in microseconds since the Unix epoch; 0 for a link.
    #[serde(default)]
    pub mtime_us: i64,
    /// What it is.
    #[serde(flatten)]
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum EntryKind {
    /// A file, whose content the recipe has.
    File {
        /// Its size in bytes.
        size: u64,
        /// BLAKE3 of its content, 64 hexadecimal digits.
        blake3: String,
    },
    /// A directory.
    Directory,
    /// A symbolic link, which was not followed.
    Link {
        /// Where it points, as it stands in the link.
        target: String,
    },
}

/// Why a listing can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// Not the JSON of a listing.
    #[error("the listing of an extra is not valid")]
    Syntax(#[source] serde_json::Error),
    /// Written by a newer program.
    #[error("listing format {0} is newer than this program knows ({LISTING_FORMAT})")]
    NewerFormat(u32),
    /// A path that must not be written to.
    #[error("the listing has the unsafe path {0:?}")]
    UnsafePath(String),
    /// A rule is broken.
    #[error("the listing is inconsistent at {path:?}: {rule}")]
    Inconsistent {
        /// Where.
        path: String,
        /// The rule.
        rule: &'static str,
    },
}

impl ExtraListing {
    /// A listing of these entries, in any order.
    #[must_use]
    pub fn new(mut entries: Vec<ListedEntry>) -> Self {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Self {
            format: LISTING_FORMAT,
            entries,
        }
    }

    /// The JSON form.
    ///
    /// # Errors
    /// What [`from_json`](Self::from_json) would refuse.
    pub fn to_json(&self) -> Result<Vec<u8>, ListingError> {
        self.check()?;
        serde_json::to_vec(self).map_err(ListingError::Syntax)
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// Anything but a listing of a known format of which every path is safe.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ListingError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(bytes).map_err(ListingError::Syntax)?;
        if format > LISTING_FORMAT {
            return Err(ListingError::NewerFormat(format));
        }
        let listing: Self = serde_json::from_slice(bytes).map_err(ListingError::Syntax)?;
        listing.check()?;
        Ok(listing)
    }

    /// The files, each with how it is rebuilt.
    ///
    /// # Errors
    /// [`ListingError::Inconsistent`] if the recipe is not of exactly these files.
    pub fn files<'a>(
        &'a self,
        recipe: &'a ShardRecipe,
    ) -> Result<Vec<(&'a ListedEntry, &'a FileRecipe)>, ListingError> {
        let mut contents = recipe.files.iter().filter(|f| f.path != LISTING_PATH);
        let mut files = Vec::new();
        for entry in &self.entries {
            let EntryKind::File { size, .. } = &entry.kind else {
                continue;
            };
            let found = contents.next().filter(|content| {
                content.path.strip_prefix(FILES_PREFIX) == Some(entry.path.as_str())
            });
            let content = found.ok_or_else(|| inconsistent(&entry.path, "it has no content"))?;
            if content.size != *size {
                return Err(inconsistent(&entry.path, "its content has another size"));
            }
            files.push((entry, content));
        }
        match contents.next() {
            Some(more) => Err(inconsistent(&more.path, "it is not listed")),
            None => Ok(files),
        }
    }

    fn check(&self) -> Result<(), ListingError> {
        if self.format == 0 || self.entries.len() > MAX_ENTRIES {
            return Err(inconsistent("", "an unknown format, or too many entries"));
        }
        let mut no_directory = HashSet::new();
        let mut before: Option<&str> = None;
        for entry in &self.entries {
            let path = entry.path.as_str();
            if !is_safe(path) {
                return Err(ListingError::UnsafePath(path.to_owned()));
            }
            if before.is_some_and(|before| before >= path) {
                return Err(inconsistent(path, "it is not sorted"));
            }
            before = Some(path);
            if entry.mode & !MODE_BITS != 0 {
                return Err(inconsistent(path, "it has no such mode"));
            }
            entry
                .kind
                .check()
                .map_err(|rule| inconsistent(path, rule))?;
            if !matches!(entry.kind, EntryKind::Directory) {
                no_directory.insert(path);
            }
        }
        // Nothing may be written through a link, and nothing into a file.
        for entry in &self.entries {
            let above = entry.path.match_indices('/');
            if above
                .clone()
                .any(|(at, _)| no_directory.contains(&entry.path[..at]))
            {
                return Err(inconsistent(
                    &entry.path,
                    "it lies in something that is no directory",
                ));
            }
        }
        Ok(())
    }
}

impl EntryKind {
    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::File { blake3, .. } => {
                let mut digest = [0; 32];
                let parsed = hex::decode_to_slice(blake3, &mut digest);
                parsed.map_err(|_| "its hash is not 64 hexadecimal digits")
            }
            Self::Directory => Ok(()),
            Self::Link { target } if target.is_empty() || target.contains('\0') => {
                Err("its link points nowhere")
            }
            Self::Link { .. } => Ok(()),
        }
    }
}

/// Whether a path stays inside the directory that it is joined to, as recipes have it too.
#[must_use]
pub fn is_safe(path: &str) -> bool {
    path.len() + FILES_PREFIX.len() <= crate::recipe::MAX_PATH_BYTES
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

fn inconsistent(path: &str, rule: &'static str) -> ListingError {
    ListingError::Inconsistent {
        path: path.to_owned(),
        rule,
    }
}

#[cfg(test)]
mod tests;
