//! Chooses a codec from 4 KiB of a chunk: entropy per byte plane, and a trial of zstd.

use super::planes::WORTH_BITS;
use zstd::bulk::Compressor;

const WINDOWS: usize = 4;
const WINDOW_BYTES: usize = 1024;
const SAMPLE_BYTES: usize = WINDOWS * WINDOW_BYTES;

/// Planes must promise at least 6 % less, and beat zstd by 3 % of the chunk.
const PLANES_BELOW: f32 = 0.94;
const PLANES_AHEAD: f32 = 0.03;
/// zstd must promise at least 7 % less.
const ZSTD_BELOW: f32 = 0.93;

/// What the probe recommends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Stored,
    Zstd,
    Planes4,
    Planes2,
}

/// Buffers of the probe.
pub(super) struct Probe {
    sample: Vec<u8>,
    trial: Vec<u8>,
}

impl Probe {
    pub(super) fn new() -> Self {
        Self {
            sample: Vec::with_capacity(SAMPLE_BYTES),
            trial: vec![0; SAMPLE_BYTES],
        }
    }

    pub(super) fn choose(&mut self, plain: &[u8], zstd: &mut Compressor<'static>) -> Choice {
        self.take_sample(plain);
        let whole = self.sample.len() as f32;
        // A failure means that the trial did not even fit in the sample's own length.
        let trial = &mut self.trial[..self.sample.len()];
        let lz = zstd
            .compress_to_buffer(&self.sample, trial)
            .map_or(1.0, |len| len as f32 / whole);
        let (four, two) = plane_ratios(&self.sample);
        let planes = four.min(two);
        if planes < PLANES_BELOW && planes < lz - PLANES_AHEAD {
            if two <= four + 0.005 {
                Choice::Planes2
            } else {
                Choice::Planes4
            }
        } else if lz < ZSTD_BELOW {
            Choice::Zstd
        } else {
            Choice::Stored
        }
    }

    /// Copies evenly spaced windows, each at a multiple of 4 so that planes stay apart.
    fn take_sample(&mut self, plain: &[u8]) {
        self.sample.clear();
        if plain.len() <= SAMPLE_BYTES {
            self.sample.extend_from_slice(plain);
            return;
        }
        let stride = (plain.len() - WINDOW_BYTES) / (WINDOWS - 1);
        for i in 0..WINDOWS {
            let at = (i * stride) & !3;
            self.sample.extend_from_slice(&plain[at..at + WINDOW_BYTES]);
        }
    }
}

/// Expected encoded size with four and with two planes, as shares of the plain size.
fn plane_ratios(sample: &[u8]) -> (f32, f32) {
    let mut four = [[0_u32; 256]; 4];
    let (numbers, _) = sample.as_chunks::<4>();
    for number in numbers {
        for (plane, byte) in four.iter_mut().zip(number) {
            plane[usize::from(*byte)] += 1;
        }
    }
    let mut two = [[0_u32; 256]; 2];
    for (k, plane) in four.iter().enumerate() {
        for (sum, count) in two[k % 2].iter_mut().zip(plane) {
            *sum += count;
        }
    }
    let four: f32 = four.iter().map(|plane| cost(bits_of(plane))).sum();
    let two: f32 = two.iter().map(|plane| cost(bits_of(plane))).sum();
    (four / 32.0, two / 16.0)
}

/// A plane above the threshold is stored: 8 bits per byte.
fn cost(bits: f32) -> f32 {
    if bits < WORTH_BITS { bits } else { 8.0 }
}

/// Order-0 entropy of a sample of `bytes`, in bits per byte.
pub(super) fn entropy_bits(bytes: &[u8]) -> f32 {
    // An odd step, so that records of a power of two are not hit at the same place each time.
    let step = (bytes.len() / 2048).max(1) | 1;
    let mut counts = [0_u32; 256];
    for byte in bytes.iter().step_by(step) {
        counts[usize::from(*byte)] += 1;
    }
    bits_of(&counts)
}

fn bits_of(counts: &[u32; 256]) -> f32 {
    let total: u32 = counts.iter().sum();
    if total == 0 {
        return 0.0;
    }
    let sum: f32 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| *count as f32 * (*count as f32).log2())
        .sum();
    (total as f32).log2() - sum / total as f32
}
