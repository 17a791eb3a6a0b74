//! Checks what is stored, and says which recovery points damage concerns.
//!
//! Quick: every object is there with its size; every index, manifest and recipe opens; every chunk
//! that a point names is known. Full: also every pack hashes to its name, and every chunk opens, decodes
//! and hashes to its id. Nothing is changed in the store; what is found damaged is remembered, so that the
//! next capture stores it anew.

pub(crate) mod contents;
mod packs;
pub(crate) mod points;

use crate::catalog::PackState;
use crate::core_state::CoreState;
use crate::reader::Reader;
use crate::{Damage, DamagedObject, RepositoryError, layout, load};
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::RepositoryFile;
use holdfast_types::{CollectionName, RecoveryPointId, ShardId};
use std::sync::Arc;

/// Objects read at once.
const READS_AHEAD: usize = 4;

/// How thoroughly to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyLevel {
    /// Sizes and small objects: reads little.
    Quick,
    /// Every byte.
    Full,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Packs that were checked.
    pub packs: u64,
    /// Chunks that were opened and hashed; 0 for a quick check.
    pub chunks: u64,
    /// Recovery points that were checked.
    pub points: u64,
    /// Bytes of packs that were read; 0 for a quick check.
    pub bytes_read: u64,
    /// Objects that are damaged.
    pub damaged: Vec<DamagedObject>,
    /// Recovery points that can't be restored in full.
    pub affected: Vec<AffectedPoint>,
}

impl VerifyReport {
    /// Whether nothing at all was found.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.affected.is_empty()
    }

    fn damage(&mut self, object: impl ToString, damage: Damage) {
        let object = object.to_string();
        self.damaged.push(DamagedObject { object, damage });
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

pub(crate) async fn verify(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    description: &RepositoryFile,
    level: VerifyLevel,
) -> Result<VerifyReport, RepositoryError> {
    let mut report = VerifyReport::default();
    check_description(core, description, &mut report).await?;
    check_indexes(core, &mut report).await?;
    check_sizes(core, &mut report).await?;
    match level {
        VerifyLevel::Quick => {}
        VerifyLevel::Full => packs::check(core, description, &mut report).await?,
    }
    points::check(core, reader, &mut report).await?;
    Ok(report)
}

/// Both copies of description and key must be there; what they say was checked at the open.
async fn check_description(
    core: &CoreState,
    description: &RepositoryFile,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    let id = &description.id;
    let copies = [layout::master_key(id), layout::master_key_copy(id)];
    let [plain_key, sealed_key] = [layout::description(), layout::description_copy(id)];
    let [main, copy] = copies.clone();
    let (main, copy) = (core.store.get(&main).await, core.store.get(&copy).await);
    let differ = matches!((&main, &copy), (Ok(main), Ok(copy)) if main != copy);
    if differ {
        report.damage(&copies[1], Damage::Contradiction);
    }
    let plain = core.store.get(&plain_key).await;
    if let Ok(bytes) = &plain {
        let sound = RepositoryFile::from_json(bytes).is_ok_and(|file| file == *description);
        if !sound {
            report.damage(&plain_key, Damage::Contradiction);
        }
    }
    let sealed = core.store.get(&sealed_key).await;
    if let Ok(bytes) = &sealed
        && let Err(error) = holdfast_archive::sealed::verify_checksum(bytes)
    {
        report.damage(&sealed_key, error.into());
    }
    let keys = copies.into_iter().chain([plain_key, sealed_key]);
    for (key, read) in keys.zip([main, copy, plain, sealed]) {
        match read {
            Ok(_) => {}
            Err(error) => report.damage(key, Damage::of_read(error)?),
        }
    }
    Ok(())
}

async fn check_indexes(
    core: &Arc<CoreState>,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    let listed = core.store.list(&layout::indexes()).await?;
    let mut reads = stream::iter(listed)
        .map(|found| load::read_index(&core.store, &core.master, found.key))
        .buffer_unordered(READS_AHEAD);
    while let Some((key, outcome)) = reads.try_next().await? {
        if let Err(damage) = outcome {
            report.damage(key, damage);
        }
    }
    Ok(())
}

async fn check_sizes(core: &CoreState, report: &mut VerifyReport) -> Result<(), RepositoryError> {
    core.compare_packs().await?;
    let catalog = core.catalog();
    for (_, pack) in catalog.packs() {
        report.packs += 1;
        match pack.state {
            PackState::Sound | PackState::Removed => {}
            PackState::Missing => report.damage(layout::pack(&pack.id), Damage::Missing),
            PackState::WrongSize { found } => {
                let expected = pack.size;
                report.damage(layout::pack(&pack.id), Damage::Size { expected, found });
            }
        }
    }
    Ok(())
}
