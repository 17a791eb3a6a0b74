//! From a [`Change`] to a [`Plan`].

use super::body::{Body, bare, upserts, vector_updates};
use super::{Plan, Refusal, Request, Select, Source};
use crate::change::{Change, Json, Point, PointId, Selection};
use std::collections::{BTreeSet, HashSet};

/// Ids that Qdrant treats together: behind the first such group of which one is missing, nothing is done (`PAYLOAD_OP_BATCH_SIZE`,
/// `VECTOR_OP_BATCH_SIZE`).
const GROUP: usize = 32;
/// Ids in one request, where all of them are there or it does not matter.
const MANY: usize = 10_000;

/// What to send so that the target's points of the source's shard change as the source's did.
///
/// # Errors
/// The operation does not belong to the shard, or can't be expressed.
pub fn plan<'a>(change: Change<'a>, source: &Source) -> Result<Plan<'a>, Refusal> {
    if !source.ring.shards().contains(&source.shard) {
        return Err(Refusal::NoSuchShard(source.shard));
    }
    belongs(&change, source)?;
    let alone = source.ring.shards().len() == 1;
    let select = |change: Change<'a>, filter| Select {
        change,
        source: source.clone(),
        filter,
        from: None,
        to: None,
    };
    if let Some(request) = everywhere(&change) {
        return Ok(request.map_or(Plan::Send(Vec::new()), Plan::Everywhere));
    }
    if let Change::Sync { from, to, .. } = change {
        return Ok(Plan::Select(Select {
            from,
            to,
            ..select(change, None)
        }));
    }
    let requests = match selection(&change) {
        Some(Selection::Filter(filter)) if alone => by_filter(&change, *filter, source),
        Some(Selection::Filter(filter)) => {
            let filter = Some(*filter);
            return Ok(Plan::Select(select(change, filter)));
        }
        Some(Selection::Ids(ids)) => by_ids(&change, ids, source)?,
        None => of_points(&change, source)?,
    };
    Ok(Plan::Send(requests))
}

/// What an operation on points applies to, if it does not bring them along.
pub(crate) fn selection<'c, 'a>(change: &'c Change<'a>) -> Option<&'c Selection<'a>> {
    match change {
        Change::Delete(of)
        | Change::DeleteVectors { of, .. }
        | Change::SetPayload { of, .. }
        | Change::OverwritePayload { of, .. }
        | Change::DeletePayload { of, .. }
        | Change::ClearPayload(of) => Some(of),
        Change::Upsert { .. }
        | Change::Sync { .. }
        | Change::UpdateVectors { .. }
        | Change::CreateIndex { .. }
        | Change::DeleteIndex { .. }
        | Change::CreateVector { .. }
        | Change::DeleteVector { .. } => None,
    }
}

/// The points that an operation brings along.
pub(crate) fn points<'c, 'a>(change: &'c Change<'a>) -> &'c [Point<'a>] {
    match change {
        Change::Upsert { points, .. }
        | Change::Sync { points, .. }
        | Change::UpdateVectors { points, .. } => points,
        Change::Delete(_)
        | Change::DeleteVectors { .. }
        | Change::SetPayload { .. }
        | Change::OverwritePayload { .. }
        | Change::DeletePayload { .. }
        | Change::ClearPayload(_)
        | Change::CreateIndex { .. }
        | Change::DeleteIndex { .. }
        | Change::CreateVector { .. }
        | Change::DeleteVector { .. } => &[],
    }
}

/// Every point that is named must be of the shard.
fn belongs(change: &Change<'_>, source: &Source) -> Result<(), Refusal> {
    let named: &[PointId] = match selection(change) {
        Some(Selection::Ids(ids)) => ids,
        Some(Selection::Filter(_)) | None => &[],
    };
    let brought = points(change).iter().map(|point| point.id);
    for id in named.iter().copied().chain(brought) {
        let belongs = source.ring.shard_of(id).unwrap_or(source.shard);
        if belongs != source.shard {
            let (id, shard) = (id.to_string(), source.shard);
            return Err(Refusal::OtherShard { id, shard, belongs });
        }
    }
    Ok(())
}

/// What concerns the collection as a whole; the inner `None` if it has no effect.
fn everywhere(change: &Change<'_>) -> Option<Option<Request>> {
    Some(match change {
        Change::CreateIndex { schema: None, .. } => None,
        Change::CreateIndex { field, schema } => {
            let mut body = Body::new();
            body.field("field_name").string(field);
            Some(
                body.json("field_schema", *schema)
                    .request("PUT", "index", false),
            )
        }
        Change::DeleteIndex { field } => Some(bare("DELETE", &format!("index/{}", segment(field)))),
        Change::CreateVector { name, config } => {
            let mut request = bare("PUT", &format!("vectors/{}", segment(name)));
            request.body = crate::json::text(*config).into_bytes();
            Some(request)
        }
        Change::DeleteVector { name } => {
            Some(bare("DELETE", &format!("vectors/{}", segment(name))))
        }
        Change::Upsert { .. }
        | Change::Delete(_)
        | Change::Sync { .. }
        | Change::UpdateVectors { .. }
        | Change::DeleteVectors { .. }
        | Change::SetPayload { .. }
        | Change::OverwritePayload { .. }
        | Change::DeletePayload { .. }
        | Change::ClearPayload(_) => return None,
    })
}

/// A part of a path, with everything encoded that could mean something there.
fn segment(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Operations that bring their points along.
fn of_points(change: &Change<'_>, source: &Source) -> Result<Vec<Request>, Refusal> {
    match change {
        // All in the request that is made first are judged before any is written, so no point must come twice.
        Change::Upsert { points, guard } => upserts(&last_of_each(points), guard.as_ref(), source),
        Change::UpdateVectors { points, filter } => {
            let different: HashSet<_> = points.iter().map(|point| point.id).collect();
            // With more, Qdrant draws which it treats together.
            let most = if different.len() <= GROUP {
                points.len()
            } else {
                GROUP
            };
            vector_updates(points, *filter, source, most)
        }
        Change::Delete(_)
        | Change::Sync { .. }
        | Change::DeleteVectors { .. }
        | Change::SetPayload { .. }
        | Change::OverwritePayload { .. }
        | Change::DeletePayload { .. }
        | Change::ClearPayload(_)
        | Change::CreateIndex { .. }
        | Change::DeleteIndex { .. }
        | Change::CreateVector { .. }
        | Change::DeleteVector { .. } => Ok(Vec::new()),
    }
}

/// Of points with one id the last.
fn last_of_each<'a>(points: &[Point<'a>]) -> Vec<Point<'a>> {
    let mut seen = HashSet::new();
    let mut kept: Vec<_> = points
        .iter()
        .rev()
        .filter(|point| seen.insert(point.id))
        .cloned()
        .collect();
    kept.reverse();
    kept
}

/// The operation on these points.
pub(super) fn by_ids(
    change: &Change<'_>,
    ids: &[PointId],
    source: &Source,
) -> Result<Vec<Request>, Refusal> {
    if let Change::Sync { points, .. } = change {
        let kept: BTreeSet<_> = points.iter().map(|point| point.id).collect();
        let gone: Vec<_> = ids
            .iter()
            .copied()
            .filter(|id| !kept.contains(id))
            .collect();
        let mut requests = chunks(
            &gone,
            MANY,
            &Change::Delete(Selection::Ids(Vec::new())),
            source,
        );
        requests.extend(upserts(&last_of_each(points), None, source)?);
        return Ok(requests);
    }
    let all_there = matches!(selection(change), Some(Selection::Filter(_)));
    let free = all_there || matches!(change, Change::Delete(_));
    Ok(chunks(ids, if free { MANY } else { GROUP }, change, source))
}

fn chunks(ids: &[PointId], size: usize, change: &Change<'_>, source: &Source) -> Vec<Request> {
    let requests = ids.chunks(size).filter_map(|ids| {
        let may_miss = size == GROUP;
        one(change, Body::new().source(source).ids(ids), may_miss)
    });
    requests.collect()
}

fn by_filter(change: &Change<'_>, filter: Json<'_>, source: &Source) -> Vec<Request> {
    let body = Body::new().source(source).json("filter", Some(filter));
    one(change, body, false).into_iter().collect()
}

/// The request for an operation whose points the body already names.
fn one(change: &Change<'_>, mut body: Body, may_miss: bool) -> Option<Request> {
    let (method, path) = match change {
        Change::Delete(_) => ("POST", "points/delete"),
        Change::ClearPayload(_) => ("POST", "points/payload/clear"),
        Change::DeleteVectors { names, .. } => {
            body.field("vector").texts(names);
            ("POST", "points/vectors/delete")
        }
        Change::DeletePayload { keys, .. } => {
            body.field("keys").texts(keys);
            ("POST", "points/payload/delete")
        }
        Change::SetPayload { payload, key, .. } => {
            if let Some(key) = key {
                body.field("key").string(key);
            }
            body.field("payload").json(*payload);
            ("POST", "points/payload")
        }
        Change::OverwritePayload { payload, .. } => {
            body.field("payload").json(*payload);
            ("PUT", "points/payload")
        }
        Change::Upsert { .. }
        | Change::Sync { .. }
        | Change::UpdateVectors { .. }
        | Change::CreateIndex { .. }
        | Change::DeleteIndex { .. }
        | Change::CreateVector { .. }
        | Change::DeleteVector { .. } => return None,
    };
    Some(body.request(method, path, may_miss))
}
