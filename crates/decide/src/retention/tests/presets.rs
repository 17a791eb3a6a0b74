//! What the presets keep of three years of backups every six hours, counted by hand.

use super::{NOW, dated, failed, judged, proven};
use crate::retention::{Decision, PointFacts, RetentionPolicy};
use jiff::tz::TimeZone;

/// From 2026-11-21 10:15:30 UTC (a Saturday) back, one every six hours for three years.
fn three_years() -> Vec<PointFacts> {
    let hours = (0..4 * (3 * 365 + 1)).map(|nth| nth * 6);
    let point = |hours| dated("docs", crate::retention::fixture::ago(hours), 0);
    hours.map(point).map(proven).collect()
}

fn kept(points: &[PointFacts], policy: &RetentionPolicy) -> usize {
    let verdicts = judged(points, policy, &TimeZone::UTC, NOW);
    let kept = verdicts
        .iter()
        .filter(|verdict| verdict.decision == Decision::Keep);
    kept.count()
}

#[test]
fn development_keeps_four() {
    // last: 10:15 and 04:15 of the 21st, 22:15 of the 20th; days add 22:15 of the 19th
    let policy = RetentionPolicy::development();
    assert_eq!(kept(&three_years(), &policy), 4);
}

#[test]
fn staging_keeps_twelve() {
    // within 24 h: 5, the last of them 10:15 of the 20th; days: 22:15 of the 19th to the 15th, 5
    // more; weeks: this one, Sunday the 15th (a day already), Sundays 8th and 1st, 2 more
    let policy = RetentionPolicy::staging();
    assert_eq!(kept(&three_years(), &policy), 12);
}

#[test]
fn production_keeps_ninety() {
    // 72 hours that have points: 10:15 of the 21st back to 16:15 of the 3rd; days and within are
    // among them; weeks: Sundays 15th and 8th are among them, 1st, Oct 25th, 18th, 11th, 4th: 5
    // more, 8 with this one; months: Oct 31st back to 2025-12-31: 11 more; years: 2025-12-31 is
    // there, 2024-12-31 and 2023-12-31: 2 more
    let policy = RetentionPolicy::production();
    assert_eq!(kept(&three_years(), &policy), 72 + 5 + 11 + 2);
}

#[test]
fn the_floor_reaches_back_past_what_failed() {
    let mut points = three_years();
    // everything of the last year failed
    for point in &mut points[..4 * 365] {
        *point = failed(point.clone());
    }
    // the failed ones as above, of the good ones: last 3 and the newest of 3 days; the newest good
    // point is of 10:15 on a 21st, as above
    let policy = RetentionPolicy::development();
    assert_eq!(kept(&points, &policy), 4 + 4);
}
