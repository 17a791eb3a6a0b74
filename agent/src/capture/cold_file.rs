//! Reading a large file once without driving the database's pages out of the page cache.

use fs_err::File;
use rustix::fs::{Advice, fadvise};
use std::fs::Metadata;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::path::Path;

/// Pages are given back after each stretch of this many bytes.
const STRETCH: u64 = 8 << 20;

/// A file whose pages are given back behind the reader.
#[derive(Debug)]
pub(super) struct ColdFile {
    file: File,
    read: u64,
    forgotten: u64,
}

impl ColdFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::of(File::open(path)?))
    }

    pub(super) fn of(file: File) -> Self {
        // Advice is only ever a hint: whether the file system takes it does not matter.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        Self {
            file,
            read: 0,
            forgotten: 0,
        }
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    fn forget(&mut self) {
        if let Some(len) = NonZeroU64::new(self.read - self.forgotten) {
            let _ = fadvise(&self.file, self.forgotten, Some(len), Advice::DontNeed);
            self.forgotten = self.read;
        }
    }
}

impl Read for ColdFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(out)?;
        self.read += n as u64;
        if self.read - self.forgotten >= STRETCH || n == 0 {
            self.forget();
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::{ColdFile, STRETCH};
    use std::io::Read as _;

    #[test]
    fn reads_what_is_there_and_names_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot");
        let content: Vec<u8> = (0..STRETCH + 12_345)
            .map(|i| (i % 253).to_le_bytes()[0])
            .collect();
        std::fs::write(&path, &content).unwrap();
        let mut file = ColdFile::open(&path).unwrap();
        let mut got = Vec::new();
        file.read_to_end(&mut got).unwrap();
        assert_eq!(got, content);
        assert_eq!(file.forgotten, content.len() as u64);
        let error = ColdFile::open(&dir.path().join("gone")).unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
    }
}
