//! Chunk identities: BLAKE3 keyed per namespace.
//!
//! The key makes ids useless to whoever does not hold it: a chunk's id does not confirm a guess of
//! its content. It decrypts nothing.

use holdfast_types::ChunkId;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The 32-byte key of one namespace's chunk ids. Wiped from memory when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ChunkKey([u8; 32]);

impl ChunkKey {
    /// Wraps a key that was derived by the coordinator.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a key from a slice; `None` unless it has exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The key, for the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The identity of a chunk with this content.
    #[must_use]
    pub fn id(&self, plain: &[u8]) -> ChunkId {
        ChunkId::from_bytes(*blake3::keyed_hash(&self.0, plain).as_bytes())
    }
}

impl fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::ChunkKey;

    #[test]
    fn ids_depend_on_content_and_key() {
        let (a, b) = (ChunkKey::from_bytes([1; 32]), ChunkKey::from_bytes([2; 32]));
        assert_eq!(a.id(b"x"), a.id(b"x"));
        assert_ne!(a.id(b"x"), a.id(b"y"));
        assert_ne!(a.id(b"x"), b.id(b"x"));
        assert!(ChunkKey::from_slice(&[0; 31]).is_none());
        assert_eq!(format!("{a:?}"), "ChunkKey(…)");
    }
}
