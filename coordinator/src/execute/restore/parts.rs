//! One part of a restore into a cluster, as a command to one agent.

use super::RestoreContext;
use super::order::{logs_of, order};
use crate::dispatch::{Answer, Grant, News, Readable, RestoreGrant};
use crate::fault::Fault;
use crate::job::feed::ProgressKey;
use crate::job::restore_id;
use holdfast_archive::CollectionEntry;
use holdfast_proto::v1;
use holdfast_proto::v1::restore_part::Part;
use holdfast_service::failure::Code;
use holdfast_types::{CaptureId, NodeId, ShardId};
use std::sync::Arc;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// What a part does with the collection's aliases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aliases {
    Leave,
    /// The last part does, when all is proven.
    Point,
}

/// Gives the command and waits for its end. Its name is that of the step and `suffix`: the same after a restart. With `shard` it may read that one
/// only; a part that uploads nothing reads the recipes alone.
pub(super) async fn issue(
    context: &RestoreContext<'_>,
    node: &NodeId,
    suffix: &str,
    part: Part,
    aliases: Aliases,
    cancel: &CancellationToken,
    shard: Option<ShardId>,
) -> Result<v1::RestoreDone, Fault> {
    let core = context.core;
    let step = restore_id(context.id, context.index);
    let command = step.map(|step| format!("{step}-{suffix}"));
    let command = command.and_then(|text| text.parse::<CaptureId>());
    let command = command.map_err(|e| Fault::from_error(Code::Internal, &e))?;
    let uuid = prepared_uuid(context).await?;
    let body = v1::command::Command::RestorePart(v1::RestorePart {
        collection: Some(collection(context, aliases)?),
        part: Some(part),
        collection_uuid: uuid,
    });
    let mut readable = context.collection.clone();
    if let Some(shard) = shard {
        readable.shards.retain(|entry| entry.shard_id == shard);
    }
    let mut logs = logs_of(context.work, context.step());
    logs.retain(|log| shard.is_none_or(|shard| log.shard == shard));
    let grant = Grant::Restore(Arc::new(RestoreGrant {
        from_copy: context.work.from_copy.clone(),
        manifest: Arc::clone(context.manifest),
        what: Readable::Collection(readable),
        reading: None,
        logs,
        chunks: OnceCell::new(),
    }));
    let key = ProgressKey {
        node: node.clone(),
        collection: context.step().target.clone(),
        shard: shard.unwrap_or(ShardId(0)),
    };
    core.check_epoch().await?;
    let ticket = core.dispatcher.issue(command, node.clone(), body, grant)?;
    let tell = |news| {
        if shard.is_some() || !matches!(news, News::Progress(_)) {
            context.feed.news(core.clock.now(), &key, news);
        }
    };
    match ticket.wait(core.patience(), cancel, tell).await? {
        Answer::Restored(done) => Ok(done),
        Answer::Captured(_) | Answer::Extra(_) | Answer::Failed(_) => Err(Fault::new(
            Code::Internal,
            "the agent answered a part of a restore with something else",
        )),
    }
}

/// What every part is told of the collection.
fn collection(
    context: &RestoreContext<'_>,
    pointed: Aliases,
) -> Result<v1::RestoreCollection, Fault> {
    let (work, step) = (context.work, context.step());
    let mut aliases = step.aliases.clone();
    aliases.extend(step.kept_aliases.iter().cloned());
    let told = CollectionEntry {
        aliases,
        ..context.collection.clone()
    };
    order(work, step, told, pointed == Aliases::Point)
}

async fn prepared_uuid(context: &RestoreContext<'_>) -> Result<String, Fault> {
    let work = super::restore_of(context.core, context.id).await?;
    let parts = work.parts.filter(|parts| parts.step == context.index);
    let prepared = parts.and_then(|parts| parts.prepared);
    Ok(prepared.map(|prepared| prepared.uuid).unwrap_or_default())
}
