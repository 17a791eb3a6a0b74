//! A shard's files on disk: what of them is there already, and writing the rest. Blocking.
//!
//! A stretch of a file counts as there only if it hashes to the id that the recipe names, whoever wrote it. What an
//! earlier run wrote is kept in place; what the node's own collection has is copied, never linked: Qdrant edits
//! files in place, and the collection that is moved aside must stay as it is.

use super::disk;
use crate::failure::Failed;
use crate::job::Halt;
use crate::progress::Meter;
use crate::rebuild::ChunkSource;
use fs_err as fs;
use holdfast_archive::{ChunkKey, Extent, FileRecipe, ShardRecipe};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::ChunkId;
use serde_json::{Value, json};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Longest chunk, in bytes (docs/format/chunk.md).
const MAX_CHUNK: usize = 1 << 20;

/// A shard's file that names the peers of its replicas.
const REPLICA_STATE: &str = "replica_state.json";

/// Where a shard's files are.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Where they are built.
    pub(super) staged: PathBuf,
    /// Where the node's own collection may have some.
    pub(super) existing: PathBuf,
}

/// Which chunks have to be fetched.
#[derive(Debug)]
pub(super) struct Plan {
    files: Vec<PlannedFile>,
}

#[derive(Debug)]
struct PlannedFile {
    recipe: FileRecipe,
    /// For each extent.
    from: Vec<From>,
    /// Whether what is staged is gone on with; else the file is begun anew.
    resumed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Hole,
    Staged,
    Existing,
    Fetched,
}

/// Looks at what is there.
pub(super) fn plan(recipe: ShardRecipe, key: &ChunkKey, layout: &Layout) -> Result<Plan, Failed> {
    let mut buffer = vec![0; MAX_CHUNK];
    let files = recipe.files.into_iter().map(|file| {
        let staged = layout.staged.join(&file.path);
        let existing = layout.existing.join(&file.path);
        plan_file(file, key, &staged, &existing, &mut buffer)
    });
    Ok(Plan {
        files: files
            .collect::<io::Result<_>>()
            .map_err(|error| disk(&error))?,
    })
}

fn plan_file(
    recipe: FileRecipe,
    key: &ChunkKey,
    staged: &Path,
    existing: &Path,
    buffer: &mut [u8],
) -> io::Result<PlannedFile> {
    let ours = open_of_size(staged, recipe.size)?;
    let theirs = open_of_size(existing, recipe.size)?;
    let mut resumed = ours.is_some();
    let mut from = Vec::with_capacity(recipe.extents.len());
    let mut at = 0;
    for extent in &recipe.extents {
        match extent {
            Extent::Zero { len } => {
                if let Some(file) = &ours {
                    resumed = resumed && is_zero(file, at, *len, buffer)?;
                }
                from.push(From::Hole);
                at += len;
            }
            Extent::Chunk { id, len } => {
                from.push(if holds(ours.as_ref(), at, id, *len, key, buffer) {
                    From::Staged
                } else if holds(theirs.as_ref(), at, id, *len, key, buffer) {
                    From::Existing
                } else {
                    From::Fetched
                });
                at += u64::from(*len);
            }
        }
    }
    if !resumed {
        let anew = from.iter_mut().filter(|from| **from == From::Staged);
        anew.for_each(|from| *from = From::Fetched);
    }
    Ok(PlannedFile {
        recipe,
        from,
        resumed,
    })
}

impl Plan {
    /// The chunks to fetch, in the order in which [`write`] takes them.
    pub(super) fn missing(&self) -> Vec<(ChunkId, u32)> {
        let pairs = self.files.iter().flat_map(PlannedFile::parts);
        pairs
            .filter_map(|(extent, from)| match (extent, from) {
                (Extent::Chunk { id, len }, From::Fetched) => Some((*id, *len)),
                (Extent::Chunk { .. } | Extent::Zero { .. }, _) => None,
            })
            .collect()
    }

    /// Bytes that need not be fetched.
    pub(super) fn kept_bytes(&self) -> u64 {
        let pairs = self.files.iter().flat_map(PlannedFile::parts);
        let kept = pairs.filter(|(_, from)| *from != From::Fetched);
        kept.map(|(extent, _)| len_of(extent)).sum()
    }
}

impl PlannedFile {
    fn parts(&self) -> impl Iterator<Item = (&Extent, From)> {
        self.recipe.extents.iter().zip(self.from.iter().copied())
    }
}

/// Writes every file in full.
pub(super) fn write(
    plan: &Plan,
    key: &ChunkKey,
    chunks: mpsc::Receiver<v1::FetchedChunk>,
    layout: &Layout,
    meter: &Meter,
) -> Result<(), Halt> {
    let mut source = ChunkSource::new(key, chunks);
    for file in &plan.files {
        write_file(file, key, &mut source, layout, meter)?;
    }
    own_replica(&layout.staged.join(REPLICA_STATE))?;
    Ok(())
}

fn write_file(
    file: &PlannedFile,
    key: &ChunkKey,
    source: &mut ChunkSource<'_>,
    layout: &Layout,
    meter: &Meter,
) -> Result<(), Halt> {
    let failed = |error: io::Error| Halt::Failed(disk(&error));
    let path = layout.staged.join(&file.recipe.path);
    let dir = path.parent().unwrap_or(&layout.staged);
    fs::create_dir_all(dir).map_err(failed)?;
    let out = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(!file.resumed)
        .open(&path)
        .map_err(failed)?;
    out.set_len(file.recipe.size).map_err(failed)?;
    let needs = file.from.contains(&From::Existing);
    let existing = layout.existing.join(&file.recipe.path);
    let existing = needs.then(|| fs::File::open(existing)).transpose();
    let existing = existing.map_err(failed)?;
    let mut buffer = Vec::new();
    let mut at = 0;
    for (extent, from) in file.parts() {
        match (extent, from) {
            (Extent::Chunk { id, len }, From::Fetched) => {
                let plain = source.next(id, *len)?;
                out.file().write_all_at(plain, at).map_err(failed)?;
            }
            (Extent::Chunk { id, len }, From::Existing) => {
                buffer.resize(*len as usize, 0);
                let read = existing.as_ref().ok_or_else(changed)?;
                read.file().read_exact_at(&mut buffer, at).map_err(failed)?;
                if key.id(&buffer) != *id {
                    return Err(changed());
                }
                out.file().write_all_at(&buffer, at).map_err(failed)?;
            }
            (Extent::Chunk { .. } | Extent::Zero { .. }, _) => {}
        }
        at += len_of(extent);
        meter.add_done(len_of(extent));
    }
    Ok(())
}

fn changed() -> Halt {
    Halt::Failed(Failed::new(
        Code::PlanBlocked,
        "a file of the existing collection changes: something uses this data directory",
    ))
}

/// The shard of a stopped single node has one replica, its own: the others of the captured cluster are not there. The
/// server puts its own id in the place of the captured one.
fn own_replica(path: &Path) -> Result<(), Failed> {
    let text = fs::read(path).map_err(|error| disk(&error))?;
    let mut state: Value = serde_json::from_slice(&text)
        .map_err(|error| Failed::from_error(Code::RepositoryDamaged, &error))?;
    let peer = state.get("this_peer_id").and_then(Value::as_u64);
    let peer = peer.ok_or_else(|| {
        Failed::new(
            Code::RepositoryDamaged,
            "the captured replica state names no peer",
        )
    })?;
    state["is_local"] = Value::Bool(true);
    state["peers"] = json!({ peer.to_string(): "Active" });
    let own = state.to_string().into_bytes();
    if own == text {
        return Ok(());
    }
    fs::write(path, own).map_err(|error| disk(&error))
}

fn len_of(extent: &Extent) -> u64 {
    match extent {
        Extent::Zero { len } => *len,
        Extent::Chunk { len, .. } => u64::from(*len),
    }
}

/// The file, if it is one of this size.
fn open_of_size(path: &Path, size: u64) -> io::Result<Option<fs::File>> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_file() && meta.len() == size => fs::File::open(path).map(Some),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// A stretch that can't be read is as good as one that is not there.
fn holds(
    file: Option<&fs::File>,
    at: u64,
    id: &ChunkId,
    len: u32,
    key: &ChunkKey,
    buffer: &mut [u8],
) -> bool {
    let (Some(file), Some(stretch)) = (file, buffer.get_mut(..len as usize)) else {
        return false;
    };
    file.file().read_exact_at(stretch, at).is_ok() && key.id(stretch) == *id
}

fn is_zero(file: &fs::File, mut at: u64, len: u64, buffer: &mut [u8]) -> io::Result<bool> {
    let end = at + len;
    while at < end {
        let step = usize::try_from(end - at)
            .unwrap_or(buffer.len())
            .min(buffer.len());
        file.file().read_exact_at(&mut buffer[..step], at)?;
        if buffer[..step].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += step as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::{Layout, plan, write};
    use crate::progress::Meter;
    use bytes::Bytes;
    use holdfast_archive::{ChunkEvent, ChunkKey, FileChunker, ShardRecipe, classify};
    use holdfast_proto::v1;
    use std::collections::HashMap;
    use tokio::sync::mpsc;

    const FILE: &str =
        "segments/0f2b6d1e-93c4-4c0a-9a55-2f60b8f7c001/vector_storage/vectors/chunk_0.mmap";

    fn key() -> ChunkKey {
        ChunkKey::from_bytes([3; 32])
    }

    fn content() -> Vec<u8> {
        let mut content: Vec<u8> = (0..900_000_u32)
            .flat_map(|i| (i / 3).to_le_bytes())
            .collect();
        content[65_536..3 * 65_536].fill(0);
        content
    }

    /// A recipe of two files, and its chunks by id.
    fn shard() -> (ShardRecipe, HashMap<Vec<u8>, v1::FetchedChunk>) {
        let (mut files, mut chunks) = (Vec::new(), HashMap::new());
        let replica = br#"{"is_local":true,"this_peer_id":7,"peers":{"7":"Active","8":"Dead"}}"#;
        for (path, content) in [(FILE, content()), ("replica_state.json", replica.to_vec())] {
            let mut take = |ChunkEvent::Chunk { id, plain }: ChunkEvent<'_>| {
                let chunk = v1::FetchedChunk {
                    chunk_id: id.as_bytes().to_vec().into(),
                    codec: 0,
                    plain_len: u32::try_from(plain.len()).unwrap(),
                    data: Bytes::copy_from_slice(plain),
                };
                chunks.insert(id.as_bytes().to_vec(), chunk);
            };
            let mut chunker = FileChunker::new(classify(path), key());
            chunker.push(&content, &mut take);
            files.push(chunker.finish(&mut take).at(path.to_owned()));
        }
        (ShardRecipe::new(files), chunks)
    }

    /// Lays the shard out and returns the number of chunks that were fetched.
    fn lay_out(layout: &Layout) -> usize {
        let (recipe, chunks) = shard();
        let plan = plan(recipe, &key(), layout).unwrap();
        let missing = plan.missing();
        let (tx, rx) = mpsc::channel(1000);
        for (id, _) in &missing {
            tx.try_send(chunks[id.as_bytes().as_slice()].clone())
                .unwrap();
        }
        drop(tx);
        write(&plan, &key(), rx, layout, &Meter::default()).unwrap();
        assert_eq!(std::fs::read(layout.staged.join(FILE)).unwrap(), content());
        let state = std::fs::read_to_string(layout.staged.join("replica_state.json")).unwrap();
        assert!(state.contains(r#""peers":{"7":"Active"}"#), "{state}");
        missing.len()
    }

    #[test]
    fn what_is_there_is_not_fetched_and_what_is_wrong_is() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout {
            staged: dir.path().join("staged"),
            existing: dir.path().join("existing"),
        };
        let all = lay_out(&layout);
        assert!(all > 20, "{all}");
        // The replica's state is always rewritten, so its one chunk never fits.
        assert_eq!(lay_out(&layout), 1, "a second run");

        let file = layout.staged.join(FILE);
        let damage = |at: usize| {
            let mut bytes = content();
            bytes[at] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        };
        damage(1_000_000);
        assert_eq!(lay_out(&layout), 2, "one chunk is damaged");
        damage(70_000);
        assert_eq!(lay_out(&layout), all, "a hole is none");
        std::fs::write(&file, &content()[..500_000]).unwrap();
        assert_eq!(lay_out(&layout), all, "it is cut");

        // A collection that the node still has is copied, not linked.
        std::fs::rename(&layout.staged, &layout.existing).unwrap();
        assert_eq!(lay_out(&layout), 1);
        std::fs::write(&file, "edited in place").unwrap();
        assert_eq!(
            std::fs::read(layout.existing.join(FILE)).unwrap(),
            content()
        );
    }
}
