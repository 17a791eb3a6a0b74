//! The points of one collection in the order of their age, in the zone of the policy.

use super::point::PointFacts;
use holdfast_types::{CollectionName, Timestamp};
use jiff::Zoned;
use jiff::tz::TimeZone;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A point whose age is known.
pub(super) struct Dated<'a> {
    pub(super) point: &'a PointFacts,
    /// When it was committed.
    pub(super) at: Zoned,
}

/// Points of one collection, the newest first.
pub(super) type Series<'a, 'h> = Vec<&'h Dated<'a>>;

/// Points whose age is known, the newest first; those of one instant by their ids, the greatest
/// first. Points from the future are left out: they must not take the place of others.
pub(super) fn history<'a>(
    points: &'a [PointFacts],
    tz: &TimeZone,
    now: Timestamp,
) -> Vec<Dated<'a>> {
    let dated = |point: &'a PointFacts| {
        let at = instant(point, now)?.to_zoned(tz.clone());
        Some(Dated { point, at })
    };
    let mut all: Vec<_> = points.iter().filter_map(dated).collect();
    all.sort_by_key(|dated| Reverse((dated.point.committed, &dated.point.id)));
    all
}

/// When the point was committed; `None` if that is later than `now` or outside the calendar.
pub(super) fn instant(point: &PointFacts, now: Timestamp) -> Option<jiff::Timestamp> {
    if point.committed > now {
        return None;
    }
    jiff::Timestamp::from_microsecond(point.committed.as_micros()).ok()
}

/// Each collection's points, in the order of `all`.
pub(super) fn by_collection<'a, 'h>(
    all: &'h [Dated<'a>],
) -> BTreeMap<&'a CollectionName, Series<'a, 'h>> {
    let mut series: BTreeMap<_, Series<'a, 'h>> = BTreeMap::new();
    for dated in all {
        for collection in &dated.point.collections {
            series.entry(collection).or_default().push(dated);
        }
    }
    series
}
