//! From an entry's bytes to a [`Change`]. Fields come in any order, so each is kept until the map has ended.

mod insert;
mod read;

use super::shape;
use super::{Change, Entry, Guard, Mode, Selection, Unread};
use crate::cbor::Walk;
use crate::change::{Json, PointId};
use crate::operation::{CLOCK_TAG, ClockTag, clock_tag};
use insert::{insert, point, point_vectors};
pub(super) use read::{Fault, Need};
use read::{fields, id, ids, json, list, maybe, object, put, texts};

pub(super) fn entry(bytes: &[u8]) -> Result<Entry<'_>, Unread> {
    let (kind, body, clock) = envelope(bytes).ok_or(Unread::NotAnOperation)?;
    let mut walk = Walk::new(body);
    let change = change(kind, &mut walk).map_err(|fault| fault.of(kind))?;
    let change = change.ok_or_else(|| Unread::UnknownKind(kind.to_owned()))?;
    Ok(Entry {
        kind,
        change,
        clock,
    })
}

type Envelope<'a> = (&'a str, &'a [u8], Option<ClockTag>);

/// The one key that names the kind, its value, and the clock tag.
fn envelope(bytes: &[u8]) -> Option<Envelope<'_>> {
    let mut walk = Walk::new(bytes);
    let mut pairs = walk.map()?;
    let (mut kind, mut clock) = (None, None);
    while pairs.next(&mut walk)? {
        match walk.text()? {
            CLOCK_TAG if walk.is_null() => walk.skip()?,
            CLOCK_TAG => clock = Some(clock_tag(&mut walk)?),
            name => {
                if kind.replace((name, walk.raw()?)).is_some() {
                    return None;
                }
            }
        }
    }
    let (kind, body) = kind?;
    walk.is_at_end().then_some((kind, body, clock))
}

/// `None`: a kind that is not known.
fn change<'a>(kind: &str, walk: &mut Walk<'a>) -> Result<Option<Change<'a>>, Fault> {
    Ok(Some(match kind {
        "upsert_points" => Change::Upsert {
            points: insert(walk)?,
            guard: None,
        },
        "upsert_points_conditional" => conditional(walk)?,
        "delete_points" => {
            let mut found = None;
            fields(walk, |name, walk| {
                put(name == "ids", &mut found, || ids(walk))
            })?;
            Change::Delete(Selection::Ids(found.need()?))
        }
        "delete_points_by_filter" => Change::Delete(Selection::Filter(json(walk, &shape::FILTER)?)),
        "sync_points" => sync(walk)?,
        "update_vectors" => update_vectors(walk)?,
        "delete_vectors" => delete_vectors(walk, |walk| {
            let mut found = None;
            fields(walk, |name, walk| match name {
                // Which shards it was sent to; the log belongs to one of them.
                "shard_key" => walk.skip().need().map(|()| true),
                _ => put(name == "points", &mut found, || ids(walk)),
            })?;
            found.map(Selection::Ids).need()
        })?,
        "delete_vectors_by_filter" => delete_vectors(walk, |walk| {
            Ok(Selection::Filter(json(walk, &shape::FILTER)?))
        })?,
        "set_payload" | "overwrite_payload" => set_payload(walk, kind == "set_payload")?,
        "delete_payload" => delete_payload(walk)?,
        "clear_payload" => {
            let mut found = None;
            fields(walk, |name, walk| {
                put(name == "points", &mut found, || ids(walk))
            })?;
            Change::ClearPayload(Selection::Ids(found.need()?))
        }
        "clear_payload_by_filter" => {
            Change::ClearPayload(Selection::Filter(json(walk, &shape::FILTER)?))
        }
        "create_index" => create_index(walk)?,
        "delete_index" => Change::DeleteIndex {
            field: walk.text().need()?,
        },
        "create_vector_name" => create_vector(walk)?,
        "delete_vector_name" => {
            let mut found = None;
            fields(walk, |name, walk| {
                put(name == "vector_name", &mut found, || walk.text().need())
            })?;
            Change::DeleteVector {
                name: found.need()?,
            }
        }
        _ => return Ok(None),
    }))
}

fn conditional<'a>(walk: &mut Walk<'a>) -> Result<Change<'a>, Fault> {
    let (mut points, mut filter, mut mode) = (None, None, None);
    fields(walk, |name, walk| match name {
        "points_op" => put(true, &mut points, || insert(walk)),
        "condition" => put(true, &mut filter, || json(walk, &shape::FILTER)),
        _ => put(name == "update_mode", &mut mode, || {
            maybe(walk, update_mode)
        }),
    })?;
    let guard = Guard {
        filter: filter.need()?,
        mode: mode.flatten(),
    };
    Ok(Change::Upsert {
        points: points.need()?,
        guard: Some(guard),
    })
}

fn update_mode(walk: &mut Walk<'_>) -> Result<Mode, Fault> {
    let name = walk.text().need()?;
    let known = [Mode::Upsert, Mode::InsertOnly, Mode::UpdateOnly];
    let known = known.into_iter().find(|mode| mode.name() == name);
    known.ok_or_else(|| Fault::unknown(name))
}

fn sync<'a>(walk: &mut Walk<'a>) -> Result<Change<'a>, Fault> {
    let (mut from, mut to, mut points) = (None, None, None);
    fields(walk, |name, walk| match name {
        "from_id" => put(true, &mut from, || maybe(walk, id)),
        "to_id" => put(true, &mut to, || maybe(walk, id)),
        _ => put(name == "points", &mut points, || list(walk, point)),
    })?;
    let (from, to) = (from.flatten(), to.flatten());
    Ok(Change::Sync {
        from,
        to,
        points: points.need()?,
    })
}

fn update_vectors<'a>(walk: &mut Walk<'a>) -> Result<Change<'a>, Fault> {
    let (mut points, mut filter) = (None, None);
    fields(walk, |name, walk| match name {
        "points" => put(true, &mut points, || list(walk, point_vectors)),
        _ => put(name == "update_filter", &mut filter, || {
            maybe(walk, |walk| json(walk, &shape::FILTER))
        }),
    })?;
    let filter = filter.flatten();
    Ok(Change::UpdateVectors {
        points: points.need()?,
        filter,
    })
}

/// An array of two: which points, and which vectors.
fn delete_vectors<'a>(
    walk: &mut Walk<'a>,
    of: impl FnOnce(&mut Walk<'a>) -> Result<Selection<'a>, Fault>,
) -> Result<Change<'a>, Fault> {
    let mut items = walk.array().need()?;
    let mut another = |walk: &mut Walk<'a>| items.next(walk).need();
    if !another(walk)? {
        return Err(Fault::malformed());
    }
    let of = of(walk)?;
    if !another(walk)? {
        return Err(Fault::malformed());
    }
    let names = texts(walk)?;
    if another(walk)? {
        return Err(Fault::unknown("a third item"));
    }
    Ok(Change::DeleteVectors { of, names })
}

fn set_payload<'a>(walk: &mut Walk<'a>, merge: bool) -> Result<Change<'a>, Fault> {
    let (mut payload, mut points, mut filter, mut key) = (None, None, None, None);
    fields(walk, |name, walk| match name {
        "payload" => put(true, &mut payload, || object(walk)),
        "points" => put(true, &mut points, || maybe(walk, ids)),
        "filter" => put(true, &mut filter, || {
            maybe(walk, |w| json(w, &shape::FILTER))
        }),
        _ => put(name == "key", &mut key, || maybe(walk, |w| w.text().need())),
    })?;
    let (payload, of) = (
        payload.need()?,
        selection(points.flatten(), filter.flatten()),
    );
    Ok(if merge {
        Change::SetPayload {
            payload,
            of,
            key: key.flatten(),
        }
    } else {
        Change::OverwritePayload { payload, of }
    })
}

fn delete_payload<'a>(walk: &mut Walk<'a>) -> Result<Change<'a>, Fault> {
    let (mut keys, mut points, mut filter) = (None, None, None);
    fields(walk, |name, walk| match name {
        "keys" => put(true, &mut keys, || texts(walk)),
        "points" => put(true, &mut points, || maybe(walk, ids)),
        _ => put(name == "filter", &mut filter, || {
            maybe(walk, |walk| json(walk, &shape::FILTER))
        }),
    })?;
    let of = selection(points.flatten(), filter.flatten());
    Ok(Change::DeletePayload {
        keys: keys.need()?,
        of,
    })
}

/// Ids count where both are given. With neither Qdrant does nothing.
fn selection<'a>(points: Option<Vec<PointId>>, filter: Option<Json<'a>>) -> Selection<'a> {
    match (points, filter) {
        (Some(points), _) => Selection::Ids(points),
        (None, Some(filter)) => Selection::Filter(filter),
        (None, None) => Selection::Ids(Vec::new()),
    }
}

fn create_index<'a>(walk: &mut Walk<'a>) -> Result<Change<'a>, Fault> {
    let (mut field, mut schema) = (None, None);
    fields(walk, |name, walk| match name {
        "field_name" => put(true, &mut field, || walk.text().need()),
        _ => put(name == "field_schema", &mut schema, || {
            maybe(walk, |walk| json(walk, &shape::SCHEMA))
        }),
    })?;
    let schema = schema.flatten();
    Ok(Change::CreateIndex {
        field: field.need()?,
        schema,
    })
}

fn create_vector<'a>(walk: &mut Walk<'a>) -> Result<Change<'a>, Fault> {
    let (mut vector, mut config) = (None, None);
    fields(walk, |name, walk| match name {
        "vector_name" => put(true, &mut vector, || walk.text().need()),
        _ => put(name == "config", &mut config, || json(walk, &shape::VECTOR)),
    })?;
    Ok(Change::CreateVector {
        name: vector.need()?,
        config: config.need()?,
    })
}
