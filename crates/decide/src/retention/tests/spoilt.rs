//! The checker finds each way to spoil the verdicts.

use super::{NOW, ahead, each, hold, last, only, point, proven};
use crate::retention::{
    Decision, PointFacts, Reason, RetentionPolicy, RetentionViolation as V, Rule, Verdict,
    check_retention, plan_retention,
};
use holdfast_types::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

fn check(verdicts: &[Verdict], points: &[PointFacts], policy: &RetentionPolicy) -> Vec<V> {
    check_retention(verdicts, points, policy, &TimeZone::UTC, NOW)
}

/// What the checker says if the point at `nth` is removed against the planner's advice.
fn after_removing(points: &[PointFacts], policy: &RetentionPolicy, nth: usize) -> Vec<V> {
    let mut verdicts = plan_retention(points, policy, &TimeZone::UTC, NOW);
    assert_eq!(check(&verdicts, points, policy), []);
    let verdict = verdicts
        .iter_mut()
        .find(|verdict| verdict.id == points[nth].id)
        .unwrap();
    assert_eq!(verdict.decision, Decision::Keep);
    verdict.decision = Decision::Remove;
    verdict.reasons = vec![Reason::NoRule {
        collections: points[nth].collections.clone(),
    }];
    check(&verdicts, points, policy)
}

#[test]
fn each_guard_is_checked() {
    type Case = (fn(&mut PointFacts), fn(&PointFacts) -> V);
    let cases: [Case; 9] = [
        (|p| p.pin = Some(String::new()), |p| V::Pinned(p.id.clone())),
        (|p| p.holds = vec![hold(None)], |p| V::Held(p.id.clone())),
        (
            |p| p.holds = vec![hold(Some(ahead(1)))],
            |p| V::Held(p.id.clone()),
        ),
        (
            |p| p.locked_until = Some(ahead(1)),
            |p| V::Locked(p.id.clone()),
        ),
        (|p| p.in_use = true, |p| V::InUse(p.id.clone())),
        (|p| p.safety = true, |p| V::Safety(p.id.clone())),
        (
            |p| p.committed = Timestamp::from_micros(NOW.as_micros() + 1),
            |p| V::ClockSkew(p.id.clone()),
        ),
        (
            |p| p.committed = Timestamp::from_micros(i64::MIN),
            |p| V::ClockSkew(p.id.clone()),
        ),
        (
            |p| p.collections.clear(),
            |p| V::ContentsUnknown(p.id.clone()),
        ),
    ];
    let mut policy = only(last(1));
    policy.keep_safety = Duration::from_hours(6);
    for (guard, violation) in cases {
        let mut points = each("docs", &[1, 5]);
        guard(&mut points[1]);
        let found = after_removing(&points, &policy, 1);
        let expected = violation(&points[1]);
        assert!(found.contains(&expected), "{expected}: {found:?}");
    }
}

#[test]
fn floor_rules_and_coverage_are_checked() {
    let (id, docs) = (
        |points: &[PointFacts], nth: usize| points[nth].id.clone(),
        crate::fixture::name("docs"),
    );
    let mut points = each("docs", &[1, 2, 3, 4]);
    points[2] = proven(points[2].clone());
    let mut policy = only(last(0));
    policy.min_proven = 2;
    let floor = |nth| V::Floor {
        id: id(&points, nth),
        collection: docs.clone(),
    };
    assert_eq!(after_removing(&points, &policy, 2), [floor(2)]);
    let newest = V::Newest {
        id: id(&points, 0),
        collection: docs.clone(),
    };
    let sound = V::NewestSound {
        id: id(&points, 0),
        collection: docs.clone(),
    };
    assert_eq!(
        after_removing(&points, &policy, 0),
        [newest.clone(), sound.clone(), floor(0)]
    );
    policy.min_proven = 0;
    assert_eq!(after_removing(&points, &policy, 0), [newest, sound]);
    let rule = |nth| V::RuleKeeps {
        id: id(&points, nth),
        collection: docs.clone(),
        rule: 2,
    };
    let daily = Rule {
        daily: 2,
        ..last(0)
    };
    let points = [points.clone(), each("docs", &[40])].concat();
    policy.rules.push(daily);
    assert_eq!(
        after_removing(&points, &policy, 4),
        [V::RuleKeeps {
            id: id(&points, 4),
            collection: docs.clone(),
            rule: 2,
        }]
    );
    policy.rules[1] = last(2);
    assert_eq!(after_removing(&points, &policy, 1), [rule(1)]);
    let books = Rule {
        collections: vec!["b*".parse().unwrap()],
        ..last(1)
    };
    let uncovered = V::Uncovered {
        id: id(&points, 1),
        collection: docs.clone(),
    };
    assert_eq!(after_removing(&points, &only(books), 1), [uncovered]);
}

#[test]
fn every_point_has_one_founded_verdict() {
    let points = each("docs", &[1, 2]);
    let policy = only(last(1));
    let good = plan_retention(&points, &policy, &TimeZone::UTC, NOW);
    let (kept, removed) = (good[0].id.clone(), good[1].id.clone());
    type Spoil = fn(&mut Vec<Verdict>);
    let cases: [(Spoil, &[V]); 6] = [
        (
            |verdicts| {
                verdicts.pop();
            },
            &[V::NoVerdict(removed.clone())],
        ),
        (
            |verdicts| verdicts.push(verdicts[1].clone()),
            &[V::VerdictTwice(removed.clone())],
        ),
        (
            |verdicts| verdicts[0].reasons.clear(),
            &[V::Unfounded(kept.clone())],
        ),
        (
            |verdicts| verdicts[1].reasons.clear(),
            &[V::Unfounded(removed.clone())],
        ),
        (
            |verdicts| verdicts[1].reasons.push(Reason::InUse),
            &[V::Unfounded(removed.clone())],
        ),
        (
            |verdicts| verdicts[1].decision = Decision::Keep,
            &[V::Unfounded(removed.clone())],
        ),
    ];
    for (spoil, expected) in cases {
        let mut verdicts = good.clone();
        spoil(&mut verdicts);
        assert_eq!(check(&verdicts, &points, &policy), expected);
    }
    let unknown = V::UnknownPoint(removed.clone());
    assert_eq!(check(&good, &points[..1], &policy), [unknown]);
    // one id twice, once pinned: nothing of it may go
    let mut twice = each("docs", &[1, 2, 2]);
    twice[1].pin = Some("mine".into());
    let verdicts = plan_retention(&twice, &policy, &TimeZone::UTC, NOW);
    let found = check(&verdicts, &twice, &policy);
    assert!(found.contains(&V::PointTwice(twice[1].id.clone())));
    assert!(found.contains(&V::VerdictTwice(twice[1].id.clone())));
    assert_eq!(point("docs", 2).id, twice[2].id);
}
