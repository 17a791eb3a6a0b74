//! The log of a real Qdrant server, read while it is written: `$HOLDFAST_QDRANT_BIN`, else `qdrant` on the PATH. Without one the
//! test prints a line that begins with `SKIPPED:` and passes.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step is a failed test; a skipped test says so"
)]

use holdfast_agent::tail::LogFolder;
use holdfast_wal::{Cause, Event, Frame, Operation, Position, Scope, Tail};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Server {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Server {
    /// A server on this directory, with files of the log of 1 MiB; `None`, with a line saying why, if there is no server.
    async fn start(dir: &Path) -> Option<Self> {
        let program = std::env::var("HOLDFAST_QDRANT_BIN").unwrap_or_else(|_| "qdrant".to_owned());
        let port = free_port();
        let started = Command::new(&program)
            .current_dir(dir)
            .env("RUN_MODE", "test")
            .env("QDRANT__SERVICE__HOST", "127.0.0.1")
            .env("QDRANT__SERVICE__HTTP_PORT", port.to_string())
            .env("QDRANT__SERVICE__GRPC_PORT", free_port().to_string())
            .env("QDRANT__STORAGE__WAL__WAL_CAPACITY_MB", "1")
            .env("QDRANT__STORAGE__OPTIMIZERS__FLUSH_INTERVAL_SEC", "1")
            .env("QDRANT__TELEMETRY_DISABLED", "true")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match started {
            Ok(child) => child,
            Err(error) => {
                println!("SKIPPED: no Qdrant server to test against: {program}: {error}");
                return None;
            }
        };
        let url = format!("http://127.0.0.1:{port}");
        let http = reqwest::Client::new();
        let server = Self { child, url, http };
        let begun = Instant::now();
        while server
            .http
            .get(format!("{}/readyz", server.url))
            .send()
            .await
            .is_err()
        {
            assert!(begun.elapsed() < Duration::from_secs(60), "no answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(server)
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}{path}", self.url));
        let answer = request.json(body).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["status"], "ok", "{path}: {answer}");
        answer["result"].clone()
    }

    /// Writes so many points; the answer is the operation's number.
    async fn upsert(&self, round: u64, points: u64) -> u64 {
        let points: Vec<_> = (0..points)
            .map(|id| json!({"id": id, "vector": vec![round as f32 + 0.1; 64], "payload": {"round": round}}))
            .collect();
        let body = json!({ "points": points });
        let result = self.call("PUT", "/collections/docs/points?wait=true", &body);
        result.await["operation_id"].as_u64().unwrap()
    }
}

/// Everything that a poll finds.
fn poll(folder: &mut LogFolder, tail: &mut Tail, frames: &mut Vec<Frame>) -> Vec<Event> {
    tail.wake();
    let mut other = Vec::new();
    while folder.serve(tail).unwrap() {
        for event in tail.events() {
            match event {
                Event::Frame(frame) => frames.push(frame),
                event => other.push(event),
            }
        }
    }
    other
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_log_is_read_through_rotation_truncation_kill_and_recovery() {
    holdfast_certs::install_crypto_provider();
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(dir.path()).await else {
        return;
    };
    let create = json!({"vectors": {"size": 64, "distance": "Dot"}});
    server.call("PUT", "/collections/docs", &create).await;
    let wal = dir.path().join("storage/collections/docs/0/wal");
    let mut folder = LogFolder::open(wal.clone()).unwrap();
    let (mut tail, mut frames) = (Tail::new(), Vec::new());
    let mut other = poll(&mut folder, &mut tail, &mut frames);
    let mut last = 0;
    for round in 0..400 {
        last = server.upsert(round, 1 + round % 90).await;
        if round % 20 == 7 {
            let body = json!({"payload": {"late": round}, "filter": {"must": [{"key": "round", "match": {"value": round}}]}});
            server
                .call("POST", "/collections/docs/points/payload?wait=true", &body)
                .await;
        }
        if round % 3 == 0 {
            other.extend(poll(&mut folder, &mut tail, &mut frames));
        }
    }
    // A kill in the middle of nothing, and a server that goes on in the same files.
    drop(server);
    let server = Server::start(dir.path()).await.unwrap();
    for round in 400..450 {
        last = last.max(server.upsert(round, 3).await);
        other.extend(poll(&mut folder, &mut tail, &mut frames));
    }
    assert_eq!(tail.caught_up(), Some(last + 1));
    assert!(
        matches!(
            other[..],
            [Event::Began {
                timeline: 0,
                first: 0
            }]
        ),
        "{other:?}"
    );
    let indexes: Vec<u64> = frames.iter().map(|frame| frame.index).collect();
    assert_eq!(indexes, (0..=last).collect::<Vec<_>>());
    let kinds: Vec<_> = frames
        .iter()
        .map(|f| Operation::read(&f.data).unwrap())
        .collect();
    let filtered = kinds
        .iter()
        .filter(|op| op.kind == "set_payload" && op.scope == Scope::Filter);
    assert!(filtered.count() > 0 || kinds.iter().any(|op| op.kind == "set_payload"));
    let rotations = frames
        .windows(2)
        .filter(|pair| pair[1].before != pair[0].crc)
        .count();
    assert!(rotations > 3, "{rotations} rotations");
    println!(
        "{} entries, {rotations} rotations, {} files left",
        frames.len(),
        folder.held()
    );

    // Another reader goes on behind the last entry.
    let newest = frames.last().unwrap();
    let position = Position {
        next: newest.index + 1,
        crc: newest.crc,
    };
    let after = server.upsert(450, 2).await;
    let mut second = Tail::resume(position);
    let mut more = Vec::new();
    let mut other_folder = LogFolder::open(wal).unwrap();
    let said = poll(&mut other_folder, &mut second, &mut more);
    assert!(matches!(said[..], [Event::Resumed { .. }]), "{said:?}");
    assert_eq!(more.len(), 1);
    assert_eq!(more[0].index, after);

    // A snapshot of the shard itself is recovered: the numbers go on, and yet it is another history.
    let snapshot = server
        .http
        .get(format!("{}/collections/docs/shards/0/snapshot", server.url));
    let snapshot = snapshot.send().await.unwrap().bytes().await.unwrap();
    let path = "/collections/docs/shards/0/snapshots/upload?priority=snapshot&wait=true";
    let boundary = "holdfast-test-boundary";
    let mut body = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"snapshot\"; filename=\"s.tar\"\r\n\r\n").into_bytes();
    body.extend_from_slice(&snapshot);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let upload = server.http.post(format!("{}{path}", server.url));
    let upload = upload.header(
        "content-type",
        format!("multipart/form-data; boundary={boundary}"),
    );
    let status = upload.body(body).send().await.unwrap().status();
    assert!(status.is_success(), "{status}");
    let recovered = server.upsert(451, 2).await;
    let said = poll(&mut other_folder, &mut second, &mut more);
    let ended = Event::Ended {
        timeline: 0,
        next: after + 1,
        cause: Cause::Replaced,
    };
    assert_eq!(said[0], ended, "{said:?}");
    assert!(
        matches!(said[1], Event::Began { timeline: 1, .. }),
        "{said:?}"
    );
    assert_eq!(more.last().unwrap().index, recovered);
}
