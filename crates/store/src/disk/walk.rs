//! Listing: a walk over the folders whose names can be part of a key.

use crate::key::{MAX_SEGMENTS, is_segment};
use crate::{KeyPrefix, ObjectKey, ObjectMeta, StoreError};
use holdfast_types::Timestamp;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Every object below `prefix`, sorted by key.
pub(super) fn list(root: &Path, prefix: &KeyPrefix) -> Result<Vec<ObjectMeta>, StoreError> {
    let mut found = Vec::new();
    let depth = match prefix.as_str() {
        "" => 0,
        text => text.split('/').count(),
    };
    let mut folders = vec![(
        root.join(prefix.as_str()),
        prefix.as_str().to_owned(),
        depth,
    )];
    while let Some((path, name, depth)) = folders.pop() {
        match fs_err::read_dir(&path) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(|error| StoreError::from_io(&path, error))?;
                    visit(&entry, &name, depth + 1, &mut found, &mut folders)?;
                }
            }
            Err(error) if super::is_missing(&error) => {}
            Err(error) => return Err(StoreError::from_io(&path, error)),
        }
    }
    found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// Whether the directory has no entry but a file system's own and our hidden ones.
pub(super) fn is_empty(root: &Path) -> Result<bool, StoreError> {
    let fail = |error| StoreError::from_io(root, error);
    for entry in fs_err::read_dir(root).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        if name != "lost+found" && !name.as_encoded_bytes().starts_with(b".") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes a folder with all the empty folders in it; one that holds a file stays, with those above it.
pub(super) fn remove_empty(folder: &Path) -> io::Result<()> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if super::is_missing(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    match fs_err::remove_dir(folder) {
        Err(error)
            if error.kind() != io::ErrorKind::DirectoryNotEmpty && !super::is_missing(&error) =>
        {
            Err(error)
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn visit(
    entry: &fs_err::DirEntry,
    folder: &str,
    depth: usize,
    found: &mut Vec<ObjectMeta>,
    folders: &mut Vec<(PathBuf, String, usize)>,
) -> Result<(), StoreError> {
    let name = entry.file_name();
    let Some(name) = name.to_str().filter(|name| is_segment(name)) else {
        return Ok(());
    };
    let name = match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    };
    let path = entry.path();
    // Follows symbolic links: a folder may have been moved to another disk.
    let metadata = match fs_err::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::from_io(&path, error)),
    };
    if metadata.is_dir() {
        if depth < MAX_SEGMENTS {
            folders.push((path, name, depth));
        }
    } else if let Ok(key) = name.parse() {
        found.push(meta(key, &metadata));
    }
    Ok(())
}

/// Size and time of a file. A file system without times gives the Unix epoch.
pub(super) fn meta(key: ObjectKey, metadata: &std::fs::Metadata) -> ObjectMeta {
    let micros = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_micros()).ok());
    ObjectMeta {
        key,
        size: metadata.len(),
        modified: Timestamp::from_micros(micros.unwrap_or(0)),
    }
}
