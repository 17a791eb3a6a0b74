//! Writes a shard as the tar archive that Qdrant writes: flat when streamed, one nested tar a segment when stored.
//!
//! Order: segments, clocks, an empty log that fixes the next operation, replica state, shard configuration, two zero
//! blocks. Holes stay holes (GNU sparse entries).

use crate::NodeError;
use fs_err as fs;
use holdfast_engine::{Frozen, SegmentFiles, wal_dir};
use serde_json::json;
use std::io::{Seek, Write};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use tar::{Builder, Header};

/// The two layouts of a shard snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `segments/{id}.tar`, each holding `snapshot/files/…`.
    Nested,
    /// `segments/{id}/files/…`.
    Flat,
}

/// What an archive is made from.
pub(super) struct Source<'a> {
    pub(super) frozen: &'a Frozen<'a>,
    pub(super) peer_id: u64,
    /// Size of a log file in bytes.
    pub(super) wal_capacity: u64,
    /// A directory for temporary files.
    pub(super) scratch: &'a Path,
}

impl Source<'_> {
    /// Writes the whole archive and makes it durable.
    pub(super) fn write(&self, file: fs::File, layout: Layout) -> Result<(), NodeError> {
        let mut tar = Builder::new(file);
        tar.sparse(true);
        for segment in self.frozen.segments()? {
            match layout {
                Layout::Nested => self.nested(&mut tar, &segment)?,
                Layout::Flat => {
                    let inside = Path::new("segments").join(&segment.id).join("files");
                    self.files(&mut tar, &segment, &inside)?;
                }
            }
        }
        self.trailer(&mut tar)?;
        tar.into_inner()?.sync_all()?;
        Ok(())
    }

    fn nested<W: Write + Seek>(
        &self,
        tar: &mut Builder<W>,
        segment: &SegmentFiles,
    ) -> Result<(), NodeError> {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        let path = format!("segments/{}.tar", segment.id);
        let mut entry = tar.append_writer(&mut header, path)?;
        // The real server (1.18.3, measured) ends a segment's archive after its last entry, without the two blocks
        // of zeros. So do we, or readers would be tried on archives that no server sends; a dropped builder adds them.
        let mut inner = ManuallyDrop::new(Builder::new(&mut entry));
        inner.sparse(true);
        self.files(&mut inner, segment, Path::new("snapshot/files"))?;
        entry.finish()?;
        Ok(())
    }

    fn files<W: Write>(
        &self,
        tar: &mut Builder<W>,
        segment: &SegmentFiles,
        inside: &Path,
    ) -> Result<(), NodeError> {
        let dir: PathBuf = self.frozen.dir().join("segments").join(&segment.id);
        for file in &segment.files {
            tar.append_path_with_name(dir.join(file), inside.join(file))?;
        }
        Ok(())
    }

    fn trailer<W: Write>(&self, tar: &mut Builder<W>) -> Result<(), NodeError> {
        let next = self.frozen.next_operation();
        let clocks = json!({"clocks": [{
            "peer_id": self.peer_id, "clock_id": 0, "current_tick": next, "token": 0,
        }]});
        if next > 1 {
            append(tar, "newest_clocks.json", &clocks.to_string())?;
        }
        let wal = self.scratch.join("wal");
        wal_dir::write_empty(&wal, next, self.wal_capacity)?;
        tar.append_dir_all("wal", &wal)?;
        let peer = self.peer_id.to_string();
        let state = json!({
            "is_local": true, "this_peer_id": self.peer_id, "peers": {peer: "Active"},
        });
        append(tar, "replica_state.json", &state.to_string())?;
        append(tar, "shard_config.json", r#"{"type":"ReplicaSet"}"#)
    }
}

fn append<W: Write>(tar: &mut Builder<W>, path: &str, content: &str) -> Result<(), NodeError> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content.as_bytes())?;
    Ok(())
}
