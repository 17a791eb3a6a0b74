//! A stand-in for the coordinator: chunks in memory, commands from the test.

use crate::failure::Failed;
use crate::link::Dial;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use holdfast_archive::{
    CapturedExtra, ChunkKey, Codec, CollectionEntry, Decoder, Extent, ShardEntry, chunk_blob,
};
use holdfast_proto::v1;
use holdfast_proto::v1::agent_control_server::{AgentControl, AgentControlServer};
use holdfast_proto::v1::ingest_server::{Ingest, IngestServer};
use holdfast_proto::v1::restore_server::{Restore, RestoreServer};
use holdfast_service::failure::Code;
use holdfast_types::ChunkId;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use v1::agent_message::Message as FromAgent;
use v1::commit_part::Part;
use v1::coordinator_message::Message as FromCoordinator;

pub(super) const KEY: [u8; 32] = [7; 32];

#[derive(Clone)]
pub(super) struct FakeCoordinator {
    addr: SocketAddr,
    state: Arc<Mutex<Inner>>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) epoch: u64,
    pub(super) hellos: Vec<v1::Hello>,
    pub(super) heartbeats: Vec<v1::Heartbeat>,
    pub(super) progress: Vec<v1::CommandProgress>,
    pub(super) results: Vec<v1::CommandResult>,
    pub(super) chunks: HashMap<ChunkId, v1::PutChunk>,
    /// Chunks received, also those that were there.
    pub(super) puts: u64,
    pub(super) commits: HashMap<String, Commit>,
    /// Extras with their encoded recipes.
    pub(super) extras: HashMap<String, (CapturedExtra, Vec<u8>)>,
    /// Break the put stream off after this many more chunks, once.
    pub(super) break_after: Option<u64>,
    /// Take chunks, but never acknowledge them.
    pub(super) withhold_acks: bool,
    /// Refuse sessions.
    pub(super) refuse: Option<Status>,
    /// Answer with another chunk's bytes after this many, once.
    pub(super) corrupt_after: Option<u64>,
    /// Never answer requests for chunks.
    pub(super) withhold_chunks: bool,
    /// What is sent of an ordered log.
    pub(super) log: Vec<v1::LogPiece>,
    /// Break the log's data off after so many pieces, once.
    pub(super) break_log_after: Option<usize>,
    /// But not the first so many times that it is asked for.
    pub(super) break_log_later: u32,
    /// Index of the first of them: then only what is asked for is sent. `None` sends all, as asked or not.
    pub(super) log_begins: Option<u64>,
    /// How often lengths, and how often data was asked for.
    pub(super) log_requests: (u32, u32),
    agent: Option<mpsc::Sender<Result<v1::CoordinatorMessage, Status>>>,
}

#[derive(Clone)]
pub(super) struct Commit {
    pub(super) shard: ShardEntry,
    pub(super) collection: CollectionEntry,
    pub(super) recipe: Vec<u8>,
}

impl FakeCoordinator {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            addr: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(Inner {
                epoch: 3,
                ..Inner::default()
            })),
            changed: watch::Sender::new(0),
        };
        let limit = holdfast_proto::limits::MAX_MESSAGE_BYTES;
        let server = Server::builder()
            .add_service(AgentControlServer::new(this.clone()))
            .add_service(IngestServer::new(this.clone()).max_decoding_message_size(limit))
            .add_service(RestoreServer::new(this.clone()))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        tokio::spawn(async move { server.await.unwrap() });
        this
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap()
    }

    fn change<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.send_modify(|n| *n += 1);
        result
    }

    /// Waits until `look` finds something.
    pub(super) async fn until<R>(
        &self,
        what: &str,
        mut look: impl FnMut(&Inner) -> Option<R>,
    ) -> R {
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                if let Some(found) = look(&self.lock()) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, found)
            .await
            .unwrap_or_else(|_| panic!("waited too long for {what}"))
    }

    /// Sends a command to the connected agent, when there is one.
    pub(super) async fn give(&self, id: &str, command: v1::command::Command) {
        let epoch = self.lock().epoch;
        self.give_as(id, epoch, command).await;
    }

    pub(super) async fn give_as(&self, id: &str, epoch: u64, command: v1::command::Command) {
        let agent = self
            .until("an agent", |inner| {
                inner.agent.clone().filter(|agent| !agent.is_closed())
            })
            .await;
        let command = v1::Command {
            command_id: id.to_owned(),
            epoch,
            command: Some(command),
        };
        let message = v1::CoordinatorMessage {
            message: Some(FromCoordinator::Command(command)),
        };
        agent.send(Ok(message)).await.unwrap();
    }

    /// The `n`th result of a command.
    pub(super) async fn result(&self, id: &str, n: usize) -> v1::command_result::Outcome {
        self.until(&format!("result {n} of {id}"), |inner| {
            let mut of_id = inner
                .results
                .iter()
                .filter(|result| result.command_id == id);
            of_id.nth(n).cloned()?.outcome
        })
        .await
    }
}

impl Dial for FakeCoordinator {
    fn dial(&self) -> futures::future::BoxFuture<'_, Result<Channel, Failed>> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.addr)).unwrap();
        async move {
            let connected = endpoint.connect().await;
            connected.map_err(|error| Failed::from_error(Code::CoordinatorUnreachable, &error))
        }
        .boxed()
    }
}

#[tonic::async_trait]
impl AgentControl for FakeCoordinator {
    type ConnectStream = BoxStream<'static, Result<v1::CoordinatorMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut inbound = request.into_inner();
        let (out, out_rx) = mpsc::channel(64);
        let this = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                match message.message.unwrap() {
                    FromAgent::Hello(hello) => {
                        let welcome = v1::Welcome {
                            program: hello.program.clone(),
                            epoch: this.lock().epoch,
                            heartbeat_interval_ms: 200,
                            now_us: hello.now_us,
                            watch_searches: true,
                        };
                        let message = v1::CoordinatorMessage {
                            message: Some(FromCoordinator::Welcome(welcome)),
                        };
                        out.send(Ok(message)).await.unwrap();
                        this.change(|inner| {
                            inner.hellos.push(hello);
                            inner.agent = Some(out.clone());
                        });
                    }
                    FromAgent::Heartbeat(beat) => this.change(|i| i.heartbeats.push(beat)),
                    FromAgent::Progress(progress) => this.change(|i| i.progress.push(progress)),
                    FromAgent::Result(result) => this.change(|i| i.results.push(result)),
                }
            }
            this.change(|inner| inner.agent = None);
        });
        Ok(Response::new(ReceiverStream::new(out_rx).boxed()))
    }
}

#[tonic::async_trait]
impl Ingest for FakeCoordinator {
    type PutChunksStream = BoxStream<'static, Result<v1::PutAck, Status>>;

    async fn open_session(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::OpenSessionResponse>, Status> {
        let request = request.into_inner();
        if let Some(status) = self.lock().refuse.clone() {
            return Err(status);
        }
        assert_eq!(request.epoch, self.lock().epoch);
        Ok(Response::new(v1::OpenSessionResponse {
            session_id: request.command_id,
            namespace: "demo".into(),
            chunk_id_key: Bytes::from_static(&KEY),
            window_bytes: 4 << 20,
            max_have_ids: 100,
        }))
    }

    async fn have_chunks(
        &self,
        request: Request<v1::HaveChunksRequest>,
    ) -> Result<Response<v1::HaveChunksResponse>, Status> {
        let ids = request.into_inner().chunk_ids;
        assert!(ids.len() <= 3200);
        let inner = self.lock();
        let have = ids
            .chunks(32)
            .map(|id| u8::from(inner.chunks.contains_key(&ChunkId::from_slice(id).unwrap())))
            .collect::<Vec<_>>();
        Ok(Response::new(v1::HaveChunksResponse { have: have.into() }))
    }

    async fn put_chunks(
        &self,
        request: Request<Streaming<v1::PutChunk>>,
    ) -> Result<Response<Self::PutChunksStream>, Status> {
        let mut inbound = request.into_inner();
        let (acks, acks_rx) = mpsc::channel(4);
        let this = self.clone();
        tokio::spawn(async move {
            let mut ack = v1::PutAck::default();
            let mut decoder = Decoder::new();
            while let Ok(Some(chunk)) = inbound.message().await {
                let id = ChunkId::from_slice(&chunk.chunk_id).unwrap();
                let codec = Codec::try_from(chunk.codec).unwrap();
                let plain = decoder.decode(codec, &chunk.data, chunk.plain_len as usize);
                assert_eq!(ChunkKey::from_bytes(KEY).id(plain.unwrap()), id);
                ack.chunks += 1;
                ack.bytes += chunk.data.len() as u64;
                let (broken, withhold) = this.change(|inner| {
                    inner.puts += 1;
                    inner.chunks.insert(id, chunk);
                    if let Some(left) = &mut inner.break_after {
                        *left = left.saturating_sub(1);
                    }
                    let broken = inner.break_after == Some(0);
                    if broken {
                        inner.break_after = None;
                    }
                    (broken, inner.withhold_acks)
                });
                if broken {
                    let _ = acks
                        .send(Err(Status::unavailable("broken on purpose")))
                        .await;
                    return;
                }
                if !withhold && acks.send(Ok(ack)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(acks_rx).boxed()))
    }

    async fn commit_capture(
        &self,
        request: Request<Streaming<v1::CommitPart>>,
    ) -> Result<Response<v1::CommitCaptureResponse>, Status> {
        let mut parts = request.into_inner();
        let first = parts.message().await?.unwrap().part.unwrap();
        let Part::Header(header) = first else {
            return Err(Status::invalid_argument("no header"));
        };
        let mut recipe = Vec::new();
        while let Some(part) = parts.message().await? {
            let Some(Part::Recipe(piece)) = part.part else {
                return Err(Status::invalid_argument("no recipe"));
            };
            recipe.extend_from_slice(&piece);
        }
        assert_eq!(blake3::hash(&recipe).as_bytes()[..], header.recipe_hash[..]);
        if !header.extra_json.is_empty() {
            let extra = serde_json::from_str(&header.extra_json).unwrap();
            let session = header.session_id;
            self.change(|inner| inner.extras.insert(session, (extra, recipe)));
            return Ok(Response::new(v1::CommitCaptureResponse { stored_bytes: 1 }));
        }
        let mut shard: ShardEntry = serde_json::from_str(&header.shard_json).unwrap();
        shard.recipe = chunk_blob(&recipe, &ChunkKey::from_bytes(KEY), &mut |_| {});
        let commit = Commit {
            shard,
            collection: serde_json::from_str(&header.collection_json).unwrap(),
            recipe,
        };
        self.change(|inner| inner.commits.insert(header.session_id, commit));
        Ok(Response::new(v1::CommitCaptureResponse { stored_bytes: 1 }))
    }
}

/// The pieces of the log, each of one entry, that a request is for.
fn asked_for(inner: &Inner, request: &v1::FetchLogRequest) -> Vec<v1::LogPiece> {
    let Some(begins) = inner.log_begins else {
        return inner.log.clone();
    };
    let at = |index: u64| usize::try_from(index - begins).unwrap();
    let (from, until) = (at(request.from.unwrap()), at(request.until.unwrap()));
    let mut pieces = inner.log[from..until].to_vec();
    if from > 0 {
        pieces[0].before = Some(inner.log[from - 1].entries[0].crc);
    }
    pieces
}

#[tonic::async_trait]
impl Restore for FakeCoordinator {
    type FetchRecipeStream = BoxStream<'static, Result<v1::RecipePiece, Status>>;
    type FetchChunksStream = BoxStream<'static, Result<v1::FetchedChunk, Status>>;
    type FetchLogStream = BoxStream<'static, Result<v1::LogPiece, Status>>;

    async fn fetch_log(
        &self,
        request: Request<v1::FetchLogRequest>,
    ) -> Result<Response<Self::FetchLogStream>, Status> {
        let request = request.into_inner();
        let mut inner = self.lock();
        assert_eq!(request.epoch, inner.epoch);
        if let Some(status) = inner.refuse.clone() {
            return Err(status);
        }
        let mut pieces: Vec<_> = asked_for(&inner, &request).into_iter().map(Ok).collect();
        if request.lengths_only {
            inner.log_requests.0 += 1;
            for piece in pieces.iter_mut().flatten() {
                piece.entries.iter_mut().for_each(|e| e.data = Bytes::new());
            }
        } else {
            inner.log_requests.1 += 1;
            let due = inner.log_requests.1 > inner.break_log_later;
            if let Some(after) = due.then(|| inner.break_log_after.take()).flatten() {
                pieces.truncate(after);
                pieces.push(Err(Status::unavailable("broken on purpose")));
            }
        }
        Ok(Response::new(stream::iter(pieces).boxed()))
    }

    async fn fetch_recipe(
        &self,
        _request: Request<v1::FetchRecipeRequest>,
    ) -> Result<Response<Self::FetchRecipeStream>, Status> {
        if let Some(status) = self.lock().refuse.clone() {
            return Err(status);
        }
        let commit = self.lock().commits["capture"].clone();
        let pieces: Vec<_> = commit
            .recipe
            .chunks(1000)
            .enumerate()
            .map(|(i, piece)| {
                Ok(v1::RecipePiece {
                    recipe: Bytes::copy_from_slice(piece),
                    chunk_id_key: Bytes::copy_from_slice(if i == 0 { &KEY } else { &[] }),
                })
            })
            .collect();
        Ok(Response::new(stream::iter(pieces).boxed()))
    }

    async fn fetch_chunks(
        &self,
        request: Request<Streaming<v1::FetchChunksRequest>>,
    ) -> Result<Response<Self::FetchChunksStream>, Status> {
        let mut inbound = request.into_inner();
        let (out, out_rx) = mpsc::channel(4);
        let this = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(request)) = inbound.message().await {
                assert!(request.chunk_ids.len() <= 32 * holdfast_proto::limits::MAX_FETCH_IDS);
                for id in request.chunk_ids.chunks(32) {
                    let (withhold, answer) = this.change(|inner| {
                        let put = &inner.chunks[&ChunkId::from_slice(id).unwrap()];
                        let mut answer = v1::FetchedChunk {
                            chunk_id: put.chunk_id.clone(),
                            codec: put.codec,
                            plain_len: put.plain_len,
                            data: put.data.clone(),
                        };
                        if let Some(left) = &mut inner.corrupt_after {
                            if *left == 0 {
                                let mut data = answer.data.to_vec();
                                let middle = data.len() / 2;
                                data[middle] ^= 1;
                                answer.data = data.into();
                                inner.corrupt_after = None;
                            } else {
                                *left -= 1;
                            }
                        }
                        (inner.withhold_chunks, answer)
                    });
                    if withhold {
                        out.closed().await;
                        return;
                    }
                    if out.send(Ok(answer)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(out_rx).boxed()))
    }

    async fn redeem_ticket(
        &self,
        _request: Request<v1::RedeemTicketRequest>,
    ) -> Result<Response<v1::RedeemTicketResponse>, Status> {
        Err(Status::permission_denied("there are no tickets here"))
    }

    async fn close_ticket(
        &self,
        _request: Request<v1::CloseTicketRequest>,
    ) -> Result<Response<v1::CloseTicketResponse>, Status> {
        Ok(Response::new(v1::CloseTicketResponse {}))
    }
}

impl FakeCoordinator {
    /// The content of every file of a recipe, by path.
    pub(super) fn contents(&self, recipe: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let recipe = holdfast_archive::ShardRecipe::decode(recipe).unwrap();
        let (inner, mut decoder) = (self.lock(), Decoder::new());
        let files = recipe.files.into_iter().map(|file| {
            let mut content = Vec::new();
            for extent in &file.extents {
                match extent {
                    Extent::Zero { len } => {
                        content.resize(content.len() + usize::try_from(*len).unwrap(), 0);
                    }
                    Extent::Chunk { id, len } => {
                        let put = &inner.chunks[id];
                        let codec = Codec::try_from(put.codec).unwrap();
                        let plain = decoder.decode(codec, &put.data, *len as usize);
                        content.extend_from_slice(plain.unwrap());
                    }
                }
            }
            (file.path, content)
        });
        files.collect()
    }
}

/// Ids of the chunks that a recipe names.
pub(super) fn chunks_of(recipe: &[u8]) -> HashSet<ChunkId> {
    let recipe = holdfast_archive::ShardRecipe::decode(recipe).unwrap();
    recipe.chunks().map(|(id, _)| id).collect()
}
