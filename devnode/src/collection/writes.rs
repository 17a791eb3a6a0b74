//! Changes to points, payloads, vectors and indexes.
//!
//! What selects points by a filter, or makes a write conditional, is resolved to ids first, so that the log holds only
//! operations that give the same result however often they are replayed. Vectors are checked before anything is logged.

use super::vectors::unknown_vector;
use super::{Collection, CollectionConfig};
use crate::NodeError;
use holdfast_engine::model::{
    CountRequest, CreateIndex, DeletePayloadOp, FieldIndexOperations, Filter, JsonPath, Payload,
    PayloadFieldSchema, PayloadOps, PointId, PointIdsList, PointInsertOperations, PointOperations,
    PointStructPersisted, PointVectorsPersisted, ScrollRequest, SetPayloadOp, SparseVector,
    UpdateMode, UpdateOperation, UpdateVectorsOp, VectorOperations, VectorPersisted,
    VectorStructPersisted, WithPayloadInterface, WithVector,
};
use std::collections::HashSet;

/// Points that an operation is meant for.
#[derive(Clone, Debug)]
pub enum Selector {
    /// These points.
    Ids(Vec<PointId>),
    /// Every point that matches.
    Filter(Box<Filter>),
}

/// Points to write.
#[derive(Clone, Debug)]
pub struct Upsert {
    /// The points.
    pub points: PointInsertOperations,
    /// Existing points that don't match keep their data.
    pub update_filter: Option<Filter>,
    /// Whether new and existing points are written.
    pub mode: UpdateMode,
}

impl Collection {
    /// Writes points and returns the operation's index, as every method here does.
    ///
    /// # Errors
    /// `BadInput` for vectors that don't fit the collection.
    pub fn upsert(&self, upsert: Upsert) -> Result<u64, NodeError> {
        let mut points = upsert.points.into_point_vec();
        let config = self.config();
        for point in &points {
            check_vectors(&config, &point.vector)?;
        }
        if upsert.mode != UpdateMode::Upsert || upsert.update_filter.is_some() {
            self.retain_allowed(&mut points, upsert.mode, upsert.update_filter)?;
        }
        self.apply(UpdateOperation::PointOperation(
            PointOperations::UpsertPoints(PointInsertOperations::PointsList(points)),
        ))
    }

    fn retain_allowed(
        &self,
        points: &mut Vec<PointStructPersisted>,
        mode: UpdateMode,
        update_filter: Option<Filter>,
    ) -> Result<(), NodeError> {
        let ids: Vec<_> = points.iter().map(|point| point.id).collect();
        let records = self.with_shard(|shard| {
            let no_payload = WithPayloadInterface::Bool(false);
            shard.retrieve(&ids, no_payload, WithVector::Bool(false))
        })?;
        let existing: HashSet<_> = records.iter().map(|record| record.id).collect();
        let updatable: HashSet<_> = match update_filter {
            None => existing.clone(),
            Some(filter) => self
                .ids_of(Selector::Filter(Box::new(filter)))?
                .into_iter()
                .filter(|id| existing.contains(id))
                .collect(),
        };
        points.retain(|point| match mode {
            UpdateMode::Upsert => !existing.contains(&point.id) || updatable.contains(&point.id),
            UpdateMode::InsertOnly => !existing.contains(&point.id),
            UpdateMode::UpdateOnly => updatable.contains(&point.id),
        });
        Ok(())
    }

    /// Deletes points.
    ///
    /// # Errors
    /// When the filter is wrong or the engine fails.
    pub fn delete_points(&self, selector: Selector) -> Result<u64, NodeError> {
        let ids = self.ids_of(selector)?;
        self.apply(UpdateOperation::PointOperation(
            PointOperations::DeletePoints { ids },
        ))
    }

    /// Merges `payload` into that of the points, under `key` if given; `overwrite` replaces it all instead.
    ///
    /// # Errors
    /// When the filter is wrong or the engine fails.
    pub fn set_payload(
        &self,
        selector: Selector,
        payload: Payload,
        key: Option<JsonPath>,
        overwrite: bool,
    ) -> Result<u64, NodeError> {
        let operation = SetPayloadOp {
            payload,
            points: Some(self.ids_of(selector)?),
            filter: None,
            key,
        };
        self.apply(UpdateOperation::PayloadOperation(if overwrite {
            PayloadOps::OverwritePayload(operation)
        } else {
            PayloadOps::SetPayload(operation)
        }))
    }

    /// Removes keys from the payload of the points.
    ///
    /// # Errors
    /// When the filter is wrong or the engine fails.
    pub fn delete_payload(
        &self,
        selector: Selector,
        keys: Vec<JsonPath>,
    ) -> Result<u64, NodeError> {
        let points = Some(self.ids_of(selector)?);
        self.apply(UpdateOperation::PayloadOperation(
            PayloadOps::DeletePayload(DeletePayloadOp {
                keys,
                points,
                filter: None,
            }),
        ))
    }

    /// Removes the whole payload of the points.
    ///
    /// # Errors
    /// When the filter is wrong or the engine fails.
    pub fn clear_payload(&self, selector: Selector) -> Result<u64, NodeError> {
        let points = self.ids_of(selector)?;
        self.apply(UpdateOperation::PayloadOperation(
            PayloadOps::ClearPayload { points },
        ))
    }

    /// Replaces the named vectors of existing points.
    ///
    /// # Errors
    /// `BadInput` for vectors that don't fit or points that don't exist.
    pub fn update_vectors(&self, points: Vec<PointVectorsPersisted>) -> Result<u64, NodeError> {
        let config = self.config();
        for point in &points {
            check_vectors(&config, &point.vector)?;
        }
        self.apply(UpdateOperation::VectorOperation(
            VectorOperations::UpdateVectors(UpdateVectorsOp {
                points,
                update_filter: None,
            }),
        ))
    }

    /// Removes the named vectors of the points.
    ///
    /// # Errors
    /// `BadInput` for unknown names.
    pub fn delete_vectors(&self, selector: Selector, names: Vec<String>) -> Result<u64, NodeError> {
        let config = self.config();
        let known =
            |name: &String| config.vector(name).is_some() || config.sparse_vector(name).is_some();
        if let Some(name) = names.iter().find(|name| !known(name)) {
            return Err(unknown_vector(name));
        }
        let points = PointIdsList::from(self.ids_of(selector)?);
        self.apply(UpdateOperation::VectorOperation(
            VectorOperations::DeleteVectors(points, names),
        ))
    }

    /// Creates or replaces a payload index.
    ///
    /// # Errors
    /// When the engine refuses the schema.
    pub fn create_index(
        &self,
        field_name: JsonPath,
        field_schema: PayloadFieldSchema,
    ) -> Result<u64, NodeError> {
        // the shard before the indexes, as where a snapshot replaces the shard
        let shard = self.shard()?;
        let mut indexes = self.indexes();
        let schema = serde_json::json!(field_schema);
        let index = shard.apply(UpdateOperation::FieldIndexOperation(
            FieldIndexOperations::CreateIndex(CreateIndex {
                field_name: field_name.clone(),
                field_schema: Some(field_schema),
            }),
        ))?;
        indexes.insert(field_name.to_string(), schema);
        self.save_indexes(&indexes)?;
        Ok(index)
    }

    /// Drops a payload index; without one, nothing happens.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn delete_index(&self, field: JsonPath) -> Result<u64, NodeError> {
        let shard = self.shard()?;
        let mut indexes = self.indexes();
        let operation = FieldIndexOperations::DeleteIndex(field.clone());
        let index = shard.apply(UpdateOperation::FieldIndexOperation(operation))?;
        indexes.remove(&field.to_string());
        self.save_indexes(&indexes)?;
        Ok(index)
    }

    fn apply(&self, operation: UpdateOperation) -> Result<u64, NodeError> {
        self.with_shard(|shard| shard.apply(operation))
    }

    fn ids_of(&self, selector: Selector) -> Result<Vec<PointId>, NodeError> {
        let filter = match selector {
            Selector::Ids(ids) => return Ok(ids),
            Selector::Filter(filter) => *filter,
        };
        self.with_shard(|shard| {
            let matching = shard.count(CountRequest {
                filter: Some(filter.clone()),
                exact: true,
            })?;
            let (records, _next) = shard.scroll(ScrollRequest {
                limit: Some(matching.max(1)),
                filter: Some(filter),
                with_payload: Some(WithPayloadInterface::Bool(false)),
                ..ScrollRequest::default()
            })?;
            Ok(records.into_iter().map(|record| record.id).collect())
        })
    }
}

fn check_vectors(
    config: &CollectionConfig,
    vectors: &VectorStructPersisted,
) -> Result<(), NodeError> {
    match vectors {
        VectorStructPersisted::Single(dense) => check_dense(config, "", dense),
        VectorStructPersisted::MultiDense(rows) => check_rows(config, "", rows),
        VectorStructPersisted::Named(named) => {
            named.iter().try_for_each(|(name, vector)| match vector {
                VectorPersisted::Dense(dense) => check_dense(config, name, dense),
                VectorPersisted::MultiDense(rows) => check_rows(config, name, rows),
                VectorPersisted::Sparse(sparse) => check_sparse(config, name, sparse),
            })
        }
    }
}

fn check_dense(config: &CollectionConfig, name: &str, vector: &[f32]) -> Result<(), NodeError> {
    let params = config.vector(name).ok_or_else(|| unknown_vector(name))?;
    if vector.len() == params.size {
        return Ok(());
    }
    Err(NodeError::BadInput(format!(
        "Vector dimension error: expected dim: {}, got {}",
        params.size,
        vector.len()
    )))
}

fn check_rows(config: &CollectionConfig, name: &str, rows: &[Vec<f32>]) -> Result<(), NodeError> {
    let params = config.vector(name).ok_or_else(|| unknown_vector(name))?;
    if params.multivector_config.is_none() || rows.is_empty() {
        return Err(NodeError::BadInput("Wrong usage of multi vectors".into()));
    }
    rows.iter()
        .try_for_each(|row| check_dense(config, name, row))
}

fn check_sparse(
    config: &CollectionConfig,
    name: &str,
    vector: &SparseVector,
) -> Result<(), NodeError> {
    if config.sparse_vector(name).is_none() {
        return Err(unknown_vector(name));
    }
    let unique: HashSet<_> = vector.indices.iter().collect();
    if vector.indices.len() != vector.values.len() || unique.len() != vector.indices.len() {
        return Err(NodeError::BadInput(
            "sparse vector: indices must be unique and as many as values".into(),
        ));
    }
    Ok(())
}
