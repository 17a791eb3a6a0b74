//! The steps of which reading an operation is made, and what is said if one fails.

use crate::cbor::{Item, Walk};
use crate::change::shape::{self, Shape};
use crate::change::{Json, PointId, Unread};

/// What is wrong with an operation, and where.
pub(crate) struct Fault {
    unknown: bool,
    part: String,
}

impl Fault {
    pub(crate) fn malformed() -> Self {
        Self {
            unknown: false,
            part: String::new(),
        }
    }

    pub(crate) fn unknown(name: &str) -> Self {
        Self {
            unknown: true,
            part: name.to_owned(),
        }
    }

    /// The same, seen from the field around it.
    pub(crate) fn under(mut self, field: &str) -> Self {
        if !self.part.is_empty() {
            self.part.insert(0, '.');
        }
        self.part.insert_str(0, field);
        self
    }

    pub(super) fn of(self, kind: &str) -> Unread {
        let (kind, part) = (kind.to_owned(), self.part);
        if self.unknown {
            Unread::UnknownPart { kind, part }
        } else {
            Unread::Malformed { kind, part }
        }
    }
}

/// What must be there.
pub(crate) trait Need<T> {
    fn need(self) -> Result<T, Fault>;
}

impl<T> Need<T> for Option<T> {
    fn need(self) -> Result<T, Fault> {
        self.ok_or_else(Fault::malformed)
    }
}

/// Reads a map. `read` says of each field whether it knows it; if so, it has read its value.
pub(super) fn fields<'a>(
    walk: &mut Walk<'a>,
    mut read: impl FnMut(&'a str, &mut Walk<'a>) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    let mut pairs = walk.map().need()?;
    while pairs.next(walk).need()? {
        let name = walk.text().need()?;
        if !read(name, walk).map_err(|fault| fault.under(name))? {
            return Err(Fault::unknown(name));
        }
    }
    Ok(())
}

/// Keeps what is read, if this is the field.
pub(super) fn put<T>(
    this: bool,
    found: &mut Option<T>,
    read: impl FnOnce() -> Result<T, Fault>,
) -> Result<bool, Fault> {
    if this {
        *found = Some(read()?);
    }
    Ok(this)
}

/// `None` for null.
pub(super) fn maybe<'a, T>(
    walk: &mut Walk<'a>,
    read: impl FnOnce(&mut Walk<'a>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    if walk.is_null() {
        walk.skip().need()?;
        return Ok(None);
    }
    read(walk).map(Some)
}

pub(super) fn list<'a, T>(
    walk: &mut Walk<'a>,
    mut read: impl FnMut(&mut Walk<'a>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut items = walk.array().need()?;
    let mut all = Vec::new();
    while items.next(walk).need()? {
        all.push(read(walk)?);
    }
    Ok(all)
}

pub(super) fn json<'a>(walk: &mut Walk<'a>, shape: &'static Shape) -> Result<Json<'a>, Fault> {
    let mut checked = *walk;
    shape::check(&mut checked, shape)?;
    Ok(Json::new(walk.raw().need()?))
}

/// A payload.
pub(super) fn object<'a>(walk: &mut Walk<'a>) -> Result<Json<'a>, Fault> {
    let mut begin = *walk;
    begin.map().need()?;
    json(walk, &shape::ANY)
}

pub(super) fn id(walk: &mut Walk<'_>) -> Result<PointId, Fault> {
    match walk.item().need()? {
        Item::Unsigned(number) => Ok(PointId::Number(number)),
        Item::Bytes(uuid) => Ok(PointId::Uuid(uuid.try_into().ok().need()?)),
        Item::Text(uuid) => PointId::parse_uuid(uuid).need(),
        Item::Negative(_)
        | Item::Float(_)
        | Item::Array(_)
        | Item::Map(_)
        | Item::Bool(_)
        | Item::Null => Err(Fault::malformed()),
    }
}

pub(super) fn ids(walk: &mut Walk<'_>) -> Result<Vec<PointId>, Fault> {
    list(walk, id)
}

pub(super) fn texts<'a>(walk: &mut Walk<'a>) -> Result<Vec<&'a str>, Fault> {
    list(walk, |walk| walk.text().need())
}
