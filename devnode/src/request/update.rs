//! Bodies that change points, payloads, vectors and indexes.

use crate::NodeError;
use crate::collection::{Collection, Selector, Upsert};
use holdfast_engine::model::{
    Filter, JsonPath, Payload, PayloadFieldSchema, PointId, PointInsertOperations,
    PointVectorsPersisted, UpdateMode,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Body of `PUT /points`: `points` or `batch`.
#[derive(Debug, Deserialize)]
pub struct UpsertBody {
    points: Option<Value>,
    batch: Option<Value>,
    update_filter: Option<Filter>,
    update_mode: Option<UpdateMode>,
}

/// Body with `points` or `filter`.
#[derive(Debug, Deserialize)]
pub struct SelectorBody {
    points: Option<Vec<PointId>>,
    filter: Option<Filter>,
}

/// Body of the payload calls; which fields are needed depends on the call.
#[derive(Debug, Deserialize)]
pub struct PayloadBody {
    payload: Option<Payload>,
    keys: Option<Vec<JsonPath>>,
    key: Option<JsonPath>,
    #[serde(flatten)]
    selector: SelectorBody,
}

/// Body of `PUT /points/vectors`.
#[derive(Debug, Deserialize)]
pub struct UpdateVectorsBody {
    points: Vec<PointVectorsPersisted>,
}

/// Body of `POST /points/vectors/delete`.
#[derive(Debug, Deserialize)]
pub struct DeleteVectorsBody {
    vector: Vec<String>,
    #[serde(flatten)]
    selector: SelectorBody,
}

/// Body of `PUT /index`.
#[derive(Debug, Deserialize)]
pub struct IndexBody {
    field_name: JsonPath,
    field_schema: Option<PayloadFieldSchema>,
}

/// What a payload call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadCall {
    /// Merge keys in.
    Set,
    /// Replace the whole payload.
    Overwrite,
    /// Remove keys.
    Delete,
    /// Remove everything.
    Clear,
}

impl UpsertBody {
    /// Performs the call and returns the operation's index, as every method here does.
    ///
    /// # Errors
    /// When the body or a vector is wrong.
    pub fn run(self, collection: &Collection) -> Result<u64, NodeError> {
        let mut tagged = Map::new();
        match (self.points, self.batch) {
            (Some(points), None) => tagged.insert("points".into(), points),
            (None, Some(batch)) => tagged.insert("batch".into(), batch),
            (Some(_), Some(_)) | (None, None) => {
                let text = "expected either `points` or `batch`";
                return Err(NodeError::Format(text.into()));
            }
        };
        let points: PointInsertOperations = parse(Value::Object(tagged))?;
        if let PointInsertOperations::PointsBatch(batch) = &points {
            check_batch(&serde_json::json!(batch))?;
        }
        collection.upsert(Upsert {
            points,
            update_filter: self.update_filter,
            mode: self.update_mode.unwrap_or_default(),
        })
    }
}

/// Columns of different length would silently lose points.
fn check_batch(batch: &Value) -> Result<(), NodeError> {
    let len = |value: &Value| value.as_array().map(Vec::len);
    let ids = len(&batch["ids"]);
    let mut columns: Vec<_> = match batch["vectors"].as_object() {
        Some(named) => named.values().map(len).collect(),
        None => vec![len(&batch["vectors"])],
    };
    if !batch["payloads"].is_null() {
        columns.push(len(&batch["payloads"]));
    }
    if columns.iter().any(|column| *column != ids) {
        let text = "batch: ids, vectors and payloads must have the same length";
        return Err(NodeError::BadInput(text.into()));
    }
    Ok(())
}

impl SelectorBody {
    /// The points meant.
    ///
    /// # Errors
    /// `Format` without `points` and `filter`.
    pub fn selector(self) -> Result<Selector, NodeError> {
        match (self.points, self.filter) {
            (Some(points), _) => Ok(Selector::Ids(points)),
            (None, Some(filter)) => Ok(Selector::Filter(Box::new(filter))),
            (None, None) => Err(NodeError::Format(
                "either list of ids or filter must be provided".into(),
            )),
        }
    }

    /// Deletes the points.
    ///
    /// # Errors
    /// When the body is wrong.
    pub fn run_delete(self, collection: &Collection) -> Result<u64, NodeError> {
        collection.delete_points(self.selector()?)
    }
}

impl PayloadBody {
    /// Performs a payload call.
    ///
    /// # Errors
    /// When a needed field is missing.
    pub fn run(self, collection: &Collection, call: PayloadCall) -> Result<u64, NodeError> {
        let missing = |field: &str| NodeError::Format(format!("missing field `{field}`"));
        let selector = self.selector.selector()?;
        match call {
            PayloadCall::Set | PayloadCall::Overwrite => {
                let payload = self.payload.ok_or_else(|| missing("payload"))?;
                let overwrite = call == PayloadCall::Overwrite;
                collection.set_payload(selector, payload, self.key, overwrite)
            }
            PayloadCall::Delete => {
                let keys = self.keys.ok_or_else(|| missing("keys"))?;
                collection.delete_payload(selector, keys)
            }
            PayloadCall::Clear => collection.clear_payload(selector),
        }
    }
}

impl UpdateVectorsBody {
    /// Performs the call.
    ///
    /// # Errors
    /// When a vector or point is wrong.
    pub fn run(self, collection: &Collection) -> Result<u64, NodeError> {
        collection.update_vectors(self.points)
    }
}

impl DeleteVectorsBody {
    /// Performs the call.
    ///
    /// # Errors
    /// When a name is unknown.
    pub fn run(self, collection: &Collection) -> Result<u64, NodeError> {
        collection.delete_vectors(self.selector.selector()?, self.vector)
    }
}

impl IndexBody {
    /// Performs the call.
    ///
    /// # Errors
    /// When the schema is missing or refused.
    pub fn run(self, collection: &Collection) -> Result<u64, NodeError> {
        let schema = self.field_schema.ok_or_else(|| {
            let field = &self.field_name;
            NodeError::BadInput(format!(
                "Unable to infer type for the field '{field}'. Please specify `field_type`"
            ))
        })?;
        collection.create_index(self.field_name, schema)
    }
}

/// Performs one operation of `POST /points/batch`, an object with one key.
///
/// # Errors
/// `Format` for unknown operations, else what the operation returns.
pub fn run_batch_operation(operation: Value, collection: &Collection) -> Result<u64, NodeError> {
    let Value::Object(operation) = operation else {
        return Err(NodeError::Format("operations: expected objects".into()));
    };
    let Some((name, body)) = operation.into_iter().next() else {
        return Err(NodeError::Format("operations: empty object".into()));
    };
    match name.as_str() {
        "upsert" => parse::<UpsertBody>(body)?.run(collection),
        "delete" => parse::<SelectorBody>(body)?.run_delete(collection),
        "set_payload" => parse::<PayloadBody>(body)?.run(collection, PayloadCall::Set),
        "overwrite_payload" => parse::<PayloadBody>(body)?.run(collection, PayloadCall::Overwrite),
        "delete_payload" => parse::<PayloadBody>(body)?.run(collection, PayloadCall::Delete),
        "clear_payload" => parse::<PayloadBody>(body)?.run(collection, PayloadCall::Clear),
        "update_vectors" => parse::<UpdateVectorsBody>(body)?.run(collection),
        "delete_vectors" => parse::<DeleteVectorsBody>(body)?.run(collection),
        _ => Err(NodeError::Format(format!("unknown operation `{name}`"))),
    }
}

pub(crate) fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, NodeError> {
    serde_json::from_value(value).map_err(|error| NodeError::Format(error.to_string()))
}
