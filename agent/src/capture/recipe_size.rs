//! How long the recipe of a shard gets, counted while the shard is read.
//!
//! The coordinator refuses a recipe that is too long, but only at the commit, when hours of sending are
//! past. Counting along ends such a capture as early as that is certain.

use crate::failure::Failed;
use holdfast_archive::{Extent, FileRecipe};
use holdfast_service::failure::Code;

/// Bytes of the format (docs/format/recipe.md) apart from paths: before the first file, per file, per extent.
const HEADER: usize = 10;
const FILE: usize = 15;
const ZERO: usize = 9;
const CHUNK: usize = 37;

/// Counts the encoded bytes of a recipe. Never too many, and exactly at the end of every file.
#[derive(Debug)]
pub(super) struct RecipeSize {
    limit: usize,
    files: usize,
    /// Chunks of the file that is being read.
    chunks: usize,
}

/// The recipe is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    limit: usize,
}

impl RecipeSize {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            files: HEADER,
            chunks: 0,
        }
    }

    /// Another chunk of the current file.
    pub(super) fn chunk(&mut self) {
        self.chunks += 1;
    }

    /// The current file is complete.
    pub(super) fn file(&mut self, file: &FileRecipe) {
        let extents = file.extents.iter().map(|extent| match extent {
            Extent::Zero { .. } => ZERO,
            Extent::Chunk { .. } => CHUNK,
        });
        self.files += FILE + file.path.len() + extents.sum::<usize>();
        self.chunks = 0;
    }

    /// The current file is given up.
    pub(super) fn abandon(&mut self) {
        self.chunks = 0;
    }

    pub(super) fn bytes(&self) -> usize {
        self.files + self.chunks * CHUNK
    }

    pub(super) fn check(&self) -> Result<(), TooLong> {
        if self.bytes() > self.limit {
            return Err(TooLong { limit: self.limit });
        }
        Ok(())
    }
}

impl TooLong {
    /// The failure of the capture of `shard`, of which `read` bytes had been read.
    pub(super) fn failed(self, shard: &str, read: u64) -> Failed {
        Failed::new(
            Code::PlanBlocked,
            format!(
                "{shard} is too large for this release: after {} MiB of it, its list of chunks is longer than the limit of {} MiB; spread the collection over more shards (a higher shard_number)",
                read >> 20,
                self.limit >> 20
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::RecipeSize;
    use holdfast_archive::{Extent, FileClass, FileRecipe, ShardRecipe};
    use holdfast_types::ChunkId;

    #[test]
    fn it_is_as_long_as_the_encoding() {
        let chunk = Extent::Chunk {
            id: ChunkId::from_bytes([7; 32]),
            len: 65536,
        };
        let file = |path: &str, extents: Vec<Extent>| FileRecipe {
            path: path.to_owned(),
            size: 65536 * extents.len() as u64,
            class: FileClass::General,
            extents,
        };
        let files = vec![
            file("a", vec![chunk, Extent::Zero { len: 65536 }, chunk]),
            file("segments/b", vec![]),
            file("c", vec![chunk]),
        ];
        let mut size = RecipeSize::new(200);
        for file in &files {
            for _ in file.extents.iter().filter(|e| **e == chunk) {
                size.chunk();
            }
            size.file(file);
        }
        let encoded = ShardRecipe::new(files).encode().unwrap();
        assert_eq!(size.bytes(), encoded.len());
        assert!(size.check().is_ok());
    }

    #[test]
    fn it_is_told_within_a_file() {
        let mut size = RecipeSize::new(3 << 20);
        while size.check().is_ok() {
            size.chunk();
        }
        let (chunks, failed) = (size.chunks, size.check().unwrap_err());
        assert_eq!(chunks, ((3 << 20) - 10) / 37 + 1);
        let text = failed.failed("shard 4 of docs", 70 << 20).to_string();
        assert_eq!(
            text,
            "plan-blocked: shard 4 of docs is too large for this release: after 70 MiB of it, its list of \
             chunks is longer than the limit of 3 MiB; spread the collection over more shards (a higher \
             shard_number)"
        );
    }
}
