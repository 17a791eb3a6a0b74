//! The data directory: where things are in it, and how a collection takes its name.

use super::{disk, shown, sync};
use crate::failure::Failed;
use fs_err as fs;
use holdfast_service::failure::Code;
use holdfast_types::{ByteCount, CollectionName, RecoveryPointId};
use rustix::fs::{CWD, RenameFlags, renameat_with, statvfs};
use serde_json::Value;
use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Everything of ours is below this folder of the data directory. Qdrant does not look at it.
const OURS: &str = "holdfast-restore";

/// Digests of the tickets by which everything is done.
const DONE: &str = "done";

/// Digests of tickets, each with the identity of a folder that took its name by it.
const PLACED: &str = "placed";

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

/// Which folder it is, whatever its name: its inode, and when that was made where the file system tells it (a number
/// alone is given out again).
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    made: u128,
}

impl Identity {
    fn of(dir: &Path) -> io::Result<Self> {
        let meta = fs::metadata(dir)?;
        let made = meta.created().ok();
        let made = made.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Ok(Self {
            inode: meta.ino(),
            made: made.map_or(0, |since| since.as_nanos()),
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.inode, self.made)
    }
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
        ticket: &str,
        staged: &Path,
        name: &CollectionName,
        overwrite: bool,
    ) -> Result<Placed, Failed> {
        let failed = |error: &io::Error| disk(error);
        let collections = self.root.join("collections");
        fs::create_dir_all(&collections).map_err(|error| failed(&error))?;
        self.give_to_owner(staged)?;
        sync::tree(staged).map_err(|error| failed(&error))?;
        let target = self.collection(name);
        let exists = self.exists(name);
        if exists && !overwrite {
            return Err(Failed::new(
                Code::TargetExists,
                format!("{} appeared meanwhile", shown(&target)),
            ));
        }
        // First, so that a run that goes on after a kill knows the collection for its own.
        let identity = Identity::of(staged).map_err(|error| failed(&error))?;
        self.append(PLACED, &format!("{} {identity}", digest(ticket)))?;
        let moved_to = if exists {
            Some(self.replace(staged, &target, name)?)
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

    /// Lets a built collection and the one that has its name change places, and returns where the old one is. The built
    /// one first leaves the folder in which runs go on with what they find: an old one must never be found there.
    fn replace(
        &self,
        staged: &Path,
        target: &Path,
        name: &CollectionName,
    ) -> Result<PathBuf, Failed> {
        let rename = |from: &Path, to: &Path| fs::rename(from, to).map_err(|error| disk(&error));
        let aside = self.aside(name)?;
        rename(staged, &aside)?;
        // At once, where the file system can.
        if renameat_with(CWD, &aside, CWD, target, RenameFlags::EXCHANGE).is_ok() {
            return Ok(aside);
        }
        let old = self.aside(name)?;
        rename(target, &old)?;
        rename(&aside, target)?;
        Ok(old)
    }

    /// Whether an earlier run of this ticket, one that did not come to its end, has put this collection in place. What
    /// was written to it since is not looked at: it is the node's own by now.
    pub(super) fn is_placed(&self, ticket: &str, name: &CollectionName) -> Result<bool, Failed> {
        if !self.exists(name) {
            return Ok(false);
        }
        let identity = Identity::of(&self.collection(name)).map_err(|error| disk(&error))?;
        self.has_line(PLACED, &format!("{} {identity}", digest(ticket)))
    }

    /// Whether everything was done by this ticket before.
    pub(super) fn is_done(&self, ticket: &str) -> Result<bool, Failed> {
        self.has_line(DONE, &digest(ticket))
    }

    /// Records that everything is done, and clears what is built no more.
    pub(super) fn done(&self, ticket: &str) -> Result<(), Failed> {
        self.append(DONE, &digest(ticket))?;
        // Only empty folders are left of what was placed; a run for another recovery point keeps its own.
        let staged = self.ours("staged");
        for point in std::fs::read_dir(&staged).into_iter().flatten().flatten() {
            let _not_empty = std::fs::remove_dir(point.path());
        }
        let _not_empty = std::fs::remove_dir(&staged);
        Ok(())
    }

    fn has_line(&self, name: &str, wanted: &str) -> Result<bool, Failed> {
        let file = self.root.join(OURS).join(name);
        if !file.exists() {
            return Ok(false);
        }
        let text = fs::read_to_string(&file).map_err(|error| disk(&error))?;
        Ok(text.lines().any(|line| line == wanted))
    }

    /// Appends a line to a file of ours, and has it on disk.
    fn append(&self, name: &str, line: &str) -> Result<(), Failed> {
        let file = self.ours(name);
        let mut out = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&file)
            .map_err(|error| disk(&error))?;
        let written = writeln!(out, "{line}").and_then(|()| out.sync_all());
        written.map_err(|error| disk(&error))?;
        sync::one(&self.root.join(OURS)).map_err(|error| disk(&error))
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

/// The ticket itself is not written down.
fn digest(ticket: &str) -> String {
    blake3::hash(ticket.as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::Storage;
    use holdfast_service::failure::Code;

    fn storage() -> (tempfile::TempDir, Storage) {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path()).unwrap();
        (dir, storage)
    }

    #[test]
    fn a_collection_takes_its_name_whole_and_what_had_it_is_moved_aside() {
        let (_dir, storage) = storage();
        let (docs, point) = (
            "docs".parse().unwrap(),
            "20261121t101530z-0a1b2c3d".parse().unwrap(),
        );
        let build = |content: &str| {
            let staged = storage.stage(&point, &docs).unwrap();
            storage
                .write(&staged.join("config.json"), content.as_bytes())
                .unwrap();
            staged
        };
        let read =
            |path: &std::path::Path| std::fs::read_to_string(path.join("config.json")).unwrap();
        let first = storage.place("a", &build("old"), &docs, false).unwrap();
        assert_eq!(first.moved_to, None);
        let staged = build("new");
        let refused = storage.place("a", &staged, &docs, false).unwrap_err();
        assert_eq!(refused.code, Code::TargetExists);
        assert_eq!(read(&storage.collection(&docs)), "old");
        let second = storage.place("a", &staged, &docs, true).unwrap();
        assert_eq!(read(&storage.collection(&docs)), "new");
        assert_eq!(read(&second.moved_to.unwrap()), "old");
        assert!(!staged.exists());
    }

    #[test]
    fn a_run_that_goes_on_knows_what_it_has_placed_and_nothing_else() {
        let (_dir, storage) = storage();
        let (docs, point) = (
            "docs".parse().unwrap(),
            "20261121t101530z-0a1b2c3d".parse().unwrap(),
        );
        assert!(!storage.is_placed("a", &docs).unwrap());
        let staged = storage.stage(&point, &docs).unwrap();
        storage.place("a", &staged, &docs, false).unwrap();
        assert!(storage.is_placed("a", &docs).unwrap());
        assert!(!storage.is_placed("b", &docs).unwrap());
        let place = storage.collection(&docs);
        std::fs::rename(&place, place.with_extension("old")).unwrap();
        std::fs::create_dir(&place).unwrap();
        assert!(!storage.is_placed("a", &docs).unwrap(), "made by another");
    }

    #[test]
    fn a_ticket_is_used_up_once_it_is_done() {
        let (_dir, storage) = storage();
        assert!(!storage.is_done("a").unwrap());
        storage.done("a").unwrap();
        assert!(storage.is_done("a").unwrap() && !storage.is_done("b").unwrap());
    }

    #[test]
    fn a_directory_of_something_else_or_of_a_cluster_is_refused() {
        let (dir, storage) = storage();
        assert!(!storage.is_of_a_cluster().unwrap());
        let peers = r#"{"peer_address_by_id": {"1": "http://a", "2": "http://b"}}"#;
        std::fs::write(dir.path().join("raft_state.json"), peers).unwrap();
        assert!(storage.is_of_a_cluster().unwrap());
        assert_eq!(Storage::open(dir.path()).unwrap_err().code, Code::Config);
        assert_eq!(
            Storage::open(&dir.path().join("no")).unwrap_err().code,
            Code::Config
        );
        assert_eq!(
            storage.check_space(u64::MAX).unwrap_err().code,
            Code::DiskFull
        );
    }
}
