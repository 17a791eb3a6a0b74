//! The directory that an extra is written into.
//!
//! Nothing is written outside it: paths come from a checked listing, a link that stands in the way is not followed, and the
//! extra's own links are made last, so that nothing is written through them. A directory that was not there gets its name
//! when everything is in it. Set-id bits are not brought back: the files belong to whoever exports them.

use super::target::{code, free_bytes};
use crate::failure::{Failure, Outcome};
use fs_err as fs;
use holdfast_archive::{EntryKind, ListedEntry};
use holdfast_service::failure::Code;
use holdfast_types::ByteCount;
use std::fs::{FileTimes, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::{NamedTempFile, TempDir};

const RISK: &str = "nothing: this command only reads the repository";

/// Permission bits that are brought back.
const PERMISSIONS: u32 = 0o777;

/// Where an extra goes.
#[derive(Debug)]
pub(crate) struct ExtraDir {
    root: Root,
    target: PathBuf,
    force: bool,
}

#[derive(Debug)]
enum Root {
    /// Beside the target, until it is complete.
    New(TempDir),
    /// The target itself.
    There,
}

impl ExtraDir {
    /// `target` as a directory that is not there, or is empty; with `force`, any. It must have room for so many bytes.
    pub(crate) fn open(target: &Path, force: bool, bytes: u64) -> Outcome<Self> {
        let failed = |error: &io::Error| {
            Failure::new(code(error), format!("can't write {}", target.display()))
                .caused_by(error)
                .risking(RISK)
                .todo("name a directory that exists or can be made, with -o")
        };
        let parent = match target.parent() {
            Some(dir) if dir != Path::new("") => dir,
            Some(_) | None => Path::new("."),
        };
        let there = match fs::symlink_metadata(target) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(&error)),
        };
        let room = if there { target } else { parent };
        let free = free_bytes(room).map_err(|error| failed(&error))?;
        if free < bytes {
            let what = format!(
                "{} has {} free, {} are needed",
                room.display(),
                ByteCount(free),
                ByteCount(bytes)
            );
            return Err(Failure::new(Code::DiskFull, what)
                .risking(RISK)
                .todo("free space, or choose another place with -o"));
        }
        let root = if there {
            let mut entries = fs::read_dir(target).map_err(|error| failed(&error))?;
            if !force && entries.next().is_some() {
                let what = format!("{} is not empty", target.display());
                return Err(Failure::new(Code::TargetExists, what)
                    .risking(RISK)
                    .todo("name another directory, or write into this one with --force"));
            }
            Root::There
        } else {
            let name = target.file_name().unwrap_or_default().to_string_lossy();
            let made = tempfile::Builder::new()
                .prefix(&format!(".{name}."))
                .suffix(".part")
                .tempdir_in(parent);
            Root::New(made.map_err(|error| failed(&error))?)
        };
        Ok(Self {
            root,
            target: target.to_owned(),
            force,
        })
    }

    fn path(&self) -> &Path {
        match &self.root {
            Root::New(dir) => dir.path(),
            Root::There => &self.target,
        }
    }

    /// Begins a file: its directories are made.
    pub(crate) fn begin(&self, entry: &ListedEntry) -> io::Result<NamedTempFile> {
        let path = self.place(entry)?;
        let dir = path.parent().unwrap_or(self.path());
        tempfile::Builder::new()
            .prefix(".holdfast.")
            .tempfile_in(dir)
    }

    /// Gives a file that is whole its mode, its time and its name.
    pub(crate) fn finish(&self, entry: &ListedEntry, file: NamedTempFile) -> io::Result<()> {
        let mode = Permissions::from_mode(entry.mode & PERMISSIONS);
        file.as_file().set_permissions(mode)?;
        file.as_file().set_times(times(entry))?;
        file.as_file().sync_all()?;
        let path = self.path().join(&entry.path);
        let placed = if self.force {
            file.persist(&path)
        } else {
            file.persist_noclobber(&path)
        };
        placed
            .map(drop)
            .map_err(|error| in_the_way(&path, &error.error))
    }

    /// Makes links, and gives directories their modes and times; then the whole gets its name.
    pub(crate) fn complete(self, entries: &[ListedEntry]) -> io::Result<()> {
        for entry in entries {
            match &entry.kind {
                EntryKind::Link { target } => self.link(entry, target)?,
                EntryKind::Directory => drop(self.make_dirs(&entry.path)?),
                EntryKind::File { .. } => {}
            }
        }
        // What is inside a directory first: one may be closed to writing.
        for entry in entries.iter().rev() {
            if matches!(entry.kind, EntryKind::Directory) {
                let path = self.path().join(&entry.path);
                let dir = fs::File::open(&path)?;
                dir.file().set_times(times(entry))?;
                fs::set_permissions(path, Permissions::from_mode(entry.mode & PERMISSIONS))?;
            }
        }
        match self.root {
            Root::There => Ok(()),
            Root::New(dir) => {
                fs::rename(dir.path(), &self.target)?;
                // It has gone from where the guard would delete it.
                drop(dir.keep());
                Ok(())
            }
        }
    }

    fn link(&self, entry: &ListedEntry, target: &str) -> io::Result<()> {
        let path = self.place(entry)?;
        if self.force {
            match fs::symlink_metadata(&path) {
                Ok(there) if !there.is_dir() => fs::remove_file(&path)?,
                Ok(_) | Err(_) => {}
            }
        }
        std::os::unix::fs::symlink(target, &path).map_err(|error| in_the_way(&path, &error))
    }

    /// Where an entry goes, in a directory that is there.
    fn place(&self, entry: &ListedEntry) -> io::Result<PathBuf> {
        match entry.path.rsplit_once('/') {
            Some((dir, name)) => Ok(self.make_dirs(dir)?.join(name)),
            None => Ok(self.path().join(&entry.path)),
        }
    }

    /// Makes each part of a path that is not there. A part that is no directory, a link to one included, is refused.
    fn make_dirs(&self, inside: &str) -> io::Result<PathBuf> {
        let mut path = self.path().to_owned();
        for part in inside.split('/') {
            path.push(part);
            match fs::symlink_metadata(&path) {
                Ok(there) if there.is_dir() => {}
                Ok(_) => return Err(in_the_way(&path, &io::ErrorKind::NotADirectory.into())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(&path)?,
                Err(error) => return Err(error),
            }
        }
        Ok(path)
    }
}

fn times(entry: &ListedEntry) -> FileTimes {
    let distance = Duration::from_micros(entry.mtime_us.unsigned_abs());
    let at = if entry.mtime_us < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    match at {
        Some(at) => FileTimes::new().set_modified(at),
        None => FileTimes::new(),
    }
}

fn in_the_way(path: &Path, error: &io::Error) -> io::Error {
    let what = format!("{}: {error}: what is there is in the way", path.display());
    io::Error::new(error.kind(), what)
}

#[cfg(test)]
mod tests {
    use super::ExtraDir;
    use holdfast_archive::{EntryKind, ListedEntry};
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::path::Path;

    fn file(path: &str) -> ListedEntry {
        let kind = EntryKind::File {
            size: 1,
            blake3: String::new(),
        };
        entry(path, 0o4750, kind)
    }

    fn entry(path: &str, mode: u32, kind: EntryKind) -> ListedEntry {
        ListedEntry {
            path: path.to_owned(),
            mode,
            mtime_us: 1_795_256_130_250_000,
            kind,
        }
    }

    fn write(dir: &ExtraDir, entry: &ListedEntry, content: &str) -> std::io::Result<()> {
        let mut file = dir.begin(entry)?;
        file.write_all(content.as_bytes())?;
        dir.finish(entry, file)
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_directory_has_its_name_only_when_it_is_complete() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("out");
        let dir = ExtraDir::open(&target, false, 1).unwrap();
        let entries = [
            entry("etc/q", 0o555, EntryKind::Directory),
            file("etc/q/config"),
            entry(
                "etc/q/link",
                0,
                EntryKind::Link {
                    target: "config".into(),
                },
            ),
        ];
        write(&dir, &entries[1], "content").unwrap();
        assert!(!target.exists());
        dir.complete(&entries).unwrap();
        assert_eq!(names(place.path()), ["out"]);
        assert_eq!(names(&target.join("etc/q")), ["config", "link"]);
        let config = target.join("etc/q/config").metadata().unwrap();
        assert_eq!(config.mode() & 0o7777, 0o750, "without set-id bits");
        assert_eq!(
            (config.mtime(), config.mtime_nsec()),
            (1_795_256_130, 250_000_000)
        );
        let q = target.join("etc/q").metadata().unwrap();
        assert_eq!((q.mode() & 0o777, q.mtime()), (0o555, 1_795_256_130));
        assert_eq!(
            std::fs::read_to_string(target.join("etc/q/link")).unwrap(),
            "content"
        );
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let dir = ExtraDir::open(&place.path().join("out"), false, 1).unwrap();
        write(&dir, &file("a"), "x").unwrap();
        drop(dir);
        assert_eq!(names(place.path()), [""; 0]);
    }

    #[test]
    fn nothing_is_overwritten_without_force() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::write(at("a"), "old").unwrap();
        let refused = ExtraDir::open(place.path(), false, 1).unwrap_err();
        assert!(
            format!("{refused:?}").contains("is not empty"),
            "{refused:?}"
        );
        let dir = ExtraDir::open(place.path(), true, 1).unwrap();
        write(&dir, &file("a"), "new").unwrap();
        dir.complete(&[file("a")]).unwrap();
        assert_eq!(std::fs::read_to_string(at("a")).unwrap(), "new");
        assert!(
            ExtraDir::open(&at("a"), true, 1).is_err(),
            "a file is no directory"
        );
        assert!(ExtraDir::open(&at("b"), true, u64::MAX).is_err(), "no room");
    }

    #[test]
    fn a_link_in_the_way_leads_nowhere() {
        let place = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), place.path().join("etc")).unwrap();
        let dir = ExtraDir::open(place.path(), true, 1).unwrap();
        let refused = write(&dir, &file("etc/passwd"), "x").unwrap_err();
        assert!(refused.to_string().contains("in the way"), "{refused}");
        // A link in place of the file itself is replaced, not followed.
        let precious = elsewhere.path().join("precious");
        std::fs::write(&precious, "old").unwrap();
        symlink(&precious, place.path().join("a")).unwrap();
        write(&dir, &file("a"), "new").unwrap();
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "old");
        assert_eq!(names(elsewhere.path()), ["precious"]);
    }
}
