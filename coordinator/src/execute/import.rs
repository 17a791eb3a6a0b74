//! Waits for shards that an operator delivers, in place of agents that are told to capture.
//!
//! The delivery is the agents' own: sessions, have-checks, chunks that are hashed again, a commit with the recipe.
//! Only who may deliver differs. An import does not outlive the program that reads the file: when that has been
//! silent for too long the job ends, and what has arrived is not sent again the next time.

use crate::core::Core;
use crate::dispatch::Grant;
use crate::fault::Fault;
use crate::ingest::session::IngestSlot;
use crate::job::BackupWork;
use crate::job::feed::JobFeed;
use crate::job::log::Level;
use holdfast_certs::Identity;
use holdfast_decide::{Asked, BackupPlan, CaptureStep, Method, NodeFacts};
use holdfast_proto::convert::ImportOrder;
use holdfast_service::failure::Code;
use holdfast_types::{ByteCount, CaptureLimits, JobId, NodeId, RecoveryPointId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Stands in a manifest for the node that a shard was captured from.
const NODE: &str = "import";

/// How often it is looked whether a shard has been delivered.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What an import does.
pub(super) fn work(
    core: &Core,
    caller: &Identity,
    order: ImportOrder,
    point: RecoveryPointId,
) -> Result<BackupWork, Fault> {
    let node: NodeId = NODE
        .parse()
        .map_err(|error| Fault::from_error(Code::Internal, &error))?;
    let captures = order.shards.into_iter().map(|shard| CaptureStep {
        collection: order.collection.clone(),
        shard,
        node: node.clone(),
        method: Method::Stored,
        repinned: None,
    });
    Ok(BackupWork {
        point,
        begun: core.clock.now(),
        note: order.note,
        tags: BTreeSet::new(),
        safety_for: None,
        imported_by: Some(caller.to_string()),
        plan: BackupPlan {
            epoch: core.epoch,
            captures: captures.collect(),
            extras: Vec::new(),
            extras_unknown: BTreeMap::new(),
            asked: Asked::default(),
            collections: [order.collection].into(),
            nodes: vec![NodeFacts {
                node,
                version: order.version,
                commit: None,
                peer_id: None,
            }],
            limits: CaptureLimits::default(),
            reasons: Vec::new(),
        },
        committed: BTreeMap::new(),
        repeats: BTreeMap::new(),
        extras: BTreeMap::new(),
        extra_repeats: BTreeMap::new(),
        failed: Vec::new(),
        dropped: [].into(),
        left_out: Vec::new(),
        captured: BTreeMap::new(),
        done: false,
    })
}

/// Opens the delivery of one shard to the operator and waits until it is committed.
pub(super) async fn delivered(
    core: &Arc<Core>,
    id: &JobId,
    feed: &JobFeed,
    cancel: &CancellationToken,
    index: usize,
    work: &BackupWork,
    holder: &str,
) -> Result<(), Fault> {
    let command = work
        .capture_id(id, index)
        .map_err(|e| Fault::from_error(Code::Internal, &e))?;
    let slot = Arc::new(IngestSlot::default());
    let grant = Grant::Capture {
        job: id.clone(),
        index,
        slot: Arc::clone(&slot),
    };
    let delivery = core.imports.open(command, holder, grant);
    loop {
        if let Some(shard) = super::backup::committed(core, id, index).await {
            let text = format!(
                "took in {}/{}: {}, {} sent",
                shard.collection.name,
                shard.shard.shard_id,
                ByteCount(shard.shard.logical_bytes),
                ByteCount(shard.sent_bytes)
            );
            feed.log(core.clock.now(), Level::Info, text);
            return Ok(());
        }
        tokio::select! {
            () = cancel.cancelled() => {
                return Err(Fault::new(Code::Cancelled, "cancelled while shards were taken in"));
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let silent = delivery.silent(slot.figures().sent_bytes);
        if silent > core.limits.command_silence {
            return Err(Fault::new(
                Code::JobFailed,
                format!(
                    "the program that imports has said nothing for {} s: run it again; what has arrived is not sent twice",
                    silent.as_secs()
                ),
            ));
        }
    }
}
