//! Which logs there are: `collections/<name>/<shard>/wal` of the storage directory.

use fs_err as fs;
use holdfast_types::{CollectionName, ShardId};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Whose log it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// The collection.
    pub collection: CollectionName,
    /// The shard.
    pub shard: ShardId,
}

/// A collection's folder, and the logs in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundCollection {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// The logs' folders, by shard.
    pub(crate) logs: BTreeMap<ShardId, PathBuf>,
}

/// Looks for logs. A collection whose name Holdfast can't use is passed over, as no capture has it either.
///
/// # Errors
/// When the storage directory can't be listed. A folder that goes away meanwhile is no error.
pub(crate) fn scan(storage: &Path) -> io::Result<BTreeMap<CollectionName, FoundCollection>> {
    let mut found = BTreeMap::new();
    for entry in list(&storage.join("collections"))? {
        let Some(name) = name_of(&entry).and_then(|name| name.parse().ok()) else {
            continue;
        };
        let folder = entry.path();
        let mut logs = BTreeMap::new();
        for entry in list(&folder)? {
            let shard = name_of(&entry).and_then(|name| name.parse::<u32>().ok());
            let wal = entry.path().join("wal");
            if let Some(shard) = shard
                && wal.is_dir()
            {
                logs.insert(ShardId(shard), wal);
            }
        }
        found.insert(name, FoundCollection { folder, logs });
    }
    Ok(found)
}

fn name_of(entry: &fs::DirEntry) -> Option<String> {
    entry.file_name().into_string().ok()
}

/// What is in a folder; nothing, if it is not there.
fn list(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) => {
            let kind = error.kind();
            let none = kind == io::ErrorKind::NotFound || kind == io::ErrorKind::NotADirectory;
            if none { Ok(Vec::new()) } else { Err(error) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::scan;
    use fs_err as fs;
    use holdfast_types::ShardId;

    #[test]
    fn logs_are_found_and_other_things_are_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(scan(dir.path()).unwrap().len(), 0, "not there yet");
        for path in [
            "collections/docs/0/wal",
            "collections/docs/3/wal",
            "collections/docs/temp_segments",
            "collections/docs/7/segments",
            "collections/empty",
            "collections/.deleted/0/wal",
        ] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(dir.path().join("collections/docs/config.json"), "{}").unwrap();
        fs::write(dir.path().join("collections/stray"), "").unwrap();
        let found = scan(dir.path()).unwrap();
        let docs = &found[&"docs".parse().unwrap()];
        let shards: Vec<ShardId> = docs.logs.keys().copied().collect();
        assert_eq!(shards, [ShardId(0), ShardId(3)]);
        assert!(found[&"empty".parse().unwrap()].logs.is_empty());
    }
}
