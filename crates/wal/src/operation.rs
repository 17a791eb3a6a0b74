//! What an entry does, as far as a report needs it: the kind of operation, how many points it names, its clock tag.
//!
//! An entry is a CBOR map with one key that names the kind (`upsert_points`, `set_payload`, …) and an optional `clock_tag`. Kinds
//! of newer servers are kept by name: nothing here decides whether an entry is archived or replayed.

use crate::cbor::Walk;

pub(crate) const CLOCK_TAG: &str = "clock_tag";

/// What is known of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Qdrant's name for the kind, such as `upsert_points`.
    pub kind: String,
    /// What it applies to.
    pub scope: Scope,
    /// Who ordered it; absent for what a shard does of its own, such as its first entry.
    pub clock: Option<ClockTag>,
}

/// What an operation applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// So many points, named by id.
    Points(u64),
    /// Whatever matches a filter when it is applied.
    Filter,
    /// The shard as a whole: an index, a named vector.
    Shard,
    /// A kind that this program does not know.
    Unknown,
}

/// The place of an operation in its writer's own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockTag {
    /// The Qdrant node that coordinated the write.
    pub peer_id: u64,
    /// One of its clocks.
    pub clock_id: u64,
    /// Ticks of that clock.
    pub clock_tick: u64,
    /// Drawn at random for each operation.
    pub token: u64,
    /// Whether the clock was set by force.
    pub force: bool,
}

impl Operation {
    /// Reads an entry; `None` if it is no operation in CBOR.
    #[must_use]
    pub fn read(entry: &[u8]) -> Option<Self> {
        let mut walk = Walk::new(entry);
        let mut pairs = walk.map()?;
        let mut kind = None;
        let mut clock = None;
        while pairs.next(&mut walk)? {
            match walk.text()? {
                CLOCK_TAG if walk.is_null() => walk.skip()?,
                CLOCK_TAG => clock = Some(clock_tag(&mut walk)?),
                name => {
                    let mut body = walk;
                    walk.skip()?;
                    // A body of an unexpected shape is still an operation of this kind.
                    let scope = scope(name, &mut body).unwrap_or(Scope::Unknown);
                    if kind.replace((name, scope)).is_some() {
                        return None;
                    }
                }
            }
        }
        let (kind, scope) = kind?;
        walk.is_at_end().then(|| Self {
            kind: kind.to_owned(),
            scope,
            clock,
        })
    }
}

pub(crate) fn clock_tag(walk: &mut Walk<'_>) -> Option<ClockTag> {
    let mut tag = ClockTag {
        peer_id: 0,
        clock_id: 0,
        clock_tick: 0,
        token: 0,
        force: false,
    };
    let mut pairs = walk.map()?;
    while pairs.next(walk)? {
        match walk.text()? {
            "peer_id" => tag.peer_id = walk.unsigned()?,
            "clock_id" => tag.clock_id = walk.unsigned()?,
            "clock_tick" => tag.clock_tick = walk.unsigned()?,
            "token" => tag.token = walk.unsigned()?,
            "force" => tag.force = walk.boolean()?,
            _ => walk.skip()?,
        }
    }
    Some(tag)
}

/// By kind, where the ids stand: Qdrant 1.18 and 1.19, `shard/operations/`.
fn scope(kind: &str, body: &mut Walk<'_>) -> Option<Scope> {
    match kind {
        "upsert_points" => points_of(body),
        "upsert_points_conditional" => inside(body, "points_op", points_of),
        "delete_points" => inside(body, "ids", ids),
        "sync_points" | "update_vectors" | "clear_payload" => inside(body, "points", ids),
        "set_payload" | "overwrite_payload" | "delete_payload" => {
            inside(body, "points", ids).or(Some(Scope::Filter))
        }
        "delete_vectors" => first_of(body, |ids_list| inside(ids_list, "points", ids)),
        "delete_points_by_filter" | "clear_payload_by_filter" | "delete_vectors_by_filter" => {
            Some(Scope::Filter)
        }
        "create_index" | "delete_index" | "create_vector_name" | "delete_vector_name" => {
            Some(Scope::Shard)
        }
        _ => None,
    }
}

fn ids(walk: &mut Walk<'_>) -> Option<Scope> {
    walk.array_len().map(Scope::Points)
}

/// `{"points": […]}`, or `{"batch": {"ids": […], …}}`.
fn points_of(walk: &mut Walk<'_>) -> Option<Scope> {
    let mut batch = *walk;
    inside(walk, "points", ids).or_else(|| inside(&mut batch, "batch", |b| inside(b, "ids", ids)))
}

/// What `read` makes of the value under `key` in the map that follows.
fn inside(
    walk: &mut Walk<'_>,
    key: &str,
    read: impl FnOnce(&mut Walk<'_>) -> Option<Scope>,
) -> Option<Scope> {
    let mut pairs = walk.map()?;
    while pairs.next(walk)? {
        if walk.text()? == key {
            return read(walk);
        }
        walk.skip()?;
    }
    None
}

/// What `read` makes of the first item of the array that follows.
fn first_of(
    walk: &mut Walk<'_>,
    read: impl FnOnce(&mut Walk<'_>) -> Option<Scope>,
) -> Option<Scope> {
    let mut items = walk.array()?;
    if items.next(walk)? { read(walk) } else { None }
}

#[cfg(test)]
mod tests;
