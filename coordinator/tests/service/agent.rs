//! A scripted agent: speaks the protocol, has files in memory instead of a Qdrant.

use crate::world::{Running, World};
use bytes::Bytes;
use holdfast_archive::{
    CapturedExtra, ChunkKey, CollectionEntry, Decoder, Encoder, Extent, FileClass, FileRecipe,
    ShardEntry, ShardRecipe,
};
use holdfast_proto::v1;
use holdfast_proto::v1::agent_control_client::AgentControlClient;
use holdfast_proto::v1::agent_message::Message;
use holdfast_proto::v1::command_result::Outcome;
use holdfast_proto::v1::coordinator_message::Message as FromCoordinator;
use holdfast_proto::v1::ingest_client::IngestClient;
use holdfast_proto::v1::restore_client::RestoreClient;
use holdfast_service::clock::{Clock as _, SystemClock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// Files of a shard by path. None may be longer than a chunk.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) struct Agent {
    pub(crate) channel: Channel,
    pub(crate) epoch: u64,
    node: String,
    out: mpsc::Sender<v1::AgentMessage>,
    inbound: mpsc::Receiver<Result<FromCoordinator, Status>>,
    inventory: Arc<Mutex<Option<v1::Inventory>>>,
    /// How long searches take at its node, in microseconds.
    search_us: Arc<AtomicU64>,
    _reader: AbortOnDropHandle<()>,
}

/// A capture that has been delivered but not committed.
pub(crate) struct Delivered {
    pub(crate) header: v1::CommitHeader,
    pub(crate) recipe: Vec<u8>,
    /// Chunks that had to be sent.
    pub(crate) sent: usize,
}

pub(crate) fn hello(node: &str) -> v1::Hello {
    v1::Hello {
        node: node.into(),
        program: Some(v1::ProgramVersion {
            version: env!("CARGO_PKG_VERSION").into(),
        }),
        now_us: SystemClock.now().as_micros(),
        open_commands: vec![],
        cluster: "demo".into(),
    }
}

pub(crate) fn files(items: &[(&str, &[u8])]) -> Files {
    let owned = |(path, content): &(&str, &[u8])| ((*path).to_owned(), content.to_vec());
    items.iter().map(owned).collect()
}

impl Agent {
    pub(crate) async fn join(world: &World, running: &Running, node: &str) -> Self {
        let channel = world.channel(running, node).await;
        Self::with(channel, hello(node)).await.unwrap()
    }

    pub(crate) async fn with(channel: Channel, hello: v1::Hello) -> Result<Self, Status> {
        let node = hello.node.clone();
        let (out, outgoing) = mpsc::channel(16);
        let first = v1::AgentMessage {
            message: Some(Message::Hello(hello)),
        };
        out.send(first).await.unwrap();
        let response = AgentControlClient::new(channel.clone())
            .connect(ReceiverStream::new(outgoing))
            .await?;
        let mut inbound = response.into_inner();
        let welcome = inbound.message().await?.unwrap().message.unwrap();
        let FromCoordinator::Welcome(welcome) = welcome else {
            panic!("no welcome: {welcome:?}");
        };
        let (inventory, search_us) = (Arc::default(), Arc::default());
        let (commands, received) = mpsc::channel(16);
        let told = (Arc::clone(&inventory), Arc::clone(&search_us));
        let reader = read(inbound, commands, out.clone(), told);
        Ok(Self {
            channel,
            epoch: welcome.epoch,
            node,
            out,
            inbound: received,
            inventory,
            search_us,
            _reader: AbortOnDropHandle::new(tokio::spawn(reader)),
        })
    }

    /// Reports these collections, one active shard each.
    pub(crate) async fn report(&self, collections: &[&str]) {
        self.report_as(collections, true).await;
    }

    /// As an agent that replays archived logs, or one of before.
    pub(crate) async fn report_as(&self, collections: &[&str], splices_logs: bool) {
        let inventory = v1::Inventory {
            splices_logs,
            ..inventory(collections.iter().map(|name| info(name, 1)).collect())
        };
        self.tell(inventory).await;
    }

    /// Reports the collection `docs`, and these extras: a name with `!` is required.
    pub(crate) async fn report_extras(&self, extras: &[&str]) {
        let extra = |name: &&str| v1::ExtraInfo {
            name: name.trim_end_matches('!').into(),
            config: name.starts_with("qdrant"),
            required: name.ends_with('!'),
        };
        let inventory = v1::Inventory {
            captures_extras: true,
            extras: extras.iter().map(extra).collect(),
            ..inventory(vec![info("docs", 1)])
        };
        self.tell(inventory).await;
    }

    /// As an agent that sends archived operations to running collections, too.
    pub(crate) async fn report_requests(&self, collections: &[&str]) {
        let inventory = v1::Inventory {
            splices_logs: true,
            replays_logs: true,
            ..inventory(collections.iter().map(|name| info(name, 1)).collect())
        };
        self.tell(inventory).await;
    }

    /// Reports one collection with so many shards.
    pub(crate) async fn report_shards(&self, collection: &str, shards: u32) {
        self.tell(inventory(vec![info(collection, shards)])).await;
    }

    /// As an agent of before captures had limits.
    pub(crate) async fn report_unlimited(&self, collections: &[&str]) {
        let inventory = v1::Inventory {
            keeps_limits: false,
            ..inventory(collections.iter().map(|name| info(name, 1)).collect())
        };
        self.tell(inventory).await;
    }

    async fn tell(&self, inventory: v1::Inventory) {
        *self.inventory.lock().unwrap() = Some(inventory.clone());
        let search_us = self.search_us.load(Ordering::Relaxed);
        self.say(heartbeat(Some(inventory), 0, search_us)).await;
    }

    /// Reports these collections, and how long searches take, from now on.
    pub(crate) async fn report_searches(&self, collections: &[&str], micros: u64) {
        self.search_us.store(micros, Ordering::Relaxed);
        self.report(collections).await;
    }

    /// Reports as a peer of a cluster of three; each collection has one shard, with Active replicas on these peers.
    pub(crate) async fn report_peer(&self, peer: u64, collections: &[(&str, &[u64])]) {
        self.say(self.peer_heartbeat(peer, collections)).await;
    }

    /// Reports that, and that Qdrant has not answered its agent for so many milliseconds.
    pub(crate) async fn report_silent(&self, peer: u64, collections: &[(&str, &[u64])], ms: u64) {
        let Message::Heartbeat(beat) = self.peer_heartbeat(peer, collections) else {
            return;
        };
        let qdrant_silent_ms = ms;
        self.say(Message::Heartbeat(v1::Heartbeat {
            qdrant_silent_ms,
            ..beat
        }))
        .await;
    }

    fn peer_heartbeat(&self, peer: u64, collections: &[(&str, &[u64])]) -> Message {
        let info = |(name, holders): &(&str, &[u64])| {
            let here = holders.contains(&peer);
            let others = holders.iter().filter(|holder| **holder != peer);
            v1::CollectionInfo {
                name: (*name).into(),
                status: "green".into(),
                shard_count: 1,
                local_shards: here
                    .then(|| v1::ShardInfo {
                        state: "Active".into(),
                        ..Default::default()
                    })
                    .into_iter()
                    .collect(),
                remote_shards: others
                    .map(|holder| v1::RemoteShard {
                        shard_id: 0,
                        peer_id: *holder,
                        state: "Active".into(),
                    })
                    .collect(),
                ..Default::default()
            }
        };
        let peers = 1..=3;
        let inventory = v1::Inventory {
            qdrant_version: "1.18.3".into(),
            restores_parts: true,
            keeps_limits: true,
            captures_extras: true,
            peer_id: peer,
            peers: 3,
            cluster_peers: peers
                .map(|peer_id| v1::Peer {
                    peer_id,
                    uri: String::new(),
                })
                .collect(),
            collections: collections.iter().map(info).collect(),
            ..Default::default()
        };
        *self.inventory.lock().unwrap() = Some(inventory.clone());
        heartbeat(Some(inventory), 0, 0)
    }

    /// The order to capture, if one has come already.
    pub(crate) fn has_command(&mut self) -> bool {
        !self.inbound.is_empty()
    }

    pub(crate) async fn say(&self, message: Message) {
        let message = v1::AgentMessage {
            message: Some(message),
        };
        self.out.send(message).await.unwrap();
    }

    pub(crate) async fn answer(&self, command: &v1::Command, outcome: Outcome) {
        self.say(Message::Result(v1::CommandResult {
            command_id: command.command_id.clone(),
            outcome: Some(outcome),
        }))
        .await;
    }

    pub(crate) async fn command(&mut self) -> v1::Command {
        match self.next().await.unwrap() {
            FromCoordinator::Command(command) => command,
            other @ (FromCoordinator::Welcome(_) | FromCoordinator::Observe(_)) => {
                panic!("no command: {other:?}")
            }
        }
    }

    /// The next message that is no request to look: those are answered at once.
    pub(crate) async fn next(&mut self) -> Result<FromCoordinator, Status> {
        let next = self.inbound.recv().await;
        next.unwrap_or_else(|| Err(Status::unavailable("closed")))
    }

    pub(crate) fn ingest(&self) -> IngestClient<Channel> {
        IngestClient::new(self.channel.clone())
    }

    pub(crate) fn restores(&self) -> RestoreClient<Channel> {
        RestoreClient::new(self.channel.clone())
    }

    pub(crate) async fn open(&self, id: &str) -> Result<v1::OpenSessionResponse, Status> {
        let request = v1::OpenSessionRequest {
            command_id: id.into(),
            epoch: self.epoch,
        };
        Ok(self.ingest().open_session(request).await?.into_inner())
    }

    /// Delivers the files of the shard that the command asks for, without committing.
    pub(crate) async fn deliver(&self, command: &v1::Command, files: &Files) -> Delivered {
        let Some(v1::command::Command::CaptureShard(task)) = &command.command else {
            panic!("no capture: {command:?}");
        };
        let (session_id, recipe, sent) = self.send(&command.command_id, files).await;
        let header = v1::CommitHeader {
            session_id,
            shard_json: serde_json::to_string(&shard_entry(&self.node, task.shard_id)).unwrap(),
            recipe_hash: Bytes::copy_from_slice(&ShardRecipe::hash(&recipe)),
            collection_json: collection_json(&task.collection),
            extra_json: String::new(),
        };
        Delivered {
            header,
            recipe,
            sent,
        }
    }

    /// Delivers the files of an extra, without committing.
    pub(crate) async fn deliver_extra(&self, command: &v1::Command, files: &Files) -> Delivered {
        let (session_id, recipe, sent) = self.send(&command.command_id, files).await;
        let extra = CapturedExtra {
            captured_at: SystemClock.now(),
            recipe: vec![],
            recipe_len: 0,
            recipe_hash: String::new(),
            files: 99,
            bytes: 99,
            warnings: vec!["a socket was left out".into()],
        };
        let header = v1::CommitHeader {
            session_id,
            recipe_hash: Bytes::copy_from_slice(&ShardRecipe::hash(&recipe)),
            extra_json: serde_json::to_string(&extra).unwrap(),
            ..Default::default()
        };
        Delivered {
            header,
            recipe,
            sent,
        }
    }

    /// Does what an extra's command asks for.
    pub(crate) async fn capture_extra(&self, command: &v1::Command, files: &Files) {
        let delivered = self.deliver_extra(command, files).await;
        self.commit(delivered).await.unwrap();
        self.answer(command, Outcome::Extra(v1::ExtraDone::default()))
            .await;
    }

    /// Sends what is missing. Returns the session, the encoded recipe, and the number of chunks sent.
    async fn send(&self, command_id: &str, files: &Files) -> (String, Vec<u8>, usize) {
        let session = self.open(command_id).await.unwrap();
        let key = ChunkKey::from_slice(&session.chunk_id_key).unwrap();
        let ids: Vec<u8> = files
            .values()
            .flat_map(|content| *key.id(content).as_bytes())
            .collect();
        let asked = v1::HaveChunksRequest {
            session_id: session.session_id.clone(),
            chunk_ids: ids.into(),
        };
        let have = self.ingest().have_chunks(asked).await.unwrap().into_inner();
        let missing = files.values().zip(have.have.iter());
        let mut chunks: Vec<v1::PutChunk> = missing
            .filter(|(_, have)| **have == 0)
            .map(|(content, _)| put_chunk(&key, content))
            .collect();
        let sent = chunks.len();
        if let Some(first) = chunks.first_mut() {
            first.session_id.clone_from(&session.session_id);
            let acks = self.ingest().put_chunks(tokio_stream::iter(chunks)).await;
            assert_eq!(
                acknowledged(acks.unwrap().into_inner()).await.unwrap(),
                sent as u64
            );
        }
        let recipe = recipe(&key, files).encode().unwrap();
        (session.session_id, recipe, sent)
    }

    pub(crate) async fn commit(&self, delivered: Delivered) -> Result<u64, Status> {
        use v1::commit_part::Part;
        let parts = [
            Part::Header(delivered.header),
            Part::Recipe(delivered.recipe.into()),
        ];
        let parts = parts.map(|part| v1::CommitPart { part: Some(part) });
        let committed = self
            .ingest()
            .commit_capture(tokio_stream::iter(parts))
            .await?;
        Ok(committed.into_inner().stored_bytes)
    }

    /// Does what a capture command asks for. Returns the number of chunks sent.
    pub(crate) async fn capture(&self, command: &v1::Command, files: &Files) -> usize {
        self.capture_held_up(command, files, 0).await
    }

    /// The same, held up for so many milliseconds.
    pub(crate) async fn capture_held_up(
        &self,
        command: &v1::Command,
        files: &Files,
        held_up_ms: u64,
    ) -> usize {
        let delivered = self.deliver(command, files).await;
        let sent = delivered.sent;
        self.commit(delivered).await.unwrap();
        let done = v1::CaptureDone {
            held_up_ms,
            ..Default::default()
        };
        self.answer(command, Outcome::Capture(done)).await;
        sent
    }

    /// Fetches what a restore command is made of.
    pub(crate) async fn fetch(&self, command: &v1::Command) -> Result<Files, Status> {
        let request = v1::FetchRecipeRequest {
            command_id: command.command_id.clone(),
            epoch: self.epoch,
            shard_id: 0,
        };
        let mut pieces = self.restores().fetch_recipe(request).await?.into_inner();
        let first = pieces.message().await?.unwrap();
        let key = ChunkKey::from_slice(&first.chunk_id_key).unwrap();
        let mut encoded = first.recipe.to_vec();
        while let Some(piece) = pieces.message().await? {
            encoded.extend_from_slice(&piece.recipe);
        }
        let recipe = ShardRecipe::decode(&encoded).unwrap();
        let ids: Vec<u8> = recipe.chunks().flat_map(|(id, _)| *id.as_bytes()).collect();
        let request = v1::FetchChunksRequest {
            command_id: command.command_id.clone(),
            chunk_ids: ids.into(),
        };
        let chunks = self
            .restores()
            .fetch_chunks(tokio_stream::iter([request]))
            .await?;
        let mut chunks = chunks.into_inner();
        let mut files = Files::new();
        let mut decoder = Decoder::new();
        for file in &recipe.files {
            let mut content = Vec::new();
            for _ in &file.extents {
                let chunk = chunks.message().await?.unwrap();
                let codec = chunk.codec.try_into().unwrap();
                let plain = decoder.decode(codec, &chunk.data, chunk.plain_len as usize);
                let plain = plain.unwrap();
                assert_eq!(key.id(plain).as_bytes()[..], chunk.chunk_id[..]);
                content.extend_from_slice(plain);
            }
            files.insert(file.path.clone(), content);
        }
        assert!(chunks.message().await?.is_none());
        Ok(files)
    }
}

/// Answers requests to look with what was reported last, and hands everything else on.
async fn read(
    mut inbound: Streaming<v1::CoordinatorMessage>,
    commands: mpsc::Sender<Result<FromCoordinator, Status>>,
    out: mpsc::Sender<v1::AgentMessage>,
    (inventory, search_us): (Arc<Mutex<Option<v1::Inventory>>>, Arc<AtomicU64>),
) {
    loop {
        let next = match inbound.message().await {
            Ok(Some(message)) => Ok(message.message.unwrap()),
            Ok(None) => return,
            Err(status) => Err(status),
        };
        if let Ok(FromCoordinator::Observe(observe)) = &next {
            let inventory = inventory.lock().unwrap().clone();
            let search_us = search_us.load(Ordering::Relaxed);
            let message = Some(heartbeat(inventory, observe.request, search_us));
            if out.send(v1::AgentMessage { message }).await.is_err() {
                return;
            }
            continue;
        }
        let last = next.is_err();
        if commands.send(next).await.is_err() || last {
            return;
        }
    }
}

fn inventory(collections: Vec<v1::CollectionInfo>) -> v1::Inventory {
    v1::Inventory {
        qdrant_version: "1.18.3".into(),
        keeps_limits: true,
        collections,
        ..Default::default()
    }
}

fn info(collection: &str, shards: u32) -> v1::CollectionInfo {
    let shard = |shard_id| v1::ShardInfo {
        shard_id,
        state: "Active".into(),
        points_approx: 3,
        ..Default::default()
    };
    v1::CollectionInfo {
        name: collection.into(),
        status: "green".into(),
        info_json: "{}".into(),
        shard_count: shards,
        local_shards: (0..shards).map(shard).collect(),
        ..Default::default()
    }
}

fn heartbeat(inventory: Option<v1::Inventory>, answers: u64, search_us: u64) -> Message {
    Message::Heartbeat(v1::Heartbeat {
        now_us: SystemClock.now().as_micros(),
        inventory,
        answers,
        search_us,
        ..Default::default()
    })
}

/// Reads acknowledgements to the end; the number of acknowledged chunks.
pub(crate) async fn acknowledged(mut acks: Streaming<v1::PutAck>) -> Result<u64, Status> {
    let mut chunks = 0;
    while let Some(ack) = acks.message().await? {
        assert!(ack.chunks > chunks, "acknowledgements only grow");
        chunks = ack.chunks;
    }
    Ok(chunks)
}

pub(crate) fn put_chunk(key: &ChunkKey, content: &[u8]) -> v1::PutChunk {
    let mut encoder = Encoder::new();
    let (codec, data) = encoder.encode(content);
    v1::PutChunk {
        session_id: String::new(),
        chunk_id: Bytes::copy_from_slice(key.id(content).as_bytes()),
        codec: codec.number().into(),
        plain_len: u32::try_from(content.len()).unwrap(),
        data: Bytes::copy_from_slice(data),
    }
}

fn recipe(key: &ChunkKey, files: &Files) -> ShardRecipe {
    let file = |(path, content): (&String, &Vec<u8>)| FileRecipe {
        path: path.clone(),
        size: content.len() as u64,
        class: FileClass::General,
        extents: vec![Extent::Chunk {
            id: key.id(content),
            len: u32::try_from(content.len()).unwrap(),
        }],
    };
    ShardRecipe::new(files.iter().map(file).collect())
}

fn shard_entry(node: &str, shard: u32) -> ShardEntry {
    ShardEntry {
        shard_id: holdfast_types::ShardId(shard),
        node: node.parse().unwrap(),
        server_version: "1.18.3".parse().unwrap(),
        method: "stream".into(),
        reasons: Vec::new(),
        captured_at: SystemClock.now(),
        next_operation: Some(7),
        wal: None,
        clocks: None,
        replica_state: None,
        replicas: Vec::new(),
        recipe: vec![],
        recipe_len: 0,
        recipe_hash: String::new(),
        files: 0,
        logical_bytes: 0,
    }
}

fn collection_json(name: &str) -> String {
    let entry = CollectionEntry {
        name: name.parse().unwrap(),
        info: serde_json::json!({"payload_schema": {"year": {"data_type": "integer"}}}),
        aliases: vec![format!("{name}-live").parse().unwrap()],
        cluster: None,
        shard_count: 1,
        uuid: None,
        shard_keys: Vec::new(),
        points: Some(3),
        shards: vec![],
    };
    serde_json::to_string(&entry).unwrap()
}
