//! Extras: files beside Qdrant's own that a node's agent captures with the same recovery point.

use super::{NodeEntry, StoredRecipe};
use holdfast_types::{ChunkId, ExtraName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// One extra of a node: what was captured of it, or why nothing was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExtraEntry {
    /// Its name in the agent's configuration.
    pub name: ExtraName,
    /// Whether it is Qdrant's own configuration.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub config: bool,
    /// Its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured: Option<CapturedExtra>,
    /// Why it has no files in this point, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// The captured files of an extra.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedExtra {
    /// When its files began to be read, its hook being through.
    pub captured_at: Timestamp,
    /// The chunks that make up its encoded [`crate::ShardRecipe`], in order.
    pub recipe: Vec<ChunkId>,
    /// Length of the encoded recipe in bytes.
    pub recipe_len: u64,
    /// BLAKE3 of the encoded recipe, 64 hexadecimal digits.
    pub recipe_hash: String,
    /// Number of files; directories and links don't count.
    pub files: u32,
    /// Sum of the files' sizes in bytes.
    pub bytes: u64,
    /// What went wrong and did not matter, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl CapturedExtra {
    /// Where its recipe stands.
    #[must_use]
    pub fn stored_recipe(&self) -> StoredRecipe<'_> {
        StoredRecipe::new(&self.recipe, self.recipe_len, &self.recipe_hash)
    }
}

/// The rules of a node's extras; the error names the first that is broken.
pub(super) fn check(node: &NodeEntry) -> Result<(), String> {
    let mut names = HashSet::new();
    for extra in &node.extras {
        let bad = |why: &str| Err(format!("extra {} of node {}: {why}", extra.name, node.node));
        if !names.insert(&extra.name) {
            return bad("it is listed twice");
        }
        match (&extra.captured, &extra.missing) {
            (Some(captured), None) => captured.stored_recipe().check().or_else(bad)?,
            (None, Some(_)) => {}
            (Some(_), Some(_)) | (None, None) => {
                return bad("it must be either captured or missing");
            }
        }
    }
    Ok(())
}
