//! What was written to a collection between two instants.

mod lines;
#[cfg(test)]
pub(super) mod tests;

use holdfast_proto::v1;
use holdfast_proto::v1::diff_point_id::Id;
use holdfast_types::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// `diff`.
#[derive(Debug, Serialize)]
pub(crate) struct DiffView {
    pub(crate) collection: String,
    /// What had been seen by then does not count.
    pub(crate) from: Timestamp,
    /// What had been seen by then counts.
    pub(crate) to: Timestamp,
    /// Whether everything is known of the time in between.
    pub(crate) complete: bool,
    /// What is not known of it.
    pub(crate) gaps: Vec<LackView>,
    pub(crate) operations: u64,
    pub(crate) bytes: u64,
    pub(crate) kinds: Vec<KindView>,
    pub(crate) kinds_left_out: u64,
    /// What became of the points that were named.
    pub(crate) points: Vec<FateView>,
    pub(crate) points_left_out: u64,
    /// The operations that name most points.
    pub(crate) largest: Vec<LargeView>,
    pub(crate) by_filter: Vec<FilterView>,
    pub(crate) by_filter_left_out: u64,
    /// Changes of payload indexes and named vectors.
    pub(crate) schema: Vec<SchemaView>,
    pub(crate) schema_left_out: u64,
    /// Operations that could not be read in full.
    pub(crate) unread: Vec<UnreadView>,
    pub(crate) unread_left_out: u64,
    /// Operations that count and may be older than `from`.
    pub(crate) perhaps_earlier: u64,
    /// Operations that don't count and may be older than `to`.
    pub(crate) perhaps_later: u64,
    pub(crate) notes: Vec<String>,
}

/// A time of which not everything is known.
#[derive(Debug, Serialize)]
pub(crate) struct LackView {
    /// Null if nobody knows which shards there were.
    pub(crate) shard: Option<u32>,
    pub(crate) after: Timestamp,
    pub(crate) before: Timestamp,
    pub(crate) why: String,
}

/// Where an operation stands.
#[derive(Debug, Serialize)]
pub(crate) struct PlaceView {
    pub(crate) shard: u32,
    /// Its number in the shard's log.
    pub(crate) number: u64,
    /// It was not in the log then; null if nobody had looked before.
    pub(crate) after: Option<Timestamp>,
    /// It was by then.
    pub(crate) by: Timestamp,
    /// For `restore run --to`: it is not contained, and what had been acknowledged by then is. Null if nobody knows when it was not there yet.
    pub(crate) restore_to: Option<Timestamp>,
}

/// Operations of one kind.
#[derive(Debug, Serialize)]
pub(crate) struct KindView {
    pub(crate) operation: String,
    pub(crate) count: u64,
    /// Points that they name.
    pub(crate) points: u64,
    pub(crate) first: Option<PlaceView>,
    pub(crate) last: Option<PlaceView>,
}

/// Points with one fate.
#[derive(Debug, Serialize)]
pub(crate) struct FateView {
    /// `put`, `perhaps-put`, `changed` or `removed`.
    pub(crate) fate: String,
    pub(crate) count: u64,
    /// The first ones, as Qdrant takes them.
    pub(crate) ids: Vec<IdView>,
    /// How many are not among `ids`.
    pub(crate) more: u64,
}

/// A point's id.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum IdView {
    Number(u64),
    Uuid(String),
}

/// An operation that names many points.
#[derive(Debug, Serialize)]
pub(crate) struct LargeView {
    pub(crate) operation: String,
    pub(crate) points: u64,
    pub(crate) at: Option<PlaceView>,
}

/// An operation on whatever matched.
#[derive(Debug, Serialize)]
pub(crate) struct FilterView {
    pub(crate) operation: String,
    /// JSON, or the beginning of it.
    pub(crate) filter: String,
    pub(crate) count: u64,
    pub(crate) first: Option<PlaceView>,
    pub(crate) last: Option<PlaceView>,
}

/// A change of a payload index or a named vector.
#[derive(Debug, Serialize)]
pub(crate) struct SchemaView {
    pub(crate) operation: String,
    /// The field or the vector.
    pub(crate) name: String,
    pub(crate) at: Option<PlaceView>,
}

/// Operations that could not be read in full.
#[derive(Debug, Serialize)]
pub(crate) struct UnreadView {
    pub(crate) why: String,
    pub(crate) count: u64,
}

impl DiffView {
    /// The answer to a request.
    pub(crate) fn new(asked: &v1::DiffRequest, wire: &v1::DiffResponse) -> Self {
        let from = Timestamp::from_micros(asked.from_us);
        let place = |wire: &Option<v1::LoggedOperation>| {
            let wire = wire.as_ref()?;
            Some(PlaceView::new(wire, from))
        };
        let kinds = wire.kinds.iter().map(|kind| KindView {
            operation: kind.kind.clone(),
            count: kind.count,
            points: kind.points,
            first: place(&kind.first),
            last: place(&kind.last),
        });
        let largest = wire.largest.iter().map(|large| LargeView {
            operation: large.kind.clone(),
            points: large.points,
            at: place(&large.operation),
        });
        let by_filter = wire.by_filter.iter().map(|one| FilterView {
            operation: one.kind.clone(),
            filter: one.filter.clone(),
            count: one.count,
            first: place(&one.first),
            last: place(&one.last),
        });
        let schema = wire.of_collection.iter().map(|change| SchemaView {
            operation: change.kind.clone(),
            name: change.name.clone(),
            at: place(&change.operation),
        });
        let unread = wire.unread.iter().map(|unread| UnreadView {
            why: unread.why.clone(),
            count: unread.count,
        });
        Self {
            collection: asked.collection.clone(),
            from,
            to: Timestamp::from_micros(asked.to_us),
            complete: wire.gaps.is_empty(),
            gaps: wire.gaps.iter().map(LackView::from).collect(),
            operations: wire.operations,
            bytes: wire.bytes,
            kinds: kinds.collect(),
            kinds_left_out: wire.kinds_left_out,
            points: wire.points.iter().map(FateView::from).collect(),
            points_left_out: wire.points_left_out,
            largest: largest.collect(),
            by_filter: by_filter.collect(),
            by_filter_left_out: wire.by_filter_left_out,
            schema: schema.collect(),
            schema_left_out: wire.of_collection_left_out,
            unread: unread.collect(),
            unread_left_out: wire.unread_left_out,
            perhaps_earlier: wire.perhaps_earlier,
            perhaps_later: wire.perhaps_later,
            notes: wire.notes.clone(),
        }
    }
}

impl PlaceView {
    fn new(wire: &v1::LoggedOperation, from: Timestamp) -> Self {
        let after = (wire.after_us != 0).then(|| Timestamp::from_micros(wire.after_us));
        let by = Timestamp::from_micros(wire.by_us);
        let latest = by.before(Duration::from_micros(1));
        Self {
            shard: wire.shard_id,
            number: wire.index,
            after,
            by,
            restore_to: after.map(|after| after.max(from).min(latest)),
        }
    }
}

impl From<&v1::DiffGap> for LackView {
    fn from(wire: &v1::DiffGap) -> Self {
        Self {
            shard: wire.shard_id,
            after: Timestamp::from_micros(wire.after_us),
            before: Timestamp::from_micros(wire.before_us),
            why: wire.why.clone(),
        }
    }
}

impl From<&v1::DiffPoints> for FateView {
    fn from(wire: &v1::DiffPoints) -> Self {
        let ids = wire.ids.iter().filter_map(|id| {
            Some(match id.id.as_ref()? {
                Id::Number(number) => IdView::Number(*number),
                Id::Uuid(uuid) => IdView::Uuid(uuid.clone()),
            })
        });
        let ids: Vec<IdView> = ids.collect();
        Self {
            fate: wire.fate.clone(),
            count: wire.count,
            more: wire.count.saturating_sub(ids.len() as u64),
            ids,
        }
    }
}
