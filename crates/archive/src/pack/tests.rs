//! Packs: round trips, and every byte is guarded.

use super::{
    FinishedPack, HEADER_LEN, PackBuilder, PackError, PackHeader, PackSize, TRAILER_LEN,
    open_chunk, pack_id, read_pack_footer,
};
use crate::{ChunkKey, Codec, MasterKey};
use bytes::Bytes;
use holdfast_types::{ChunkId, Epoch};
use proptest::prelude::*;

fn master() -> MasterKey {
    MasterKey::from_bytes([7; 32])
}

fn id_of(plain: &[u8]) -> ChunkId {
    ChunkKey::from_bytes([1; 32]).id(plain)
}

fn build(salt: u8, chunks: &[Vec<u8>]) -> FinishedPack {
    let mut builder = PackBuilder::new(Epoch(5), [salt; 32], &master());
    assert!(builder.is_empty());
    for chunk in chunks {
        let len = u32::try_from(chunk.len()).unwrap();
        builder
            .add(id_of(chunk), Codec::Stored, len, chunk.clone().into())
            .unwrap();
    }
    assert_eq!(builder.chunk_count(), chunks.len());
    builder.finish()
}

fn sample() -> FinishedPack {
    build(9, &[b"alpha".to_vec(), vec![3; 200], b"gamma".to_vec()])
}

/// Reads a pack as a stranger would: header, footer, then every chunk, hashing each.
fn read_all(bytes: &[u8]) -> Result<Vec<Vec<u8>>, PackError> {
    let header = PackHeader::parse(bytes)?;
    let entries = read_pack_footer(&header, &master(), bytes, bytes.len() as u64)?;
    entries
        .iter()
        .map(|entry| {
            let sealed = &bytes[entry.offset as usize..][..entry.len as usize];
            let plain = open_chunk(&header, &master(), entry, sealed)?;
            assert_eq!(id_of(&plain), entry.id);
            Ok(plain)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_chunks_round_trip(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..3000), 0..40),
        salt in any::<u8>(),
    ) {
        let pack = build(salt, &chunks);
        prop_assert_eq!(pack_id(&pack.bytes), pack.id);
        let mut read = read_all(&pack.bytes).unwrap();
        let mut want = chunks;
        read.sort();
        want.sort();
        prop_assert_eq!(read, want);
        let header = PackHeader::parse(&pack.bytes).unwrap();
        let total = pack.bytes.len() as u64;
        let entries = read_pack_footer(&header, &master(), &pack.bytes, total).unwrap();
        prop_assert_eq!(entries, pack.entries);
    }
}

#[test]
fn every_flipped_byte_is_an_error_even_without_the_id() {
    let good = sample().bytes;
    assert!(read_all(&good).is_ok());
    for at in 0..good.len() {
        for bit in [1, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= bit;
            assert!(read_all(&bad).is_err(), "byte {at}");
            assert_ne!(pack_id(&bad), pack_id(&good));
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    let good = sample().bytes;
    for len in 0..good.len() {
        assert!(read_all(&good[..len]).is_err(), "{len}");
    }
    assert!(read_all(&[good.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn a_chunk_opens_only_as_itself() {
    let pack = sample();
    let header = PackHeader::parse(&pack.bytes).unwrap();
    let entry = pack.entries[0];
    let sealed = &pack.bytes[entry.offset as usize..][..entry.len as usize];
    assert!(open_chunk(&header, &master(), &entry, sealed).is_ok());
    let mut other = entry;
    other.codec = Codec::Zstd;
    assert!(open_chunk(&header, &master(), &other, sealed).is_err());
    other = entry;
    other.plain_len += 1;
    assert!(open_chunk(&header, &master(), &other, sealed).is_err());
    other = entry;
    other.id = id_of(b"other");
    assert!(open_chunk(&header, &master(), &other, sealed).is_err());
    other = entry;
    other.offset += 1;
    assert!(open_chunk(&header, &master(), &other, sealed).is_err());
    let stranger = MasterKey::from_bytes([8; 32]);
    assert_eq!(
        open_chunk(&header, &stranger, &entry, sealed),
        Err(PackError::OtherKey(master().fingerprint()))
    );
}

#[test]
fn the_footer_says_how_much_tail_it_needs() {
    let pack = build(1, &vec![vec![1; 10]; 3000]);
    let header = PackHeader::parse(&pack.bytes[..HEADER_LEN]).unwrap();
    let total = pack.bytes.len() as u64;
    let read = |len: usize| {
        let tail = &pack.bytes[pack.bytes.len() - len..];
        read_pack_footer(&header, &master(), tail, total)
    };
    let Err(PackError::TailTooShort { needed }) = read(TRAILER_LEN) else {
        panic!("8 bytes can't hold 3000 entries");
    };
    let needed = usize::try_from(needed).unwrap();
    assert_eq!(read(needed), Ok(pack.entries.clone()));
    assert!(matches!(
        read(needed - 1),
        Err(PackError::TailTooShort { .. })
    ));
    assert!(matches!(
        read(0),
        Err(PackError::TailTooShort { needed: 8 })
    ));
}

#[test]
fn sizes_and_order_tell_little() {
    let one = build(1, &[vec![1; 1000]]);
    let two = build(1, &[vec![1; 1000], vec![2; 500]]);
    assert_eq!(one.bytes.len(), 4096);
    assert_eq!(two.bytes.len(), 4096);
    let chunks: Vec<_> = (0..100_u8).map(|n| vec![n; 50]).collect();
    let order = |salt| -> Vec<_> { build(salt, &chunks).entries.iter().map(|e| e.id).collect() };
    let given: Vec<_> = chunks.iter().map(|chunk| id_of(chunk)).collect();
    assert_ne!(order(1), given);
    assert_ne!(order(1), order(2));
    assert_eq!(order(1), order(1));
    let large = build(1, &vec![vec![1; 100_000]; 100]);
    let plain = 100 * 100_016;
    assert!(large.bytes.len() < plain + plain / 16);
}

#[test]
fn impossible_chunks_and_full_packs_are_refused() {
    let mut builder = PackBuilder::new(Epoch(1), [1; 32], &master());
    let mut add = |codec, plain_len, encoded: &Bytes| {
        builder.add(id_of(b""), codec, plain_len, encoded.clone())
    };
    let long = Bytes::from(vec![0; (1 << 20) + 1]);
    assert!(add(Codec::Stored, 0, &Bytes::new()).is_err());
    assert!(add(Codec::Zstd, (1 << 20) + 1, &long.slice(..1)).is_err());
    assert!(add(Codec::Stored, 1 << 20, &long).is_err());
    let longer = add(Codec::Zstd, 100, &long.slice(..101));
    assert!(matches!(longer, Err(PackError::BadChunk { .. })));
    let chunk = long.slice(1..);
    let mut added = 0;
    while add(Codec::Stored, 1 << 20, &chunk).is_ok() {
        added += 1;
    }
    assert_eq!(added, 127);
    assert_eq!(add(Codec::Stored, 1 << 20, &chunk), Err(PackError::Full));
}

/// Memory that held another pack leaves no trace.
#[test]
fn used_memory_makes_the_same_pack() {
    let chunk = Bytes::from_static(b"alpha");
    let build = |memory: Vec<u8>| {
        let mut builder = PackBuilder::new(Epoch(5), [4; 32], &master());
        builder
            .add(id_of(&chunk), Codec::Stored, 5, chunk.clone())
            .unwrap();
        builder.finish_into(memory, PackSize::Full(8192)).bytes
    };
    assert_eq!(build(vec![0xaa; 100_000]), build(Vec::new()));
}

#[test]
fn newer_and_foreign_packs_are_named() {
    let mut bytes = sample().bytes;
    bytes[4] = 2;
    assert_eq!(PackHeader::parse(&bytes), Err(PackError::NewerFormat(2)));
    assert_eq!(PackHeader::parse(b"PK\x03\x04"), Err(PackError::NotAPack));
    assert_eq!(PackHeader::parse(b""), Err(PackError::NotAPack));
}

/// Changing this makes every existing repository unreadable.
#[test]
fn golden_pack() {
    let pack = sample();
    assert_eq!(pack.bytes.len(), 4096);
    assert_eq!(
        hex::encode(&pack.bytes[..HEADER_LEN]),
        "4846504b0100000005000000000000002eced808082adbdd0909090909090909090909090909090909090909090909090909090909090909"
    );
    assert_eq!(
        pack.id.to_string(),
        "2f0dec2facfd25dcd789491d02ca44483704e826d2296cc718bf81b9cc260fec"
    );
}
