//! Reads a shard's `wal/` directory without the log library, which would open it read-write and lock it.
//!
//! The form of the files is `holdfast-wal`'s; here are the folder and the numbering of entries across files. Writing is limited to an
//! empty file that fixes the next index, as in a Qdrant shard snapshot.

use crate::EngineError;
use fs_err as fs;
use holdfast_wal::{Entries, FileName, format, splice};
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The files of a log in reading order, each with the index of its first entry where the name tells it.
fn files(dir: &Path) -> Result<Vec<(Option<u64>, PathBuf)>, EngineError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.and_then(FileName::parse) {
            found.push((name, path));
        }
    }
    found.sort();
    let first = |(name, path)| match name {
        FileName::Closed(first) => (Some(first), path),
        FileName::Open(_) => (None, path),
    };
    Ok(found.into_iter().map(first).collect())
}

/// Calls `each(index, data)` for every readable entry with `index >= from`, in order, and returns the index that the
/// next appended entry gets.
///
/// # Errors
/// When a file can't be read or isn't a log file, or what `each` returned.
pub fn read(
    dir: &Path,
    from: u64,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), EngineError>,
) -> Result<u64, EngineError> {
    let mut next = 0;
    for (first, path) in files(dir)? {
        next = first.unwrap_or(next);
        let bytes = fs::read(&path)?;
        let entries =
            Entries::new(&bytes).map_err(|source| EngineError::WalFile { path, source })?;
        for data in entries {
            if next >= from {
                each(next, data)?;
            }
            next += 1;
        }
    }
    Ok(next)
}

/// The index that the next appended entry gets; 0 for an empty or missing directory.
///
/// # Errors
/// When a file can't be read or isn't a log file.
pub fn next_index(dir: &Path) -> Result<u64, EngineError> {
    if !dir.exists() {
        return Ok(0);
    }
    read(dir, u64::MAX, |_, _| Ok(()))
}

/// Writes the empty file `closed-<next>`, so that a log opened there gives the next operation the index `next`.
/// `capacity` is the file's size in bytes, all but the header a hole.
///
/// # Errors
/// When the file can't be written.
pub fn write_empty(dir: &Path, next: u64, capacity: u64) -> Result<(), EngineError> {
    fs::create_dir_all(dir)?;
    let mut file = fs::File::create(dir.join(format!("closed-{next}")))?;
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    let [s0, s1, s2, s3, ..] = random.to_le_bytes();
    let header = format::header(u32::from_le_bytes([s0, s1, s2, s3]));
    file.write_all(&header)?;
    file.set_len(capacity.max(header.len() as u64))?;
    file.sync_all()?;
    Ok(())
}

/// Deletes closed files of which every entry is below `flushed`, keeping the newest `retain` of them, and records the
/// position in `first-index`, as Qdrant does.
///
/// # Errors
/// When a file can't be deleted or written.
pub fn truncate(dir: &Path, flushed: u64, retain: usize) -> Result<(), EngineError> {
    let all = files(dir)?;
    let closed: Vec<_> = all
        .iter()
        .filter_map(|(first, path)| first.map(|first| (first, path)))
        .collect();
    let removable = closed.len().saturating_sub(retain.max(1));
    for window in closed.windows(2).take(removable) {
        if window[1].0 > flushed {
            break;
        }
        fs::remove_file(window[0].1)?;
    }
    if flushed > 0 && closed.len() > 1 {
        let path = dir.join(splice::FIRST_INDEX);
        let temporary = dir.join("first-index.tmp");
        fs::write(&temporary, splice::first_index(flushed - 1))?;
        fs::rename(&temporary, &path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log file with these entries, and room for more.
    fn file_with(seed: u32, entries: &[&[u8]]) -> Vec<u8> {
        let (mut writer, header) = splice::SpliceWriter::new(seed);
        let mut file = header.to_vec();
        for entry in entries {
            writer.push(entry, &mut file);
        }
        file.resize(file.len() + 256, 0);
        file
    }

    fn all(dir: &Path, from: u64) -> (u64, Vec<(u64, Vec<u8>)>) {
        let mut entries = Vec::new();
        let next = read(dir, from, |index, data| {
            entries.push((index, data.to_vec()));
            Ok(())
        });
        (next.unwrap(), entries)
    }

    #[test]
    fn entries_are_numbered_across_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("closed-7"), file_with(1, &[b"a", b"bcdef"])).unwrap();
        fs::write(dir.path().join("open-3"), file_with(2, &[b"0123456789ab"])).unwrap();
        fs::write(dir.path().join("open-4"), file_with(3, &[])).unwrap();
        fs::write(dir.path().join("first-index"), "{}").unwrap();
        let expected = vec![(8, b"bcdef".to_vec()), (9, b"0123456789ab".to_vec())];
        assert_eq!(all(dir.path(), 8), (10, expected));
        assert_eq!(next_index(dir.path()).unwrap(), 10);
    }

    #[test]
    fn an_empty_file_fixes_the_next_index() {
        let dir = tempfile::tempdir().unwrap();
        write_empty(dir.path(), 42, 4096).unwrap();
        assert_eq!(next_index(dir.path()).unwrap(), 42);
        let size = fs::metadata(dir.path().join("closed-42")).unwrap().len();
        assert_eq!(size, 4096);
        assert_eq!(next_index(&dir.path().join("missing")).unwrap(), 0);
    }

    #[test]
    fn what_is_no_log_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for content in [&b""[..], b"wal\x01aaaa", b"lawn mower"] {
            fs::write(dir.path().join("open-1"), content).unwrap();
            let error = next_index(dir.path()).unwrap_err();
            assert!(matches!(error, EngineError::WalFile { .. }), "{error}");
        }
    }

    #[test]
    fn truncation_deletes_only_flushed_files_and_keeps_some() {
        let dir = tempfile::tempdir().unwrap();
        let left = || {
            let mut firsts: Vec<_> = files(dir.path()).unwrap();
            firsts.retain(|(first, _)| first.is_some());
            firsts
                .into_iter()
                .filter_map(|(first, _)| first)
                .collect::<Vec<_>>()
        };
        for first in [0, 1, 2, 3] {
            let name = format!("closed-{first}");
            fs::write(dir.path().join(name), file_with(5, &[b"x"])).unwrap();
        }
        truncate(dir.path(), 1, 1).unwrap();
        assert_eq!(left(), [1, 2, 3]);
        truncate(dir.path(), 4, 2).unwrap();
        assert_eq!(left(), [2, 3]);
        truncate(dir.path(), 4, 0).unwrap();
        assert_eq!(left(), [3]);
        assert_eq!(next_index(dir.path()).unwrap(), 4);
        let mark = fs::read_to_string(dir.path().join("first-index")).unwrap();
        assert_eq!(mark, "{\"ack_index\":3}");
    }
}
