//! What may be read of a recovery point, and what that is made of.

use crate::export::Reading;
use holdfast_archive::{CapturedExtra, CollectionEntry, Manifest, StoredRecipe};
use holdfast_decide::instant::ShardLog;
use holdfast_types::{ChunkId, CopyName, ExtraName, NodeId, ShardId};
use std::sync::Arc;

/// What a restore command, or a ticket, may read.
#[derive(Debug)]
pub struct RestoreGrant {
    /// Which copy it is read from; `None` means the repository itself.
    pub from_copy: Option<CopyName>,
    /// The recovery point.
    pub manifest: Arc<Manifest>,
    /// What of it.
    pub what: Readable,
    /// Entries of logs that it may read, at most one stretch for each shard.
    pub logs: Vec<ShardLog>,
    /// Set where what is read belongs to an export.
    pub reading: Option<Arc<Reading>>,
    /// Chunks that its recipes name, sorted, filled when first needed.
    pub chunks: tokio::sync::OnceCell<Vec<ChunkId>>,
}

/// A part of a recovery point that can be read by itself.
#[derive(Clone, Debug)]
pub enum Readable {
    /// A collection, as in the manifest.
    Collection(CollectionEntry),
    /// An extra of a node.
    Extra {
        /// The node.
        node: NodeId,
        /// Its name there.
        name: ExtraName,
        /// Its files.
        extra: CapturedExtra,
    },
}

impl RestoreGrant {
    /// The collection that it is for.
    #[must_use]
    pub fn collection(&self) -> Option<&CollectionEntry> {
        match &self.what {
            Readable::Collection(entry) => Some(entry),
            Readable::Extra { .. } => None,
        }
    }

    /// The recipes that it allows, each with what it is of.
    #[must_use]
    pub fn recipes(&self) -> Vec<(String, StoredRecipe<'_>)> {
        match &self.what {
            Readable::Collection(entry) => {
                let shards = entry.shards.iter();
                let name = &entry.name;
                shards
                    .map(|s| (format!("shard {} of {name}", s.shard_id), s.stored_recipe()))
                    .collect()
            }
            Readable::Extra { node, name, extra } => {
                vec![(
                    format!("extra {name} of node {node}"),
                    extra.stored_recipe(),
                )]
            }
        }
    }

    /// The recipe of this shard; an extra has one only, whatever shard is asked for.
    #[must_use]
    pub fn recipe(&self, wanted: ShardId) -> Option<(String, StoredRecipe<'_>)> {
        let recipes = self.recipes().into_iter();
        match &self.what {
            Readable::Collection(entry) => {
                let mut found = entry.shards.iter().zip(recipes);
                found
                    .find(|(shard, _)| shard.shard_id == wanted)
                    .map(|(_, recipe)| recipe)
            }
            Readable::Extra { .. } => recipes.last(),
        }
    }
}
