//! One 512-byte tar header: fields, numbers, checksum.

use super::TarError;
use super::sparse::{Region, SparseMap};
use super::write::BLOCK;

/// Offset and length of a header field, from POSIX.1-1988 and the GNU tar manual.
type Field = (usize, usize);
const NAME: Field = (0, 100);
const SIZE: Field = (124, 12);
const CHECKSUM: Field = (148, 8);
const TYPE: usize = 156;
const MAGIC: Field = (257, 8);
const PREFIX: Field = (345, 155);
const GNU_SPARSE: usize = 386;
const GNU_SPARSE_COUNT: usize = 4;
const GNU_EXTENDED: usize = 482;
const GNU_REAL_SIZE: Field = (483, 12);
/// Map entries in one block that continues a sparse map.
const EXT_SPARSE_COUNT: usize = 21;
const EXT_EXTENDED: usize = 504;
/// Bytes of one map entry: offset and length, 12 each.
const SPARSE_ENTRY: usize = 24;

/// A header whose checksum is right.
pub(crate) struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Checks the checksum; the block must not be all zero.
    pub(crate) fn parse(block: &'a [u8; BLOCK]) -> Result<Self, TarError> {
        let (at, len) = CHECKSUM;
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(i, b)| {
                u64::from(if (at..at + len).contains(&i) {
                    b' '
                } else {
                    *b
                })
            })
            .sum();
        if number(&block[at..at + len]) == Some(sum) {
            Ok(Self(block))
        } else {
            Err(TarError::malformed(
                "an entry's header has a wrong checksum",
            ))
        }
    }

    fn field(&self, (at, len): Field) -> &'a [u8] {
        &self.0[at..at + len]
    }

    /// The type flag; an old header's NUL reads as `0`.
    pub(crate) fn kind(&self) -> u8 {
        match self.0[TYPE] {
            0 => b'0',
            kind => kind,
        }
    }

    /// The path in the header itself, with the ustar prefix.
    pub(crate) fn path(&self) -> Vec<u8> {
        let name = until_nul(self.field(NAME));
        let prefix = until_nul(self.field(PREFIX));
        // GNU keeps other things where ustar has the prefix; the magic tells them apart.
        if self.field(MAGIC) == b"ustar\x0000" && !prefix.is_empty() {
            [prefix, b"/", name].concat()
        } else {
            name.to_vec()
        }
    }

    /// Bytes of content that follow the header in the archive.
    pub(crate) fn size(&self) -> Result<u64, TarError> {
        number(self.field(SIZE)).ok_or_else(|| TarError::malformed("an entry's size is no number"))
    }

    /// The logical size of an old-GNU sparse entry.
    pub(crate) fn real_size(&self) -> Result<u64, TarError> {
        number(self.field(GNU_REAL_SIZE))
            .ok_or_else(|| TarError::malformed("a sparse entry's size is no number"))
    }

    /// Adds the map entries in the header of an old-GNU sparse entry; true if blocks with more follow.
    pub(crate) fn sparse(&self, map: &mut SparseMap) -> Result<bool, TarError> {
        read_map(&self.0[GNU_SPARSE..], GNU_SPARSE_COUNT, map)?;
        Ok(self.0[GNU_EXTENDED] != 0)
    }
}

/// Adds the entries of a block that continues a sparse map; true if another block follows.
pub(crate) fn extended_sparse(block: &[u8; BLOCK], map: &mut SparseMap) -> Result<bool, TarError> {
    read_map(block, EXT_SPARSE_COUNT, map)?;
    Ok(block[EXT_EXTENDED] != 0)
}

fn read_map(bytes: &[u8], count: usize, map: &mut SparseMap) -> Result<(), TarError> {
    for entry in bytes.chunks_exact(SPARSE_ENTRY).take(count) {
        let (offset, len) = entry.split_at(SPARSE_ENTRY / 2);
        if offset[0] == 0 && len[0] == 0 {
            break; // unused slots are NUL
        }
        match (number(offset), number(len)) {
            (Some(offset), Some(len)) => map.push(Region { offset, len })?,
            _ => return Err(TarError::malformed("a sparse map holds no number")),
        }
    }
    Ok(())
}

/// The bytes before the first NUL.
pub(crate) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

/// A numeric field: octal with blanks and NULs around, or base 256 when the top bit is set.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        if first & 0x40 != 0 {
            return None; // negative
        }
        return rest.iter().try_fold(u64::from(first & 0x3f), |n, b| {
            n.checked_mul(256)?.checked_add(u64::from(*b))
        });
    }
    let text = field.trim_ascii_start();
    let digits = text
        .split(|b| matches!(b, 0 | b' '))
        .next()
        .unwrap_or_default();
    if digits.is_empty() || text[digits.len()..].iter().any(|b| !matches!(b, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0u64, |n, b| match b {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers() {
        for (field, want) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"00000000012 ", Some(10)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(1 << 33)),
            (b"\0\0\0\0", None),
            (b"12a4567\0", None),
            (b"12 4567\0", None),
            (b"9999999\0", None),
            (b"\xff\xff\xff\xff", None),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field), want, "{field:?}");
        }
    }
}
