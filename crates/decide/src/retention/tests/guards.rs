//! What keeps a point by itself, and points from the future.

use super::{ago, ahead, each, failed, hold, judged, kept, last, only, point, proven, said};
use crate::fixture::NOW;
use crate::retention::{Decision, PointFacts, Reason};
use holdfast_types::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

#[test]
fn what_is_guarded_stays() {
    let mut policy = only(last(1));
    policy.keep_safety = Duration::from_hours(24);
    type Guard = fn(&mut PointFacts);
    let cases: [(Guard, &[&str]); 9] = [
        (
            |point| point.pin = Some("before the move".into()),
            &["pinned: before the move"],
        ),
        (
            |point| point.holds = vec![hold(Some(ago(0))), hold(None)],
            &[
                "legal hold by alice until it is released: lawsuit",
                "legal hold by alice ended 2026-11-21T10:15:30Z",
            ],
        ),
        (
            |point| point.holds = vec![hold(Some(ahead(1)))],
            &["legal hold by alice until 2026-11-21T11:15:30Z: lawsuit"],
        ),
        (
            |point| point.locked_until = Some(ahead(1)),
            &["locked by the store until 2026-11-21T11:15:30Z"],
        ),
        (
            |point| point.in_use = true,
            &["in use: a restore or another session reads it"],
        ),
        (
            |point| point.safety = true,
            &["safety capture before an overwrite: kept until 2026-11-21T11:15:30Z"],
        ),
        (
            |point| point.committed = ahead(1),
            &["committed at 2026-11-21T11:15:30Z, after now: clock skew, its age can't be told"],
        ),
        (
            |point| point.committed = Timestamp::from_micros(i64::MIN),
            &["committed at -9223372036854775808us, after now: clock skew, its age can't be told"],
        ),
        (
            |point| point.collections.clear(),
            &["its collections are not known"],
        ),
    ];
    for (guard, texts) in cases {
        let mut points = each("docs", &[1, 23]);
        guard(&mut points[1]);
        let verdicts = judged(&points, &policy, &TimeZone::UTC, NOW);
        let verdict = verdicts.iter().find(|verdict| verdict.id == points[1].id);
        let verdict = verdict.unwrap();
        let said: Vec<_> = verdict.reasons.iter().map(Reason::to_string).collect();
        assert_eq!(said, texts);
        assert_eq!(verdict.decision, Decision::Keep);
    }
}

#[test]
fn what_guards_no_more_is_told() {
    let mut policy = only(last(1));
    policy.keep_safety = Duration::from_hours(23);
    let mut points = each("docs", &[1, 23]);
    points[1].safety = true;
    points[1].locked_until = Some(NOW);
    points[1].holds = vec![hold(Some(NOW))];
    points[1] = failed(points[1].clone());
    let texts = said(&points, &policy, 23);
    let expected = [
        "no rule keeps it: docs",
        "legal hold by alice ended 2026-11-21T10:15:30Z",
        "safety capture, no longer since 2026-11-21T10:15:30Z",
        "failed its proof: docs: shard 0 has 9 of 10 points",
    ];
    assert_eq!(texts, expected);
    assert_eq!(kept(&points, &policy), [1]);
}

#[test]
fn a_point_of_this_very_instant_is_not_from_the_future() {
    let points = each("docs", &[0, 1]);
    assert_eq!(kept(&points, &only(last(1))), [0]);
}

#[test]
fn points_from_the_future_take_no_place() {
    let points = each("docs", &[-2, -1, 3, 4, 5]);
    assert_eq!(kept(&points, &only(last(2))), [2, 1, 3, 4]);
    let mut policy = only(last(0));
    policy.min_proven = 1;
    let points = [
        proven(point("docs", -1)),
        point("docs", 3),
        proven(point("docs", 4)),
        proven(point("docs", 5)),
    ];
    assert_eq!(kept(&points, &policy), [1, 3, 4]);
}
