//! What is there before a snapshot: the shard's files as Qdrant and the disk have them, and the last capture.

use super::base::{Base, BaseStore};
use super::claims::Claims;
use super::disk::{FileIdentity, ShardDir};
use super::{Miss, Task};
use crate::capture::observe::{self, Before};
use crate::failure::chain;
use crate::job::Halt;
use holdfast_qdrant::{QdrantError, ShardManifest};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything about the shard that must be the same before and after.
pub(super) struct Seen {
    pub(super) before: Before,
    pub(super) dir: ShardDir,
    /// Version of the server, and when its process started.
    pub(super) server: (String, String),
    pub(super) manifest: ShardManifest,
    pub(super) identities: BTreeMap<String, FileIdentity>,
}

/// What is known of earlier captures.
pub(super) struct Last {
    /// The last one, if it is of the same files in the same life of the server.
    pub(super) base: Option<Arc<Base>>,
    /// Captures since the shard was last read in full, whatever became of its files since. `None` if nobody knows.
    pub(super) count: Option<u32>,
}

impl Last {
    /// Whether the shard is to be read from Qdrant in full. What nobody knows may be long ago.
    pub(super) fn is_full_due(&self, every: u32) -> bool {
        self.count
            .is_none_or(|count| count.saturating_add(1) >= every)
    }

    /// Why Qdrant sends everything, if it does.
    pub(super) fn why_everything(&self, full: bool, every: u32, claims: &Claims) -> Option<String> {
        if full && self.count.is_some() {
            let text = format!("Qdrant sent everything: one in {every} captures checks the others");
            return Some(text);
        }
        claims
            .is_empty()
            .then(|| "Qdrant sent everything: there was nothing to leave out".to_owned())
    }
}

/// A refusal that has nothing to do with the moment is no failure of the capture: another way needs fewer rights.
pub(super) fn refused(error: QdrantError) -> Result<Miss, Halt> {
    match error {
        QdrantError::NotFound { .. } | QdrantError::BadRequest { .. } => {
            let text = format!("Qdrant makes no partial snapshots: {}", chain(&error));
            Ok(Miss::Never(text))
        }
        QdrantError::Unauthorized { .. } | QdrantError::Forbidden { .. } => {
            let text = format!(
                "Qdrant refuses partial snapshots to this API key: {}",
                chain(&error)
            );
            Ok(Miss::Never(text))
        }
        QdrantError::Unreachable { .. }
        | QdrantError::Timeout { .. }
        | QdrantError::AlreadyExists { .. }
        | QdrantError::TooOld { .. }
        | QdrantError::NotReady { .. }
        | QdrantError::InRecovery
        | QdrantError::Server { .. }
        | QdrantError::NotQdrant { .. }
        | QdrantError::Truncated { .. }
        | QdrantError::Config(_)
        | QdrantError::Mapping(_) => Err(error.into()),
    }
}

impl Task<'_> {
    /// Looks at the shard before the snapshot.
    pub(super) async fn look(&self) -> Result<Result<Seen, Miss>, Halt> {
        let (job, order) = (self.job, self.order);
        let qdrant = &job.site.qdrant;
        let before = observe::before(qdrant, order, self.patience).await?;
        // A failed operation is tried again under its old number: then a segment changes and its version does not.
        if before.failing {
            let text =
                "Qdrant reports a failed optimization or operation: versions prove nothing then";
            return Ok(Err(Miss::Never(text.to_owned())));
        }
        let started = match qdrant.started().await {
            Ok(Some(started)) => started,
            Ok(None) | Err(QdrantError::Unauthorized { .. }) => {
                let text = "Qdrant does not say when it was started: its files can't be told from restored ones";
                return Ok(Err(Miss::Never(text.to_owned())));
            }
            Err(error) => return Err(error.into()),
        };
        let manifest = match qdrant
            .partial_manifest(&order.collection, order.shard)
            .await
        {
            Ok(manifest) => manifest,
            Err(error) => return refused(error).map(Err),
        };
        let dir = ShardDir::new(&self.storage, order);
        let mut identities = BTreeMap::new();
        for id in manifest.segments.keys() {
            match dir.identity(id) {
                Ok(identity) => drop(identities.insert(id.clone(), identity)),
                Err(error) => {
                    let text = format!("a segment is not in qdrant.storage_dir: {error}");
                    return Ok(Err(Miss::Again(text, BTreeSet::new())));
                }
            }
        }
        let server = (before.server_version.to_string(), started);
        Ok(Ok(Seen {
            before,
            dir,
            server,
            manifest,
            identities,
        }))
    }

    /// What is known of earlier captures; `reasons` says why there is none to build on.
    pub(super) async fn last(&self, seen: &Seen, reasons: &mut Vec<String>) -> Result<Last, Halt> {
        let store = BaseStore::new(&self.job.site.config.state_dir);
        let (name, shard) = (self.order.collection.clone(), self.order.shard);
        let loading = tokio::task::spawn_blocking(move || store.load(&name, shard));
        let loaded = loading.await.map_err(|error| Halt::crashed(&error))?;
        let count = loaded.as_ref().ok().map(|base| base.since_full);
        let usable = loaded.and_then(|base| {
            if base.server != seen.server {
                return Err("Qdrant was started anew since the last capture".to_owned());
            }
            let same = |(id, then): (&String, &FileIdentity)| {
                seen.identities.get(id).is_none_or(|now| now == then)
            };
            if base.identities.iter().all(same) {
                Ok(Arc::new(base))
            } else {
                Err(
                    "segments were put in place anew since the last capture, as a restore does"
                        .to_owned(),
                )
            }
        });
        let base = usable
            .map_err(|reason| {
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            })
            .ok();
        Ok(Last { base, count })
    }
}

#[cfg(test)]
mod tests {
    use super::Last;

    #[test]
    fn what_nobody_knows_may_be_long_ago() {
        let due = |count| Last { base: None, count }.is_full_due(3);
        assert_eq!(
            [None, Some(0), Some(1), Some(2), Some(9)].map(due),
            [true, false, false, true, true]
        );
    }
}
