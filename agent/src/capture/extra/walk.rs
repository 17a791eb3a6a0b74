//! What there is to capture: every file, directory and link below an extra's paths.
//!
//! A path of the configuration is followed if it is a link, because somebody has named it; links inside a directory are
//! kept as links. Sockets, pipes and devices have no content and are left out with a word.

use crate::config::ExtraSection;
use fs_err as fs;
use holdfast_archive::extra_listing::{MAX_ENTRIES, MODE_BITS, is_safe};
use holdfast_types::ByteCount;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Warnings that are told one by one; more are only counted.
const MAX_WARNINGS: usize = 10;

/// Why nothing can be captured.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalkError {
    /// Something can't be read; the error names its path.
    #[error("can't be read: it must be there, and readable by this agent's user")]
    Io(#[from] io::Error),
    /// A name that a listing can't hold.
    #[error(
        "the name {0:?} can't be captured: it must be UTF-8 without control characters and backslashes, and not too long"
    )]
    Name(PathBuf),
    /// More bytes than allowed.
    #[error("its files have more than {0} (max_mib): raise the limit, or name fewer files")]
    TooLarge(ByteCount),
    /// More entries than allowed.
    #[error("there are more than {MAX_ENTRIES} files, directories and links: name fewer")]
    TooMany,
    /// A file that does not hold still.
    #[error(
        "{} changed each time while it was read: let the hook before write a copy that nobody changes, and capture that",
        .0.display()
    )]
    Changing(PathBuf),
    /// A named path that has no content.
    #[error("{} is neither a file nor a directory", .0.display())]
    Special(PathBuf),
}

/// Something to capture.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is.
    pub(super) at: PathBuf,
    /// The same without the leading slash.
    pub(super) path: String,
    /// Whether the configuration names it: then it must be there.
    pub(super) named: bool,
    pub(super) kind: FoundKind,
}

#[derive(Debug)]
pub(super) enum FoundKind {
    File,
    Directory { mode: u32, mtime_us: i64 },
    Link { target: String },
}

/// What was found, and what was left out.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) found: Vec<Found>,
    /// Bytes of all files, as they were seen.
    pub(super) bytes: u64,
    pub(super) warnings: Warnings,
}

/// What went wrong and did not matter.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    told: Vec<String>,
    more: usize,
}

impl Warnings {
    pub(super) fn add(&mut self, text: String) {
        if self.told.len() < MAX_WARNINGS {
            self.told.push(text);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn into_texts(mut self) -> Vec<String> {
        if self.more > 0 {
            self.told.push(format!("and {} more like these", self.more));
        }
        self.told
    }
}

/// Finds everything. Blocks.
pub(super) fn walk(section: &ExtraSection) -> Result<Walked, WalkError> {
    let mut walked = Walked::default();
    let mut open = Vec::new();
    for path in &section.paths {
        let seen = fs::metadata(path)?;
        if !seen.is_file() && !seen.is_dir() {
            return Err(WalkError::Special(path.clone()));
        }
        walked.take(section, path.clone(), &seen, true, &mut open)?;
    }
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let at = entry?.path();
            let seen = match fs::symlink_metadata(&at) {
                Ok(seen) => seen,
                // Gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            walked.take(section, at, &seen, false, &mut open)?;
        }
    }
    Ok(walked)
}

impl Walked {
    fn take(
        &mut self,
        section: &ExtraSection,
        at: PathBuf,
        seen: &Metadata,
        named: bool,
        open: &mut Vec<PathBuf>,
    ) -> Result<(), WalkError> {
        let kind = if seen.is_dir() {
            open.push(at.clone());
            FoundKind::Directory {
                mode: seen.mode() & MODE_BITS,
                mtime_us: mtime_us(seen),
            }
        } else if seen.is_file() {
            self.bytes = self.bytes.saturating_add(seen.len());
            if self.bytes > section.limit.get() {
                return Err(WalkError::TooLarge(section.limit));
            }
            FoundKind::File
        } else if seen.is_symlink() {
            let target = fs::read_link(&at)?;
            let target = target.to_str().ok_or_else(|| WalkError::Name(at.clone()))?;
            FoundKind::Link {
                target: target.to_owned(),
            }
        } else {
            let what = format!("{} is a socket, a pipe or a device: left out", at.display());
            self.warnings.add(what);
            return Ok(());
        };
        if self.found.len() >= MAX_ENTRIES {
            return Err(WalkError::TooMany);
        }
        let path = inner(&at).ok_or_else(|| WalkError::Name(at.clone()))?;
        self.found.push(Found {
            at,
            path,
            named,
            kind,
        });
        Ok(())
    }
}

/// The path as a listing has it.
fn inner(at: &Path) -> Option<String> {
    let path = at.to_str()?.strip_prefix('/')?.trim_end_matches('/');
    is_safe(path).then(|| path.to_owned())
}

pub(super) fn mtime_us(seen: &Metadata) -> i64 {
    let micros = seen.mtime().saturating_mul(1_000_000);
    micros.saturating_add(seen.mtime_nsec() / 1000)
}
