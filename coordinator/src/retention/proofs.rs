//! What restores and checks have shown of recovery points.
//!
//! A restore from the repository that brings a collection back whole is a proof of it, and one that can't is the opposite; both are kept
//! in the repository. Damage that the last check found outweighs restores that began before it.

use crate::core::Core;
use crate::fault::Fault;
use crate::verify::Affected;
use holdfast_decide::Proof;
use holdfast_repository::{LastProof, Marks, ProofOutcome};
use holdfast_types::{CollectionName, RecoveryPointId};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one collection of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known<'a> {
    /// The last check found damage that it needs.
    Damaged,
    /// A restore told something.
    Shown(&'a LastProof),
}

/// What is known of the collections of a point, of those of which something is.
pub(crate) fn known<'a>(
    point: &'a RecoveryPointId,
    collections: impl Iterator<Item = &'a CollectionName>,
    marks: &'a Marks,
    affected: &'a Affected,
) -> Vec<(&'a CollectionName, Known<'a>)> {
    let shown = marks.proofs.get(point);
    let of = |name: &'a CollectionName| {
        let shown = shown.and_then(|shown| shown.get(name));
        let known = match shown {
            // A restore that began since has read what was damaged or missing then.
            Some(last) if affected.at < last.at => Known::Shown(last),
            _ if affected.concerns(point, name) => Known::Damaged,
            Some(last) => Known::Shown(last),
            None => return None,
        };
        Some((name, known))
    };
    collections.filter_map(of).collect()
}

/// The same, as rules see it.
pub(super) fn proofs(
    point: &RecoveryPointId,
    collections: &BTreeSet<CollectionName>,
    marks: &Marks,
    affected: &Affected,
) -> BTreeMap<CollectionName, Proof> {
    let known = known(point, collections.iter(), marks, affected);
    let proof = |(name, known): (&CollectionName, Known<'_>)| (name.clone(), known.proof());
    known.into_iter().map(proof).collect()
}

impl Known<'_> {
    /// Whether it is known not to restore.
    pub(crate) fn is_bad(self) -> bool {
        matches!(self.proof(), Proof::Failed { .. })
    }

    fn proof(self) -> Proof {
        match self {
            Self::Damaged => Proof::Failed {
                why: "the last check of the repository found what it needs damaged".to_owned(),
            },
            Self::Shown(last) => match &last.outcome {
                ProofOutcome::Restored => Proof::Proven,
                ProofOutcome::Failed { why } => Proof::Failed { why: why.clone() },
            },
        }
    }
}

/// Records what a restore from the repository has shown of a collection.
///
/// # Errors
/// A store that takes nothing; what was known of the point stays.
pub(crate) async fn record(
    core: &Core,
    point: &RecoveryPointId,
    collection: &CollectionName,
    proof: LastProof,
) -> Result<(), Fault> {
    let (repository, collection) = (&core.repository, collection.clone());
    let recorded = repository.record_proof(core.epoch, point, collection, proof);
    let known = recorded
        .await
        .map_err(|error| core.repository_failed(&error))?;
    core.retention.learn(point, known);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::proofs;
    use crate::verify::Affected;
    use holdfast_decide::Proof;
    use holdfast_repository::{LastProof, Marks, ProofOutcome};
    use holdfast_types::{CollectionName, RecoveryPointId, Timestamp};

    fn name(text: &str) -> CollectionName {
        text.parse().unwrap()
    }

    #[test]
    fn damage_outweighs_what_a_restore_has_shown() {
        let point = RecoveryPointId::new(Timestamp::EPOCH, 1);
        let shown = |outcome| LastProof {
            at: Timestamp::EPOCH,
            job: "job-1".parse().unwrap(),
            outcome,
        };
        let mut marks = Marks::default();
        let why = || "9 of 10 points".to_owned();
        marks.proofs.insert(
            point.clone(),
            [
                (name("docs"), shown(ProofOutcome::Restored)),
                (name("books"), shown(ProofOutcome::Failed { why: why() })),
                (name("gone"), shown(ProofOutcome::Restored)),
            ]
            .into(),
        );
        let all = [name("books"), name("docs"), name("logs")].into();
        let mut affected = Affected::default();
        let seen = proofs(&point, &all, &marks, &affected);
        let expected = [
            (name("books"), Proof::Failed { why: why() }),
            (name("docs"), Proof::Proven),
        ];
        assert_eq!(seen, expected.into());

        affected.add(point.clone(), [name("docs")].into());
        let seen = proofs(&point, &all, &marks, &affected);
        assert!(matches!(seen[&name("docs")], Proof::Failed { .. }));
        assert_eq!(seen[&name("books")], Proof::Failed { why: why() });
        assert_eq!(seen.get(&name("logs")), None);

        // A manifest that can't be read concerns every collection.
        affected.add(point.clone(), [].into());
        let seen = proofs(&point, &all, &marks, &affected);
        assert!(matches!(seen[&name("logs")], Proof::Failed { .. }));
        // Healed since, and restored.
        let later = shown(ProofOutcome::Restored);
        let later = LastProof {
            at: Timestamp::from_micros(1),
            ..later
        };
        let of_point = marks.proofs.get_mut(&point).unwrap();
        of_point.insert(name("docs"), later);
        let seen = proofs(&point, &all, &marks, &affected);
        assert_eq!(seen[&name("docs")], Proof::Proven);
        let other = RecoveryPointId::new(Timestamp::EPOCH, 2);
        assert_eq!(proofs(&other, &all, &marks, &affected), [].into());
    }
}
