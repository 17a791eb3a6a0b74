//! One shard: fetch → rebuild → upload, as one flow.

use super::fetch;
use super::rebuild::Blueprint;
use crate::attempts::Attempts;
use crate::flow::both;
use crate::job::{Halt, Job};
use crate::link::Link;
use crate::order::RestoreOrder;
use bytes::Bytes;
use futures::StreamExt as _;
use holdfast_archive::ShardEntry;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Chunks between the connection and the rebuilder.
const CHUNKS: usize = 4;
/// Pieces of the archive between the rebuilder and the upload.
const PIECES: usize = 16;

/// Uploads one shard. Returns the bytes uploaded.
pub(super) async fn shard(
    job: &Job,
    order: &RestoreOrder,
    shard: &ShardEntry,
    link: &Link,
    attempts: &mut Attempts,
) -> Result<u64, Halt> {
    let (recipe, key) = fetch::recipe(link, &job.id, shard).await?;
    attempts.accepted();
    let blueprint = Blueprint::new(recipe)?;
    let (wanted, len) = (blueprint.chunks(), blueprint.archive_len());
    let (chunks, chunks_rx) = mpsc::channel(CHUNKS);
    let (body, body_rx) = mpsc::channel::<Bytes>(PIECES);
    let meter = Arc::clone(&job.meter);
    let rebuilding =
        tokio::task::spawn_blocking(move || blueprint.write(&key, chunks_rx, body, &meter));
    let rebuilding = async { rebuilding.await.map_err(|error| Halt::crashed(&error))? };
    let feeding = both(fetch::chunks(link, &job.id, wanted, chunks), rebuilding);
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
