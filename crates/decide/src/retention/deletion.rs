//! Whether one recovery point that a person names may be removed.
//!
//! What a person asks for needs no rule's leave. What protects the point (pin, hold, lock, use) still counts, and so does
//! the floor of its collections, unless the person says that it shall not. A point of which nobody knows what it holds, or
//! how old it is, can be given up only this way.

use super::guard::guards;
use super::history::{Dated, Series, by_collection, history};
use super::point::PointFacts;
use super::policy::RetentionPolicy;
use super::reason::{Claim, Reason};
use super::{Claims, Decision, Verdict, collection_claims, plan_retention, verdict};
use holdfast_types::{CollectionName, RecoveryPointId, Timestamp};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};

/// On whose word a point is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// No rule keeps it.
    ByPolicy,
    /// A person named it.
    Asked,
    /// A person named it, and said that it shall go although its collections have nothing better left, or although it is a
    /// young safety capture.
    AskedDespiteFloor,
}

/// Whether `id`, one of `points`, may be removed; else what keeps it.
///
/// # Errors
/// The reasons that keep it.
pub fn judge_deletion(
    id: &RecoveryPointId,
    how: Deletion,
    points: &[PointFacts],
    policy: &RetentionPolicy,
    tz: &TimeZone,
    now: Timestamp,
) -> Result<(), Vec<Reason>> {
    let verdicts = plan_retention(points, policy, tz, now);
    match verdicts.into_iter().find(|verdict| verdict.id == *id) {
        Some(verdict) => judge(verdict, how),
        None => Ok(()),
    }
}

/// [`judge_deletion`] of each of `marked`, as if of the marked points it alone were still there beside the `live` ones. The
/// live ones are put in order once, and each marked point is judged by its own collections' series only.
#[must_use]
pub fn judge_deletions(
    marked: &[(&PointFacts, Deletion)],
    live: &[PointFacts],
    policy: &RetentionPolicy,
    tz: &TimeZone,
    now: Timestamp,
) -> Vec<Result<(), Vec<Reason>>> {
    let living = history(live, tz, now);
    let all = by_collection(&living);
    let judged = marked.iter().map(|(point, how)| {
        let claims = claims_beside(point, &all, policy, tz, now);
        judge(verdict(point, claims, guards(point, policy, now)), *how)
    });
    judged.collect()
}

/// What speaks for a point that comes back among others.
fn claims_beside(
    point: &PointFacts,
    others: &BTreeMap<&CollectionName, Series<'_, '_>>,
    policy: &RetentionPolicy,
    tz: &TimeZone,
    now: Timestamp,
) -> Claims {
    let mut claims = Claims::new();
    // None if its age is not known: then it has no place among the others.
    let own = history(std::slice::from_ref(point), tz, now);
    for dated in &own {
        let newer = |other: &&Dated<'_>| {
            (other.point.committed, &other.point.id) > (point.committed, &point.id)
        };
        for collection in &point.collections {
            let mut series: Series<'_, '_> = others.get(collection).cloned().unwrap_or_default();
            series.insert(series.partition_point(newer), dated);
            for (claimant, claim) in collection_claims(collection, &series, policy, now) {
                if std::ptr::eq(claimant, dated) {
                    let needed_by: &mut BTreeSet<_> = claims.entry(claim).or_default();
                    needed_by.insert(collection.clone());
                }
            }
        }
    }
    claims
}

fn judge(verdict: Verdict, how: Deletion) -> Result<(), Vec<Reason>> {
    if verdict.decision == Decision::Remove {
        return Ok(());
    }
    let keeps = verdict.reasons.into_iter();
    let keeps: Vec<_> = keeps.filter(|reason| forbids(reason, how)).collect();
    if keeps.is_empty() { Ok(()) } else { Err(keeps) }
}

fn forbids(reason: &Reason, how: Deletion) -> bool {
    match reason {
        Reason::Pinned { .. } | Reason::Held { .. } | Reason::Locked { .. } | Reason::InUse => true,
        Reason::Safety { .. } => how != Deletion::AskedDespiteFloor,
        Reason::ClockSkew { .. } | Reason::ContentsUnknown => how == Deletion::ByPolicy,
        Reason::Claimed { claim, .. } => match claim {
            Claim::NewestProven { .. }
            | Claim::InsteadOfProven { .. }
            | Claim::Newest
            | Claim::NewestSound => how != Deletion::AskedDespiteFloor,
            Claim::Last { .. }
            | Claim::Within { .. }
            | Claim::Window { .. }
            | Claim::Calendar { .. }
            | Claim::Uncovered => how == Deletion::ByPolicy,
        },
        Reason::NoRule { .. }
        | Reason::HoldEnded { .. }
        | Reason::SafetyEnded { .. }
        | Reason::ProofFailed { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Deletion, judge_deletion};
    use crate::fixture::NOW;
    use crate::retention::fixture::{failed, hold, last, only, point};
    use crate::retention::{Claim, PointFacts, Reason, RetentionPolicy};
    use jiff::tz::TimeZone;

    use Deletion::{Asked, AskedDespiteFloor, ByPolicy};

    fn judge(points: &[PointFacts], how: Deletion) -> Result<(), Vec<Reason>> {
        let policy = RetentionPolicy {
            min_proven: 1,
            ..only(last(2))
        };
        judge_deletion(&points[0].id, how, points, &policy, &TimeZone::UTC, NOW)
    }

    #[test]
    fn a_rule_does_not_stop_a_person() {
        let points = [point("docs", 5), point("docs", 1)];
        let kept = judge(&points, ByPolicy).unwrap_err();
        assert!(
            matches!(
                &kept[..],
                [Reason::Claimed {
                    claim: Claim::Last { .. },
                    ..
                }]
            ),
            "{kept:?}"
        );
        assert_eq!(judge(&points, Asked), Ok(()));
        let three = [point("docs", 9), point("docs", 5), point("docs", 1)];
        assert_eq!(judge(&three, ByPolicy), Ok(()));
    }

    #[test]
    fn the_last_of_a_collection_goes_only_if_that_is_meant() {
        let points = [point("docs users", 1), point("docs", 5)];
        assert_eq!(judge(&points, Asked).unwrap_err().len(), 2);
        assert_eq!(judge(&points, AskedDespiteFloor), Ok(()));
    }

    #[test]
    fn protection_stops_everybody() {
        let newest = point("docs", 1);
        let old = point("docs", 9);
        let changes: [fn(&mut PointFacts); 4] = [
            |p| p.pin = Some("golden".into()),
            |p| p.holds = vec![hold(None)],
            |p| p.locked_until = Some(crate::retention::fixture::ahead(1)),
            |p| p.in_use = true,
        ];
        for (n, change) in changes.iter().enumerate() {
            let mut old = old.clone();
            change(&mut old);
            let points = [old, newest.clone(), point("docs", 2)];
            for how in [ByPolicy, Asked, AskedDespiteFloor] {
                assert_eq!(judge(&points, how).unwrap_err().len(), 1, "{n} {how:?}");
            }
        }
    }

    #[test]
    fn what_nobody_can_read_can_be_given_up_by_name() {
        let points = [point("", 5), point("docs", 1)];
        assert_eq!(judge(&points, ByPolicy), Err(vec![Reason::ContentsUnknown]));
        assert_eq!(judge(&points, Asked), Ok(()));
    }

    #[test]
    fn a_young_safety_capture_goes_only_if_that_is_meant() {
        let mut old = point("docs", 9);
        old.safety = true;
        let points = [old, point("docs", 2), point("docs", 1)];
        let policy = RetentionPolicy {
            min_proven: 1,
            keep_safety: std::time::Duration::from_secs(10 * 3600),
            ..only(last(2))
        };
        let judged =
            |how| judge_deletion(&points[0].id, how, &points, &policy, &TimeZone::UTC, NOW);
        for how in [ByPolicy, Asked] {
            let kept = judged(how).unwrap_err();
            assert!(matches!(kept[..], [Reason::Safety { .. }]), "{kept:?}");
        }
        assert_eq!(judged(AskedDespiteFloor), Ok(()));
    }

    #[test]
    fn what_only_explains_stops_nobody() {
        // A rule keeps it still, and all that is said beside is that its proof failed.
        let points = [failed(point("docs", 2)), point("docs", 1)];
        let kept = judge(&points, ByPolicy).unwrap_err();
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(judge(&points, Asked), Ok(()));
    }
}
