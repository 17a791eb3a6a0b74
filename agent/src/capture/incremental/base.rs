//! The last capture of each shard, kept in the agent's state: manifest, recipe, and which files they were of.
//!
//! A manifest's versions are numbers of one replica's operations. They mean something else after a restore, a roll-back of
//! the volume or on another node. So a base counts only within one life of the server's process, and for segments
//! whose `version.info`, written once when the segment's directory is made, is still the same inode with the same
//! times. It is a cache: one that can't be read is dropped, and the next capture reads everything.

use super::disk::FileIdentity;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use holdfast_archive::{FileRecipe, ShardRecipe};
use holdfast_qdrant::ShardManifest;
use holdfast_types::{CollectionName, ShardId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;

/// What is known of a shard's last capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::capture) struct Base {
    format: u32,
    pub(super) collection: CollectionName,
    pub(super) shard: ShardId,
    /// Version of the server, and when its process started.
    pub(super) server: (String, String),
    /// The shard's files at the instant of the capture.
    pub(super) manifest: ShardManifest,
    /// `version.info` of each segment.
    pub(super) identities: BTreeMap<String, FileIdentity>,
    /// Segments that take no points.
    pub(super) sealed: BTreeSet<String>,
    /// Captures since everything was last read from Qdrant.
    pub(super) since_full: u32,
    recipe_hash: String,
    #[serde(skip)]
    pub(super) recipe: ShardRecipe,
}

impl Base {
    pub(super) fn new(
        (collection, shard): (CollectionName, ShardId),
        server: (String, String),
        manifest: ShardManifest,
        identities: BTreeMap<String, FileIdentity>,
        sealed: BTreeSet<String>,
        since_full: u32,
        recipe: ShardRecipe,
    ) -> Self {
        Self {
            format: FORMAT,
            collection,
            shard,
            server,
            manifest,
            identities,
            sealed,
            since_full,
            recipe_hash: String::new(),
            recipe,
        }
    }

    /// The recipe of a file, by its path within the shard.
    pub(super) fn file(&self, path: &str) -> Option<&FileRecipe> {
        let files = &self.recipe.files;
        let at = files.binary_search_by(|file| file.path.as_str().cmp(path));
        at.ok().map(|at| &files[at])
    }

    pub(super) fn has(&self, segment: &str, file: &str) -> bool {
        self.file(&format!("segments/{segment}/{file}")).is_some()
    }
}

/// The folder of bases.
#[derive(Clone, Debug)]
pub(in crate::capture) struct BaseStore(PathBuf);

impl BaseStore {
    pub(in crate::capture) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("bases"))
    }

    /// Names of collections may be longer than names of files, and hold other characters.
    fn path(&self, collection: &CollectionName, shard: ShardId, kind: &str) -> PathBuf {
        let hash = ShardRecipe::hash(format!("{shard}/{collection}").as_bytes());
        self.0.join(format!("{}.{kind}", super::super::hex(&hash)))
    }

    /// The base of a shard, or why there is none.
    pub(super) fn load(&self, collection: &CollectionName, shard: ShardId) -> Result<Base, String> {
        let bytes = match fs_err::read(self.path(collection, shard, "base")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err("there is no earlier capture to build on".to_owned());
            }
            Err(error) => return Err(format!("the last capture can't be looked at: {error}")),
        };
        let damaged = || "what was kept of the last capture is damaged".to_owned();
        let end = bytes.iter().position(|b| *b == b'\n').ok_or_else(damaged)?;
        let (header, recipe) = (&bytes[..end], &bytes[end + 1..]);
        let mut base: Base = serde_json::from_slice(header).map_err(|_| damaged())?;
        let hash = super::super::hex(&ShardRecipe::hash(recipe));
        if base.format != FORMAT || base.recipe_hash != hash {
            return Err(damaged());
        }
        base.recipe = ShardRecipe::decode(recipe).map_err(|_| damaged())?;
        if (&base.collection, base.shard) != (collection, shard) {
            return Err(damaged());
        }
        Ok(base)
    }

    /// Replaces the base of a shard. A crash leaves the old or the new one, an error none.
    pub(in crate::capture) fn store(&self, base: &Base) -> io::Result<()> {
        let stored = self.try_store(base);
        if stored.is_err() {
            self.forget(&base.collection, base.shard);
        }
        stored
    }

    fn try_store(&self, base: &Base) -> io::Result<()> {
        let recipe = base.recipe.encode().map_err(io::Error::other)?;
        let mut header = base.clone_header();
        header.recipe_hash = super::super::hex(&ShardRecipe::hash(&recipe));
        let mut bytes = serde_json::to_vec(&header)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&recipe);
        self.write(&self.path(&base.collection, base.shard, "base"), &bytes)
    }

    /// Drops the base of a shard.
    pub(super) fn forget(&self, collection: &CollectionName, shard: ShardId) {
        // What can't be removed is checked again before it is used.
        let _ = fs_err::remove_file(self.path(collection, shard, "base"));
    }

    /// Turns the incremental ways off for a shard until a person removes the file that this writes.
    pub(super) fn distrust(&self, base: &Base, why: &str) -> io::Result<PathBuf> {
        let path = self.path(&base.collection, base.shard, "distrusted");
        let text = format!("shard {} of {}: {why}\n", base.shard, base.collection);
        self.write(&path, text.as_bytes())?;
        Ok(path)
    }

    /// The file that turns the incremental ways off, if it is there.
    pub(super) fn distrusted(
        &self,
        collection: &CollectionName,
        shard: ShardId,
    ) -> Option<PathBuf> {
        let path = self.path(collection, shard, "distrusted");
        path.exists().then_some(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs_err::create_dir_all(&self.0)?;
        let new = path.with_extension("new");
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs_err::rename(&new, path)
    }
}

impl Base {
    /// Everything but the recipe, which may be large.
    fn clone_header(&self) -> Self {
        Self::new(
            (self.collection.clone(), self.shard),
            self.server.clone(),
            self.manifest.clone(),
            self.identities.clone(),
            self.sealed.clone(),
            self.since_full,
            ShardRecipe::default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Base, BaseStore};
    use crate::capture::incremental::fixture;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_is_read_as_it_was_written_and_dropped_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let store = BaseStore::new(dir.path());
        let base: Base = fixture::base();
        let load = || store.load(&base.collection, base.shard);
        assert!(load().unwrap_err().contains("no earlier capture"));
        store.store(&base).unwrap();
        let mut found = load().unwrap();
        found.recipe_hash.clear();
        assert_eq!(found, base);
        let path = store.path(&base.collection, base.shard, "base");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it names chunks");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(load().unwrap_err().contains("damaged"));
        store.forget(&base.collection, base.shard);
        assert!(load().unwrap_err().contains("no earlier capture"));
    }
}
