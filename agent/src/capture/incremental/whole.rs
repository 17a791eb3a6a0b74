//! A stored snapshot that the next capture can build on: where too much would have to be streamed.
//!
//! Its archive lists no versions, so Qdrant is asked for them before and after. A segment that had the same version both
//! times has not changed in between ([`super::claims`], promise 1): its files in the snapshot are those of that version.
//! Of a segment that moved, only what never changes may be reused (promise 2). Where that can't be told, the snapshot is
//! as good as any, but nothing is built on it.

use super::{Base, Incremental, Seen, Task, sealed_in};
use crate::capture::reader::ReadShard;
use crate::capture::stored;
use crate::commands::phase::Phase;
use crate::job::Halt;
use std::sync::Arc;

impl Task<'_> {
    /// Captures through a stored snapshot; `base` is compared with it.
    pub(super) async fn store(
        &self,
        seen: Seen,
        base: Option<Arc<Base>>,
    ) -> Result<Incremental, Halt> {
        // One that an earlier attempt has left may be older than what was looked at.
        let fresh = matches!(self.job.phase(), Phase::Accepted);
        let (taken, shard) =
            stored::capture(self.job, self.order, self.session, self.patience).await?;
        let new = match fresh {
            true => self.basis_of_stored(&seen, &shard).await,
            false => None,
        };
        if let (Some(base), Some(new)) = (&base, &new) {
            self.compared(base, &new.manifest, &shard.contents, &shard)?;
        }
        Ok(Incremental {
            taken,
            shard,
            base: new,
        })
    }

    async fn basis_of_stored(&self, seen: &Seen, shard: &ReadShard) -> Option<Base> {
        let qdrant = &self.job.site.qdrant;
        let (name, number) = (&self.order.collection, self.order.shard);
        let now = qdrant.partial_manifest(name, number).await;
        let (Ok(now), Ok(Some(started))) = (now, qdrant.started().await) else {
            tracing::info!(
                "Qdrant does not say whether the shard has moved: nothing is built on it"
            );
            return None;
        };
        if started != seen.server.1 {
            return None;
        }
        let mut manifest = seen.manifest.clone();
        manifest
            .segments
            .retain(|id, then| then.segment_version > 0 && now.segments.get(id) == Some(then));
        Some(self.basis(seen, manifest, sealed_in(&shard.contents), 0, shard))
    }
}
