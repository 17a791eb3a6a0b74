//! Every recipe that a point names, whatever it is of.
//!
//! Whoever marks, copies, locks or checks what a point needs goes by [`Manifest::recipes`] and by nothing else: so nobody
//! forgets a kind of recipe, and a kind that is added later is theirs without a change.

use super::{CollectionEntry, ExtraEntry, Manifest, NodeEntry, ShardEntry};
use holdfast_types::ChunkId;
use std::fmt;

/// An encoded [`crate::ShardRecipe`], as a manifest names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRecipe<'a> {
    /// The chunks that make it up, in order.
    pub chunks: &'a [ChunkId],
    /// Its length in bytes.
    pub len: u64,
    hash: &'a str,
}

/// What a recipe is of.
#[derive(Clone, Copy, Debug)]
pub enum RecipeOwner<'a> {
    /// A shard of a collection.
    Shard(&'a CollectionEntry, &'a ShardEntry),
    /// An extra of a node.
    Extra(&'a NodeEntry, &'a ExtraEntry),
}

impl<'a> StoredRecipe<'a> {
    pub(super) fn new(chunks: &'a [ChunkId], len: u64, hash: &'a str) -> Self {
        Self { chunks, len, hash }
    }

    /// Its BLAKE3; `None` if the manifest's text is not one.
    #[must_use]
    pub fn digest(&self) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        hex::decode_to_slice(self.hash, &mut digest).ok()?;
        Some(digest)
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.chunks.is_empty() || self.len == 0 {
            return Err("it has no recipe");
        }
        if self.digest().is_none() {
            return Err("its recipe hash is not 64 hexadecimal digits");
        }
        Ok(())
    }
}

impl Manifest {
    /// Every recipe, with what it is of: shards first, in the order of the manifest.
    pub fn recipes(&self) -> impl Iterator<Item = (RecipeOwner<'_>, StoredRecipe<'_>)> {
        let shards = self.shards().map(|(collection, shard)| {
            let owner = RecipeOwner::Shard(collection, shard);
            (owner, shard.stored_recipe())
        });
        let nodes = self.nodes.iter();
        let extras = nodes.flat_map(|node| node.extras.iter().map(move |extra| (node, extra)));
        shards.chain(extras.filter_map(|(node, extra)| {
            let captured = extra.captured.as_ref()?;
            Some((RecipeOwner::Extra(node, extra), captured.stored_recipe()))
        }))
    }
}

impl fmt::Display for RecipeOwner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shard(collection, shard) => {
                write!(f, "shard {} of {}", shard.shard_id, collection.name)
            }
            Self::Extra(node, extra) => write!(f, "extra {} of node {}", extra.name, node.node),
        }
    }
}
