//! Writing a planned archive.

use super::{ArchiveFile, ComposeError, ComposedArchive};
use crate::tar::{TRAILER_LEN, padding};
use std::io::Write;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Writes the files of a [`ComposedArchive`] one after another, in the plan's order; it is a [`crate::FileSink`].
///
/// For asynchronous use let `W` be a `Vec<u8>` and take what it holds (see [`Self::get_mut`]) after each call:
/// no call adds more than the bytes given to it, a header and padding, and the zeros of undeclared holes.
#[derive(Debug)]
pub struct ArchiveWriter<'a, W> {
    archive: &'a ComposedArchive,
    out: W,
    /// Index of the current file, or of the next one between files.
    index: usize,
    open: bool,
    pos: u64,
    region: usize,
    written: u64,
}

impl<'a, W: Write> ArchiveWriter<'a, W> {
    pub(super) fn new(archive: &'a ComposedArchive, out: W) -> Self {
        Self {
            archive,
            out,
            index: 0,
            open: false,
            pos: 0,
            region: 0,
            written: 0,
        }
    }

    /// The file that must be begun next; `None` when all are written.
    #[must_use]
    pub fn next_file(&self) -> Option<&'a ArchiveFile> {
        self.archive.files.get(self.index).filter(|_| !self.open)
    }

    /// The output.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Ends the archive and returns the output. Fails unless every file is complete and the length is the planned one.
    pub fn finish(mut self) -> Result<W, ComposeError> {
        if self.open || self.index < self.archive.files.len() {
            return Err(self.off_plan("the end of the archive"));
        }
        self.put(&[0; TRAILER_LEN])?;
        if self.written != self.archive.len {
            return Err(self.off_plan("an archive of another length"));
        }
        self.out.flush().map_err(ComposeError::Write)?;
        Ok(self.out)
    }

    pub(super) fn begin_file(&mut self, path: &str, size: u64) -> Result<(), ComposeError> {
        let Some(file) = self
            .next_file()
            .filter(|f| f.path == path && f.size == size)
        else {
            return Err(self.off_plan(&format!("{path:?} of {size} bytes")));
        };
        self.open = true;
        self.pos = 0;
        self.region = 0;
        self.put(&file.headers())
    }

    pub(super) fn write_data(&mut self, bytes: &[u8]) -> Result<(), ComposeError> {
        let end = self.pos.saturating_add(bytes.len() as u64);
        let planned = match self.current().regions.get(self.region) {
            Some(r) => self.open && self.pos >= r.offset && end <= r.offset + r.len,
            None => bytes.is_empty(),
        };
        if !planned {
            return Err(self.off_plan(&format!("{} bytes of data at {}", bytes.len(), self.pos)));
        }
        self.put(bytes)?;
        self.move_to(end);
        Ok(())
    }

    pub(super) fn write_zeros(&mut self, len: u64) -> Result<(), ComposeError> {
        let end = self.pos.saturating_add(len);
        if !self.open || end > self.current().size {
            return Err(self.off_plan(&format!("{len} zeros at {}", self.pos)));
        }
        while self.pos < end {
            let region = self.current().regions.get(self.region).copied();
            match region.filter(|r| r.offset < end) {
                // a hole up to the end
                None => self.move_to(end),
                // a hole up to the next region
                Some(r) if self.pos < r.offset => self.move_to(r.offset),
                // within a region: these zeros are stored
                Some(r) => {
                    let step = (end.min(r.offset + r.len) - self.pos).min(ZEROS.len() as u64);
                    let zeros = usize::try_from(step).map_or(&ZEROS[..], |n| &ZEROS[..n]);
                    self.put(zeros)?;
                    self.move_to(self.pos + step);
                }
            }
        }
        Ok(())
    }

    pub(super) fn end_file(&mut self) -> Result<(), ComposeError> {
        if !self.open || self.pos != self.current().size {
            return Err(self.off_plan(&format!("the end of a file at {}", self.pos)));
        }
        let padding = padding(self.current().stored());
        self.put(&ZEROS[..padding])?;
        self.open = false;
        self.index += 1;
        Ok(())
    }

    fn move_to(&mut self, pos: u64) {
        self.pos = pos;
        while let Some(r) = self.current().regions.get(self.region)
            && r.offset + r.len <= pos
        {
            self.region += 1;
        }
    }

    /// The open file; an empty one past the end, so that every misuse ends as [`ComposeError::OffPlan`].
    fn current(&self) -> &'a ArchiveFile {
        static NOTHING: ArchiveFile = ArchiveFile {
            path: String::new(),
            stored_as: String::new(),
            size: 0,
            regions: Vec::new(),
        };
        self.archive.files.get(self.index).unwrap_or(&NOTHING)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ComposeError> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(ComposeError::Write)
    }

    fn off_plan(&self, got: &str) -> ComposeError {
        let want = match self.archive.files.get(self.index) {
            Some(file) if self.open => format!(
                "{:?} of {} bytes, now at {}",
                file.path, file.size, self.pos
            ),
            Some(file) => format!("{:?} of {} bytes to begin", file.path, file.size),
            None => "the end of the archive".to_owned(),
        };
        ComposeError::OffPlan {
            got: got.to_owned(),
            want,
        }
    }
}
