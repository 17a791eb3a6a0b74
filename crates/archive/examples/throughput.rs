//! Measures one core's way from bytes to encoded chunks, and sealing: `cargo run --release
//! -p holdfast-archive --example throughput`. Reads no files and writes nothing but its result.
#![expect(clippy::print_stdout, reason = "an example prints its result")]
#![expect(clippy::disallowed_methods, reason = "measuring time is its purpose")]

use bytes::Bytes;
use holdfast_archive::{
    ChunkEvent, ChunkKey, Decoder, Encoder, FileChunker, FileClass, MasterKey, PackBuilder,
};
use holdfast_types::Epoch;
use std::time::Instant;

const BYTES: usize = 256 << 20;

fn main() {
    for (name, data) in [
        ("f32", floats()),
        ("random", noise(BYTES)),
        ("json", json()),
        ("zeros", vec![0; BYTES]),
    ] {
        for class in [FileClass::Immutable, FileClass::InPlace, FileClass::General] {
            measure(name, class, &data);
        }
    }
}

fn measure(name: &str, class: FileClass, data: &[u8]) {
    let mut encoder = Encoder::new();
    let start = Instant::now();
    let chunks = cut(class, data, &mut |_| {});
    let hashing = start.elapsed().as_secs_f64();

    let mut encoded_bytes = 0;
    let start = Instant::now();
    cut(class, data, &mut |ChunkEvent::Chunk { plain, .. }| {
        encoded_bytes += encoder.encode(plain).1.len();
    });
    let encoding = start.elapsed().as_secs_f64();

    // Kept apart from the measurement above: fresh memory costs more than encoding.
    let mut kept = Vec::new();
    cut(class, &data[..BYTES / 8], &mut |event| {
        let ChunkEvent::Chunk { id, plain } = event;
        let (codec, encoded) = encoder.encode(plain);
        kept.push((id, codec, plain.len(), Bytes::copy_from_slice(encoded)));
    });
    let mut decoder = Decoder::new();
    let mut plain_bytes = 0;
    let start = Instant::now();
    for (_, codec, len, encoded) in &kept {
        plain_bytes += decoder.decode(*codec, encoded, *len).map_or(0, <[u8]>::len);
    }
    let decoding = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let mut pack = PackBuilder::new(Epoch(1), [2; 32], &MasterKey::from_bytes([3; 32]));
    for (id, codec, len, encoded) in &kept {
        let fits = u32::try_from(*len)
            .is_ok_and(|len| pack.add(*id, *codec, len, encoded.clone()).is_ok());
        if !fits {
            break;
        }
    }
    let sealed = pack.finish().bytes.len();
    let sealing = start.elapsed().as_secs_f64();
    let rate = |bytes: usize, seconds: f64| bytes as f64 / seconds.max(1e-9) / 1e6;
    println!(
        "{name:7} {class:9?} chunk+hash {:6.0} MB/s, +encode {:6.0} MB/s to {:5.1} %, decode {:6.0} MB/s, seal {:6.0} MB/s, {chunks} chunks",
        rate(data.len(), hashing),
        rate(data.len(), encoding),
        100.0 * encoded_bytes as f64 / data.len() as f64,
        rate(plain_bytes, decoding),
        rate(sealed, sealing),
    );
}

/// Cuts and hashes; returns the number of chunks.
fn cut(class: FileClass, data: &[u8], each: &mut impl FnMut(ChunkEvent<'_>)) -> u64 {
    let mut count = 0;
    let mut out = |event: ChunkEvent<'_>| {
        count += 1;
        each(event);
    };
    let mut chunker = FileChunker::new(class, ChunkKey::from_bytes([1; 32]));
    for piece in data.chunks(1 << 20) {
        chunker.push(piece, &mut out);
    }
    chunker.finish(&mut out);
    count
}

fn noise(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

/// Bell-shaped numbers of the size that components of unit vectors have.
fn floats() -> Vec<u8> {
    let random = noise(BYTES);
    let (words, _) = random.as_chunks::<4>();
    words
        .windows(4)
        .flat_map(|four| {
            let sum: f32 = four
                .iter()
                .map(|word| u32::from_le_bytes(*word) as f32 / 4_294_967_296.0 - 0.5)
                .sum();
            (sum / 20.0).to_le_bytes()
        })
        .collect()
}

fn json() -> Vec<u8> {
    let mut out = Vec::with_capacity(BYTES + 100);
    let mut i = 0_u64;
    while out.len() < BYTES {
        let word = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        out.extend_from_slice(
            format!(
                r#"{{"id":{i},"city":"c{}","title":"{word:x}","ok":true}}"#,
                word % 97
            )
            .as_bytes(),
        );
        i += 1;
    }
    out
}
