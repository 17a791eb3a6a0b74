//! Cuts a file into chunks and zero extents: a function of the file's logical content only.
//!
//! The file is seen as blocks of 64 KiB. A maximal run of all-zero blocks becomes one
//! [`Extent::Zero`]; every run of other blocks is cut by the file's [`FileClass`]. So a hole and
//! written zeros give equal recipes, and it does not matter how the bytes were handed over.
//!
//! Bytes are fed incrementally; at most about 2 MiB are held. This module does not encode chunks.

use crate::chunk_key::ChunkKey;
use crate::file_class::FileClass;
use crate::recipe::{Extent, FileRecipe};
use fastcdc::v2020::{Normalization, cut, select_masks};
use holdfast_types::ChunkId;

/// Largest chunk, in plain bytes.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;

/// Unit of zero detection, in bytes.
pub const BLOCK_BYTES: usize = 64 << 10;

const CDC_MIN: usize = 64 << 10;
const CDC_AVG: usize = 256 << 10;
const CDC_MAX: usize = MAX_CHUNK_BYTES;

static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// What the chunker hands out, in file order.
#[derive(Debug)]
pub enum ChunkEvent<'a> {
    /// The next chunk. Zero extents are not handed out: they stand in the recipe only.
    Chunk {
        /// Its identity.
        id: ChunkId,
        /// Its content, 1 byte to 1 MiB.
        plain: &'a [u8],
    },
}

/// A file's recipe but for its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecipeBody {
    /// Logical size of the file in bytes, holes included.
    pub size: u64,
    /// The class by which it was cut.
    pub class: FileClass,
    /// Its content, in file order.
    pub extents: Vec<Extent>,
}

impl FileRecipeBody {
    /// The whole recipe of the file at `path`.
    #[must_use]
    pub fn at(self, path: String) -> FileRecipe {
        FileRecipe {
            path,
            size: self.size,
            class: self.class,
            extents: self.extents,
        }
    }
}

/// Cuts one file. Feed it with [`push`](Self::push) and [`push_zeros`](Self::push_zeros), then
/// [`finish`](Self::finish).
pub struct FileChunker {
    class: FileClass,
    key: ChunkKey,
    /// Bytes taken so far.
    size: u64,
    /// Bytes from `start` on are not cut yet; the first `solid - start` of them are whole non-zero
    /// blocks, the rest is the unfinished block.
    pending: Vec<u8>,
    start: usize,
    solid: usize,
    /// Length of the zero run that ends at the last whole block.
    zeros: u64,
    extents: Vec<Extent>,
}

impl FileChunker {
    /// Begins a file.
    #[must_use]
    pub fn new(class: FileClass, key: ChunkKey) -> Self {
        Self {
            class,
            key,
            size: 0,
            pending: Vec::new(),
            start: 0,
            solid: 0,
            zeros: 0,
            extents: Vec::new(),
        }
    }

    /// Takes the next bytes of the file.
    pub fn push(&mut self, mut data: &[u8], out: &mut impl FnMut(ChunkEvent<'_>)) {
        while !data.is_empty() {
            if self.pending.len() == self.solid {
                let used = self.push_whole_blocks(data, out);
                if used > 0 {
                    data = &data[used..];
                    continue;
                }
            }
            let room = BLOCK_BYTES - (self.pending.len() - self.solid);
            let (head, rest) = data.split_at(room.min(data.len()));
            self.pending.extend_from_slice(head);
            self.size += head.len() as u64;
            data = rest;
            if head.len() == room {
                self.close_block(out);
            }
        }
    }

    /// Takes `len` zero bytes, a hole.
    pub fn push_zeros(&mut self, mut len: u64, out: &mut impl FnMut(ChunkEvent<'_>)) {
        let open = self.pending.len() - self.solid;
        if open > 0 {
            let head =
                usize::try_from(len).map_or(BLOCK_BYTES - open, |l| l.min(BLOCK_BYTES - open));
            self.push(&ZEROS[..head], out);
            len -= head as u64;
        }
        let block = BLOCK_BYTES as u64;
        let tail = usize::try_from(len % block).expect("less than a block");
        if len >= block {
            self.end_run(out);
            self.zeros += len - tail as u64;
            self.size += len - tail as u64;
        }
        self.push(&ZEROS[..tail], out);
    }

    /// Ends the file.
    pub fn finish(mut self, out: &mut impl FnMut(ChunkEvent<'_>)) -> FileRecipeBody {
        if self.pending.len() > self.solid {
            self.close_block(out);
        }
        self.end_run(out);
        self.end_zeros();
        FileRecipeBody {
            size: self.size,
            class: self.class,
            extents: self.extents,
        }
    }

    /// Takes whole blocks straight from `data`, without a copy where a chunk is complete in it.
    /// Returns the number of bytes taken. No unfinished block may be pending.
    fn push_whole_blocks(&mut self, data: &[u8], out: &mut impl FnMut(ChunkEvent<'_>)) -> usize {
        if let Some(step) = fixed_step(self.class)
            && self.pending.len() == self.start
            && self.size.is_multiple_of(step as u64)
            && let Some(chunk) = data.get(..step)
            && !chunk.chunks(BLOCK_BYTES).any(is_zero)
        {
            self.end_zeros();
            emit(&self.key, &mut self.extents, chunk, out);
            self.size += step as u64;
            return step;
        }
        let Some(block) = data.get(..BLOCK_BYTES) else {
            return 0;
        };
        self.size += BLOCK_BYTES as u64;
        if is_zero(block) {
            self.end_run(out);
            self.zeros += BLOCK_BYTES as u64;
        } else {
            self.pending.extend_from_slice(block);
            self.grow_run(out);
        }
        BLOCK_BYTES
    }

    /// The pending block is complete, or the file's last.
    fn close_block(&mut self, out: &mut impl FnMut(ChunkEvent<'_>)) {
        let block = &self.pending[self.solid..];
        if is_zero(block) {
            let len = block.len() as u64;
            self.pending.truncate(self.solid);
            self.end_run(out);
            self.zeros += len;
        } else {
            self.grow_run(out);
        }
    }

    /// The pending block belongs to the current run: cut what can be cut.
    fn grow_run(&mut self, out: &mut impl FnMut(ChunkEvent<'_>)) {
        self.end_zeros();
        self.solid = self.pending.len();
        match fixed_step(self.class) {
            Some(step) => {
                if self.size.is_multiple_of(step as u64) {
                    self.end_run(out);
                }
            }
            None => {
                while self.solid - self.start >= CDC_MAX {
                    self.cut_content(out);
                }
                if self.start >= CDC_MAX / 2 {
                    self.pending.drain(..self.start);
                    self.solid -= self.start;
                    self.start = 0;
                }
            }
        }
    }

    /// Cuts everything pending; nothing of the run is left.
    fn end_run(&mut self, out: &mut impl FnMut(ChunkEvent<'_>)) {
        while self.solid > self.start {
            if fixed_step(self.class).is_some() {
                let chunk = &self.pending[self.start..self.solid];
                emit(&self.key, &mut self.extents, chunk, out);
                self.start = self.solid;
            } else {
                self.cut_content(out);
            }
        }
        self.pending.clear();
        self.start = 0;
        self.solid = 0;
    }

    fn cut_content(&mut self, out: &mut impl FnMut(ChunkEvent<'_>)) {
        let run = &self.pending[self.start..self.solid];
        let len = content_cut(run);
        emit(&self.key, &mut self.extents, &run[..len], out);
        self.start += len;
    }

    fn end_zeros(&mut self) {
        if self.zeros > 0 {
            self.extents.push(Extent::Zero { len: self.zeros });
            self.zeros = 0;
        }
    }
}

/// Cuts bytes that are no file (an encoded recipe) into chunks by content; zeros are not special.
pub fn chunk_blob(
    bytes: &[u8],
    key: &ChunkKey,
    out: &mut impl FnMut(ChunkEvent<'_>),
) -> Vec<ChunkId> {
    let mut extents = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(content_cut(rest));
        emit(key, &mut extents, chunk, out);
        rest = after;
    }
    extents
        .into_iter()
        .filter_map(|extent| match extent {
            Extent::Chunk { id, .. } => Some(id),
            Extent::Zero { .. } => None,
        })
        .collect()
}

fn emit(
    key: &ChunkKey,
    extents: &mut Vec<Extent>,
    plain: &[u8],
    out: &mut impl FnMut(ChunkEvent<'_>),
) {
    let id = key.id(plain);
    let len = u32::try_from(plain.len()).expect("a chunk has at most 1 MiB");
    extents.push(Extent::Chunk { id, len });
    out(ChunkEvent::Chunk { id, plain });
}

/// Distance of cuts in bytes, counted from the start of the file; `None` for content-defined cuts.
const fn fixed_step(class: FileClass) -> Option<usize> {
    match class {
        FileClass::Immutable => Some(MAX_CHUNK_BYTES),
        FileClass::InPlace => Some(BLOCK_BYTES),
        FileClass::General => None,
    }
}

/// Length of the first chunk of `run` (FastCDC 2020, normalisation level 1), 1 byte or more.
fn content_cut(run: &[u8]) -> usize {
    let (strict, loose) = select_masks(CDC_AVG, Normalization::Level1);
    let (_, len) = cut(
        run,
        CDC_MIN,
        CDC_AVG,
        CDC_MAX,
        strict,
        loose,
        strict << 1,
        loose << 1,
    );
    len
}

/// Whether all bytes are zero; ends at the first stretch of 64 bytes with another.
fn is_zero(bytes: &[u8]) -> bool {
    let (stretches, rest) = bytes.as_chunks::<64>();
    stretches
        .iter()
        .all(|stretch| stretch.iter().fold(0, |all, byte| all | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
