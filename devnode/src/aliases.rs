//! Second names of collections, kept in `aliases/data.json` as on a real server.
//!
//! Whether a collection exists is the caller's to check.

use crate::NodeError;
use crate::collection::{read_json, write_json};
use fs_err as fs;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The aliases of a node.
pub(crate) struct Aliases {
    path: PathBuf,
    by_alias: BTreeMap<String, String>,
}

/// One step of an alias request; a request's steps take effect together.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AliasAction {
    /// Gives a collection an alias, taking it from another collection if need be.
    CreateAlias {
        /// The collection.
        collection_name: String,
        /// Its new name.
        alias_name: String,
    },
    /// Removes an alias.
    DeleteAlias {
        /// The alias.
        alias_name: String,
    },
    /// Renames an alias.
    RenameAlias {
        /// The alias as it is.
        old_alias_name: String,
        /// The alias as it will be.
        new_alias_name: String,
    },
}

impl Aliases {
    pub(crate) fn open(storage: &Path) -> Result<Self, NodeError> {
        let dir = storage.join("aliases");
        fs::create_dir_all(&dir)?;
        let path = dir.join("data.json");
        let by_alias = if path.exists() {
            read_json(&path)?
        } else {
            BTreeMap::new()
        };
        Ok(Self { path, by_alias })
    }

    /// The collection behind an alias.
    pub(crate) fn get(&self, alias: &str) -> Option<&str> {
        self.by_alias.get(alias).map(String::as_str)
    }

    /// Pairs of alias and collection.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.by_alias.iter();
        pairs.map(|(alias, collection)| (alias.as_str(), collection.as_str()))
    }

    /// Performs all actions, or none when one is wrong. `exists` tells whether a collection has that very name.
    pub(crate) fn change(
        &mut self,
        actions: Vec<AliasAction>,
        exists: impl Fn(&str) -> bool,
    ) -> Result<(), NodeError> {
        let mut next = self.by_alias.clone();
        for action in actions {
            perform(action, &mut next, &exists)?;
        }
        self.save(next)
    }

    pub(crate) fn forget_collection(&mut self, collection: &str) -> Result<(), NodeError> {
        let mut next = self.by_alias.clone();
        next.retain(|_, target| target != collection);
        self.save(next)
    }

    fn save(&mut self, next: BTreeMap<String, String>) -> Result<(), NodeError> {
        if next != self.by_alias {
            write_json(&self.path, &json!(next))?;
            self.by_alias = next;
        }
        Ok(())
    }
}

fn perform(
    action: AliasAction,
    aliases: &mut BTreeMap<String, String>,
    exists: &impl Fn(&str) -> bool,
) -> Result<(), NodeError> {
    let missing = |alias: &str| NodeError::NotFound(format!("Alias {alias} does not exists!"));
    let free = |alias: &str| {
        if exists(alias) {
            let text = format!("Collection `{alias}` already exists!");
            return Err(NodeError::AlreadyExists(text));
        }
        Ok(())
    };
    match action {
        AliasAction::CreateAlias {
            collection_name,
            alias_name,
        } => {
            if !exists(&collection_name) {
                return Err(NodeError::no_collection(&collection_name));
            }
            free(&alias_name)?;
            aliases.insert(alias_name, collection_name);
        }
        AliasAction::DeleteAlias { alias_name } => {
            aliases.remove(&alias_name);
        }
        AliasAction::RenameAlias {
            old_alias_name,
            new_alias_name,
        } => {
            free(&new_alias_name)?;
            let target = aliases
                .remove(&old_alias_name)
                .ok_or_else(|| missing(&old_alias_name))?;
            aliases.insert(new_alias_name, target);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(json: serde_json::Value) -> AliasAction {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_wrong_action_undoes_the_whole_request() {
        let dir = tempfile::tempdir().unwrap();
        let mut aliases = Aliases::open(dir.path()).unwrap();
        let good = action(json!({"create_alias": {"collection_name": "c", "alias_name": "a"}}));
        let bad = action(json!({"create_alias": {"collection_name": "no", "alias_name": "b"}}));
        let exists = |name: &str| name == "c";
        assert!(aliases.change(vec![good.clone(), bad], exists).is_err());
        assert_eq!(aliases.get("a"), None);
        aliases.change(vec![good], exists).unwrap();
        assert_eq!(aliases.get("a"), Some("c"));
    }

    #[test]
    fn aliases_are_still_there_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let exists = |name: &str| name == "c";
        let create = action(json!({"create_alias": {"collection_name": "c", "alias_name": "a"}}));
        let rename =
            action(json!({"rename_alias": {"old_alias_name": "a", "new_alias_name": "b"}}));
        let mut aliases = Aliases::open(dir.path()).unwrap();
        aliases.change(vec![create, rename], exists).unwrap();
        let mut again = Aliases::open(dir.path()).unwrap();
        assert_eq!(again.iter().collect::<Vec<_>>(), [("b", "c")]);
        again.forget_collection("c").unwrap();
        assert_eq!(Aliases::open(dir.path()).unwrap().get("b"), None);
    }
}
