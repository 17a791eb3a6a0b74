//! GNU tar headers, written.

use super::sparse::Region;

/// Bytes of a tar block.
pub(crate) const BLOCK: usize = 512;
/// Bytes of the two zero blocks that end an archive.
pub(crate) const TRAILER_LEN: usize = 2 * BLOCK;
const NAME_LEN: usize = 100;
const MAP_IN_HEADER: usize = 4;
const MAP_IN_BLOCK: usize = 21;

/// All blocks before the content of a regular file: long name if needed, header, rest of the
/// sparse map. A single region that covers the whole file makes an ordinary entry; others a sparse
/// one, in which `regions` (ascending, disjoint, all but the last a multiple of 512 long) are stored.
pub(crate) fn header_blocks(path: &str, size: u64, regions: &[Region]) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK);
    if path.len() > NAME_LEN {
        // The terminating NUL belongs to the long name's content.
        let content = path.len() as u64 + 1;
        out.extend(seal(header(b"././@LongLink", b'L', content)));
        out.extend(path.as_bytes());
        out.resize(out.len() + 1 + padding(content), 0);
    }
    if is_dense(size, regions) {
        out.extend(seal(header(path.as_bytes(), b'0', size)));
        return out;
    }
    // The map ends with an empty region at the end of the file when that ends with a hole.
    let mut map = regions.to_vec();
    if map.last().is_none_or(|r| r.offset + r.len < size) {
        map.push(Region {
            offset: size,
            len: 0,
        });
    }
    let stored = regions.iter().map(|r| r.len).sum();
    let mut block = header(path.as_bytes(), b'S', stored);
    let (first, rest) = map.split_at(map.len().min(MAP_IN_HEADER));
    put_map(&mut block[386..], first);
    block[482] = u8::from(!rest.is_empty());
    put_number(&mut block[483..495], size);
    out.extend(seal(block));
    let mut blocks = rest.chunks(MAP_IN_BLOCK).peekable();
    while let Some(entries) = blocks.next() {
        let mut block = [0; BLOCK];
        put_map(&mut block, entries);
        block[504] = u8::from(blocks.peek().is_some());
        out.extend(block);
    }
    out
}

/// Whether the regions are the whole file in one piece.
fn is_dense(size: u64, regions: &[Region]) -> bool {
    match regions {
        [] => size == 0,
        [only] => only.offset == 0 && only.len == size,
        _ => false,
    }
}

/// Zero bytes that fill the last block of a content of `len` bytes.
pub(crate) fn padding(len: u64) -> usize {
    let over = usize::try_from(len % BLOCK as u64).expect("less than a block");
    (BLOCK - over) % BLOCK
}

fn header(name: &[u8], kind: u8, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let name = &name[..name.len().min(NAME_LEN)];
    block[..name.len()].copy_from_slice(name);
    put_number(&mut block[100..108], 0o644);
    put_number(&mut block[108..116], 0);
    put_number(&mut block[116..124], 0);
    put_number(&mut block[124..136], size);
    // One second after the epoch: unpackers treat zero as "unknown".
    put_number(&mut block[136..148], 1);
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar  \0");
    block
}

fn seal(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    put_number(&mut block[148..155], sum);
    block
}

fn put_map(out: &mut [u8], regions: &[Region]) {
    for (slot, region) in out.chunks_exact_mut(24).zip(regions) {
        put_number(&mut slot[..12], region.offset);
        put_number(&mut slot[12..], region.len);
    }
}

/// Octal digits and a NUL; base 256 when they would not fit.
fn put_number(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    if text.len() == digits {
        field[..digits].copy_from_slice(text.as_bytes());
        field[digits] = 0;
    } else {
        let bytes = value.to_be_bytes();
        field.fill(0);
        let at = field.len() - bytes.len(); // 12-byte fields only: smaller ones hold small values
        field[at..].copy_from_slice(&bytes);
        field[0] |= 0x80;
    }
}
