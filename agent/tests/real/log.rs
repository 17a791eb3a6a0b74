//! A log is read while it is written.

use crate::server::{Server, poll};
use holdfast_agent::tail::LogFolder;
use holdfast_wal::{Cause, Event, Frame, Operation, Position, Tail};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A server with a collection, and a reader of its log.
struct World {
    dir: tempfile::TempDir,
    wal: PathBuf,
    server: Option<Server>,
    folder: LogFolder,
    tail: Tail,
    frames: Vec<Frame>,
    /// What was told beside the frames.
    other: Vec<Event>,
    /// Number of the newest operation.
    last: u64,
}

impl World {
    async fn new() -> Option<Self> {
        holdfast_certs::install_crypto_provider();
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path()).await?;
        let create = json!({"vectors": {"size": 64, "distance": "Dot"}});
        server.call("PUT", "/collections/docs", &create).await;
        let wal = dir.path().join("storage/collections/docs/0/wal");
        let folder = LogFolder::open(wal.clone()).unwrap();
        Some(Self {
            dir,
            wal,
            server: Some(server),
            folder,
            tail: Tail::new(),
            frames: Vec::new(),
            other: Vec::new(),
            last: 0,
        })
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    async fn upsert(&mut self, round: u64, points: u64) {
        self.last = self.server().upsert(round, points).await;
    }

    fn poll(&mut self) {
        let told = poll(&mut self.folder, &mut self.tail, &mut self.frames);
        self.other.extend(told);
    }

    /// Everything is read, in one timeline from the first operation on.
    fn check(&self) {
        assert_eq!(self.tail.caught_up(), Some(self.last + 1));
        let began = Event::Began {
            timeline: 0,
            first: 0,
        };
        assert_eq!(self.other, [began]);
        let indexes: Vec<u64> = self.frames.iter().map(|frame| frame.index).collect();
        assert_eq!(indexes, (0..=self.last).collect::<Vec<_>>());
    }
}

fn files(wal: &Path) -> usize {
    std::fs::read_dir(wal).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_entry_is_read_through_rotation_truncation_and_a_kill() {
    let Some(mut world) = World::new().await else {
        return;
    };
    world.poll();
    for round in 0..400 {
        world.upsert(round, 1 + round % 90).await;
        if round % 20 == 7 {
            let filter = json!({"must": [{"key": "round", "match": {"value": round}}]});
            let body = json!({"payload": {"late": round}, "filter": filter});
            let path = "/collections/docs/points/payload?wait=true";
            world.server().call("POST", path, &body).await;
        }
        if round % 3 == 0 {
            world.poll();
        }
    }
    // What is flushed is deleted, behind the reader.
    let (begun, full) = (Instant::now(), files(&world.wal));
    while files(&world.wal) >= full {
        assert!(begun.elapsed() < Duration::from_secs(60), "never shortened");
        world.upsert(400, 1).await;
        world.poll();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.server = None;
    world.server = Server::start(world.dir.path()).await;
    for round in 401..450 {
        world.upsert(round, 3).await;
        world.poll();
    }
    world.check();
    let read = |frame: &Frame| Operation::read(&frame.data).unwrap();
    let kinds: Vec<_> = world.frames.iter().map(read).collect();
    assert!(kinds.iter().any(|op| op.kind == "set_payload"));
    let pairs = world.frames.windows(2);
    let rotations = pairs.filter(|pair| pair[1].before != pair[0].crc).count();
    assert!(rotations > 3, "{rotations} rotations");
    println!("{} entries, {rotations} rotations", world.frames.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_resumes_and_a_recovered_shard_is_another_history() {
    let Some(mut world) = World::new().await else {
        return;
    };
    for round in 0..20 {
        world.upsert(round, 5).await;
    }
    world.poll();
    world.check();
    let newest = world.frames.pop().unwrap();
    world.upsert(20, 2).await;
    let (next, crc) = (newest.index + 1, newest.crc);
    world.tail = Tail::resume(Position { next, crc });
    world.folder = LogFolder::open(world.wal.clone()).unwrap();
    world.frames.clear();
    world.other.clear();
    world.poll();
    assert_eq!(world.other, [Event::Resumed { next }]);
    assert_eq!(world.frames.len(), 1);
    assert_eq!(world.frames[0].index, world.last);

    // Its own snapshot, at once: the numbers go on where they were, and yet nobody may take it for the same log.
    let snapshot = world.server().snapshot("docs").await;
    let ended = Event::Ended {
        timeline: 0,
        next: world.last + 1,
        cause: Cause::Replaced,
    };
    world.server().upload("docs", &snapshot).await;
    world.upsert(21, 2).await;
    world.other.clear();
    // What was in the old folder is read to its end first.
    world.poll();
    assert_eq!(world.other, []);
    world.poll();
    let first = world.last;
    let began = Event::Began { timeline: 1, first };
    assert_eq!(world.other, [ended, began]);
    let frame = world.frames.last().unwrap();
    assert_eq!((frame.timeline, frame.index), (1, world.last));
}
