//! Packs: sealed chunks with their own table of contents, immutable, named by their hash.
//!
//! Layout: header ‖ sealed chunks ‖ sealed footer ‖ trailer. The chunks stand in an order drawn from
//! the salt and the whole is padded (inside the footer), so that a pack's bytes tell neither how
//! many chunks it holds nor where they end. Decoding chunks is [`crate::codec`]'s business.

mod builder;
mod footer;

use crate::aead::{AeadKey, nonce};
use crate::codec::Codec;
use crate::cursor::Cursor;
use crate::keyring::MasterKeys;
use holdfast_types::{ChunkId, Epoch, PackId};

pub use builder::{FinishedPack, PackBuilder, PackSize, unpadded_len};
pub use footer::read_pack_footer;

const MAGIC: [u8; 4] = *b"HFPK";
const VERSION: u16 = 1;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 56;

/// Length of the trailer in bytes: the last 8 bytes of every pack.
pub const TRAILER_LEN: usize = 8;

/// Length of one entry in footers and indexes, in bytes.
pub const ENTRY_LEN: usize = 45;

/// A pack refuses more chunks beyond this size in bytes.
pub const MAX_PACK_BYTES: usize = 128 << 20;

/// Where a chunk stands in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackEntry {
    /// The chunk.
    pub id: ChunkId,
    /// How it is encoded.
    pub codec: Codec,
    /// Its plain length in bytes.
    pub plain_len: u32,
    /// Where its sealed bytes begin, from the start of the pack.
    pub offset: u32,
    /// Length of its sealed bytes: the encoded chunk and a 16-byte tag.
    pub len: u32,
}

/// The first [`HEADER_LEN`] bytes of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackHeader {
    /// Epoch of the coordinator that wrote the pack.
    pub epoch: Epoch,
    /// Fingerprint of the master key.
    pub fingerprint: [u8; 8],
    /// Salt of the pack's key.
    pub salt: [u8; 32],
}

/// Why a pack can't be written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// The bytes are no pack.
    #[error("not a pack of Holdfast")]
    NotAPack,
    /// Written by a newer program.
    #[error("pack format {0} is newer than this program knows (1)")]
    NewerFormat(u16),
    /// Sealed under another master key.
    #[error("pack is sealed under master key {}", hex::encode(.0))]
    OtherKey([u8; 8]),
    /// The tail that was handed over is too short: hand over the last `needed` bytes.
    #[error("the last {needed} bytes of the pack are needed")]
    TailTooShort {
        /// Bytes of tail that are needed.
        needed: u64,
    },
    /// Flipped, cut or forged.
    #[error("pack is damaged: {0}")]
    Damaged(&'static str),
    /// The pack would exceed [`MAX_PACK_BYTES`].
    #[error("pack is full")]
    Full,
    /// The chunk is empty, above 1 MiB, or longer encoded than plain.
    #[error("a chunk of {plain_len} bytes encoded to {encoded_len} does not belong in a pack")]
    BadChunk {
        /// Claimed plain length.
        plain_len: u32,
        /// Encoded length.
        encoded_len: usize,
    },
}

impl PackHeader {
    /// Reads the first [`HEADER_LEN`] bytes of a pack.
    ///
    /// # Errors
    /// [`PackError::NotAPack`] or [`PackError::NewerFormat`]. Whether the header is genuine shows
    /// when anything is opened under it.
    pub fn parse(bytes: &[u8]) -> Result<Self, PackError> {
        let not = PackError::NotAPack;
        let mut cursor = Cursor::new(bytes);
        if cursor.array() != Some(MAGIC) {
            return Err(not);
        }
        match cursor.u16().ok_or(not)? {
            VERSION => {}
            0 => return Err(not),
            newer => return Err(PackError::NewerFormat(newer)),
        }
        if cursor.u16().ok_or(not)? != 0 {
            return Err(PackError::Damaged("reserved bytes are set"));
        }
        Ok(Self {
            epoch: Epoch(cursor.u64().ok_or(not)?),
            fingerprint: cursor.array().ok_or(not)?,
            salt: cursor.array().ok_or(not)?,
        })
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..4].copy_from_slice(&MAGIC);
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[8..16].copy_from_slice(&self.epoch.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.fingerprint);
        out[24..].copy_from_slice(&self.salt);
        out
    }

    /// The key that opens this pack's chunks; keep it to open several.
    ///
    /// # Errors
    /// [`PackError::OtherKey`].
    pub fn opener(&self, keys: &impl MasterKeys) -> Result<PackOpener, PackError> {
        let master = keys
            .find(self.fingerprint)
            .ok_or(PackError::OtherKey(self.fingerprint))?;
        Ok(PackOpener {
            key: AeadKey::new(&master.derive_pack_key(&self.salt)),
        })
    }
}

/// Opens chunks of one pack.
pub struct PackOpener {
    pub(crate) key: AeadKey,
}

impl PackOpener {
    /// Decrypts a chunk in place: `sealed` is the pack's bytes `entry.offset .. + entry.len`.
    /// Returns the encoded chunk.
    ///
    /// # Errors
    /// [`PackError::Damaged`] if these are not the bytes that were sealed for this entry.
    pub fn open_in_place<'a>(
        &self,
        entry: &PackEntry,
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], PackError> {
        if sealed.len() != entry.len as usize {
            return Err(PackError::Damaged("a chunk is truncated"));
        }
        let nonce = chunk_nonce(entry.offset);
        self.key
            .open(nonce, &entry.aad(), sealed)
            .ok_or(PackError::Damaged("a chunk does not authenticate"))
    }
}

/// Decrypts one chunk. For several of one pack use [`PackHeader::opener`].
///
/// # Errors
/// [`PackError::OtherKey`] or [`PackError::Damaged`].
pub fn open_chunk(
    header: &PackHeader,
    keys: &impl MasterKeys,
    entry: &PackEntry,
    sealed: &[u8],
) -> Result<Vec<u8>, PackError> {
    let mut buffer = sealed.to_vec();
    let len = header
        .opener(keys)?
        .open_in_place(entry, &mut buffer)?
        .len();
    buffer.truncate(len);
    Ok(buffer)
}

/// Identity of a stored pack: the hash of all its bytes. Needs no key.
#[must_use]
pub fn pack_id(bytes: &[u8]) -> PackId {
    PackId::from_bytes(*blake3::hash(bytes).as_bytes())
}

impl PackEntry {
    /// What a chunk's seal binds beside its bytes and place.
    pub(crate) fn aad(&self) -> [u8; 37] {
        let mut aad = [0; 37];
        aad[..32].copy_from_slice(self.id.as_bytes());
        aad[32] = self.codec.number();
        aad[33..].copy_from_slice(&self.plain_len.to_le_bytes());
        aad
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        out.push(self.codec.number());
        out.extend_from_slice(&self.plain_len.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            id: ChunkId::from_bytes(cursor.array()?),
            codec: Codec::try_from(u32::from(cursor.u8()?)).ok()?,
            plain_len: cursor.u32()?,
            offset: cursor.u32()?,
            len: cursor.u32()?,
        })
    }
}

/// No two chunks of a pack begin at one place, and every pack has its own key.
pub(crate) fn chunk_nonce(offset: u32) -> [u8; 12] {
    nonce(u64::from(offset), 0)
}

/// The footer's nonce differs from every chunk's in its second part.
pub(crate) fn footer_nonce() -> [u8; 12] {
    nonce(0, 1)
}

#[cfg(test)]
mod tests;
