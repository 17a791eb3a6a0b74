//! Calls about points, payloads and payload indexes.

use super::reply::{bad_query, blocking, update_result};
use crate::answer::PointAnswer;
use crate::collection::Collection;
use crate::request::query::{QueryBody, SearchBody};
use crate::request::update::{
    DeleteVectorsBody, IndexBody, PayloadBody, PayloadCall, SelectorBody, UpdateVectorsBody,
    UpsertBody, run_batch_operation,
};
use crate::{Node, NodeError, request};
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use holdfast_engine::model::{
    CountRequest, FacetRequest, FacetValue, JsonPath, PointId, ScrollRequest, WithPayloadInterface,
    WithVector,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

type TheNode = State<Arc<Node>>;
type Name = Path<String>;
type Waits = Result<Query<Wait>, QueryRejection>;

/// `wait=false` changes only the word in the answer: the work is always done before it.
#[derive(Deserialize)]
pub(super) struct Wait {
    wait: Option<bool>,
}

async fn updating(
    node: &Arc<Node>,
    name: String,
    wait: Waits,
    action: impl FnOnce(&Collection) -> Result<u64, NodeError> + Send + 'static,
) -> Response {
    let wait = match wait {
        Ok(Query(wait)) => wait.wait.unwrap_or(false),
        Err(rejection) => return bad_query(&rejection),
    };
    blocking(node, move |node| {
        let operation = action(&*node.collection(&name)?)?;
        Ok(update_result(operation, wait))
    })
    .await
}

async fn reading<T: Serialize + Send + 'static>(
    node: &Arc<Node>,
    name: String,
    action: impl FnOnce(&Collection) -> Result<T, NodeError> + Send + 'static,
) -> Response {
    blocking(node, move |node| action(&*node.collection(&name)?)).await
}

pub(super) async fn upsert(
    State(node): TheNode,
    Path(name): Name,
    wait: Waits,
    body: Bytes,
) -> Response {
    updating(&node, name, wait, move |collection| {
        request::body::<UpsertBody>(&body)?.run(collection)
    })
    .await
}

pub(super) async fn delete_points(
    State(node): TheNode,
    Path(name): Name,
    wait: Waits,
    body: Bytes,
) -> Response {
    updating(&node, name, wait, move |collection| {
        request::body::<SelectorBody>(&body)?.run_delete(collection)
    })
    .await
}

async fn payload(
    node: &Arc<Node>,
    name: String,
    wait: Waits,
    body: Bytes,
    call: PayloadCall,
) -> Response {
    updating(node, name, wait, move |collection| {
        request::body::<PayloadBody>(&body)?.run(collection, call)
    })
    .await
}

pub(super) async fn set_payload(
    State(node): TheNode,
    Path(name): Name,
    wait: Waits,
    body: Bytes,
) -> Response {
    payload(&node, name, wait, body, PayloadCall::Set).await
}

pub(super) async fn overwrite_payload(
    State(node): TheNode,
    Path(name): Name,
    wait: Waits,
    body: Bytes,
) -> Response {
    payload(&node, name, wait, body, PayloadCall::Overwrite).await
}

pub(super) async fn delete_payload(
    State(node): TheNode,
    Path(name): Name,
    wait: Waits,
    body: Bytes,
) -> Response {
    payload(&node, name, wait, body, PayloadCall::Delete).await
}

pub(super) async fn clear_payload(
    State(node): TheNode,
    Path(name): Name,
    wait: Waits,
    body: Bytes,
) -> Response {
    payload(&node, name, wait, body, PayloadCall::Clear).await
}

pub(super) async fn update_vectors(
    State(node): TheNode,
    Path(name): Name,
    wait: Waits,
    body: Bytes,
) -> Response {
    updating(&node, name, wait, move |collection| {
        request::body::<UpdateVectorsBody>(&body)?.run(collection)
    })
    .await
}

pub(super) async fn delete_vectors(
    State(node): TheNode,
    Path(name): Name,
    wait: Waits,
    body: Bytes,
) -> Response {
    updating(&node, name, wait, move |collection| {
        request::body::<DeleteVectorsBody>(&body)?.run(collection)
    })
    .await
}

pub(super) async fn create_index(
    State(node): TheNode,
    Path(name): Name,
    wait: Waits,
    body: Bytes,
) -> Response {
    updating(&node, name, wait, move |collection| {
        request::body::<IndexBody>(&body)?.run(collection)
    })
    .await
}

pub(super) async fn delete_index(
    State(node): TheNode,
    Path((name, field)): Path<(String, String)>,
    wait: Waits,
) -> Response {
    updating(&node, name, wait, move |collection| {
        let field: JsonPath = field
            .parse()
            .map_err(|()| NodeError::BadInput(format!("invalid field name {field:?}")))?;
        collection.delete_index(field)
    })
    .await
}

pub(super) async fn batch(
    State(node): TheNode,
    Path(name): Name,
    wait: Waits,
    body: Bytes,
) -> Response {
    #[derive(Deserialize)]
    struct Body {
        operations: Vec<Value>,
    }
    let wait = match wait {
        Ok(Query(wait)) => wait.wait.unwrap_or(false),
        Err(rejection) => return bad_query(&rejection),
    };
    reading(&node, name, move |collection| {
        let body: Body = request::body(&body)?;
        let operations = body.operations.into_iter();
        operations
            .map(|operation| {
                Ok(update_result(
                    run_batch_operation(operation, collection)?,
                    wait,
                ))
            })
            .collect::<Result<Vec<_>, NodeError>>()
    })
    .await
}

pub(super) async fn retrieve(State(node): TheNode, Path(name): Name, body: Bytes) -> Response {
    #[derive(Deserialize)]
    struct Body {
        ids: Vec<PointId>,
        with_payload: Option<WithPayloadInterface>,
        #[serde(alias = "with_vectors")]
        with_vector: Option<WithVector>,
    }
    reading(&node, name, move |collection| {
        let body: Body = request::body(&body)?;
        let payload = body
            .with_payload
            .unwrap_or(WithPayloadInterface::Bool(true));
        let vector = body.with_vector.unwrap_or(WithVector::Bool(false));
        let records = collection.with_shard(|shard| shard.retrieve(&body.ids, payload, vector))?;
        Ok(answers(records))
    })
    .await
}

pub(super) async fn retrieve_one(
    State(node): TheNode,
    Path((name, id)): Path<(String, String)>,
) -> Response {
    reading(&node, name, move |collection| {
        let id: PointId = id
            .parse()
            .map_err(|()| NodeError::BadInput(format!("Can not recognize \"{id}\" as point id")))?;
        let payload = WithPayloadInterface::Bool(true);
        let mut records = collection
            .with_shard(|shard| shard.retrieve(&[id], payload, WithVector::Bool(true)))?;
        let missing = || NodeError::NotFound(format!("Point with id {id} does not exists!"));
        Ok(PointAnswer::from(records.pop().ok_or_else(missing)?))
    })
    .await
}

pub(super) async fn scroll(State(node): TheNode, Path(name): Name, body: Bytes) -> Response {
    #[derive(Serialize)]
    struct Page {
        points: Vec<PointAnswer>,
        next_page_offset: Option<PointId>,
    }
    reading(&node, name, move |collection| {
        let body: ScrollRequest = request::body(&body)?;
        if body.limit == Some(0) {
            let text = "limit: value 0 invalid, must be 1 or larger";
            return Err(NodeError::BadInput(text.into()));
        }
        let (records, next_page_offset) = collection.with_shard(|shard| shard.scroll(body))?;
        Ok(Page {
            points: answers(records),
            next_page_offset,
        })
    })
    .await
}

pub(super) async fn count(State(node): TheNode, Path(name): Name, body: Bytes) -> Response {
    reading(&node, name, move |collection| {
        let body: CountRequest = request::body(&body)?;
        let count = collection.with_shard(|shard| shard.count(body))?;
        Ok(json!({ "count": count }))
    })
    .await
}

pub(super) async fn query(State(node): TheNode, Path(name): Name, body: Bytes) -> Response {
    reading(&node, name, move |collection| {
        let points = request::body::<QueryBody>(&body)?.run(collection)?;
        Ok(PointsOnly { points })
    })
    .await
}

#[derive(Serialize)]
struct PointsOnly {
    points: Vec<PointAnswer>,
}

#[derive(Deserialize)]
struct Searches<T> {
    searches: Vec<T>,
}

pub(super) async fn query_batch(State(node): TheNode, Path(name): Name, body: Bytes) -> Response {
    reading(&node, name, move |collection| {
        let body: Searches<QueryBody> = request::body(&body)?;
        let searches = body.searches.into_iter();
        searches
            .map(|query| {
                Ok(PointsOnly {
                    points: query.run(collection)?,
                })
            })
            .collect::<Result<Vec<_>, NodeError>>()
    })
    .await
}

pub(super) async fn search(State(node): TheNode, Path(name): Name, body: Bytes) -> Response {
    reading(&node, name, move |collection| {
        let body: SearchBody = request::body(&body)?;
        body.into_query().run(collection)
    })
    .await
}

pub(super) async fn search_batch(State(node): TheNode, Path(name): Name, body: Bytes) -> Response {
    reading(&node, name, move |collection| {
        let body: Searches<SearchBody> = request::body(&body)?;
        let searches = body.searches.into_iter();
        searches
            .map(|search| search.into_query().run(collection))
            .collect::<Result<Vec<_>, NodeError>>()
    })
    .await
}

pub(super) async fn facet(State(node): TheNode, Path(name): Name, body: Bytes) -> Response {
    reading(&node, name, move |collection| {
        let body: FacetRequest = request::body(&body)?;
        let hits = collection.with_shard(|shard| shard.facet(body))?;
        let hits: Vec<_> = hits
            .into_iter()
            .map(|hit| json!({"value": facet_value(&hit.value), "count": hit.count}))
            .collect();
        Ok(json!({ "hits": hits }))
    })
    .await
}

fn facet_value(value: &FacetValue) -> Value {
    match value {
        FacetValue::Keyword(text) => json!(text),
        FacetValue::Int(number) => json!(number),
        FacetValue::Uuid(number) => json!(PointId::Uuid(holdfast_engine::model::Uuid::from_u128(
            *number
        ))),
        FacetValue::Bool(flag) => json!(flag),
    }
}

fn answers(records: Vec<holdfast_engine::model::Record>) -> Vec<PointAnswer> {
    records.into_iter().map(PointAnswer::from).collect()
}
