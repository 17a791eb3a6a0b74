//! A shard on disk as a server has it, with operations, an optimizer, and partial snapshots of it.

use super::shard::{self, Files};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

pub(super) const SEALED: &str = "0f2b6d1e-93c4-4c0a-9a55-2f60b8f7c001";
pub(super) const GROWING: &str = "1f2b6d1e-93c4-4c0a-9a55-2f60b8f7c002";
pub(super) const CHUNK: &str = "vector_storage/vectors/chunk_0.mmap";
pub(super) const GRAPH: &str = "vector_index/graph.bin";
pub(super) const MARKS: &str = "id_tracker.deleted";
pub(super) const PAGE: &str = "payload_storage/page_0.dat";

/// What is done between the manifest and a snapshot.
pub(super) type Meanwhile = Box<dyn FnOnce(&mut LivingShard) + Send>;

/// One shard.
#[derive(Default)]
pub(super) struct LivingShard {
    storage: PathBuf,
    /// Segment id → version, and the versions of files that have their own.
    versions: BTreeMap<String, (u64, BTreeMap<String, u64>)>,
    pub(super) files: Files,
    operation: u64,
    /// One for each partial snapshot to come.
    pub(super) meanwhile: VecDeque<Meanwhile>,
    /// Send claimed files anyway.
    pub(super) send_all: bool,
    /// Leave this file out although nobody claims it.
    pub(super) leave_out: Option<String>,
    /// Answer 304.
    pub(super) unmodified: bool,
    /// End so many answers after that many bytes.
    pub(super) cut: Option<(u32, usize)>,
    /// Partial snapshots asked for.
    pub(super) asked: u32,
    /// Bytes of the last answer.
    pub(super) answered: usize,
    /// What the server's list of optimizations holds.
    pub(super) running: Vec<Value>,
    pub(super) ended: Vec<Value>,
    /// The running ones end at the look after so many.
    pub(super) ends_after: Option<u32>,
    /// Looks at the list.
    pub(super) looks: u32,
    /// Answer that there is no such list.
    pub(super) unlisted: bool,
    /// The collection's status, green if empty.
    pub(super) status: &'static str,
    /// Number of shards beside this one.
    pub(super) others: u32,
    /// Refuse the manifest, or the snapshot, with this status.
    pub(super) refuse: Option<(&'static str, u16)>,
    /// One for each stored or streamed snapshot to come, done when it has been made.
    pub(super) at_whole: VecDeque<Meanwhile>,
}

fn state(index: &str) -> Vec<u8> {
    let vector = json!({"storage_type": "InRamChunkedMmap", "index": {"type": index}});
    let config = json!({"version": 7, "config": {"vector_data": {"": vector}}});
    config.to_string().into_bytes()
}

impl LivingShard {
    pub(super) fn new(storage: PathBuf) -> Self {
        let mut this = Self {
            storage,
            operation: 7,
            ..Self::default()
        };
        for (id, index) in [(SEALED, "hnsw"), (GROWING, "plain")] {
            this.versions.insert(id.to_owned(), (7, BTreeMap::new()));
            this.put(id, "segment.json", state(index));
            this.put(id, "version.info", b"0.6.0".to_vec());
            this.put(id, CHUNK, format!("vectors of {id} ").repeat(9000).into());
            this.put(id, PAGE, format!("payload of {id} ").repeat(100).into());
        }
        this.put(SEALED, GRAPH, "graph ".repeat(40_000).into());
        this.put(SEALED, MARKS, vec![0; 100]);
        for (name, content) in [
            ("wal/closed-5", &b"wal\0\0\0\0\0\0\0\0\0\0\0\0\0"[..]),
            ("replica_state.json", b"{\"is_local\":true}"),
            ("shard_config.json", b"{\"type\":\"ReplicaSet\"}"),
        ] {
            this.files.insert(name.to_owned(), content.to_vec());
        }
        this
    }

    pub(super) fn path(&self, id: &str, file: &str) -> PathBuf {
        let shard = self.storage.join("collections/docs/0/segments");
        shard.join(id).join(file)
    }

    /// Writes a file, in place if it is there.
    pub(super) fn put(&mut self, id: &str, file: &str, content: Vec<u8>) {
        let path = self.path(id, file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &content).unwrap();
        self.files.insert(format!("segments/{id}/{file}"), content);
    }

    /// An operation that changes one file; the others keep their own version, as Qdrant tracks them.
    pub(super) fn operate(&mut self, id: &str, file: &str) {
        self.operation += 1;
        let names = self.names(id);
        let (version, own) = self.versions.get_mut(id).unwrap();
        for name in names {
            own.entry(name).or_insert(*version);
        }
        *version = self.operation;
        own.insert(file.to_owned(), self.operation);
        self.write_unseen(id, file);
    }

    /// Changes a file and no version: what a server must never do.
    pub(super) fn write_unseen(&mut self, id: &str, file: &str) {
        self.operation += 1;
        let mut content = self.files[&format!("segments/{id}/{file}")].clone();
        content.extend_from_slice(format!("operation {} ", self.operation).as_bytes());
        self.put(id, file, content);
    }

    /// Replaces a segment by a new one with other content, as an optimizer does; removes the old files.
    pub(super) fn optimize(&mut self, id: &str) -> String {
        self.operation += 1;
        let new = format!("{:08x}-93c4-4c0a-9a55-2f60b8f7c009", self.operation);
        for name in self
            .names(id)
            .into_iter()
            .chain(["segment.json".into(), "version.info".into()])
        {
            let content = self.files.remove(&format!("segments/{id}/{name}")).unwrap();
            let mut built = content.clone();
            if name == GRAPH || name == CHUNK {
                built.extend_from_slice(new.as_bytes());
            }
            self.put(&new, &name, built);
        }
        std::fs::remove_dir_all(self.path(id, "")).unwrap();
        self.versions.remove(id);
        self.versions
            .insert(new.clone(), (self.operation, BTreeMap::new()));
        new
    }

    /// Puts the segment's files in place anew, with the same versions and another content, as a restore does.
    pub(super) fn restore_in_place(&mut self, id: &str) {
        let names = self.names(id);
        std::fs::rename(self.path(id, ""), self.storage.join("old")).unwrap();
        for name in ["segment.json".to_owned(), "version.info".to_owned()] {
            let content = self.files[&format!("segments/{id}/{name}")].clone();
            self.put(id, &name, content);
        }
        for name in names {
            self.put(id, &name, format!("restored {name} ").repeat(50).into());
        }
        std::fs::remove_dir_all(self.storage.join("old")).unwrap();
    }

    fn names(&self, id: &str) -> Vec<String> {
        let below = format!("segments/{id}/");
        let names = self
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&below));
        names
            .filter(|name| !matches!(*name, "segment.json" | "version.info"))
            .map(str::to_owned)
            .collect()
    }

    pub(super) fn manifest(&self) -> Value {
        let segments = self.versions.iter().map(|(id, (version, own))| {
            let files: serde_json::Map<_, _> = self
                .names(id)
                .into_iter()
                .map(|name| {
                    let version = own.get(&name).copied();
                    (name, json!(version))
                })
                .collect();
            let segment =
                json!({"segment_id": id, "segment_version": version, "file_versions": files});
            (id.clone(), segment)
        });
        Value::Object(segments.collect())
    }

    /// An optimizer begins.
    pub(super) fn begin_optimizing(&mut self, segment: &str) {
        let id = format!("optimization {}", self.running.len() + self.ended.len());
        self.running
            .push(json!({"uuid": id, "status": "optimizing", "segments": [{"uuid": segment, "points_count": 1}]}));
    }

    /// The server's list of optimizations.
    pub(super) fn optimizations(&mut self) -> Option<Value> {
        self.looks += 1;
        if self.unlisted {
            return None;
        }
        match &mut self.ends_after {
            Some(0) => {
                self.ended.append(&mut self.running);
                self.ends_after = None;
            }
            Some(looks) if !self.running.is_empty() => *looks -= 1,
            Some(_) | None => {}
        }
        Some(json!({"summary": {}, "running": self.running, "completed": self.ended}))
    }

    /// Gives a file so many MiB on disk, which nobody reads.
    pub(super) fn bloat(&self, id: &str, file: &str, mib: u64) {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(self.path(id, file))
            .unwrap();
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(file, flags, 0, mib << 20).unwrap();
    }

    /// Answers as Qdrant does; `None` is status 304.
    pub(super) fn partial(&mut self, known: &Value) -> Option<Vec<u8>> {
        self.asked += 1;
        if let Some(meanwhile) = self.meanwhile.pop_front() {
            meanwhile(self);
        }
        let manifest = self.manifest();
        if self.unmodified || *known == manifest {
            return None;
        }
        let mut files = self.files.clone();
        for (id, segment) in manifest.as_object().unwrap() {
            let seen = |manifest: &Value, name: &str| {
                let version = manifest["file_versions"].get(name)?;
                version.as_u64().or(manifest["segment_version"].as_u64())
            };
            let names: BTreeSet<String> = self.names(id).into_iter().collect();
            for name in names {
                let (then, now) = (seen(&known[id], &name), seen(segment, &name).unwrap());
                let kept = then.is_some_and(|then| then >= now && (then, now) != (0, 0));
                if (kept && !self.send_all) || self.leave_out.as_ref() == Some(&name) {
                    files.remove(&format!("segments/{id}/{name}"));
                }
            }
            files.insert(
                format!("segments/{id}/segment_manifest.json"),
                segment.to_string().into_bytes(),
            );
        }
        let mut archive = shard::archive(&files);
        self.answered = archive.len();
        if let Some((times, bytes)) = self.cut {
            archive.truncate(bytes);
            self.cut = (times > 1).then_some((times - 1, bytes));
        }
        Some(archive)
    }
}
