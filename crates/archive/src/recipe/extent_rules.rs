//! The rules that the extents of one file follow, checked one extent at a time, so that decoding
//! stops at the first that breaks one.

use super::Extent;
use crate::chunker::{BLOCK_BYTES, MAX_CHUNK_BYTES};

/// Bytes of the shortest extents: the tag and the length of zeros, or of a chunk with its id.
const ZERO_BYTES: usize = 9;
const CHUNK_BYTES: usize = 37;

/// Fewest bytes in which that many extents can be encoded: no two zero extents stand in a row, so
/// every second one is a chunk.
pub(super) fn least_encoded(count: usize) -> usize {
    let chunks = count / 2;
    let zeros = count - chunks;
    chunks
        .saturating_mul(CHUNK_BYTES)
        .saturating_add(zeros.saturating_mul(ZERO_BYTES))
}

/// How far a file's extents have been looked at.
#[derive(Default)]
pub(super) struct ExtentRules {
    /// Where the next extent begins in the file.
    at: u64,
    after_zero: bool,
}

impl ExtentRules {
    /// Looks at the next extent; the error is the rule that it breaks.
    pub(super) fn next(&mut self, extent: &Extent) -> Result<(), &'static str> {
        let aligned = self.at.is_multiple_of(BLOCK_BYTES as u64);
        let len = match *extent {
            Extent::Zero { len } => {
                if self.after_zero {
                    return Err("two zero extents in a row");
                }
                if len == 0 || !aligned {
                    return Err("a zero extent is empty or not aligned");
                }
                len
            }
            Extent::Chunk { len, .. } => {
                if len == 0 || len as usize > MAX_CHUNK_BYTES {
                    return Err("a chunk is empty or too long");
                }
                if self.after_zero && !aligned {
                    return Err("a zero extent ends between blocks");
                }
                u64::from(len)
            }
        };
        self.after_zero = matches!(extent, Extent::Zero { .. });
        self.at = self.at.checked_add(len).ok_or("size overflows")?;
        Ok(())
    }

    /// Whether the extents make up the whole file.
    pub(super) fn end(&self, size: u64) -> Result<(), &'static str> {
        if self.at == size {
            Ok(())
        } else {
            Err("extents do not add up to the size")
        }
    }
}
