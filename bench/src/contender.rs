//! Programs that back a folder up: the peers, and Holdfast's pipeline as a program of the same kind.
//!
//! Each is used as its manual shows first, encrypted, with its usual compression (Borg with zstd level 1, because its
//! usual lz4 stores more), on a local repository. None is told to trust time stamps: every snapshot that
//! Qdrant makes is of new files, so there is nothing to trust.

use crate::cost::{self, Cost};
use crate::engine::files_below;
use anyhow::{Context as _, Result};
use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Secret of all peers' repositories.
const PASSPHRASE: &str = "a passphrase for benchmarks";

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    /// Holdfast's pipeline in one process.
    Holdfast,
    /// <https://restic.net>
    Restic,
    /// <https://www.borgbackup.org>
    Borg,
    /// <https://rustic.cli.rs>
    Rustic,
}

impl Tool {
    /// All of them, Holdfast first.
    pub(crate) const ALL: [Self; 4] = [Self::Holdfast, Self::Restic, Self::Borg, Self::Rustic];

    /// The program's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Holdfast => "holdfast",
            Self::Restic => "restic",
            Self::Borg => "borg",
            Self::Rustic => "rustic",
        }
    }

    /// Its version as it says it, or why it can't be run.
    pub(crate) fn version(self) -> Result<String> {
        let args: &[&str] = match self {
            Self::Holdfast => return Ok(env!("CARGO_PKG_VERSION").to_owned()),
            Self::Restic => &["version"],
            Self::Borg | Self::Rustic => &["--version"],
        };
        let output = Command::new(self.name())
            .args(args)
            .output()
            .with_context(|| format!("{} can't be run", self.name()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

/// One program with its repository.
#[derive(Debug)]
pub(crate) struct Contender {
    /// Which program.
    pub(crate) tool: Tool,
    /// Everything of its own is below this folder.
    dir: PathBuf,
    points: u32,
}

impl Contender {
    /// Makes a new repository below `dir`; what was there is removed.
    pub(crate) fn new(tool: Tool, dir: &Path) -> Result<Self> {
        let dir = dir.join(tool.name());
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        let contender = Self {
            tool,
            dir,
            points: 0,
        };
        let init: &[&str] = match tool {
            Tool::Holdfast => &["init"],
            Tool::Restic | Tool::Rustic => &["init"],
            Tool::Borg => &["init", "--encryption", "repokey-blake2"],
        };
        cost::run(contender.command()?.args(init))?;
        Ok(contender)
    }

    /// Backs the folder up.
    pub(crate) fn backup(&mut self, folder: &Path) -> Result<Cost> {
        self.backup_with(folder, &[])
    }

    /// [`backup`](Self::backup) with more arguments.
    pub(crate) fn backup_with(&mut self, folder: &Path, more: &[&str]) -> Result<Cost> {
        self.points += 1;
        let mut command = self.command()?;
        match self.tool {
            Tool::Holdfast => command
                .arg("backup")
                .arg(self.points.to_string())
                .arg(folder),
            Tool::Restic => command.args(["backup", "--quiet", "."]).current_dir(folder),
            Tool::Rustic => command.args(["backup", "."]).current_dir(folder),
            Tool::Borg => command
                .args(["create", "--compression", "zstd,1"])
                .arg(format!("::{}", self.points))
                .arg(".")
                .current_dir(folder),
        };
        cost::run(command.args(more))
    }

    /// Writes what the last backup holds below `folder`, which is made anew. Returns where in it the files are.
    pub(crate) fn restore(&self, folder: &Path) -> Result<Cost> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let mut command = self.command()?;
        match self.tool {
            Tool::Holdfast => command
                .arg("restore")
                .arg(self.points.to_string())
                .arg(folder),
            Tool::Restic => command.args(["restore", "latest", "--target"]).arg(folder),
            Tool::Rustic => command.args(["restore", "latest"]).arg(folder),
            Tool::Borg => command
                .arg("extract")
                .arg(format!("::{}", self.points))
                .current_dir(folder),
        };
        cost::run(&mut command)
    }

    /// Bytes of its repository.
    pub(crate) fn stored(&self) -> Result<u64> {
        bytes_below(&self.dir.join("repository"))
    }

    fn command(&self) -> Result<Command> {
        let repository = self.dir.join("repository");
        let home = self.dir.join("home");
        let mut command = match self.tool {
            Tool::Holdfast => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("engine").arg(&repository);
                command
            }
            Tool::Restic | Tool::Borg | Tool::Rustic => Command::new(self.tool.name()),
        };
        command
            .env("RESTIC_REPOSITORY", &repository)
            .env("RESTIC_PASSWORD", PASSPHRASE)
            .env("RUSTIC_REPOSITORY", &repository)
            .env("RUSTIC_PASSWORD", PASSPHRASE)
            .env("RUSTIC_LOG_LEVEL", "warn")
            .env("RUSTIC_NO_PROGRESS", "true")
            .env("BORG_REPO", &repository)
            .env("BORG_PASSPHRASE", PASSPHRASE)
            .env("BORG_BASE_DIR", &home)
            .env("XDG_CACHE_HOME", &home)
            .env("HOME", &home)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        fs::create_dir_all(home)?;
        Ok(command)
    }
}

/// Bytes of all files below a folder.
pub(crate) fn bytes_below(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for (path, _) in files_below(folder)? {
        sum += fs::metadata(path)?.len();
    }
    Ok(sum)
}
