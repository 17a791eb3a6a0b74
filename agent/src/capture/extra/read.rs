//! Reading an extra's files into chunks, and the listing that stands beside them.
//!
//! A file that changes while it is read is read again, a few times; one that does not hold still fails the extra. So what
//! is captured of each file is what it was at one instant. Chunks of a reading that was given up are garbage.

use super::walk::{Found, FoundKind, WalkError, Walked, Warnings, mtime_us, walk};
use crate::capture::cold_file::ColdFile;
use crate::capture::reader::{ChunkSink, Stage};
use crate::config::ExtraSection;
use crate::failure::{Failed, chain};
use crate::job::Halt;
use crate::progress::Meter;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use holdfast_archive::extra_listing::{FILES_PREFIX, LISTING_PATH, MAX_LISTING_BYTES, MODE_BITS};
use holdfast_archive::{EntryKind, ExtraListing, ListedEntry, ShardRecipe};
use holdfast_qdrant::FileSink as _;
use holdfast_service::failure::Code;
use rustix::fs::OFlags;
use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

/// How often a file is read that changes meanwhile.
const TRIES: u32 = 4;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(250);
/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// What was read.
#[derive(Debug)]
pub(super) struct ReadExtra {
    pub(super) recipe: ShardRecipe,
    /// Number of files …
    pub(super) files: u32,
    /// … and their bytes.
    pub(super) bytes: u64,
    pub(super) warnings: Vec<String>,
}

/// Finds and reads everything. Blocks.
pub(super) fn read(section: &ExtraSection, stage: &Stage) -> Result<ReadExtra, Halt> {
    let failed = |error: WalkError| Halt::from(failure(section, &error));
    let walked = walk(section).map_err(failed)?;
    stage.meter.restart(walked.bytes);
    let mut reader = Reader {
        section,
        stage,
        sink: stage.sink(),
        buffer: vec![0; BUFFER],
        bytes: 0,
        files: 0,
        warnings: Warnings::default(),
    };
    let Walked {
        found, warnings, ..
    } = walked;
    reader.warnings = warnings;
    let mut entries = Vec::with_capacity(found.len());
    for found in found {
        entries.extend(reader.take(found)?);
    }
    reader.finish(entries)
}

struct Reader<'a> {
    section: &'a ExtraSection,
    stage: &'a Stage,
    sink: ChunkSink,
    buffer: Vec<u8>,
    bytes: u64,
    files: u32,
    warnings: Warnings,
}

/// How one reading of a file ended.
enum Tried {
    Same(ListedEntry),
    Changed,
}

impl Reader<'_> {
    fn take(&mut self, found: Found) -> Result<Option<ListedEntry>, Halt> {
        let entry = |mode, mtime_us, kind| ListedEntry {
            path: found.path.clone(),
            mode,
            mtime_us,
            kind,
        };
        match &found.kind {
            FoundKind::Directory { mode, mtime_us } => {
                Ok(Some(entry(*mode, *mtime_us, EntryKind::Directory)))
            }
            FoundKind::Link { target } => {
                let target = target.clone();
                Ok(Some(entry(0, 0, EntryKind::Link { target })))
            }
            FoundKind::File => self.file(&found),
        }
    }

    /// `None` if it has gone meanwhile, and nobody has named it.
    fn file(&mut self, found: &Found) -> Result<Option<ListedEntry>, Halt> {
        for attempt in 0..TRIES {
            if attempt > 0 {
                std::thread::sleep(PAUSE);
            }
            let file = match open(found) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !found.named => {
                    let what = format!("{} has gone meanwhile: left out", found.at.display());
                    self.warnings.add(what);
                    return Ok(None);
                }
                Err(error) => return Err(self.failed(&WalkError::Io(error))),
            };
            match self.once(found, file)? {
                Tried::Same(entry) => {
                    self.files = self.files.saturating_add(1);
                    return Ok(Some(entry));
                }
                Tried::Changed => self.sink.abandon(),
            }
        }
        Err(self.failed(&WalkError::Changing(found.at.clone())))
    }

    fn once(&mut self, found: &Found, mut file: ColdFile) -> Result<Tried, Halt> {
        let section = self.section;
        let io = |error| failure(section, &WalkError::Io(error));
        let before = file.metadata().map_err(io)?;
        if !before.is_file() {
            return Ok(Tried::Changed);
        }
        let path = format!("{FILES_PREFIX}{}", found.path);
        self.begin(&path, before.len())?;
        let (mut read, mut hash) = (0, blake3::Hasher::new());
        loop {
            let n = file.read(&mut self.buffer).map_err(io)?;
            if n == 0 {
                break;
            }
            read += n as u64;
            if self.bytes.saturating_add(read) > self.section.limit.get() {
                return Err(self.failed(&WalkError::TooLarge(self.section.limit)));
            }
            hash.update(&self.buffer[..n]);
            let fed = self.sink.data(&self.buffer[..n]);
            fed.map_err(|ended| self.stage.ended(ended))?;
            count(&self.stage.meter, n);
        }
        let after = file.metadata().map_err(io)?;
        if read != before.len() || identity(&before) != identity(&after) {
            return Ok(Tried::Changed);
        }
        self.end()?;
        self.bytes += read;
        Ok(Tried::Same(ListedEntry {
            path: found.path.clone(),
            mode: before.mode() & MODE_BITS,
            mtime_us: mtime_us(&before),
            kind: EntryKind::File {
                size: read,
                blake3: hash.finalize().to_hex().to_string(),
            },
        }))
    }

    /// The listing is a file like the others.
    fn finish(mut self, entries: Vec<ListedEntry>) -> Result<ReadExtra, Halt> {
        let name = &self.section.name;
        let unlisted = |why: String| {
            let what = format!("extra {name}: its files can't be listed: {why}");
            Halt::from(Failed::new(Code::ExtraFailed, what))
        };
        let json = ExtraListing::new(entries).to_json();
        let json = json.map_err(|error| unlisted(chain(&error)))?;
        if json.len() as u64 > MAX_LISTING_BYTES {
            return Err(unlisted("the list is too long".to_owned()));
        }
        self.begin(LISTING_PATH, json.len() as u64)?;
        let fed = self.sink.data(&json);
        fed.map_err(|ended| self.stage.ended(ended))?;
        self.end()?;
        Ok(ReadExtra {
            recipe: self.sink.finish()?,
            files: self.files,
            bytes: self.bytes,
            warnings: self.warnings.into_texts(),
        })
    }

    fn begin(&mut self, path: &str, size: u64) -> Result<(), Halt> {
        let begun = self.sink.begin(path, size);
        begun.map_err(|ended| self.stage.ended(ended))
    }

    fn end(&mut self) -> Result<(), Halt> {
        let ended = self.sink.end();
        ended.map_err(|ended| self.stage.ended(ended))
    }

    fn failed(&self, error: &WalkError) -> Halt {
        failure(self.section, error).into()
    }
}

fn count(meter: &Arc<Meter>, n: usize) {
    meter.add_done(n as u64);
}

/// Opens it without following a link that took its place, unless it was named, and without waiting for a pipe.
fn open(found: &Found) -> io::Result<ColdFile> {
    let mut flags = OFlags::NONBLOCK;
    if !found.named {
        flags |= OFlags::NOFOLLOW;
    }
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = fs_err::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(&found.at)?;
    Ok(ColdFile::of(file))
}

/// What differs once a file was written to.
fn identity(seen: &Metadata) -> (u64, i64, i64, i64, i64) {
    (
        seen.len(),
        seen.mtime(),
        seen.mtime_nsec(),
        seen.ctime(),
        seen.ctime_nsec(),
    )
}

fn failure(section: &ExtraSection, error: &WalkError) -> Failed {
    Failed::new(
        Code::ExtraFailed,
        format!("extra {}: {}", section.name, chain(error)),
    )
}

#[cfg(test)]
mod tests;
