//! Stored snapshots of one shard: a directory of `*.snapshot` files, each with its SHA-256 beside it.
//!
//! Publication is a rename, so a file of that name is always whole.

use super::sha256_of;
use crate::NodeError;
use fs_err as fs;
use serde::Serialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A stored snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotDescription {
    /// File name.
    pub name: String,
    /// When it was made, in UTC, as `2026-01-31T23:59:59`.
    pub creation_time: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// Moves the file `source` into the directory as `name`.
pub(super) fn put(dir: &Path, name: &str, source: &Path) -> Result<SnapshotDescription, NodeError> {
    fs::create_dir_all(dir)?;
    let target = dir.join(name);
    let temporary = target.with_extension("tmp");
    let checksum = sha256_of(source)?;
    if fs::rename(source, &temporary).is_err() {
        // another file system
        fs::copy(source, &temporary)?;
    }
    fs::File::open(&temporary)?.sync_all()?;
    fs::write(checksum_path(&target), checksum)?;
    fs::rename(&temporary, &target)?;
    fs::File::open(dir)?.sync_all()?;
    describe(&target)
}

/// The snapshots in the directory, sorted by name; none if it doesn't exist.
pub(super) fn list(dir: &Path) -> Result<Vec<SnapshotDescription>, NodeError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "snapshot") && path.is_file() {
            found.push(describe(&path)?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Path of the snapshot `name`, which must be a plain file name.
pub(super) fn path(dir: &Path, name: &str) -> Result<PathBuf, NodeError> {
    let missing = || NodeError::NotFound(format!("Snapshot {name} not found"));
    if Path::new(name).file_name() != Some(name.as_ref()) {
        return Err(missing());
    }
    let path = dir.join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(missing())
    }
}

/// Deletes a snapshot and its checksum.
pub(super) fn delete(path: &Path) -> Result<(), NodeError> {
    fs::remove_file(path)?;
    match fs::remove_file(checksum_path(path)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Compares a file's SHA-256 with what a client expects.
pub(super) fn check(path: &Path, expected: &str) -> Result<(), NodeError> {
    let actual = sha256_of(path)?;
    if actual.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(NodeError::Checksum {
        expected: expected.to_owned(),
        actual,
    })
}

fn describe(path: &Path) -> Result<SnapshotDescription, NodeError> {
    let metadata = fs::metadata(path)?;
    let created = metadata.created().or_else(|_| metadata.modified())?;
    let created = jiff::Timestamp::try_from(created).ok();
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(SnapshotDescription {
        name: name.unwrap_or_default().to_owned(),
        creation_time: created.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S").to_string()),
        size: metadata.len(),
        checksum: fs::read_to_string(checksum_path(path)).ok(),
    })
}

fn checksum_path(snapshot: &Path) -> PathBuf {
    let mut path = snapshot.as_os_str().to_owned();
    path.push(".checksum");
    path.into()
}
