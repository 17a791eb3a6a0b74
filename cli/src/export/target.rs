//! The file that an export becomes: written beside its name, whole and on disk before it has it.

use crate::failure::{Failure, Outcome};
use fs_err as fs;
use holdfast_agent::failure::io_code;
use holdfast_service::failure::Code;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempPath;

const RISK: &str = "nothing: no file was written";

/// Where a file goes.
#[derive(Debug)]
pub(crate) struct Target {
    path: PathBuf,
    force: bool,
}

/// A file that is being written. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Unfinished {
    path: TempPath,
}

impl Target {
    /// `out` itself, or a file called `name` in it if it is a directory.
    pub(crate) fn new(out: &Path, name: &str, force: bool) -> Outcome<Self> {
        let path = if out.is_dir() {
            out.join(name)
        } else {
            out.to_owned()
        };
        let target = Self { path, force };
        if target.path.is_dir() {
            let what = format!("{} is a directory", target.path.display());
            return Err(Failure::new(Code::Usage, what).risking(RISK));
        }
        if !force && target.path.symlink_metadata().is_ok() {
            return Err(target.exists());
        }
        Ok(target)
    }

    /// The file's final path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins to write `len` bytes under a temporary name, if they have room.
    pub(crate) fn begin(&self, len: u64) -> Outcome<(fs::File, Unfinished)> {
        let dir = self.dir();
        let what = format!("can't write in {}", dir.display());
        let failed = |error: &io::Error| {
            Failure::new(code(error), what.as_str())
                .caused_by(error)
                .risking(RISK)
                .todo("name a directory that exists and may be written to")
        };
        let free = free_bytes(dir).map_err(|error| failed(&error))?;
        if free < len {
            return Err(Failure::new(
                Code::DiskFull,
                format!(
                    "{} has {} free, {} are needed",
                    dir.display(),
                    holdfast_types::ByteCount(free),
                    holdfast_types::ByteCount(len)
                ),
            )
            .risking(RISK)
            .todo("free space, or choose another place with -o"));
        }
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let created = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(".part")
            .tempfile_in(dir);
        let (file, path) = created.map_err(|error| failed(&error))?.into_parts();
        let file = fs::File::from_parts(file, path.to_path_buf());
        Ok((file, Unfinished { path }))
    }

    /// Gives the file its name. Its bytes must be on disk.
    pub(crate) fn finish(&self, unfinished: Unfinished) -> Outcome<()> {
        let placed = if self.force {
            unfinished.path.persist(&self.path)
        } else {
            unfinished.path.persist_noclobber(&self.path)
        };
        placed.map_err(|error| {
            if error.error.kind() == io::ErrorKind::AlreadyExists {
                self.exists()
            } else {
                self.failed(&error.error)
            }
        })?;
        // The name, too, must survive a power cut.
        let synced = fs::File::open(self.dir()).and_then(|dir| dir.sync_all());
        synced.map_err(|error| self.failed(&error))
    }

    fn dir(&self) -> &Path {
        match self.path.parent() {
            Some(dir) if dir != Path::new("") => dir,
            Some(_) | None => Path::new("."),
        }
    }

    fn exists(&self) -> Failure {
        let what = format!("{} exists", self.path.display());
        Failure::new(Code::TargetExists, what)
            .risking("nothing: it was refused before anything was done")
            .todo("choose another name with -o, or replace it with --force")
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let what = format!("{} can't be put in place", self.path.display());
        Failure::new(code(error), what)
            .caused_by(error)
            .risking("nothing: a file that was there before is unchanged")
    }
}

/// Of a place that the user chose: what can't be used there is no defect of this program.
pub(super) fn code(error: &io::Error) -> Code {
    let code = io_code(error);
    if code == Code::Internal {
        Code::Config
    } else {
        code
    }
}

pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::Target;
    use std::io::Write as _;

    #[test]
    fn a_file_has_its_name_only_when_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::new(dir.path(), "a.snapshot", false).unwrap();
        let names = || -> Vec<_> {
            let entries = std::fs::read_dir(dir.path()).unwrap();
            entries.map(|e| e.unwrap().file_name()).collect()
        };
        let (mut file, unfinished) = target.begin(3).unwrap();
        file.write_all(b"one").unwrap();
        assert!(!target.path().exists());
        drop(unfinished);
        assert!(names().is_empty(), "an interrupted one leaves nothing");

        let (mut file, unfinished) = target.begin(3).unwrap();
        file.write_all(b"two").unwrap();
        target.finish(unfinished).unwrap();
        assert_eq!(names(), ["a.snapshot"]);
        assert_eq!(std::fs::read(target.path()).unwrap(), b"two");
    }

    #[test]
    fn what_exists_is_replaced_only_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        let early = Target::new(&file, "unused", false).unwrap();
        std::fs::write(&file, "old").unwrap();
        let exit = |failure: crate::failure::Failure| failure.exit().code();
        assert_eq!(exit(Target::new(&file, "unused", false).unwrap_err()), 10);
        // one that appears while the export runs is not replaced either
        let (_, unfinished) = early.begin(0).unwrap();
        assert_eq!(exit(early.finish(unfinished).unwrap_err()), 10);
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
        let forced = Target::new(&file, "unused", true).unwrap();
        let (_, unfinished) = forced.begin(0).unwrap();
        forced.finish(unfinished).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"");
    }

    #[test]
    fn a_place_that_can_t_take_it_is_refused_before_anything_is_fetched() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::new(dir.path(), "x", false).unwrap();
        assert_eq!(target.begin(u64::MAX).unwrap_err().exit().code(), 8);
        let nowhere = Target::new(&dir.path().join("no/x"), "y", false).unwrap();
        assert_eq!(nowhere.begin(1).unwrap_err().exit().code(), 3);
    }
}
