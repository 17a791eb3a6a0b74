//! Which life of a collection its folder is of.
//!
//! A collection can be dropped and made anew under its name. Qdrant gives it no identity that lasts (the `uuid` in its
//! `config.json` goes with a snapshot under other names), so the agent gives it one when it sees a folder for the first time, and knows the folder
//! again by its inode and time of birth. While the agent runs it holds the folder open, so that no other folder gets the same inode.
//!
//! The identity follows from node, name, inode and time of birth, so that it is the same again after this memory was lost. Where the file system
//! tells no time of birth, it is drawn.
//!
//! What belongs together is decided by timelines (docs/rfcs/0002). If this is wrong, a history stands under the wrong name for people to see, and
//! `restore --before-drop` may take a collection that is there for a later one: its plan says so.

use super::follower::random;
use crate::failure::chain;
use fs_err as fs;
use holdfast_types::{CollectionName, IncarnationId, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const FILE: &str = "incarnations.json";
const TEMPORARY: &str = "incarnations.new";
/// Of collections that are gone, so many are remembered: one may only be away because its volume is.
const REMEMBERED: usize = 10_000;

/// What is remembered.
#[derive(Debug)]
pub(super) struct Incarnations {
    dir: PathBuf,
    node: NodeId,
    known: BTreeMap<CollectionName, Known>,
    held: BTreeMap<CollectionName, fs::File>,
}

/// A folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    incarnation: IncarnationId,
    inode: u64,
    /// Nanoseconds since the Unix epoch, where the file system tells.
    born: Option<u128>,
}

impl Incarnations {
    /// Reads what an earlier life of the agent has remembered. A file that can't be read is told of, and does no harm: every
    /// collection then counts as a new one.
    #[must_use]
    pub(super) fn open(dir: &Path, node: &NodeId) -> Self {
        let read = || -> io::Result<BTreeMap<CollectionName, Known>> {
            match fs::read(dir.join(FILE)) {
                Ok(json) => Ok(serde_json::from_slice(&json)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
                Err(error) => Err(error),
            }
        };
        let known = read().unwrap_or_else(|error| {
            tracing::warn!(
                reason = %chain(&error),
                "what was known of collections can't be read: their logs are archived as those of new ones, and need new bases"
            );
            BTreeMap::new()
        });
        Self {
            dir: dir.to_owned(),
            node: node.clone(),
            known,
            held: BTreeMap::new(),
        }
    }

    /// The identity of the collection whose folder this is, durable before it is used.
    ///
    /// # Errors
    /// When the folder can't be looked at, or the memory can't be written.
    pub(super) fn of(&mut self, name: &CollectionName, folder: &Path) -> io::Result<IncarnationId> {
        let opened = fs::File::open(folder)?;
        let seen = opened.metadata()?;
        let born = seen.created().ok().and_then(|born| {
            let since = born.duration_since(std::time::UNIX_EPOCH);
            since.ok().map(|since| since.as_nanos())
        });
        let inode = seen.ino();
        let known = self.known.get(name);
        if let Some(known) = known.filter(|known| known.inode == inode && known.born == born) {
            let incarnation = known.incarnation;
            self.held.insert(name.clone(), opened);
            return Ok(incarnation);
        }
        let incarnation = match born {
            Some(born) => self.follows(name, inode, born),
            None => IncarnationId::from_bytes(random()?),
        };
        let now = Known {
            incarnation,
            inode,
            born,
        };
        let before = self.known.insert(name.clone(), now);
        while self.known.len() > REMEMBERED {
            let gone = |other: &&CollectionName| *other != name && !self.held.contains_key(*other);
            let Some(oldest) = self.known.keys().find(gone).cloned() else {
                break;
            };
            self.known.remove(&oldest);
        }
        if let Err(error) = self.write() {
            match before {
                Some(before) => self.known.insert(name.clone(), before),
                None => self.known.remove(name),
            };
            return Err(error);
        }
        self.held.insert(name.clone(), opened);
        Ok(incarnation)
    }

    /// The identity of a folder that was not there before, and never is again.
    fn follows(&self, name: &CollectionName, inode: u64, born: u128) -> IncarnationId {
        let mut hasher =
            blake3::Hasher::new_derive_key("holdfast 2026 incarnation of a collection");
        // Names have no such byte.
        for part in [self.node.as_str(), name.as_str()] {
            hasher.update(part.as_bytes()).update(&[0]);
        }
        hasher
            .update(&inode.to_le_bytes())
            .update(&born.to_le_bytes());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        IncarnationId::from_bytes(id)
    }

    /// Lets folders of other collections go.
    pub(super) fn keep(&mut self, there: impl Fn(&CollectionName) -> bool) {
        self.held.retain(|name, _| there(name));
    }

    fn write(&self) -> io::Result<()> {
        let temporary = self.dir.join(TEMPORARY);
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(&self.known)?)?;
        file.sync_all()?;
        fs::rename(&temporary, self.dir.join(FILE))?;
        fs::File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::Incarnations;
    use fs_err as fs;
    use holdfast_types::{CollectionName, IncarnationId};
    use std::path::Path;

    fn open(dir: &Path) -> Incarnations {
        Incarnations::open(dir, &"n1".parse().unwrap())
    }

    fn of(memory: &mut Incarnations, folder: &Path) -> IncarnationId {
        let docs: CollectionName = "docs".parse().unwrap();
        memory.of(&docs, folder).unwrap()
    }

    #[test]
    fn a_folder_is_known_again_and_another_one_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("docs");
        fs::create_dir(&folder).unwrap();
        let mut memory = open(dir.path());
        let first = of(&mut memory, &folder);
        assert_eq!(of(&mut memory, &folder), first);
        // After a restart.
        let mut memory = open(dir.path());
        assert_eq!(of(&mut memory, &folder), first);
        fs::rename(&folder, dir.path().join("moved")).unwrap();
        fs::create_dir(&folder).unwrap();
        let second = of(&mut memory, &folder);
        assert_ne!(second, first);
        // Back again under its name: nobody may take it for the second.
        fs::remove_dir(&folder).unwrap();
        fs::rename(dir.path().join("moved"), &folder).unwrap();
        assert_ne!(of(&mut memory, &folder), second);
    }

    #[test]
    fn a_memory_that_can_not_be_read_or_written_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("docs");
        fs::create_dir(&folder).unwrap();
        fs::write(dir.path().join("incarnations.json"), "?").unwrap();
        let mut memory = open(dir.path());
        let first = of(&mut memory, &folder);
        assert_eq!(of(&mut open(dir.path()), &folder), first);
        let mut nowhere = open(&dir.path().join("gone"));
        let docs: CollectionName = "docs".parse().unwrap();
        assert!(nowhere.of(&docs, &folder).is_err());
        assert!(nowhere.of(&docs, &folder).is_err(), "never durable");
    }

    /// With its state directory an agent does not lose which collection is which; and a copy of a folder, the same folder under another name or at
    /// another node, and one that is made anew are others, whatever is in them.
    #[test]
    fn a_folder_is_known_again_without_any_memory() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("docs");
        let create = || {
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("config.json"), r#"{"uuid":"one"}"#).unwrap();
        };
        create();
        let born = fs::metadata(&folder).unwrap().created();
        let anew = |node: &str, name: &str, folder: &Path| {
            let state = tempfile::tempdir().unwrap();
            let mut memory = Incarnations::open(state.path(), &node.parse().unwrap());
            memory.of(&name.parse().unwrap(), folder).unwrap()
        };
        let first = anew("n1", "docs", &folder);
        assert_eq!(anew("n1", "docs", &folder) == first, born.is_ok());
        assert_ne!(anew("n2", "docs", &folder), first);
        assert_ne!(anew("n1", "more", &folder), first);
        let moved = dir.path().join("moved");
        fs::rename(&folder, &moved).unwrap();
        create();
        assert_ne!(anew("n1", "docs", &folder), first);
        // An inode is given out again.
        let (memory, docs) = (open(dir.path()), "docs".parse().unwrap());
        let made = memory.follows(&docs, 7, 100);
        assert_eq!(memory.follows(&docs, 7, 100), made);
        assert_ne!(memory.follows(&docs, 7, 101), made);
        assert_ne!(memory.follows(&docs, 8, 100), made);
    }

    /// An agent that drew them may have left some, and goes on with these.
    #[test]
    fn what_is_remembered_counts() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("docs");
        fs::create_dir(&folder).unwrap();
        let first = of(&mut open(dir.path()), &folder);
        let file = dir.path().join("incarnations.json");
        let (drawn, json) = ([7; 16], fs::read_to_string(&file).unwrap());
        let drawn = IncarnationId::from_bytes(drawn);
        fs::write(&file, json.replace(&first.to_string(), &drawn.to_string())).unwrap();
        assert_eq!(of(&mut open(dir.path()), &folder), drawn);
    }
}
