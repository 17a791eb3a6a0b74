//! Commits one capture: its recipe is checked against what is stored, made durable with its chunks, and
//! recorded. A repeated commit of a capture gets the first one's answer.

use super::session::IngestSlot;
use crate::core::Core;
use crate::fault::chain;
use crate::job::CommittedShard;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use holdfast_archive::{CollectionEntry, ShardEntry, ShardRecipe};
use holdfast_decide::{CaptureStep, Repin};
use holdfast_proto::limits::MAX_RECIPE_BYTES;
use holdfast_proto::v1;
use holdfast_proto::v1::commit_part::Part;
use holdfast_repository::{RepositoryError, WriteSession};
use holdfast_types::{ChunkId, JobId};
use tonic::Status;

const _: () = assert!(
    MAX_RECIPE_BYTES == holdfast_repository::MAX_RECIPE_BYTES,
    "what is accepted can be read back"
);

/// How a shard of an import was captured, as the manifest says it.
pub const IMPORTED: &str = "imported";

/// Ids looked up at once.
const LOOKUP: usize = 8192;

/// One capture that is being committed.
#[derive(Clone, Debug)]
pub struct Delivery<'a> {
    /// The job it belongs to.
    pub job: &'a JobId,
    /// Its index in the job's plan.
    pub index: usize,
    /// Its sessions.
    pub slot: &'a IngestSlot,
}

/// Takes the rest of a commit stream, after its header, and commits. Returns the bytes that the
/// capture added to the repository.
///
/// # Errors
/// INVALID_ARGUMENT for what an agent must never send; ABORTED if chunks have to be sent again; the
/// repository's and the catalogue's failures.
pub async fn commit(
    core: &Core,
    delivery: Delivery<'_>,
    writer: &WriteSession,
    header: v1::CommitHeader,
    parts: impl Stream<Item = Result<v1::CommitPart, Status>> + Send + Unpin,
) -> Result<u64, Status> {
    let _alone = delivery.slot.committing.lock().await;
    let record = core.book.get(delivery.job).await;
    let backup = record.as_ref().and_then(|record| record.backup());
    let backup = backup.ok_or_else(|| Status::not_found("the job is over"))?;
    if let Some(first) = backup.committed.get(&delivery.index) {
        return Ok(first.stored_bytes);
    }
    let step = backup
        .plan
        .captures
        .get(delivery.index)
        .cloned()
        .ok_or_else(|| Status::internal("the capture is not in the plan"))?;

    let received = receive(core, writer, &header.recipe_hash, parts, |_| Ok(())).await?;
    let mut shard = shard_entry(&header.shard_json, &step, received)?;
    if backup.imported_by.is_some() {
        IMPORTED.clone_into(&mut shard.method);
    }
    let collection = collection_entry(&header.collection_json, &step)?;
    let figures = delivery.slot.figures();
    let committed = CommittedShard {
        shard,
        collection,
        sent_bytes: figures.sent_bytes,
        stored_bytes: figures.stored_bytes,
        elapsed_ms: 0,
        held_up_ms: 0,
    };
    record_commit(core, &delivery, &step, committed).await?;
    Ok(figures.stored_bytes)
}

/// Records a capture, unless the shard is captured otherwise meanwhile.
async fn record_commit(
    core: &Core,
    delivery: &Delivery<'_>,
    step: &CaptureStep,
    committed: CommittedShard,
) -> Result<(), Status> {
    let mut taken = false;
    core.book
        .change(delivery.job, |record| {
            let planned = record.backup_mut().filter(|backup| {
                let planned = backup.plan.captures.get(delivery.index);
                planned == Some(step) && !backup.dropped.contains(&delivery.index)
            });
            if let Some(backup) = planned {
                backup.committed.insert(delivery.index, committed);
                taken = true;
            }
        })
        .await?;
    if taken {
        return Ok(());
    }
    Err(Status::not_found(
        "the shard is captured from another node meanwhile, or not at all",
    ))
}

/// A recipe that has arrived: it and its chunks are durable.
pub(super) struct Received {
    pub(super) recipe: ShardRecipe,
    /// The chunks that make it up, encoded.
    pub(super) chunks: Vec<ChunkId>,
    /// Its encoded length in bytes.
    pub(super) len: u64,
    pub(super) hash: [u8; 32],
}

/// Takes a recipe that has this hash and passes `check`, and makes it and what it names durable.
pub(super) async fn receive(
    core: &Core,
    writer: &WriteSession,
    recipe_hash: &[u8],
    parts: impl Stream<Item = Result<v1::CommitPart, Status>> + Send + Unpin,
    check: impl FnOnce(&ShardRecipe) -> Result<(), Status>,
) -> Result<Received, Status> {
    let encoded = join(parts).await?;
    let (recipe, encoded) = tokio::task::spawn_blocking(move || {
        let hash = ShardRecipe::hash(&encoded);
        (
            ShardRecipe::decode(&encoded).map(|recipe| (recipe, hash)),
            encoded,
        )
    })
    .await
    .map_err(|join| Status::internal(join.to_string()))?;
    let (recipe, hash) = recipe.map_err(|error| invalid(&error))?;
    if recipe_hash != hash {
        return Err(Status::invalid_argument(
            "the recipe does not have its hash",
        ));
    }
    check(&recipe)?;
    require_chunks(writer, &recipe)?;

    let len = encoded.len() as u64;
    let failed = |error: RepositoryError| Status::from(core.repository_failed(&error));
    let chunks = writer
        .put_recipe(core.chunk_key.clone(), encoded)
        .await
        .map_err(failed)?;
    writer.flush().await.map_err(failed)?;
    Ok(Received {
        recipe,
        chunks,
        len,
        hash,
    })
}

async fn join(
    mut parts: impl Stream<Item = Result<v1::CommitPart, Status>> + Send + Unpin,
) -> Result<Bytes, Status> {
    let mut encoded = BytesMut::new();
    while let Some(part) = parts.next().await {
        let Some(Part::Recipe(piece)) = part?.part else {
            return Err(Status::invalid_argument(
                "only pieces of the recipe may follow the header",
            ));
        };
        if encoded.len() + piece.len() > MAX_RECIPE_BYTES {
            return Err(Status::invalid_argument(
                "the recipe is longer than 128 MiB: the shard is too large for this release",
            ));
        }
        encoded.extend_from_slice(&piece);
    }
    Ok(encoded.freeze())
}

/// Every chunk must be stored or on its way. One that is not was lost with a crash of ours: the agent asks
/// again which are there. And every chunk must be as long as the recipe says: such a recipe would be
/// refused when the recovery point is committed, too late for anybody to learn whose it was.
fn require_chunks(writer: &WriteSession, recipe: &ShardRecipe) -> Result<(), Status> {
    let mut chunks: Vec<(ChunkId, u32)> = recipe.chunks().collect();
    chunks.sort_unstable();
    chunks.dedup();
    let mut missing = 0_usize;
    for some in chunks.chunks(LOOKUP) {
        let ids: Vec<ChunkId> = some.iter().map(|(id, _)| *id).collect();
        for ((id, len), stored) in some.iter().zip(writer.plain_lens(&ids)) {
            match stored {
                Some(stored) if stored != *len => {
                    return Err(Status::invalid_argument(format!(
                        "chunk {id} has {stored} bytes, the recipe says {len}"
                    )));
                }
                Some(_) => {}
                None => missing += 1,
            }
        }
    }
    if missing == 0 {
        return Ok(());
    }
    Err(Status::aborted(format!(
        "{missing} chunks of the recipe are not in the repository: deliver again"
    )))
}

fn shard_entry(json: &str, step: &CaptureStep, received: Received) -> Result<ShardEntry, Status> {
    let Received {
        recipe,
        chunks,
        len,
        hash,
    } = received;
    let told: ShardEntry = serde_json::from_str(json).map_err(|error| invalid(&error))?;
    if told.shard_id != step.shard || told.node != step.node {
        return Err(Status::invalid_argument(
            "the shard entry is of another shard than the command",
        ));
    }
    let mark = told.wal.zip(told.next_operation);
    if mark.is_some_and(|(mark, next)| mark.certain > next) {
        return Err(Status::invalid_argument(
            "the shard entry contains operations beyond its last one",
        ));
    }
    let mut reasons = told.reasons;
    if let Some(Repin { from, why }) = &step.repinned {
        let reason = format!(
            "captured from {}, not from {from} as before: {why}",
            step.node
        );
        reasons.insert(0, reason);
    }
    Ok(ShardEntry {
        reasons,
        recipe: chunks,
        recipe_len: len,
        recipe_hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        files: u32::try_from(recipe.files.len()).unwrap_or(u32::MAX),
        logical_bytes: recipe.logical_bytes(),
        ..told
    })
}

fn collection_entry(json: &str, step: &CaptureStep) -> Result<CollectionEntry, Status> {
    let told: CollectionEntry = serde_json::from_str(json).map_err(|error| invalid(&error))?;
    if told.name != step.collection {
        return Err(Status::invalid_argument(
            "the collection entry is of another collection than the command",
        ));
    }
    Ok(CollectionEntry {
        shards: Vec::new(),
        ..told
    })
}

pub(super) fn invalid(error: &dyn std::error::Error) -> Status {
    Status::invalid_argument(chain(error))
}
