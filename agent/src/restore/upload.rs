//! One shard: fetch → rebuild → upload, as one flow.

use crate::attempts::Attempts;
use crate::fetch;
use crate::flow::both;
use crate::job::{Halt, Job};
use crate::link::Link;
use crate::order::RestoreOrder;
use crate::replay::LogSource;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use holdfast_archive::ShardEntry;
use std::io::{self, Write};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

/// Chunks between the connection and the rebuilder.
const CHUNKS: usize = 4;
/// Pieces of a log between the connection and the rebuilder.
const LOG_PIECES: usize = 4;
/// Pieces of the archive between the rebuilder and the upload.
const PIECES: usize = 16;
/// Bytes of the archive handed on at once.
const PIECE: usize = 256 << 10;

/// Uploads one shard. Returns the bytes uploaded.
pub(super) async fn shard(
    job: &Job,
    order: &RestoreOrder,
    shard: &ShardEntry,
    link: &Link,
    attempts: &mut Attempts,
) -> Result<u64, Halt> {
    let (blueprint, key) = super::blueprint(link, job, order, shard).await?;
    attempts.accepted();
    let (wanted, len) = (blueprint.chunks(), blueprint.archive_len());
    let (chunks, chunks_rx) = mpsc::channel(CHUNKS);
    let (body, body_rx) = mpsc::channel::<Bytes>(PIECES);
    let (pieces, pieces_rx) = mpsc::channel(LOG_PIECES);
    let (begin, begun) = oneshot::channel();
    let log = order.log(shard.shard_id);
    let source = log.map(|log| LogSource::new(log, pieces_rx, begin));
    let entries = async {
        match log {
            Some(log) => fetch::log_entries(link, &job.id, log, begun, pieces).await,
            None => Ok(()),
        }
    };
    let meter = Arc::clone(&job.meter);
    let rebuilding = tokio::task::spawn_blocking(move || {
        let body = BodyWriter::new(body);
        let written = blueprint.write_with(&key, chunks_rx, source, body, &meter);
        written.map(drop)
    });
    let rebuilding = async { rebuilding.await.map_err(|error| Halt::crashed(&error))? };
    let fetching = Box::pin(async {
        let chunks = fetch::chunks(link, &job.id, wanted, chunks);
        tokio::try_join!(chunks, entries).map(drop)
    });
    let feeding = both(fetching, rebuilding);
    // The announced length makes Qdrant refuse a body that ends early, whatever the reason.
    let stream = ReceiverStream::new(body_rx).map(Ok::<_, io::Error>);
    let qdrant = job.site.qdrant.clone();
    let (target, shard_id) = (order.target.clone(), shard.shard_id);
    let uploading = async move {
        qdrant
            .upload_shard_snapshot(&target, shard_id, stream, Some(len))
            .await
            .map_err(Halt::from)
    };
    both(feeding, uploading).await?;
    Ok(len)
}

/// Gathers the archive's bytes into pieces for the upload.
struct BodyWriter {
    body: mpsc::Sender<Bytes>,
    buffer: BytesMut,
}

impl BodyWriter {
    fn new(body: mpsc::Sender<Bytes>) -> Self {
        Self {
            body,
            buffer: BytesMut::with_capacity(PIECE),
        }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        self.buffer.reserve(PIECE);
        self.body
            .blocking_send(piece)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE - self.buffer.len();
        let now = bytes.len().min(room);
        self.buffer.put_slice(&bytes[..now]);
        if self.buffer.len() == PIECE {
            self.hand_on()?;
        }
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_on()
    }
}
