//! Which points of one series a rule keeps, and which the floor needs.

use super::history::{Dated, Series};
use super::period::PERIODS;
use super::point::Proof;
use super::policy::Rule;
use super::reason::Claim;
use holdfast_types::{CollectionName, Timestamp};
use std::collections::BTreeSet;

/// What one rule keeps of a series that it covers.
///
/// A failed point has the place it would have if nobody knew, so that it can still be healed from;
/// but each of its places is given a second time, to the points that have not failed.
pub(super) fn rule_claims<'a, 'h>(
    rule: &Rule,
    series: &Series<'a, 'h>,
) -> Vec<(&'h Dated<'a>, Claim)> {
    let mut claims = places(rule, &sound(series));
    let failed = |(dated, _): &(&Dated<'a>, Claim)| dated.point.has_failed();
    claims.extend(places(rule, series).into_iter().filter(failed));
    claims
}

/// The points from which the instants of a rule's window are reached: the newest from before it, and those in it at which a log begins anew.
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
    let logs = |dated: &'h Dated<'a>| Some((dated, dated.point.logs.get(collection)?));
    let based: Vec<_> = sound(series).into_iter().filter_map(logs).collect();
    let older = based.iter().skip(1).map(Some).chain([None]);
    let mut claims = Vec::new();
    for ((dated, logs), older) in based.iter().zip(older) {
        let before = now.since(dated.point.committed) >= period;
        if before || older.is_none_or(|(_, earlier)| earlier != logs) {
            claims.push((*dated, Claim::Window { period }));
        }
        if before {
            break;
        }
    }
    claims
}

/// What must stay of a collection whatever the rules say.
pub(super) fn floor_claims<'a, 'h>(
    min_proven: u32,
    series: &Series<'a, 'h>,
) -> Vec<(&'h Dated<'a>, Claim)> {
    let with = |proof: Proof| {
        series
            .iter()
            .copied()
            .filter(move |dated| dated.point.proof == proof)
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
    if series.first().is_some_and(|dated| dated.point.has_failed()) {
        let sound = sound(series)
            .first()
            .map(|dated| (*dated, Claim::NewestSound));
        claims.extend(sound);
    }
    claims
}

fn sound<'a, 'h>(series: &Series<'a, 'h>) -> Series<'a, 'h> {
    let sound = |dated: &&Dated<'a>| !dated.point.has_failed();
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
