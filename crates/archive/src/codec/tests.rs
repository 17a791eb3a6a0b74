//! Every codec round-trips, the probe chooses sensibly, and nothing that is decoded panics.

use super::{Codec, CodecError, Decoder, Encoder};
use crate::MAX_CHUNK_BYTES;
use proptest::prelude::*;

const CODECS: [Codec; 4] = [
    Codec::Stored,
    Codec::Zstd,
    Codec::Planes4Zstd,
    Codec::Planes2Zstd,
];

fn noise(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

/// Sums of uniform numbers: bell-shaped like the components of an embedding.
fn embeddings(count: usize) -> impl Iterator<Item = f32> {
    let bytes = noise(count * 16);
    let numbers: Vec<f32> = bytes
        .as_chunks::<16>()
        .0
        .iter()
        .map(|four| {
            let (parts, _) = four.as_chunks::<4>();
            let sum: f32 = parts
                .iter()
                .map(|part| u32::from_le_bytes(*part) as f32 / 4_294_967_296.0 - 0.5)
                .sum();
            sum / 20.0
        })
        .collect();
    numbers.into_iter()
}

fn f32_bytes(count: usize) -> Vec<u8> {
    embeddings(count).flat_map(f32::to_le_bytes).collect()
}

/// The upper half of an f32 is a bfloat16.
fn bf16_bytes(count: usize) -> Vec<u8> {
    embeddings(count)
        .flat_map(|x| {
            let bytes = x.to_le_bytes();
            [bytes[2], bytes[3]]
        })
        .collect()
}

fn json_bytes(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|i| format!(r#"{{"id":{i},"city":"c{}","ok":true}}"#, i % 97).into_bytes())
        .collect()
}

fn check(plain: &[u8]) -> (Codec, usize) {
    let mut encoder = Encoder::new();
    let (codec, encoded) = encoder.encode(plain);
    assert!(encoded.len() <= plain.len());
    let mut decoder = Decoder::new();
    assert_eq!(decoder.decode(codec, encoded, plain.len()), Ok(plain));
    (codec, encoded.len())
}

#[test]
fn the_probe_chooses_by_content() {
    let share = |plain: &[u8]| {
        let (codec, len) = check(plain);
        (codec, len * 100 / plain.len())
    };
    for count in [16 << 10, 256 << 10] {
        let (codec, percent) = share(&f32_bytes(count));
        assert_eq!(codec, Codec::Planes4Zstd);
        assert!(percent <= 88, "{percent}");
    }
    let (codec, percent) = share(&bf16_bytes(100_000));
    assert_eq!(codec, Codec::Planes2Zstd);
    assert!(percent <= 80, "{percent}");
    let (codec, percent) = share(&json_bytes(5_000));
    assert_eq!(codec, Codec::Zstd);
    assert!(percent <= 30, "{percent}");
    assert_eq!(share(&noise(100_000)), (Codec::Stored, 100));
    assert!(share(&[b'x'; 65_536]).1 <= 1);
}

#[test]
fn numbers_are_part_of_the_format() {
    for (codec, number) in CODECS.into_iter().zip(0_u8..) {
        assert_eq!(codec.number(), number);
        assert_eq!(Codec::try_from(u32::from(number)), Ok(codec));
    }
    assert_eq!(Codec::try_from(4), Err(CodecError::UnknownCodec(4)));
    assert_eq!(Codec::try_from(257), Err(CodecError::UnknownCodec(257)));
}

/// Encoded once by version 0.1.0: these bytes must decode for ever.
#[test]
fn golden_decoding() {
    let plain: Vec<u8> = (0..258_u32)
        .map(|i| [0, 1, 0x3c, 0x80][(i % 4) as usize])
        .collect();
    for (codec, encoded) in [
        (Codec::Zstd, "28b52ffd6002005d00002000013c800100fb294704"),
        (
            Codec::Planes4Zstd,
            "1100008011000080110000801100008028b52ffd2040450000100000010093001628b52ffd2040450000100101010093001628b52ffd2040450000103c3c010093001628b52ffd204045000010808001009300160001",
        ),
        (
            Codec::Planes2Zstd,
            "120000801200008028b52ffd20814d000010003c0100bcd4610128b52ffd20814d00001001800100bcd46101",
        ),
    ] {
        let encoded = hex::decode(encoded).unwrap();
        let mut decoder = Decoder::new();
        assert_eq!(decoder.decode(codec, &encoded, 258), Ok(plain.as_slice()));
    }
}

#[test]
fn every_truncation_is_an_error() {
    let mut plain: Vec<u8> = (0..400_u32).flat_map(|i| (i % 90).to_le_bytes()).collect();
    plain.extend([1, 2, 3]);
    for codec in CODECS {
        let mut encoder = Encoder::new();
        let Some(len) = encoder.encode_as(codec, &plain) else {
            assert_eq!(codec, Codec::Stored);
            continue;
        };
        let encoded = &encoder.out[..len];
        let mut decoder = Decoder::new();
        for cut in 0..len {
            let result = decoder.decode(codec, &encoded[..cut], plain.len());
            assert_eq!(result, Err(CodecError::Damaged), "{codec:?} {cut}");
        }
        let longer = [encoded, &[0]].concat();
        assert!(decoder.decode(codec, &longer, plain.len()).is_err());
    }
}

/// zstd itself reads any number of frames and skips the skippable ones.
#[test]
fn only_exactly_one_frame_is_a_chunk() {
    let frame = |plain: &[u8]| zstd::bulk::compress(plain, 1).unwrap();
    let skippable = [
        &0x184D_2A50_u32.to_le_bytes()[..],
        &3_u32.to_le_bytes(),
        b"abc",
    ]
    .concat();
    let (whole, half) = (frame(&[7; 1000]), frame(&[7; 500]));
    let mut decoder = Decoder::new();
    let mut decode = |data: &[u8]| decoder.decode(Codec::Zstd, data, 1000).map(<[u8]>::to_vec);
    assert_eq!(decode(&whole).unwrap(), [7; 1000]);
    for (what, data) in [
        ("two frames", [&half[..], &half].concat()),
        ("an empty frame more", [&whole[..], &frame(b"")].concat()),
        (
            "a skippable frame after it",
            [&whole[..], &skippable].concat(),
        ),
        (
            "a skippable frame before it",
            [&skippable[..], &whole].concat(),
        ),
        ("a byte more", [&whole[..], &[0]].concat()),
    ] {
        assert_eq!(decode(&data), Err(CodecError::Damaged), "{what}");
    }
    let planes = |plane: &[u8]| {
        let field = (1_u32 << 31) | u32::try_from(plane.len()).unwrap();
        let header = field.to_le_bytes().repeat(2);
        [&header[..], plane, plane].concat()
    };
    let mut decode = |data: &[u8]| {
        decoder
            .decode(Codec::Planes2Zstd, data, 1000)
            .map(<[u8]>::len)
    };
    assert_eq!(decode(&planes(&half)), Ok(1000));
    let two = planes(&[&half[..], &skippable].concat());
    assert_eq!(decode(&two), Err(CodecError::Damaged));
}

#[test]
fn what_is_longer_than_its_content_is_refused() {
    let noise = noise(200);
    let frame = zstd::bulk::compress(&noise, 1).unwrap();
    assert!(frame.len() > noise.len(), "zstd can't shrink noise");
    let result = Decoder::new()
        .decode(Codec::Zstd, &frame, noise.len())
        .map(<[u8]>::len);
    let (encoded_len, plain_len) = (frame.len(), 200);
    assert_eq!(
        result,
        Err(CodecError::LongerThanPlain {
            encoded_len,
            plain_len
        })
    );
}

#[test]
fn lengths_are_bounded() {
    let mut decoder = Decoder::new();
    for codec in CODECS {
        for len in [0, MAX_CHUNK_BYTES + 1, usize::MAX] {
            let result = decoder.decode(codec, b"", len);
            assert_eq!(result, Err(CodecError::BadLength(len)));
        }
    }
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
    let result = decoder.decode(Codec::Zstd, &bomb, MAX_CHUNK_BYTES);
    assert_eq!(result, Err(CodecError::Damaged));
}

fn plain_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..3000),
        (1..60_000_usize).prop_map(noise),
        (1..60_000_usize).prop_map(f32_bytes),
        (1..60_000_usize).prop_map(bf16_bytes),
        (1..3000_usize).prop_map(json_bytes),
        (1..20_000_u64).prop_map(|n| (0..n).flat_map(u64::to_le_bytes).collect()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn chosen_codecs_round_trip(plain in plain_bytes(), cut in 0..5_usize) {
        check(&plain[..plain.len() - cut.min(plain.len() - 1)]);
    }

    #[test]
    fn forced_codecs_round_trip(plain in plain_bytes()) {
        let mut encoder = Encoder::new();
        let mut decoder = Decoder::new();
        for codec in CODECS {
            if let Some(len) = encoder.encode_as(codec, &plain) {
                let result = decoder.decode(codec, &encoder.out[..len], plain.len());
                prop_assert_eq!(result, Ok(plain.as_slice()));
            }
        }
    }

    #[test]
    fn garbage_never_panics(
        data in proptest::collection::vec(any::<u8>(), 0..200),
        len in 0..400_usize,
    ) {
        let mut decoder = Decoder::new();
        for codec in CODECS {
            if let Ok(plain) = decoder.decode(codec, &data, len) {
                prop_assert_eq!(plain.len(), len);
            }
        }
    }
}
