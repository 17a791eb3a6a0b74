//! What restores have shown of recovery points, `proofs/`: one note for each point, which has the last word on each of its collections.
//!
//! A proof is of the store that was read, so copies of the repository don't get it. It protects nothing by itself, and one that can't
//! be read counts as none: the point is untried then.

use crate::core_state::CoreState;
use crate::notes::{self, Found};
use crate::{RepositoryError, epochs, layout};
use holdfast_archive::ObjectKind;
use holdfast_store::{PutMode, StoreError};
use holdfast_types::{CollectionName, Epoch, JobId, RecoveryPointId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether a collection came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofOutcome {
    /// Everything came back that was captured.
    Restored,
    /// It did not.
    Failed {
        /// What was wrong.
        why: String,
    },
}

/// The last word on one collection of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastProof {
    /// When the restore of it began.
    pub at: Timestamp,
    /// By which job.
    pub job: JobId,
    /// What it was.
    pub outcome: ProofOutcome,
}

/// Of the collections that were tried.
pub type PointProofs = BTreeMap<CollectionName, LastProof>;

#[derive(Serialize, Deserialize)]
struct Note {
    point: RecoveryPointId,
    collections: PointProofs,
}

/// Those of every point. Only a store that can't be reached is an error.
pub(crate) async fn read(
    core: &CoreState,
) -> Result<BTreeMap<RecoveryPointId, PointProofs>, RepositoryError> {
    let mut all = BTreeMap::new();
    let each = notes::read_each(core, &layout::proofs(), ObjectKind::Proof).await?;
    for outcome in each {
        if let Some(Note { point, collections }) = told(outcome)? {
            all.insert(point, collections);
        }
    }
    Ok(all)
}

/// What a note tells; nothing if it can't be read.
fn told(outcome: notes::Outcome<Note>) -> Result<Option<Note>, RepositoryError> {
    match outcome {
        Ok(Some(Found { key, note, .. })) if key == layout::proof(&note.point) => Ok(Some(note)),
        Ok(Some(Found { key, .. })) => {
            tracing::warn!(object = %key, "a proof under the name of another point is passed over");
            Ok(None)
        }
        Ok(None) => Ok(None),
        Err(error @ RepositoryError::Store(StoreError::Unavailable { .. })) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "a proof is passed over, its point counts as untried");
            Ok(None)
        }
    }
}

/// Records the last word on a collection. Returns all that is known of the point. Whoever calls is the only one who writes or
/// forgets proofs meanwhile.
pub(crate) async fn record(
    core: &CoreState,
    epoch: Epoch,
    point: &RecoveryPointId,
    collection: CollectionName,
    proof: LastProof,
) -> Result<PointProofs, RepositoryError> {
    epochs::check(core, epoch).await?;
    if core.store.head(&layout::point(point)).await?.is_none() {
        return Err(RepositoryError::PointNotFound { id: point.clone() });
    }
    let (key, kind) = (layout::proof(point), ObjectKind::Proof);
    let known = told(notes::read(core, key.clone(), kind).await)?;
    let mut collections = known.map(|note| note.collections).unwrap_or_default();
    collections.insert(collection, proof);
    let note = Note {
        point: point.clone(),
        collections,
    };
    notes::write(core, &key, kind, epoch, PutMode::Overwrite, &note).await?;
    Ok(note.collections)
}

/// Deletes what is said of points that are gone, and what can't be read: it tells nothing. Returns how many notes went.
pub(crate) async fn tidy(core: &CoreState, epoch: Epoch) -> Result<usize, RepositoryError> {
    epochs::check(core, epoch).await?;
    // Proofs first: of a point that comes after that none is listed.
    let proofs = core.store.list(&layout::proofs()).await?;
    let mut mute = Vec::new();
    for found in proofs {
        let told = match notes::read::<Note>(core, found.key.clone(), ObjectKind::Proof).await {
            Ok(found) => found.map(|found| found.note.point),
            Err(RepositoryError::Damaged { .. }) => None,
            // A newer program can read it.
            Err(RepositoryError::NewerFormat { .. }) => continue,
            Err(other) => return Err(other),
        };
        let of_point = match told {
            Some(point) if found.key == layout::proof(&point) => {
                core.store.head(&layout::point(&point)).await?.is_some()
            }
            Some(_) | None => false,
        };
        if !of_point {
            mute.push(found.key);
        }
    }
    for key in &mute {
        core.store.delete(key).await?;
    }
    Ok(mute.len())
}
