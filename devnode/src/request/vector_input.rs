//! A vector in a query: given as numbers, or as the id of a point that has it.

use crate::NodeError;
use crate::collection::Collection;
use holdfast_engine::model::{
    PointId, SparseVector, Vector, VectorInternal, VectorStructInternal, WithPayloadInterface,
    WithVector,
};
use serde_json::Value;

/// Turns query input into vectors named `using`, and remembers the points that were named by id.
pub(super) struct VectorInput<'a> {
    pub(super) collection: &'a Collection,
    pub(super) using: &'a str,
    /// Points named by id; they are left out of the answer.
    pub(super) named_ids: Vec<PointId>,
}

impl VectorInput<'_> {
    pub(super) fn vector(&mut self, input: &Value) -> Result<VectorInternal, NodeError> {
        match input {
            Value::Array(items) if items.first().is_some_and(Value::is_array) => {
                let rows: Vec<Vec<f32>> = super::update::parse(input.clone())?;
                let multi = Vector::new_multi(rows)
                    .map_err(|error| NodeError::BadInput(error.to_string()))?;
                Ok(multi.0)
            }
            Value::Array(_) => Ok(VectorInternal::Dense(super::update::parse(input.clone())?)),
            Value::Object(fields) if fields.contains_key("indices") => {
                let sparse: SparseVector = super::update::parse(input.clone())?;
                let checked = Vector::new_sparse(sparse.indices, sparse.values)
                    .map_err(|error| NodeError::BadInput(error.to_string()))?;
                Ok(checked.0)
            }
            Value::Number(_) | Value::String(_) => {
                self.stored_vector(super::update::parse(input.clone())?)
            }
            Value::Object(_) => Err(NodeError::Unsupported(
                "inference: vectors must be given as numbers or point ids".into(),
            )),
            Value::Null | Value::Bool(_) => {
                Err(NodeError::Format("expected a vector or a point id".into()))
            }
        }
    }

    pub(super) fn vectors(
        &mut self,
        input: Option<&Value>,
    ) -> Result<Vec<VectorInternal>, NodeError> {
        match input {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(|item| self.vector(item)).collect(),
            Some(_) => Err(NodeError::Format("expected an array of examples".into())),
        }
    }

    fn stored_vector(&mut self, id: PointId) -> Result<VectorInternal, NodeError> {
        self.named_ids.push(id);
        let mut records = self.collection.with_shard(|shard| {
            let no_payload = WithPayloadInterface::Bool(false);
            shard.retrieve(&[id], no_payload, WithVector::Bool(true))
        })?;
        let record = records
            .pop()
            .ok_or_else(|| NodeError::NotFound(format!("No point with id {id} found")))?;
        let vector = match record.vector {
            Some(VectorStructInternal::Single(dense)) if self.using.is_empty() => {
                Some(VectorInternal::Dense(dense))
            }
            Some(VectorStructInternal::MultiDense(multi)) if self.using.is_empty() => {
                Some(VectorInternal::MultiDense(multi))
            }
            Some(VectorStructInternal::Named(mut named)) => named.remove(self.using),
            Some(VectorStructInternal::Single(_) | VectorStructInternal::MultiDense(_)) | None => {
                None
            }
        };
        let using = self.using;
        vector.ok_or_else(|| {
            NodeError::BadInput(format!("Point {id} does not have a vector named {using:?}"))
        })
    }
}
