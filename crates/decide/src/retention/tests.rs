//! Each rule, guard and floor by example; the presets; the model.

mod floor;
mod guards;
mod model;
mod presets;
mod property;
mod spoilt;
mod window;

use super::fixture::{
    ago, ahead, at, berlin, dated, failed, hold, last, only, point, proven, st_johns, tag,
};
use super::{Claim, Decision, PointFacts, Reason, RetentionPolicy, Rule, Verdict};
use super::{check_retention, plan_retention};
use crate::fixture::NOW;
use holdfast_types::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

/// Judges, and lets the checker read it again.
fn judged(
    points: &[PointFacts],
    policy: &RetentionPolicy,
    tz: &TimeZone,
    now: Timestamp,
) -> Vec<Verdict> {
    let verdicts = plan_retention(points, policy, tz, now);
    assert_eq!(check_retention(&verdicts, points, policy, tz, now), []);
    verdicts
}

/// Committed instants of what stays, the newest first.
fn kept_in(points: &[PointFacts], rule: Rule, tz: &TimeZone) -> Vec<String> {
    let verdicts = judged(points, &only(rule), tz, NOW);
    let kept = verdicts
        .iter()
        .filter(|verdict| verdict.decision == Decision::Keep);
    kept.map(|verdict| {
        let point = points.iter().find(|point| point.id == verdict.id).unwrap();
        point.committed.to_string()
    })
    .collect()
}

/// Hours of age of what stays, the newest first.
fn kept(points: &[PointFacts], policy: &RetentionPolicy) -> Vec<u64> {
    let verdicts = judged(points, policy, &TimeZone::UTC, NOW);
    let kept = verdicts
        .iter()
        .filter(|verdict| verdict.decision == Decision::Keep);
    kept.map(|verdict| {
        let point = points.iter().find(|point| point.id == verdict.id).unwrap();
        NOW.distance(point.committed).as_secs() / 3600
    })
    .collect()
}

/// What is said of the point so many hours old.
fn said(points: &[PointFacts], policy: &RetentionPolicy, hours_ago: i64) -> Vec<String> {
    let verdicts = judged(points, policy, &TimeZone::UTC, NOW);
    let point = points
        .iter()
        .find(|point| point.committed == ago(hours_ago))
        .unwrap();
    let verdict = verdicts
        .iter()
        .find(|verdict| verdict.id == point.id)
        .unwrap();
    verdict.reasons.iter().map(Reason::to_string).collect()
}

fn each(collections: &str, hours_ago: &[i64]) -> Vec<PointFacts> {
    hours_ago
        .iter()
        .map(|hours| point(collections, *hours))
        .collect()
}

fn series(instants: &[&str]) -> Vec<PointFacts> {
    instants
        .iter()
        .map(|text| dated("docs", at(text), 0))
        .collect()
}

#[test]
fn the_last_points_stay() {
    let points = each("docs", &[9, 1, 5, 3, 7]);
    assert_eq!(kept(&points, &only(last(3))), [1, 3, 5]);
    assert_eq!(kept(&points, &only(last(9))), [1, 3, 5, 7, 9]);
    let texts = said(&points, &only(last(3)), 3);
    assert_eq!(texts, ["last 2 of 3: docs"]);
    let texts = said(&points, &only(last(3)), 1);
    assert_eq!(texts, ["last 1 of 3: docs", "the newest point: docs"]);
    assert_eq!(said(&points, &only(last(3)), 7), ["no rule keeps it: docs"]);
}

#[test]
fn points_of_one_instant_are_ordered_by_id() {
    let points = [1, 3, 2].map(|entropy| dated("docs", NOW, entropy));
    let verdicts = judged(&points, &only(last(2)), &TimeZone::UTC, NOW);
    let removed = verdicts.last().unwrap();
    assert_eq!(removed.decision, Decision::Remove);
    assert_eq!(removed.id, points[0].id);
}

#[test]
fn within_counts_from_the_newest_point() {
    let points = each("docs", &[100, 110, 148, 149]);
    let rule = Rule {
        keep_within: Duration::from_hours(48),
        ..Rule::default()
    };
    assert_eq!(kept(&points, &only(rule.clone())), [100, 110, 148]);
    assert_eq!(said(&points, &only(rule), 148), ["within 48 h: docs"]);
}

#[test]
fn the_newest_of_each_period_stays() {
    let points = series(&[
        "2026-11-20T10:00:00Z",
        "2026-11-20T09:59:00Z",
        "2026-11-20T09:01:00Z",
        "2026-11-18T12:00:00Z",
        "2026-11-15T12:00:00Z",
        "2026-10-31T12:00:00Z",
        "2026-10-01T12:00:00Z",
        "2025-12-31T12:00:00Z",
        "2025-01-01T12:00:00Z",
    ]);
    type Set = fn(&mut Rule, u32);
    let cases: [(Set, u32, &[usize]); 6] = [
        (|rule, n| rule.hourly = n, 3, &[0, 1, 3]),
        (|rule, n| rule.daily = n, 3, &[0, 3, 4]),
        (|rule, n| rule.weekly = n, 3, &[0, 4, 5]),
        (|rule, n| rule.monthly = n, 3, &[0, 5, 7]),
        (|rule, n| rule.yearly = n, 3, &[0, 7]),
        (|rule, n| rule.yearly = n, 1, &[0]),
    ];
    for (set, count, expected) in cases {
        let mut rule = last(0);
        set(&mut rule, count);
        let expected: Vec<_> = expected
            .iter()
            .map(|nth| points[*nth].committed.to_string())
            .collect();
        let kept = kept_in(&points, rule.clone(), &TimeZone::UTC);
        assert_eq!(kept, expected, "{rule:?}");
    }
    let mut rule = last(0);
    (rule.daily, rule.weekly) = (7, 4);
    let verdicts = judged(&points, &only(rule), &TimeZone::UTC, NOW);
    let texts: Vec<_> = verdicts[4].reasons.iter().map(Reason::to_string).collect();
    let expected = [
        "daily 2026-11-15 (3 of 7): docs",
        "weekly 2026-W46 (2 of 4): docs",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn summer_time_begins_and_ends() {
    let rule = |hourly, daily| Rule {
        hourly,
        daily,
        ..Rule::default()
    };
    // 02:30 comes twice
    let autumn = series(&["2026-10-25T01:30:00Z", "2026-10-25T00:30:00Z"]);
    assert_eq!(kept_in(&autumn, rule(2, 0), &berlin()).len(), 2);
    // a day of 25 hours, then one that begins at 23:00 UTC
    let autumn = series(&[
        "2026-10-25T23:00:00Z",
        "2026-10-25T22:59:00Z",
        "2026-10-24T22:00:00Z",
        "2026-10-24T21:59:00Z",
    ]);
    let days = [0, 1, 3].map(|nth| autumn[nth].committed.to_string());
    assert_eq!(kept_in(&autumn, rule(0, 3), &berlin()), days);
    // a day of 23 hours
    let spring = series(&[
        "2026-03-29T22:00:00Z",
        "2026-03-29T21:59:00Z",
        "2026-03-28T23:00:00Z",
        "2026-03-28T22:59:00Z",
    ]);
    let days = [0, 1, 3].map(|nth| spring[nth].committed.to_string());
    assert_eq!(kept_in(&spring, rule(0, 3), &berlin()), days);
}

#[test]
fn a_date_that_comes_back_is_one_day() {
    // Sunday, Saturday again, Sunday for a minute
    let points = series(&[
        "2010-11-07T03:40:00Z",
        "2010-11-07T02:40:00Z",
        "2010-11-07T02:30:30Z",
    ]);
    let daily = Rule {
        daily: 5,
        ..Rule::default()
    };
    let days = [0, 1].map(|nth| points[nth].committed.to_string());
    assert_eq!(kept_in(&points, daily, &st_johns()), days);
}

#[test]
fn the_leap_day_counts() {
    let points = series(&[
        "2024-03-01T12:00:00Z",
        "2024-02-29T12:00:00Z",
        "2024-02-28T12:00:00Z",
    ]);
    let daily = |daily| Rule {
        daily,
        ..Rule::default()
    };
    assert_eq!(kept_in(&points, daily(3), &TimeZone::UTC).len(), 3);
    assert_eq!(kept_in(&points, daily(2), &TimeZone::UTC).len(), 2);
}

#[test]
fn each_collection_is_a_series_of_its_own() {
    let mut points = each("docs", &[1, 2, 3]);
    points.extend(each("books docs", &[4, 5]));
    points.extend(each("books", &[6, 7]));
    assert_eq!(kept(&points, &only(last(2))), [1, 2, 4, 5]);
    let texts = said(&points, &only(last(4)), 4);
    assert_eq!(
        texts,
        [
            "last 1 of 4: books",
            "last 4 of 4: docs",
            "the newest point: books"
        ]
    );
    let texts = said(&points, &only(last(2)), 6);
    assert_eq!(texts, ["no rule keeps it: books"]);
    let both = each("books docs", &[1, 2]);
    assert_eq!(said(&both, &only(last(2)), 2), ["last 2 of 2: books, docs"]);
}

#[test]
fn rules_choose_collections_and_tags() {
    let mut policy = only(Rule {
        except: vec!["scratch*".parse().unwrap()],
        ..last(2)
    });
    policy.rules.push(Rule {
        collections: vec!["scratch*".parse().unwrap()],
        ..last(0)
    });
    policy.rules.push(Rule {
        tags: [tag("audit")].into(),
        ..last(1)
    });
    let mut points = each("docs", &[1, 2, 3, 4, 5]);
    points.extend(each("scratch-1", &[6, 7]));
    points[3].tags = [tag("audit"), tag("q3")].into();
    points[4].tags = [tag("audit")].into();
    assert_eq!(kept(&points, &policy), [1, 2, 4, 6]);
    assert_eq!(said(&points, &policy, 4), ["last 1 of 1: docs"]);
    assert_eq!(said(&points, &policy, 6), ["the newest point: scratch-1"]);
}

#[test]
fn what_no_rule_covers_is_left_alone() {
    let policy = only(Rule {
        collections: vec!["docs".parse().unwrap()],
        ..last(1)
    });
    let mut points = each("docs", &[1, 2]);
    points.extend(each("books", &[3, 4]));
    points.extend(each("docs books", &[5]));
    assert_eq!(kept(&points, &policy), [1, 3, 4, 5]);
    assert_eq!(said(&points, &policy, 4), ["no rule covers it: books"]);
}

#[test]
fn reasons_know_whether_they_keep() {
    let verdicts = judged(&each("docs", &[1, 2]), &only(last(1)), &TimeZone::UTC, NOW);
    let claim = Claim::Last { nth: 1, of: 1 };
    let collections = points_of("docs");
    assert_eq!(
        verdicts[0].reasons[0],
        Reason::Claimed { claim, collections }
    );
    assert!(!verdicts[1].reasons.iter().any(Reason::keeps));
}

fn points_of(text: &str) -> std::collections::BTreeSet<holdfast_types::CollectionName> {
    point(text, 0).collections
}
