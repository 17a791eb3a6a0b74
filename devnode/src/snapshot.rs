//! Shard snapshots: made from a frozen shard, stored or sent, and put in a shard's place again.
//!
//! Collection and full-storage snapshots don't exist here. A stream is written to a file first, so that a slow client
//! holds no lock; the real server keeps its segments locked until the client has everything.

mod archive;
mod store;

pub use archive::Layout;
pub use store::SnapshotDescription;

use crate::collection::{Collection, read_json};
use crate::{Node, NodeError};
use fs_err as fs;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

impl Node {
    /// Makes a stored snapshot of a collection's shard. Its name has a resolution of one second: a second one within
    /// that second replaces the first.
    ///
    /// # Errors
    /// `NotFound`, or when files can't be read or written.
    pub fn create_shard_snapshot(
        &self,
        collection: &str,
        shard: u32,
    ) -> Result<SnapshotDescription, NodeError> {
        let collection = self.shard_owner(collection, shard)?;
        let dir = self.temporary_dir()?;
        let path = self.write_archive(&collection, dir.path(), Layout::Nested)?;
        let name = snapshot_name(collection.name(), shard);
        store::put(&self.shard_snapshots(&collection, shard), &name, &path)
    }

    /// Writes a flat snapshot of a collection's shard to an unnamed file, and returns it with the name to suggest.
    ///
    /// # Errors
    /// `NotFound`, or when files can't be read or written.
    pub fn stream_shard_snapshot(
        &self,
        collection: &str,
        shard: u32,
    ) -> Result<(std::fs::File, String), NodeError> {
        let collection = self.shard_owner(collection, shard)?;
        let dir = self.temporary_dir()?;
        let path = self.write_archive(&collection, dir.path(), Layout::Flat)?;
        let file = std::fs::File::open(&path)?;
        // the directory goes now, the bytes when the file is closed
        Ok((file, snapshot_name(collection.name(), shard)))
    }

    /// The stored snapshots of a shard.
    ///
    /// # Errors
    /// `NotFound`, or when the directory can't be read.
    pub fn list_shard_snapshots(
        &self,
        collection: &str,
        shard: u32,
    ) -> Result<Vec<SnapshotDescription>, NodeError> {
        let collection = self.shard_owner(collection, shard)?;
        store::list(&self.shard_snapshots(&collection, shard))
    }

    /// Path of a stored snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn shard_snapshot_path(
        &self,
        collection: &str,
        shard: u32,
        name: &str,
    ) -> Result<PathBuf, NodeError> {
        let collection = self.shard_owner(collection, shard)?;
        store::path(&self.shard_snapshots(&collection, shard), name)
    }

    /// Deletes a stored snapshot.
    ///
    /// # Errors
    /// `NotFound`, or when the file can't be removed.
    pub fn delete_shard_snapshot(
        &self,
        collection: &str,
        shard: u32,
        name: &str,
    ) -> Result<(), NodeError> {
        store::delete(&self.shard_snapshot_path(collection, shard, name)?)
    }

    /// Replaces a collection's shard by the snapshot in the file `archive`, after checking its SHA-256 if one is given.
    ///
    /// # Errors
    /// When the checksum differs, or the archive is damaged or doesn't fit; the data are then as before.
    pub fn recover_shard(
        &self,
        collection: &str,
        shard: u32,
        archive: &Path,
        checksum: Option<&str>,
    ) -> Result<(), NodeError> {
        let collection = self.shard_owner(collection, shard)?;
        if let Some(expected) = checksum {
            store::check(archive, expected)?;
        }
        let dir = self.temporary_dir()?;
        let unpacked = dir.path().join("shard");
        holdfast_engine::unpack(archive, &unpacked)?;
        check_replica_state(&unpacked)?;
        collection.replace_shard(&unpacked)
    }

    /// Confirms that a collection has a shard of that number.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn shard_owner(
        &self,
        collection: &str,
        shard: u32,
    ) -> Result<std::sync::Arc<Collection>, NodeError> {
        let collection = self.collection(collection)?;
        if shard != 0 {
            return Err(NodeError::NotFound(format!("Shard {shard} not found")));
        }
        Ok(collection)
    }

    fn write_archive(
        &self,
        collection: &Collection,
        dir: &Path,
        layout: Layout,
    ) -> Result<PathBuf, NodeError> {
        let path = dir.join("snapshot.tar");
        let capacity = (collection.config().wal_config.wal_capacity_mb as u64) << 20;
        let shard = collection.shard()?;
        let frozen = shard.freeze()?;
        let source = archive::Source {
            frozen: &frozen,
            peer_id: self.peer_id(),
            wal_capacity: capacity,
            scratch: dir,
        };
        source.write(fs::File::create(&path)?, layout)?;
        Ok(path)
    }

    fn shard_snapshots(&self, collection: &Collection, shard: u32) -> PathBuf {
        let dir = self.snapshots_dir().join(collection.name());
        dir.join("shards").join(shard.to_string())
    }
}

/// The real server refuses a snapshot that doesn't say it holds a local replica.
fn check_replica_state(unpacked: &Path) -> Result<(), NodeError> {
    let state: Value = read_json(&unpacked.join("replica_state.json")).unwrap_or_default();
    if state.get("is_local") == Some(&Value::Bool(true)) {
        return Ok(());
    }
    Err(NodeError::Service(
        "Can't restore snapshot in local mode with missing data at shard".into(),
    ))
}

fn snapshot_name(collection: &str, shard: u32) -> String {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S");
    format!("{collection}-shard-{shard}-{now}.snapshot")
}

/// SHA-256 of a file, in lower-case hex.
pub(crate) fn sha256_of(path: &Path) -> Result<String, NodeError> {
    let mut file = fs::File::open(path)?;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(context.finish()));
        }
        context.update(&buffer[..read]);
    }
}
