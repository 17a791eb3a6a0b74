//! Logs for tests, written as a server writes them.

use fs_err as fs;
use holdfast_wal::splice::SpliceWriter;
use std::io::Write as _;
use std::path::Path;

/// A file of the log with these entries and room behind them.
pub(super) fn write(path: &Path, seed: u32, entries: &[&[u8]]) {
    let mut bytes = content(seed, entries);
    bytes.resize(4096, 0);
    fs::write(path, bytes).unwrap();
}

/// The same in place, as the server appends.
pub(super) fn rewrite(path: &Path, seed: u32, entries: &[&[u8]]) {
    let mut same_file = fs::OpenOptions::new().write(true).open(path).unwrap();
    same_file.write_all(&content(seed, entries)).unwrap();
}

fn content(seed: u32, entries: &[&[u8]]) -> Vec<u8> {
    let (mut writer, header) = SpliceWriter::new(seed);
    let mut bytes = header.to_vec();
    for entry in entries {
        writer.push(entry, &mut bytes);
    }
    bytes
}
