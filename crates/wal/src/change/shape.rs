//! Which fields filters, index schemas and vector configurations have. They are handed on as they are, so what matters is that none is there
//! that the reader of the request would pass over in silence.

use super::decode::{Fault, Need as _};
use crate::cbor::{Item, Walk};

/// What may stand somewhere.
pub(super) enum Shape {
    /// Any JSON.
    Any,
    /// Point ids: numbers, texts, and UUIDs as bytes.
    Ids,
    /// A map with some of these fields; something else than a map or an array is left to the server.
    Fields(&'static [(&'static str, &'static Shape)]),
    /// Such an item, or an array of them.
    Many(&'static Shape),
}

use Shape::{Any, Fields, Ids, Many};

static CONDITIONS: Shape = Many(&CONDITION);
/// Every kind of condition in one: a filter is one, too.
static CONDITION: Shape = Fields(&[
    ("must", &CONDITIONS),
    ("should", &CONDITIONS),
    ("must_not", &CONDITIONS),
    (
        "min_should",
        &Fields(&[("conditions", &CONDITIONS), ("min_count", &Any)]),
    ),
    ("key", &Any),
    ("match", &MATCH),
    ("range", &RANGE),
    ("values_count", &RANGE),
    (
        "geo_bounding_box",
        &Fields(&[("top_left", &PLACE), ("bottom_right", &PLACE)]),
    ),
    (
        "geo_radius",
        &Fields(&[("center", &PLACE), ("radius", &Any)]),
    ),
    (
        "geo_polygon",
        &Fields(&[("exterior", &LINE), ("interiors", &Many(&LINE))]),
    ),
    ("is_empty", &FIELD),
    ("is_null", &FIELD),
    ("has_id", &Ids),
    ("has_vector", &Any),
    ("nested", &Fields(&[("key", &Any), ("filter", &FILTER)])),
]);
static MATCH: Shape = Fields(&[
    ("value", &Any),
    ("text", &Any),
    ("text_any", &Any),
    ("phrase", &Any),
    ("any", &Any),
    ("except", &Any),
]);
static RANGE: Shape = Fields(&[("lt", &Any), ("gt", &Any), ("lte", &Any), ("gte", &Any)]);
static PLACE: Shape = Fields(&[("lon", &Any), ("lat", &Any)]);
static LINE: Shape = Fields(&[("points", &Many(&PLACE))]);
static FIELD: Shape = Fields(&[("key", &Any)]);

/// A filter.
pub(super) static FILTER: Shape = Fields(&[
    ("must", &CONDITIONS),
    ("should", &CONDITIONS),
    ("must_not", &CONDITIONS),
    (
        "min_should",
        &Fields(&[("conditions", &CONDITIONS), ("min_count", &Any)]),
    ),
]);

/// The type of a payload index, or the parameters of any type.
pub(super) static SCHEMA: Shape = Fields(&[
    ("type", &Any),
    ("is_tenant", &Any),
    ("on_disk", &Any),
    ("enable_hnsw", &Any),
    ("lookup", &Any),
    ("range", &Any),
    ("is_principal", &Any),
    ("tokenizer", &Any),
    ("min_token_len", &Any),
    ("max_token_len", &Any),
    ("lowercase", &Any),
    ("ascii_folding", &Any),
    ("phrase_matching", &Any),
    (
        "stopwords",
        &Fields(&[("languages", &Any), ("custom", &Any)]),
    ),
    ("stemmer", &Fields(&[("type", &Any), ("language", &Any)])),
]);

/// The parameters of a named vector.
pub(super) static VECTOR: Shape = Fields(&[
    (
        "dense",
        &Fields(&[
            ("size", &Any),
            ("distance", &Any),
            ("multivector_config", &Fields(&[("comparator", &Any)])),
            ("datatype", &Any),
        ]),
    ),
    ("sparse", &Fields(&[("modifier", &Any), ("datatype", &Any)])),
]);

/// Any JSON.
pub(super) static ANY: Shape = Any;

/// Qdrant's own limit for JSON is half of it.
const MAX_DEPTH: u32 = 256;

/// Passes over a value and refuses what does not fit.
pub(super) fn check(walk: &mut Walk<'_>, shape: &'static Shape) -> Result<(), Fault> {
    within(walk, shape, MAX_DEPTH)
}

fn within(walk: &mut Walk<'_>, shape: &'static Shape, depth: u32) -> Result<(), Fault> {
    let inner = depth.checked_sub(1).need()?;
    match (walk.item().need()?, shape) {
        (Item::Map(mut pairs), Any | Ids) => {
            while pairs.next(walk).need()? {
                walk.text().need()?;
                within(walk, &ANY, inner)?;
            }
        }
        (Item::Map(mut pairs), Fields(_) | Many(_)) => {
            let mut shape = shape;
            while let Many(one) = shape {
                shape = one;
            }
            let Fields(known) = shape else {
                return Err(Fault::malformed());
            };
            while pairs.next(walk).need()? {
                let name = walk.text().need()?;
                let Some((_, field)) = known.iter().find(|(known, _)| *known == name) else {
                    return Err(Fault::unknown(name));
                };
                within(walk, field, inner).map_err(|fault| fault.under(name))?;
            }
        }
        (Item::Array(mut items), Any | Ids) => {
            while items.next(walk).need()? {
                within(walk, shape, inner)?;
            }
        }
        (Item::Array(mut items), Many(one)) => {
            while items.next(walk).need()? {
                within(walk, one, inner)?;
            }
        }
        (Item::Array(_), Fields(_)) => return Err(Fault::malformed()),
        (Item::Bytes(bytes), Ids) if bytes.len() == 16 => {}
        (Item::Bytes(_), _) => return Err(Fault::malformed()),
        // JSON has no word for what is not finite.
        (Item::Float(value), _) if !value.is_finite() => return Err(Fault::malformed()),
        (
            Item::Unsigned(_)
            | Item::Negative(_)
            | Item::Float(_)
            | Item::Text(_)
            | Item::Bool(_)
            | Item::Null,
            _,
        ) => {}
    }
    Ok(())
}
