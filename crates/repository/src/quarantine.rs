//! What is known of damaged objects, kept beside them: one small sealed object for each, so that a
//! restart does not believe again what was found bad.
//!
//! The damaged object itself is left where it is: parts of it may still be read, and it may yet be
//! healed. A record that is lost costs nothing but the knowledge: the next check that reads the object
//! finds the damage again. Nothing here decides what is damaged.

use crate::catalog::Catalog;
use crate::core_state::CoreState;
use crate::{Damage, DamagedObject, RepositoryError, epochs, layout, system};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::{Keyring, ObjectKind, RepositoryFileError, sealed};
use holdfast_store::{ObjectKey, ObjectStore, PutMode};
use holdfast_types::{ChunkId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The format of records that this program writes and the newest it reads.
const FORMAT: u32 = 1;
/// Records read at once.
const READS_AHEAD: usize = 8;

/// What is known of a damaged object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRecord {
    /// The record's format, 1.
    pub format: u32,
    /// Name of the damaged object.
    pub object: String,
    /// How it stands with it.
    pub state: QuarantineState,
    /// What is, or was, wrong with it, for people.
    pub damage: String,
    /// When it was first found damaged.
    pub found: Timestamp,
    /// When the record was last changed.
    pub changed: Timestamp,
    /// Of a pack: where chunks can't be read.
    #[serde(default)]
    pub places: Vec<BadPlace>,
}

/// How it stands with an object that was found damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuarantineState {
    /// It is damaged.
    Damaged,
    /// It is damaged, and nothing needs what is bad of it: other packs hold it, or no point names it.
    Superseded,
    /// It is sound again: the record can go.
    Sound,
}

/// A chunk that can't be read where it should stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BadPlace {
    /// Where the sealed chunk begins in its pack, in bytes.
    pub offset: u32,
    /// The chunk that should stand there.
    pub chunk: ChunkId,
}

/// Every record by the object that it is about, and records that can't be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quarantine {
    pub(crate) records: BTreeMap<String, QuarantineRecord>,
    pub(crate) damaged: Vec<DamagedObject>,
}

impl Quarantine {
    /// Names of what is damaged and needed.
    pub(crate) fn damaged_objects(&self) -> Vec<String> {
        let damaged = self.records.values();
        let damaged = damaged.filter(|record| record.state == QuarantineState::Damaged);
        damaged.map(|record| record.object.clone()).collect()
    }

    /// Lets the catalogue distrust what is recorded as bad.
    pub(crate) fn apply(&self, catalog: &mut Catalog) {
        for record in self.records.values() {
            let pack = record.object.parse::<ObjectKey>().ok();
            if let Some(pack) = pack.and_then(|key| layout::parse_pack(&key)) {
                match record.state {
                    QuarantineState::Damaged | QuarantineState::Superseded => {
                        catalog.distrust(&pack, &record.places);
                    }
                    QuarantineState::Sound => {}
                }
            }
        }
    }
}

/// Reads every record.
pub(crate) async fn load(
    store: &Arc<dyn ObjectStore>,
    master: &Keyring,
) -> Result<Quarantine, RepositoryError> {
    let listed = store.list(&layout::quarantine()).await?;
    let mut quarantine = Quarantine::default();
    let mut reads = stream::iter(listed)
        .map(|found| read(store, master, found.key))
        .buffered(READS_AHEAD);
    while let Some((key, outcome)) = reads.try_next().await? {
        match outcome {
            Ok(record) => {
                quarantine.records.insert(record.object.clone(), record);
            }
            Err(damage) => quarantine.damaged.push(DamagedObject {
                object: key.to_string(),
                damage,
            }),
        }
    }
    Ok(quarantine)
}

type Read = (ObjectKey, Result<QuarantineRecord, Damage>);

async fn read(
    store: &Arc<dyn ObjectStore>,
    master: &Keyring,
    key: ObjectKey,
) -> Result<Read, RepositoryError> {
    let outcome = match store.get(&key).await {
        Ok(bytes) => open(&key, &bytes, master),
        Err(error) => Err(Damage::of_read(error)?),
    };
    Ok((key, outcome))
}

fn open(key: &ObjectKey, bytes: &[u8], master: &Keyring) -> Result<QuarantineRecord, Damage> {
    let opened = sealed::open(bytes, ObjectKind::Quarantine, master)?;
    let record: QuarantineRecord = serde_json::from_slice(&opened.payload).map_err(Damage::json)?;
    if record.format > FORMAT {
        return Err(RepositoryFileError::NewerFormat(record.format).into());
    }
    // The name of a sealed object is not bound to it: the record says itself what it is about.
    let about = record.object.parse().ok();
    if about
        .and_then(|about| layout::quarantine_of(&about))
        .as_ref()
        != Some(key)
    {
        return Err(Damage::Misplaced);
    }
    Ok(record)
}

/// Writes a record, in place of an older one about the same object.
pub(crate) async fn put(
    core: &Arc<CoreState>,
    record: &QuarantineRecord,
) -> Result<(), RepositoryError> {
    let Some(key) = place_of(record) else {
        return Ok(());
    };
    let what = format!("a record of {}", record.object);
    let json = serde_json::to_vec(record)
        .map_err(|error| RepositoryError::invalid(&what, Damage::json(error)))?;
    let (epoch, salt) = (epochs::newest(core).await?, system::random()?);
    let kind = ObjectKind::Quarantine;
    let object = sealed::seal(kind, epoch, salt, core.master.newest(), &json)
        .map_err(|error| RepositoryError::invalid(&what, error))?;
    let put = core
        .store
        .put(&key, Bytes::from(object), PutMode::Overwrite);
    Ok(put.await?)
}

/// Removes a record.
pub(crate) async fn remove(
    store: &Arc<dyn ObjectStore>,
    record: &QuarantineRecord,
) -> Result<(), RepositoryError> {
    if let Some(key) = place_of(record) {
        store.delete(&key).await?;
    }
    Ok(())
}

/// Nowhere for what is no object, such as `chunk …`.
fn place_of(record: &QuarantineRecord) -> Option<ObjectKey> {
    layout::quarantine_of(&record.object.parse().ok()?)
}

impl QuarantineRecord {
    /// A record of what was found just now.
    pub(crate) fn new(
        object: String,
        state: QuarantineState,
        damage: String,
        places: Vec<BadPlace>,
        now: Timestamp,
    ) -> Self {
        Self {
            format: FORMAT,
            object,
            state,
            damage,
            found: now,
            changed: now,
            places,
        }
    }
}
