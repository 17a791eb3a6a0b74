//! What stands in the store and nothing needs, or does not belong there. Reports only: packs are deleted by
//! the garbage collection, everything else by a person.

use crate::core_state::{CoreState, list_packs};
use crate::quarantine::{self, QuarantineState};
use crate::reader::Reader;
use crate::{RepositoryError, gc, key_slot, layout, load};
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::RepositoryFile;
use holdfast_store::{KeyPrefix, ObjectKey, ObjectMeta};
use holdfast_types::PackId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Indexes read at once.
const READS_AHEAD: usize = 8;

/// What was found beside what is needed.
#[derive(Clone, Debug)]
pub struct Leftovers {
    /// Objects and their bytes by the first part of their names, everything included.
    pub objects: BTreeMap<String, (u64, u64)>,
    /// Packs of which no recovery point needs a chunk, with their sizes in bytes: garbage, or of a capture
    /// under way. Why it is not known, if a recovery point can't be read.
    pub orphan_packs: Result<Vec<(PackId, u64)>, String>,
    /// Packs that no index names: a writer died, or an index was lost. They count all the same.
    pub unindexed_packs: Vec<PackId>,
    /// Indexes that name packs that are not there, and these.
    pub hollow_indexes: BTreeMap<String, Vec<PackId>>,
    /// Key files that should be equal and are not, by name.
    pub differing_keys: Vec<String>,
    /// Records of quarantine about objects that are sound again or gone.
    pub settled_records: Vec<String>,
    /// Left by a probe that was interrupted.
    pub probe_objects: Vec<ObjectMeta>,
    /// Names that are none of Holdfast's, or reserved for later.
    pub unknown: Vec<ObjectMeta>,
}

pub(crate) async fn find(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    description: &RepositoryFile,
) -> Result<Leftovers, RepositoryError> {
    let mut found = Leftovers {
        objects: BTreeMap::new(),
        orphan_packs: orphans(core, reader).await?,
        unindexed_packs: Vec::new(),
        hollow_indexes: BTreeMap::new(),
        differing_keys: differing_keys(core, &description.id).await?,
        settled_records: settled(core).await?,
        probe_objects: Vec::new(),
        unknown: Vec::new(),
    };
    let mut indexed = Vec::new();
    let listed = list_packs(core.store.as_ref()).await?;
    let swept = gc::swept(core).await?;
    let indexes = core.store.list(&layout::indexes()).await?;
    let mut reads = stream::iter(indexes)
        .map(|meta| load::read_index(&core.store, &core.master, meta.key))
        .buffered(READS_AHEAD);
    while let Some((key, outcome)) = reads.try_next().await? {
        // A damaged one is for the check of contents to name.
        let Ok((_, index)) = outcome else { continue };
        let packs: Vec<_> = index.packs.iter().map(|pack| pack.id).collect();
        let missing = packs.iter().filter(|id| !listed.contains_key(id));
        let missing: Vec<_> = missing.filter(|id| !swept.contains(id)).copied().collect();
        if !missing.is_empty() {
            found.hollow_indexes.insert(key.to_string(), missing);
        }
        indexed.extend(packs);
    }
    indexed.sort();
    let mut unindexed: Vec<_> = listed.into_keys().collect();
    unindexed.retain(|id| indexed.binary_search(id).is_err() && !swept.contains(id));
    unindexed.sort();
    found.unindexed_packs = unindexed;
    for object in core.store.list(&KeyPrefix::root()).await? {
        found.sort(object);
    }
    Ok(found)
}

impl Leftovers {
    /// Whether there is nothing that a person might want to look at. Garbage alone is nothing of the kind.
    #[must_use]
    pub fn is_tidy(&self) -> bool {
        let Self {
            objects: _,
            orphan_packs,
            unindexed_packs,
            hollow_indexes,
            differing_keys,
            settled_records,
            probe_objects,
            unknown,
        } = self;
        orphan_packs.is_ok()
            && unindexed_packs.is_empty()
            && hollow_indexes.is_empty()
            && differing_keys.is_empty()
            && settled_records.is_empty()
            && probe_objects.is_empty()
            && unknown.is_empty()
    }

    fn sort(&mut self, object: ObjectMeta) {
        let (first, below) = match object.key.as_str().split_once('/') {
            Some((first, _)) => (first.to_owned(), true),
            None => (object.key.to_string(), false),
        };
        let (count, bytes) = self.objects.entry(first.clone()).or_default();
        *count += 1;
        *bytes += object.size;
        if first == holdfast_store::PROBE_FOLDER {
            self.probe_objects.push(object);
        } else if !is_ours(&object.key, &first, below) {
            self.unknown.push(object);
        }
    }
}

/// Whether the name is one that this program gives.
fn is_ours(key: &ObjectKey, first: &str, below: bool) -> bool {
    match first {
        layout::DESCRIPTION => !below,
        "packs" => layout::parse_pack(key).is_some(),
        "copies" => *key == layout::role(),
        "points" => layout::parse_point(key).is_some(),
        "epochs" => layout::parse_epoch(key).is_some(),
        "wal" => layout::parse_wal(key).is_some(),
        "index" | "keys" | "copy" | "holds" | "pins" | "proofs" | "tombstones" | "quarantine" => {
            below
        }
        _ => false,
    }
}

async fn orphans(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
) -> Result<Result<Vec<(PackId, u64)>, String>, RepositoryError> {
    core.compare_packs().await?;
    match gc::unneeded(core, reader).await {
        Ok(packs) => Ok(Ok(packs)),
        Err(RepositoryError::Store(error)) => Err(error.into()),
        // Unknown is not none.
        Err(error) => Ok(Err(error.to_string())),
    }
}

async fn differing_keys(core: &CoreState, id: &str) -> Result<Vec<String>, RepositoryError> {
    let slots = key_slot::survey(core.store.as_ref(), id).await?;
    let differ = slots.iter().filter(|slot| {
        let [main, copy] = &slot.sides;
        !slot.is_removed() && (main.bytes().is_none() || main.bytes() != copy.bytes())
    });
    let sides = differ.flat_map(|slot| &slot.sides);
    Ok(sides.map(|side| side.key.to_string()).collect())
}

async fn settled(core: &CoreState) -> Result<Vec<String>, RepositoryError> {
    let quarantine = quarantine::load(&core.store, &core.master).await?;
    let records = quarantine.records.into_values();
    let settled = records.filter(|record| record.state == QuarantineState::Sound);
    Ok(settled.map(|record| record.object).collect())
}
