//! One collection: its configuration and payload indexes on disk, and its only shard.
//!
//! Layout, as on a real server: `config.json`, `payload_index.json`, and the shard in `0/`. `config.json` is written
//! last at creation, so a directory without it is the remains of an interrupted one. Everything here blocks.

pub mod config;
mod recover;
pub mod vectors;
mod writes;

pub use config::CollectionConfig;
pub use writes::{Selector, Upsert};

use crate::NodeError;
use fs_err as fs;
use holdfast_engine::{EngineError, Shard};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

/// An open collection.
pub struct Collection {
    name: String,
    dir: PathBuf,
    config: RwLock<CollectionConfig>,
    /// Payload indexes by field, in the form of the create request.
    indexes: Mutex<Map<String, Value>>,
    /// Absent only while a snapshot replaces it, or after that failed beyond repair.
    shard: RwLock<Option<Shard>>,
}

pub(crate) const CONFIG_FILE: &str = "config.json";
const INDEX_FILE: &str = "payload_index.json";
const SHARD_DIR: &str = "0";

impl Collection {
    /// Creates an empty collection in the directory `dir`, which must not exist.
    ///
    /// # Errors
    /// When the engine refuses the configuration or files can't be written.
    pub fn create(dir: &Path, name: &str, config: CollectionConfig) -> Result<Self, NodeError> {
        let shard_dir = dir.join(SHARD_DIR);
        fs::create_dir_all(&shard_dir)?;
        let shard = Shard::create(&shard_dir, config.engine()?)?;
        let collection = Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            config: RwLock::new(config),
            indexes: Mutex::default(),
            shard: RwLock::new(Some(shard)),
        };
        collection.save_indexes(&Map::new())?;
        collection.save_config(&collection.config())?;
        Ok(collection)
    }

    /// Opens the collection in `dir`, and finishes or undoes what a crash interrupted.
    ///
    /// # Errors
    /// When files are missing or damaged.
    pub fn open(dir: &Path, name: &str) -> Result<Self, NodeError> {
        let config: CollectionConfig = read_json(&dir.join(CONFIG_FILE))?;
        let indexes: Value = read_json(&dir.join(INDEX_FILE)).unwrap_or_default();
        let indexes = indexes
            .get("schema")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let shard = recover::open_or_undo(&dir.join(SHARD_DIR), &config)?;
        Ok(Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            config: RwLock::new(config),
            indexes: Mutex::new(indexes),
            shard: RwLock::new(Some(shard)),
        })
    }

    /// The collection's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A copy of the configuration.
    #[must_use]
    pub fn config(&self) -> CollectionConfig {
        self.config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes the configuration. The engine learns of it when the collection is opened next.
    ///
    /// # Errors
    /// When the request is wrong or the file can't be written.
    pub fn update_config(&self, body: &Value) -> Result<(), NodeError> {
        let mut config = self.config.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = config.clone();
        next.update(body)?;
        self.save_config(&next)?;
        *config = next;
        Ok(())
    }

    /// What `GET /collections/{name}` shows.
    ///
    /// # Errors
    /// When the shard is unavailable.
    pub fn info(&self) -> Result<Value, NodeError> {
        let info = self.shard()?.info();
        let mut schema = Map::new();
        for (field, index) in &info.payload_schema {
            schema.insert(field.to_string(), json!(index));
        }
        schema.sort_keys();
        Ok(json!({
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": info.indexed_vectors_count,
            "points_count": info.points_count,
            "segments_count": info.segments_count,
            "config": self.config(),
            "payload_schema": schema,
            "update_queue": {"length": 0},
        }))
    }

    /// Runs `action` on the shard.
    ///
    /// # Errors
    /// What `action` returned, or `Service` while the shard is unavailable.
    pub fn with_shard<T>(
        &self,
        action: impl FnOnce(&Shard) -> Result<T, EngineError>,
    ) -> Result<T, NodeError> {
        Ok(action(&*self.shard()?)?)
    }

    /// Brings acknowledged writes into the segments' files.
    ///
    /// # Errors
    /// When files can't be written.
    pub fn flush(&self) -> Result<(), NodeError> {
        let retain = self.config().wal_config.wal_retain_closed;
        self.with_shard(|shard| shard.flush(retain))
    }

    /// The shard, for as long as the guard lives; a snapshot that replaces it waits.
    pub(crate) fn shard(&self) -> Result<ShardGuard<'_>, NodeError> {
        let guard = self.shard.read().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() {
            let text = format!("shard 0 of collection `{}` is unavailable", self.name);
            return Err(NodeError::Service(text));
        }
        Ok(ShardGuard(guard))
    }

    /// Ends the collection: requests that still hold it find no shard.
    pub(crate) fn close(&self) {
        let mut slot = self.shard.write().unwrap_or_else(PoisonError::into_inner);
        drop(slot.take());
    }

    fn indexes(&self) -> MutexGuard<'_, Map<String, Value>> {
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard's own copy is what the engine gives to a new segment.
    fn save_indexes(&self, indexes: &Map<String, Value>) -> Result<(), NodeError> {
        let content = json!({ "schema": indexes });
        write_json(&self.dir.join(INDEX_FILE), &content)?;
        write_json(&self.dir.join(SHARD_DIR).join(INDEX_FILE), &content)
    }

    fn save_config(&self, config: &CollectionConfig) -> Result<(), NodeError> {
        write_json(&self.dir.join(CONFIG_FILE), &json!(config))
    }
}

/// Read access to a shard that is there.
pub(crate) struct ShardGuard<'a>(RwLockReadGuard<'a, Option<Shard>>);

impl std::ops::Deref for ShardGuard<'_> {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        self.0.as_ref().expect("checked when the guard was made")
    }
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, NodeError> {
    let bytes = fs::read(path)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| NodeError::Service(format!("{}: {error}", path.display())))
}

/// Replaces a file atomically and durably.
pub(crate) fn write_json(path: &Path, content: &Value) -> Result<(), NodeError> {
    let temporary = path.with_extension("json.tmp");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(content.to_string().as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    if let Some(parent) = path.parent() {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}
