//! The universal query: body of `POST /points/query`, resolved into what the engine takes.
//!
//! Formula queries, relevance feedback, inference and look-up in another collection are refused.

use super::update::parse;
use super::vector_input::VectorInput;
use crate::NodeError;
use crate::answer::PointAnswer;
use crate::collection::Collection;
use holdfast_engine::model::{
    Condition, ContextPair, ContextQuery, DiscoverQuery, Filter, Fusion, Mmr, NamedQuery, OrderBy,
    OrderByInterface, OrderedFloat, PointId, Prefetch, QueryEnum, QueryRequest, RecommendQuery,
    Sample, ScoringQuery, SearchParams, VectorInternal, WithPayloadInterface, WithVector,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Body of a query.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct QueryBody {
    #[serde(flatten)]
    stage: StageBody,
    offset: Option<usize>,
    with_payload: Option<WithPayloadInterface>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
}

/// The part of a query that a prefetch has too.
#[derive(Clone, Debug, Default, Deserialize)]
struct StageBody {
    prefetch: Option<OneOrMany>,
    query: Option<Value>,
    using: Option<String>,
    filter: Option<Filter>,
    params: Option<SearchParams>,
    score_threshold: Option<f32>,
    limit: Option<usize>,
    lookup_from: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<StageBody>),
    One(Box<StageBody>),
}

/// Body of the older `POST /points/search`.
#[derive(Clone, Debug, Deserialize)]
pub struct SearchBody {
    vector: Value,
    #[serde(flatten)]
    query: QueryBody,
}

const DEFAULT_LIMIT: usize = 10;
const MAX_PREFETCH_DEPTH: usize = 8;
/// Qdrant's `k` in reciprocal rank fusion.
const DEFAULT_RRF_K: usize = 2;

impl SearchBody {
    /// The same as a query. A named vector is given as `{"name": …, "vector": …}`.
    #[must_use]
    pub fn into_query(mut self) -> QueryBody {
        let name = self.vector.get("name").and_then(Value::as_str);
        if let (Some(name), Some(vector)) = (name, self.vector.get("vector")) {
            self.query.stage.using = Some(name.to_owned());
            self.query.stage.query = Some(vector.clone());
        } else {
            self.query.stage.query = Some(self.vector);
        }
        self.query
    }
}

impl QueryBody {
    /// Answers the query.
    ///
    /// # Errors
    /// When the query is wrong or uses what this node hasn't.
    pub fn run(self, collection: &Collection) -> Result<Vec<PointAnswer>, NodeError> {
        let offset = self.offset.unwrap_or(0);
        let stage = self.stage.resolve(collection, 0)?;
        let request = QueryRequest {
            prefetches: stage.prefetches,
            query: stage.query,
            filter: stage.filter,
            score_threshold: stage.score_threshold,
            // the engine leaves the offset to the layer above, which is this one
            limit: stage.limit.saturating_add(offset),
            offset: 0,
            params: stage.params,
            with_vector: self.with_vector.unwrap_or(WithVector::Bool(false)),
            with_payload: self
                .with_payload
                .unwrap_or(WithPayloadInterface::Bool(false)),
        };
        let points = collection.with_shard(|shard| shard.query(request))?;
        Ok(points
            .into_iter()
            .skip(offset)
            .map(PointAnswer::from)
            .collect())
    }
}

impl StageBody {
    /// The stage in the engine's terms; what is scored by a vector gets the name it is for.
    fn resolve(self, collection: &Collection, depth: usize) -> Result<Prefetch, NodeError> {
        if depth > MAX_PREFETCH_DEPTH {
            return Err(NodeError::BadInput("prefetches are nested too deep".into()));
        }
        if self.lookup_from.is_some_and(|lookup| !lookup.is_null()) {
            return Err(NodeError::Unsupported("lookup_from".into()));
        }
        let prefetches = match self.prefetch {
            None => Vec::new(),
            Some(OneOrMany::One(stage)) => vec![stage.resolve(collection, depth + 1)?],
            Some(OneOrMany::Many(stages)) => stages
                .into_iter()
                .map(|stage| stage.resolve(collection, depth + 1))
                .collect::<Result<_, _>>()?,
        };
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        let using = self.using.unwrap_or_default();
        let mut input = VectorInput {
            collection,
            using: &using,
            named_ids: Vec::new(),
        };
        let query = match self.query.filter(|query| !query.is_null()) {
            None => None,
            Some(query) => Some(scoring(&query, &mut input, limit)?),
        };
        let named_ids = input.named_ids;
        Ok(Prefetch {
            prefetches,
            query,
            limit,
            params: self.params,
            filter: without(self.filter, &named_ids)?,
            score_threshold: self.score_threshold.map(OrderedFloat),
        })
    }
}

/// Adds "none of these ids" to a filter.
fn without(filter: Option<Filter>, ids: &[PointId]) -> Result<Option<Filter>, NodeError> {
    if ids.is_empty() {
        return Ok(filter);
    }
    let excluded: Condition = parse(json!({ "has_id": ids }))?;
    let mut filter = filter.unwrap_or_default();
    filter.must_not.get_or_insert_default().push(excluded);
    Ok(Some(filter))
}

fn scoring(
    query: &Value,
    input: &mut VectorInput<'_>,
    limit: usize,
) -> Result<ScoringQuery, NodeError> {
    let field = |name: &str| query.get(name).filter(|value| !value.is_null());
    if let Some(nearest) = field("nearest") {
        let vector = input.vector(nearest)?;
        return match field("mmr") {
            None => Ok(nearest_to(vector, input.using)),
            Some(mmr) => mmr_around(vector, mmr, input.using, limit),
        };
    }
    if let Some(recommend) = field("recommend") {
        return recommended(recommend, input);
    }
    if let Some(discover) = field("discover") {
        let target = input.vector(discover.get("target").unwrap_or(&Value::Null))?;
        let pairs = context_pairs(discover.get("context"), input)?;
        let discover = DiscoverQuery::new(target, pairs);
        return Ok(vector_query(QueryEnum::Discover(named(
            discover,
            input.using,
        ))));
    }
    if let Some(context) = field("context") {
        let context = ContextQuery::new(context_pairs(Some(context), input)?);
        return Ok(vector_query(QueryEnum::Context(named(
            context,
            input.using,
        ))));
    }
    if let Some(order_by) = field("order_by") {
        let order_by: OrderByInterface = parse(order_by.clone())?;
        return Ok(ScoringQuery::OrderBy(OrderBy::from(order_by)));
    }
    if let Some(fusion) = field("fusion") {
        return match fusion.as_str() {
            Some("rrf") => Ok(rrf(None, None)),
            Some("dbsf") => Ok(ScoringQuery::Fusion(Fusion::Dbsf)),
            Some(_) | None => Err(NodeError::Format(format!("unknown fusion {fusion}"))),
        };
    }
    if let Some(parameters) = field("rrf") {
        let k = parameters
            .get("k")
            .cloned()
            .map(parse)
            .transpose()?
            .flatten();
        let weights = parameters
            .get("weights")
            .cloned()
            .map(parse)
            .transpose()?
            .flatten();
        return Ok(rrf(k, weights));
    }
    if let Some(sample) = field("sample") {
        return match sample.as_str() {
            Some("random") => Ok(ScoringQuery::Sample(Sample::Random)),
            Some(_) | None => Err(NodeError::Format(format!("unknown sample {sample}"))),
        };
    }
    for name in ["formula", "relevance_feedback"] {
        if field(name).is_some() {
            return Err(NodeError::Unsupported(format!("{name} queries")));
        }
    }
    Ok(nearest_to(input.vector(query)?, input.using))
}

fn named<T>(query: T, using: &str) -> NamedQuery<T> {
    NamedQuery {
        query,
        using: (!using.is_empty()).then(|| using.to_owned()),
    }
}

fn vector_query(query: QueryEnum) -> ScoringQuery {
    ScoringQuery::Vector(query)
}

fn nearest_to(vector: VectorInternal, using: &str) -> ScoringQuery {
    vector_query(QueryEnum::Nearest(named(vector, using)))
}

fn rrf(k: Option<usize>, weights: Option<Vec<f32>>) -> ScoringQuery {
    ScoringQuery::Fusion(Fusion::Rrf {
        k: k.unwrap_or(DEFAULT_RRF_K),
        weights: weights.map(|weights| weights.into_iter().map(OrderedFloat).collect()),
    })
}

fn mmr_around(
    vector: VectorInternal,
    mmr: &Value,
    using: &str,
    limit: usize,
) -> Result<ScoringQuery, NodeError> {
    #[derive(Deserialize)]
    struct MmrBody {
        diversity: Option<f32>,
        candidates_limit: Option<usize>,
    }
    let mmr: MmrBody = parse(mmr.clone())?;
    Ok(ScoringQuery::Mmr(Mmr {
        vector,
        using: using.to_owned(),
        lambda: OrderedFloat(1.0 - mmr.diversity.unwrap_or(0.5)),
        candidates_limit: mmr.candidates_limit.unwrap_or(limit),
    }))
}

fn context_pairs(
    context: Option<&Value>,
    input: &mut VectorInput<'_>,
) -> Result<Vec<ContextPair<VectorInternal>>, NodeError> {
    let pairs = match context {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(pairs)) => pairs.iter().collect(),
        Some(pair) => vec![pair],
    };
    let side = |pair: &Value, name: &str, input: &mut VectorInput<'_>| {
        input.vector(pair.get(name).unwrap_or(&Value::Null))
    };
    pairs
        .into_iter()
        .map(|pair| {
            Ok(ContextPair {
                positive: side(pair, "positive", input)?,
                negative: side(pair, "negative", input)?,
            })
        })
        .collect()
}

fn recommended(recommend: &Value, input: &mut VectorInput<'_>) -> Result<ScoringQuery, NodeError> {
    let positives = input.vectors(recommend.get("positive"))?;
    let negatives = input.vectors(recommend.get("negative"))?;
    let strategy = recommend.get("strategy").and_then(Value::as_str);
    match strategy.unwrap_or("average_vector") {
        "average_vector" => {
            let vector = average(&positives, &negatives)?;
            Ok(nearest_to(VectorInternal::Dense(vector), input.using))
        }
        "best_score" => {
            let query = named(RecommendQuery::new(positives, negatives), input.using);
            Ok(vector_query(QueryEnum::RecommendBestScore(query)))
        }
        "sum_scores" => {
            let query = named(RecommendQuery::new(positives, negatives), input.using);
            Ok(vector_query(QueryEnum::RecommendSumScores(query)))
        }
        other => Err(NodeError::Format(format!("unknown strategy {other:?}"))),
    }
}

/// Mean of the positives, moved away from the mean of the negatives by their difference.
fn average(
    positives: &[VectorInternal],
    negatives: &[VectorInternal],
) -> Result<Vec<f32>, NodeError> {
    let positive = mean(positives)?.ok_or_else(|| {
        NodeError::BadInput("At least one positive vector ID required with this strategy".into())
    })?;
    let Some(negative) = mean(negatives)? else {
        return Ok(positive);
    };
    let pairs = positive.iter().zip(&negative);
    Ok(pairs.map(|(p, n)| p + p - n).collect())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a request can't hold 2^24 examples"
)]
fn mean(vectors: &[VectorInternal]) -> Result<Option<Vec<f32>>, NodeError> {
    let mut sum: Option<Vec<f32>> = None;
    for vector in vectors {
        let VectorInternal::Dense(vector) = vector else {
            return Err(NodeError::Unsupported(
                "average_vector over sparse or multi vectors".into(),
            ));
        };
        let sum = sum.get_or_insert_with(|| vec![0.0; vector.len()]);
        if sum.len() != vector.len() {
            let text = format!("expected dim: {}, got {}", sum.len(), vector.len());
            return Err(NodeError::BadInput(format!(
                "Vector dimension error: {text}"
            )));
        }
        for (total, value) in sum.iter_mut().zip(vector) {
            *total += value;
        }
    }
    let count = vectors.len() as f32;
    Ok(sum.map(|sum| sum.into_iter().map(|total| total / count).collect()))
}
