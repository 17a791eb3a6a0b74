//! Small sealed objects: manifests, indexes and the like, each one AEAD message.
//!
//! A checksum over the whole object lets a copy be verified without any key. The object's name is
//! not bound: what must not be swapped names itself in its payload.

use crate::aead::{AeadKey, TAG_LEN, nonce};
use crate::cursor::Cursor;
use crate::keyring::MasterKeys;
use crate::keys::MasterKey;
use crate::padding::padded;
use holdfast_types::Epoch;

const MAGIC: [u8; 4] = *b"HFOB";
const VERSION: u16 = 1;
const HEADER_LEN: usize = 56;
const CHECKSUM_LEN: usize = 32;
const ZSTD_LEVEL: i32 = 3;

/// Begins a frame that zstd passes over (RFC 8878, 3.1.2).
const SKIPPED_FRAME: [u8; 4] = 0x184d_2a50_u32.to_le_bytes();
/// Objects are not padded beyond this size.
const MAX_PADDED_BYTES: usize = MAX_PAYLOAD_BYTES;

/// Largest payload, in bytes, of one sealed object.
pub const MAX_PAYLOAD_BYTES: usize = 256 << 20;

/// What a sealed object is. Part of the key derivation: one kind never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ObjectKind {
    /// A recovery point, `points/`.
    Manifest = 1,
    /// A list of packs, `index/`.
    Index = 2,
    /// Settings kept in the repository.
    Config = 3,
    /// State of a capture under way.
    Capture = 4,
    /// A segment of an archived write-ahead log, `wal/`.
    Wal = 5,
    /// Observed events, `events/`.
    Event = 6,
    /// A hold on recovery points, `holds/`.
    Hold = 7,
    /// Objects about to be deleted, `tombstones/`.
    Tombstone = 8,
    /// A part of the audit log, `audit/`.
    Audit = 9,
    /// The outcome of a drill or comparison, `proofs/`.
    Proof = 10,
    /// What is known of a damaged object, `quarantine/`.
    Quarantine = 11,
}

/// An object that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Epoch of the coordinator that wrote it.
    pub epoch: Epoch,
    /// Its content.
    pub payload: Vec<u8>,
}

/// Why an object can't be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// The bytes are no sealed object.
    #[error("not a sealed object of Holdfast")]
    NotAnObject,
    /// Written by a newer program.
    #[error("object format {0} is newer than this program knows (1)")]
    NewerFormat(u16),
    /// Another kind of object stands here.
    #[error("object is of kind {found}, expected {expected:?}")]
    WrongKind {
        /// What was asked for.
        expected: ObjectKind,
        /// Number of the kind that was found.
        found: u8,
    },
    /// Sealed under another master key.
    #[error("object is sealed under master key {}", hex::encode(.0))]
    OtherKey([u8; 8]),
    /// Flipped, cut or forged.
    #[error("object is damaged: {0}")]
    Damaged(&'static str),
    /// The payload exceeds [`MAX_PAYLOAD_BYTES`].
    #[error("object of {0} bytes is too large")]
    TooLarge(usize),
}

/// Seals a payload. `salt` is random and never used twice.
///
/// # Errors
/// [`SealedError::TooLarge`].
pub fn seal(
    kind: ObjectKind,
    epoch: Epoch,
    salt: [u8; 32],
    master: &MasterKey,
    payload: &[u8],
) -> Result<Vec<u8>, SealedError> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(SealedError::TooLarge(payload.len()));
    }
    let packed = zstd::bulk::compress(payload, ZSTD_LEVEL)
        .map_err(|_| SealedError::Damaged("out of memory while compressing"))?;
    let mut out = Vec::with_capacity(HEADER_LEN + 8 + packed.len() + TAG_LEN + CHECKSUM_LEN);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[kind.number(), 0]);
    out.extend_from_slice(&epoch.0.to_le_bytes());
    out.extend_from_slice(&master.fingerprint());
    out.extend_from_slice(&salt);
    out.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    out.extend_from_slice(&packed);
    pad(&mut out, kind, &salt, master);
    let key = AeadKey::new(&master.derive_object_key(kind, &salt));
    let (header, body) = out.split_at_mut(HEADER_LEN);
    let tag = key.seal(nonce(0, 0), header, body);
    out.extend_from_slice(&tag);
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    Ok(out)
}

/// Appends a frame that zstd skips, so that the object's size tells little of the payload's. Objects near the
/// largest size stay as they are.
fn pad(out: &mut Vec<u8>, kind: ObjectKind, salt: &[u8; 32], master: &MasterKey) {
    const FRAME: usize = 8;
    let grain = match kind {
        // The size of an index is the number of its chunks: where they end is what must not show.
        ObjectKind::Index => 64 << 10,
        ObjectKind::Manifest
        | ObjectKind::Config
        | ObjectKind::Capture
        | ObjectKind::Wal
        | ObjectKind::Event
        | ObjectKind::Hold
        | ObjectKind::Tombstone
        | ObjectKind::Audit
        | ObjectKind::Proof
        | ObjectKind::Quarantine => 4 << 10,
    };
    let unpadded = out.len() + FRAME + TAG_LEN + CHECKSUM_LEN;
    let size = padded(unpadded, grain, 0, master.object_padding(kind, salt));
    if size > MAX_PADDED_BYTES {
        return;
    }
    let zeros = size - unpadded;
    let len = u32::try_from(zeros).expect("below the largest padded size");
    out.extend_from_slice(&SKIPPED_FRAME);
    out.extend_from_slice(&len.to_le_bytes());
    out.resize(out.len() + zeros, 0);
}

/// Opens an object of the expected kind under whichever of the keys sealed it.
///
/// # Errors
/// Damage, another kind, another key, a newer format.
pub fn open(
    bytes: &[u8],
    expected: ObjectKind,
    keys: &impl MasterKeys,
) -> Result<Opened, SealedError> {
    let body = checked_body(bytes)?;
    let (header, sealed) = body
        .split_at_checked(HEADER_LEN)
        .ok_or(SealedError::NotAnObject)?;
    let fields = read_header(header)?;
    if fields.kind != expected.number() {
        return Err(SealedError::WrongKind {
            expected,
            found: fields.kind,
        });
    }
    let master = keys
        .find(fields.fingerprint)
        .ok_or(SealedError::OtherKey(fields.fingerprint))?;
    let key = AeadKey::new(&master.derive_object_key(expected, &fields.salt));
    let mut sealed = sealed.to_vec();
    let plain = key
        .open(nonce(0, 0), header, &mut sealed)
        .ok_or(SealedError::Damaged("it does not authenticate"))?;
    let mut cursor = Cursor::new(plain);
    let len = cursor
        .u64()
        .and_then(|len| usize::try_from(len).ok())
        .filter(|len| *len <= MAX_PAYLOAD_BYTES)
        .ok_or(SealedError::Damaged("its length makes no sense"))?;
    let payload = zstd::bulk::decompress(&plain[8..], len)
        .ok()
        .filter(|payload| payload.len() == len)
        .ok_or(SealedError::Damaged("it does not decompress"))?;
    Ok(Opened {
        epoch: fields.epoch,
        payload,
    })
}

/// Verifies an object's checksum; needs no key.
///
/// # Errors
/// [`SealedError::NotAnObject`] or [`SealedError::Damaged`].
pub fn verify_checksum(bytes: &[u8]) -> Result<(), SealedError> {
    checked_body(bytes).map(drop)
}

/// The epoch in which an object was written, from its header alone (not authenticated).
///
/// # Errors
/// [`SealedError::NotAnObject`] or [`SealedError::NewerFormat`].
pub fn peek_epoch(bytes: &[u8]) -> Result<Epoch, SealedError> {
    let header = bytes.get(..HEADER_LEN).ok_or(SealedError::NotAnObject)?;
    read_header(header).map(|fields| fields.epoch)
}

impl ObjectKind {
    /// The kind's number on disk.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

struct Header {
    kind: u8,
    epoch: Epoch,
    fingerprint: [u8; 8],
    salt: [u8; 32],
}

fn read_header(header: &[u8]) -> Result<Header, SealedError> {
    let mut cursor = Cursor::new(header);
    let not = SealedError::NotAnObject;
    if cursor.array() != Some(MAGIC) {
        return Err(not);
    }
    match cursor.u16().ok_or(not)? {
        VERSION => {}
        0 => return Err(not),
        newer => return Err(SealedError::NewerFormat(newer)),
    }
    let kind = cursor.u8().ok_or(not)?;
    if cursor.u8().ok_or(not)? != 0 {
        return Err(SealedError::Damaged("reserved byte is set"));
    }
    Ok(Header {
        kind,
        epoch: Epoch(cursor.u64().ok_or(not)?),
        fingerprint: cursor.array().ok_or(not)?,
        salt: cursor.array().ok_or(not)?,
    })
}

/// The object without its checksum, which is verified.
fn checked_body(bytes: &[u8]) -> Result<&[u8], SealedError> {
    if bytes.get(..4) != Some(&MAGIC) {
        return Err(SealedError::NotAnObject);
    }
    let (body, checksum) = bytes
        .split_last_chunk::<CHECKSUM_LEN>()
        .ok_or(SealedError::Damaged("it is truncated"))?;
    if blake3::hash(body) == *checksum {
        Ok(body)
    } else {
        Err(SealedError::Damaged("its checksum differs"))
    }
}

#[cfg(test)]
mod tests {
    use super::{ObjectKind, SealedError, open, peek_epoch, seal, verify_checksum};
    use crate::MasterKey;
    use holdfast_types::Epoch;

    fn master() -> MasterKey {
        MasterKey::from_bytes([7; 32])
    }

    fn sample() -> Vec<u8> {
        let payload = br#"{"format":1}"#.repeat(9);
        seal(ObjectKind::Manifest, Epoch(3), [1; 32], &master(), &payload).unwrap()
    }

    #[test]
    fn round_trips() {
        for payload in [vec![], vec![1], vec![0; 300_000]] {
            let sealed = seal(ObjectKind::Index, Epoch(9), [2; 32], &master(), &payload).unwrap();
            verify_checksum(&sealed).unwrap();
            assert_eq!(peek_epoch(&sealed), Ok(Epoch(9)));
            let opened = open(&sealed, ObjectKind::Index, &master()).unwrap();
            assert_eq!((opened.epoch, opened.payload), (Epoch(9), payload));
        }
    }

    #[test]
    fn every_flipped_byte_is_an_error() {
        let good = sample();
        for at in 0..good.len() {
            for bit in [1, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= bit;
                assert!(open(&bad, ObjectKind::Manifest, &master()).is_err(), "{at}");
                assert!(verify_checksum(&bad).is_err(), "{at}");
            }
        }
    }

    /// An attacker can renew the checksum, so the AEAD alone must catch every flip too.
    #[test]
    fn every_flipped_byte_under_a_renewed_checksum_is_an_error() {
        let good = sample();
        for at in 0..good.len() - 32 {
            let mut bad = good[..good.len() - 32].to_vec();
            bad[at] ^= 1;
            let checksum = blake3::hash(&bad);
            bad.extend_from_slice(checksum.as_bytes());
            assert!(open(&bad, ObjectKind::Manifest, &master()).is_err(), "{at}");
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let good = sample();
        for len in 0..good.len() {
            assert!(open(&good[..len], ObjectKind::Manifest, &master()).is_err());
        }
        let longer = [good.as_slice(), &[0]].concat();
        assert!(open(&longer, ObjectKind::Manifest, &master()).is_err());
    }

    #[test]
    fn errors_tell_kind_key_and_format_apart() {
        let good = sample();
        assert_eq!(
            open(&good, ObjectKind::Index, &master()),
            Err(SealedError::WrongKind {
                expected: ObjectKind::Index,
                found: 1
            })
        );
        let other = MasterKey::from_bytes([8; 32]);
        assert_eq!(
            open(&good, ObjectKind::Manifest, &other),
            Err(SealedError::OtherKey(master().fingerprint()))
        );
        let mut newer = good[..good.len() - 32].to_vec();
        newer[4] = 2;
        let checksum = blake3::hash(&newer);
        newer.extend_from_slice(checksum.as_bytes());
        assert_eq!(
            open(&newer, ObjectKind::Manifest, &master()),
            Err(SealedError::NewerFormat(2))
        );
        assert_eq!(
            open(b"hello", ObjectKind::Manifest, &master()),
            Err(SealedError::NotAnObject)
        );
    }

    /// Sealed once by version 0.1.0: it must open for ever.
    #[test]
    fn golden_object() {
        let sealed = hex::decode(
            "48464f420100060002000000000000002eced808082adbdd03030303030303030303030303030303\
             03030303030303030303030303030303f35aecdf42cb47f5084fbe5cc2a845454798b0e3fc7b6004\
             e9ace81fef0c86b5b40c84366d60ccf4e982110a1de8e210af27e2324ab870d898ba07b721b17349\
             c87c",
        )
        .unwrap();
        let opened = open(&sealed, ObjectKind::Event, &master()).unwrap();
        assert_eq!((opened.epoch, opened.payload), (Epoch(2), b"x".to_vec()));
    }
}
