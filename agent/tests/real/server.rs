//! A Qdrant server in an empty directory, ended with the test.

use holdfast_agent::tail::LogFolder;
use holdfast_wal::{Event, Frame, Tail};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Server {
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
    pub(crate) async fn start(dir: &Path) -> Option<Self> {
        Self::start_as(dir, false).await
    }

    /// The same as a cluster of one node, which has shard keys.
    pub(crate) async fn start_cluster(dir: &Path) -> Option<Self> {
        Self::start_as(dir, true).await
    }

    async fn start_as(dir: &Path, cluster: bool) -> Option<Self> {
        let program = std::env::var("HOLDFAST_QDRANT_BIN").unwrap_or_else(|_| "qdrant".to_owned());
        let port = free_port();
        let mut command = Command::new(&program);
        if cluster {
            let peers = free_port();
            command
                .env("QDRANT__CLUSTER__ENABLED", "true")
                .env("QDRANT__CLUSTER__P2P__PORT", peers.to_string())
                .args(["--uri", &format!("http://127.0.0.1:{peers}")]);
        }
        let started = command
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

    /// The whole answer, whatever it says.
    pub(crate) async fn try_call(&self, method: &str, path: &str, body: &Value) -> Value {
        let method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}{path}", self.url));
        let answer = request.json(body).send().await.unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// A request with any bytes; the status and the answer.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Vec<u8>) -> (u16, Value) {
        let request = self
            .http
            .request(method.parse().unwrap(), format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// The result of what must go well.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.try_call(method, path, body).await;
        assert_eq!(answer["status"], "ok", "{path}: {answer}");
        answer["result"].clone()
    }

    /// Writes so many points; the answer is the operation's number.
    pub(crate) async fn upsert(&self, round: u64, points: u64) -> u64 {
        let points: Vec<_> = (0..points)
            .map(|id| json!({"id": id, "vector": vec![round as f32 + 0.1; 64], "payload": {"round": round}}))
            .collect();
        let body = json!({ "points": points });
        let result = self.call("PUT", "/collections/docs/points?wait=true", &body);
        result.await["operation_id"].as_u64().unwrap()
    }

    /// The streamed snapshot of shard 0.
    pub(crate) async fn snapshot(&self, collection: &str) -> Vec<u8> {
        let url = format!("{}/collections/{collection}/shards/0/snapshot", self.url);
        let answer = self.http.get(url).send().await.unwrap();
        assert!(answer.status().is_success());
        answer.bytes().await.unwrap().to_vec()
    }

    /// Has shard 0 replaced by an archive.
    pub(crate) async fn upload(&self, collection: &str, archive: &[u8]) {
        let path = "shards/0/snapshots/upload?priority=snapshot&wait=true";
        let url = format!("{}/collections/{collection}/{path}", self.url);
        let boundary = "holdfast-test-boundary";
        let part = "Content-Disposition: form-data; name=\"snapshot\"; filename=\"s.tar\"";
        let mut body = format!("--{boundary}\r\n{part}\r\n\r\n").into_bytes();
        body.extend_from_slice(archive);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let kind = format!("multipart/form-data; boundary={boundary}");
        let request = self.http.post(url).header("content-type", kind).body(body);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        assert!(
            status.is_success(),
            "{status}: {}",
            answer.text().await.unwrap()
        );
    }

    /// Every number and word of a collection's points, as the server writes them, in the order of the alphabet: readers may take two
    /// numbers for one.
    pub(crate) async fn words(&self, collection: &str, key: Option<&str>) -> Vec<String> {
        let path = format!("{}/collections/{collection}/points/scroll", self.url);
        let answer = self.http.post(path).json(&everything(key)).send().await;
        let text = answer.unwrap().text().await.unwrap();
        let points = text.split("\"next_page_offset\"").next().unwrap();
        let words = points.split(|c: char| !c.is_alphanumeric() && !"+-.".contains(c));
        let mut words: Vec<String> = words.map(str::to_owned).collect();
        words.sort_unstable();
        words
    }

    /// Every point of a collection, by id.
    pub(crate) async fn points(&self, collection: &str) -> Vec<Value> {
        self.points_of(collection, None).await
    }

    /// Every point under a shard key, or of a collection, by id.
    pub(crate) async fn points_of(&self, collection: &str, key: Option<&str>) -> Vec<Value> {
        let path = format!("/collections/{collection}/points/scroll");
        let page = self.call("POST", &path, &everything(key)).await;
        assert!(page["next_page_offset"].is_null());
        page["points"].as_array().unwrap().clone()
    }
}

/// Asks for all points, or for those under a shard key.
fn everything(key: Option<&str>) -> Value {
    let mut body = json!({"limit": 10_000, "with_payload": true, "with_vector": true});
    if let Some(key) = key {
        body["shard_key"] = json!(key);
    }
    body
}

/// Everything that a poll finds.
pub(crate) fn poll(folder: &mut LogFolder, tail: &mut Tail, frames: &mut Vec<Frame>) -> Vec<Event> {
    tail.wake();
    folder.begin();
    let mut other = Vec::new();
    while folder.serve(tail).unwrap() {
        for event in tail.events() {
            match event {
                Event::Frame(frame) => frames.push(frame),
                event @ (Event::Resumed { .. }
                | Event::Began { .. }
                | Event::Obstructed { .. }
                | Event::Ended { .. }) => other.push(event),
            }
        }
    }
    other
}
