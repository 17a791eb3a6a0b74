//! What a restore shows of its recovery point, kept in the repository.

use super::StepFailed;
use crate::core::Core;
use crate::job::feed::JobFeed;
use crate::job::{RestoreWork, RestoredStep};
use crate::retention::proofs;
use holdfast_decide::RestoreStep;
use holdfast_repository::{LastProof, ProofOutcome};
use holdfast_service::failure::Code;
use holdfast_types::{JobId, Timestamp};
use std::sync::Arc;

/// Who saw it.
pub(super) struct Witness<'a> {
    pub(super) core: &'a Arc<Core>,
    pub(super) id: &'a JobId,
    pub(super) feed: &'a JobFeed,
    pub(super) work: &'a RestoreWork,
    /// When the restore began.
    pub(super) since: Timestamp,
}

impl Witness<'_> {
    /// Records that a collection can't be restored. That this can't be recorded is told and does no harm.
    pub(super) async fn damaged(&self, step: &RestoreStep, why: String) {
        self.record(step, Some(ProofOutcome::Failed { why })).await;
    }

    /// Records what a step has shown, if anything. That it can't be recorded is told and does no harm: the collection counts as untried.
    pub(super) async fn record(&self, step: &RestoreStep, outcome: Option<ProofOutcome>) {
        // A copy's bytes say nothing of the repository's.
        let Some(outcome) = outcome.filter(|_| self.work.from_copy.is_none()) else {
            return;
        };
        let proof = LastProof {
            at: self.since,
            job: self.id.clone(),
            outcome,
        };
        let point = &self.work.plan.point;
        if let Err(fault) = proofs::record(self.core, point, &step.source, proof).await {
            let text = format!(
                "what this restore shows of the recovery point could not be recorded: {fault}"
            );
            self.feed.warn(self.core.clock.now(), text);
        }
    }
}

/// What the end of a step shows of the captured collection. `came` is how many points the target had, where all of it was restored by
/// one node.
pub(super) fn shown(
    work: &RestoreWork,
    step: &RestoreStep,
    came: Option<u64>,
    done: &Result<RestoredStep, StepFailed>,
) -> Option<ProofOutcome> {
    let failed = match done {
        Ok(_) => return Some(ProofOutcome::Restored),
        Err(failed) => failed,
    };
    // What is replayed after it may be what failed.
    if work.plan.instant.is_some() {
        return None;
    }
    if failed.fault.known_code() == Code::RepositoryDamaged {
        return Some(ProofOutcome::Failed {
            why: failed.fault.message.clone(),
        });
    }
    // Under its own name others may have written to it since.
    let alone = step.source != step.target;
    let (came, captured) = (came?, step.points?);
    (alone && came != captured).then(|| ProofOutcome::Failed {
        why: format!("{came} points came back, {captured} were captured"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{step, work};
    use super::{StepFailed, shown};
    use crate::fault::Fault;
    use crate::job::RestoredStep;
    use holdfast_decide::instant::{Choice, InstantTarget, ReplayWay};
    use holdfast_repository::ProofOutcome;
    use holdfast_service::failure::Code;
    use holdfast_types::Timestamp;
    use std::collections::BTreeMap;

    fn done() -> Result<RestoredStep, StepFailed> {
        Ok(RestoredStep {
            points: 3,
            uploaded_bytes: 0,
            elapsed_ms: 0,
            aliases: vec![],
            indexes: vec![],
            replayed: 0,
            uploads: BTreeMap::new(),
        })
    }

    fn failed(code: Code) -> Result<RestoredStep, StepFailed> {
        Err(Fault::new(code, "it failed").into())
    }

    fn why(outcome: Option<ProofOutcome>) -> Option<String> {
        match outcome? {
            ProofOutcome::Restored => panic!("it failed"),
            ProofOutcome::Failed { why } => Some(why),
        }
    }

    #[test]
    fn only_what_blames_the_point_fails_its_proof() {
        let (plain, aside, own) = (work(), step("a", "b", false), step("a", "a", false));
        let restored = shown(&plain, &own, Some(3), &done());
        assert_eq!(restored, Some(ProofOutcome::Restored));
        let damaged = || failed(Code::RepositoryDamaged);
        let seen = shown(&plain, &own, None, &damaged());
        assert_eq!(why(seen).as_deref(), Some("it failed"));
        for code in [Code::QdrantError, Code::Cancelled, Code::QdrantUnreachable] {
            assert_eq!(shown(&plain, &aside, None, &failed(code)), None);
        }

        let different = || failed(Code::ProofFailed);
        let seen = shown(&plain, &aside, Some(2), &different());
        assert_eq!(
            why(seen).as_deref(),
            Some("2 points came back, 3 were captured")
        );
        // An application may write there.
        assert_eq!(shown(&plain, &own, Some(2), &different()), None);
        // The replicas of a cluster differ, say.
        assert_eq!(shown(&plain, &aside, None, &different()), None);

        let mut replayed = work();
        replayed.plan.instant = Some(Choice {
            point: replayed.plan.point.clone(),
            target: InstantTarget::Latest,
            way: ReplayWay::Splice,
            instant: Timestamp::EPOCH,
            complete_before: Timestamp::EPOCH,
            collections: vec![],
            warnings: vec![],
        });
        assert_eq!(shown(&replayed, &aside, Some(2), &different()), None);
        assert_eq!(shown(&replayed, &aside, None, &damaged()), None);
        let restored = shown(&replayed, &aside, Some(3), &done());
        assert_eq!(restored, Some(ProofOutcome::Restored));
    }
}
