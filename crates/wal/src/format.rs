//! One file of the log: a header with a seed, then entries whose checksums are chained from it.
//!
//! ```text
//! file    "wal" ‖ version 0 ‖ seed u32 ‖ entry… ‖ zeros up to the file's fixed size
//! entry   length u64 ‖ data ‖ (4 − length) & 7 zero bytes ‖ CRC u32          a multiple of 8 bytes
//! CRC     crc32c_append(!before.reverse_bits(), length ‖ data ‖ padding), `before` being the CRC of the entry before,
//!         or the seed
//! ```
//! All integers are little-endian. Source: `wal/segment.rs` of Qdrant 1.18; a live server writes the CRC last.

/// Length of a file's header.
pub const HEADER_BYTES: usize = 8;
/// Length of the smallest entry, that of no data.
pub const MIN_ENTRY_BYTES: usize = 16;
/// Largest data of one entry that is taken for one. Qdrant refuses requests of more than 32 MiB by default; a larger length is
/// damage, or a server configured far beyond the usual.
pub const MAX_DATA_BYTES: u64 = 128 << 20;

const MAGIC: [u8; 4] = *b"wal\0";
const LENGTH_BYTES: usize = 8;
const CRC_BYTES: usize = 4;

/// Why bytes are not the header of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Less than [`HEADER_BYTES`].
    #[error("it is shorter than a header")]
    Short,
    /// Not a log file at all.
    #[error("it does not begin with \"wal\"")]
    NotALog,
    /// A log of another version.
    #[error("its version is {0}, known is 0")]
    Version(u8),
}

/// What stands where an entry may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// An entry whose CRC continues the chain.
    Entry {
        /// Its data.
        data: &'a [u8],
        /// Its CRC, from which the next one's is computed.
        crc: u32,
        /// Bytes it takes in the file.
        size: usize,
    },
    /// The bytes end too early: it takes this many to tell.
    Short(u64),
    /// Zeros: nothing was written here yet.
    Blank,
    /// An entry by its length, but the CRC is not that of the chain: half-written, damaged, or of another chain.
    Broken {
        /// The CRC that stands there; 0 where none was written yet.
        stored: u32,
        /// Bytes it takes in the file, if its length is right.
        size: usize,
    },
    /// A length beyond the file or beyond [`MAX_DATA_BYTES`].
    Implausible(u64),
}

/// The header of a file with this seed.
#[must_use]
pub fn header(seed: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    header[MAGIC.len()..].copy_from_slice(&seed.to_le_bytes());
    header
}

/// The seed in a file's header.
///
/// # Errors
/// Bytes that are no header of version 0.
pub fn parse_header(bytes: &[u8]) -> Result<u32, HeaderError> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(HeaderError::Short);
    };
    let [m0, m1, m2, version, seed @ ..] = *header;
    if [m0, m1, m2] != MAGIC[..3] {
        return Err(HeaderError::NotALog);
    }
    if version != MAGIC[3] {
        return Err(HeaderError::Version(version));
    }
    Ok(u32::from_le_bytes(seed))
}

/// Bytes that an entry of so much data takes in a file; `None` beyond the range of `u64`.
#[must_use]
pub fn entry_size(data_len: u64) -> Option<u64> {
    let padding = 4_u64.wrapping_sub(data_len) & 7;
    data_len.checked_add(padding + (LENGTH_BYTES + CRC_BYTES) as u64)
}

/// CRC of an entry of this data, `before` being that of the entry before or the file's seed.
#[must_use]
pub fn entry_crc(before: u32, data: &[u8]) -> u32 {
    let padding = 4_usize.wrapping_sub(data.len()) & 7;
    let length = (data.len() as u64).to_le_bytes();
    let crc = crc32c::crc32c_append(!before.reverse_bits(), &length);
    let crc = crc32c::crc32c_append(crc, data);
    crc32c::crc32c_append(crc, &[0; 7][..padding])
}

/// Appends an entry to a file's bytes and returns its CRC.
pub fn push_entry(before: u32, data: &[u8], file: &mut Vec<u8>) -> u32 {
    let padding = 4_usize.wrapping_sub(data.len()) & 7;
    let crc = entry_crc(before, data);
    file.extend_from_slice(&(data.len() as u64).to_le_bytes());
    file.extend_from_slice(data);
    file.extend_from_slice(&[0; 7][..padding]);
    file.extend_from_slice(&crc.to_le_bytes());
    crc
}

/// Looks at the bytes of a file from a place where an entry may begin. `room` is how many bytes the file has from there on, of
/// which `bytes` may be only the first.
#[must_use]
pub fn parse_entry(before: u32, bytes: &[u8], room: u64) -> Parsed<'_> {
    let Some(start) = bytes.first_chunk::<MIN_ENTRY_BYTES>() else {
        let needed = MIN_ENTRY_BYTES as u64;
        if room < needed {
            return Parsed::Blank;
        }
        return Parsed::Short(needed);
    };
    if *start == [0; MIN_ENTRY_BYTES] {
        return Parsed::Blank;
    }
    let (length, _) = start.split_at(LENGTH_BYTES);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
    let size = entry_size(length).filter(|size| length <= MAX_DATA_BYTES && *size <= room);
    let Some(needed) = size else {
        return Parsed::Implausible(length);
    };
    let entry = usize::try_from(needed)
        .ok()
        .and_then(|size| bytes.get(..size));
    let Some((body, stored)) = entry.and_then(<[u8]>::split_last_chunk::<CRC_BYTES>) else {
        return Parsed::Short(needed);
    };
    let size = body.len() + CRC_BYTES;
    let stored = u32::from_le_bytes(*stored);
    let crc = crc32c::crc32c_append(!before.reverse_bits(), body);
    if crc != stored {
        return Parsed::Broken { stored, size };
    }
    // The length was checked against these very bytes.
    let data_len = usize::try_from(length).unwrap_or(usize::MAX);
    let data = body[LENGTH_BYTES..].get(..data_len).unwrap_or_default();
    Parsed::Entry { data, crc, size }
}

#[cfg(test)]
mod tests {
    use super::{
        HEADER_BYTES, HeaderError, MAX_DATA_BYTES, Parsed, entry_crc, entry_size, header,
        parse_entry, parse_header, push_entry,
    };

    #[test]
    fn the_chain_is_that_of_the_log_library() {
        // `crc32c_append(!before.reverse_bits(), …)` by the bitwise definition of CRC-32C.
        fn slow(before: u32, bytes: &[u8]) -> u32 {
            let mut state = before.reverse_bits();
            for byte in bytes {
                state ^= u32::from(*byte);
                for _ in 0..8 {
                    let odd = state & 1 == 1;
                    state >>= 1;
                    if odd {
                        state ^= 0x82f6_3b78;
                    }
                }
            }
            !state
        }
        for data in [&b""[..], b"a", b"abcd", b"abcde", &[7; 300]] {
            let mut file = Vec::new();
            let crc = push_entry(0x1234_5678, data, &mut file);
            assert_eq!(file.len() % 8, 0);
            assert_eq!(file.len() as u64, entry_size(data.len() as u64).unwrap());
            let (body, stored) = file.split_at(file.len() - 4);
            assert_eq!(stored, crc.to_le_bytes());
            assert_eq!(crc, slow(0x1234_5678, body));
            assert_eq!(crc, entry_crc(0x1234_5678, data));
        }
    }

    #[test]
    fn headers_are_strict() {
        assert_eq!(parse_header(&header(77)), Ok(77));
        assert_eq!(parse_header(b"wal\0\0\0\0"), Err(HeaderError::Short));
        assert_eq!(parse_header(b"wal\x01aaaa"), Err(HeaderError::Version(1)));
        assert_eq!(parse_header(b"lawnmower"), Err(HeaderError::NotALog));
    }

    #[test]
    fn what_stands_at_a_place_is_told_apart() {
        let mut file = Vec::new();
        let crc = push_entry(5, b"hello", &mut file);
        let size = file.len();
        file.resize(200, 0);
        fn parse(bytes: &[u8]) -> Parsed<'_> {
            parse_entry(5, bytes, 200)
        }
        let entry = Parsed::Entry {
            data: b"hello",
            crc,
            size,
        };
        assert_eq!(parse(&file), entry);
        assert_eq!(parse(&file[..size]), entry);
        assert_eq!(parse(&file[..size - 1]), Parsed::Short(size as u64));
        assert_eq!(parse(&file[..15]), Parsed::Short(16));
        assert_eq!(parse(&file[size..]), Parsed::Blank);
        assert_eq!(parse_entry(5, &[], 15), Parsed::Blank);
        for at in 8..size {
            let mut bad = file.clone();
            bad[at] ^= 4;
            assert!(matches!(parse(&bad), Parsed::Broken { .. }), "{at}");
        }
        let long = (MAX_DATA_BYTES + 1).to_le_bytes();
        file[..8].copy_from_slice(&long);
        assert_eq!(
            parse_entry(5, &file, u64::MAX),
            Parsed::Implausible(MAX_DATA_BYTES + 1)
        );
        file[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(parse(&file), Parsed::Implausible(u64::MAX));
        assert_eq!(HEADER_BYTES, 8);
    }
}
