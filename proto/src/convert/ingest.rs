//! Chunks on their way into the repository.

use super::ConvertError;
use crate::v1;
use bytes::Bytes;
use holdfast_types::ChunkId;

/// A `PutChunk`, with lengths checked; its hash is not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentChunk {
    /// What the sender says it is.
    pub id: ChunkId,
    /// Number of the codec.
    pub codec: u32,
    /// Length in bytes once decoded, 1 to 1 MiB.
    pub plain_len: u32,
    /// The encoded chunk, never longer than a message may be.
    pub data: Bytes,
}

/// Longest plain chunk, in bytes (docs/format/chunk.md).
const MAX_PLAIN_BYTES: u32 = 1 << 20;

impl TryFrom<v1::PutChunk> for SentChunk {
    type Error = ConvertError;
    fn try_from(wire: v1::PutChunk) -> Result<Self, ConvertError> {
        if wire.plain_len == 0 || wire.plain_len > MAX_PLAIN_BYTES {
            return Err(ConvertError::OutOfRange {
                field: "plain_len",
                rule: "1 byte to 1 MiB",
            });
        }
        let id = ChunkId::from_slice(&wire.chunk_id).ok_or(ConvertError::OutOfRange {
            field: "chunk_id",
            rule: "exactly 32 bytes",
        })?;
        Ok(Self {
            id,
            codec: wire.codec,
            plain_len: wire.plain_len,
            data: wire.data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::SentChunk;
    use crate::v1;

    #[test]
    fn lengths_are_limited() {
        let wire = |plain_len, id_len| v1::PutChunk {
            chunk_id: vec![1; id_len].into(),
            plain_len,
            ..Default::default()
        };
        assert!(SentChunk::try_from(wire(1 << 20, 32)).is_ok());
        assert!(SentChunk::try_from(wire((1 << 20) + 1, 32)).is_err());
        assert!(SentChunk::try_from(wire(0, 32)).is_err());
        assert!(SentChunk::try_from(wire(1, 31)).is_err());
    }
}
