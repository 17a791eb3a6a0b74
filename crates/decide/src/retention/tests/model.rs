//! Retention a second time, as plainly as possible, to compare the planner with.
//!
//! Periods are intervals that begin at an instant here, not keys; the winners of a rule are read off
//! a map of intervals, not counted along the way.

use crate::retention::{LogReach, LogRun, PointFacts, Proof, RetentionPolicy, Rule};
use holdfast_types::{CollectionName, RecoveryPointId, Timestamp};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan, Zoned};
use std::collections::{BTreeMap, BTreeSet};

/// Ids of what stays.
pub(super) fn survivors(
    points: &[PointFacts],
    policy: &RetentionPolicy,
    tz: &TimeZone,
    now: Timestamp,
) -> BTreeSet<RecoveryPointId> {
    let mut stay = BTreeSet::new();
    let mut past: Vec<PointFacts> = vec![];
    for point in points {
        let held = point.holds.iter().any(|hold| match hold.expires {
            None => true,
            Some(end) => now < end,
        });
        let locked = point.locked_until > Some(now);
        let safe = point.safety && now.since(point.committed) < policy.keep_safety;
        let future = point.committed > now;
        if point.pin.is_some()
            || held
            || locked
            || safe
            || future
            || point.in_use
            || point.collections.is_empty()
        {
            stay.insert(point.id.clone());
        }
        if !future {
            past.push(point.clone());
        }
    }
    past.sort_by(|a, b| (a.committed, &a.id).cmp(&(b.committed, &b.id)));
    let names: BTreeSet<CollectionName> = past
        .iter()
        .flat_map(|point| point.collections.clone())
        .collect();
    for name in names {
        let mut of_collection = past.clone();
        of_collection.retain(|point| point.collections.contains(&name));
        stay.extend(needed(&of_collection, &name, policy.min_proven));
        let mut covered = BTreeSet::new();
        for rule in &policy.rules {
            let mut series = of_collection.clone();
            series.retain(|point| covers(rule, point, &name));
            covered.extend(ids(&series));
            let good = without_failed(&series, &name);
            let all_winners = winners(rule, &series, tz);
            stay.extend(winners(rule, &good, tz));
            stay.extend(openers(rule, &good, &name, now));
            let bad = series.iter().filter(|point| !good.contains(point));
            let bad = bad.map(|point| point.id.clone());
            stay.extend(bad.filter(|id| all_winners.contains(id)));
        }
        stay.extend(ids(&of_collection).difference(&covered).cloned());
    }
    stay
}

fn ids(points: &[PointFacts]) -> BTreeSet<RecoveryPointId> {
    points.iter().map(|point| point.id.clone()).collect()
}

fn without_failed(points: &[PointFacts], name: &CollectionName) -> Vec<PointFacts> {
    let mut good = points.to_vec();
    good.retain(|point| !matches!(point.proofs.get(name), Some(Proof::Failed { .. })));
    good
}

fn covers(rule: &Rule, point: &PointFacts, name: &CollectionName) -> bool {
    let text = name.as_str();
    // the patterns of this test are a star, or a letter and perhaps a star
    let fits = |pattern: &&str| *pattern == "*" || pattern.trim_end_matches('*') == text;
    let any = |patterns: &[crate::retention::NamePattern]| {
        patterns.iter().any(|pattern| fits(&pattern.as_str()))
    };
    (rule.collections.is_empty() || any(&rule.collections))
        && !any(&rule.except)
        && rule.tags.difference(&point.tags).next().is_none()
}

/// What the floor needs of a collection's points, the oldest first.
fn needed(
    points: &[PointFacts],
    name: &CollectionName,
    min_proven: u32,
) -> BTreeSet<RecoveryPointId> {
    let newest = |points: Vec<PointFacts>, count: usize| {
        let from = points.len().saturating_sub(count);
        ids(&points[from..])
    };
    let like = |proof: Option<Proof>| {
        let mut like = points.to_vec();
        like.retain(|point| point.proofs.get(name).cloned() == proof);
        like
    };
    let proven = newest(like(Some(Proof::Proven)), min_proven as usize);
    let missing = min_proven as usize - proven.len();
    let mut needed = newest(like(None), missing);
    needed.extend(proven);
    needed.extend(newest(points.to_vec(), 1));
    needed.extend(newest(without_failed(points, name), 1));
    needed
}

/// From which points the instants of a window are reached, of good ones, the oldest first.
fn openers(
    rule: &Rule,
    good: &[PointFacts],
    name: &CollectionName,
    now: Timestamp,
) -> BTreeSet<RecoveryPointId> {
    let mut openers = BTreeSet::new();
    if rule.instants_within.is_zero() {
        return openers;
    }
    let micros = |at: Timestamp| at.as_micros();
    let opens = micros(now) - i64::try_from(rule.instants_within.as_micros()).unwrap();
    let based = good.iter().filter(|point| !point.safety);
    let based = based.filter_map(|point| Some((point, point.logs.get(name)?)));
    let mut before: Option<(&PointFacts, Vec<&LogRun>)> = None;
    let mut outside: Vec<(&PointFacts, &BTreeMap<LogRun, LogReach>)> = Vec::new();
    for (point, logs) in based {
        let runs: Vec<_> = logs.keys().collect();
        if micros(point.committed) > opens {
            if before.as_ref().is_none_or(|(_, earlier)| *earlier != runs) {
                openers.insert(point.id.clone());
            }
        } else {
            // Whom it replaces: those of which it has every log that still counts, or another of the shard that reaches as far.
            outside.retain(|(_, old)| {
                let missed = old.iter().filter(|(run, reach)| {
                    let as_far = micros(reach.at_most);
                    let mut same = logs.iter().filter(|(other, _)| other.shard == run.shard);
                    let reached =
                        same.any(|(other, reach)| other == *run || micros(reach.surely) >= as_far);
                    as_far >= opens && !reached
                });
                missed.count() > 0
            });
            outside.push((point, logs));
        }
        // It was the last one of its logs.
        if let Some((last, earlier)) = before.replace((point, runs.clone()))
            && earlier != runs
            && micros(last.committed) > opens
        {
            openers.insert(last.id.clone());
        }
    }
    let last = before.filter(|(last, _)| micros(last.committed) > opens);
    openers.extend(last.map(|(last, _)| last.id.clone()));
    openers.extend(outside.into_iter().map(|(point, _)| point.id.clone()));
    openers
}

/// How many periods are kept, and where the period of an instant begins.
type Kind = (u32, fn(&Zoned) -> Zoned);

/// What a rule keeps of a series, the oldest first.
fn winners(rule: &Rule, series: &[PointFacts], tz: &TimeZone) -> BTreeSet<RecoveryPointId> {
    let mut winners = BTreeSet::new();
    let newest_first: Vec<_> = series.iter().rev().collect();
    winners.extend(
        newest_first
            .iter()
            .take(rule.keep_last as usize)
            .map(|point| point.id.clone()),
    );
    for point in series {
        let age = newest_first[0].committed.distance(point.committed);
        if rule.keep_within > std::time::Duration::ZERO && age <= rule.keep_within {
            winners.insert(point.id.clone());
        }
    }
    let kinds: [Kind; 5] = [
        (rule.hourly, hour_begin),
        (rule.daily, |at| at.start_of_day().unwrap()),
        (rule.weekly, week_begin),
        (rule.monthly, |at| {
            at.first_of_month().unwrap().start_of_day().unwrap()
        }),
        (rule.yearly, |at| {
            at.first_of_year().unwrap().start_of_day().unwrap()
        }),
    ];
    for (nth, (count, begin)) in kinds.into_iter().enumerate() {
        let begin_is_hour = nth == 0;
        let mut newest_of = BTreeMap::new();
        for point in series {
            let at = jiff::Timestamp::from_microsecond(point.committed.as_micros()).unwrap();
            let at = at.to_zoned(tz.clone());
            let begin = begin(&at).timestamp();
            // where clocks go back at one past the hour, two hours begin at one instant
            let turn = if begin_is_hour {
                -at.offset().seconds()
            } else {
                0
            };
            newest_of.insert((begin, turn), (point.committed, point.id.clone()));
        }
        // By their newest points, not by where they begin: where the clock goes back at midnight, one day's end comes after the next one's beginning.
        let mut newest: Vec<_> = newest_of.into_values().collect();
        newest.sort();
        let newest = newest.into_iter().rev().take(count as usize);
        winners.extend(newest.map(|(_, id)| id));
    }
    winners
}

fn hour_begin(at: &Zoned) -> Zoned {
    let into = i64::from(at.minute()) * 60 + i64::from(at.second());
    let into = SignedDuration::new(into, at.subsec_nanosecond());
    at.checked_sub(into).unwrap()
}

fn week_begin(at: &Zoned) -> Zoned {
    let days = at.weekday().to_monday_zero_offset();
    let monday = at.date().checked_sub(days.days()).unwrap();
    monday.to_zoned(at.time_zone().clone()).unwrap()
}
