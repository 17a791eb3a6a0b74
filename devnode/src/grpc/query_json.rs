//! Queries of gRPC in the JSON of the REST interface.

use super::filter_json::{id, optional_filter, with_payload, with_vectors};
use crate::NodeError;
use qdrant_client::qdrant::query::Variant;
use qdrant_client::qdrant::start_from::Value as Start;
use qdrant_client::qdrant::vector_input::Variant as Input;
use qdrant_client::qdrant::{
    ContextInput, Fusion, OrderBy, PrefetchQuery, Query, QueryPoints, RecommendInput,
    RecommendStrategy, SearchParams, SearchPoints, VectorInput,
};
use serde_json::{Value, json};

/// The body of a query.
pub(super) fn query_points(request: QueryPoints) -> Result<Value, NodeError> {
    if request.lookup_from.is_some() {
        return Err(NodeError::Unsupported("lookup_from".into()));
    }
    Ok(json!({
        "prefetch": prefetches(request.prefetch)?,
        "query": optional(request.query, query)?,
        "using": request.using,
        "filter": optional_filter(request.filter)?,
        "params": params(request.params.as_ref()),
        "score_threshold": request.score_threshold,
        "limit": request.limit,
        "offset": request.offset,
        "with_vector": with_vectors(request.with_vectors),
        "with_payload": with_payload(request.with_payload),
    }))
}

/// The body of a query that does what an older search asks for.
pub(super) fn search_points(request: SearchPoints) -> Result<Value, NodeError> {
    let vector = match request.sparse_indices {
        Some(indices) => json!({"indices": indices.data, "values": request.vector}),
        None => json!(request.vector),
    };
    Ok(json!({
        "query": vector,
        "using": request.vector_name,
        "filter": optional_filter(request.filter)?,
        "params": params(request.params.as_ref()),
        "score_threshold": request.score_threshold,
        "limit": request.limit,
        "offset": request.offset,
        "with_vector": with_vectors(request.with_vectors),
        "with_payload": with_payload(request.with_payload),
    }))
}

fn prefetches(prefetches: Vec<PrefetchQuery>) -> Result<Value, NodeError> {
    let prefetches: Result<Vec<_>, NodeError> = prefetches
        .into_iter()
        .map(|prefetch| {
            Ok(json!({
                "prefetch": prefetches_of(prefetch.prefetch)?,
                "query": optional(prefetch.query, query)?,
                "using": prefetch.using,
                "filter": optional_filter(prefetch.filter)?,
                "params": params(prefetch.params.as_ref()),
                "score_threshold": prefetch.score_threshold,
                "limit": prefetch.limit,
            }))
        })
        .collect();
    Ok(Value::Array(prefetches?))
}

/// Protobuf's own decoder bounds the depth of this recursion.
fn prefetches_of(inner: Vec<PrefetchQuery>) -> Result<Value, NodeError> {
    prefetches(inner)
}

fn params(params: Option<&SearchParams>) -> Value {
    let Some(params) = params else {
        return Value::Null;
    };
    let quantization = params.quantization.as_ref().map(|quantization| {
        json!({
            "ignore": quantization.ignore.unwrap_or(false),
            "rescore": quantization.rescore,
            "oversampling": quantization.oversampling,
        })
    });
    json!({
        "hnsw_ef": params.hnsw_ef,
        "exact": params.exact.unwrap_or(false),
        "indexed_only": params.indexed_only.unwrap_or(false),
        "quantization": quantization,
    })
}

fn query(query: Query) -> Result<Value, NodeError> {
    let unsupported = |what: &str| Err(NodeError::Unsupported(format!("{what} queries")));
    match query.variant {
        None => Err(NodeError::BadInput("empty query".into())),
        Some(Variant::Nearest(input)) => Ok(json!({"nearest": vector_input(input)?})),
        Some(Variant::NearestWithMmr(nearest)) => {
            let mmr = nearest.mmr.unwrap_or_default();
            Ok(json!({
                "nearest": optional(nearest.nearest, vector_input)?,
                "mmr": {"diversity": mmr.diversity, "candidates_limit": mmr.candidates_limit},
            }))
        }
        Some(Variant::Recommend(input)) => recommend(input),
        Some(Variant::Discover(discover)) => Ok(json!({"discover": {
            "target": optional(discover.target, vector_input)?,
            "context": optional(discover.context, context)?,
        }})),
        Some(Variant::Context(input)) => Ok(json!({"context": context(input)?})),
        Some(Variant::OrderBy(by)) => Ok(json!({"order_by": order_by(by)?})),
        Some(Variant::Fusion(fusion)) => match Fusion::try_from(fusion) {
            Ok(Fusion::Rrf) => Ok(json!({"fusion": "rrf"})),
            Ok(Fusion::Dbsf) => Ok(json!({"fusion": "dbsf"})),
            Err(_) => Err(NodeError::BadInput("unknown fusion".into())),
        },
        Some(Variant::Rrf(rrf)) => {
            let weights = (!rrf.weights.is_empty()).then_some(rrf.weights);
            Ok(json!({"rrf": {"k": rrf.k, "weights": weights}}))
        }
        Some(Variant::Sample(_)) => Ok(json!({"sample": "random"})),
        Some(Variant::Formula(_)) => unsupported("formula"),
        Some(Variant::RelevanceFeedback(_)) => unsupported("relevance feedback"),
        Some(Variant::Text(_)) => unsupported("text"),
    }
}

fn recommend(input: RecommendInput) -> Result<Value, NodeError> {
    let inputs = |inputs: Vec<VectorInput>| -> Result<Vec<Value>, NodeError> {
        inputs.into_iter().map(vector_input).collect()
    };
    let strategy = match RecommendStrategy::try_from(input.strategy.unwrap_or_default()) {
        Ok(RecommendStrategy::AverageVector) => "average_vector",
        Ok(RecommendStrategy::BestScore) => "best_score",
        Ok(RecommendStrategy::SumScores) => "sum_scores",
        Err(_) => return Err(NodeError::BadInput("unknown strategy".into())),
    };
    Ok(json!({"recommend": {
        "positive": inputs(input.positive)?,
        "negative": inputs(input.negative)?,
        "strategy": strategy,
    }}))
}

fn context(context: ContextInput) -> Result<Value, NodeError> {
    let pairs: Result<Vec<_>, NodeError> = context
        .pairs
        .into_iter()
        .map(|pair| {
            Ok(json!({
                "positive": optional(pair.positive, vector_input)?,
                "negative": optional(pair.negative, vector_input)?,
            }))
        })
        .collect();
    Ok(Value::Array(pairs?))
}

fn vector_input(input: VectorInput) -> Result<Value, NodeError> {
    match input.variant {
        None => Err(NodeError::BadInput("empty vector input".into())),
        Some(Input::Id(point)) => id(point),
        Some(Input::Dense(dense)) => Ok(json!(dense.data)),
        Some(Input::Sparse(sparse)) => {
            Ok(json!({"indices": sparse.indices, "values": sparse.values}))
        }
        Some(Input::MultiDense(multi)) => {
            let rows: Vec<_> = multi.vectors.into_iter().map(|row| row.data).collect();
            Ok(json!(rows))
        }
        Some(Input::Document(_) | Input::Image(_) | Input::Object(_)) => {
            Err(NodeError::Unsupported("inference".into()))
        }
    }
}

/// An order, for queries and scrolls.
pub(super) fn order_by(order: OrderBy) -> Result<Value, NodeError> {
    let start_from = match order.start_from.and_then(|start| start.value) {
        None => Value::Null,
        Some(Start::Float(number)) => json!(number),
        Some(Start::Integer(number)) => json!(number),
        Some(Start::Datetime(text)) => json!(text),
        Some(Start::Timestamp(time)) => {
            let time = jiff::Timestamp::new(time.seconds, time.nanos)
                .map_err(|error| NodeError::BadInput(error.to_string()))?;
            json!(time.to_string())
        }
    };
    let descending = order.direction == Some(1);
    let direction = if descending { "desc" } else { "asc" };
    Ok(json!({"key": order.key, "direction": direction, "start_from": start_from}))
}

fn optional<T>(
    value: Option<T>,
    convert: impl FnOnce(T) -> Result<Value, NodeError>,
) -> Result<Value, NodeError> {
    value.map_or(Ok(Value::Null), convert)
}
