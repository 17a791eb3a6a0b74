//! A log that a server replays when a snapshot is restored: entries appended to a captured shard.
//!
//! The snapshot's own empty `closed-N` is replaced by `closed-F`, `closed-G`, … with the entries, and `first-index`, which says
//! where replay begins. Entries that the segments contain already are skipped by Qdrant, by version, so F may be at or below N. Sizes
//! are known before any data is at hand, as an archive's headers need.

use crate::format::{HEADER_BYTES, entry_crc, entry_size, header, push_entry};

/// Name of the file that says where replay begins.
pub const FIRST_INDEX: &str = "first-index";

/// One log file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpliceFile {
    /// Index of its first entry.
    pub first: u64,
    /// Number of entries.
    pub entries: u64,
    /// Size in bytes: the entries fill it.
    pub size: u64,
}

impl SpliceFile {
    /// Its name in the folder.
    #[must_use]
    pub fn name(&self) -> String {
        format!("closed-{}", self.first)
    }

    fn empty(first: u64) -> Self {
        Self {
            first,
            entries: 0,
            size: HEADER_BYTES as u64,
        }
    }

    /// Index after its last entry.
    fn next(&self) -> Option<u64> {
        self.first.checked_add(self.entries)
    }
}

/// Lays entries out in files of at most a capacity, as their lengths become known; a larger entry gets a file of its own. Without any
/// entry there is one file, which fixes the index of the next operation.
#[derive(Clone, Debug)]
pub struct Layout {
    done: Vec<SpliceFile>,
    file: SpliceFile,
    capacity: u64,
}

impl Layout {
    /// Of no entry yet; the first will have the index `first`.
    #[must_use]
    pub fn new(first: u64, capacity: u64) -> Self {
        Self {
            done: Vec::new(),
            file: SpliceFile::empty(first),
            capacity,
        }
    }

    /// The next entry has this length. `None` if indexes or sizes exceed `u64`.
    pub fn push(&mut self, length: u64) -> Option<()> {
        let size = entry_size(length)?;
        if self.file.entries > 0 && self.file.size.checked_add(size)? > self.capacity {
            let next = SpliceFile::empty(self.file.next()?);
            self.done.push(std::mem::replace(&mut self.file, next));
        }
        self.file.size = self.file.size.checked_add(size)?;
        self.file.entries += 1;
        Some(())
    }

    /// The files. `None` if indexes exceed `u64`.
    #[must_use]
    pub fn finish(mut self) -> Option<Vec<SpliceFile>> {
        self.file.next()?;
        self.done.push(self.file);
        Some(self.done)
    }
}

/// The [`Layout`] of entries whose lengths are all known. `None` if indexes or sizes exceed `u64`.
pub fn plan(
    first: u64,
    lengths: impl IntoIterator<Item = u64>,
    capacity: u64,
) -> Option<Vec<SpliceFile>> {
    let mut layout = Layout::new(first, capacity);
    for length in lengths {
        layout.push(length)?;
    }
    layout.finish()
}

/// Content of `first-index` for a log that begins at `first`.
#[must_use]
pub fn first_index(first: u64) -> Vec<u8> {
    format!("{{\"ack_index\":{first}}}").into_bytes()
}

/// Encodes one planned file.
#[derive(Clone, Copy, Debug)]
pub struct SpliceWriter {
    crc: u32,
}

impl SpliceWriter {
    /// The writer and the file's first bytes. Any seed does; a random one keeps a later file in the same place apart.
    #[must_use]
    pub fn new(seed: u32) -> (Self, [u8; HEADER_BYTES]) {
        (Self { crc: seed }, header(seed))
    }

    /// Appends the next entry to `out`.
    pub fn push(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.crc = push_entry(self.crc, data, out);
    }

    /// CRC that the next entry would have.
    #[must_use]
    pub fn next_crc(&self, data: &[u8]) -> u32 {
        entry_crc(self.crc, data)
    }
}

#[cfg(test)]
mod tests {
    use super::{SpliceFile, SpliceWriter, first_index, plan};
    use crate::Entries;

    #[test]
    fn files_are_as_long_as_planned_and_read_back() {
        let data: Vec<Vec<u8>> = (0..50_usize).map(|n| vec![7; n * 13 % 90]).collect();
        for capacity in [0, 64, 300, 1 << 20] {
            let files = plan(41, data.iter().map(|d| d.len() as u64), capacity).unwrap();
            let mut left = data.iter();
            let mut index = 41;
            for file in &files {
                assert_eq!(file.first, index);
                assert_eq!(file.name(), format!("closed-{index}"));
                let (mut writer, header) = SpliceWriter::new(0);
                let mut bytes = header.to_vec();
                let mut want = Vec::new();
                for _ in 0..file.entries {
                    let next = left.next().unwrap();
                    writer.push(next, &mut bytes);
                    want.push(next.as_slice());
                    index += 1;
                }
                assert_eq!(bytes.len() as u64, file.size);
                let read: Vec<_> = Entries::new(&bytes).unwrap().collect();
                assert_eq!(read, want);
                assert!(file.entries == 1 || file.size <= capacity);
            }
            assert_eq!(index, 91);
        }
    }

    #[test]
    fn without_entries_one_file_fixes_the_next_index() {
        let only = SpliceFile {
            first: 6,
            entries: 0,
            size: 8,
        };
        assert_eq!(plan(6, [], 100), Some(vec![only]));
        assert_eq!(first_index(6), br#"{"ack_index":6}"#);
        assert_eq!(plan(u64::MAX, [1], 100), None);
        assert_eq!(plan(0, [u64::MAX], 100), None);
    }
}
