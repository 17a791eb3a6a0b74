//! Values that stay in the entry's bytes until they are used.

use crate::cbor::{Item, Walk};

/// A sound JSON value: a payload, a filter, a schema.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Json<'a> {
    bytes: &'a [u8],
}

impl<'a> Json<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn walk(self) -> Walk<'a> {
        Walk::new(self.bytes)
    }
}

impl std::fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::json::text(*self))
    }
}

/// The numbers of a dense vector, or the values of a sparse one.
#[derive(Clone, Copy)]
pub struct Floats<'a> {
    items: Walk<'a>,
    len: usize,
}

impl<'a> Floats<'a> {
    /// Reads an array of numbers.
    pub(super) fn read(walk: &mut Walk<'a>) -> Option<Self> {
        let mut left = walk.array()?;
        let items = *walk;
        let mut len = 0;
        while left.next(walk)? {
            number(walk)?;
            len += 1;
        }
        Some(Self { items, len })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = f32> + use<'a> {
        let mut items = self.items;
        (0..self.len).map_while(move |_| number(&mut items))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "Qdrant's reader makes an f32 of any number in the same way"
)]
fn number(walk: &mut Walk<'_>) -> Option<f32> {
    match walk.item()? {
        Item::Float(value) => Some(value as f32),
        Item::Unsigned(value) => Some(value as f32),
        Item::Negative(value) => Some(-1.0 - value as f32),
        Item::Text(_)
        | Item::Bytes(_)
        | Item::Array(_)
        | Item::Map(_)
        | Item::Bool(_)
        | Item::Null => None,
    }
}

impl std::fmt::Debug for Floats<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
