//! Qdrant's files of one shard: held open, and recognised again.
//!
//! Nothing is written, locked or mapped. Only files are opened whose names [`super::claims::never_changes`] knows.

use super::claims::FileName;
use crate::order::CaptureOrder;
use fs_err::File;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{Advice, OFlags, fadvise};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What tells one file from another at the same path, and whether it was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileIdentity {
    fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// The directory of a shard below Qdrant's storage directory.
#[derive(Clone, Debug)]
pub(super) struct ShardDir(PathBuf);

/// A file that can be read to its end whatever becomes of its name.
#[derive(Debug)]
pub(super) struct HeldFile {
    file: File,
    path: PathBuf,
    identity: FileIdentity,
}

/// The files that are held.
pub(super) type Held = BTreeMap<FileName, HeldFile>;

impl ShardDir {
    pub(super) fn new(storage: &Path, order: &CaptureOrder) -> Self {
        let collection = storage.join("collections").join(order.collection.as_str());
        Self(collection.join(order.shard.to_string()))
    }

    fn segment(&self, id: &str) -> io::Result<PathBuf> {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
            return Err(io::Error::other(format!("{id:?} is no segment id")));
        }
        Ok(self.0.join("segments").join(id))
    }

    /// The identity of a segment's directory: of the file that is written once when it is made.
    pub(super) fn identity(&self, id: &str) -> io::Result<FileIdentity> {
        let path = self.segment(id)?.join("version.info");
        Ok(FileIdentity::of(&fs_err::symlink_metadata(path)?))
    }

    /// A segment's `segment.json`.
    pub(super) fn state(&self, id: &str) -> io::Result<serde_json::Value> {
        let bytes = fs_err::read(self.segment(id)?.join("segment.json"))?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Bytes that a file takes on disk; 0 if it has gone.
    pub(super) fn bytes_of(&self, id: &str, file: &str) -> u64 {
        let path = self.segment(id).map(|dir| dir.join(file));
        let meta = path.and_then(fs_err::symlink_metadata);
        meta.map_or(0, |meta| meta.blocks() * 512)
    }

    /// Opens a file of a segment.
    pub(super) fn hold(&self, id: &str, file: &str) -> io::Result<HeldFile> {
        let path = self.segment(id)?.join(file);
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut options = fs_err::OpenOptions::new();
        let file = options.read(true).custom_flags(flags).open(&path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other(format!("{} is no file", path.display())));
        }
        // Read once and not again: the kernel shall not keep it in place of what the database needs. Pages that the
        // database has there already stay.
        let _ = fadvise(&file, 0, None, Advice::NoReuse);
        let identity = FileIdentity::of(&meta);
        Ok(HeldFile {
            file,
            path,
            identity,
        })
    }
}

impl HeldFile {
    pub(super) fn size(&self) -> u64 {
        self.identity.size
    }

    pub(super) fn reader(&self) -> &std::fs::File {
        self.file.file()
    }

    /// Whether the file, and what has its name, is what was opened, untouched; else what happened.
    pub(super) fn check(&self) -> Result<(), String> {
        let named = match fs_err::symlink_metadata(&self.path) {
            Ok(meta) => FileIdentity::of(&meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(format!("{} has vanished", self.path.display()));
            }
            Err(error) => return Err(error.to_string()),
        };
        let held = self.file.metadata().map_err(|error| error.to_string())?;
        if FileIdentity::of(&held) == self.identity && named == self.identity {
            Ok(())
        } else {
            Err(format!("{} has changed", self.path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ShardDir;

    #[test]
    fn a_held_file_notices_what_happens_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let segment = dir.path().join("segments/0a-1b");
        std::fs::create_dir_all(&segment).unwrap();
        let path = segment.join("matrix.dat");
        let shard = ShardDir(dir.path().to_owned());
        let held = || {
            std::fs::write(&path, "vectors").unwrap();
            shard.hold("0a-1b", "matrix.dat").unwrap()
        };
        held().check().unwrap();
        let changed = held();
        std::fs::write(&path, "victors").unwrap();
        assert!(changed.check().unwrap_err().contains("has changed"));
        let replaced = held();
        std::fs::write(segment.join("new"), "vectors").unwrap();
        std::fs::rename(segment.join("new"), &path).unwrap();
        assert!(replaced.check().unwrap_err().contains("has changed"));
        let gone = held();
        std::fs::remove_file(&path).unwrap();
        assert!(gone.check().unwrap_err().contains("has vanished"));
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(shard.hold("0a-1b", "matrix.dat").is_err(), "a link");
        assert!(shard.hold("..", "matrix.dat").is_err(), "not a segment");
    }
}
