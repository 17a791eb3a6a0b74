//! A pull reader of tar archives over any buffered source, another archive's entry included.

use super::TarError;
use super::header::{Header, extended_sparse, until_nul};
use super::pax::{Pax, PaxSparse, decimal, push_pairs};
use super::sparse::{Region, SparseMap};
use super::write::{BLOCK, padding};
use std::io::{self, BufRead, Read};

/// Longest path and longest extended header, in bytes.
const MAX_PATH: u64 = 4096;
const MAX_PAX: u64 = 4 << 20;
/// What a hole reads as when an entry is read as a stream.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file, sparse or not.
    File,
    /// A directory.
    Directory,
}

/// The head of an entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The path as it stands in the archive.
    pub(crate) path: String,
    /// File or directory.
    pub(crate) kind: EntryKind,
    /// Logical size in bytes, holes included.
    pub(crate) size: u64,
}

/// The next part of a file.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    /// Bytes.
    Data(&'a [u8]),
    /// A hole of so many bytes.
    Zeros(u64),
}

enum Run {
    Data(u64),
    Zeros(u64),
    End,
}

/// Reads one archive entry by entry.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    input: R,
    path: String,
    size: u64,
    regions: std::vec::IntoIter<Region>,
    region: Option<Region>,
    pos: u64,
    padding: usize,
    /// Bytes lent out by the last `next_piece`, consumed by the next call.
    lent: usize,
}

impl<R: BufRead> TarReader<R> {
    /// A reader at the start of an archive.
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            path: "the start".to_owned(),
            size: 0,
            regions: Vec::new().into_iter(),
            region: None,
            pos: 0,
            padding: 0,
            lent: 0,
        }
    }

    /// The next file or directory; `None` after a correct trailer and nothing but zeros behind it.
    /// What is left of the entry before is skipped.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        while self.next_piece()?.is_some() {}
        let mut block = [0; BLOCK];
        self.skip_padding(&mut block)?;
        let mut long_name = None;
        let mut pax = Pax::default();
        loop {
            if !self.read_block(&mut block)? {
                return Err(TarError::NoTrailer {
                    after: self.path.clone(),
                });
            }
            if block == [0; BLOCK] {
                self.check_trailer()?;
                return Ok(None);
            }
            let header = Header::parse(&block)?;
            match header.kind() {
                b'L' => {
                    let name = self.read_small(header.size()?, MAX_PATH + 1)?;
                    long_name = Some(until_nul(&name).to_vec());
                }
                b'x' => pax = Pax::parse(&self.read_small(header.size()?, MAX_PAX)?)?,
                b'g' => drop(self.read_small(header.size()?, MAX_PAX)?),
                kind => {
                    let path = pax
                        .path
                        .take()
                        .or(long_name)
                        .unwrap_or_else(|| header.path());
                    let path = String::from_utf8(path)
                        .map_err(|_| TarError::malformed("a path is not UTF-8"))?;
                    return self.begin(&header, kind, path, pax).map(Some);
                }
            }
        }
    }

    /// The next part of the current file; `None` at its end.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Piece<'_>>, TarError> {
        let lent = std::mem::take(&mut self.lent);
        self.advance(lent as u64);
        match self.run() {
            Run::End => Ok(None),
            Run::Zeros(len) => {
                self.advance(len);
                Ok(Some(Piece::Zeros(len)))
            }
            Run::Data(len) => {
                let bytes = match self.input.fill_buf() {
                    Ok([]) => {
                        return Err(TarError::Cut {
                            inside: self.path.clone(),
                        });
                    }
                    Ok(bytes) => bytes,
                    Err(error) => return Err(TarError::from_read(error, &self.path)),
                };
                let take = usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len());
                self.lent = take;
                Ok(Some(Piece::Data(&bytes[..take])))
            }
        }
    }

    /// The source, of which everything up to the end of what was read is consumed.
    pub(crate) fn input(&self) -> &R {
        &self.input
    }

    /// The current file as a byte stream, its holes as zeros.
    pub(crate) fn body(&mut self) -> EntryBody<'_, R> {
        EntryBody { reader: self }
    }

    fn begin(
        &mut self,
        header: &Header<'_>,
        kind: u8,
        path: String,
        pax: Pax,
    ) -> Result<Entry, TarError> {
        self.path = path;
        self.pos = 0;
        let mut stored = match pax.size {
            Some(size) => size,
            None => header.size()?,
        };
        self.padding = padding(stored);
        let (size, map) = match (kind, pax.sparse) {
            (b'S', _) => {
                let mut map = SparseMap::default();
                let mut more = header.sparse(&mut map)?;
                let mut block = [0; BLOCK];
                while more {
                    self.read_exact(&mut block)?;
                    more = extended_sparse(&block, &mut map)?;
                }
                (header.real_size()?, map)
            }
            (b'0' | b'7', Some(mut sparse)) => {
                if sparse.map_in_data {
                    stored = self.read_map_in_data(&mut sparse, stored)?;
                }
                let size = sparse
                    .real_size
                    .ok_or_else(|| TarError::malformed("a sparse entry lacks its size"))?;
                (size, sparse.map)
            }
            (b'0' | b'7', None) => (stored, SparseMap::dense(stored)),
            (b'5', _) => (0, SparseMap::dense(0)),
            (kind, _) => {
                return Err(TarError::Forbidden {
                    path: self.path.clone(),
                    kind: char::from(kind),
                });
            }
        };
        let stored = if kind == b'5' { 0 } else { stored };
        self.size = size;
        self.regions = map.finish(size, stored)?.into_iter();
        self.region = self.regions.next();
        let is_dir = kind == b'5' || (kind == b'0' && size == 0 && self.path.ends_with('/'));
        Ok(Entry {
            path: self.path.clone(),
            kind: if is_dir {
                EntryKind::Directory
            } else {
                EntryKind::File
            },
            size,
        })
    }

    /// PAX sparse 1.0: the map is text at the head of the data, in whole blocks. Returns the
    /// number of bytes of file data that follow it.
    fn read_map_in_data(&mut self, sparse: &mut PaxSparse, stored: u64) -> Result<u64, TarError> {
        let mut text = Vec::new();
        let mut block = [0; BLOCK];
        loop {
            if text.len() as u64 >= stored.min(MAX_PAX) {
                return Err(TarError::malformed("a sparse map has no end"));
            }
            self.read_exact(&mut block)?;
            text.extend_from_slice(&block);
            let complete = text.iter().rposition(|b| *b == b'\n').unwrap_or(0);
            let mut lines = text[..complete].split(|b| *b == b'\n');
            let count = decimal(lines.next().unwrap_or_default())?;
            let wanted = usize::try_from(count)
                .ok()
                .and_then(|c| c.checked_mul(2))
                .ok_or_else(|| TarError::malformed("a sparse map is too large"))?;
            let numbers: Vec<&[u8]> = lines.take(wanted).collect();
            if numbers.len() == wanted {
                let numbers: Vec<u64> =
                    numbers.into_iter().map(decimal).collect::<Result<_, _>>()?;
                push_pairs(&numbers, &mut sparse.map)?;
                return Ok(stored.saturating_sub(text.len() as u64));
            }
        }
    }

    fn run(&self) -> Run {
        match self.region {
            Some(r) if self.pos < r.offset => Run::Zeros(r.offset - self.pos),
            Some(r) => Run::Data(r.offset + r.len - self.pos),
            None if self.pos < self.size => Run::Zeros(self.size - self.pos),
            None => Run::End,
        }
    }

    /// Moves `by` bytes on, at most to the end of the current run.
    fn advance(&mut self, by: u64) {
        if by == 0 {
            return;
        }
        let region = self.region.filter(|r| self.pos >= r.offset);
        self.pos += by;
        if let Some(r) = region {
            self.input
                .consume(usize::try_from(by).expect("a slice that was lent has a usize length"));
            if self.pos == r.offset + r.len {
                self.region = self.regions.next();
            }
        }
    }

    fn skip_padding(&mut self, block: &mut [u8; BLOCK]) -> Result<(), TarError> {
        let padding = std::mem::take(&mut self.padding);
        let input = &mut self.input;
        input
            .read_exact(&mut block[..padding])
            .map_err(|e| TarError::from_read(e, &self.path))
    }

    fn read_exact(&mut self, block: &mut [u8; BLOCK]) -> Result<(), TarError> {
        let input = &mut self.input;
        input
            .read_exact(block)
            .map_err(|e| TarError::from_read(e, "a header"))
    }

    /// Reads a block; false if the archive ends exactly before it.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, TarError> {
        let at_end = self
            .input
            .fill_buf()
            .map_err(|e| TarError::from_read(e, "a header"))?
            .is_empty();
        if at_end {
            return Ok(false);
        }
        self.read_exact(block)?;
        Ok(true)
    }

    fn read_small(&mut self, len: u64, limit: u64) -> Result<Vec<u8>, TarError> {
        if len > limit {
            return Err(TarError::malformed(format!(
                "an extended header of {len} bytes is too large"
            )));
        }
        let whole = len + padding(len) as u64;
        let mut bytes = Vec::new();
        let read = self
            .input
            .by_ref()
            .take(whole)
            .read_to_end(&mut bytes)
            .map_err(|e| TarError::from_read(e, "an extended header"))?;
        if (read as u64) < whole {
            return Err(TarError::Cut {
                inside: "an extended header".to_owned(),
            });
        }
        bytes.truncate(usize::try_from(len).expect("limited above"));
        Ok(bytes)
    }

    /// After the first zero block: the second, then nothing but zeros to the end.
    fn check_trailer(&mut self) -> Result<(), TarError> {
        let mut block = [0; BLOCK];
        if !self.read_block(&mut block)? {
            return Err(TarError::Cut {
                inside: "the trailer".to_owned(),
            });
        }
        if block != [0; BLOCK] {
            return Err(TarError::malformed("a single zero block between entries"));
        }
        loop {
            let rest = self
                .input
                .fill_buf()
                .map_err(|e| TarError::from_read(e, "the trailer"))?;
            if rest.is_empty() {
                return Ok(());
            }
            if rest.iter().any(|b| *b != 0) {
                return Err(TarError::malformed("bytes after the trailer"));
            }
            let len = rest.len();
            self.input.consume(len);
        }
    }
}

/// One entry's content as a stream; an archive that is cut inside it reads as `UnexpectedEof`.
#[derive(Debug)]
pub(crate) struct EntryBody<'a, R> {
    reader: &'a mut TarReader<R>,
}

impl<R: BufRead> BufRead for EntryBody<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.reader.run() {
            Run::End => Ok(&[]),
            Run::Zeros(len) => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                Ok(&ZEROS[..len.min(ZEROS.len())])
            }
            Run::Data(len) => {
                let bytes = self.reader.input.fill_buf()?;
                if bytes.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let take = usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len());
                Ok(&bytes[..take])
            }
        }
    }

    fn consume(&mut self, by: usize) {
        self.reader.advance(by as u64);
    }
}

impl<R: BufRead> Read for EntryBody<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let len = bytes.len().min(out.len());
        out[..len].copy_from_slice(&bytes[..len]);
        self.consume(len);
        Ok(len)
    }
}

#[cfg(test)]
mod tests;
