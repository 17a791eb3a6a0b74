//! An entry in full: what it changes, with every value. [`Operation`](crate::Operation) says the same in short and never refuses.
//!
//! Nothing of an entry is dropped in silence: a kind or a field that this program does not know is refused by its name, since what is
//! applied without it would be another operation. What is known is that of Qdrant 1.18, `lib/shard/src/operations`. Vectors, payloads and
//! filters stay where they are in the entry's bytes; they have been walked over and are sound.

mod decode;
mod points;
mod shape;
mod values;

pub use points::{Point, PointId, Sparse, Vector, Vectors};
pub use values::{Floats, Json};

use crate::operation::ClockTag;

/// What an entry changes, and who ordered it.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Qdrant's name for the kind, such as `upsert_points`.
    pub kind: &'a str,
    /// The change.
    pub change: Change<'a>,
    /// Absent for what a shard does of its own.
    pub clock: Option<ClockTag>,
}

/// Every kind of operation.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    /// Points are put in the place of what had their ids.
    Upsert {
        /// In order; of two with one id the later counts.
        points: Vec<Point<'a>>,
        /// Which points it is done for; all of them if absent.
        guard: Option<Guard<'a>>,
    },
    /// Points are removed.
    Delete(Selection<'a>),
    /// The shard shall have these points, and no others, from one id up to another.
    Sync {
        /// The least id of the range.
        from: Option<PointId>,
        /// The first id behind the range.
        to: Option<PointId>,
        /// What the range shall contain.
        points: Vec<Point<'a>>,
    },
    /// Some vectors of points are replaced, the others are kept.
    UpdateVectors {
        /// Without payloads.
        points: Vec<Point<'a>>,
        /// Points that are there and do not match it are left as they are.
        filter: Option<Json<'a>>,
    },
    /// Named vectors of points are removed.
    DeleteVectors {
        /// Of which points.
        of: Selection<'a>,
        /// The vectors' names.
        names: Vec<&'a str>,
    },
    /// Keys of the payload are set, the others are kept.
    SetPayload {
        /// An object.
        payload: Json<'a>,
        /// Of which points.
        of: Selection<'a>,
        /// The path of the object within the payload into which they are set.
        key: Option<&'a str>,
    },
    /// The payload is replaced.
    OverwritePayload {
        /// An object.
        payload: Json<'a>,
        /// Of which points.
        of: Selection<'a>,
    },
    /// Keys of the payload are removed.
    DeletePayload {
        /// Paths.
        keys: Vec<&'a str>,
        /// Of which points.
        of: Selection<'a>,
    },
    /// The payload is removed.
    ClearPayload(Selection<'a>),
    /// A payload index is made.
    CreateIndex {
        /// The path of the field.
        field: &'a str,
        /// The type, or the type with its parameters. Without it Qdrant does nothing.
        schema: Option<Json<'a>>,
    },
    /// A payload index is removed.
    DeleteIndex {
        /// The path of the field.
        field: &'a str,
    },
    /// A named vector is added to the collection.
    CreateVector {
        /// Its name.
        name: &'a str,
        /// Its kind and parameters.
        config: Json<'a>,
    },
    /// A named vector is removed from the collection, with its values.
    DeleteVector {
        /// Its name.
        name: &'a str,
    },
}

/// The points that an operation applies to.
#[derive(Clone, Debug)]
pub enum Selection<'a> {
    /// These, in order.
    Ids(Vec<PointId>),
    /// Those that match when it is applied.
    Filter(Json<'a>),
}

/// For which of its points a conditional upsert is done.
#[derive(Clone, Debug)]
pub struct Guard<'a> {
    /// What a point that is there must match.
    pub filter: Json<'a>,
    /// Absent means [`Mode::Upsert`].
    pub mode: Option<Mode>,
}

/// Whether a conditional upsert may insert, replace, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Points that are not there are inserted, others replaced if they match.
    Upsert,
    /// Only points that are not there.
    InsertOnly,
    /// Only points that are there and match.
    UpdateOnly,
}

impl Mode {
    /// Qdrant's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::InsertOnly => "insert_only",
            Self::UpdateOnly => "update_only",
        }
    }
}

/// Why an entry can't be told in full.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The bytes are no operation in CBOR.
    #[error("the entry is no operation")]
    NotAnOperation,
    /// Of a newer server.
    #[error("operations of the kind {0:?} are not known to this program")]
    UnknownKind(String),
    /// Of a newer server.
    #[error("the operation {kind} has a part that is not known to this program: {part:?}")]
    UnknownPart {
        /// The operation's kind.
        kind: String,
        /// The field or the value, with the fields that lead there.
        part: String,
    },
    /// A known field holds what it never held.
    #[error("the operation {kind} can't be read at {part:?}")]
    Malformed {
        /// The operation's kind.
        kind: String,
        /// The field.
        part: String,
    },
}

impl<'a> Entry<'a> {
    /// Reads an entry in full.
    ///
    /// # Errors
    /// What is not known in its entirety is refused, by name.
    pub fn read(entry: &'a [u8]) -> Result<Self, Unread> {
        decode::entry(entry)
    }
}

#[cfg(test)]
mod tests;
