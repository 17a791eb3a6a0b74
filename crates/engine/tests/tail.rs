//! The tail of `holdfast-wal` behind the engine's own log: every operation, through rotations, truncation and a restart.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and helpers are test code too"
)]

use holdfast_engine::Shard;
use holdfast_engine::model::{
    Distance, EdgeConfig, EdgeVectorParams, PointInsertOperations, PointOperations,
    UpdateOperation, WalOptions,
};
use holdfast_wal::{
    Event, FileId, FileName, Frame, Listed, Listing, Operation, Position, Scope, Tail, Want,
};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A tail with the files that it asks for.
struct Reader {
    dir: PathBuf,
    folder: File,
    held: BTreeMap<FileId, File>,
    tail: Tail,
    frames: Vec<Frame>,
    /// Everything else that was told.
    other: Vec<Event>,
}

fn id(file: &File) -> FileId {
    let metadata = file.metadata().unwrap();
    FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
    }
}

impl Reader {
    fn new(dir: &Path, tail: Tail) -> Self {
        Self {
            dir: dir.to_owned(),
            folder: File::open(dir).unwrap(),
            held: BTreeMap::new(),
            tail,
            frames: Vec::new(),
            other: Vec::new(),
        }
    }

    fn list(&mut self) -> Listing {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir).unwrap() {
            let name = entry.unwrap().file_name();
            let Some(parsed) = FileName::parse(name.to_str().unwrap()) else {
                continue;
            };
            let Ok(file) = File::open(self.dir.join(&name)) else {
                continue;
            };
            let (id, len) = (id(&file), file.metadata().unwrap().len());
            files.push(Listed {
                name: parsed,
                file: id,
                len,
            });
            self.held.entry(id).or_insert(file);
        }
        let dir = id(&self.folder);
        Listing { dir, files }
    }

    fn poll(&mut self) {
        self.tail.wake();
        loop {
            match self.tail.want() {
                Want::List => {
                    let listing = self.list();
                    self.tail.listed(listing);
                }
                Want::Read { file, offset, len } => {
                    let mut bytes = vec![0; len];
                    let got = self.held[&file].read_at(&mut bytes, offset).unwrap();
                    self.tail.read(&bytes[..got]);
                }
                Want::Wait => break,
            }
            for event in self.tail.events() {
                match event {
                    Event::Frame(frame) => self.frames.push(frame),
                    other @ (Event::Resumed { .. }
                    | Event::Began { .. }
                    | Event::Obstructed { .. }
                    | Event::Ended { .. }) => self.other.push(other),
                }
            }
        }
    }
}

fn config() -> EdgeConfig {
    let vector = EdgeVectorParams::builder(2, Distance::Dot).build();
    let options = WalOptions {
        segment_capacity: 4096,
        ..WalOptions::default()
    };
    EdgeConfig::builder()
        .vector("", vector)
        .wal_options(options)
        .build()
}

fn upsert(ids: std::ops::Range<u64>) -> UpdateOperation {
    let points: Vec<_> = ids
        .map(|id| serde_json::json!({"id": id, "vector": [id, 1]}))
        .collect();
    let points: PointInsertOperations =
        serde_json::from_value(serde_json::json!({ "points": points })).unwrap();
    UpdateOperation::PointOperation(PointOperations::UpsertPoints(points))
}

#[test]
fn every_operation_is_read_through_rotation_truncation_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let shard = Shard::create(dir.path(), config()).unwrap();
    let wal = dir.path().join("wal");
    let mut reader = Reader::new(&wal, Tail::new());
    // One operation is larger than a file.
    let sizes = |round: u64| if round == 50 { 400 } else { 1 + round % 9 };
    for round in 0..80 {
        shard.apply(upsert(0..sizes(round))).unwrap();
        if round % 3 == 0 {
            reader.poll();
        }
        if round % 10 == 0 {
            reader.poll();
            shard.flush(1).unwrap();
        }
    }
    reader.poll();
    drop(shard);
    let shard = Shard::open(dir.path(), None).unwrap();
    for round in 80..90 {
        shard.apply(upsert(0..sizes(round))).unwrap();
        reader.poll();
    }
    assert_eq!(reader.tail.caught_up(), Some(shard.next_operation()));
    let began = Event::Began {
        timeline: 0,
        first: 0,
    };
    assert_eq!(reader.other, [began]);
    let indexes: Vec<u64> = reader.frames.iter().map(|frame| frame.index).collect();
    assert_eq!(indexes, (0..91).collect::<Vec<_>>());
    for (round, frame) in reader.frames[1..].iter().enumerate() {
        let operation = Operation::read(&frame.data).unwrap();
        assert_eq!(operation.kind, "upsert_points");
        assert_eq!(operation.scope, Scope::Points(sizes(round as u64)));
    }
    let closed = fs::read_dir(&wal).unwrap().count();
    assert!(closed < 10, "the log was never shortened");

    let last = reader.frames.last().unwrap();
    let position = Position {
        next: last.index + 1,
        crc: last.crc,
    };
    shard.apply(upsert(0..3)).unwrap();
    let mut second = Reader::new(&wal, Tail::resume(position));
    second.poll();
    let next = position.next;
    assert_eq!(second.other, [Event::Resumed { next }]);
    assert_eq!(second.frames.len(), 1);
}
