//! Points as operations carry them.

use super::values::{Floats, Json};
use std::fmt;

/// A point's id. Their order is Qdrant's: numbers come before UUIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PointId {
    /// A number.
    Number(u64),
    /// A UUID.
    Uuid([u8; 16]),
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uuid = match self {
            Self::Number(number) => return number.fmt(f),
            Self::Uuid(uuid) => uuid,
        };
        for (at, byte) in uuid.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl PointId {
    /// Reads a UUID as Qdrant writes it, with or without hyphens.
    #[must_use]
    pub fn parse_uuid(text: &str) -> Option<Self> {
        let mut digits = text.bytes().filter(|byte| *byte != b'-');
        let mut uuid = [0; 16];
        for byte in &mut uuid {
            let (high, low) = (digits.next()?, digits.next()?);
            let high = char::from(high).to_digit(16)?;
            let low = char::from(low).to_digit(16)?;
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        let hyphens = text.len() - 32;
        (digits.next().is_none() && matches!(hyphens, 0 | 4)).then_some(Self::Uuid(uuid))
    }
}

/// A point with what it shall have.
#[derive(Clone, Debug)]
pub struct Point<'a> {
    /// Its id.
    pub id: PointId,
    /// Its vectors.
    pub vectors: Vectors<'a>,
    /// Its payload, an object; none for an empty one.
    pub payload: Option<Json<'a>>,
}

/// The vectors of a point.
#[derive(Clone, Debug)]
pub enum Vectors<'a> {
    /// The one without a name.
    Default(Vector<'a>),
    /// By name.
    Named(Vec<(&'a str, Vector<'a>)>),
}

/// One vector.
#[derive(Clone, Debug)]
pub enum Vector<'a> {
    /// Numbers.
    Dense(Floats<'a>),
    /// Several rows of numbers.
    Multi(Vec<Floats<'a>>),
    /// Numbers at some places.
    Sparse(Sparse<'a>),
}

/// A sparse vector.
#[derive(Clone, Debug)]
pub struct Sparse<'a> {
    /// The places.
    pub indices: Vec<u32>,
    /// As many values.
    pub values: Floats<'a>,
}
