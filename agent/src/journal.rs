//! The journal: the command table on disk, durable before anything it describes is done.
//!
//! Each change writes a whole new file beside the old one, fsyncs it, renames it and fsyncs the
//! directory, so that a crash leaves the old table or the new one. The table is small (a few KiB a
//! command), so there is no log to replay. A checksum line guards against disks that lie: a damaged
//! file is set aside, never deleted, and the generation before it is used.
//!
//! | operation | while another runs |
//! |---|---|
//! | `update` | waits for it: one writer at a time, in order |
//! | `read` | sees the table before or after it, never between |
//! | a second agent | refused at `open` by a lock on the directory |

use crate::commands::CommandTable;
use crate::failure::{Failed, io_code};
use fs_err::File;
use holdfast_service::failure::Code;
use rustix::fs::{FlockOperation, flock};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

mod encoding;

/// Why the journal could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another agent uses the same directory.
    #[error("another agent runs with the state directory {}", .0.display())]
    Locked(PathBuf),
    /// The file was written by a newer release.
    #[error("the journal {} has format {found}, this agent knows {}: upgrade it", path.display(), encoding::FORMAT)]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The disk refused.
    #[error("can't use the agent's state directory {}: {}", dir.display(), advice(source))]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The writing task was aborted.
    #[error("the journal's writer was stopped")]
    Stopped,
}

impl JournalError {
    /// What a program branches on.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Io { source, .. } => io_code(source),
            Self::Locked(_) | Self::Newer { .. } | Self::Stopped => Code::Internal,
        }
    }

    /// The failure of whatever can't go on because of it.
    #[must_use]
    pub fn failed(&self) -> Failed {
        Failed::from_error(self.code(), self)
    }
}

/// What to do about it.
fn advice(error: &io::Error) -> &'static str {
    match (io_code(error), error.kind()) {
        (Code::DiskFull, _) => "its disk is full, free some space there",
        (Code::ReadOnly, _) => {
            "its disk is read-only, make it writable or set state_dir to another directory"
        }
        (_, io::ErrorKind::PermissionDenied) => {
            "this user may not write there, give it the directory or set state_dir to another"
        }
        (_, _) => "state_dir must be a directory that this user can create or write to",
    }
}

/// The durable command table; clones share it.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    /// Held as long as the agent runs.
    _lock: File,
    table: RwLock<CommandTable>,
    writing: Mutex<()>,
}

/// What was found at [`Journal::open`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No journal: the first start in this directory.
    Nothing,
    /// The journal as it was left.
    Intact,
    /// The newest file was damaged and set aside; the one before it is used, or nothing.
    Damaged {
        /// Where the damaged file is now.
        set_aside: PathBuf,
        /// Whether an earlier generation could be read.
        recovered: bool,
    },
}

const CURRENT: &str = "journal.json";
const PREVIOUS: &str = "journal.previous.json";
const TEMPORARY: &str = "journal.new";

impl Journal {
    /// Opens the journal in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// [`JournalError`]; damage is not an error but [`Found::Damaged`].
    pub fn open(dir: &Path) -> Result<(Self, Found), JournalError> {
        // The journal describes collections, and the spool holds their data. A directory that is there
        // already keeps the mode that its owner gave it.
        let refused = |source| JournalError::Io {
            dir: dir.to_owned(),
            source,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(refused)?;
        let lock = File::create(dir.join("lock")).map_err(refused)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(JournalError::Locked(dir.to_owned()));
            }
            Err(errno) => return Err(refused(errno.into())),
        }
        let (table, found) = load(dir)?;
        let journal = Self {
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                _lock: lock,
                table: RwLock::new(table),
                writing: Mutex::new(()),
            }),
        };
        Ok((journal, found))
    }

    /// Looks at the table.
    pub fn read<R>(&self, look: impl FnOnce(&CommandTable) -> R) -> R {
        look(
            &self
                .shared
                .table
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Changes the table and returns when the change is durable. Nothing is written if it changes
    /// nothing.
    ///
    /// # Errors
    /// [`JournalError::Io`]; the table is then as before.
    pub async fn update<R, F>(&self, change: F) -> Result<R, JournalError>
    where
        F: FnOnce(&mut CommandTable) -> R + Send + 'static,
        R: Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.update(change))
            .await
            .map_err(|_| JournalError::Stopped)?
    }
}

impl Shared {
    fn update<R>(&self, change: impl FnOnce(&mut CommandTable) -> R) -> Result<R, JournalError> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self
            .table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut table = before.clone();
        let result = change(&mut table);
        if table != before {
            store(&self.dir, &table).map_err(|source| JournalError::Io {
                dir: self.dir.clone(),
                source,
            })?;
            *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        }
        Ok(result)
    }
}

fn store(dir: &Path, table: &CommandTable) -> io::Result<()> {
    let bytes = encoding::encode(table);
    let new = dir.join(TEMPORARY);
    let mut file = File::create(&new)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    let current = dir.join(CURRENT);
    // Kept by a hard link made anew, not by a rename: at no instant is there no current file.
    remove_if_there(&dir.join(PREVIOUS))?;
    match fs_err::hard_link(&current, dir.join(PREVIOUS)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::debug!(%error, "the journal keeps no previous generation"),
    }
    fs_err::rename(&new, &current)?;
    File::open(dir)?.sync_all()?;
    Ok(())
}

fn load(dir: &Path) -> Result<(CommandTable, Found), JournalError> {
    let refused = |source| JournalError::Io {
        dir: dir.to_owned(),
        source,
    };
    let current = dir.join(CURRENT);
    match read_file(dir, CURRENT)? {
        Content::Table(table) => Ok((table, Found::Intact)),
        Content::Missing => match read_file(dir, PREVIOUS)? {
            Content::Table(table) => Ok((table, Found::Intact)),
            Content::Missing | Content::Damaged => Ok((CommandTable::default(), Found::Nothing)),
        },
        Content::Damaged => {
            let set_aside = free_name(dir);
            fs_err::rename(&current, &set_aside).map_err(refused)?;
            let (table, recovered) = match read_file(dir, PREVIOUS)? {
                Content::Table(table) => (table, true),
                Content::Missing | Content::Damaged => (CommandTable::default(), false),
            };
            store(dir, &table).map_err(refused)?;
            let found = Found::Damaged {
                set_aside,
                recovered,
            };
            Ok((table, found))
        }
    }
}

enum Content {
    Table(CommandTable),
    Missing,
    Damaged,
}

fn read_file(dir: &Path, name: &str) -> Result<Content, JournalError> {
    let path = dir.join(name);
    let bytes = match fs_err::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Missing),
        Err(source) => {
            let dir = dir.to_owned();
            return Err(JournalError::Io { dir, source });
        }
    };
    match encoding::decode(&bytes) {
        Ok(table) => Ok(Content::Table(table)),
        Err(encoding::DecodeError::Newer(found)) => Err(JournalError::Newer { path, found }),
        Err(encoding::DecodeError::Damaged) => Ok(Content::Damaged),
    }
}

fn free_name(dir: &Path) -> PathBuf {
    (1_u32..)
        .map(|n| dir.join(format!("journal.damaged-{n}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| dir.join("journal.damaged"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
