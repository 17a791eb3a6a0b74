//! A collection snapshot, as `POST /collections/{c}/snapshots` stores it: what it holds, and its shards one by one.
//!
//! Each shard is handed on as a shard's own snapshot, so that everything that is proven of those is proven of it. The
//! file's own proof is its trailer, which [`inspect_collection_snapshot`] reads up to.

use super::SnapshotError;
use crate::tar::{
    BLOCK, Entry, EntryKind, Piece, Region, TRAILER_LEN, TarReader, header_blocks, padding,
};
use holdfast_types::ShardId;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// Bytes read from the source at once.
const BUFFER: usize = 1 << 20;
/// Largest file beside the shards, in bytes.
const MAX_META: u64 = 16 << 20;
/// Folders of a shard, which a collection's snapshot has below the shard's number, and a shard's own at its top.
const OF_A_SHARD: [&str; 2] = ["segments", "wal"];
/// Zeros handed on at once.
const ZEROS: usize = 64 << 10;

/// What a collection snapshot holds.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionContents {
    /// In the form of `result` of `GET /collections/{c}`: settings and payload schema.
    pub info: Value,
    /// In the form of `result` of `GET /collections/{c}/cluster`, with nothing but shard keys; `None` without such.
    pub cluster: Option<Value>,
    /// The shards whose data is in it, by number.
    pub shards: Vec<ShardId>,
    /// Shards that the collection has and that are not in it.
    pub missing: Vec<ShardId>,
    /// Where in the file each shard's entries are.
    ranges: BTreeMap<u32, (u64, u64)>,
}

/// Reads the file to its end.
///
/// # Errors
/// A file that is cut, or no collection snapshot.
pub fn inspect_collection_snapshot(reader: impl Read) -> Result<CollectionContents, SnapshotError> {
    let counting = Counting {
        inner: BufReader::with_capacity(BUFFER, reader),
        read: 0,
    };
    let mut tar = TarReader::new(counting);
    let mut found = Found::default();
    let mut begin = 0;
    while let Some(entry) = tar.next_entry()? {
        let own = entry.kind == EntryKind::File && !entry.path.contains('/');
        let content = if own {
            Some(content(&mut tar, &entry)?)
        } else {
            None
        };
        while tar.next_piece()?.is_some() {}
        let end = tar.input().read.next_multiple_of(BLOCK as u64);
        match content {
            Some(content) => drop(found.own.insert(entry.path, content)),
            None => found.shard_entry(&entry, begin, end)?,
        }
        begin = end;
    }
    found.finish()
}

/// The snapshot of one shard out of a file that was inspected.
///
/// # Errors
/// If the file can't be read there.
pub fn shard_of_collection<R: Read + Seek>(
    mut reader: R,
    contents: &CollectionContents,
    shard: ShardId,
) -> io::Result<impl Read + use<R>> {
    let range = contents.ranges.get(&shard.0);
    let (begin, end) = range.copied().ok_or(io::ErrorKind::NotFound)?;
    reader.seek(SeekFrom::Start(begin))?;
    let entries = reader.take(end - begin);
    let whole = entries.chain(&[0_u8; TRAILER_LEN][..]);
    Ok(ShardReader {
        tar: TarReader::new(BufReader::with_capacity(BUFFER, whole)),
        prefix: format!("{shard}/"),
        out: Vec::new(),
        at: 0,
        zeros: 0,
        padding: None,
        ended: false,
    })
}

#[derive(Default)]
struct Found {
    own: HashMap<String, Vec<u8>>,
    ranges: BTreeMap<u32, (u64, u64)>,
    with_data: Vec<u32>,
}

impl Found {
    fn shard_entry(&mut self, entry: &Entry, begin: u64, end: u64) -> Result<(), SnapshotError> {
        let (shard, rest) = entry.path.split_once('/').unwrap_or((&entry.path, ""));
        if OF_A_SHARD.contains(&shard) {
            return Err(SnapshotError::OfShard);
        }
        let id: u32 = shard
            .parse()
            .map_err(|_| malformed(format!("it contains an unexpected file {:?}", entry.path)))?;
        let range = self.ranges.entry(id).or_insert((begin, begin));
        if range.1 != begin {
            return Err(malformed(format!(
                "the files of shard {id} are not together"
            )));
        }
        range.1 = end;
        if rest.starts_with("segments/") && !self.with_data.contains(&id) {
            self.with_data.push(id);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<CollectionContents, SnapshotError> {
        let mut config: Value = self.json("config.json")?.ok_or_else(|| {
            SnapshotError::Incomplete(
                "config.json, which every snapshot of a collection has,".to_owned(),
            )
        })?;
        if let Some(config) = config.as_object_mut() {
            config.remove("uuid");
        }
        let schema = self.json("payload_index.json")?.unwrap_or_default();
        let mapping = self.json("shard_key_mapping.json")?.unwrap_or_default();
        let count = config.pointer("/params/shard_number");
        let count = count.and_then(Value::as_u64).unwrap_or(1);
        let keys = shard_keys(&mapping);
        let expected: Vec<u32> = if keys.is_empty() {
            (0..u32::try_from(count).unwrap_or(u32::MAX)).collect()
        } else {
            keys.iter().map(|(id, _)| *id).collect()
        };
        self.with_data.sort_unstable();
        if let Some(id) = self.with_data.iter().find(|id| !expected.contains(id)) {
            return Err(malformed(format!(
                "it contains shard {id}, but its configuration does not"
            )));
        }
        let absent = expected.iter().filter(|id| !self.with_data.contains(id));
        Ok(CollectionContents {
            info: json!({"config": config, "payload_schema": payload_schema(&schema)}),
            cluster: cluster(&keys),
            missing: absent.map(|id| ShardId(*id)).collect(),
            shards: self.with_data.iter().map(|id| ShardId(*id)).collect(),
            ranges: self.ranges,
        })
    }

    fn json(&mut self, name: &str) -> Result<Option<Value>, SnapshotError> {
        let Some(content) = self.own.remove(name) else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&content);
        value
            .map(Some)
            .map_err(|error| malformed(format!("{name} can't be read: {error}")))
    }
}

/// Each shard with its key, by number.
fn shard_keys(mapping: &Value) -> Vec<(u32, Value)> {
    let mut keys = Vec::new();
    for pair in mapping.as_array().into_iter().flatten() {
        let ids = pair.get("shard_ids").and_then(Value::as_array);
        for id in ids.into_iter().flatten().filter_map(Value::as_u64) {
            if let (Ok(id), Some(key)) = (u32::try_from(id), pair.get("key")) {
                keys.push((id, key.clone()));
            }
        }
    }
    keys.sort_by_key(|(id, _)| *id);
    keys
}

fn cluster(keys: &[(u32, Value)]) -> Option<Value> {
    let shards = keys
        .iter()
        .map(|(id, key)| json!({"shard_id": id, "shard_key": key, "state": "Active"}));
    let shards: Vec<Value> = shards.collect();
    (!shards.is_empty()).then(|| json!({"shard_count": shards.len(), "local_shards": shards}))
}

/// `{"schema": {field: type or parameters}}` as `GET /collections/{c}` says it.
fn payload_schema(file: &Value) -> Value {
    let fields = file.get("schema").and_then(Value::as_object);
    let described: Map<String, Value> = fields
        .into_iter()
        .flatten()
        .map(|(field, schema)| {
            let described = match schema.get("type") {
                Some(kind) => json!({"data_type": kind, "params": schema}),
                None => json!({"data_type": schema}),
            };
            (field.clone(), described)
        })
        .collect();
    Value::Object(described)
}

fn content<R: io::BufRead>(
    tar: &mut TarReader<R>,
    entry: &Entry,
) -> Result<Vec<u8>, SnapshotError> {
    if entry.size > MAX_META {
        return Err(malformed(format!("{:?} is too large", entry.path)));
    }
    let mut content = Vec::new();
    while let Some(piece) = tar.next_piece()? {
        match piece {
            Piece::Data(bytes) => content.extend_from_slice(bytes),
            // No more than the entry's size.
            Piece::Zeros(len) => {
                content.resize(content.len() + usize::try_from(len).unwrap_or(0), 0)
            }
        }
    }
    Ok(content)
}

fn malformed(why: String) -> SnapshotError {
    SnapshotError::Malformed(why)
}

/// Counts what is consumed.
#[derive(Debug)]
struct Counting<R> {
    inner: BufReader<R>,
    read: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.read += n as u64;
        Ok(n)
    }
}

impl<R: Read> io::BufRead for Counting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, by: usize) {
        self.read += by as u64;
        self.inner.consume(by);
    }
}

/// Re-writes the entries below a prefix as an archive of their own.
struct ShardReader<R> {
    tar: TarReader<R>,
    prefix: String,
    out: Vec<u8>,
    at: usize,
    zeros: u64,
    /// Of the open file; `None` between files.
    padding: Option<usize>,
    ended: bool,
}

impl<R: io::BufRead> ShardReader<R> {
    /// Fills `out` with what comes next; leaves it empty at the end.
    fn advance(&mut self) -> io::Result<()> {
        self.out.clear();
        self.at = 0;
        while self.out.is_empty() && !self.ended {
            if self.zeros > 0 {
                let len = usize::try_from(self.zeros).unwrap_or(ZEROS).min(ZEROS);
                self.out.resize(len, 0);
                self.zeros -= len as u64;
            } else if let Some(padding) = self.padding {
                match self.tar.next_piece().map_err(io::Error::other)? {
                    Some(Piece::Data(bytes)) => self.out.extend_from_slice(bytes),
                    Some(Piece::Zeros(len)) => self.zeros = len,
                    None => {
                        self.out.resize(padding, 0);
                        self.padding = None;
                    }
                }
            } else {
                self.next_file()?;
            }
        }
        Ok(())
    }

    fn next_file(&mut self) -> io::Result<()> {
        let Some(entry) = self.tar.next_entry().map_err(io::Error::other)? else {
            self.out.resize(TRAILER_LEN, 0);
            self.ended = true;
            return Ok(());
        };
        if entry.kind == EntryKind::Directory {
            return Ok(());
        }
        let path = entry.path.strip_prefix(&self.prefix).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the file has changed meanwhile")
        })?;
        let whole = Region {
            offset: 0,
            len: entry.size,
        };
        self.out = header_blocks(path, entry.size, &[whole]);
        self.padding = Some(padding(entry.size));
        Ok(())
    }
}

impl<R: io::BufRead> Read for ShardReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.out.len() {
            self.advance()?;
        }
        let rest = &self.out[self.at..];
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::{inspect_collection_snapshot, shard_of_collection};
    use crate::collection_files;
    use crate::compose::{ArchiveFile, ComposedArchive};
    use crate::fixture::{Files, flat, nested, read, sample};
    use crate::snapshot::{FileSink as _, SnapshotError};
    use holdfast_types::ShardId;
    use serde_json::{Value, json};
    use std::io::{Cursor, Read as _};

    fn info(shards: u32) -> Value {
        json!({
            "config": {"params": {"vectors": {"size": 4}, "shard_number": shards}},
            "payload_schema": {
                "city": {"data_type": "keyword"},
                "text": {"data_type": "text", "params": {"type": "text", "tokenizer": "word"}},
            },
        })
    }

    /// A snapshot with these shards of a collection that has `shards` of them.
    fn snapshot(with: &[u32], shards: u32) -> Vec<u8> {
        let own = collection_files(&info(shards), None).unwrap();
        let mut all: Files = own
            .iter()
            .map(|(n, c)| ((*n).to_owned(), c.clone()))
            .collect();
        let dense =
            |(path, content): (&String, &Vec<u8>)| ArchiveFile::dense(path, content.len() as u64);
        let files = sample();
        for id in with {
            all.extend(files.iter().map(|(p, c)| (format!("{id}/{p}"), c.clone())));
        }
        let parts = with
            .iter()
            .map(|id| (ShardId(*id), files.iter().map(dense).collect()));
        let beside = own
            .iter()
            .map(|(n, c)| ArchiveFile::dense(n, c.len() as u64));
        let plan = ComposedArchive::collection(parts.collect(), beside.collect()).unwrap();
        let mut writer = plan.writer(Vec::new());
        while let Some(file) = writer.next_file() {
            writer.begin(file.path(), file.size()).unwrap();
            writer.data(&all[file.path()]).unwrap();
            writer.end().unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn what_is_composed_is_read_back_shard_by_shard() {
        let archive = snapshot(&[0, 1], 2);
        let contents = inspect_collection_snapshot(&archive[..]).unwrap();
        assert_eq!(contents.info, info(2));
        assert_eq!(contents.shards, [ShardId(0), ShardId(1)]);
        assert!(contents.missing.is_empty() && contents.cluster.is_none());
        for shard in [1, 0] {
            let mut one = Vec::new();
            let reader = shard_of_collection(Cursor::new(&archive), &contents, ShardId(shard));
            reader.unwrap().read_to_end(&mut one).unwrap();
            assert_eq!(read(&one).unwrap().0, read_alone());
        }
        assert!(shard_of_collection(Cursor::new(&archive), &contents, ShardId(2)).is_err());
    }

    /// The sample as a shard's snapshot gives it.
    fn read_alone() -> Files {
        let files = sample();
        let dense = files
            .iter()
            .map(|(p, c)| ArchiveFile::dense(p, c.len() as u64));
        let plan = ComposedArchive::new(dense.collect()).unwrap();
        let mut writer = plan.writer(Vec::new());
        while let Some(file) = writer.next_file() {
            writer.begin(file.path(), file.size()).unwrap();
            writer.data(&files[file.path()]).unwrap();
            writer.end().unwrap();
        }
        read(&writer.finish().unwrap()).unwrap().0
    }

    #[test]
    fn a_node_of_a_cluster_has_a_part_only_and_that_shows() {
        let contents = inspect_collection_snapshot(&snapshot(&[2], 3)[..]).unwrap();
        assert_eq!(contents.missing, [ShardId(0), ShardId(1)]);
        let error = inspect_collection_snapshot(&snapshot(&[2], 2)[..]).unwrap_err();
        assert!(error.to_string().contains("shard 2"), "{error}");
    }

    #[test]
    fn a_shards_own_snapshot_is_told_apart() {
        for archive in [flat(&sample()), nested(&sample())] {
            let error = inspect_collection_snapshot(&archive[..]).unwrap_err();
            assert!(matches!(error, SnapshotError::OfShard), "{error}");
            assert_eq!(error.code(), "plan-blocked");
        }
    }

    #[test]
    fn a_file_that_ends_early_is_refused_wherever_it_is_cut() {
        let archive = snapshot(&[0, 1], 2);
        for part in 1..16 {
            let cut = archive.len() * part / 16;
            let error = inspect_collection_snapshot(&archive[..cut]).unwrap_err();
            assert!(
                matches!(error, SnapshotError::Truncated(_)),
                "{cut}: {error}"
            );
        }
        let no_trailer = &archive[..archive.len() - 1024];
        assert!(inspect_collection_snapshot(no_trailer).is_err());
    }
}
