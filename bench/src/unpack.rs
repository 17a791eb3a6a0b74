//! A stored shard snapshot as a folder of files, which is what every contender is given.

use anyhow::{Result, ensure};
use fs_err as fs;
use std::path::Path;
use std::process::Command;

/// Unpacks the snapshot into `folder`, which is made anew; the archive of each segment inside is unpacked, too, and its
/// files get the paths that an agent knows them by.
pub(crate) fn unpack(snapshot: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    extract(snapshot, folder, 0)?;
    for entry in fs::read_dir(folder.join("segments"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "tar") {
            // They stand below `snapshot/files/` in it.
            extract(&path, &path.with_extension(""), 2)?;
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn extract(archive: &Path, folder: &Path, strip: u32) -> Result<()> {
    fs::create_dir_all(folder)?;
    let status = Command::new("tar")
        .arg(format!("--strip-components={strip}"))
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(folder)
        .status()?;
    ensure!(status.success(), "tar -xf {}: {status}", archive.display());
    Ok(())
}
