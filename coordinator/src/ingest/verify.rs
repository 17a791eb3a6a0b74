//! Decodes chunks and hashes them again, off the async threads.

use bytes::Bytes;
use holdfast_archive::{ChunkKey, Codec, Decoder};
use holdfast_proto::convert::{ConvertError, SentChunk};
use holdfast_proto::v1;
use holdfast_types::ChunkId;
use std::cell::RefCell;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tonic::Status;

/// Chunks verified in one piece of work, if they are there: fewer cost more in hand-overs than they are worth. A sender that keeps to its
/// window has no more than that under way; of one that doesn't, [`AHEAD`] times so many chunks are held, of 1 MiB at most.
pub(super) const BATCH: usize = 16;

/// Batches of one stream in verification at once.
pub(super) const AHEAD: usize = 4;

thread_local! {
    static DECODER: RefCell<Decoder> = RefCell::new(Decoder::new());
}

/// A chunk that decodes to bytes with its hash.
pub(super) struct Verified {
    pub(super) id: ChunkId,
    pub(super) codec: Codec,
    pub(super) plain_len: u32,
    pub(super) data: Bytes,
}

/// Verified chunks in order, up to the first that was refused.
pub(super) struct Batch {
    pub(super) chunks: Vec<Verified>,
    pub(super) refused: Option<Status>,
}

/// Why a chunk is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Form(#[from] ConvertError),
    #[error("chunk {id} can't be decoded")]
    Codec {
        id: ChunkId,
        #[source]
        source: holdfast_archive::CodecError,
    },
    #[error("chunk {id} does not hash to its id")]
    Hash { id: ChunkId },
}

/// Verifies messages of a put stream. The share of `gate` is released as soon as the work is done, whoever
/// waits for what then: one sender that takes no answers must not stop the others.
pub(super) async fn verify(
    messages: Vec<Result<v1::PutChunk, Status>>,
    key: ChunkKey,
    gate: Arc<Semaphore>,
) -> Batch {
    // The gate is never closed; without a share the bound on memory would merely be softer.
    let share = gate.acquire_owned().await.ok();
    let work = move || {
        let _share = share;
        let mut chunks = Vec::with_capacity(messages.len());
        for message in messages {
            let verified = message.and_then(|message| {
                check(message, &key)
                    .map_err(|refused| Status::invalid_argument(crate::fault::chain(&refused)))
            });
            match verified {
                Ok(chunk) => chunks.push(chunk),
                Err(refused) => return (chunks, Some(refused)),
            }
        }
        (chunks, None)
    };
    let (chunks, refused) = match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(join) => (Vec::new(), Some(Status::internal(join.to_string()))),
    };
    Batch { chunks, refused }
}

fn check(message: v1::PutChunk, key: &ChunkKey) -> Result<Verified, Refused> {
    let SentChunk {
        id,
        codec,
        plain_len,
        data,
    } = SentChunk::try_from(message)?;
    let failed = |source| Refused::Codec { id, source };
    let codec = Codec::try_from(codec).map_err(failed)?;
    let hashed = DECODER.with_borrow_mut(|decoder| {
        let plain = decoder.decode(codec, &data, plain_len as usize)?;
        Ok(key.id(plain))
    });
    if hashed.map_err(failed)? != id {
        return Err(Refused::Hash { id });
    }
    Ok(Verified {
        id,
        codec,
        plain_len,
        data,
    })
}

#[cfg(test)]
mod tests {
    use super::verify;
    use bytes::Bytes;
    use holdfast_archive::{ChunkKey, Encoder};
    use holdfast_proto::v1;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    fn message(key: &ChunkKey, plain: &[u8]) -> v1::PutChunk {
        let mut encoder = Encoder::new();
        let (codec, data) = encoder.encode(plain);
        v1::PutChunk {
            session_id: String::new(),
            chunk_id: Bytes::copy_from_slice(key.id(plain).as_bytes()),
            codec: codec.number().into(),
            plain_len: u32::try_from(plain.len()).unwrap(),
            data: Bytes::copy_from_slice(data),
        }
    }

    #[tokio::test]
    async fn only_what_hashes_to_its_id_passes() {
        let key = ChunkKey::from_bytes([3; 32]);
        let good = || message(&key, &[42; 5000]);
        type Spoil = fn(&mut v1::PutChunk);
        let spoils: &[(&str, Spoil)] = &[
            ("another id", |m| m.chunk_id = Bytes::from_static(&[9; 32])),
            ("a short id", |m| m.chunk_id = Bytes::from_static(&[9; 31])),
            ("another length", |m| m.plain_len += 1),
            ("no length", |m| m.plain_len = 0),
            ("too long", |m| m.plain_len = (1 << 20) + 1),
            ("an unknown codec", |m| m.codec = 77),
            ("a skippable frame after the chunk", |m| {
                let skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc";
                m.data = [&m.data, &skippable[..]].concat().into();
            }),
            ("longer than plain", |m| {
                m.data = [&m.data, &[0; 5000][..]].concat().into();
            }),
            ("cut data", |m| m.data = m.data.slice(1..)),
        ];
        let gate = Arc::new(Semaphore::new(1));
        for (what, spoil) in spoils {
            let mut bad = good();
            spoil(&mut bad);
            let messages = vec![Ok(good()), Ok(bad), Ok(good())];
            let batch = verify(messages, key.clone(), gate.clone()).await;
            assert_eq!(gate.available_permits(), 1, "while the batch is held");
            assert_eq!(batch.chunks.len(), 1, "{what}");
            let refused = batch.refused.unwrap();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{what}");
        }
        let batch = verify(vec![Ok(good()), Ok(good())], key, gate).await;
        assert_eq!(batch.chunks.len(), 2);
        assert!(batch.refused.is_none());
    }
}
