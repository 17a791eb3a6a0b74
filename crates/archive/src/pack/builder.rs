//! Writing a pack: collects encoded chunks, then orders, seals and pads them at once, with one copy of each.

use super::{
    HEADER_LEN, MAX_PACK_BYTES, PackEntry, PackError, PackHeader, chunk_nonce, footer, pack_id,
};
use crate::aead::{AeadKey, TAG_LEN};
use crate::chunker::MAX_CHUNK_BYTES;
use crate::codec::Codec;
use crate::keys::MasterKey;
use bytes::Bytes;
use holdfast_types::{ChunkId, Epoch, PackId};

/// A pack under construction. Holds the encoded chunks in memory, as they were handed to it.
pub struct PackBuilder {
    header: PackHeader,
    key: AeadKey,
    order: blake3::OutputReader,
    encoded_len: usize,
    chunks: Vec<Pending>,
}

/// A pack that is ready to be stored.
#[derive(Clone, Debug)]
pub struct FinishedPack {
    /// Its name.
    pub id: PackId,
    /// The object to be stored.
    pub bytes: Vec<u8>,
    /// Where its chunks stand.
    pub entries: Vec<PackEntry>,
}

/// To what size a pack is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackSize {
    /// Exactly this many bytes, if what it holds fits: all packs that were closed for being full look the same.
    Full(usize),
    /// What tells little of what it holds. At least `spread` bytes are the range of the random part.
    Rest {
        /// Bytes.
        spread: usize,
    },
}

struct Pending {
    id: ChunkId,
    codec: Codec,
    plain_len: u32,
    encoded: Bytes,
}

impl PackBuilder {
    /// Begins a pack. `salt` is random and never used twice: the pack's key depends on it alone.
    #[must_use]
    pub fn new(epoch: Epoch, salt: [u8; 32], master: &MasterKey) -> Self {
        let order = blake3::Hasher::new_keyed(&master.derive_order_key(&salt)).finalize_xof();
        Self {
            header: PackHeader {
                epoch,
                fingerprint: master.fingerprint(),
                salt,
            },
            key: AeadKey::new(&master.derive_pack_key(&salt)),
            order,
            encoded_len: 0,
            chunks: Vec::new(),
        }
    }

    /// Adds an encoded chunk whose hash the caller has verified.
    ///
    /// # Errors
    /// [`PackError::Full`] beyond [`MAX_PACK_BYTES`]; [`PackError::BadChunk`] for impossible lengths.
    pub fn add(
        &mut self,
        id: ChunkId,
        codec: Codec,
        plain_len: u32,
        encoded: Bytes,
    ) -> Result<(), PackError> {
        if plain_len == 0
            || plain_len as usize > MAX_CHUNK_BYTES
            || encoded.len() > plain_len as usize
        {
            return Err(PackError::BadChunk {
                plain_len,
                encoded_len: encoded.len(),
            });
        }
        if self.len() + encoded.len() + TAG_LEN > MAX_PACK_BYTES {
            return Err(PackError::Full);
        }
        self.encoded_len += encoded.len();
        self.chunks.push(Pending {
            id,
            codec,
            plain_len,
            encoded,
        });
        Ok(())
    }

    /// Size in bytes so far: header and sealed chunks.
    #[must_use]
    pub fn len(&self) -> usize {
        HEADER_LEN + self.encoded_len + self.chunks.len() * TAG_LEN
    }

    /// Number of chunks so far.
    #[must_use]
    pub fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// Whether nothing was added yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Orders, seals, pads and hashes: tens of milliseconds for a full pack.
    #[must_use]
    pub fn finish(self) -> FinishedPack {
        self.finish_as(PackSize::Rest { spread: 0 })
    }

    /// [`finish`](Self::finish) to a size.
    #[must_use]
    pub fn finish_as(self, size: PackSize) -> FinishedPack {
        self.finish_into(Vec::new(), size)
    }

    /// [`finish_as`](Self::finish_as) into memory that was used before; what it holds is overwritten.
    #[must_use]
    pub fn finish_into(mut self, mut bytes: Vec<u8>, size: PackSize) -> FinishedPack {
        self.shuffle();
        let body_len = self.len();
        let unpadded = unpadded_len(self.encoded_len, self.chunks.len());
        let size = match size {
            PackSize::Full(size) if unpadded <= size => size,
            PackSize::Full(_) => footer::padded_len(unpadded, 0, self.random()),
            PackSize::Rest { spread } => footer::padded_len(unpadded, spread, self.random()),
        };
        let footer_len = size - body_len - super::TRAILER_LEN;
        bytes.clear();
        bytes.reserve_exact(size);
        bytes.extend_from_slice(&self.header.to_bytes());
        let mut entries = Vec::with_capacity(self.chunks.len());
        // Each chunk's bytes are let go as soon as they are in their place.
        for chunk in self.chunks {
            let offset = bytes.len();
            bytes.extend_from_slice(&chunk.encoded);
            let entry = PackEntry {
                id: chunk.id,
                codec: chunk.codec,
                plain_len: chunk.plain_len,
                offset: position(offset),
                len: position(chunk.encoded.len() + TAG_LEN),
            };
            let nonce = chunk_nonce(entry.offset);
            let tag = self.key.seal(nonce, &entry.aad(), &mut bytes[offset..]);
            bytes.extend_from_slice(&tag);
            entries.push(entry);
        }
        footer::write(&self.key, &self.header, &entries, footer_len, &mut bytes);
        FinishedPack {
            id: pack_id(&bytes),
            bytes,
            entries,
        }
    }

    /// The next number of the stream that nobody without the master key knows.
    fn random(&mut self) -> u64 {
        let mut random = [0; 8];
        self.order.fill(&mut random);
        u64::from_le_bytes(random)
    }

    /// Fisher–Yates. The bias of the remainder is below 2⁻⁴⁰ and of no consequence here.
    fn shuffle(&mut self) {
        for i in (1..self.chunks.len()).rev() {
            let j = self.random() % (i as u64 + 1);
            self.chunks
                .swap(i, usize::try_from(j).expect("j is at most i"));
        }
    }
}

/// Size in bytes of a pack with this many bytes of encoded chunks, before it is padded.
#[must_use]
pub const fn unpadded_len(encoded: usize, chunks: usize) -> usize {
    footer::unpadded_len(encoded, chunks)
}

fn position(n: usize) -> u32 {
    u32::try_from(n).expect("a pack is limited to 128 MiB")
}
