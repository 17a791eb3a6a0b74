//! A pack's table of contents, sealed at its end, with the padding inside.
//!
//! Plain footer: u32 LE number of entries ‖ entries ‖ zeros. Trailer: u32 LE length of the sealed
//! footer ‖ `KPFH`.

use super::{ENTRY_LEN, HEADER_LEN, PackEntry, PackError, PackHeader, TRAILER_LEN, footer_nonce};
use crate::aead::{AeadKey, TAG_LEN};
use crate::cursor::Cursor;
use crate::keyring::MasterKeys;
use crate::padding::padded;

const TRAILER_MAGIC: [u8; 4] = *b"KPFH";

/// Sizes of packs are multiples of this many bytes at least.
const MIN_GRAIN: usize = 4096;

/// Reads the table of contents from the last bytes of a pack: `tail` is the whole pack or any
/// suffix of it, `total_len` the size of the whole. Usually the last 64 KiB are enough.
///
/// # Errors
/// [`PackError::TailTooShort`] says how much is needed; else damage, or another key.
pub fn read_pack_footer(
    header: &PackHeader,
    keys: &impl MasterKeys,
    tail: &[u8],
    total_len: u64,
) -> Result<Vec<PackEntry>, PackError> {
    let opener = header.opener(keys)?;
    let Some((before, trailer)) = tail.split_last_chunk::<TRAILER_LEN>() else {
        return Err(too_short(TRAILER_LEN as u64, total_len));
    };
    if trailer[4..] != TRAILER_MAGIC {
        return Err(PackError::Damaged("its end is missing"));
    }
    let len = u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]);
    let needed = u64::from(len) + TRAILER_LEN as u64;
    let Some(start) = total_len
        .checked_sub(needed)
        .filter(|start| *start >= HEADER_LEN as u64)
    else {
        return Err(PackError::Damaged("its footer's length makes no sense"));
    };
    let Some(first) = before.len().checked_sub(len as usize) else {
        return Err(too_short(needed, total_len));
    };
    let mut sealed = before[first..].to_vec();
    let plain = opener
        .key
        .open(footer_nonce(), &aad(header, start), &mut sealed)
        .ok_or(PackError::Damaged("its footer does not authenticate"))?;
    let entries = parse(plain).ok_or(PackError::Damaged("its footer makes no sense"))?;
    let inside = |entry: &PackEntry| {
        entry.offset as usize >= HEADER_LEN
            && entry.len as usize >= TAG_LEN
            && u64::from(entry.offset) + u64::from(entry.len) <= start
    };
    if entries.iter().all(inside) {
        Ok(entries)
    } else {
        Err(PackError::Damaged("a chunk lies outside"))
    }
}

/// Size of an unpadded pack with this many bytes of encoded chunks.
pub(super) const fn unpadded_len(encoded: usize, chunks: usize) -> usize {
    let each = chunks.saturating_mul(ENTRY_LEN + TAG_LEN);
    let fixed = HEADER_LEN + 4 + TAG_LEN + TRAILER_LEN;
    encoded.saturating_add(each).saturating_add(fixed)
}

/// Size of a pack that was not closed for being full.
pub(super) fn padded_len(unpadded: usize, spread: usize, random: u64) -> usize {
    padded(unpadded, MIN_GRAIN, spread, random)
}

/// Appends the sealed footer of this length and the trailer to `bytes`.
pub(super) fn write(
    key: &AeadKey,
    header: &PackHeader,
    entries: &[PackEntry],
    sealed_len: usize,
    bytes: &mut Vec<u8>,
) {
    let start = bytes.len();
    let count = u32::try_from(entries.len()).expect("a pack is limited to 128 MiB");
    bytes.extend_from_slice(&count.to_le_bytes());
    for entry in entries {
        entry.write(bytes);
    }
    bytes.resize(start + sealed_len - TAG_LEN, 0);
    let aad = aad(header, start as u64);
    let tag = key.seal(footer_nonce(), &aad, &mut bytes[start..]);
    bytes.extend_from_slice(&tag);
    let len = u32::try_from(sealed_len).expect("a pack is limited to 128 MiB");
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&TRAILER_MAGIC);
}

fn parse(plain: &[u8]) -> Option<Vec<PackEntry>> {
    let mut cursor = Cursor::new(plain);
    let count = cursor.u32()? as usize;
    if count > cursor.remaining() / ENTRY_LEN {
        return None;
    }
    let entries: Option<Vec<_>> = (0..count).map(|_| PackEntry::read(&mut cursor)).collect();
    let padding = cursor.take(cursor.remaining())?;
    entries.filter(|_| padding.iter().all(|byte| *byte == 0))
}

/// Binds the footer to its pack's header and place.
fn aad(header: &PackHeader, start: u64) -> Vec<u8> {
    let mut aad = header.to_bytes().to_vec();
    aad.extend_from_slice(&start.to_le_bytes());
    aad
}

fn too_short(needed: u64, total_len: u64) -> PackError {
    if needed > total_len {
        PackError::Damaged("it is truncated")
    } else {
        PackError::TailTooShort { needed }
    }
}
