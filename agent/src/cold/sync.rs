//! Getting files and folders onto the disk.
//!
//! Only what was written here: a volume may be shared, and to sync all of it would wait for what others write.

use fs_err as fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

/// Files synced at once: a journal commits those that wait together.
const TOGETHER: usize = 8;

/// Every file and folder below `root`, and itself, is on disk when this returns.
pub(super) fn tree(root: &Path) -> io::Result<()> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    let share = paths.len().div_ceil(TOGETHER).max(1);
    thread::scope(|scope| {
        let syncing = paths
            .chunks(share)
            .map(|some| scope.spawn(move || some.iter().try_for_each(|path| one(path))));
        let syncing: Vec<_> = syncing.collect();
        syncing.into_iter().try_for_each(|thread| {
            let crashed = |_| io::Error::other("a thread that syncs files has crashed");
            thread.join().map_err(crashed)?
        })
    })
}

/// This file, or this folder's list of names.
pub(super) fn one(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

fn collect(path: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), paths)?;
        }
    }
    paths.push(path.to_owned());
    Ok(())
}
