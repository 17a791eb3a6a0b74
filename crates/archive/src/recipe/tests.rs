//! The recipe's encoding is canonical and its decoder strict.

use super::{Extent, FileRecipe, RecipeError, ShardRecipe};
use crate::FileClass;
use holdfast_types::ChunkId;
use proptest::prelude::*;

fn chunk(n: u8, len: u32) -> Extent {
    let id = ChunkId::from_bytes([n; 32]);
    Extent::Chunk { id, len }
}

fn file(path: &str, extents: &[Extent]) -> FileRecipe {
    let len = |extent: &Extent| match *extent {
        Extent::Zero { len } => len,
        Extent::Chunk { len, .. } => u64::from(len),
    };
    FileRecipe {
        path: path.to_owned(),
        size: extents.iter().map(len).sum(),
        class: FileClass::InPlace,
        extents: extents.to_vec(),
    }
}

fn sample() -> ShardRecipe {
    ShardRecipe::new(vec![
        file("wal/closed-7", &[]),
        file(
            "segments/a/x.dat",
            &[chunk(1, 65536), Extent::Zero { len: 131_072 }, chunk(2, 5)],
        ),
    ])
}

#[test]
fn golden_encoding() {
    let encoded = sample().encode().unwrap();
    let want = [
        "48465243",
        "0100",
        "02000000",
        "1000",
        &hex::encode("segments/a/x.dat"),
        "01",
        "0500030000000000",
        "03000000",
        "0100000100",
        &"01".repeat(32),
        "000000020000000000",
        "0105000000",
        &"02".repeat(32),
        "0c00",
        &hex::encode("wal/closed-7"),
        "01",
        "0000000000000000",
        "00000000",
    ]
    .concat();
    assert_eq!(hex::encode(&encoded), want);
    assert_eq!(ShardRecipe::decode(&encoded).unwrap(), sample());
    assert_eq!(sample().logical_bytes(), 65536 + 131_072 + 5);
    assert_eq!(sample().chunks().count(), 2);
}

#[test]
fn every_truncation_is_an_error() {
    let encoded = sample().encode().unwrap();
    for len in 0..encoded.len() {
        assert!(ShardRecipe::decode(&encoded[..len]).is_err(), "{len}");
    }
    let longer = [encoded.as_slice(), &[0]].concat();
    assert_eq!(
        ShardRecipe::decode(&longer),
        Err(RecipeError::TrailingBytes)
    );
}

#[test]
fn unsafe_paths_are_refused() {
    let long = "a/".repeat(2100) + "a";
    for path in [
        "",
        "/etc/passwd",
        "..",
        "a/../b",
        "a//b",
        "./a",
        "a/.",
        "a/",
        "a\\b",
        "a\nb",
        "a\0b",
        &long,
    ] {
        let recipe = ShardRecipe::new(vec![file(path, &[])]);
        let error = recipe.encode().unwrap_err();
        assert!(matches!(error, RecipeError::UnsafePath(_)), "{path:?}");
    }
    let mut encoded = ShardRecipe::new(vec![file("ab", &[])]).encode().unwrap();
    let at = encoded.windows(2).position(|w| w == b"ab").unwrap();
    for bytes in [b"..", b"a/", b"/a", b"\xff\xff"] {
        encoded[at..at + 2].copy_from_slice(bytes);
        assert!(ShardRecipe::decode(&encoded).is_err(), "{bytes:?}");
    }
}

#[test]
fn unsorted_or_repeated_files_are_refused() {
    for (a, b) in [("b", "a"), ("a", "a")] {
        let recipe = ShardRecipe {
            files: vec![file(a, &[]), file(b, &[])],
        };
        assert!(matches!(recipe.encode(), Err(RecipeError::Unsorted(_))));
    }
}

/// Zero extents are 9 bytes each: decoding them before looking at them would take 5 times the message.
#[test]
fn decoding_stops_at_the_first_broken_rule() {
    let encoded = ShardRecipe::new(vec![file("a", &[])]).encode().unwrap();
    let with_extents = |count: u32, extents: &[u8]| {
        let count_at = encoded.len() - 4;
        ShardRecipe::decode(&[&encoded[..count_at], &count.to_le_bytes(), extents].concat())
    };
    let zero = [&[0_u8][..], &65_536_u64.to_le_bytes()].concat();
    let unknown = [0xff; 37];
    let found = with_extents(3, &[&zero, &zero, unknown.as_slice()].concat());
    let rule = "two zero extents in a row";
    let path = "a".to_owned();
    assert_eq!(found, Err(RecipeError::BadExtents { path, rule }));
    // A count that only extents against the rules could fill is refused before memory is taken.
    let found = with_extents(1000, &zero.repeat(1000));
    assert_eq!(found, Err(RecipeError::Truncated));
    assert_eq!(
        size_of::<Extent>(),
        40,
        "the documented factor depends on it"
    );
    assert_eq!(
        size_of::<FileRecipe>(),
        64,
        "the documented factor depends on it"
    );
}

#[test]
fn a_forged_number_of_files_takes_no_memory() {
    let mut encoded = sample().encode().unwrap();
    encoded[6..10].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    assert_eq!(ShardRecipe::decode(&encoded), Err(RecipeError::Truncated));
}

#[test]
fn inconsistent_extents_are_refused() {
    let zero = |len| Extent::Zero { len };
    for extents in [
        vec![zero(0)],
        vec![zero(65536), zero(65536)],
        vec![chunk(1, 5), zero(65536)],
        vec![zero(5), chunk(1, 5)],
        vec![chunk(1, 0)],
        vec![chunk(1, (1 << 20) + 1)],
    ] {
        let error = ShardRecipe::new(vec![file("a", &extents)])
            .encode()
            .unwrap_err();
        assert!(
            matches!(error, RecipeError::BadExtents { .. }),
            "{extents:?}"
        );
    }
    let mut wrong = file("a", &[chunk(1, 5)]);
    wrong.size = 6;
    assert!(ShardRecipe::new(vec![wrong]).encode().is_err());
}

#[test]
fn newer_foreign_and_forged_recipes() {
    let mut encoded = sample().encode().unwrap();
    encoded[4] = 2;
    assert_eq!(
        ShardRecipe::decode(&encoded),
        Err(RecipeError::NewerFormat(2))
    );
    assert_eq!(
        ShardRecipe::decode(b"PK\x03\x04"),
        Err(RecipeError::NotARecipe)
    );
    let mut forged = b"HFRC\x01\x00\x01\x00\x00\x00\x01\x00a\x02".to_vec();
    forged.extend([0; 8]);
    forged.extend([0xff; 4]);
    assert_eq!(ShardRecipe::decode(&forged), Err(RecipeError::Truncated));
}

/// Extents that follow the rules: whole blocks of chunks and zeros in turn, and a tail of any length.
fn any_extents() -> impl Strategy<Value = Vec<Extent>> {
    let run = (1_u64..200, 0_usize..6, any::<u8>());
    (
        proptest::collection::vec(run, 0..8),
        0_u32..65_536,
        any::<bool>(),
    )
        .prop_map(|(runs, tail, zero_tail)| {
            let mut extents = Vec::new();
            for (blocks, chunks, n) in runs {
                let after_zero = matches!(extents.last(), Some(Extent::Zero { .. }));
                if !after_zero {
                    extents.push(Extent::Zero { len: blocks << 16 });
                }
                let len = 65_536 << (n % 5);
                extents.extend((0..chunks).map(|_| chunk(n, len)));
            }
            match extents.last_mut() {
                Some(Extent::Zero { len }) if zero_tail => *len += u64::from(tail),
                _ if tail > 0 => extents.push(chunk(7, tail)),
                _ => {}
            }
            extents
        })
}

fn any_recipe() -> impl Strategy<Value = ShardRecipe> {
    let path = "[a-z0-9_é]{1,8}(/[a-z0-9._-]{0,8}[a-z0-9_]){0,3}";
    let class = prop::sample::select(vec![
        FileClass::Immutable,
        FileClass::InPlace,
        FileClass::General,
    ]);
    let files = proptest::collection::btree_map(path, (any_extents(), class), 0..12);
    files.prop_map(|files| {
        let files = files
            .into_iter()
            .map(|(path, (extents, class))| FileRecipe {
                class,
                ..file(&path, &extents)
            });
        // Handed over in the wrong order: making a recipe sorts.
        ShardRecipe::new(files.rev().collect())
    })
}

proptest! {
    /// Whatever is made by the rules comes back, and from no other bytes: not from fewer, nor from more.
    #[test]
    fn any_recipe_round_trips(recipe in any_recipe(), cut in any::<prop::sample::Index>()) {
        let encoded = recipe.encode().unwrap();
        let decoded = ShardRecipe::decode(&encoded).unwrap();
        prop_assert_eq!(decoded.encode().unwrap(), encoded.clone());
        prop_assert_eq!(&decoded, &recipe);
        prop_assert!(ShardRecipe::decode(&encoded[..cut.index(encoded.len())]).is_err());
        prop_assert_eq!(ShardRecipe::decode(&[&encoded[..], &[0]].concat()), Err(RecipeError::TrailingBytes));
    }

    /// Any byte of any recipe may change: what still decodes is what those bytes mean, and nothing else.
    #[test]
    fn any_damaged_recipe_is_refused_or_canonical(
        recipe in any_recipe(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut encoded = recipe.encode().unwrap();
        for (at, byte) in flips {
            let at = at.index(encoded.len());
            encoded[at] = byte;
        }
        if let Ok(recipe) = ShardRecipe::decode(&encoded) {
            prop_assert_eq!(recipe.encode().unwrap(), encoded);
        }
    }

    /// What decodes at all encodes to the very same bytes.
    #[test]
    fn decoding_is_canonical(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut encoded = sample().encode().unwrap();
        for (at, byte) in flips {
            let at = at.index(encoded.len());
            encoded[at] = byte;
        }
        if let Ok(recipe) = ShardRecipe::decode(&encoded) {
            prop_assert_eq!(recipe.encode().unwrap(), encoded);
        }
    }
}
