//! The delivery session of one capture at the coordinator.

use crate::failure::Failed;
use crate::job::Halt;
use crate::link::Link;
use crate::order::CommandId;
use bytes::Bytes;
use futures::stream;
use holdfast_archive::{CapturedExtra, ChunkKey, CollectionEntry, ShardEntry};
use holdfast_proto::limits::{MAX_MESSAGE_BYTES, PUT_WINDOW_BYTES, UNARY_DEADLINE};
use holdfast_proto::v1;
use holdfast_proto::v1::commit_part::Part;
use holdfast_proto::v1::ingest_client::IngestClient;
use holdfast_service::failure::Code;
use std::time::Duration;
use tonic::Request;
use tonic::transport::Channel;

/// Bytes of recipe in one message.
const RECIPE_PIECE: usize = 1 << 20;
/// The coordinator makes everything durable before it answers a commit.
const COMMIT_DEADLINE: Duration = Duration::from_secs(600);

/// An open session.
#[derive(Clone, Debug)]
pub struct IngestSession {
    client: IngestClient<Channel>,
    id: String,
    key: ChunkKey,
    window_bytes: u64,
    max_have_ids: usize,
}

impl IngestSession {
    /// Opens it.
    ///
    /// # Errors
    /// If the command is not open for this caller.
    pub async fn open(link: &Link, command: &CommandId) -> Result<Self, Halt> {
        let mut client = IngestClient::new(link.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let opened = client
            .open_session(timed(
                v1::OpenSessionRequest {
                    command_id: command.to_string(),
                    epoch: link.epoch.0,
                },
                UNARY_DEADLINE,
            ))
            .await?
            .into_inner();
        let key = ChunkKey::from_slice(&opened.chunk_id_key)
            .ok_or_else(|| broken_rule("the chunk id key has not 32 bytes"))?;
        Ok(Self {
            client,
            id: opened.session_id,
            key,
            // A window of the coordinator's choice must not cost more memory than this agent allows.
            window_bytes: opened.window_bytes.clamp(1, PUT_WINDOW_BYTES),
            max_have_ids: usize::try_from(opened.max_have_ids).unwrap_or(1).max(1),
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn key(&self) -> &ChunkKey {
        &self.key
    }

    pub(super) fn window_bytes(&self) -> u64 {
        self.window_bytes
    }

    pub(super) fn client(&self) -> IngestClient<Channel> {
        self.client.clone()
    }

    /// One byte for each of `count` ids: 1 = the repository has it.
    pub(super) async fn have(&self, ids: Bytes, count: usize) -> Result<Vec<u8>, Halt> {
        let mut have = Vec::with_capacity(count);
        let step = self.max_have_ids * holdfast_types::HASH_LEN;
        for from in (0..ids.len()).step_by(step) {
            let request = v1::HaveChunksRequest {
                session_id: self.id.clone(),
                chunk_ids: ids.slice(from..ids.len().min(from + step)),
            };
            let answer = self
                .client()
                .have_chunks(timed(request, UNARY_DEADLINE))
                .await?;
            have.extend_from_slice(&answer.into_inner().have);
        }
        if have.len() == count {
            Ok(have)
        } else {
            Err(broken_rule(
                "have-chunks answered for another number of ids",
            ))
        }
    }

    /// Sends the recipe and commits.
    pub(super) async fn commit(
        &self,
        shard: &ShardEntry,
        collection: &CollectionEntry,
        recipe: Vec<u8>,
        recipe_hash: [u8; 32],
    ) -> Result<(), Halt> {
        let header = v1::CommitHeader {
            session_id: self.id.clone(),
            shard_json: json(shard)?,
            recipe_hash: Bytes::copy_from_slice(&recipe_hash),
            collection_json: json(collection)?,
            extra_json: String::new(),
        };
        self.send_commit(header, recipe).await
    }

    /// Sends the recipe of an extra and commits.
    pub(super) async fn commit_extra(
        &self,
        extra: &CapturedExtra,
        recipe: Vec<u8>,
        recipe_hash: [u8; 32],
    ) -> Result<(), Halt> {
        let header = v1::CommitHeader {
            session_id: self.id.clone(),
            recipe_hash: Bytes::copy_from_slice(&recipe_hash),
            extra_json: json(extra)?,
            ..v1::CommitHeader::default()
        };
        self.send_commit(header, recipe).await
    }

    async fn send_commit(&self, header: v1::CommitHeader, recipe: Vec<u8>) -> Result<(), Halt> {
        let recipe = Bytes::from(recipe);
        let pieces = (0..recipe.len())
            .step_by(RECIPE_PIECE)
            .map(move |from| recipe.slice(from..recipe.len().min(from + RECIPE_PIECE)))
            .map(Part::Recipe);
        let parts = std::iter::once(Part::Header(header))
            .chain(pieces)
            .map(|part| v1::CommitPart { part: Some(part) });
        self.client()
            .commit_capture(timed(stream::iter(parts), COMMIT_DEADLINE))
            .await?;
        Ok(())
    }
}

fn timed<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

fn json(value: &impl serde::Serialize) -> Result<String, Halt> {
    serde_json::to_string(value)
        .map_err(|error| Halt::Failed(Failed::from_error(Code::Internal, &error)))
}

fn broken_rule(text: &str) -> Halt {
    Halt::Failed(Failed::new(
        Code::Internal,
        format!("the coordinator broke the protocol: {text}"),
    ))
}
