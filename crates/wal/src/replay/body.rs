//! Bodies of requests.

use super::{Refusal, Request, Source};
use crate::change::{Guard, Json, Point, PointId, Sparse, Vector, Vectors};
use crate::json::{Text, number};

/// A body is ended behind the point with which it reaches this size, in bytes: servers refuse requests of more than 32 MiB.
const MAX_BODY: usize = 8 << 20;

/// A body that is being written: an object, to which fields are added.
pub(super) struct Body {
    text: Text,
}

impl Body {
    pub(super) fn new() -> Self {
        let mut text = Text::default();
        text.push("{");
        Self { text }
    }

    pub(super) fn field(&mut self, name: &str) -> &mut Text {
        let first = self.text.bytes.len() == 1;
        self.text.comma(usize::from(!first));
        self.text.string(name);
        self.text.push(":");
        &mut self.text
    }

    pub(super) fn json(mut self, name: &str, json: Option<Json<'_>>) -> Self {
        if let Some(json) = json {
            self.field(name).json(json);
        }
        self
    }

    pub(super) fn ids(mut self, ids: &[PointId]) -> Self {
        self.field("points").ids(ids);
        self
    }

    pub(super) fn source(mut self, source: &Source) -> Self {
        if let Some(key) = &source.key {
            self.field("shard_key").push(key);
        }
        self
    }

    fn guard(self, guard: Option<&Guard<'_>>) -> Self {
        let Some(guard) = guard else {
            return self;
        };
        let mut body = self.json("update_filter", Some(guard.filter));
        if let Some(mode) = guard.mode {
            body.field("update_mode").string(mode.name());
        }
        body
    }

    pub(super) fn request(mut self, method: &'static str, path: &str, may_miss: bool) -> Request {
        self.text.push("}");
        Request {
            method,
            path: format!("{path}?wait=true&ordering=medium"),
            body: self.text.bytes,
            may_miss,
            inexact: self.text.inexact,
        }
    }
}

/// A request without a body.
pub(super) fn bare(method: &'static str, path: &str) -> Request {
    let mut request = Body::new().request(method, path, false);
    request.body.clear();
    request
}

/// Upserts of all points, in as many requests as it takes.
pub(super) fn upserts(
    points: &[Point<'_>],
    guard: Option<&Guard<'_>>,
    source: &Source,
) -> Result<Vec<Request>, Refusal> {
    let mut requests = Vec::new();
    let mut left = points;
    while !left.is_empty() {
        let mut body = Body::new().source(source).guard(guard);
        left = some(body.field("points"), left, true)?;
        requests.push(body.request("PUT", "points", false));
    }
    Ok(requests)
}

/// Vectors of all points, in as many requests as it takes; so many points in each at most.
pub(super) fn vector_updates(
    points: &[Point<'_>],
    filter: Option<Json<'_>>,
    source: &Source,
    most: usize,
) -> Result<Vec<Request>, Refusal> {
    let mut requests = Vec::new();
    for chunk in points.chunks(most.max(1)) {
        let mut left = chunk;
        while !left.is_empty() {
            let mut body = Body::new().source(source).json("update_filter", filter);
            left = some(body.field("points"), left, false)?;
            requests.push(body.request("PUT", "points/vectors", true));
        }
    }
    Ok(requests)
}

/// Writes points until they are enough for a body; those that are left.
fn some<'p, 'a>(
    text: &mut Text,
    points: &'p [Point<'a>],
    payloads: bool,
) -> Result<&'p [Point<'a>], Refusal> {
    text.push("[");
    let mut done = 0;
    for point in points {
        if text.bytes.len() >= MAX_BODY {
            break;
        }
        text.comma(done);
        self::point(text, point, payloads)?;
        done += 1;
    }
    text.push("]");
    Ok(&points[done..])
}

fn point(text: &mut Text, point: &Point<'_>, payloads: bool) -> Result<(), Refusal> {
    text.push("{\"id\":");
    text.id(point.id);
    text.push(",\"vector\":");
    vectors(text, &point.vectors).ok_or_else(|| Refusal::NotANumber(point.id.to_string()))?;
    if let Some(payload) = point.payload.filter(|_| payloads) {
        text.push(",\"payload\":");
        text.json(payload);
    }
    text.push("}");
    Ok(())
}

/// `None` if one holds what is no number.
fn vectors(text: &mut Text, vectors: &Vectors<'_>) -> Option<()> {
    let named = match vectors {
        Vectors::Default(one) => return vector(text, one),
        Vectors::Named(named) => named,
    };
    text.push("{");
    for (at, (name, one)) in named.iter().enumerate() {
        text.comma(at);
        text.string(name);
        text.push(":");
        vector(text, one)?;
    }
    text.push("}");
    Some(())
}

fn vector(text: &mut Text, vector: &Vector<'_>) -> Option<()> {
    match vector {
        Vector::Dense(values) => floats(text, values.iter()),
        Vector::Multi(rows) => {
            let mut all = Some(());
            text.list(rows, |text, row| {
                all = all.and(floats(text, row.iter()));
            });
            all
        }
        Vector::Sparse(Sparse { indices, values }) => {
            text.push("{\"indices\":");
            text.list(indices, |text, index| text.display(index));
            text.push(",\"values\":");
            floats(text, values.iter())?;
            text.push("}");
            Some(())
        }
    }
}

fn floats(text: &mut Text, values: impl Iterator<Item = f32>) -> Option<()> {
    text.push("[");
    for (at, value) in values.enumerate() {
        text.comma(at);
        if !number::write_f32(value, &mut text.bytes) {
            return None;
        }
    }
    text.push("]");
    Some(())
}
