//! Temporary files of one open store, in a directory of its own: `.tmp/<random>/`.
//!
//! The directory is locked (`flock`) for as long as the store is open, so whoever opens the store
//! next can tell the files of the dead, which it removes, from those of the living. A cleaner may lock a
//! directory between its creation and its owner's lock; the owner then sees the lock taken, or the
//! directory gone, and makes another.

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Name of the directory of all temporary files.
const TEMP_DIR: &str = ".tmp";
/// How often a directory of our own is tried; each further try means that a cleaner got in between.
const MAX_TRIES: usize = 16;

/// Where temporary files are made.
#[derive(Debug)]
pub(super) struct Scratch {
    parent: PathBuf,
    own: Mutex<Option<Arc<OwnDir>>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct OwnDir {
    path: PathBuf,
    /// Keeps the `flock`.
    _locked: fs_err::File,
}

impl Drop for OwnDir {
    fn drop(&mut self) {
        // Empty unless something failed before; then the next open removes it.
        drop(fs_err::remove_dir(&self.path));
    }
}

/// A file that is removed when dropped, unless it was published under its key.
#[derive(Debug)]
pub(super) struct TempFile {
    file: fs_err::File,
    path: PathBuf,
    published: bool,
    /// The directory must not be unlocked while the file is in it.
    _dir: Arc<OwnDir>,
}

impl TempFile {
    pub(super) fn file(&mut self) -> &mut fs_err::File {
        &mut self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file has moved to its key: there is nothing to remove.
    pub(super) fn published(mut self) {
        self.published = true;
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.published {
            drop(fs_err::remove_file(&self.path));
        }
    }
}

impl Scratch {
    /// Touches nothing yet.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            parent: root.join(TEMP_DIR),
            own: Mutex::new(None),
            next: AtomicU64::new(0),
        }
    }

    /// Makes an empty file.
    pub(super) fn new_file(&self) -> io::Result<TempFile> {
        match self.try_new_file() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody removed our directory: make another, once.
                *self.own.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.try_new_file()
            }
            other => other,
        }
    }

    fn try_new_file(&self) -> io::Result<TempFile> {
        let dir = self.own_dir()?;
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let path = dir.path.join(n.to_string());
        let file = fs_err::File::create_new(&path)?;
        Ok(TempFile {
            file,
            path,
            published: false,
            _dir: dir,
        })
    }

    fn own_dir(&self) -> io::Result<Arc<OwnDir>> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dir) = &*own {
            return Ok(dir.clone());
        }
        // Only this level: if the store itself is gone (a volume that is not mounted), a new one in its place would
        // take what is written and lose it.
        match fs_err::create_dir(&self.parent) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        for _ in 0..MAX_TRIES {
            if let Some(dir) = self.try_own_dir()? {
                let dir = Arc::new(dir);
                *own = Some(dir.clone());
                return Ok(dir);
            }
        }
        Err(io::Error::other(format!(
            "no directory of our own could be locked in {}",
            self.parent.display()
        )))
    }

    fn try_own_dir(&self) -> io::Result<Option<OwnDir>> {
        let name = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let path = self.parent.join(format!("{name:016x}"));
        match fs_err::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(error),
        }
        let locked = match fs_err::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Without locks nobody removes strays either, so the directory is as safe.
        if matches!(lock(&locked)?, Lock::Taken) || !path.exists() {
            return Ok(None);
        }
        Ok(Some(OwnDir {
            path,
            _locked: locked,
        }))
    }

    /// Removes what dead processes left. Failures are of no consequence: the files waste space only.
    pub(super) fn remove_strays(&self) {
        let Ok(entries) = fs_err::read_dir(&self.parent) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(dir) = fs_err::File::open(&path) else {
                continue;
            };
            if matches!(lock(&dir), Ok(Lock::Ours)) {
                match fs_err::remove_dir_all(&path) {
                    Ok(()) => tracing::debug!(path = %path.display(), "removed stray files"),
                    Err(error) => tracing::debug!(%error, "stray files remain"),
                }
            }
        }
    }
}

enum Lock {
    Ours,
    Taken,
    Unsupported,
}

fn lock(dir: &fs_err::File) -> io::Result<Lock> {
    match rustix::fs::flock(dir.file(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock::Ours),
        Err(Errno::WOULDBLOCK) => Ok(Lock::Taken),
        Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(Lock::Unsupported),
        Err(error) => Err(error.into()),
    }
}
