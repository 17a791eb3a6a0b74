//! The ingest service: finds the session a call belongs to and hands on.

use super::peer;
use crate::core::Core;
use crate::dispatch::Grant;
use crate::fault::{Fault, chain};
use crate::ingest::commit::{Delivery, commit};
use crate::ingest::commit_extra::commit_extra;
use crate::ingest::put::{ACK_WITHIN, put};
use crate::ingest::session::{IngestSlot, SessionId};
use futures::{StreamExt as _, stream};
use holdfast_certs::Identity;
use holdfast_proto::convert::{chunk_ids, command_id};
use holdfast_proto::limits::{MAX_HAVE_IDS, PUT_WINDOW_BYTES};
use holdfast_proto::v1;
use holdfast_proto::v1::commit_part::Part;
use holdfast_proto::v1::ingest_server::Ingest;
use holdfast_repository::WriteSession;
use holdfast_service::failure::Code;
use holdfast_types::{CaptureId, Epoch, JobId};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Acknowledgements that may wait to be sent.
const ACKS: usize = 16;

/// The service.
#[derive(Clone, Debug)]
pub struct IngestService(Arc<Core>);

/// The capture that a call is about.
struct Capture {
    job: JobId,
    index: usize,
    slot: Arc<IngestSlot>,
    kind: CaptureKind,
}

/// Of what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CaptureKind {
    Shard,
    Extra,
}

impl IngestService {
    /// The service of this coordinator.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self(core)
    }

    async fn session(
        &self,
        caller: &Identity,
        session_id: &str,
    ) -> Result<(Capture, WriteSession), Status> {
        let ended = || Status::aborted("this session is over: open it again");
        let session = SessionId::parse(session_id).ok_or_else(ended)?;
        let capture = capture(&self.0, caller, &session.command).await?;
        let writer = capture.slot.writer(&session, self.0.epoch);
        Ok((capture, writer.ok_or_else(ended)?))
    }
}

#[tonic::async_trait]
impl Ingest for IngestService {
    type PutChunksStream = ReceiverStream<Result<v1::PutAck, Status>>;

    async fn open_session(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::OpenSessionResponse>, Status> {
        let core = &self.0;
        let caller = peer::identity(&request)?.clone();
        let request = request.into_inner();
        let command = command_id(&request.command_id)
            .map_err(|error| Status::invalid_argument(chain(&error)))?;
        check_epoch(core, request.epoch)?;
        let capture = capture(core, &caller, &command).await?;
        let writer = core.repository.begin(core.epoch).await;
        let writer = writer.map_err(|error| core.repository_failed(&error))?;
        let session = capture.slot.open(command, core.epoch, writer);
        Ok(Response::new(v1::OpenSessionResponse {
            session_id: session.to_string(),
            namespace: core.namespace.to_string(),
            chunk_id_key: core.chunk_key.as_bytes().to_vec().into(),
            window_bytes: PUT_WINDOW_BYTES,
            max_have_ids: MAX_HAVE_IDS,
        }))
    }

    async fn have_chunks(
        &self,
        request: Request<v1::HaveChunksRequest>,
    ) -> Result<Response<v1::HaveChunksResponse>, Status> {
        let caller = peer::identity(&request)?.clone();
        let request = request.into_inner();
        let (_, writer) = self.session(&caller, &request.session_id).await?;
        let ids = chunk_ids(&request.chunk_ids, MAX_HAVE_IDS as usize)
            .map_err(|error| Status::invalid_argument(chain(&error)))?;
        let have: Vec<u8> = writer.has_many(&ids).into_iter().map(u8::from).collect();
        Ok(Response::new(v1::HaveChunksResponse { have: have.into() }))
    }

    async fn put_chunks(
        &self,
        request: Request<Streaming<v1::PutChunk>>,
    ) -> Result<Response<Self::PutChunksStream>, Status> {
        let caller = peer::identity(&request)?.clone();
        let (acks, answers) = mpsc::channel(ACKS);
        let service = self.clone();
        // A task of its own: the answer's head must go out before the first chunk has come.
        drop(self.0.shutdown.clone().spawn(async move {
            let stop = service.0.shutdown.token();
            let taking = Box::pin(take(&service, &caller, request.into_inner(), &acks));
            let failed = tokio::select! {
                done = taking => done.err(),
                () = stop.cancelled() => Some(Status::unavailable("the coordinator is stopping")),
            };
            if let Some(status) = failed {
                // A sender that went away needs no reason.
                let _gone = acks.send_timeout(Err(status), ACK_WITHIN).await;
            }
        }));
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn commit_capture(
        &self,
        request: Request<Streaming<v1::CommitPart>>,
    ) -> Result<Response<v1::CommitCaptureResponse>, Status> {
        let caller = peer::identity(&request)?.clone();
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|part| part.part);
        let Some(Part::Header(header)) = first else {
            return Err(Status::invalid_argument(
                "the first part must be the header",
            ));
        };
        let (capture, writer) = self.session(&caller, &header.session_id).await?;
        let delivery = Delivery {
            job: &capture.job,
            index: capture.index,
            slot: &capture.slot,
        };
        let core = &self.0;
        let stored_bytes = match capture.kind {
            CaptureKind::Shard => Box::pin(commit(core, delivery, &writer, header, parts)).await?,
            CaptureKind::Extra => {
                Box::pin(commit_extra(core, delivery, &writer, header, parts)).await?
            }
        };
        Ok(Response::new(v1::CommitCaptureResponse { stored_bytes }))
    }
}

async fn take(
    service: &IngestService,
    caller: &Identity,
    mut chunks: Streaming<v1::PutChunk>,
    acks: &crate::ingest::put::Acks,
) -> Result<(), Status> {
    let Some(first) = chunks.message().await? else {
        return Ok(());
    };
    let (capture, writer) = service.session(caller, &first.session_id).await?;
    let chunks = stream::iter([Ok(first)]).chain(chunks);
    put(&service.0, &capture.slot, &writer, chunks, acks).await
}

/// The open capture command of this node, or the open delivery of this operator.
async fn capture(core: &Core, caller: &Identity, command: &CaptureId) -> Result<Capture, Status> {
    let granted = match caller.node() {
        Some(node) => core.dispatcher.grant(command, node),
        None => core.imports.grant(command, caller),
    };
    match granted {
        Some(Grant::Capture { job, index, slot }) => Ok(Capture {
            job,
            index,
            slot,
            kind: CaptureKind::Shard,
        }),
        Some(Grant::Extra { job, index, slot }) => Ok(Capture {
            job,
            index,
            slot,
            kind: CaptureKind::Extra,
        }),
        Some(Grant::Restore(_)) => Err(Status::permission_denied(
            "this command is a restore: it allows no delivery",
        )),
        None => Err(unknown_command(core, command).await),
    }
}

/// Why a command is not open: over and done, or not taken up again yet after a restart.
pub(super) async fn unknown_command(core: &Core, command: &CaptureId) -> Status {
    if core.book.is_pending(command).await {
        Status::unavailable("the job has not been taken up again yet")
    } else {
        Status::not_found(format!("command {command} is not open for this caller"))
    }
}

/// A request under a newer term means that another coordinator has taken over. One under an older term
/// is welcome if its command is open: then it was given again under ours.
pub(super) fn check_epoch(core: &Core, epoch: u64) -> Result<(), Fault> {
    if Epoch(epoch) <= core.epoch {
        return Ok(());
    }
    Err(Fault::new(
        Code::StaleEpoch,
        format!(
            "the request is of epoch {epoch}, this coordinator has {}: another one has taken over",
            core.epoch
        ),
    ))
}
