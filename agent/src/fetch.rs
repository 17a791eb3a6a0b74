//! Recipes and chunks from the coordinator, in bounded amounts.

use crate::failure::{Failed, chain};
use crate::job::Halt;
use crate::link::Link;
use crate::order::CommandId;
use crate::replay::{Layout, LogOrder};
use crate::window::PutWindow;
use bytes::{BufMut as _, Bytes, BytesMut};
use holdfast_archive::{ChunkKey, ShardEntry, ShardRecipe, StoredRecipe};
use holdfast_proto::limits::{MAX_MESSAGE_BYTES, MAX_RECIPE_BYTES};
use holdfast_proto::v1;
use holdfast_proto::v1::restore_client::RestoreClient;
use holdfast_service::failure::Code;
use holdfast_types::{ChunkId, HASH_LEN, ShardId};
use holdfast_wal::splice::SpliceFile;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Plain bytes of chunks that are asked for and have not come.
const AHEAD_BYTES: u64 = 12 << 20;
/// Ids in one request, and plain bytes that they stand for, at most.
const REQUEST_IDS: usize = 512;
const REQUEST_BYTES: u64 = 2 << 20;

fn client(link: &Link) -> RestoreClient<Channel> {
    RestoreClient::new(link.channel.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Fetches the recipe of one shard and checks it against the manifest.
///
/// # Errors
/// A recipe that is not the manifest's; what the coordinator refuses.
pub async fn recipe(
    link: &Link,
    command: &CommandId,
    shard: &ShardEntry,
) -> Result<(ShardRecipe, ChunkKey), Halt> {
    let owner = format!("shard {}", shard.shard_id);
    stored_recipe(link, command, shard.shard_id, &owner, shard.stored_recipe()).await
}

/// Fetches a recipe and checks it against the manifest: that of a shard, or the only one that the command may read.
/// `owner` is what it is of, in words.
///
/// # Errors
/// As [`recipe`].
pub async fn stored_recipe(
    link: &Link,
    command: &CommandId,
    shard: ShardId,
    owner: &str,
    stored: StoredRecipe<'_>,
) -> Result<(ShardRecipe, ChunkKey), Halt> {
    let damaged = |what: &str| {
        Halt::Failed(Failed::new(
            Code::RepositoryDamaged,
            format!("the recipe of {owner} {what}"),
        ))
    };
    // What was captured is never longer, so this is a damaged manifest or one of a later release.
    let len = usize::try_from(stored.len).unwrap_or(usize::MAX);
    if len > MAX_RECIPE_BYTES {
        return Err(damaged("is longer than this release allows"));
    }
    let mut pieces = client(link)
        .fetch_recipe(v1::FetchRecipeRequest {
            command_id: command.to_string(),
            epoch: link.epoch.0,
            shard_id: shard.0,
        })
        .await?
        .into_inner();
    let mut key = None;
    let mut encoded = Vec::with_capacity(len);
    while let Some(piece) = pieces.message().await? {
        if key.is_none() {
            key = Some(piece.chunk_id_key);
        }
        if encoded.len() + piece.recipe.len() > len {
            return Err(damaged("is longer than the manifest says"));
        }
        encoded.extend_from_slice(&piece.recipe);
    }
    if Some(ShardRecipe::hash(&encoded)) != stored.digest() {
        return Err(damaged("is not the one that the manifest names"));
    }
    let recipe = ShardRecipe::decode(&encoded).map_err(|error| damaged(&chain(&error)))?;
    let key = key
        .and_then(|key| ChunkKey::from_slice(&key))
        .ok_or_else(|| damaged("came without the key of chunk ids"))?;
    Ok((recipe, key))
}

/// Fetches the chunks in order and hands them on as they came; verifying them is up to the receiver.
///
/// # Errors
/// What the coordinator refuses; [`Halt::Stopped`] if the receiver has gone.
pub async fn chunks(
    link: &Link,
    command: &CommandId,
    wanted: Vec<(ChunkId, u32)>,
    out: mpsc::Sender<v1::FetchedChunk>,
) -> Result<(), Halt> {
    let requests = requests(&wanted);
    drop(wanted);
    if requests.is_empty() {
        return Ok(());
    }
    let window = &PutWindow::new(AHEAD_BYTES);
    let (asking_tx, asking_rx) = mpsc::channel(1);
    let asking = async {
        let mut command_id = command.to_string();
        for request in &requests {
            window.reserve(request.bytes).await;
            let message = v1::FetchChunksRequest {
                command_id: std::mem::take(&mut command_id),
                chunk_ids: request.ids.clone(),
            };
            if asking_tx.send(message).await.is_err() {
                break;
            }
        }
        drop(asking_tx);
        Ok::<_, Halt>(())
    };
    let receiving = async {
        let mut answers = client(link)
            .fetch_chunks(ReceiverStream::new(asking_rx))
            .await?
            .into_inner();
        let (mut done, mut bytes) = (0, 0);
        for request in &requests {
            for _ in 0..request.ids.len() / HASH_LEN {
                let chunk = answers.message().await?.ok_or_else(|| {
                    tonic::Status::unavailable("the stream of chunks ended early")
                })?;
                out.send(chunk).await.map_err(|_| Halt::Stopped)?;
            }
            done += 1;
            bytes += request.bytes;
            window
                .acknowledge(done, bytes)
                .map_err(|error| Failed::from_error(Code::Internal, &error))?;
        }
        Ok::<_, Halt>(())
    };
    tokio::try_join!(asking, receiving).map(drop)
}

/// How the files of an ordered log are laid out, from the lengths of its entries. The coordinator reads and proves all of them
/// for this.
///
/// # Errors
/// What the coordinator refuses; another number of entries than was ordered.
pub async fn log_layout(
    link: &Link,
    command: &CommandId,
    log: LogOrder,
) -> Result<Vec<SpliceFile>, Halt> {
    let mut pieces = fetch_log(link, command, log, true).await?;
    let mut layout = Layout::new(log);
    while let Some(piece) = pieces.message().await? {
        layout.push(&piece)?;
    }
    Ok(layout.finish()?)
}

/// Fetches the entries of an ordered log, once `begun` says that they are wanted, and hands them on as they came; verifying them is up
/// to the receiver.
///
/// # Errors
/// What the coordinator refuses; [`Halt::Stopped`] if the receiver has gone.
pub async fn log_entries(
    link: &Link,
    command: &CommandId,
    log: LogOrder,
    begun: oneshot::Receiver<()>,
    out: mpsc::Sender<v1::LogPiece>,
) -> Result<(), Halt> {
    begun.await.map_err(|_| Halt::Stopped)?;
    let mut pieces = fetch_log(link, command, log, false).await?;
    while let Some(piece) = pieces.message().await? {
        out.send(piece).await.map_err(|_| Halt::Stopped)?;
    }
    Ok(())
}

async fn fetch_log(
    link: &Link,
    command: &CommandId,
    log: LogOrder,
    lengths_only: bool,
) -> Result<tonic::Streaming<v1::LogPiece>, Halt> {
    let request = v1::FetchLogRequest {
        command_id: command.to_string(),
        epoch: link.epoch.0,
        shard_id: log.shard.0,
        lengths_only,
        from: Some(log.from),
        until: Some(log.until),
    };
    Ok(client(link).fetch_log(request).await?.into_inner())
}

struct Asked {
    ids: Bytes,
    bytes: u64,
}

fn requests(wanted: &[(ChunkId, u32)]) -> Vec<Asked> {
    let mut requests = Vec::new();
    let (mut ids, mut bytes) = (BytesMut::new(), 0);
    for (id, len) in wanted {
        let full = ids.len() / HASH_LEN >= REQUEST_IDS || bytes + u64::from(*len) > REQUEST_BYTES;
        if full && !ids.is_empty() {
            requests.push(Asked {
                ids: ids.split().freeze(),
                bytes: std::mem::take(&mut bytes),
            });
        }
        ids.put_slice(id.as_bytes());
        bytes += u64::from(*len);
    }
    if !ids.is_empty() {
        requests.push(Asked {
            ids: ids.freeze(),
            bytes,
        });
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::{REQUEST_BYTES, REQUEST_IDS, requests};
    use holdfast_types::{ChunkId, HASH_LEN};

    #[test]
    fn requests_keep_order_and_limits() {
        let wanted: Vec<(ChunkId, u32)> = (0..2000_u32)
            .map(|i| {
                let id = ChunkId::from_bytes([i.to_le_bytes()[0]; 32]);
                (id, if i % 3 == 0 { 1 << 20 } else { 70 })
            })
            .collect();
        let made = requests(&wanted);
        let ids: Vec<u8> = made.iter().flat_map(|r| r.ids.to_vec()).collect();
        let want: Vec<u8> = wanted.iter().flat_map(|(id, _)| *id.as_bytes()).collect();
        assert_eq!(ids, want);
        assert!(made.iter().all(|r| r.bytes <= REQUEST_BYTES));
        assert!(made.iter().all(|r| r.ids.len() <= REQUEST_IDS * HASH_LEN));
        let small = vec![(ChunkId::from_bytes([1; 32]), 1); 1025];
        assert_eq!(requests(&small).len(), 3);
        assert!(requests(&[]).is_empty());
    }
}
