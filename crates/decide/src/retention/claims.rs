//! Which points of one series a rule keeps, and which the floor needs.

use super::history::{Dated, Series};
use super::period::PERIODS;
use super::point::{LogReach, LogRun, Proof};
use super::policy::Rule;
use super::reason::Claim;
use holdfast_types::{CollectionName, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What one rule keeps of a series that it covers.
///
/// A failed point has the place it would have if nobody knew, so that it can still be healed from;
/// but each of its places is given a second time, to the points that have not failed.
pub(super) fn rule_claims<'a, 'h>(
    rule: &Rule,
    collection: &CollectionName,
    series: &Series<'a, 'h>,
) -> Vec<(&'h Dated<'a>, Claim)> {
    let mut claims = places(rule, &sound(collection, series));
    let failed = |(dated, _): &(&Dated<'a>, Claim)| dated.point.has_failed(collection);
    claims.extend(places(rule, series).into_iter().filter(failed));
    claims
}

/// The points from which the instants of a rule's window are reached: those from before it that no other replaces, and those in it at which a
/// log begins anew. The last one of a log is kept as well: it says until when nothing more was written to it.
pub(super) fn window_claims<'a, 'h>(
    rule: &Rule,
    collection: &CollectionName,
    series: &Series<'a, 'h>,
    now: Timestamp,
) -> Vec<(&'h Dated<'a>, Claim)> {
    let period = rule.instants_within;
    if period.is_zero() {
        return Vec::new();
    }
    let opens = now.before(period);
    // Restores of everything pass over safety captures.
    let based = sound(collection, series)
        .into_iter()
        .filter(|dated| !dated.point.safety);
    let logs = |dated: &'h Dated<'a>| Some((dated, dated.point.logs.get(collection)?));
    let based: Vec<_> = based.filter_map(logs).collect();
    let mut claims = Vec::new();
    for (nth, (dated, logs)) in based.iter().enumerate() {
        let (newer, older) = (&based[..nth], based.get(nth + 1));
        let needed = if dated.point.committed > opens {
            let differs =
                |(_, others): &(_, &BTreeMap<LogRun, LogReach>)| !others.keys().eq(logs.keys());
            older.is_none_or(differs) || newer.last().is_none_or(differs)
        } else {
            let replaces = |(newer, _): &(&Dated<'a>, _)| {
                let own = dated.point;
                own.is_replaced_by(newer.point, collection, opens)
            };
            !newer.iter().any(replaces)
        };
        if needed {
            claims.push((*dated, Claim::Window { period }));
        }
    }
    claims
}

/// What must stay of a collection whatever the rules say.
pub(super) fn floor_claims<'a, 'h>(
    min_proven: u32,
    collection: &CollectionName,
    series: &Series<'a, 'h>,
) -> Vec<(&'h Dated<'a>, Claim)> {
    let with = |proof: Proof| {
        series
            .iter()
            .copied()
            .filter(move |dated| *dated.point.proof(collection) == proof)
    };
    let of = min_proven;
    let mut claims: Vec<_> = (0..of)
        .zip(with(Proof::Proven))
        .map(|(_, dated)| (dated, Claim::NewestProven { of }))
        .collect();
    // no more than `of`
    let proven = u32::try_from(claims.len()).unwrap_or(of);
    let instead = (proven..of).zip(with(Proof::Unproven));
    claims.extend(instead.map(|(_, dated)| (dated, Claim::InsteadOfProven { proven, of })));
    let newest = series.first().map(|dated| (*dated, Claim::Newest));
    claims.extend(newest);
    let newest_failed = |dated: &&Dated<'a>| dated.point.has_failed(collection);
    if series.first().is_some_and(newest_failed) {
        let sound = sound(collection, series)
            .first()
            .map(|dated| (*dated, Claim::NewestSound));
        claims.extend(sound);
    }
    claims
}

fn sound<'a, 'h>(collection: &CollectionName, series: &Series<'a, 'h>) -> Series<'a, 'h> {
    let sound = |dated: &&Dated<'a>| !dated.point.has_failed(collection);
    series.iter().copied().filter(sound).collect()
}

/// What a rule keeps of a series, each point taken for good.
fn places<'a, 'h>(rule: &Rule, series: &Series<'a, 'h>) -> Vec<(&'h Dated<'a>, Claim)> {
    let of = rule.keep_last;
    let mut claims: Vec<_> = (1..=of)
        .zip(series)
        .map(|(nth, dated)| (*dated, Claim::Last { nth, of }))
        .collect();
    let period = rule.keep_within;
    if let (Some(newest), false) = (series.first(), period.is_zero()) {
        let newest = newest.point.committed;
        let young = series
            .iter()
            .filter(|dated| newest.since(dated.point.committed) <= period);
        claims.extend(young.map(|dated| (*dated, Claim::Within { period })));
    }
    for row in &PERIODS {
        let (of, period) = ((row.count)(rule), row.period);
        let mut places = 1..=of;
        // not only the last key: where a date goes back by one, it comes a second time
        let mut seen = BTreeSet::new();
        for dated in series {
            let key = (row.key)(&dated.at);
            if seen.contains(&key) {
                continue;
            }
            let Some(nth) = places.next() else { break };
            seen.insert(key.clone());
            let claim = Claim::Calendar {
                period,
                key,
                nth,
                of,
            };
            claims.push((*dated, claim));
        }
    }
    claims
}
