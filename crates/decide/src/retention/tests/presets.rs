//! What the presets keep of three years of backups every twelve hours, counted by hand.

use super::{NOW, dated, failed, judged, proven};
use crate::retention::{Decision, PointFacts, RetentionPolicy};
use jiff::tz::TimeZone;

/// From 2026-11-21 10:15:30 UTC (a Saturday) back, one every twelve hours for three years.
fn three_years() -> Vec<PointFacts> {
    let hours = (0..2 * (3 * 365 + 1)).map(|nth| nth * 12);
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
    // last: 10:15 of the 21st, 22:15 and 10:15 of the 20th; days add 22:15 of the 19th
    let policy = RetentionPolicy::development();
    assert_eq!(kept(&three_years(), &policy), 3 + 1);
}

#[test]
fn staging_keeps_eleven() {
    // last: back to 10:15 of the 19th, within 24 h is among them; days: 18th to 15th, 4 more; weeks:
    // this one, Sunday the 15th (a day already), Sundays 8th and 1st, 2 more
    let policy = RetentionPolicy::staging();
    assert_eq!(kept(&three_years(), &policy), 5 + 4 + 2);
}

#[test]
fn production_keeps_eighty_six() {
    // 72 hours that have points: back to 22:15 of October 16th, days and within are among them;
    // weeks: this one and the Sundays down to October 18th are among them, 11th and 4th are 2 more;
    // months: September 30th back to 2025-12-31, 10 more; years: 2025-12-31 is there, 2024-12-31
    // and 2023-12-31 are 2 more
    let policy = RetentionPolicy::production();
    assert_eq!(kept(&three_years(), &policy), 72 + 2 + 10 + 2);
}

#[test]
fn what_failed_for_a_year_costs_no_good_point() {
    let mut points = three_years();
    for point in &mut points[..2 * 365] {
        *point = failed(point.clone());
    }
    // the failed ones as above; of the good ones, the newest of them a year earlier, as many
    let policy = RetentionPolicy::development();
    assert_eq!(kept(&points, &policy), 4 + 4);
}
