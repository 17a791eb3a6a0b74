//! The data directory: where things are in it, and how a collection takes its name.

use super::ledger::{Errand, Identity, Ledger};
use super::{disk, shown, sync};
use crate::failure::Failed;
use fs_err as fs;
use holdfast_service::failure::Code;
use holdfast_types::{ByteCount, CollectionName, RecoveryPointId};
use rustix::fs::{CWD, RenameFlags, renameat_with, statvfs};
use serde_json::Value;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Everything of ours is below this folder of the data directory. Qdrant does not look at it.
const OURS: &str = "holdfast-restore";

/// Collections that are changing places with those that had their names.
const PLACING: &str = "placing";

/// A Qdrant storage directory.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    root: PathBuf,
}

/// A collection that has its name.
#[derive(Debug)]
pub(super) struct Placed {
    /// Where what had the name before is now.
    pub(super) moved_to: Option<PathBuf>,
}

impl Storage {
    /// The directory, which must exist: a missing volume must not be mistaken for an empty node.
    pub(super) fn open(root: &Path) -> Result<Self, Failed> {
        let root = fs::canonicalize(root).map_err(|error| {
            Failed::new(
                Code::Config,
                format!("{error}: name Qdrant's storage directory; is its volume mounted?"),
            )
        })?;
        let looks_right = |name: &str| root.join(name).exists();
        let empty = fs::read_dir(&root)
            .map_err(|error| disk(&error))?
            .all(|e| e.is_ok_and(|e| e.file_name() == "lost+found"));
        if !empty && !looks_right("collections") && !looks_right(OURS) {
            return Err(Failed::new(
                Code::Config,
                format!(
                    "{} is neither empty nor a Qdrant storage directory (it has no collections/): check --data-dir",
                    shown(&root)
                ),
            ));
        }
        Ok(Self { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a collection is.
    pub(super) fn collection(&self, name: &CollectionName) -> PathBuf {
        self.root.join("collections").join(name.as_str())
    }

    pub(super) fn exists(&self, name: &CollectionName) -> bool {
        self.collection(name).symlink_metadata().is_ok()
    }

    /// Whether its server was one of several.
    pub(super) fn is_of_a_cluster(&self) -> Result<bool, Failed> {
        let file = self.root.join("raft_state.json");
        if !file.exists() {
            return Ok(false);
        }
        let text = fs::read(&file).map_err(|error| disk(&error))?;
        let state: Value = serde_json::from_slice(&text).unwrap_or_default();
        let peers = state.get("peer_address_by_id").and_then(Value::as_object);
        Ok(peers.is_some_and(|peers| peers.len() > 1))
    }

    /// Requires room for so many bytes more.
    pub(super) fn check_space(&self, bytes: u64) -> Result<(), Failed> {
        let stat = statvfs(&self.root).map_err(|error| disk(&error.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free >= bytes {
            return Ok(());
        }
        Err(Failed::new(
            Code::DiskFull,
            format!(
                "{} has {} free, {} are needed: free space or enlarge the volume, then run this again; what is laid out stays",
                shown(&self.root),
                ByteCount(free),
                ByteCount(bytes)
            ),
        ))
    }

    /// Where a collection is built; an unfinished one of an earlier run is gone on with.
    pub(super) fn stage(
        &self,
        point: &RecoveryPointId,
        name: &CollectionName,
    ) -> Result<PathBuf, Failed> {
        let staged = self
            .ours("staged")
            .join(point.to_string())
            .join(name.as_str());
        fs::create_dir_all(&staged).map_err(|error| disk(&error))?;
        Ok(staged)
    }

    /// Writes a small file.
    pub(super) fn write(&self, path: &Path, content: &[u8]) -> Result<(), Failed> {
        fs::write(path, content).map_err(|error| disk(&error))
    }

    /// Gives a built collection its name, when all of it is on disk. What has the name is moved aside.
    pub(super) fn place(
        &self,
        errand: &Errand,
        staged: &Path,
        name: &CollectionName,
    ) -> Result<Placed, Failed> {
        let failed = |error: &io::Error| disk(error);
        let collections = self.root.join("collections");
        fs::create_dir_all(&collections).map_err(|error| failed(&error))?;
        self.give_to_owner(staged)?;
        sync::tree(staged).map_err(|error| failed(&error))?;
        let target = self.collection(name);
        let exists = self.exists(name);
        if exists && !errand.overwrite {
            return Err(Failed::new(
                Code::TargetExists,
                format!("{} appeared meanwhile", shown(&target)),
            ));
        }
        // First, so that a run that goes on after a kill knows the collection for its own.
        let identity = Identity::of(staged).map_err(|error| failed(&error))?;
        self.ledger().placing(errand, identity, name)?;
        let moved_to = if exists {
            let placing = self.set_out(staged, name)?;
            match self.change_places(&placing, name)? {
                Some(old) => Some(old),
                None => self.put_aside(name)?,
            }
        } else {
            fs::rename(staged, &target).map_err(|error| failed(&error))?;
            None
        };
        // The new name, and where the old one went, must survive a power cut.
        let beside = moved_to.as_deref().and_then(Path::parent);
        for dir in [Some(collections.as_path()), beside].into_iter().flatten() {
            sync::one(dir).map_err(|error| failed(&error))?;
        }
        Ok(Placed { moved_to })
    }

    /// A built collection leaves the folder in which runs go on with what they find: an old one must never be found there.
    fn set_out(&self, staged: &Path, name: &CollectionName) -> Result<PathBuf, Failed> {
        let placing = self.ours(PLACING);
        fs::create_dir_all(&placing).map_err(|error| disk(&error))?;
        let placing = placing.join(name.as_str());
        rename(staged, &placing)?;
        Ok(placing)
    }

    /// It takes its name, and what had the name takes its place: at once, where the file system can. Elsewhere the old one goes aside, and where to.
    fn change_places(
        &self,
        placing: &Path,
        name: &CollectionName,
    ) -> Result<Option<PathBuf>, Failed> {
        let target = self.collection(name);
        if renameat_with(CWD, placing, CWD, &target, RenameFlags::EXCHANGE).is_ok() {
            return Ok(None);
        }
        self.one_after_the_other(placing, name).map(Some)
    }

    fn one_after_the_other(
        &self,
        placing: &Path,
        name: &CollectionName,
    ) -> Result<PathBuf, Failed> {
        let (target, old) = (self.collection(name), self.aside(name)?);
        rename(&target, &old)?;
        rename(placing, &target)?;
        Ok(old)
    }

    /// What had the name goes aside, and where to. Nothing, if it is there already.
    fn put_aside(&self, name: &CollectionName) -> Result<Option<PathBuf>, Failed> {
        let placing = self.ours(PLACING).join(name.as_str());
        if placing.symlink_metadata().is_err() {
            return Ok(None);
        }
        let old = self.aside(name)?;
        rename(&placing, &old)?;
        Ok(Some(old))
    }

    /// Sees to a collection that was changing places when a run was killed: a built one is gone on with, and what had the name goes aside, and where
    /// to.
    pub(super) fn settle(&self, name: &CollectionName) -> Result<Option<PathBuf>, Failed> {
        let placing = self.ours(PLACING).join(name.as_str());
        if placing.symlink_metadata().is_err() {
            return Ok(None);
        }
        let identity = Identity::of(&placing).map_err(|error| disk(&error))?;
        let Some(point) = self.ledger().built(identity, name)? else {
            return self.put_aside(name);
        };
        let staged = self.stage(&point, name)?;
        // It is empty: whatever was built for that point went to the other place.
        let _in_the_way = fs::remove_dir(&staged);
        rename(&placing, &staged)?;
        Ok(None)
    }

    /// Whether an earlier run of this ticket, one that did not come to its end, has put this collection in place. What
    /// was written to it since is not looked at: it is the node's own by now.
    pub(super) fn is_placed(&self, ticket: &str, name: &CollectionName) -> Result<bool, Failed> {
        if !self.exists(name) {
            return Ok(false);
        }
        let identity = Identity::of(&self.collection(name)).map_err(|error| disk(&error))?;
        self.ledger().is_placed(ticket, identity, name)
    }

    /// Whether everything was done by this ticket before.
    pub(super) fn is_done(&self, ticket: &str) -> Result<bool, Failed> {
        self.ledger().is_done(ticket)
    }

    /// Records that everything is done, and clears what is built no more.
    pub(super) fn done(&self, ticket: &str) -> Result<(), Failed> {
        self.ledger().done(ticket)?;
        // Only empty folders are left of what was placed; a run for another recovery point keeps its own.
        let staged = self.ours("staged");
        for point in std::fs::read_dir(&staged).into_iter().flatten().flatten() {
            let _not_empty = std::fs::remove_dir(point.path());
        }
        for folder in [staged, self.ours(PLACING)] {
            let _not_empty = std::fs::remove_dir(folder);
        }
        Ok(())
    }

    fn ledger(&self) -> Ledger {
        Ledger::in_folder(self.root.join(OURS))
    }

    fn ours(&self, name: &str) -> PathBuf {
        let ours = self.root.join(OURS);
        // If it can't be made, its use says why.
        let _exists = fs::create_dir_all(&ours);
        ours.join(name)
    }

    fn aside(&self, name: &CollectionName) -> Result<PathBuf, Failed> {
        let replaced = self.ours("replaced");
        fs::create_dir_all(&replaced).map_err(|error| disk(&error))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.map_or(0, |since| since.as_secs());
        let free = (0..).map(|n| replaced.join(format!("{name}-{seconds}-{n}")));
        let mut free = free.filter(|path| path.symlink_metadata().is_err());
        Ok(free.next().expect("numbers do not end"))
    }

    /// Qdrant may run as another user than this program.
    fn give_to_owner(&self, staged: &Path) -> Result<(), Failed> {
        let owner = fs::metadata(&self.root).map_err(|error| disk(&error))?;
        let ours = fs::metadata(staged).map_err(|error| disk(&error))?;
        if (owner.uid(), owner.gid()) == (ours.uid(), ours.gid()) {
            return Ok(());
        }
        give(staged, owner.uid(), owner.gid()).map_err(|error| disk(&error))
    }
}

fn give(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), Failed> {
    fs::rename(from, to).map_err(|error| disk(&error))
}

#[cfg(test)]
mod tests;
