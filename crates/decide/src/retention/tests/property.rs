//! Random histories, policies and clocks: the planner against the model and the checker.

use super::model::survivors;
use crate::fixture::name;
use crate::retention::fixture::{berlin, lord_howe, st_johns, tag};
use crate::retention::{
    Decision, Deletion, Hold, LogReach, LogRun, PointFacts, Proof, RetentionPolicy, Rule,
    check_retention, judge_deletion, judge_deletions, plan_retention,
};
use holdfast_types::{CollectionName, RecoveryPointId, ShardId, TimelineId, Timestamp};
use jiff::tz::TimeZone;
use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// Instants at which a calendar does something odd in one of the zones below.
const ANCHORS: [&str; 6] = [
    "2026-03-29T01:00:00Z",
    "2026-10-25T01:00:00Z",
    "2026-11-01T02:31:00Z",
    "2026-04-04T15:00:00Z",
    "2024-02-29T12:00:00Z",
    "2026-12-31T23:30:00Z",
];

fn any_zone() -> impl Strategy<Value = TimeZone> {
    prop::sample::select(vec![TimeZone::UTC, berlin(), st_johns(), lord_howe()])
}

/// Minutes around an anchor: often the same hours, sometimes years away.
fn any_offset() -> impl Strategy<Value = i64> {
    prop_oneof![
        -4..4_i64,
        -180..180_i64,
        -20 * 1440..5 * 1440_i64,
        -900 * 1440..30 * 1440_i64,
    ]
}

fn instant(anchor: &str, minutes: i64) -> Timestamp {
    let anchor: Timestamp = anchor.parse().unwrap();
    Timestamp::from_micros(anchor.as_micros() + minutes * 60_000_000)
}

/// `None` of a collection that nobody has tried.
fn any_proof() -> impl Strategy<Value = Option<Proof>> {
    let why = || "lost".to_owned();
    prop_oneof![
        3 => Just(None),
        2 => Just(Some(Proof::Proven)),
        1 => Just(Some(Proof::Failed { why: why() })),
    ]
}

/// Mostly false.
fn rarely() -> impl Strategy<Value = bool> {
    (0..16_u8).prop_map(|dice| dice == 0)
}

fn any_point(anchor: &'static str) -> impl Strategy<Value = PointFacts> {
    let all = ["a", "b", "c", "d"].map(name);
    let names = prop::sample::subsequence(all.to_vec(), 1..=2);
    let tags = prop::sample::subsequence(["x", "y"].map(tag).to_vec(), 0..=2);
    let end = || prop::option::of(any_offset().prop_map(move |m| instant(anchor, m)));
    let hold = (any_offset(), end()).prop_map(move |(placed, expires)| Hold {
        id: "h".parse().unwrap(),
        reason: "r".into(),
        owner: "o".into(),
        placed: instant(anchor, placed),
        expires,
    });
    let named = prop_oneof![
        15 => names.prop_map(BTreeSet::from_iter),
        5 => Just(all.into()),
        1 => Just([].into()),
    ];
    let guards = (
        prop::option::weighted(0.05, Just("p".to_owned())),
        prop::collection::vec(hold, 0..=1),
        prop::option::weighted(0.1, any_offset()),
        rarely(),
        rarely(),
        rarely(),
    );
    let logs = prop::collection::vec((0..5_u8, any_offset()), 4);
    let known = (
        any_offset(),
        named,
        tags.prop_map(BTreeSet::from_iter),
        logs,
    );
    // Mostly of one kind; sometimes the collections of a point have fared differently.
    let proofs = prop_oneof![
        2 => any_proof().prop_map(|proof| vec![proof; 4]),
        1 => prop::collection::vec(any_proof(), 4),
    ];
    (known, proofs, guards).prop_map(move |(known, proofs, guards)| {
        let (minutes, collections, tags, logs) = known;
        let collections: BTreeSet<CollectionName> = collections;
        let proofs = collections.iter().cloned().zip(proofs);
        let proofs = proofs.filter_map(|(name, proof)| Some((name, proof?)));
        let proofs = proofs.collect();
        let logs = collections.iter().cloned().zip(logs);
        let logs = logs.filter(|(_, (line, _))| *line > 0);
        let logs = logs.map(|(name, (line, minutes))| {
            let run = LogRun {
                shard: ShardId(0),
                timeline: TimelineId::from_bytes([line / 2; 16]),
                stretch: usize::from(line % 2),
            };
            (
                name,
                [(run, LogReach::until(instant(anchor, minutes)))].into(),
            )
        });
        let logs = logs.collect();
        let (pin, holds, lock, held, safety, in_use) = guards;
        PointFacts {
            id: RecoveryPointId::new(Timestamp::EPOCH, 0),
            committed: instant(anchor, minutes),
            collections,
            tags,
            proofs,
            pin,
            holds: if held { holds } else { vec![] },
            locked_until: lock.map(|minutes| instant(anchor, minutes)),
            safety,
            in_use,
            logs,
        }
    })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let pattern = || {
        prop::sample::select(vec!["*", "a", "b", "c*", "d*"]).prop_map(|text| text.parse().unwrap())
    };
    let count = || prop_oneof![2 => Just(0), 3 => 0..5_u32, 1 => Just(40)];
    let tags = prop::sample::subsequence(["x", "y"].map(tag).to_vec(), 1..=2);
    let filter = (
        prop::collection::vec(pattern(), 0..3),
        prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(pattern(), 1..2)],
        prop_oneof![3 => Just(BTreeSet::new()), 1 => tags.prop_map(BTreeSet::from_iter)],
    );
    let counts = [count(), count(), count(), count(), count(), count()];
    let hours = || prop_oneof![Just(0), 1..400_u64];
    (filter, counts, hours(), hours()).prop_map(|(filter, counts, hours, window)| {
        let (collections, except, tags) = filter;
        let [keep_last, hourly, daily, weekly, monthly, yearly] = counts;
        let window = if tags.is_empty() { window } else { 0 };
        Rule {
            collections,
            except,
            tags,
            keep_last,
            keep_within: Duration::from_hours(hours),
            instants_within: Duration::from_hours(window),
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
        }
    })
}

fn any_policy() -> impl Strategy<Value = RetentionPolicy> {
    let rules = prop::collection::vec(any_rule(), 1..4);
    (rules, 0..5_u32, 0..200_u64).prop_map(|(rules, min_proven, hours)| RetentionPolicy {
        rules,
        min_proven,
        keep_safety: Duration::from_hours(hours),
    })
}

/// A history in no order, and a clock.
fn any_history() -> impl Strategy<Value = (Vec<PointFacts>, Timestamp)> {
    let anchor = prop::sample::select(ANCHORS.to_vec());
    anchor.prop_flat_map(|anchor| {
        let points = prop::collection::vec(any_point(anchor), 0..60);
        let now = prop_oneof![1 => any_offset(), 3 => 0..40 * 1440_i64];
        (points, now).prop_map(move |(mut points, minutes)| {
            for (nth, point) in (0..).zip(&mut points) {
                point.id = RecoveryPointId::new(Timestamp::EPOCH, nth);
            }
            (points, instant(anchor, minutes))
        })
    })
}

/// Raises one count of the policy.
fn raise(policy: &mut RetentionPolicy, rule: usize, field: u8, by: u32) {
    let nth = rule % policy.rules.len();
    let rule = &mut policy.rules[nth];
    let hours = Duration::from_hours(by.into());
    match field {
        0 => rule.keep_last += by,
        1 => rule.hourly += by,
        2 => rule.daily += by,
        3 => rule.weekly += by,
        4 => rule.monthly += by,
        5 => rule.yearly += by,
        6 => rule.keep_within += hours,
        7 => policy.min_proven += by,
        _ => policy.keep_safety += hours,
    }
}

fn stays(
    points: &[PointFacts],
    policy: &RetentionPolicy,
    tz: &TimeZone,
    now: Timestamp,
) -> BTreeSet<RecoveryPointId> {
    let verdicts = plan_retention(points, policy, tz, now);
    let kept = verdicts
        .into_iter()
        .filter(|verdict| verdict.decision == Decision::Keep);
    kept.map(|verdict| verdict.id).collect()
}

proptest! {
    /// The planner keeps what the model keeps, and the checker agrees.
    #[test]
    fn planner_model_and_checker_agree(
        (points, now) in any_history(),
        policy in any_policy(),
        tz in any_zone(),
    ) {
        let verdicts = plan_retention(&points, &policy, &tz, now);
        prop_assert_eq!(check_retention(&verdicts, &points, &policy, &tz, now), vec![]);
        prop_assert_eq!(stays(&points, &policy, &tz, now), survivors(&points, &policy, &tz, now));
        // and the checker does not pass everything: whatever stays can't simply be removed
        for nth in (0..verdicts.len()).step_by(4) {
            let mut spoilt = verdicts.clone();
            if spoilt[nth].decision == Decision::Keep {
                spoilt[nth].decision = Decision::Remove;
                spoilt[nth].reasons.retain(|reason| !reason.keeps());
                let found = check_retention(&spoilt, &points, &policy, &tz, now);
                let grave = |violation: &_| !matches!(violation, super::super::RetentionViolation::Unfounded(_));
                prop_assert!(found.iter().any(grave));
            }
        }
    }

    /// A higher count never removes what a lower one keeps.
    #[test]
    fn raising_a_count_removes_nothing(
        (points, now) in any_history(),
        policy in any_policy(),
        tz in any_zone(),
        rule in any::<usize>(),
        field in 0..9_u8,
        by in 1..50_u32,
    ) {
        let before = stays(&points, &policy, &tz, now);
        let mut higher = policy;
        raise(&mut higher, rule, field, by);
        let after = stays(&points, &higher, &tz, now);
        prop_assert!(before.is_subset(&after));
    }

    /// Deciding again about the survivors removes nothing more.
    #[test]
    fn a_second_pass_removes_nothing(
        (points, now) in any_history(),
        policy in any_policy(),
        tz in any_zone(),
    ) {
        let once = stays(&points, &policy, &tz, now);
        let mut left = points;
        left.retain(|point| once.contains(&point.id));
        prop_assert_eq!(stays(&left, &policy, &tz, now), once);
    }

    /// Many marked points judged together: each as if it alone came back among the live ones.
    #[test]
    fn marked_points_are_judged_one_by_one(
        (points, now) in any_history(),
        policy in any_policy(),
        tz in any_zone(),
        every in 2..5_usize,
    ) {
        let hows = [Deletion::ByPolicy, Deletion::Asked, Deletion::AskedDespiteFloor];
        let (mut live, mut marked) = (Vec::new(), Vec::new());
        for (nth, point) in points.iter().enumerate() {
            if nth % every == 0 {
                marked.push((point, hows[nth / every % 3]));
            } else {
                live.push(point.clone());
            }
        }
        let together = judge_deletions(&marked, &live, &policy, &tz, now);
        prop_assert_eq!(together.len(), marked.len());
        for ((point, how), judged) in marked.into_iter().zip(together) {
            let mut beside = live.clone();
            beside.push(point.clone());
            let alone = judge_deletion(&point.id, how, &beside, &policy, &tz, now);
            prop_assert_eq!(judged, alone);
        }
    }

    /// The order of the input is of no account, not even for the reasons.
    #[test]
    fn order_does_not_matter(
        (points, now) in any_history(),
        policy in any_policy(),
        tz in any_zone(),
        shuffled in any::<prop::sample::Index>(),
    ) {
        let mut other = points.clone();
        if !other.is_empty() {
            other.rotate_left(shuffled.index(points.len()));
            let half = other.len() / 2;
            other[..half].reverse();
        }
        let expected = plan_retention(&points, &policy, &tz, now);
        prop_assert_eq!(plan_retention(&other, &policy, &tz, now), expected);
    }
}
