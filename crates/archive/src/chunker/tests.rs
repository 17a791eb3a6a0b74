//! The chunker as a function of content: round trips, splits, holes, golden cut points.

use super::{BLOCK_BYTES, ChunkEvent, FileChunker, FileRecipeBody, MAX_CHUNK_BYTES, chunk_blob};
use crate::{ChunkKey, Extent, FileClass, ShardRecipe};
use holdfast_types::ChunkId;
use proptest::prelude::*;
use std::collections::HashMap;

const CLASSES: [FileClass; 3] = [FileClass::Immutable, FileClass::InPlace, FileClass::General];

fn key() -> ChunkKey {
    ChunkKey::from_bytes([3; 32])
}

/// `len` bytes that look random and depend on `seed`.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

fn chunk_whole(class: FileClass, bytes: &[u8]) -> (FileRecipeBody, HashMap<ChunkId, Vec<u8>>) {
    let mut chunks = HashMap::new();
    let mut out = |ChunkEvent::Chunk { id, plain }: ChunkEvent<'_>| {
        chunks.insert(id, plain.to_vec());
    };
    let mut chunker = FileChunker::new(class, key());
    chunker.push(bytes, &mut out);
    let body = chunker.finish(&mut out);
    (body, chunks)
}

fn rebuild(body: &FileRecipeBody, chunks: &HashMap<ChunkId, Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for extent in &body.extents {
        match extent {
            Extent::Zero { len } => {
                bytes.resize(bytes.len() + usize::try_from(*len).unwrap(), 0);
            }
            Extent::Chunk { id, len } => {
                let plain = &chunks[id];
                assert_eq!(plain.len(), *len as usize);
                assert_eq!(key().id(plain), *id);
                bytes.extend_from_slice(plain);
            }
        }
    }
    bytes
}

/// A stretch of a test file.
#[derive(Clone, Debug)]
enum Piece {
    Zeros(usize),
    Noise(u64, usize),
    Sparse(usize),
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let len = prop_oneof![
        0..200_usize,
        (0..24_usize).prop_map(|n| n * BLOCK_BYTES),
        0..1_500_000_usize,
    ];
    let piece = (0..3, any::<u64>(), len).prop_map(|(kind, seed, len)| match kind {
        0 => Piece::Zeros(len),
        1 => Piece::Noise(seed, len),
        _ => Piece::Sparse(len),
    });
    proptest::collection::vec(piece, 0..6)
}

fn bytes_of(pieces: &[Piece]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match *piece {
            Piece::Zeros(len) => bytes.resize(bytes.len() + len, 0),
            Piece::Noise(seed, len) => bytes.extend(noise(seed, len)),
            Piece::Sparse(len) => bytes.extend((0..len).map(|i| u8::from(i % 100_003 == 7))),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_file_round_trips_and_its_recipe_is_valid(pieces in pieces()) {
        let bytes = bytes_of(&pieces);
        for class in CLASSES {
            let (body, chunks) = chunk_whole(class, &bytes);
            prop_assert_eq!(body.size, bytes.len() as u64);
            prop_assert!(rebuild(&body, &chunks) == bytes);
            let recipe = ShardRecipe::new(vec![body.at("a".to_owned())]);
            let encoded = recipe.encode().unwrap();
            prop_assert_eq!(ShardRecipe::decode(&encoded).unwrap(), recipe);
        }
    }

    #[test]
    fn neither_splits_nor_holes_matter(
        pieces in pieces(),
        cuts in proptest::collection::vec(1..400_000_usize, 1..8),
    ) {
        let bytes = bytes_of(&pieces);
        for class in CLASSES {
            let (want, _) = chunk_whole(class, &bytes);
            let mut ids = Vec::new();
            let mut out = |ChunkEvent::Chunk { id, .. }: ChunkEvent<'_>| ids.push(id);
            let mut chunker = FileChunker::new(class, key());
            let mut cuts = cuts.iter().cycle();
            for piece in &pieces {
                if let Piece::Zeros(len) = piece {
                    chunker.push_zeros(*len as u64, &mut out);
                    continue;
                }
                let bytes = bytes_of(std::slice::from_ref(piece));
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (head, tail) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                    chunker.push(head, &mut out);
                    rest = tail;
                }
            }
            let got = chunker.finish(&mut out);
            prop_assert_eq!(&got, &want);
            let listed: Vec<_> = want.extents.iter().filter_map(|extent| match extent {
                Extent::Chunk { id, .. } => Some(*id),
                Extent::Zero { .. } => None,
            }).collect();
            prop_assert_eq!(ids, listed);
        }
    }
}

/// The extents as lengths: zero extents negative.
fn shape(body: &FileRecipeBody) -> Vec<i64> {
    body.extents
        .iter()
        .map(|extent| match extent {
            Extent::Zero { len } => -i64::try_from(*len).unwrap(),
            Extent::Chunk { len, .. } => i64::from(*len),
        })
        .collect()
}

/// Changing any of these makes new captures share nothing with old ones.
#[test]
fn golden_cut_points() {
    let mut bytes = noise(1, 2_500_000);
    bytes[10 * BLOCK_BYTES..13 * BLOCK_BYTES + 99].fill(0);
    let fixed = |class| shape(&chunk_whole(class, &bytes).0);
    assert_eq!(
        fixed(FileClass::Immutable),
        [655_360, -196_608, 196_608, 1_048_576, 402_848]
    );
    assert_eq!(
        fixed(FileClass::General),
        [
            491_952, 163_408, -196_608, 434_083, 255_535, 134_248, 517_331, 306_835
        ]
    );
    let in_place = fixed(FileClass::InPlace);
    assert_eq!(in_place.len(), 10 + 1 + 26);
    assert_eq!(in_place[10], -3 * 65536);
    assert_eq!(in_place[36], 2_500_000 - 38 * 65536);
    assert_eq!(
        chunk_whole(FileClass::General, &noise(2, 70_000)).0.extents[0],
        Extent::Chunk {
            id: "98cd3caa0d02154bda9dfeb93ebd19993c37dd6f083d59d7619620fff30cfab7"
                .parse()
                .unwrap(),
            len: 70_000
        }
    );
}

#[test]
fn special_sizes() {
    for class in CLASSES {
        assert_eq!(chunk_whole(class, &[]).0.extents, []);
        assert_eq!(shape(&chunk_whole(class, &[0]).0), [-1]);
        assert_eq!(shape(&chunk_whole(class, &[1]).0), [1]);
        assert_eq!(shape(&chunk_whole(class, &[0; 200_000]).0), [-200_000]);
        let mut tail = vec![0; BLOCK_BYTES];
        tail.extend([0, 0, 1]);
        assert_eq!(shape(&chunk_whole(class, &tail).0), [-65536, 3]);
    }
}

#[test]
fn a_change_in_place_moves_no_other_cut() {
    let before = noise(5, 4 << 20);
    let mut after = before.clone();
    // A hole appears in the middle: only the chunks around it may change.
    after[BLOCK_BYTES * 20..BLOCK_BYTES * 21].fill(0);
    for (class, most) in [(FileClass::Immutable, 2), (FileClass::InPlace, 0)] {
        let (_, old) = chunk_whole(class, &before);
        let (_, new) = chunk_whole(class, &after);
        let fresh = new.keys().filter(|id| !old.contains_key(id)).count();
        assert_eq!(fresh, most, "{class:?}");
    }
}

#[test]
fn memory_is_bounded() {
    let bytes = noise(6, 12 << 20);
    for class in CLASSES {
        let mut chunker = FileChunker::new(class, key());
        for piece in bytes.chunks(100_001) {
            chunker.push(piece, &mut |_| {});
            assert!(chunker.pending.capacity() <= 2 << 20, "{class:?}");
        }
    }
}

#[test]
fn blobs_are_cut_by_content_only() {
    let mut bytes = noise(7, 900_000);
    bytes[..300_000].fill(0);
    let mut joined = Vec::new();
    let ids = chunk_blob(&bytes, &key(), &mut |ChunkEvent::Chunk { id, plain }| {
        assert_eq!(key().id(plain), id);
        assert!(plain.len() <= MAX_CHUNK_BYTES);
        joined.extend_from_slice(plain);
    });
    assert!(joined == bytes && ids.len() > 1);
    assert!(chunk_blob(&[], &key(), &mut |_| {}).is_empty());
}
