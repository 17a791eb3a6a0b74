//! Points with their vectors and payloads, by rows or by columns.

use super::read::{Fault, Need as _, fields, id, ids, list, maybe, object, put};
use crate::cbor::{Item, Walk};
use crate::change::{Floats, Point, Sparse, Vector, Vectors};

/// `{"points": […]}`, or `{"batch": {…}}`.
pub(super) fn insert<'a>(walk: &mut Walk<'a>) -> Result<Vec<Point<'a>>, Fault> {
    let mut found = None;
    fields(walk, |name, walk| match name {
        "points" => put(true, &mut found, || list(walk, point)),
        _ => put(name == "batch", &mut found, || batch(walk)),
    })?;
    found.need()
}

pub(super) fn point<'a>(walk: &mut Walk<'a>) -> Result<Point<'a>, Fault> {
    let (mut number, mut found, mut payload) = (None, None, None);
    fields(walk, |name, walk| match name {
        "id" => put(true, &mut number, || id(walk)),
        "vector" => put(true, &mut found, || vectors(walk)),
        _ => put(name == "payload", &mut payload, || maybe(walk, object)),
    })?;
    let (id, vectors) = (number.need()?, found.need()?);
    Ok(Point {
        id,
        vectors,
        payload: payload.flatten(),
    })
}

pub(super) fn point_vectors<'a>(walk: &mut Walk<'a>) -> Result<Point<'a>, Fault> {
    let (mut number, mut found) = (None, None);
    fields(walk, |name, walk| match name {
        "id" => put(true, &mut number, || id(walk)),
        _ => put(name == "vector", &mut found, || vectors(walk)),
    })?;
    let (id, vectors) = (number.need()?, found.need()?);
    Ok(Point {
        id,
        vectors,
        payload: None,
    })
}

fn vectors<'a>(walk: &mut Walk<'a>) -> Result<Vectors<'a>, Fault> {
    let mut begin = *walk;
    let Item::Map(mut pairs) = begin.item().need()? else {
        return vector(walk).map(Vectors::Default);
    };
    *walk = begin;
    let mut named = Vec::new();
    while pairs.next(walk).need()? {
        let name = walk.text().need()?;
        named.push((name, vector(walk).map_err(|fault| fault.under(name))?));
    }
    Ok(Vectors::Named(named))
}

fn vector<'a>(walk: &mut Walk<'a>) -> Result<Vector<'a>, Fault> {
    let mut begin = *walk;
    let mut items = match begin.item().need()? {
        Item::Map(_) => return sparse(walk).map(Vector::Sparse),
        Item::Array(items) => items,
        Item::Unsigned(_)
        | Item::Negative(_)
        | Item::Float(_)
        | Item::Text(_)
        | Item::Bytes(_)
        | Item::Bool(_)
        | Item::Null => return Err(Fault::malformed()),
    };
    let rows = items.next(&mut begin).need()? && begin.array().is_some();
    if rows {
        return list(walk, |walk| Floats::read(walk).need()).map(Vector::Multi);
    }
    Floats::read(walk).need().map(Vector::Dense)
}

fn sparse<'a>(walk: &mut Walk<'a>) -> Result<Sparse<'a>, Fault> {
    let (mut indices, mut values) = (None, None);
    fields(walk, |name, walk| match name {
        "indices" => put(true, &mut indices, || {
            list(walk, |walk| {
                u32::try_from(walk.unsigned().need()?).ok().need()
            })
        }),
        _ => put(name == "values", &mut values, || Floats::read(walk).need()),
    })?;
    let (indices, values) = (indices.need()?, values.need()?);
    if indices.len() != values.len() {
        return Err(Fault::malformed());
    }
    Ok(Sparse { indices, values })
}

/// Columns: ids, vectors, payloads. Points end with the shortest of them, as in Qdrant.
fn batch<'a>(walk: &mut Walk<'a>) -> Result<Vec<Point<'a>>, Fault> {
    let (mut numbers, mut columns, mut payloads) = (None, None, None);
    fields(walk, |name, walk| match name {
        "ids" => put(true, &mut numbers, || ids(walk)),
        "vectors" => put(true, &mut columns, || batch_vectors(walk)),
        _ => put(name == "payloads", &mut payloads, || {
            maybe(walk, |walk| list(walk, |walk| maybe(walk, object)))
        }),
    })?;
    let (numbers, payloads) = (numbers.need()?, payloads.flatten());
    let all = columns.need()?.rows(numbers.len());
    let mut points = Vec::with_capacity(numbers.len());
    for (at, (id, vectors)) in numbers.into_iter().zip(all).enumerate() {
        let payload = match &payloads {
            None => None,
            Some(payloads) => match payloads.get(at) {
                Some(payload) => *payload,
                None => break,
            },
        };
        points.push(Point {
            id,
            vectors,
            payload,
        });
    }
    Ok(points)
}

enum Columns<'a> {
    Default(Vec<Vector<'a>>),
    Named(Vec<(&'a str, Vec<Vector<'a>>)>),
}

impl<'a> Columns<'a> {
    fn rows(self, count: usize) -> Vec<Vectors<'a>> {
        let columns = match self {
            Self::Default(column) => return column.into_iter().map(Vectors::Default).collect(),
            Self::Named(columns) => columns,
        };
        let count = columns
            .iter()
            .map(|(_, column)| column.len())
            .min()
            .unwrap_or(count);
        let mut rows: Vec<_> = (0..count)
            .map(|_| Vec::with_capacity(columns.len()))
            .collect();
        for (name, column) in columns {
            for (row, vector) in rows.iter_mut().zip(column) {
                row.push((name, vector));
            }
        }
        rows.into_iter().map(Vectors::Named).collect()
    }
}

fn batch_vectors<'a>(walk: &mut Walk<'a>) -> Result<Columns<'a>, Fault> {
    let mut begin = *walk;
    let Item::Map(mut pairs) = begin.item().need()? else {
        return list(walk, vector).map(Columns::Default);
    };
    *walk = begin;
    let mut named = Vec::new();
    while pairs.next(walk).need()? {
        let name = walk.text().need()?;
        named.push((name, list(walk, vector)?));
    }
    Ok(Columns::Named(named))
}
