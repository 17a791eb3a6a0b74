//! One put stream: verify ahead, store in order, acknowledge in order.

use super::session::IngestSlot;
use super::verify::{AHEAD, BATCH, Batch, verify};
use crate::core::Core;
use futures::{FutureExt as _, Stream, StreamExt as _};
use holdfast_proto::v1;
use holdfast_repository::WriteSession;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tonic::Status;

/// Bytes after which an acknowledgement is sent even while more chunks are ready: an eighth of the
/// window, so that a sender never waits for one that could have been on its way.
const ACK_EVERY: u64 = holdfast_proto::limits::PUT_WINDOW_BYTES / 8;

/// A sender that takes no acknowledgement for this long is given up: it comes back with a new stream.
pub const ACK_WITHIN: Duration = Duration::from_secs(60);

/// Where acknowledgements go.
pub type Acks = mpsc::Sender<Result<v1::PutAck, Status>>;

/// Takes chunks over until the stream ends, fails, or a chunk is refused.
///
/// # Errors
/// What ends the stream for the sender.
pub async fn put(
    core: &Core,
    slot: &IngestSlot,
    writer: &WriteSession,
    chunks: impl Stream<Item = Result<v1::PutChunk, Status>> + Send + Unpin,
    acks: &Acks,
) -> Result<(), Status> {
    let mut batches = chunks
        .ready_chunks(BATCH)
        .map(|messages| verify(messages, core.chunk_key.clone(), core.verify_gate.clone()))
        .buffered(AHEAD);
    let mut done = v1::PutAck::default();
    let mut acked = v1::PutAck::default();
    loop {
        // Acknowledge whenever the sender might be waiting for it.
        let next = match batches.next().now_or_never() {
            Some(next) if done.bytes - acked.bytes < ACK_EVERY => next,
            Some(next) => {
                acknowledge(acks, &done, &mut acked).await?;
                next
            }
            None => {
                acknowledge(acks, &done, &mut acked).await?;
                batches.next().await
            }
        };
        let Some(batch) = next else {
            return acknowledge(acks, &done, &mut acked).await;
        };
        store(core, slot, writer, batch, &mut done).await?;
    }
}

async fn store(
    core: &Core,
    slot: &IngestSlot,
    writer: &WriteSession,
    batch: Batch,
    done: &mut v1::PutAck,
) -> Result<(), Status> {
    let Batch { chunks, refused } = batch;
    for chunk in chunks {
        let bytes = chunk.data.len() as u64;
        writer
            .put(chunk.id, chunk.codec, chunk.plain_len, chunk.data)
            .await
            .map_err(|error| core.repository_failed(&error))?;
        slot.add_sent(bytes);
        done.chunks += 1;
        done.bytes += bytes;
    }
    refused.map_or(Ok(()), Err)
}

async fn acknowledge(acks: &Acks, done: &v1::PutAck, acked: &mut v1::PutAck) -> Result<(), Status> {
    if done == acked {
        return Ok(());
    }
    *acked = *done;
    match acks.send_timeout(Ok(*done), ACK_WITHIN).await {
        Ok(()) => Ok(()),
        Err(SendTimeoutError::Closed(_)) => Err(Status::cancelled("the sender went away")),
        Err(SendTimeoutError::Timeout(_)) => Err(Status::deadline_exceeded(
            "the sender takes no acknowledgements",
        )),
    }
}
