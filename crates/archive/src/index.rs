//! Which pack holds which chunk: a cache of pack footers, stored sealed.
//!
//! Losing every index loses nothing: packs describe themselves. This module holds no search
//! structure; the repository builds its own from these lists.

use crate::cursor::Cursor;
use crate::pack::{ENTRY_LEN, PackEntry};
use holdfast_types::PackId;

const VERSION: u16 = 1;

/// One index object: the packs that one flush wrote, or the union of older indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexObject {
    /// The packs, in any order.
    pub packs: Vec<PackIndex>,
}

/// What one pack contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackIndex {
    /// The pack.
    pub id: PackId,
    /// Size of the stored object in bytes.
    pub size: u64,
    /// Its chunks.
    pub entries: Vec<PackEntry>,
}

/// Why bytes are not an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Written by a newer program.
    #[error("index format {0} is newer than this program knows (1)")]
    NewerFormat(u16),
    /// The bytes are not an index.
    #[error("index is damaged: {0}")]
    Damaged(&'static str),
}

impl IndexObject {
    /// The binary form, to be sealed as [`crate::ObjectKind::Index`].
    ///
    /// # Panics
    /// Never: no pack holds 2³² chunks.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entries: usize = self.packs.iter().map(|p| p.entries.len()).sum();
        let mut out = Vec::with_capacity(6 + self.packs.len() * 44 + entries * ENTRY_LEN);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&count(self.packs.len()).to_le_bytes());
        for pack in &self.packs {
            out.extend_from_slice(pack.id.as_bytes());
            out.extend_from_slice(&pack.size.to_le_bytes());
            out.extend_from_slice(&count(pack.entries.len()).to_le_bytes());
            for entry in &pack.entries {
                entry.write(&mut out);
            }
        }
        out
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// Truncation, trailing bytes, unknown codecs, entries outside their pack.
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let short = || IndexError::Damaged("truncated");
        let mut cursor = Cursor::new(bytes);
        match cursor.u16().ok_or_else(short)? {
            VERSION => {}
            0 => return Err(IndexError::Damaged("format 0")),
            newer => return Err(IndexError::NewerFormat(newer)),
        }
        let packs = cursor.u32().ok_or_else(short)?;
        let mut index = Self::default();
        for _ in 0..packs {
            let id = PackId::from_bytes(cursor.array().ok_or_else(short)?);
            let size = cursor.u64().ok_or_else(short)?;
            let entries = cursor.u32().ok_or_else(short)? as usize;
            if entries > cursor.remaining() / ENTRY_LEN {
                return Err(short());
            }
            let entries = (0..entries)
                .map(|_| {
                    let entry = PackEntry::read(&mut cursor).ok_or(IndexError::Damaged("entry"))?;
                    if u64::from(entry.offset) + u64::from(entry.len) > size {
                        return Err(IndexError::Damaged("an entry lies outside its pack"));
                    }
                    Ok(entry)
                })
                .collect::<Result<_, _>>()?;
            index.packs.push(PackIndex { id, size, entries });
        }
        if cursor.remaining() > 0 {
            return Err(IndexError::Damaged("trailing bytes"));
        }
        Ok(index)
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).expect("a pack of 64 MiB holds far fewer than 2^32 chunks")
}

#[cfg(test)]
mod tests {
    use super::{IndexError, IndexObject, PackIndex};
    use crate::{Codec, PackEntry};
    use holdfast_types::{ChunkId, PackId};

    fn sample() -> IndexObject {
        let entry = |n: u8| PackEntry {
            id: ChunkId::from_bytes([n; 32]),
            codec: Codec::Zstd,
            plain_len: 100,
            offset: 56 + u32::from(n) * 40,
            len: 40,
        };
        let pack = |n: u8| PackIndex {
            id: PackId::from_bytes([n; 32]),
            size: 4096,
            entries: (0..n).map(entry).collect(),
        };
        IndexObject {
            packs: vec![pack(0), pack(3), pack(7)],
        }
    }

    #[test]
    fn round_trips() {
        let index = sample();
        assert_eq!(IndexObject::decode(&index.encode()), Ok(index));
        let empty = IndexObject::default();
        assert_eq!(IndexObject::decode(&empty.encode()), Ok(empty));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = sample().encode();
        for len in 0..bytes.len() {
            assert!(IndexObject::decode(&bytes[..len]).is_err(), "{len}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(
            IndexObject::decode(&longer),
            Err(IndexError::Damaged("trailing bytes"))
        );
    }

    #[test]
    fn refuses_newer_formats_and_entries_outside() {
        let mut bytes = sample().encode();
        bytes[0] = 2;
        assert_eq!(IndexObject::decode(&bytes), Err(IndexError::NewerFormat(2)));
        let mut index = sample();
        index.packs[1].size = 60;
        assert!(IndexObject::decode(&index.encode()).is_err());
    }
}
