//! The node: its collections by name, their aliases, and where everything is kept.
//!
//! Everything here blocks; the interfaces call it from blocking threads. Changes to the set of collections exclude each
//! other; requests to different collections don't.

pub use crate::aliases::AliasAction;
use crate::aliases::Aliases;
use crate::collection::{self, Collection, CollectionConfig, read_json, write_json};
use crate::{NodeError, Settings};
use fs_err as fs;
use holdfast_types::{AliasName, CollectionName};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

/// A running node.
pub struct Node {
    storage: PathBuf,
    snapshots: PathBuf,
    peer_id: u64,
    version: String,
    started: Instant,
    collections: RwLock<BTreeMap<String, Arc<Collection>>>,
    aliases: Mutex<Aliases>,
    /// Held while the set of collections or aliases changes.
    changes: Mutex<()>,
}

const STATE_FILE: &str = "raft_state.json";

impl Node {
    /// Opens everything in the storage directory, creating it if need be.
    ///
    /// # Errors
    /// When a collection is damaged or a directory can't be written.
    pub fn open(settings: &Settings) -> Result<Self, NodeError> {
        let storage = settings.storage.clone();
        let temporary = storage.join(TEMPORARY);
        if temporary.exists() {
            fs::remove_dir_all(&temporary)?;
        }
        fs::create_dir_all(&temporary)?;
        fs::create_dir_all(storage.join("collections"))?;
        fs::create_dir_all(&settings.snapshots)?;
        let peer_id = peer_id(&storage)?;
        let mut collections = BTreeMap::new();
        for entry in fs::read_dir(storage.join("collections"))? {
            let dir = entry?.path();
            let name = dir.file_name().and_then(|name| name.to_str());
            let name = name.unwrap_or_default().to_owned();
            if !dir.join(collection::CONFIG_FILE).exists() {
                tracing::warn!(collection = name, "removing a half-created collection");
                fs::remove_dir_all(&dir)?;
                continue;
            }
            let opened = Collection::open(&dir, &name).map_err(|error| {
                NodeError::Service(format!("collection `{name}` can't be opened: {error}"))
            })?;
            collections.insert(name, Arc::new(opened));
        }
        Ok(Self {
            aliases: Mutex::new(Aliases::open(&storage)?),
            storage,
            snapshots: fs::canonicalize(&settings.snapshots)?,
            peer_id,
            version: settings.report_version.clone(),
            started: Instant::now(),
            collections: RwLock::new(collections),
            changes: Mutex::new(()),
        })
    }

    /// A collection by name or alias.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn collection(&self, name: &str) -> Result<Arc<Collection>, NodeError> {
        let aliases = self.aliases();
        let name = aliases.get(name).unwrap_or(name);
        let found = self.collections().get(name).cloned();
        found.ok_or_else(|| NodeError::no_collection(name))
    }

    /// Names of all collections, sorted.
    #[must_use]
    pub fn collection_names(&self) -> Vec<String> {
        self.collections().keys().cloned().collect()
    }

    /// Creates a collection from the body of a create request.
    ///
    /// # Errors
    /// `AlreadyExists`, or what is wrong with the request.
    pub fn create_collection(&self, name: &str, body: &Value) -> Result<(), NodeError> {
        let name: CollectionName = name
            .parse()
            .map_err(|error| NodeError::BadInput(format!("{error}")))?;
        let name = name.as_str();
        let config = CollectionConfig::from_create(body)?;
        let _changes = self.changes();
        if self.collections().contains_key(name) || self.aliases().get(name).is_some() {
            let text = format!("Collection `{name}` already exists!");
            return Err(NodeError::AlreadyExists(text));
        }
        let dir = self.storage.join("collections").join(name);
        let created = Collection::create(&dir, name, config);
        if created.is_err() && dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let mut collections = self
            .collections
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        collections.insert(name.to_owned(), Arc::new(created?));
        Ok(())
    }

    /// Deletes a collection and its aliases, but not its snapshots. Returns whether it existed.
    ///
    /// # Errors
    /// When files can't be removed.
    pub fn delete_collection(&self, name: &str) -> Result<bool, NodeError> {
        let _changes = self.changes();
        let target = self.aliases().get(name).unwrap_or(name).to_owned();
        let removed = self
            .collections
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&target);
        let Some(removed) = removed else {
            return Ok(false);
        };
        self.aliases().forget_collection(&target)?;
        removed.close();
        let doomed = self.temporary_dir()?.keep();
        fs::rename(
            self.storage.join("collections").join(&target),
            doomed.join("collection"),
        )?;
        fs::remove_dir_all(&doomed)?;
        Ok(true)
    }

    /// Performs alias actions, all or none.
    ///
    /// # Errors
    /// `NotFound` or `AlreadyExists` for the first wrong action.
    pub fn change_aliases(&self, actions: Vec<AliasAction>) -> Result<(), NodeError> {
        let _changes = self.changes();
        for action in &actions {
            if let AliasAction::CreateAlias { alias_name, .. }
            | AliasAction::RenameAlias {
                new_alias_name: alias_name,
                ..
            } = action
            {
                let _checked: AliasName = alias_name
                    .parse()
                    .map_err(|error| NodeError::BadInput(format!("{error}")))?;
            }
        }
        let names = self.collection_names();
        let exists = |name: &str| names.iter().any(|known| known == name);
        self.aliases().change(actions, exists)
    }

    /// Pairs of alias and collection, for one collection or all.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection.
    pub fn alias_pairs(
        &self,
        collection: Option<&str>,
    ) -> Result<Vec<(String, String)>, NodeError> {
        let only = match collection {
            Some(name) => Some(self.collection(name)?.name().to_owned()),
            None => None,
        };
        let aliases = self.aliases();
        let wanted = |target: &str| only.as_deref().is_none_or(|only| only == target);
        Ok(aliases
            .iter()
            .filter(|(_, target)| wanted(target))
            .map(|(alias, target)| (alias.to_owned(), target.to_owned()))
            .collect())
    }

    /// What `GET /collections/{name}/cluster` shows.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn collection_cluster(&self, name: &str) -> Result<Value, NodeError> {
        let points = self.collection(name)?.shard()?.info().points_count;
        Ok(json!({
            "peer_id": self.peer_id,
            "shard_count": 1,
            "local_shards": [{"shard_id": 0, "points_count": points, "state": "Active"}],
            "remote_shards": [],
            "shard_transfers": [],
        }))
    }

    /// What `GET /telemetry` shows: far less than the real server.
    #[must_use]
    pub fn telemetry(&self) -> Value {
        json!({
            "id": format!("holdfast-devnode-{}", self.peer_id),
            "app": {
                "name": "holdfast-devnode",
                "version": self.version,
                "startup_seconds_ago": self.started.elapsed().as_secs(),
            },
            "collections": {"number_of_collections": self.collections().len()},
            "cluster": {"enabled": false},
        })
    }

    /// Flushes every collection, logging failures.
    pub fn flush_all(&self) {
        let collections: Vec<_> = self.collections().values().cloned().collect();
        for collection in collections {
            if let Err(error) = collection.flush() {
                tracing::error!(collection = collection.name(), %error, "flush failed");
            }
        }
    }

    /// Runs the engine's optimizers on every collection, logging failures.
    pub fn optimize_all(&self) {
        let collections: Vec<_> = self.collections().values().cloned().collect();
        for collection in collections {
            if let Err(error) = collection.with_shard(holdfast_engine::Shard::optimize) {
                tracing::error!(collection = collection.name(), %error, "optimizing failed");
            }
        }
    }

    /// The version that clients are told.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The node's random, lasting id.
    #[must_use]
    pub fn peer_id(&self) -> u64 {
        self.peer_id
    }

    /// Where snapshots are kept.
    #[must_use]
    pub fn snapshots_dir(&self) -> &Path {
        &self.snapshots
    }

    /// A fresh directory on the file system of the collections, removed when dropped or at the next start.
    ///
    /// # Errors
    /// When it can't be created.
    pub fn temporary_dir(&self) -> Result<tempfile::TempDir, NodeError> {
        Ok(tempfile::tempdir_in(self.storage.join(TEMPORARY))?)
    }

    fn collections(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Collection>>> {
        self.collections
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn aliases(&self) -> MutexGuard<'_, Aliases> {
        self.aliases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const TEMPORARY: &str = "tmp";

fn peer_id(storage: &Path) -> Result<u64, NodeError> {
    let path = storage.join(STATE_FILE);
    if path.exists() {
        let state: Value = read_json(&path)?;
        let id = state.get("this_peer_id").and_then(Value::as_u64);
        return id.ok_or_else(|| NodeError::Service(format!("{}: no peer id", path.display())));
    }
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| NodeError::Service(format!("no randomness: {error}")))?;
    // below 2^53, so that it survives clients that read numbers as floats
    let id = u64::from_le_bytes(random) >> 11;
    write_json(&path, &json!({"this_peer_id": id}))?;
    Ok(id)
}
