//! A shard as it was at any moment after its snapshot: the snapshot, and the entries that the tail has read since, spliced into its
//! log for the server to replay.

use crate::server::{Server, poll};
use holdfast_agent::tail::LogFolder;
use holdfast_qdrant::{ArchiveFile, ComposedArchive, FileSink, read_shard_stream};
use holdfast_wal::splice::{self, SpliceWriter};
use holdfast_wal::{Frame, Tail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, Instant};

/// Operations of the history.
const OPERATIONS: u64 = 240;

#[derive(Default)]
pub(crate) struct Memory {
    path: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl FileSink for Memory {
    type Error = Infallible;
    fn begin(&mut self, path: &str, _: u64) -> Result<(), Infallible> {
        path.clone_into(&mut self.path);
        self.files.insert(path.to_owned(), Vec::new());
        Ok(())
    }
    fn data(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        let file = self.files.get_mut(&self.path).unwrap();
        file.extend_from_slice(bytes);
        Ok(())
    }
    fn zeros(&mut self, len: u64) -> Result<(), Infallible> {
        let file = self.files.get_mut(&self.path).unwrap();
        file.resize(file.len() + usize::try_from(len).unwrap(), 0);
        Ok(())
    }
    fn end(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The archive of a captured shard with these entries as its log.
pub(crate) fn spliced(base: &BTreeMap<String, Vec<u8>>, frames: &[Frame]) -> Vec<u8> {
    let mut files = base.clone();
    files.retain(|path, _| !path.starts_with("wal/"));
    let first = frames[0].index;
    let lengths = frames.iter().map(|frame| frame.data.len() as u64);
    let mut left = frames.iter();
    // Small files, so that the log has several.
    for planned in splice::plan(first, lengths, 20_000).unwrap() {
        let (mut writer, header) = SpliceWriter::new(0x5eed);
        let mut bytes = header.to_vec();
        for _ in 0..planned.entries {
            writer.push(&left.next().unwrap().data, &mut bytes);
        }
        assert_eq!(bytes.len() as u64, planned.size);
        files.insert(format!("wal/{}", planned.name()), bytes);
    }
    let mark = format!("wal/{}", splice::FIRST_INDEX);
    files.insert(mark, splice::first_index(first));
    let plan = files.iter();
    let plan = plan.map(|(path, content)| ArchiveFile::dense(path, content.len() as u64));
    let plan = ComposedArchive::new(plan.collect()).unwrap();
    let mut writer = plan.writer(Vec::new());
    while let Some(file) = writer.next_file() {
        writer.begin(file.path(), file.size()).unwrap();
        let content = &files[file.path()];
        if !content.is_empty() {
            writer.data(content).unwrap();
        }
        writer.end().unwrap();
    }
    writer.finish().unwrap()
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    /// An operation: method, path and body.
    fn operation(&mut self) -> (&'static str, &'static str, Value) {
        let ids: Vec<u64> = (0..=self.below(6)).map(|_| self.below(60)).collect();
        let group = json!({"must": [{"key": "group", "match": {"value": self.below(7)}}]});
        let payload = json!({"mark": self.below(1000)});
        match self.below(12) {
            0 => ("POST", "points/delete", json!({ "points": ids })),
            1 => ("POST", "points/delete", json!({ "filter": group })),
            2 => (
                "POST",
                "points/payload",
                json!({"payload": payload, "filter": group}),
            ),
            3 => (
                "POST",
                "points/payload",
                json!({"payload": payload, "points": ids}),
            ),
            4 => (
                "PUT",
                "points/payload",
                json!({"payload": payload, "points": ids}),
            ),
            5 => (
                "POST",
                "points/payload/delete",
                json!({"keys": ["mark"], "filter": group}),
            ),
            6 => ("POST", "points/payload/clear", json!({ "points": ids })),
            7 => {
                let points = ids
                    .iter()
                    .map(|id| json!({"id": id, "vector": self.vector()}));
                let points: Vec<_> = points.collect();
                ("PUT", "points/vectors", json!({ "points": points }))
            }
            _ => {
                let mut points = Vec::new();
                for id in ids {
                    let (vector, group) = (self.vector(), self.below(7));
                    points.push(json!({"id": id, "vector": vector, "payload": {"group": group}}));
                }
                ("PUT", "points", json!({ "points": points }))
            }
        }
    }

    fn vector(&mut self) -> Vec<f64> {
        let mut number = || f64::from(u32::try_from(self.below(64)).unwrap()) / 4.0;
        vec![number(), number(), number(), number()]
    }
}

/// What the log says is flushed.
fn certain(wal: &Path) -> u64 {
    let json = std::fs::read(wal.join(splice::FIRST_INDEX)).unwrap_or_else(|_| b"{}".to_vec());
    let mark: Value = serde_json::from_slice(&json).unwrap();
    mark["ack_index"].as_u64().unwrap_or(0)
}

async fn create(server: &Server, name: &str) {
    let config = json!({"vectors": {"size": 4, "distance": "Dot"}});
    let path = format!("/collections/{name}");
    server.call("PUT", &path, &config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_brought_to_any_moment_after_its_snapshot() {
    holdfast_certs::install_crypto_provider();
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(dir.path()).await else {
        return;
    };
    let given = std::env::var("HOLDFAST_SEED").ok();
    let seed = given.map_or(u64::from(std::process::id()), |text| text.parse().unwrap());
    println!("HOLDFAST_SEED={seed}");
    let mut dice = Dice(seed.wrapping_mul(2_654_435_761) | 1);
    create(&server, "docs").await;
    let wal = dir.path().join("storage/collections/docs/0/wal");
    let mut folder = LogFolder::open(wal.clone()).unwrap();
    let (mut tail, mut frames) = (Tail::new(), Vec::new());
    let mut base = None;
    let mut moments = Vec::new();
    for n in 0..OPERATIONS {
        let (method, path, body) = dice.operation();
        let path = format!("/collections/docs/{path}?wait=true");
        // A vector for a point that is not there is refused, and its operation stays in the log.
        server.try_call(method, &path, &body).await;
        poll(&mut folder, &mut tail, &mut frames);
        if n == 80 + seed % 40 {
            // Replay shall begin in the middle: wait for a flush.
            let begun = Instant::now();
            while certain(&wal) == 0 {
                assert!(begun.elapsed() < Duration::from_secs(60), "never flushed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let from = certain(&wal);
            let mut files = Memory::default();
            let snapshot = server.snapshot("docs").await;
            let contents = read_shard_stream(snapshot.as_slice(), &mut files).unwrap();
            base = Some((from, contents.next_operation.unwrap(), files.files));
        } else if base.is_some() && dice.below(24) == 0 {
            let next = tail.caught_up().unwrap();
            moments.push((next, server.points("docs").await));
        }
    }
    moments.push((tail.caught_up().unwrap(), server.points("docs").await));
    let (from, next, base) = base.unwrap();
    assert!(0 < from && from <= next);
    println!("from {from}, snapshot at {next}, {} moments", moments.len());
    let mut states = BTreeSet::new();
    for (number, (until, points)) in moments.iter().enumerate() {
        let chosen = frames
            .iter()
            .filter(|frame| (from..*until).contains(&frame.index));
        let chosen: Vec<Frame> = chosen.cloned().collect();
        let copy = format!("copy-{number}");
        create(&server, &copy).await;
        server.upload(&copy, &spliced(&base, &chosen)).await;
        let restored = server.points(&copy).await;
        assert_eq!(&restored, points, "up to {until}, HOLDFAST_SEED={seed}");
        states.insert(serde_json::to_string(points).unwrap());
    }
    assert!(states.len() > 1, "nothing changed between the moments");
}
