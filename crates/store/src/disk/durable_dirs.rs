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

/// Makes a directory with whatever is missing above it, and has `sync` make each entry durable that
/// was added, from the top down. The directory's own entry is synced in any case: whoever made it
/// may have died before doing so.
pub(super) fn create_with_parents(
    dir: &Path,
    mut sync: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let missing: Vec<_> = dir
        .ancestors()
        .take_while(|above| !above.exists())
        .collect();
    for level in missing
        .iter()
        .rev()
        .filter(|level| level.parent().is_some())
    {
        match fs_err::create_dir(level) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        sync(parent_of(level))?;
    }
    if missing.is_empty() {
        sync(parent_of(dir))?;
    }
    Ok(())
}

/// Where a directory's entry stands; the root of the file system stands in itself.
fn parent_of(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => dir,
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    fs_err::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::create_with_parents;
    use std::path::{Path, PathBuf};

    fn synced_for(dir: &Path) -> Vec<PathBuf> {
        let mut synced = Vec::new();
        create_with_parents(dir, |parent| {
            synced.push(parent.to_owned());
            Ok(())
        })
        .unwrap();
        assert!(dir.is_dir());
        synced
    }

    #[test]
    fn the_parent_of_every_new_level_is_synced() {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path();
        let synced = synced_for(&top.join("a/b/c"));
        assert_eq!(synced, [top.to_owned(), top.join("a"), top.join("a/b")]);
        assert_eq!(synced_for(&top.join("a/b/c")), [top.join("a/b")]);
        assert_eq!(synced_for(&top.join("a/b/d")), [top.join("a/b")]);
    }

    #[test]
    fn what_cannot_be_made_durable_is_an_error() {
        let temp = tempfile::tempdir().unwrap();
        let failed = create_with_parents(&temp.path().join("a/b"), |_| {
            Err(std::io::Error::other("no"))
        });
        assert!(failed.is_err());
        std::fs::write(temp.path().join("file"), b"x").unwrap();
        assert!(create_with_parents(&temp.path().join("file/b"), |_| Ok(())).is_err());
    }
}
