//! Aliases in a data directory: `aliases/data.json`, one object from alias to collection.

use super::disk;
use crate::failure::Failed;
use fs_err as fs;
use holdfast_archive::CollectionEntry;
use holdfast_service::failure::Code;
use serde_json::{Map, Value};
use std::path::Path;

/// Sets the aliases of these collections, but takes none away from another collection. Returns the names of those
/// that were set, and what a person should know.
pub(super) fn set(
    root: &Path,
    collections: &[CollectionEntry],
) -> Result<(Vec<String>, Vec<String>), Failed> {
    let (dir, file) = (root.join("aliases"), root.join("aliases/data.json"));
    let mut known: Map<String, Value> = if file.exists() {
        let text = fs::read(&file).map_err(|error| disk(&error))?;
        serde_json::from_slice(&text).map_err(|error| {
            let what = format!("{} can't be read: {error}", file.display());
            Failed::new(Code::Config, what)
        })?
    } else {
        Map::new()
    };
    let (mut done, mut warnings) = (Vec::new(), Vec::new());
    for entry in collections {
        for alias in &entry.aliases {
            let target = Value::from(entry.name.as_str());
            match known.get(alias.as_str()) {
                Some(other) if *other != target => warnings.push(format!(
                    "alias {alias} points at {other} and is left there, not pointed at {}",
                    entry.name
                )),
                Some(_) | None => {
                    known.insert(alias.to_string(), target);
                    done.push(alias.to_string());
                }
            }
        }
    }
    if !done.is_empty() {
        let next = dir.join(".data.json.holdfast");
        let write = || {
            fs::create_dir_all(&dir)?;
            fs::write(&next, Value::Object(known).to_string())?;
            fs::File::open(&next)?.sync_all()?;
            fs::rename(&next, &file)?;
            fs::File::open(&dir)?.sync_all()
        };
        write().map_err(|error| disk(&error))?;
    }
    Ok((done, warnings))
}

#[cfg(test)]
mod tests {
    use super::set;
    use holdfast_archive::CollectionEntry;

    #[test]
    fn none_is_taken_away_from_another_collection() {
        let dir = tempfile::tempdir().unwrap();
        let entry = |name: &str, aliases: &[&str]| CollectionEntry {
            name: name.parse().unwrap(),
            info: serde_json::Value::Null,
            aliases: aliases.iter().map(|a| a.parse().unwrap()).collect(),
            cluster: None,
            shard_count: 0,
            uuid: None,
            shard_keys: Vec::new(),
            points: None,
            shards: Vec::new(),
        };
        let (done, warnings) = set(dir.path(), &[entry("a", &["live", "x"])]).unwrap();
        assert_eq!((done.len(), warnings.len()), (2, 0));
        let (done, warnings) = set(dir.path(), &[entry("b", &["live", "y"])]).unwrap();
        assert_eq!(done, ["y"]);
        assert!(warnings[0].contains("live"), "{warnings:?}");
        let text = std::fs::read_to_string(dir.path().join("aliases/data.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value, serde_json::json!({"live": "a", "x": "a", "y": "b"}));
    }
}
