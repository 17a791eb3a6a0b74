//! The stages behind the reader: which chunks are missing, encoding them, sending them.

use super::reader::{Batch, PlainChunk};
use super::session::IngestSession;
use crate::failure::Failed;
use crate::job::Halt;
use crate::pace::Pace;
use crate::progress::Meter;
use crate::window::PutWindow;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use holdfast_archive::{Codec, Encoder};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{ChunkId, HASH_LEN};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Have-checks in flight at once: hides a round trip behind the reading of two more batches.
const CHECKS_IN_FLIGHT: usize = 3;
/// Messages between the window and the connection.
const OUTGOING: usize = 8;
/// Plain bytes that are handed to an encoder at once, if they are there: a chunk at a time would cost a wake-up each.
const PIECE_BYTES: usize = 512 << 10;

/// An encoded chunk, still with its share of memory.
#[derive(Debug)]
pub(super) struct EncodedChunk {
    id: ChunkId,
    codec: Codec,
    plain_len: u32,
    data: Bytes,
    share: OwnedSemaphorePermit,
}

/// Asks for each batch what the repository lacks and hands that on.
pub(super) async fn check(
    session: &IngestSession,
    batches: mpsc::Receiver<Batch>,
    missing: mpsc::Sender<Vec<PlainChunk>>,
) -> Result<(), Halt> {
    let mut checked = ReceiverStream::new(batches)
        .map(|batch| lacking(session, batch))
        .buffered(CHECKS_IN_FLIGHT);
    while let Some(chunks) = checked.try_next().await? {
        for piece in pieces(chunks) {
            missing.send(piece).await.map_err(|_| Halt::Stopped)?;
        }
    }
    Ok(())
}

/// The chunks in order, as many together as a piece may have, and one at least.
fn pieces(chunks: Batch) -> Vec<Vec<PlainChunk>> {
    let (mut pieces, mut open): (Vec<Vec<PlainChunk>>, usize) = (Vec::new(), PIECE_BYTES);
    for chunk in chunks {
        open += chunk.plain.len();
        match pieces.last_mut() {
            Some(piece) if open <= PIECE_BYTES => piece.push(chunk),
            Some(_) | None => {
                open = chunk.plain.len();
                pieces.push(vec![chunk]);
            }
        }
    }
    pieces
}

async fn lacking(session: &IngestSession, batch: Batch) -> Result<Batch, Halt> {
    let mut ids = BytesMut::with_capacity(batch.len() * HASH_LEN);
    for chunk in &batch {
        ids.put_slice(chunk.id.as_bytes());
    }
    let have = session.have(ids.freeze(), batch.len()).await?;
    Ok(batch
        .into_iter()
        .zip(have)
        .filter(|(_, have)| *have == 0)
        .map(|(chunk, _)| chunk)
        .collect())
}

/// Encodes chunks until there are no more; blocking, several of them share `missing`.
pub(super) fn encode(
    missing: &Mutex<mpsc::Receiver<Vec<PlainChunk>>>,
    encoded: &mpsc::Sender<Vec<EncodedChunk>>,
) -> Result<(), Halt> {
    let mut encoder = Encoder::new();
    loop {
        let next = missing.blocking_lock().blocking_recv();
        let Some(piece) = next else {
            return Ok(());
        };
        let piece = piece
            .into_iter()
            .map(|chunk| encode_one(&mut encoder, chunk));
        if encoded.blocking_send(piece.collect()).is_err() {
            return Err(Halt::Stopped);
        }
    }
}

fn encode_one(encoder: &mut Encoder, chunk: PlainChunk) -> EncodedChunk {
    let PlainChunk { id, plain, share } = chunk;
    let plain_len = u32::try_from(plain.len()).expect("the chunker cuts at 1 MiB");
    let (codec, data) = match encoder.encode(&plain) {
        (Codec::Stored, _) => (Codec::Stored, plain),
        (codec, data) => (codec, Bytes::copy_from_slice(data)),
    };
    EncodedChunk {
        id,
        codec,
        plain_len,
        data,
        share,
    }
}

/// Sends chunks within the window and waits until all are acknowledged.
pub(super) async fn put(
    session: &IngestSession,
    mut encoded: mpsc::Receiver<Vec<EncodedChunk>>,
    (meter, pace): (Arc<Meter>, Arc<Pace>),
) -> Result<(), Halt> {
    let Some(first) = encoded.recv().await else {
        return Ok(());
    };
    let window = PutWindow::new(session.window_bytes());
    let (outgoing, stream) = mpsc::channel(OUTGOING);
    let window = &window;
    // It borrows `encoded`, so that the encoders find it open until the error that ended the stream is
    // returned from here: their own would only say that it has gone.
    let sending = async {
        let outgoing = outgoing;
        let mut next = Some(first);
        let mut session_id = session.id().to_owned();
        while let Some(piece) = next {
            for chunk in piece {
                window.reserve(chunk.data.len() as u64).await;
                pace.send(chunk.data.len() as u64).await;
                meter.add_sent(chunk.data.len() as u64);
                let message = v1::PutChunk {
                    session_id: std::mem::take(&mut session_id),
                    chunk_id: Bytes::copy_from_slice(chunk.id.as_bytes()),
                    codec: chunk.codec as u32,
                    plain_len: chunk.plain_len,
                    data: chunk.data,
                };
                if outgoing.send(message).await.is_err() {
                    // The other half returns why.
                    return;
                }
                drop(chunk.share);
            }
            next = encoded.recv().await;
        }
    };
    let receiving = async {
        let mut acks = session
            .client()
            .put_chunks(ReceiverStream::new(stream))
            .await?
            .into_inner();
        let mut arrived = 0;
        while let Some(ack) = acks.message().await? {
            window
                .acknowledge(ack.chunks, ack.bytes)
                .map_err(|error| Failed::from_error(Code::Internal, &error))?;
            // Acknowledgements are cumulative.
            meter.add_arrived(ack.bytes.saturating_sub(arrived));
            arrived = ack.bytes;
        }
        Ok::<_, Halt>(())
    };
    let mut receiving = pin!(receiving);
    tokio::select! {
        biased;
        () = sending => receiving.await?,
        received = &mut receiving => {
            received?;
            return Err(ended_early());
        }
    }
    if window.is_settled() {
        Ok(())
    } else {
        Err(ended_early())
    }
}

fn ended_early() -> Halt {
    Status::unavailable("the put stream ended before every chunk was acknowledged").into()
}

#[cfg(test)]
mod tests {
    use super::{PIECE_BYTES, pieces};
    use crate::capture::reader::PlainChunk;
    use bytes::Bytes;
    use holdfast_types::ChunkId;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    #[test]
    fn pieces_keep_the_order_and_their_size() {
        let gate = Arc::new(Semaphore::new(16));
        let chunk = |len: usize| PlainChunk {
            id: ChunkId::from_bytes([0; 32]),
            plain: Bytes::from(vec![0; len]),
            share: Arc::clone(&gate).try_acquire_owned().unwrap(),
        };
        let lens = |of: &[usize]| -> Vec<Vec<usize>> {
            let all = pieces(of.iter().map(|len| chunk(*len)).collect());
            let each = all
                .iter()
                .map(|piece| piece.iter().map(|one| one.plain.len()));
            each.map(Iterator::collect).collect()
        };
        assert_eq!(lens(&[]), Vec::<Vec<usize>>::new());
        let half = PIECE_BYTES / 2;
        assert_eq!(lens(&[half, half, 1]), [vec![half, half], vec![1]]);
        let large = PIECE_BYTES + 1;
        assert_eq!(lens(&[1, large, 2, 3]), [vec![1], vec![large], vec![2, 3]]);
        assert_eq!(lens(&[half, half + 1]), [[half], [half + 1]]);
    }
}
