//! By what chunk sizes and codecs were chosen: what others would give on the files of a real collection.
//!
//! Two captures of the same shard, before and after one point in a hundred has changed, are cut in several ways; what
//! of the second is new tells what a way would store. docs/rfcs/0001-sizes-and-codecs.md draws the conclusions.

use crate::cost;
use crate::engine::files_below;
use crate::figure::Report;
use anyhow::Result;
use fastcdc::v2020::FastCDC;
use fs_err as fs;
use holdfast_archive::Encoder;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

const KIB: usize = 1 << 10;

/// A way of cutting.
#[derive(Clone, Copy)]
enum Cut {
    Fixed(usize),
    /// Content-defined, by the average; a quarter and the fourfold of it are the bounds.
    Content(usize),
}

const CUTS: [Cut; 8] = [
    Cut::Fixed(16 * KIB),
    Cut::Fixed(64 * KIB),
    Cut::Fixed(256 * KIB),
    Cut::Fixed(1024 * KIB),
    Cut::Content(16 * KIB),
    Cut::Content(64 * KIB),
    Cut::Content(256 * KIB),
    Cut::Content(1024 * KIB),
];

impl Cut {
    fn name(self) -> String {
        match self {
            Self::Fixed(size) => format!("fixed-{}K", size / KIB),
            Self::Content(size) => format!("content-{}K", size / KIB),
        }
    }

    /// Hands out the pieces of a file.
    fn pieces(self, bytes: &[u8], mut out: impl FnMut(&[u8])) {
        match self {
            Self::Fixed(size) => bytes.chunks(size).for_each(out),
            Self::Content(average) => {
                for piece in FastCDC::new(bytes, average / 4, average, average * 4) {
                    out(&bytes[piece.offset..][..piece.length]);
                }
            }
        }
    }
}

/// What a way of cutting gives in one area of a shard.
#[derive(Default)]
struct Gain {
    chunks: u64,
    bytes: u64,
    new: u64,
}

/// Compares ways of cutting, of the second folder against the first.
pub(crate) fn cuts(report: Report, name: &str, before: &Path, after: &Path) -> Result<()> {
    for cut in CUTS {
        let known = hashes(cut, before)?;
        let mut gains = BTreeMap::<String, Gain>::new();
        let ((), cost) = cost::of(|| {
            for (path, file) in files_below(after)? {
                let bytes = fs::read(path)?;
                let gain = gains.entry(area(&file)).or_default();
                cut.pieces(&bytes, |piece| {
                    gain.chunks += 1;
                    gain.bytes += piece.len() as u64;
                    if !known.contains(&blake3::hash(piece)) {
                        gain.new += piece.len() as u64;
                    }
                });
            }
            Ok(())
        })?;
        let bytes: u64 = gains.values().map(|gain| gain.bytes).sum();
        let bench = format!("{name}/cut/{}", cut.name());
        report.figure(
            &bench,
            "cpu-throughput",
            (bytes as f64 / 1e6 / cost.cpu, "MB/CPU s"),
            None,
        );
        for (area, gain) in gains {
            let share = 100.0 * gain.new as f64 / gain.bytes.max(1) as f64;
            report.figure(&format!("{bench}/{area}"), "new", (share, "%"), None);
            let per_gb = gain.chunks as f64 * 1e9 / gain.bytes.max(1) as f64;
            report.figure(&format!("{bench}/{area}"), "chunks", (per_gb, "/GB"), None);
        }
    }
    Ok(())
}

/// Compares codecs on chunks of 64 KiB.
pub(crate) fn codecs(report: Report, name: &str, folder: &Path) -> Result<()> {
    let mut areas = BTreeMap::<String, Vec<Vec<u8>>>::new();
    for (path, file) in files_below(folder)? {
        let bytes = fs::read(path)?;
        let pieces = bytes
            .chunks(64 * KIB)
            .filter(|piece| piece.iter().any(|byte| *byte != 0));
        areas
            .entry(area(&file))
            .or_default()
            .extend(pieces.map(<[u8]>::to_vec));
    }
    for (area, pieces) in areas {
        let plain: usize = pieces.iter().map(Vec::len).sum();
        let show = |codec: &str, encoded: usize, cpu: f64| {
            let bench = format!("{name}/codec/{area}/{codec}");
            report.figure(
                &bench,
                "size",
                (100.0 * encoded as f64 / plain as f64, "%"),
                None,
            );
            report.figure(
                &bench,
                "cpu-throughput",
                (plain as f64 / 1e6 / cpu.max(0.01), "MB/CPU s"),
                None,
            );
        };
        for level in [-1, 1, 3] {
            let mut zstd = zstd::bulk::Compressor::new(level)?;
            let (encoded, cost) = cost::of(|| {
                let mut sum = 0;
                for piece in &pieces {
                    sum += zstd.compress(piece)?.len().min(piece.len());
                }
                Ok(sum)
            })?;
            show(&format!("zstd{level}"), encoded, cost.cpu);
        }
        let mut encoder = Encoder::new();
        let (encoded, cost) = cost::of(|| {
            Ok(pieces
                .iter()
                .map(|piece| encoder.encode(piece).1.len())
                .sum())
        })?;
        show("as-chosen", encoded, cost.cpu);
    }
    Ok(())
}

fn hashes(cut: Cut, folder: &Path) -> Result<HashSet<blake3::Hash>> {
    let mut known = HashSet::new();
    for (path, _) in files_below(folder)? {
        let bytes = fs::read(path)?;
        cut.pieces(&bytes, |piece| {
            known.insert(blake3::hash(piece));
        });
    }
    Ok(known)
}

/// What of a shard a file belongs to, such as `vector_storage` or `wal`.
fn area(file: &str) -> String {
    let parts: Vec<&str> = file.split('/').collect();
    match parts.as_slice() {
        ["segments", _, area, _, ..] => (*area).to_owned(),
        ["wal", ..] => "wal".to_owned(),
        _ => "other".to_owned(),
    }
}
