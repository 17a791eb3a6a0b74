//! The captures of one round: several nodes at once, and what the failure of one means for the others.

use super::capture;
use crate::core::Core;
use crate::execute::{extra, import, settle};
use crate::fault::Fault;
use crate::job::feed::JobFeed;
use crate::job::{BackupWork, FailedCapture};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use holdfast_decide::{Lane, Lanes};
use holdfast_service::failure::Code;
use holdfast_types::JobId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// Each node takes its extras and then its captures one after the other, so that a required extra that fails costs little; nodes
/// don't wait for each other, unless only so many may capture at once. A failure that another replica may make good is recorded,
/// and the first such is returned; any other stops all.
pub(super) async fn capture_all(
    core: &Arc<Core>,
    id: &JobId,
    feed: &Arc<JobFeed>,
    cancel: &CancellationToken,
    work: &BackupWork,
) -> Result<Option<Fault>, Fault> {
    let together = cancel.child_token();
    let lanes = Lanes::new(work.open(), &work.plan.limits);
    let mut lanes = lanes.with_extras(work.open_extras());
    // Of captures that begin from now on; 0 for no bound.
    let share = AtomicU64::new(0);
    let mut running = FuturesUnordered::new();
    let (mut movable, mut fatal) = (None, Vec::new());
    loop {
        while let Some(open) = lanes.begin() {
            let (together, share) = (&together, &share);
            running.push(async move {
                let done = lane(core, id, feed, together, work, (&open, share)).await;
                (open.node, done.inspect_err(|_| together.cancel()))
            });
        }
        share.store(lanes.share().unwrap_or(0), Ordering::Relaxed);
        let Some((node, ended)) = running.next().await else {
            break;
        };
        lanes.end(&node);
        match ended {
            Ok(failure) => movable = movable.or(failure),
            Err(fault) => fatal.push(fault),
        }
    }
    // The others were only stopped because of the one that failed by itself.
    let cause = fatal
        .iter()
        .find(|fault| fault.known_code() != Code::Cancelled)
        .or(fatal.first());
    cause.map_or(Ok(movable), |fault| Err(fault.clone()))
}

/// The extras and captures of one node. Returns the first failure of a capture that another replica may make good.
async fn lane(
    core: &Arc<Core>,
    id: &JobId,
    feed: &Arc<JobFeed>,
    cancel: &CancellationToken,
    work: &BackupWork,
    (open, share): (&Lane, &AtomicU64),
) -> Result<Option<Fault>, Fault> {
    let mut first = None;
    for index in &open.extras {
        if cancel.is_cancelled() {
            break;
        }
        extra::capture(core, id, feed, cancel, work, *index).await?;
    }
    for index in open.captures.iter().copied() {
        if cancel.is_cancelled() {
            break;
        }
        if let Some(holder) = &work.imported_by {
            import::delivered(core, id, feed, cancel, index, work, holder).await?;
            continue;
        }
        let share = share.load(Ordering::Relaxed);
        let Err(fault) = capture(core, id, feed, cancel, work, (index, share)).await else {
            continue;
        };
        let Some(blame) = blame(fault.known_code()).filter(|_| !cancel.is_cancelled()) else {
            if fault.known_code() != Code::Cancelled {
                let failed = failed_capture(work, index, &fault);
                settle::note_failure(core, id, failed).await?;
            }
            return Err(fault);
        };
        feed.warn(core.clock.now(), fault.message.clone());
        let failed = failed_capture(work, index, &fault);
        settle::note_failure(core, id, failed).await?;
        first.get_or_insert(fault);
        match blame {
            Blame::Node => break,
            Blame::Replica => {}
        }
    }
    Ok(first)
}

fn failed_capture(work: &BackupWork, index: usize, fault: &Fault) -> FailedCapture {
    FailedCapture {
        index,
        node: work.plan.captures[index].node.clone(),
        why: fault.message.clone(),
    }
}

/// What a failed capture says is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// The node: its other captures would fail the same way.
    Node,
    /// This replica, as far as can be told.
    Replica,
}

/// What is to blame for a failure; `None` if another replica would not help.
fn blame(code: Code) -> Option<Blame> {
    match code {
        Code::NodeNotFound
        | Code::NodeRemoved
        | Code::JobFailed
        | Code::QdrantUnreachable
        | Code::Interrupted
        | Code::CoordinatorUnreachable => Some(Blame::Node),
        Code::QdrantNotReady
        | Code::QdrantError
        | Code::SnapshotTruncated
        | Code::SpoolFull
        | Code::CollectionNotFound => Some(Blame::Replica),
        Code::Internal
        | Code::Usage
        | Code::Config
        | Code::Certificate
        | Code::ClockSkew
        | Code::PermissionDenied
        | Code::QdrantUnauthorized
        | Code::QdrantTooOld
        | Code::DiskFull
        | Code::ReadOnly
        | Code::StoreUnreachable
        | Code::StoreFailed
        | Code::RepositoryForeign
        | Code::RepositoryNewer
        | Code::RepositoryDamaged
        | Code::RepositoryLocked
        | Code::RepositoryRole
        | Code::WrongKey
        | Code::KeyNotFound
        | Code::KeyExists
        | Code::KeyInUse
        | Code::CopyNotFound
        | Code::PointNotFound
        | Code::JobNotFound
        | Code::TokenUnknown
        | Code::TokenOtherNode
        | Code::TokenUsed
        | Code::TokenExpired
        | Code::Throttled
        | Code::TargetExists
        | Code::VersionMismatch
        | Code::PlanBlocked
        | Code::InstantNotRecoverable
        | Code::PointKept
        | Code::SecondOperator
        | Code::JobConflict
        | Code::StaleEpoch
        | Code::Cancelled
        | Code::ExtraFailed
        | Code::ExtraNotFound
        | Code::ProofFailed => None,
    }
}
