//! Filters, ids and selectors of gRPC in the JSON of the REST interface.

use crate::NodeError;
use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::with_payload_selector::SelectorOptions as PayloadOptions;
use qdrant_client::qdrant::with_vectors_selector::SelectorOptions as VectorOptions;
use qdrant_client::qdrant::{
    Condition, DatetimeRange, FieldCondition, Filter, GeoPoint, PointId, PointsSelector,
    WithPayloadSelector, WithVectorsSelector,
};
use serde_json::{Map, Value, json};

/// A filter.
pub(super) fn filter(filter: Filter) -> Result<Value, NodeError> {
    let mut out = Map::new();
    for (name, conditions) in [
        ("must", filter.must),
        ("should", filter.should),
        ("must_not", filter.must_not),
    ] {
        if !conditions.is_empty() {
            out.insert(name.into(), list(conditions)?);
        }
    }
    if let Some(min) = filter.min_should {
        let conditions = list(min.conditions)?;
        out.insert(
            "min_should".into(),
            json!({"conditions": conditions, "min_count": min.min_count}),
        );
    }
    Ok(Value::Object(out))
}

/// A filter that may be absent.
pub(super) fn optional_filter(maybe: Option<Filter>) -> Result<Value, NodeError> {
    maybe.map_or(Ok(Value::Null), filter)
}

fn list(conditions: Vec<Condition>) -> Result<Value, NodeError> {
    let conditions = conditions.into_iter();
    let conditions: Result<Vec<_>, _> = conditions.map(condition).collect();
    Ok(Value::Array(conditions?))
}

fn condition(condition: Condition) -> Result<Value, NodeError> {
    let Some(condition) = condition.condition_one_of else {
        return Err(NodeError::BadInput("empty condition".into()));
    };
    match condition {
        ConditionOneOf::Field(field) => field_condition(field),
        ConditionOneOf::IsEmpty(empty) => Ok(json!({"is_empty": {"key": empty.key}})),
        ConditionOneOf::IsNull(absent) => Ok(json!({"is_null": {"key": absent.key}})),
        ConditionOneOf::HasVector(has) => Ok(json!({"has_vector": has.has_vector})),
        ConditionOneOf::HasId(has) => Ok(json!({"has_id": ids(has.has_id)?})),
        ConditionOneOf::Filter(inner) => filter(inner),
        ConditionOneOf::Nested(nested) => {
            let inner = optional_filter(nested.filter)?;
            Ok(json!({"nested": {"key": nested.key, "filter": inner}}))
        }
        ConditionOneOf::Slice(_) => Err(NodeError::Unsupported("slice conditions".into())),
    }
}

fn field_condition(field: FieldCondition) -> Result<Value, NodeError> {
    let mut out = json!({"key": field.key});
    if let Some(value) = field.r#match.and_then(|matched| matched.match_value) {
        out["match"] = match_value(value)?;
    }
    if let Some(range) = field.range {
        out["range"] = json!({"lt": range.lt, "gt": range.gt, "gte": range.gte, "lte": range.lte});
    }
    if let Some(range) = field.datetime_range {
        out["range"] = datetime_range(&range)?;
    }
    if let Some(count) = field.values_count {
        out["values_count"] =
            json!({"lt": count.lt, "gt": count.gt, "gte": count.gte, "lte": count.lte});
    }
    if let Some(bounds) = field.geo_bounding_box {
        out["geo_bounding_box"] = json!({
            "top_left": point(bounds.top_left),
            "bottom_right": point(bounds.bottom_right),
        });
    }
    if let Some(circle) = field.geo_radius {
        out["geo_radius"] = json!({"center": point(circle.center), "radius": circle.radius});
    }
    if field.geo_polygon.is_some() {
        return Err(NodeError::Unsupported("geo_polygon over gRPC".into()));
    }
    if let Some(empty) = field.is_empty {
        out["is_empty"] = json!(empty);
    }
    if let Some(absent) = field.is_null {
        out["is_null"] = json!(absent);
    }
    Ok(out)
}

fn match_value(value: MatchValue) -> Result<Value, NodeError> {
    Ok(match value {
        MatchValue::Keyword(text) => json!({ "value": text }),
        MatchValue::Integer(number) => json!({ "value": number }),
        MatchValue::Boolean(flag) => json!({ "value": flag }),
        MatchValue::Text(text) => json!({ "text": text }),
        MatchValue::Phrase(text) => json!({ "phrase": text }),
        MatchValue::TextAny(text) => json!({ "text_any": text }),
        MatchValue::Keywords(any) => json!({ "any": any.strings }),
        MatchValue::Integers(any) => json!({ "any": any.integers }),
        MatchValue::ExceptKeywords(except) => json!({ "except": except.strings }),
        MatchValue::ExceptIntegers(except) => json!({ "except": except.integers }),
        MatchValue::Prefix(_) | MatchValue::Substring(_) => {
            return Err(NodeError::Unsupported("prefix and substring match".into()));
        }
    })
}

fn datetime_range(range: &DatetimeRange) -> Result<Value, NodeError> {
    let mut out = Map::new();
    for (name, bound) in [
        ("lt", &range.lt),
        ("gt", &range.gt),
        ("gte", &range.gte),
        ("lte", &range.lte),
    ] {
        if let Some(bound) = bound {
            let time = jiff::Timestamp::new(bound.seconds, bound.nanos)
                .map_err(|error| NodeError::BadInput(error.to_string()))?;
            out.insert(name.into(), json!(time.to_string()));
        }
    }
    Ok(Value::Object(out))
}

fn point(point: Option<GeoPoint>) -> Value {
    point.map_or(
        Value::Null,
        |point| json!({"lon": point.lon, "lat": point.lat}),
    )
}

/// A point id.
pub(super) fn id(id: PointId) -> Result<Value, NodeError> {
    match id.point_id_options {
        Some(PointIdOptions::Num(number)) => Ok(json!(number)),
        Some(PointIdOptions::Uuid(uuid)) => Ok(json!(uuid)),
        None => Err(NodeError::BadInput("empty point id".into())),
    }
}

/// Point ids.
pub(super) fn ids(ids: Vec<PointId>) -> Result<Value, NodeError> {
    let ids: Result<Vec<_>, _> = ids.into_iter().map(id).collect();
    Ok(Value::Array(ids?))
}

/// Which points an operation is for: `{"points": …}` or `{"filter": …}`.
pub(super) fn selector(selector: Option<PointsSelector>) -> Result<Value, NodeError> {
    match selector.and_then(|selector| selector.points_selector_one_of) {
        Some(PointsSelectorOneOf::Points(points)) => Ok(json!({"points": ids(points.ids)?})),
        Some(PointsSelectorOneOf::Filter(by)) => Ok(json!({"filter": filter(by)?})),
        None => Err(NodeError::BadInput("PointsSelector is missing".into())),
    }
}

/// Which payload to return; null if not said.
pub(super) fn with_payload(selector: Option<WithPayloadSelector>) -> Value {
    match selector.and_then(|selector| selector.selector_options) {
        Some(PayloadOptions::Enable(enable)) => json!(enable),
        Some(PayloadOptions::Include(include)) => json!({ "include": include.fields }),
        Some(PayloadOptions::Exclude(exclude)) => json!({ "exclude": exclude.fields }),
        None => Value::Null,
    }
}

/// Which vectors to return.
pub(super) fn with_vectors(selector: Option<WithVectorsSelector>) -> Value {
    match selector.and_then(|selector| selector.selector_options) {
        Some(VectorOptions::Enable(enable)) => json!(enable),
        Some(VectorOptions::Include(include)) => json!(include.names),
        None => json!(false),
    }
}
