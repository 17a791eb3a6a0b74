//! File systems of a test's own: one that is small, one that takes no writes. Both take root, as in a container.

use crate::skipped;
use anyhow::{Context as _, Result};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Something mounted; unmounted when dropped, also if it is in use.
#[derive(Debug)]
pub struct Mount {
    place: PathBuf,
}

impl Mount {
    /// An empty file system of so many MiB over `place`. Says why `test` is skipped where that can't be had.
    #[must_use]
    pub fn small(test: &str, place: &Path, mib: u32) -> Option<Self> {
        let size = format!("size={mib}m,mode=0755");
        let args = ["-t", "tmpfs", "-o", &size, "tmpfs"].map(OsStr::new);
        Self::over(test, place, &args)
    }

    /// What stands at `place`, and takes no writes until this is dropped: also of a process that has files open there, as
    /// far as it opens others by their names. Says why `test` is skipped where that can't be had.
    ///
    /// # Errors
    /// If only the half of it was done.
    pub fn read_only(test: &str, place: &Path) -> Result<Option<Self>> {
        let bind = [OsStr::new("--bind"), place.as_os_str()];
        let Some(mount) = Self::over(test, place, &bind) else {
            return Ok(None);
        };
        let args = ["-o", "remount,bind,ro"].map(OsStr::new);
        let said = run("mount", &args, place)?;
        anyhow::ensure!(said.is_empty(), "remount: {said}");
        Ok(Some(mount))
    }

    fn over(test: &str, place: &Path, args: &[&OsStr]) -> Option<Self> {
        let said = run("mount", args, place).unwrap_or_else(|error| format!("{error:#}"));
        if said.is_empty() {
            let place = place.to_owned();
            return Some(Self { place });
        }
        skipped(&format!(
            "{test}: no file system can be mounted here: {said}"
        ));
        None
    }

    /// Leaves no byte free, in a file `ballast`.
    ///
    /// # Errors
    /// If the file can't be begun, or if it takes more than `limit` bytes.
    pub fn fill(&self, limit: u64) -> Result<()> {
        use std::io::Write as _;
        let mut file = fs::File::create(self.ballast())?;
        let mut written = 0;
        // Smaller and smaller, to the last page.
        for piece in [1 << 20, 4096, 1_usize] {
            let bytes = vec![7_u8; piece];
            while file.write_all(&bytes).is_ok() {
                written += piece as u64;
                anyhow::ensure!(
                    written <= limit,
                    "{} is larger than that",
                    self.place.display()
                );
            }
        }
        Ok(())
    }

    /// Gives the space back.
    ///
    /// # Errors
    /// If it was not filled.
    pub fn relieve(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.place.join(".ballast")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, because programs that end later have files open there.
        drop(run("umount", &[OsStr::new("-l")], &self.place));
    }
}

/// What the command complained of; nothing if it did what it should.
fn run(program: &str, args: &[&OsStr], place: &Path) -> Result<String> {
    let output = Command::new(program).args(args).arg(place).output();
    let output = output.with_context(|| format!("can't run {program}"))?;
    if output.status.success() {
        return Ok(String::new());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(if said.is_empty() {
        output.status.to_string()
    } else {
        said
    })
}
