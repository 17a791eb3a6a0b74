//! What a check found.

use super::options::VerifyLevel;
use crate::quarantine::QuarantineRecord;
use crate::{Damage, DamagedObject, RepositoryError};
use holdfast_types::{ChunkId, CollectionName, ExtraName, NodeId, RecoveryPointId, ShardId};
use std::collections::{BTreeSet, HashSet};

/// What a check found.
#[derive(Clone, Debug)]
pub struct VerifyReport {
    /// How thoroughly it looked.
    pub level: VerifyLevel,
    /// Packs that are known, missing ones included. The size of each was checked.
    pub packs: u64,
    /// Packs of which every byte was read; 0 for a quick check.
    pub packs_read: u64,
    /// Chunks that were opened and hashed; 0 for a quick check.
    pub chunks: u64,
    /// Of them, chunks whose seal is good and whose name no known namespace explains; no readable point
    /// names them. They no longer count as present.
    pub unexplained: u64,
    /// Packs that are there and that no index names: a writer is at work or has died, or an index is lost. Nothing is missing, but every
    /// open reads their footers.
    pub unindexed: u64,
    /// Recovery points that were checked.
    pub points: u64,
    /// Bytes of packs that were read; 0 for a quick check.
    pub bytes_read: u64,
    /// Objects that are damaged.
    pub damaged: Vec<DamagedObject>,
    /// Names of damaged packs of which nothing that is bad is needed: it stands elsewhere, too, or no
    /// point names it. They heal nothing and harm nothing.
    pub superseded: BTreeSet<String>,
    /// Recovery points that can't be restored in full.
    pub affected: Vec<AffectedPoint>,
    /// Chunks that points name and that can't be read.
    pub missing: HashSet<ChunkId>,
    /// Every record of quarantine, as it stands after this check.
    pub quarantine: Vec<QuarantineRecord>,
    /// Whether the records were written.
    pub recording: Recording,
}

/// What became of the records of quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recording {
    /// They are written; this many had changed.
    Written(usize),
    /// Nothing was to be written.
    ReadOnly,
    /// They could not be written, for this reason.
    Failed(String),
}

impl VerifyReport {
    pub(super) fn new(level: VerifyLevel) -> Self {
        Self {
            level,
            packs: 0,
            packs_read: 0,
            chunks: 0,
            unexplained: 0,
            unindexed: 0,
            points: 0,
            bytes_read: 0,
            damaged: Vec::new(),
            superseded: BTreeSet::new(),
            affected: Vec::new(),
            missing: HashSet::new(),
            quarantine: Vec::new(),
            recording: Recording::ReadOnly,
        }
    }

    /// Whether nothing at all was found.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.affected.is_empty()
    }

    /// Whether somebody should do something: a point is affected, or an object is damaged that is not
    /// superseded.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        !self.affected.is_empty() || self.open().next().is_some()
    }

    /// Damaged objects that are not superseded.
    pub fn open(&self) -> impl Iterator<Item = &DamagedObject> {
        let superseded = |found: &&DamagedObject| self.superseded.contains(&found.object);
        self.damaged.iter().filter(move |found| !superseded(found))
    }

    pub(crate) fn damage(&mut self, object: impl ToString, damage: Damage) {
        let object = object.to_string();
        if self.damaged.iter().all(|found| found.object != object) {
            self.damaged.push(DamagedObject { object, damage });
        }
    }
}

/// A recovery point that damage concerns.
#[derive(Clone, Debug)]
pub struct AffectedPoint {
    /// The point.
    pub id: RecoveryPointId,
    /// Set if the manifest itself can't be read.
    pub manifest: Option<RepositoryError>,
    /// Its shards that can't be restored in full; the others can.
    pub shards: Vec<AffectedShard>,
    /// Its extras that can't be exported in full.
    pub extras: Vec<AffectedExtra>,
}

impl AffectedPoint {
    /// Whether anything of it is lost.
    pub(super) fn is_concerned(&self) -> bool {
        self.manifest.is_some() || !self.shards.is_empty() || !self.extras.is_empty()
    }
}

/// A captured shard that damage concerns.
#[derive(Clone, Debug)]
pub struct AffectedShard {
    /// The collection.
    pub collection: CollectionName,
    /// The shard.
    pub shard: ShardId,
    /// Distinct chunks that are missing or damaged.
    pub missing_chunks: usize,
    /// Set if the recipe itself can't be read.
    pub recipe: Option<RepositoryError>,
}

/// A captured extra that damage concerns.
#[derive(Clone, Debug)]
pub struct AffectedExtra {
    /// The node.
    pub node: NodeId,
    /// Its name there.
    pub name: ExtraName,
    /// Distinct chunks that are missing or damaged.
    pub missing_chunks: usize,
    /// Set if the recipe itself can't be read.
    pub recipe: Option<RepositoryError>,
}
