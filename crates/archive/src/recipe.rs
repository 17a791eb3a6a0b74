//! How the files of one captured shard are rebuilt from chunks, in a canonical binary encoding.
//!
//! Equal file sets encode to equal bytes, whichever way they were captured. Decoding is strict:
//! what it accepts encodes to the same bytes again. This module does not check that chunks exist.

mod extent_rules;

use crate::cursor::Cursor;
use crate::file_class::FileClass;
use extent_rules::{ExtentRules, least_encoded};
use holdfast_types::ChunkId;

const MAGIC: [u8; 4] = *b"HFRC";
const VERSION: u16 = 1;
const TAG_ZERO: u8 = 0;
const TAG_CHUNK: u8 = 1;

/// Fewest bytes in which a file can be encoded: lengths, class, and a path of one byte.
const MIN_FILE_BYTES: usize = 16;

/// Longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 4096;

/// Most files in one recipe.
pub const MAX_FILES: usize = 1 << 20;

/// The files of one captured shard, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardRecipe {
    /// Strictly ascending by path, compared as bytes.
    pub files: Vec<FileRecipe>,
}

/// How one file is rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecipe {
    /// Path inside the shard: relative, `/` between parts.
    pub path: String,
    /// Logical size in bytes, holes included: the sum of the extents.
    pub size: u64,
    /// The class by which it was cut.
    pub class: FileClass,
    /// Its content, in file order.
    pub extents: Vec<Extent>,
}

/// A stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// `len` zero bytes; begins at a multiple of 64 KiB and ends at one or at the file's end.
    Zero {
        /// Length in bytes, at least 1.
        len: u64,
    },
    /// The content of a chunk.
    Chunk {
        /// Its identity.
        id: ChunkId,
        /// Its plain length in bytes, 1 byte to 1 MiB.
        len: u32,
    },
}

/// Why bytes are not a recipe, or a recipe can't be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// The bytes are not a recipe at all.
    #[error("not a recipe")]
    NotARecipe,
    /// Written by a newer program.
    #[error("recipe format {0} is newer than this program knows (1)")]
    NewerFormat(u16),
    /// The bytes end early.
    #[error("recipe is truncated")]
    Truncated,
    /// Bytes follow the last file.
    #[error("recipe has bytes after its end")]
    TrailingBytes,
    /// A class number that is not in use.
    #[error("recipe names unknown file class {0}")]
    UnknownClass(u8),
    /// A path that must not be written to.
    #[error("recipe has the unsafe path {0:?}")]
    UnsafePath(String),
    /// Files are not strictly ascending.
    #[error("recipe is not sorted at {0:?}")]
    Unsorted(String),
    /// A file's extents break a rule.
    #[error("recipe of {path:?} is inconsistent: {rule}")]
    BadExtents {
        /// The file.
        path: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// More than the limits allow.
    #[error("recipe exceeds a limit: {0}")]
    TooLarge(&'static str),
}

impl ShardRecipe {
    /// A recipe of these files, in any order.
    #[must_use]
    pub fn new(mut files: Vec<FileRecipe>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files }
    }

    /// The canonical encoding.
    ///
    /// # Errors
    /// Any rule that [`decode`](Self::decode) would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, RecipeError> {
        self.check()?;
        let extents: usize = self.files.iter().map(|f| f.extents.len()).sum();
        let mut out = Vec::with_capacity(10 + self.files.len() * 96 + extents * 37);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&count(self.files.len(), "files")?.to_le_bytes());
        for file in &self.files {
            let path_len =
                u16::try_from(file.path.len()).map_err(|_| RecipeError::TooLarge("path length"))?;
            out.extend_from_slice(&path_len.to_le_bytes());
            out.extend_from_slice(file.path.as_bytes());
            out.push(file.class.number());
            out.extend_from_slice(&file.size.to_le_bytes());
            out.extend_from_slice(&count(file.extents.len(), "extents")?.to_le_bytes());
            for extent in &file.extents {
                match extent {
                    Extent::Zero { len } => {
                        out.push(TAG_ZERO);
                        out.extend_from_slice(&len.to_le_bytes());
                    }
                    Extent::Chunk { id, len } => {
                        out.push(TAG_CHUNK);
                        out.extend_from_slice(&len.to_le_bytes());
                        out.extend_from_slice(id.as_bytes());
                    }
                }
            }
        }
        Ok(out)
    }

    /// Reads the canonical encoding. Every rule is checked as soon as it can be, so that at no time,
    /// whatever the bytes are, more memory is held than 5 times their number (and what the allocator
    /// adds): an extent takes 40 bytes and 23 encoded on average, a file 64 and 16.
    ///
    /// # Errors
    /// Any deviation from it, unsafe paths, inconsistent extents, exceeded limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecipeError> {
        let mut cursor = Cursor::new(bytes);
        if cursor.array() != Some(MAGIC) {
            return Err(RecipeError::NotARecipe);
        }
        match cursor.u16().ok_or(RecipeError::Truncated)? {
            VERSION => {}
            0 => return Err(RecipeError::NotARecipe),
            newer => return Err(RecipeError::NewerFormat(newer)),
        }
        let files = cursor.u32().ok_or(RecipeError::Truncated)? as usize;
        if files > MAX_FILES {
            return Err(RecipeError::TooLarge("files"));
        }
        if files > cursor.remaining() / MIN_FILE_BYTES {
            return Err(RecipeError::Truncated);
        }
        let mut recipe = Self {
            files: Vec::with_capacity(files),
        };
        let mut total = 0;
        for _ in 0..files {
            let file = decode_file(&mut cursor)?;
            check_order(recipe.files.last(), &file, &mut total)?;
            recipe.files.push(file);
        }
        if cursor.remaining() > 0 {
            return Err(RecipeError::TrailingBytes);
        }
        Ok(recipe)
    }

    /// Identity of an encoded recipe, as in a manifest: unkeyed BLAKE3.
    #[must_use]
    pub fn hash(encoded: &[u8]) -> [u8; 32] {
        *blake3::hash(encoded).as_bytes()
    }

    /// Every chunk that the files name, in file order, repeated where repeated.
    pub fn chunks(&self) -> impl Iterator<Item = (ChunkId, u32)> + '_ {
        self.files
            .iter()
            .flat_map(|file| &file.extents)
            .filter_map(|extent| match extent {
                Extent::Chunk { id, len } => Some((*id, *len)),
                Extent::Zero { .. } => None,
            })
    }

    /// Sum of the files' logical sizes in bytes.
    #[must_use]
    pub fn logical_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    fn check(&self) -> Result<(), RecipeError> {
        if self.files.len() > MAX_FILES {
            return Err(RecipeError::TooLarge("files"));
        }
        let mut total = 0;
        let mut before = None;
        for file in &self.files {
            file.check()?;
            check_order(before, file, &mut total)?;
            before = Some(file);
        }
        Ok(())
    }
}

impl FileRecipe {
    fn check(&self) -> Result<(), RecipeError> {
        check_path(&self.path)?;
        let mut rules = ExtentRules::default();
        let mut extents = self.extents.iter();
        extents
            .try_for_each(|extent| rules.next(extent))
            .and_then(|()| rules.end(self.size))
            .map_err(|rule| bad_extents(&self.path, rule))
    }
}

fn bad_extents(path: &str, rule: &'static str) -> RecipeError {
    let path = path.to_owned();
    RecipeError::BadExtents { path, rule }
}

/// Whether a file may stand after another. Adds its size to the total.
fn check_order(
    before: Option<&FileRecipe>,
    file: &FileRecipe,
    total: &mut u64,
) -> Result<(), RecipeError> {
    if before.is_some_and(|before| before.path >= file.path) {
        return Err(RecipeError::Unsorted(file.path.clone()));
    }
    let sum = total.checked_add(file.size);
    *total = sum.ok_or(RecipeError::TooLarge("bytes"))?;
    Ok(())
}

fn decode_file(cursor: &mut Cursor<'_>) -> Result<FileRecipe, RecipeError> {
    let short = || RecipeError::Truncated;
    let path_len = cursor.u16().ok_or_else(short)?;
    let path = cursor.take(usize::from(path_len)).ok_or_else(short)?;
    let path = std::str::from_utf8(path)
        .map_err(|_| RecipeError::UnsafePath(String::from_utf8_lossy(path).into_owned()))?;
    check_path(path)?;
    let class = FileClass::try_from(cursor.u8().ok_or_else(short)?)?;
    let size = cursor.u64().ok_or_else(short)?;
    let count = cursor.u32().ok_or_else(short)? as usize;
    if least_encoded(count) > cursor.remaining() {
        return Err(RecipeError::Truncated);
    }
    let mut extents = Vec::with_capacity(count);
    let mut rules = ExtentRules::default();
    for _ in 0..count {
        let extent = decode_extent(cursor, path)?;
        let checked = rules.next(&extent);
        checked.map_err(|rule| bad_extents(path, rule))?;
        extents.push(extent);
    }
    rules.end(size).map_err(|rule| bad_extents(path, rule))?;
    Ok(FileRecipe {
        path: path.to_owned(),
        size,
        class,
        extents,
    })
}

fn decode_extent(cursor: &mut Cursor<'_>, path: &str) -> Result<Extent, RecipeError> {
    let short = || RecipeError::Truncated;
    match cursor.u8().ok_or_else(short)? {
        TAG_ZERO => Ok(Extent::Zero {
            len: cursor.u64().ok_or_else(short)?,
        }),
        TAG_CHUNK => {
            let len = cursor.u32().ok_or_else(short)?;
            let id = ChunkId::from_bytes(cursor.array().ok_or_else(short)?);
            Ok(Extent::Chunk { id, len })
        }
        _ => Err(bad_extents(path, "unknown kind of extent")),
    }
}

fn check_path(path: &str) -> Result<(), RecipeError> {
    let safe = path.len() <= MAX_PATH_BYTES
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..");
    if safe {
        Ok(())
    } else {
        Err(RecipeError::UnsafePath(path.to_owned()))
    }
}

fn count(n: usize, what: &'static str) -> Result<u32, RecipeError> {
    u32::try_from(n).map_err(|_| RecipeError::TooLarge(what))
}

#[cfg(test)]
mod tests;
