//! What an agent is told to restore, and what is replayed on it.

use crate::fault::Fault;
use crate::job::RestoreWork;
use holdfast_archive::CollectionEntry;
use holdfast_decide::RestoreStep;
use holdfast_decide::instant::{ReplayWay, ShardLog};
use holdfast_proto::v1;
use holdfast_service::failure::Code;

/// What an agent is told of the collection: its description, and the logs of its shards.
///
/// # Errors
/// `repository-damaged` if the recovery point does not say where a shard ends to which requests are to be sent.
pub(super) fn order(
    work: &RestoreWork,
    step: &RestoreStep,
    mut told: CollectionEntry,
    with_aliases: bool,
) -> Result<v1::RestoreCollection, Fault> {
    if let Some(factor) = step.replication_factor
        && let Some(params) = told.info.pointer_mut("/config/params")
    {
        params["replication_factor"] = factor.into();
    }
    let json = serde_json::to_string(&told).map_err(|e| Fault::from_error(Code::Internal, &e))?;
    let way = work.plan.instant.as_ref().map(|choice| choice.way);
    let logs = logs_of(work, step);
    let logs = logs.iter().map(|log| {
        let requests_from = match way {
            Some(ReplayWay::Requests) => Some(end_of(&told, log)?),
            Some(ReplayWay::Splice) | None => None,
        };
        Ok(v1::ShardLog {
            shard_id: log.shard.0,
            from: log.from,
            until: log.until,
            requests_from,
        })
    });
    Ok(v1::RestoreCollection {
        recovery_point: work.plan.point.to_string(),
        source_collection: step.source.to_string(),
        target_collection: step.target.to_string(),
        overwrite: step.replaces,
        with_aliases,
        logs: logs.collect::<Result<_, Fault>>()?,
        collection_manifest_json: json,
    })
}

/// Where a captured shard ends once what it may lack has been spliced: none of the operations from there on is in it.
fn end_of(told: &CollectionEntry, log: &ShardLog) -> Result<u64, Fault> {
    let shard = told.shards.iter().find(|shard| shard.shard_id == log.shard);
    shard.and_then(|shard| shard.next_operation).ok_or_else(|| {
        Fault::new(
            Code::RepositoryDamaged,
            format!(
                "the recovery point does not say where shard {} of {} ends: leave out --by requests",
                log.shard, told.name
            ),
        )
    })
}

/// What is replayed on the shards of a collection; those that need nothing are left out.
pub(super) fn logs_of(work: &RestoreWork, step: &RestoreStep) -> Vec<ShardLog> {
    let choice = work.plan.instant.as_ref();
    let logs = choice.and_then(|choice| choice.collection(&step.source));
    let logs = logs.into_iter().flat_map(|logs| &logs.shards);
    logs.filter(|log| log.entries() > 0).cloned().collect()
}
