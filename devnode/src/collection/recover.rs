//! Puts an unpacked snapshot in the place of a shard, or leaves everything as it was.
//!
//! The old shard waits as `0.old` until the new one has been opened. After a crash the new one is kept if it opens.

use super::{Collection, SHARD_DIR};
use crate::NodeError;
use crate::collection::CollectionConfig;
use fs_err as fs;
use holdfast_engine::Shard;
use holdfast_engine::model::{
    CreateIndex, FieldIndexOperations, JsonPath, PayloadFieldSchema, UpdateOperation,
};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

impl Collection {
    /// Replaces the shard by the one unpacked in the directory `unpacked`, which must be on the same file system and
    /// is moved away. Readers and writers wait. Afterwards the payload indexes are those of the collection.
    ///
    /// # Errors
    /// When the snapshot doesn't open or doesn't fit the configuration; the old data are then served again.
    pub fn replace_shard(&self, unpacked: &Path) -> Result<(), NodeError> {
        let config = self.config();
        let place = self.dir.join(SHARD_DIR);
        let mut slot = self.shard.write().unwrap_or_else(PoisonError::into_inner);
        // dropping flushes, and releases the lock on the log
        drop(slot.take());
        fs::rename(&place, old_place(&place))?;
        fs::rename(unpacked, &place)?;
        let opened = self.open_recovered(&place, &config);
        match opened {
            Ok(shard) => {
                *slot = Some(shard);
                fs::remove_dir_all(old_place(&place))?;
                Ok(())
            }
            Err(error) => {
                fs::remove_dir_all(&place)?;
                fs::rename(old_place(&place), &place)?;
                *slot = Some(Shard::open(&place, Some(config.engine()?))?);
                Err(error)
            }
        }
    }

    fn open_recovered(&self, place: &Path, config: &CollectionConfig) -> Result<Shard, NodeError> {
        let wanted = self.indexes().clone();
        self.save_indexes(&wanted)?;
        let shard = Shard::open(place, Some(config.engine()?))?;
        align_indexes(&shard, &wanted)?;
        Ok(shard)
    }
}

/// Makes the shard's payload indexes those that are wanted.
fn align_indexes(shard: &Shard, wanted: &Map<String, Value>) -> Result<(), NodeError> {
    let present = shard.info().payload_schema;
    for field in present.keys() {
        if !wanted.contains_key(&field.to_string()) {
            let delete = FieldIndexOperations::DeleteIndex(field.clone());
            shard.apply(UpdateOperation::FieldIndexOperation(delete))?;
        }
    }
    for (field, schema) in wanted {
        let field_name: JsonPath = field
            .parse()
            .map_err(|()| NodeError::BadInput(format!("invalid field name {field:?}")))?;
        let field_schema: PayloadFieldSchema = super::config::parse(schema.clone())?;
        let same = present.get(&field_name).is_some_and(|info| {
            let current = info.params.clone().map_or(
                PayloadFieldSchema::FieldType(info.data_type),
                PayloadFieldSchema::FieldParams,
            );
            current == field_schema
        });
        if !same {
            let create = FieldIndexOperations::CreateIndex(CreateIndex {
                field_name,
                field_schema: Some(field_schema),
            });
            shard.apply(UpdateOperation::FieldIndexOperation(create))?;
        }
    }
    Ok(())
}

fn old_place(place: &Path) -> PathBuf {
    place.with_extension("old")
}

/// Opens the shard at `place`; if a replacement was interrupted, the new shard is kept when it opens, else the old one.
pub(super) fn open_or_undo(place: &Path, config: &CollectionConfig) -> Result<Shard, NodeError> {
    let old = old_place(place);
    if !old.exists() {
        return Ok(Shard::open(place, Some(config.engine()?))?);
    }
    if place.exists() {
        if let Ok(shard) = Shard::open(place, Some(config.engine()?)) {
            fs::remove_dir_all(&old)?;
            return Ok(shard);
        }
        fs::remove_dir_all(place)?;
    }
    fs::rename(&old, place)?;
    Ok(Shard::open(place, Some(config.engine()?))?)
}
