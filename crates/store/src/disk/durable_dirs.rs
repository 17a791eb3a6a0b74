//! Directories that survive a power cut: a directory is durable once its parent was fsynced.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Makes directories below a root and remembers which of them are durable.
#[derive(Debug)]
pub(super) struct DurableDirs {
    root: PathBuf,
    known: Mutex<HashSet<PathBuf>>,
}

impl DurableDirs {
    /// The root itself is taken as durable.
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            known: Mutex::default(),
        }
    }

    /// Makes `dir`, which lies below the root, and every directory between. One that exists already
    /// is fsynced once, too: whoever made it may have died before doing so.
    pub(super) fn ensure(&self, dir: &Path) -> io::Result<()> {
        if dir == self.root || self.known().contains(dir) {
            return Ok(());
        }
        let Some(parent) = dir.parent() else {
            return Ok(());
        };
        self.ensure(parent)?;
        match fs_err::create_dir(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        sync(parent)?;
        self.known().insert(dir.to_owned());
        Ok(())
    }

    /// Trusts nothing that was known.
    pub(super) fn forget(&self) {
        self.known().clear();
    }

    fn known(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        // A set of paths is consistent whenever the lock is released, even by a panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    fs_err::File::open(dir)?.sync_all()
}
