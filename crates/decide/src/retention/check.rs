//! Reads the verdicts again, against points, policy and clock, before anything is tombstoned.
//!
//! Deliberately shares no code with the planner, so that one mistake is not made twice: it compares
//! points in pairs, and does so only for those that would go. Keeping too much is no violation.

mod rules;
mod violation;

use super::pattern::NamePattern;
use super::point::{PointFacts, Proof};
use super::policy::{RetentionPolicy, Rule};
use super::{Decision, Verdict};
use holdfast_types::{CollectionName, RecoveryPointId, Timestamp};
use jiff::tz::TimeZone;
use rules::Slot;
pub use violation::RetentionViolation;

/// Everything wrong with the verdicts; empty if they may be carried out.
#[must_use]
pub fn check_retention(
    verdicts: &[Verdict],
    points: &[PointFacts],
    policy: &RetentionPolicy,
    tz: &TimeZone,
    now: Timestamp,
) -> Vec<RetentionViolation> {
    use RetentionViolation as V;
    let history = History::of(points, tz, now);
    let mut wrong = Vec::new();
    for verdict in verdicts {
        let id = || verdict.id.clone();
        if !points.iter().any(|point| point.id == verdict.id) {
            wrong.push(V::UnknownPoint(id()));
        }
        let keeping = verdict.reasons.iter().filter(|reason| reason.keeps());
        let founded = match verdict.decision {
            Decision::Keep => keeping.count() > 0,
            Decision::Remove => keeping.count() == 0 && !verdict.reasons.is_empty(),
        };
        if !founded {
            wrong.push(V::Unfounded(id()));
        }
    }
    for point in points {
        let id = || point.id.clone();
        if points.iter().filter(|other| other.id == point.id).count() > 1 {
            wrong.push(V::PointTwice(id()));
        }
        let mut removes = false;
        let mut judged = 0;
        for verdict in verdicts.iter().filter(|verdict| verdict.id == point.id) {
            judged += 1;
            removes |= verdict.decision == Decision::Remove;
        }
        match judged {
            0 => wrong.push(V::NoVerdict(id())),
            1 => {}
            _ => wrong.push(V::VerdictTwice(id())),
        }
        if removes {
            wrong.extend(guarded(point, policy, now));
            for collection in &point.collections {
                wrong.extend(floor(point, collection, &history, policy.min_proven));
                wrong.extend(rules::check(point, collection, &history, policy, now));
            }
        }
    }
    wrong
}

/// A point that may stand in for one that goes.
struct Known<'a> {
    point: &'a PointFacts,
    slots: [Slot; 5],
}

/// All points that are neither from the future nor outside the calendar, in any order.
struct History<'a>(Vec<Known<'a>>);

impl<'a> History<'a> {
    fn of(points: &'a [PointFacts], tz: &TimeZone, now: Timestamp) -> Self {
        let past = points.iter().filter(|point| point.committed <= now);
        let known = |point: &'a PointFacts| {
            let slots = rules::slots(point.committed, tz)?;
            Some(Known { point, slots })
        };
        Self(past.filter_map(known).collect())
    }

    /// Other points of the collection that are newer than `point`.
    fn newer(
        &self,
        point: &PointFacts,
        collection: &CollectionName,
    ) -> impl Iterator<Item = &Known<'a>> {
        self.0.iter().filter(move |Known { point: other, .. }| {
            (other.committed > point.committed
                || other.committed == point.committed && other.id > point.id)
                && other.collections.contains(collection)
        })
    }
}

/// Whether something keeps a point, and what it means if it goes nevertheless.
type Guard = (bool, fn(RecoveryPointId) -> RetentionViolation);

/// What about the point itself forbids to remove it.
fn guarded(
    point: &PointFacts,
    policy: &RetentionPolicy,
    now: Timestamp,
) -> Vec<RetentionViolation> {
    use RetentionViolation as V;
    let calendar = jiff::Timestamp::MIN.as_microsecond()..=jiff::Timestamp::MAX.as_microsecond();
    let micros = point.committed.as_micros();
    let held = |end: Option<Timestamp>| match end {
        Some(end) => now < end,
        None => true,
    };
    let safe_for = policy.keep_safety.as_micros();
    let age = u128::from(now.as_micros().abs_diff(micros));
    let guards: [Guard; 7] = [
        (point.pin.is_some(), V::Pinned),
        (point.holds.iter().any(|hold| held(hold.expires)), V::Held),
        (
            point.locked_until.is_some_and(|until| now < until),
            V::Locked,
        ),
        (point.in_use, V::InUse),
        (point.safety && age < safe_for, V::Safety),
        (
            point.committed > now || !calendar.contains(&micros),
            V::ClockSkew,
        ),
        (point.collections.is_empty(), V::ContentsUnknown),
    ];
    let broken = guards.into_iter().filter(|(broken, _)| *broken);
    broken
        .map(|(_, violation)| violation(point.id.clone()))
        .collect()
}

/// What the collection loses that it needs whatever the rules say.
fn floor(
    point: &PointFacts,
    collection: &CollectionName,
    history: &History<'_>,
    min_proven: u32,
) -> Vec<RetentionViolation> {
    let (id, of) = (point.id.clone(), collection.clone());
    let mut wrong = Vec::new();
    if history.newer(point, collection).count() == 0 {
        wrong.push(RetentionViolation::Newest {
            id: id.clone(),
            collection: of.clone(),
        });
    }
    let mut newer = history.newer(point, collection);
    let failed = |point: &PointFacts| failed(point, collection);
    if !failed(point) && newer.all(|other| failed(other.point)) {
        wrong.push(RetentionViolation::NewestSound {
            id: id.clone(),
            collection: of.clone(),
        });
    }
    let alike = history.newer(point, collection);
    let alike = alike
        .filter(|other| proof(other.point, collection) == proof(point, collection))
        .count();
    let proven_before = match proof(point, collection) {
        Proof::Proven => 0,
        Proof::Unproven => {
            let proven = |Known { point: other, .. }: &&Known<'_>| {
                *proof(other, collection) == Proof::Proven && other.collections.contains(collection)
            };
            history.0.iter().filter(proven).count()
        }
        Proof::Failed { .. } => return wrong,
    };
    if proven_before + alike < min_proven as usize {
        wrong.push(RetentionViolation::Floor { id, collection: of });
    }
    wrong
}

fn proof<'a>(point: &'a PointFacts, collection: &CollectionName) -> &'a Proof {
    let said = point.proofs.iter().find(|(name, _)| *name == collection);
    said.map_or(&Proof::Unproven, |(_, proof)| proof)
}

fn failed(point: &PointFacts, collection: &CollectionName) -> bool {
    matches!(proof(point, collection), Proof::Failed { .. })
}

/// Whether the rule speaks of this collection in this point.
fn speaks_of(rule: &Rule, point: &PointFacts, collection: &CollectionName) -> bool {
    let like =
        |pattern: &NamePattern| like(pattern.as_str().as_bytes(), collection.as_str().as_bytes());
    rule.tags.iter().all(|tag| point.tags.contains(tag))
        && !rule.except.iter().any(like)
        && (rule.collections.iter().any(like) || rule.collections.is_empty())
}

/// Whether `text` has the shape of `pattern`, by trying everything a star may stand for.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for sign in pattern {
        let before = reached.clone();
        for at in 0..=text.len() {
            reached[at] = if *sign == b'*' {
                before[..=at].contains(&true)
            } else {
                at > 0 && before[at - 1] && text[at - 1] == *sign
            };
        }
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::like;
    use crate::fixture::name;
    use crate::retention::NamePattern;
    use proptest::prelude::{prop_assert_eq, proptest};

    proptest! {
        /// The planner's and the checker's idea of a pattern are the same.
        #[test]
        fn patterns_are_read_alike(pattern in "[ab*]{1,7}", text in "[ab]{1,9}") {
            let fits = like(pattern.as_bytes(), text.as_bytes());
            let pattern: NamePattern = pattern.parse().unwrap();
            prop_assert_eq!(pattern.matches(&name(&text)), fits);
        }
    }
}
