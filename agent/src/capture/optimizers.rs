//! Whether an optimizer was at work at the instant of a snapshot.
//!
//! While an optimizer rebuilds segments, Qdrant keeps deletions of their points in a proxy before them. A snapshot of any
//! kind that is made meanwhile reads the segments behind the proxy: deletions that were acknowledged since the
//! optimizer began are not in it, and what they deleted comes back (1.18.3: read in the source, seen on a server).
//! The snapshot itself does not show it. What shows it is Qdrant's list of optimizations, by three facts of the source:
//!
//! 1. An optimization is listed before its proxies are put in place, and is running in that list until they are gone.
//! 2. The list keeps the last ended ones: a new one can't pass unseen between two looks.
//! 3. From before the first byte of a snapshot until after the last of its segments no optimization can begin or end:
//!    the snapshot holds the lock that both need.
//!
//! So if none runs before the request, and none is new in the list once the first bytes are there, none was at work. A
//! stored snapshot has no first bytes; there the second look comes when Qdrant has answered, and one that only began after
//! the snapshot looks the same. A false alarm costs another try, at most a note.
//!
//! The list is of the collection, with its other shards and other nodes. What is another shard's is told by its
//! segments, where Qdrant says which this shard has.

use crate::order::CaptureOrder;
use holdfast_qdrant::{
    CollectionStatus, Optimization, OptimizationLog, QdrantClient, QdrantError, ShardManifest,
};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// With so many new ones between two looks, Qdrant (which keeps 16 ended ones of each shard) may have forgotten some.
const MANY: usize = 12;

/// How long a capture still waits: one limit for all its tries.
#[derive(Debug)]
pub(super) struct Patience(Mutex<Duration>);

impl Patience {
    pub(super) const fn new(limit: Duration) -> Self {
        Self(Mutex::new(limit))
    }

    /// Spends the time until the next look; false if there is none left.
    fn spend(&self) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match left.checked_sub(LOOK_EVERY) {
            Some(rest) => *left = rest,
            None => return false,
        }
        true
    }
}

/// What was known of the optimizers before a snapshot.
#[derive(Clone, Debug)]
pub(super) enum Optimizers {
    /// Qdrant's list.
    Listed(OptimizationLog),
    /// Qdrant does not tell; whether the collection was yellow.
    Hidden { yellow: bool },
}

/// Why deletions may be missing in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disturbance {
    /// An optimizer ran before, and waiting was in vain.
    AtWork,
    /// One began between the look before and the snapshot, or just after it.
    Began,
    /// Qdrant does not tell, and the collection was yellow.
    Unclear,
}

impl Disturbance {
    /// What the recovery point says.
    pub(super) const fn note(self) -> &'static str {
        match self {
            Self::AtWork => {
                "an optimizer was at work when Qdrant made the snapshot: points deleted meanwhile may be in it"
            }
            Self::Began => {
                "an optimizer began when Qdrant made the snapshot: if it came first, points deleted meanwhile may be in it"
            }
            Self::Unclear => {
                "the collection was yellow and Qdrant does not list its optimizations: if one was at work, points deleted meanwhile may be in the snapshot"
            }
        }
    }

    /// Whether another try may find quiet: waiting was not in vain yet.
    pub(super) fn may_pass(self) -> bool {
        self == Self::Began
    }
}

/// Waits until no optimizer works on the shard, or patience ends.
pub(super) async fn wait(
    qdrant: &QdrantClient,
    order: &CaptureOrder,
    patience: &Patience,
) -> Result<Optimizers, QdrantError> {
    loop {
        let (found, busy) = look(qdrant, order).await?;
        if !busy || !patience.spend() {
            return Ok(found);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(
    qdrant: &QdrantClient,
    order: &CaptureOrder,
) -> Result<(Optimizers, bool), QdrantError> {
    match qdrant.optimizations(&order.collection).await {
        Ok(mut log) if !log.running.is_empty() => {
            if let Some(present) = segments(qdrant, order).await {
                log.running = here(log.running, present);
            }
            let busy = !log.running.is_empty();
            Ok((Optimizers::Listed(log), busy))
        }
        Ok(log) => Ok((Optimizers::Listed(log), false)),
        Err(error) => {
            tracing::debug!(reason = %error, "Qdrant lists no optimizations");
            let yellow = is_yellow(qdrant, order).await?;
            Ok((Optimizers::Hidden { yellow }, yellow))
        }
    }
}

async fn is_yellow(qdrant: &QdrantClient, order: &CaptureOrder) -> Result<bool, QdrantError> {
    let info = qdrant.collection_info(&order.collection).await?;
    Ok(info.status == CollectionStatus::Yellow)
}

/// The second look: to be called as soon as the snapshot certainly holds its lock.
pub(super) async fn disturbed(
    qdrant: &QdrantClient,
    order: &CaptureOrder,
    before: &Optimizers,
) -> Option<Disturbance> {
    let then = match before {
        Optimizers::Listed(log) => log,
        Optimizers::Hidden { yellow } => {
            let now = is_yellow(qdrant, order).await.unwrap_or(true);
            return (*yellow || now).then_some(Disturbance::Unclear);
        }
    };
    let Ok(now) = qdrant.optimizations(&order.collection).await else {
        return Some(Disturbance::Unclear);
    };
    let mut found = suspects(then, &now);
    if !found.is_empty()
        && let Some(present) = segments(qdrant, order).await
        // Looked at again, so that the list has everything that led to the segments of now.
        && let Ok(now) = qdrant.optimizations(&order.collection).await
    {
        found = suspects(then, &now);
        if found.len() < MANY {
            found = here(found, present);
        }
    }
    let ran = |one: &Optimization| then.running.iter().any(|before| before.id == one.id);
    match found.first() {
        None => None,
        Some(_) if found.iter().any(ran) => Some(Disturbance::AtWork),
        Some(_) => Some(Disturbance::Began),
    }
}

/// Ids of the shard's segments; `None` if it is the only one, so that everything concerns it, or if Qdrant does not tell.
async fn segments(qdrant: &QdrantClient, order: &CaptureOrder) -> Option<BTreeSet<String>> {
    let cluster = qdrant.collection_cluster(&order.collection).await.ok()?;
    if cluster.shard_count == 1 && cluster.remote_shards.is_empty() {
        return None;
    }
    let ShardManifest { segments } = qdrant
        .partial_manifest(&order.collection, order.shard)
        .await
        .ok()?;
    Some(segments.into_keys().collect())
}

/// Those that ran before, and those that are new.
fn suspects(then: &OptimizationLog, now: &OptimizationLog) -> Vec<Optimization> {
    let old = |one: &&Optimization| !then.ended.iter().any(|before| before.id == one.id);
    let all = now.running.iter().chain(&now.ended);
    let mut found: Vec<_> = all.filter(old).cloned().collect();
    let listed = |one: &&Optimization| found.iter().all(|other| other.id != one.id);
    let gone: Vec<_> = then.running.iter().filter(listed).cloned().collect();
    found.extend(gone);
    found
}

/// Those that work, or worked, on segments which led to the ones that are `present`.
fn here(mut others: Vec<Optimization>, mut present: BTreeSet<String>) -> Vec<Optimization> {
    let mut found = Vec::new();
    loop {
        let concerns = |one: &Optimization| {
            present.contains(&one.id) || one.segments.iter().any(|id| present.contains(id))
        };
        let (more, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(concerns);
        if more.is_empty() {
            return found;
        }
        for one in &more {
            present.insert(one.id.clone());
            present.extend(one.segments.iter().cloned());
        }
        found.extend(more);
        others = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::{here, suspects};
    use holdfast_qdrant::{Optimization, OptimizationLog};

    fn one(id: &str, segments: &[&str]) -> Optimization {
        Optimization {
            id: id.to_owned(),
            segments: segments.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    fn ids(found: &[Optimization]) -> Vec<&str> {
        found.iter().map(|one| one.id.as_str()).collect()
    }

    #[test]
    fn what_ran_before_or_is_new_may_have_been_at_work() {
        let (old, ran, new) = (one("old", &["a"]), one("ran", &["b"]), one("new", &["c"]));
        let then = OptimizationLog {
            running: vec![ran.clone()],
            ended: vec![old.clone()],
        };
        assert_eq!(ids(&suspects(&then, &then)), ["ran"]);
        let quiet = OptimizationLog {
            running: Vec::new(),
            ended: vec![old.clone()],
        };
        assert!(suspects(&quiet, &quiet).is_empty());
        // forgotten by the server: still not cleared
        assert_eq!(ids(&suspects(&then, &quiet)), ["ran"]);
        let now = OptimizationLog {
            running: vec![new.clone()],
            ended: vec![old.clone()],
        };
        assert_eq!(ids(&suspects(&quiet, &now)), ["new"]);
        let ended = OptimizationLog {
            running: Vec::new(),
            ended: vec![old, new, ran],
        };
        assert_eq!(ids(&suspects(&then, &ended)), ["new", "ran"]);
    }

    #[test]
    fn other_shards_are_told_apart_by_segments_also_through_later_optimizations() {
        let present = || ["now".to_owned(), "left".to_owned()].into();
        let all = vec![
            one("gone", &["first"]),
            one("now", &["gone", "other"]),
            one("cancelled", &["other"]),
            one("running", &["left"]),
            one("elsewhere", &["far"]),
        ];
        let mut found = here(all, present());
        found.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(ids(&found), ["cancelled", "gone", "now", "running"]);
        assert!(here(vec![one("elsewhere", &["far"])], present()).is_empty());
    }
}
