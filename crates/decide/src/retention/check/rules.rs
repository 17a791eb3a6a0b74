//! Whether a rule keeps a point that would go, by counting what is newer.

use super::{History, Known, RetentionViolation, failed, speaks_of};
use crate::retention::point::PointFacts;
use crate::retention::policy::{RetentionPolicy, Rule};
use holdfast_types::{CollectionName, Timestamp};
use jiff::tz::TimeZone;
use std::collections::HashSet;
use std::time::Duration;

/// A calendar period: numbers that are equal for instants of one period.
pub(super) type Slot = [i64; 5];

pub(super) fn check(
    point: &PointFacts,
    collection: &CollectionName,
    history: &History<'_>,
    policy: &RetentionPolicy,
    now: Timestamp,
) -> Vec<RetentionViolation> {
    let mut wrong = Vec::new();
    let mut spoken_of = false;
    let own = history.0.iter().find(|known| known.point.id == point.id);
    for (at, rule) in policy.rules.iter().enumerate() {
        if !speaks_of(rule, point, collection) {
            continue;
        }
        spoken_of = true;
        // a failed point takes no place from one that has not failed
        let rival = |other: &&Known<'_>| {
            speaks_of(rule, other.point, collection)
                && (failed(point, collection) || !failed(other.point, collection))
        };
        let newer: Vec<&Known<'_>> = history.newer(point, collection).filter(rival).collect();
        let opens = opens_window(rule, point, collection, history, now);
        if own.is_some_and(|own| opens || keeps(rule, own, &newer)) {
            wrong.push(RetentionViolation::RuleKeeps {
                id: point.id.clone(),
                collection: collection.clone(),
                rule: at + 1,
            });
        }
    }
    if !spoken_of {
        wrong.push(RetentionViolation::Uncovered {
            id: point.id.clone(),
            collection: collection.clone(),
        });
    }
    wrong
}

/// Whether the rule keeps `own` although `newer` exist.
fn keeps(rule: &Rule, own: &Known<'_>, newer: &[&Known<'_>]) -> bool {
    if newer.len() < rule.keep_last as usize {
        return true;
    }
    let age = |other: &&Known<'_>| {
        let (newer, older) = (other.point.committed, own.point.committed);
        u128::from(newer.as_micros().abs_diff(older.as_micros()))
    };
    let age = newer.iter().map(age).max().unwrap_or(0);
    let within = rule.keep_within.as_micros();
    if within > 0 && age <= within {
        return true;
    }
    let counts = [
        rule.hourly,
        rule.daily,
        rule.weekly,
        rule.monthly,
        rule.yearly,
    ];
    let mut kinds = counts.into_iter().enumerate();
    kinds.any(|(kind, count)| has_room(count as usize, &own.slots[kind], newer, kind))
}

/// Whether instants of the rule's window are reached from this point only.
fn opens_window(
    rule: &Rule,
    point: &PointFacts,
    collection: &CollectionName,
    history: &History<'_>,
    now: Timestamp,
) -> bool {
    let Some(own) = point.logs.get(collection) else {
        return false;
    };
    if rule.instants_within == Duration::ZERO || failed(point, collection) || point.safety {
        return false;
    }
    let outside = |at: Timestamp| at.after(rule.instants_within) <= now;
    let bases = || {
        let others = history.0.iter().map(|known| known.point);
        others.filter_map(|other| {
            let usable = !failed(other, collection)
                && !other.safety
                && other.collections.contains(collection);
            Some((other, other.logs.get(collection).filter(|_| usable)?))
        })
    };
    let place = |other: &PointFacts| (other.committed, other.id.clone());
    if !outside(point.committed) {
        let older = bases().filter(|(other, _)| place(other) < place(point));
        let newer = bases().filter(|(other, _)| place(other) > place(point));
        let neighbours = [
            older.max_by_key(|(other, _)| place(other)),
            newer.min_by_key(|(other, _)| place(other)),
        ];
        return neighbours.iter().any(|neighbour| {
            neighbour.is_none_or(|(_, logs)| {
                logs.len() != own.len() || own.keys().any(|run| !logs.contains_key(run))
            })
        });
    }
    // Some instant of the window may be out of reach from each newer point that is outside.
    let newer =
        bases().filter(|(other, _)| place(other) > place(point) && outside(other.committed));
    let mut lacks_one = newer.map(|(_, logs)| {
        own.iter().any(|(run, reach)| {
            let farthest = logs.iter().filter(|(other, _)| other.shard == run.shard);
            let farthest = farthest.map(|(_, theirs)| theirs.surely).max();
            let reaches = farthest.is_some_and(|at| at >= reach.at_most);
            let matters = reach.at_most.after(rule.instants_within) >= now;
            !logs.contains_key(run) && matters && !reaches
        })
    });
    lacks_one.all(|lacks| lacks)
}

/// Whether a rule of `count` periods still reaches the period `own`, and nothing newer stands in it.
fn has_room(count: usize, own: &Slot, newer: &[&Known<'_>], kind: usize) -> bool {
    let mut occupied = HashSet::new();
    for other in newer {
        if occupied.len() >= count {
            return false;
        }
        occupied.insert(&other.slots[kind]);
    }
    occupied.len() < count && !occupied.contains(own)
}

/// Hour, day, week, month and year of an instant; `None` if it is outside the calendar.
pub(super) fn slots(at: Timestamp, tz: &TimeZone) -> Option<[Slot; 5]> {
    let at = jiff::Timestamp::from_microsecond(at.as_micros()).ok()?;
    let at = at.to_zoned(tz.clone());
    let (year, month, day) = (at.year().into(), at.month().into(), at.day().into());
    let (hour, offset) = (at.hour().into(), at.offset().seconds().into());
    // any Monday will do
    let monday = jiff::civil::date(1970, 1, 5);
    let days = at.date().duration_since(monday).as_hours() / 24;
    Some([
        [year, month, day, hour, offset],
        [year, month, day, 0, 0],
        [days.div_euclid(7), 0, 0, 0, 0],
        [year, month, 0, 0, 0],
        [year, 0, 0, 0, 0],
    ])
}
