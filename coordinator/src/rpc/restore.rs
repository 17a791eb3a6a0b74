//! The restore service: recipes and chunks for a node that was told to restore, and for who holds a ticket.
//!
//! A command, or a ticket, grants the recipes of its collection and the chunks that they name, in this cluster's
//! namespace. Chunks are authenticated by the repository; that they hash to their ids is for the agent
//! to check, who decodes them.

use super::ingest::{check_epoch, unknown_command};
use super::peer;
use crate::core::Core;
use crate::dispatch::{Grant, RestoreGrant};
use crate::fault::{Fault, chain};
use crate::instant::pieces::{self, Reader};
use crate::tickets::narrowed;
use bytes::Bytes;
use futures::StreamExt as _;
use holdfast_archive::ShardRecipe;
use holdfast_certs::Identity;
use holdfast_decide::instant::ShardLog;
use holdfast_proto::convert::{chunk_ids, command_id};
use holdfast_proto::limits::MAX_FETCH_IDS;
use holdfast_proto::v1;
use holdfast_proto::v1::restore_server::Restore;
use holdfast_service::failure::Code;
use holdfast_types::{CaptureId, ChunkId, HASH_LEN, ShardId};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Bytes of recipe in one message.
const RECIPE_PIECE: usize = 1 << 20;

/// Pieces and chunks that may wait to be sent: at most 8 MiB.
const QUEUE: usize = 8;

/// Chunks read at once for one stream.
const READ_AHEAD: usize = 8;

type Answers<T> = mpsc::Sender<Result<T, Status>>;

/// The service.
#[derive(Clone, Debug)]
pub struct RestoreService(Arc<Core>);

impl RestoreService {
    /// The service of this coordinator.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self(core)
    }

    async fn grant(
        &self,
        caller: &Identity,
        command: &CaptureId,
    ) -> Result<Arc<RestoreGrant>, Status> {
        let core = &self.0;
        let node = caller.node();
        let granted = match node.and_then(|node| core.dispatcher.grant(command, node)) {
            Some(Grant::Restore(grant)) => Some(grant),
            Some(Grant::Capture { .. } | Grant::Extra { .. }) => return Err(not_to_read()),
            None => core.tickets.grant(command, caller, core.clock.now()),
        };
        match granted {
            Some(grant) if grant.manifest.namespace == core.namespace => Ok(grant),
            Some(_) => Err(not_to_read()),
            None => Err(unknown_command(core, command).await),
        }
    }

    /// The chunks that a grant allows, from all its recipes.
    async fn allowed<'a>(&self, grant: &'a RestoreGrant) -> Result<&'a [ChunkId], Status> {
        let collect = async || -> Result<Vec<ChunkId>, Fault> {
            let source = self.0.source(grant.from_copy.as_ref()).await?;
            let mut ids = Vec::new();
            for (owner, stored) in grant.recipes() {
                let recipe = source.read_stored_recipe(&owner, stored).await;
                let recipe =
                    recipe.map_err(|error| self.0.read_failed(grant.from_copy.as_ref(), &error))?;
                ids.extend(recipe.chunks().map(|(id, _)| id));
            }
            ids.sort_unstable();
            ids.dedup();
            Ok(ids)
        };
        Ok(grant.chunks.get_or_try_init(collect).await?)
    }
}

#[tonic::async_trait]
impl Restore for RestoreService {
    type FetchRecipeStream = ReceiverStream<Result<v1::RecipePiece, Status>>;
    type FetchChunksStream = ReceiverStream<Result<v1::FetchedChunk, Status>>;
    type FetchLogStream = ReceiverStream<Result<v1::LogPiece, Status>>;

    async fn fetch_recipe(
        &self,
        request: Request<v1::FetchRecipeRequest>,
    ) -> Result<Response<Self::FetchRecipeStream>, Status> {
        let core = &self.0;
        let caller = peer::identity(&request)?.clone();
        let request = request.into_inner();
        check_epoch(core, request.epoch)?;
        let command = command_id(&request.command_id)
            .map_err(|error| Status::invalid_argument(chain(&error)))?;
        let grant = self.grant(&caller, &command).await?;
        let wanted = ShardId(request.shard_id);
        let (owner, stored) = grant
            .recipe(wanted)
            .ok_or_else(|| Status::not_found(format!("there is no shard {wanted}")))?;
        let copy = grant.from_copy.as_ref();
        let encoded = core.source(copy).await?.read_recipe(stored.chunks).await;
        let encoded = encoded.map_err(|error| core.read_failed(copy, &error))?;
        if Some(ShardRecipe::hash(&encoded)) != stored.digest() {
            return Err(Fault::new(
                Code::RepositoryDamaged,
                format!(
                    "the recipe of {owner} in {} is not the one its manifest names: choose another recovery point",
                    grant.manifest.id
                ),
            )
            .into());
        }
        let (out, pieces) = mpsc::channel(QUEUE);
        let key = Bytes::copy_from_slice(core.chunk_key.as_bytes());
        drop(
            core.shutdown
                .clone()
                .spawn(send_recipe(encoded.into(), key, out)),
        );
        Ok(Response::new(ReceiverStream::new(pieces)))
    }

    async fn fetch_chunks(
        &self,
        request: Request<Streaming<v1::FetchChunksRequest>>,
    ) -> Result<Response<Self::FetchChunksStream>, Status> {
        let caller = peer::identity(&request)?.clone();
        let (out, chunks) = mpsc::channel(QUEUE);
        let service = self.clone();
        drop(self.0.shutdown.clone().spawn(async move {
            let stop = service.0.shutdown.token();
            let sending = Box::pin(send_chunks(&service, &caller, request.into_inner(), &out));
            let failed = tokio::select! {
                done = sending => done.err(),
                () = stop.cancelled() => Some(Status::unavailable("the coordinator is stopping")),
            };
            if let Some(status) = failed {
                // A receiver that went away needs no reason.
                let _gone = out.send(Err(status)).await;
            }
        }));
        Ok(Response::new(ReceiverStream::new(chunks)))
    }

    async fn fetch_log(
        &self,
        request: Request<v1::FetchLogRequest>,
    ) -> Result<Response<Self::FetchLogStream>, Status> {
        let core = &self.0;
        let caller = peer::identity(&request)?.clone();
        let request = request.into_inner();
        check_epoch(core, request.epoch)?;
        let command = command_id(&request.command_id)
            .map_err(|error| Status::invalid_argument(chain(&error)))?;
        let grant = self.grant(&caller, &command).await?;
        let wanted = ShardId(request.shard_id);
        let mut logs = grant.logs.iter().filter(|log| log.shard == wanted);
        let log = logs.next().and_then(|log| within(log, &request));
        let log = log.ok_or_else(|| {
            Status::permission_denied(format!(
                "this command does not allow to read these entries of a log of shard {wanted}"
            ))
        })?;
        let (out, pieces) = mpsc::channel(QUEUE);
        let core = Arc::clone(core);
        drop(self.0.shutdown.clone().spawn(async move {
            let stop = core.shutdown.token();
            let sending = Box::pin(send_log(&core, &grant, &log, request.lengths_only, &out));
            let failed = tokio::select! {
                done = sending => done.err(),
                () = stop.cancelled() => Some(Status::unavailable("the coordinator is stopping")),
            };
            if let Some(status) = failed {
                let _gone = out.send(Err(status)).await;
            }
        }));
        Ok(Response::new(ReceiverStream::new(pieces)))
    }

    async fn redeem_ticket(
        &self,
        request: Request<v1::RedeemTicketRequest>,
    ) -> Result<Response<v1::RedeemTicketResponse>, Status> {
        let core = &self.0;
        let caller = peer::identity(&request)?.clone();
        let ticket = ticket_id(&request.into_inner().ticket)?;
        let reads = core.tickets.redeem(&ticket, &caller, core.clock.now());
        let reads = reads.filter(|reads| !reads.is_empty()).ok_or_else(|| {
            Fault::new(
                Code::PermissionDenied,
                format!(
                    "this ticket opens nothing for {caller}: it is for another node, has ended or was used up, or the coordinator was restarted since; make another one with `holdfast restore ticket ID --node {}`",
                    caller.name()
                ),
            )
        })?;
        tracing::info!(%caller, "a restore ticket was presented");
        let manifest = narrowed(reads.iter().map(|(_, grant)| grant.as_ref()));
        let json = manifest.to_json();
        let json = json.map_err(|error| Fault::from_error(Code::RepositoryDamaged, &error))?;
        Ok(Response::new(v1::RedeemTicketResponse {
            epoch: core.epoch.0,
            manifest_json: String::from_utf8_lossy(&json).into_owned(),
            command_ids: reads.iter().map(|(id, _)| id.to_string()).collect(),
        }))
    }

    async fn close_ticket(
        &self,
        request: Request<v1::CloseTicketRequest>,
    ) -> Result<Response<v1::CloseTicketResponse>, Status> {
        let caller = peer::identity(&request)?.clone();
        let request = request.into_inner();
        let ticket = ticket_id(&request.ticket)?;
        let failure = request.failure.map(Fault::from);
        let closed = self.0.tickets.close(&ticket, &caller);
        for reading in closed.iter().filter_map(|grant| grant.reading.as_ref()) {
            reading.close(failure.clone());
        }
        Ok(Response::new(v1::CloseTicketResponse {}))
    }
}

/// The stretch of an ordered log that is asked for, if it lies in it.
fn within(log: &ShardLog, request: &v1::FetchLogRequest) -> Option<ShardLog> {
    let from = request.from.unwrap_or(log.from);
    let until = request.until.unwrap_or(log.until);
    let inside = log.from <= from && from <= until && until <= log.until;
    inside.then(|| ShardLog {
        from,
        until,
        ..log.clone()
    })
}

fn not_to_read() -> Status {
    Status::permission_denied("this command does not allow to read")
}

fn ticket_id(text: &str) -> Result<CaptureId, Status> {
    // A command id obeys the same rule.
    command_id(text).map_err(|_| Status::invalid_argument("field ticket is not a ticket's id"))
}

async fn send_recipe(recipe: Bytes, key: Bytes, out: Answers<v1::RecipePiece>) {
    for from in (0..recipe.len()).step_by(RECIPE_PIECE) {
        let piece = v1::RecipePiece {
            recipe: recipe.slice(from..recipe.len().min(from + RECIPE_PIECE)),
            chunk_id_key: if from == 0 { key.clone() } else { Bytes::new() },
        };
        if out.send(Ok(piece)).await.is_err() {
            return;
        }
    }
}

async fn send_log(
    core: &Arc<Core>,
    grant: &RestoreGrant,
    log: &ShardLog,
    lengths_only: bool,
    out: &Answers<v1::LogPiece>,
) -> Result<(), Status> {
    let collection = grant.collection().ok_or_else(not_to_read)?;
    let mut reader = Reader::open(core, &collection.name, log).await?;
    while let Some(part) = reader.part().await? {
        for piece in pieces::pieces(&part, log, lengths_only) {
            if out.send(Ok(piece)).await.is_err() {
                return Err(Status::cancelled("the receiver went away"));
            }
        }
    }
    Ok(())
}

async fn send_chunks(
    service: &RestoreService,
    caller: &Identity,
    mut requests: Streaming<v1::FetchChunksRequest>,
    out: &Answers<v1::FetchedChunk>,
) -> Result<(), Status> {
    let Some(first) = requests.message().await? else {
        return Ok(());
    };
    let command =
        command_id(&first.command_id).map_err(|error| Status::invalid_argument(chain(&error)))?;
    let grant = service.grant(caller, &command).await?;
    let allowed = service.allowed(&grant).await?;
    let core = &service.0;
    let (ids, wanted) = mpsc::channel(MAX_FETCH_IDS);
    let asking = async move {
        let mut next = Some(first);
        while let Some(request) = next {
            for id in granted(&request.chunk_ids, allowed)? {
                if ids.send(id).await.is_err() {
                    return Ok(());
                }
            }
            next = requests.message().await?;
        }
        Ok::<_, Status>(())
    };
    let copy = grant.from_copy.as_ref();
    let source = core.source(copy).await?;
    let mut chunks = source
        .read_chunk_stream(ReceiverStream::new(wanted), READ_AHEAD)
        .boxed();
    let answering = async {
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| core.read_failed(copy, &error))?;
            if let Some(reading) = &grant.reading {
                reading.add(u64::from(chunk.plain_len));
            }
            let message = v1::FetchedChunk {
                chunk_id: Bytes::copy_from_slice(chunk.id.as_bytes()),
                codec: chunk.codec.number().into(),
                plain_len: chunk.plain_len,
                data: chunk.data,
            };
            if out.send(Ok(message)).await.is_err() {
                return Err(Status::cancelled("the receiver went away"));
            }
        }
        Ok::<_, Status>(())
    };
    let stopped = async {
        match &grant.reading {
            Some(reading) => reading.stopped().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = async { tokio::try_join!(asking, answering) } => done.map(drop),
        () = stopped => Err(Fault::new(Code::Cancelled, "the export was cancelled").into()),
    }
}

/// The ids of one request, all of which must be granted.
fn granted(bytes: &[u8], allowed: &[ChunkId]) -> Result<Vec<ChunkId>, Status> {
    let ids =
        chunk_ids(bytes, MAX_FETCH_IDS).map_err(|error| Status::invalid_argument(chain(&error)))?;
    debug_assert_eq!(ids.len() * HASH_LEN, bytes.len());
    match ids.iter().find(|id| allowed.binary_search(id).is_err()) {
        Some(other) => Err(Status::permission_denied(format!(
            "chunk {other} is not part of what this command restores"
        ))),
        None => Ok(ids),
    }
}

#[cfg(test)]
mod tests {
    use super::granted;
    use holdfast_types::ChunkId;

    #[test]
    fn only_the_commands_own_chunks_are_given() {
        let [a, b, c] = [1, 2, 3].map(|i| ChunkId::from_bytes([i; 32]));
        let bytes =
            |ids: &[ChunkId]| -> Vec<u8> { ids.iter().flat_map(|id| *id.as_bytes()).collect() };
        let allowed = [a, c];
        assert_eq!(granted(&bytes(&[c, a, c]), &allowed).unwrap(), [c, a, c]);
        let refused = granted(&bytes(&[a, b]), &allowed).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
        assert!(granted(&[1; 31], &allowed).is_err());
        assert!(granted(&bytes(&[a; 1025]), &allowed).is_err());
    }
}
