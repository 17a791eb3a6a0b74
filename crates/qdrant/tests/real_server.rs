//! Against a real Qdrant server, where there is one: `$HOLDFAST_QDRANT_BIN`, else `qdrant` on the PATH. Without one
//! each test prints a line that begins with `SKIPPED:` and passes.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step is a failed test; a skipped test says so"
)]

use futures::StreamExt;
use holdfast_qdrant::{
    ArchiveFile, ChecksumReader, CollectionInventory, CollectionStatus, ComposedArchive, FileSink,
    QdrantClient, QdrantConfig, QdrantError, ShardContents, SnapshotError, config_differences,
    inventory, payload_indexes, read_shard_stream, read_stored_shard, stored_snapshot_path,
};
use holdfast_types::{CollectionName, ShardId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const SHARD: ShardId = ShardId(0);
const POINTS: u32 = 2000;

type Files = BTreeMap<String, Vec<u8>>;

/// A server in an empty directory, ended with the test.
struct Server {
    child: Child,
    dir: tempfile::TempDir,
    url: String,
    client: QdrantClient,
    http: reqwest::Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts the server and waits until it answers; `None`, with a line saying why, if there is none.
    async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Like [`Self::start`], with more settings in the environment.
    async fn start_with(settings: &[(&str, &str)]) -> Option<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let program = std::env::var("HOLDFAST_QDRANT_BIN").unwrap_or_else(|_| "qdrant".to_owned());
        let dir = tempfile::tempdir().unwrap();
        let (http, grpc) = (free_port(), free_port());
        let started = Command::new(&program)
            .current_dir(dir.path())
            .env("RUN_MODE", "test")
            .env("QDRANT__SERVICE__HOST", "127.0.0.1")
            .env("QDRANT__SERVICE__HTTP_PORT", http.to_string())
            .env("QDRANT__SERVICE__GRPC_PORT", grpc.to_string())
            .env("QDRANT__TELEMETRY_DISABLED", "true")
            .envs(settings.iter().copied())
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
        let url = format!("http://127.0.0.1:{http}");
        let client = QdrantClient::new(QdrantConfig::new(url.parse().unwrap())).unwrap();
        let http = reqwest::Client::new();
        let server = Self {
            child,
            dir,
            url,
            client,
            http,
        };
        let begun = Instant::now();
        while server.client.root().await.is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "the server does not answer"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(server)
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: &Value) -> Value {
        let answer = self
            .http
            .request(method, format!("{}{path}", self.url))
            .json(body)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Creates a collection with points, payload, indexes and aliases.
    async fn fill(&self, name: &CollectionName) {
        let create = json!({
            "vectors": {"dense": {"size": 8, "distance": "Euclid"}, "multi": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}},
            "sparse_vectors": {"text": {"modifier": "idf"}},
            "optimizers_config": {"default_segment_number": 2, "indexing_threshold": 20},
            "quantization_config": {"scalar": {"type": "int8", "always_ram": true}},
            "strict_mode_config": {"enabled": true, "max_query_limit": 5000},
            "metadata": {"owner": "tests"},
        });
        self.call(
            reqwest::Method::PUT,
            &format!("/collections/{name}"),
            &create,
        )
        .await;
        for index in [
            json!({"field_name": "city", "field_schema": "keyword"}),
            json!({"field_name": "body", "field_schema": {"type": "text", "tokenizer": "word", "lowercase": true}}),
            json!({"field_name": "n", "field_schema": {"type": "integer", "lookup": true, "range": true}}),
        ] {
            self.call(
                reqwest::Method::PUT,
                &format!("/collections/{name}/index?wait=true"),
                &index,
            )
            .await;
        }
        for from in (0..POINTS).step_by(500) {
            let points: Vec<Value> = (from..from + 500).map(point).collect();
            self.call(
                reqwest::Method::PUT,
                &format!("/collections/{name}/points?wait=true"),
                &json!({"points": points}),
            )
            .await;
        }
        let delete = json!({"filter": {"must": [{"key": "n", "range": {"lt": 100}}]}});
        self.call(
            reqwest::Method::POST,
            &format!("/collections/{name}/points/delete?wait=true"),
            &delete,
        )
        .await;
        self.client
            .set_aliases(
                name,
                &["current".parse().unwrap(), "größe".parse().unwrap()],
            )
            .await
            .unwrap();
        self.client
            .wait_green(name, Duration::from_secs(60))
            .await
            .unwrap();
    }

    /// Every point with payload and vectors, in the order of ids.
    async fn points(&self, name: &CollectionName) -> Vec<Value> {
        let mut points = Vec::new();
        let mut offset = Value::Null;
        loop {
            let page =
                json!({"limit": 2000, "offset": offset, "with_payload": true, "with_vector": true});
            let path = format!("/collections/{name}/points/scroll");
            let answer = self.call(reqwest::Method::POST, &path, &page).await;
            points.extend_from_slice(answer["result"]["points"].as_array().unwrap());
            offset = answer["result"]["next_page_offset"].clone();
            if offset.is_null() {
                return points;
            }
        }
    }

    async fn search(&self, name: &CollectionName) -> Value {
        let query = json!({
            "query": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], "using": "dense", "limit": 10, "params": {"exact": true},
            "filter": {"must": [{"key": "city", "match": {"value": "c3"}}, {"key": "body", "match": {"text": "hello"}}]},
        });
        self.call(
            reqwest::Method::POST,
            &format!("/collections/{name}/points/query"),
            &query,
        )
        .await["result"]
            .clone()
    }

    /// Captures by a stored snapshot, from the snapshots directory, and deletes it.
    async fn stored(&self, name: &CollectionName) -> (Files, ShardContents) {
        let snapshot = self
            .client
            .create_shard_snapshot(name, SHARD)
            .await
            .unwrap();
        let path = stored_snapshot_path(
            &self.dir.path().join("snapshots"),
            name,
            SHARD,
            &snapshot.name,
        )
        .unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), snapshot.size);
        let file = std::fs::File::open(&path).unwrap();
        let checked = ChecksumReader::new(file, snapshot.checksum.as_deref().unwrap());
        let mut sink = Memory::default();
        let contents = read_stored_shard(checked, &mut sink).unwrap();
        assert_eq!(
            self.client.list_shard_snapshots(name, SHARD).await.unwrap(),
            std::slice::from_ref(&snapshot)
        );
        let mut download = self
            .client
            .download_shard_snapshot(name, SHARD, &snapshot.name)
            .await
            .unwrap();
        let mut bytes = Vec::new();
        while let Some(chunk) = download.next().await {
            bytes.extend_from_slice(&chunk.unwrap());
        }
        assert_eq!(bytes, std::fs::read(&path).unwrap());
        self.client
            .delete_shard_snapshot(name, SHARD, &snapshot.name)
            .await
            .unwrap();
        assert!(!path.exists());
        (sink.files, contents)
    }

    /// Captures by a stream.
    async fn streamed(&self, name: &CollectionName) -> (Files, ShardContents) {
        let reader = self
            .client
            .stream_shard_snapshot(name, SHARD)
            .await
            .unwrap()
            .into_reader();
        tokio::task::spawn_blocking(move || {
            let mut sink = Memory::default();
            let contents = read_shard_stream(reader, &mut sink).unwrap();
            (sink.files, contents)
        })
        .await
        .unwrap()
    }
}

fn point(i: u32) -> Value {
    let x = |k: u32| f64::from((i * 31 + k * 17) % 97) / 97.0;
    json!({
        "id": i,
        "vector": {
            "dense": (0..8).map(x).collect::<Vec<_>>(),
            "multi": [[x(1), x(2), x(3), x(4)], [x(5), x(6), x(7), x(8)]],
            "text": {"indices": [i % 50, 100 + i % 7], "values": [0.5, x(9)]},
        },
        "payload": {"n": i, "city": format!("c{}", i % 7), "body": format!("Hello world number {i}"), "nested": {"list": [1, null, "x"]}},
    })
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[derive(Default)]
struct Memory {
    files: Files,
    path: String,
}

impl FileSink for Memory {
    type Error = Infallible;
    fn begin(&mut self, path: &str, _: u64) -> Result<(), Infallible> {
        path.clone_into(&mut self.path);
        self.files.insert(path.to_owned(), Vec::new());
        Ok(())
    }
    fn data(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.files
            .get_mut(&self.path)
            .unwrap()
            .extend_from_slice(bytes);
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

/// The zero blocks of 64 KiB of a file.
fn holes(content: &[u8]) -> Vec<(u64, u64)> {
    let block = 64 * 1024;
    let blocks = content.chunks(block).enumerate();
    blocks
        .filter(|(_, b)| b.iter().all(|x| *x == 0))
        .map(|(i, b)| ((i * block) as u64, b.len() as u64))
        .collect()
}

fn compose(files: &Files, sparse: bool) -> Vec<u8> {
    let plan = files
        .iter()
        .map(|(path, content)| {
            let holes = if sparse { holes(content) } else { Vec::new() };
            ArchiveFile::with_holes(path, content.len() as u64, &holes).unwrap()
        })
        .collect();
    let plan = ComposedArchive::new(plan).unwrap();
    let mut writer = plan.writer(Vec::new());
    while let Some(file) = writer.next_file() {
        let content = &files[file.path()];
        writer.begin(file.path(), file.size()).unwrap();
        for block in content.chunks(64 * 1024) {
            match block.iter().all(|b| *b == 0) {
                true => writer.zeros(block.len() as u64).unwrap(),
                false => writer.data(block).unwrap(),
            }
        }
        writer.end().unwrap();
    }
    let archive = writer.finish().unwrap();
    assert_eq!(archive.len() as u64, plan.archive_len());
    archive
}

async fn upload(
    client: &QdrantClient,
    name: &CollectionName,
    archive: &[u8],
) -> Result<(), QdrantError> {
    let chunks: Vec<Result<_, Infallible>> = archive
        .chunks(100_000)
        .map(|c| Ok(bytes::Bytes::copy_from_slice(c)))
        .collect();
    let body = futures::stream::iter(chunks);
    client
        .upload_shard_snapshot(name, SHARD, body, Some(archive.len() as u64))
        .await
}

/// The clocks apart: Qdrant writes them every few seconds, so that a later snapshot of the same state may have newer ones, or the first.
fn assert_same_files(a: &Files, b: &Files) {
    let state = |f: &Files| {
        let mut names: Vec<_> = f.keys().cloned().collect();
        names.retain(|path| !path.ends_with("_clocks.json"));
        names
    };
    assert_eq!(state(a), state(b));
    for path in state(a) {
        assert!(a[&path] == b[&path], "{path} differs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_both_ways_destroyed_and_restored() {
    let Some(server) = Server::start().await else {
        return;
    };
    let client = &server.client;
    let docs: CollectionName = "my docs".parse().unwrap();
    // A server that was built outside its repository tells no commit, or an empty one.
    let root = server.http.get(&server.url).send().await.unwrap();
    let root: Value = root.json().await.unwrap();
    let commit = root["commit"].as_str().filter(|commit| !commit.is_empty());
    let supported = client.check_supported().await.unwrap();
    assert_eq!(supported.commit.as_deref(), commit, "{root}");
    server.fill(&docs).await;

    let before = inventory(client).await.unwrap();
    let [collection] = &before.collections[..] else {
        panic!("{before:?}");
    };
    assert_eq!(
        (
            &collection.name,
            collection.status,
            collection.shards.shard_count
        ),
        (&docs, Some(CollectionStatus::Green), 1)
    );
    assert_eq!(collection.aliases.len(), 2);
    assert_eq!(payload_indexes(&collection.info).unwrap().len(), 3);
    let (points, found) = (server.points(&docs).await, server.search(&docs).await);
    assert_eq!(
        points.len() as u64,
        client.count_exact(&docs).await.unwrap()
    );
    assert_eq!(points.len(), 1900);

    // Equal states give equal files, whichever way and however often.
    let (stored, stored_contents) = server.stored(&docs).await;
    let (streamed, streamed_contents) = server.streamed(&docs).await;
    assert_same_files(&stored, &streamed);
    let by_id = |mut c: ShardContents| {
        c.segments.sort_by(|a, b| a.id.cmp(&b.id));
        // with or without the files of clocks
        (c.clocks, c.oldest_clocks) = (None, None);
        (c.files, c.logical_bytes) = (0, 0);
        c
    };
    assert_eq!(by_id(stored_contents.clone()), by_id(streamed_contents));
    let (again, _) = server.stored(&docs).await;
    assert_same_files(&stored, &again);
    assert!(stored_contents.next_operation.is_some());

    for sparse in [true, false] {
        destroy_and_restore(client, collection, &compose(&stored, sparse)).await;
        let after = inventory(client).await.unwrap();
        assert_eq!(
            config_differences(&collection.info, &after.collections[0].info),
            Vec::<String>::new()
        );
        assert_eq!(after.collections[0].aliases, collection.aliases);
        assert_eq!(server.points(&docs).await, points);
        assert_eq!(server.search(&docs).await, found);
    }
    // The restored shard takes writes.
    let one = json!({"points": [point(7)]});
    server
        .call(
            reqwest::Method::PUT,
            "/collections/my docs/points?wait=true",
            &one,
        )
        .await;
    assert_eq!(client.count_exact(&docs).await.unwrap(), 1901);
}

/// Deletes the collection, creates it from its captured description, and uploads the archive.
async fn destroy_and_restore(
    client: &QdrantClient,
    collection: &CollectionInventory,
    archive: &[u8],
) {
    let name = &collection.name;
    assert!(client.delete_collection(name).await.unwrap());
    assert!(!client.exists(name).await.unwrap());
    assert!(!client.delete_collection(name).await.unwrap());
    let created = client.create_collection_from(&collection.info, name);
    created.await.unwrap();
    for index in payload_indexes(&collection.info).unwrap() {
        client.create_payload_index(name, &index).await.unwrap();
    }
    upload(client, name, archive).await.unwrap();
    client.set_aliases(name, &collection.aliases).await.unwrap();
    let limit = Duration::from_secs(60);
    client.wait_green(name, limit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_composed_archive_in_the_snapshots_directory_is_recovered_without_upload() {
    let Some(server) = Server::start().await else {
        return;
    };
    let docs: CollectionName = "docs".parse().unwrap();
    server.fill(&docs).await;
    let points = server.points(&docs).await;
    let (files, _) = server.streamed(&docs).await;
    let delete = json!({"filter": {"must": [{"key": "city", "match": {"value": "c1"}}]}});
    server
        .call(
            reqwest::Method::POST,
            "/collections/docs/points/delete?wait=true",
            &delete,
        )
        .await;
    assert_ne!(server.points(&docs).await, points);

    let path = stored_snapshot_path(
        &server.dir.path().join("snapshots"),
        &docs,
        SHARD,
        "mine.snapshot",
    )
    .unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, compose(&files, true)).unwrap();
    server
        .client
        .recover_stored_shard_snapshot(&docs, SHARD, "mine.snapshot")
        .await
        .unwrap();
    server
        .client
        .wait_green(&docs, Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(server.points(&docs).await, points);
}

#[tokio::test(flavor = "multi_thread")]
async fn captures_under_writes_hold_all_that_was_acknowledged_before() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (docs, copy): (CollectionName, CollectionName) =
        ("docs".parse().unwrap(), "copy".parse().unwrap());
    server.fill(&docs).await;
    let info = server.client.collection(&docs).await.unwrap();
    let acknowledged = AtomicU32::new(POINTS);
    let stop = AtomicBool::new(false);
    let write = async {
        while !stop.load(Ordering::Relaxed) {
            let from = acknowledged.load(Ordering::Relaxed);
            let points: Vec<Value> = (from..from + 50).map(point).collect();
            let body = json!({"points": points});
            let path = "/collections/docs/points?wait=true";
            server.call(reqwest::Method::PUT, path, &body).await;
            acknowledged.store(from + 50, Ordering::Relaxed);
        }
    };
    let capture = async {
        let mut captured = Vec::new();
        for round in 0..4 {
            let before = acknowledged.load(Ordering::Relaxed);
            let (files, _) = match round % 2 {
                0 => server.stored(&docs).await,
                _ => server.streamed(&docs).await,
            };
            captured.push((before, files));
        }
        stop.store(true, Ordering::Relaxed);
        captured
    };
    let ((), captured) = futures::join!(write, capture);
    assert!(
        acknowledged.load(Ordering::Relaxed) > POINTS,
        "it was written meanwhile"
    );
    let created = server.client.create_collection_from(&info, &copy);
    created.await.unwrap();
    for (before, files) in captured {
        let archive = compose(&files, true);
        upload(&server.client, &copy, &archive).await.unwrap();
        let limit = Duration::from_secs(60);
        server.client.wait_green(&copy, limit).await.unwrap();
        let found: BTreeSet<u64> = server
            .points(&copy)
            .await
            .iter()
            .map(|p| p["id"].as_u64().unwrap())
            .collect();
        let lost: Vec<u64> = (100..u64::from(before))
            .filter(|id| !found.contains(id))
            .collect();
        assert!(lost.is_empty(), "{} of {before} are missing", lost.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_uploads_and_unknown_names_are_refused_and_harm_nothing() {
    let Some(server) = Server::start().await else {
        return;
    };
    let client = &server.client;
    let (docs, nope): (CollectionName, CollectionName) =
        ("docs".parse().unwrap(), "nope".parse().unwrap());
    server.fill(&docs).await;
    let points = server.points(&docs).await;
    let (files, _) = server.stored(&docs).await;
    let archive = compose(&files, true);
    for cut in [archive.len() / 2, 700] {
        let error = upload(client, &docs, &archive[..cut]).await.unwrap_err();
        assert_eq!(error.code(), "qdrant-error", "{error}");
        assert_eq!(server.points(&docs).await, points);
    }
    let info = client.collection(&docs).await.unwrap();
    for error in [
        client.collection(&nope).await.map(drop).unwrap_err(),
        client.count_exact(&nope).await.map(drop).unwrap_err(),
        client
            .create_shard_snapshot(&nope, SHARD)
            .await
            .map(drop)
            .unwrap_err(),
        client
            .create_shard_snapshot(&docs, ShardId(7))
            .await
            .map(drop)
            .unwrap_err(),
        client
            .stream_shard_snapshot(&nope, SHARD)
            .await
            .map(drop)
            .unwrap_err(),
        client
            .stream_shard_snapshot(&docs, ShardId(7))
            .await
            .map(drop)
            .unwrap_err(),
        client
            .delete_shard_snapshot(&docs, SHARD, "none.snapshot")
            .await
            .unwrap_err(),
        client
            .set_aliases(&nope, &["a".parse().unwrap()])
            .await
            .unwrap_err(),
        upload(client, &nope, &archive).await.unwrap_err(),
    ] {
        assert!(matches!(error, QdrantError::NotFound { .. }), "{error:?}");
    }
    let error = client
        .create_collection_from(&info, &docs)
        .await
        .unwrap_err();
    assert!(
        matches!(error, QdrantError::AlreadyExists { .. }),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_while_it_streams_leaves_no_snapshot() {
    let Some(mut server) = Server::start().await else {
        return;
    };
    let docs: CollectionName = "docs".parse().unwrap();
    server.fill(&docs).await;
    let mut stream = server
        .client
        .stream_shard_snapshot(&docs, SHARD)
        .await
        .unwrap();
    let mut got = stream.next().await.unwrap().unwrap().to_vec();
    server.child.kill().unwrap();
    let mut broken = false;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(bytes) => got.extend_from_slice(&bytes),
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                broken = true;
                break;
            }
        }
    }
    let error = read_shard_stream(&got[..], &mut Memory::default()).unwrap_err();
    assert!(
        matches!(
            error,
            holdfast_qdrant::ReadError::Snapshot(SnapshotError::Truncated(_))
        ),
        "{error}"
    );
    assert!(broken || !got.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_recovery_mode() {
    let keys = [
        ("QDRANT__SERVICE__API_KEY", "full"),
        ("QDRANT__SERVICE__READ_ONLY_API_KEY", "read"),
        ("QDRANT__STORAGE__RECOVERY_MODE", "for the test"),
    ];
    let Some(server) = Server::start_with(&keys).await else {
        return;
    };
    let docs: CollectionName = "docs".parse().unwrap();
    for (key, supported, snapshot) in [
        ("wrong", "qdrant-unauthorized", "qdrant-unauthorized"),
        ("read", "qdrant-not-ready", "qdrant-unauthorized"),
        ("full", "qdrant-not-ready", "collection-not-found"),
    ] {
        let mut config = QdrantConfig::new(server.url.parse().unwrap());
        config.api_key = Some(key.to_owned().into());
        let client = QdrantClient::new(config).unwrap();
        let error = client.check_supported().await.unwrap_err();
        assert_eq!(error.code(), supported, "{key}: {error}");
        let error = client
            .create_shard_snapshot(&docs, SHARD)
            .await
            .unwrap_err();
        assert_eq!(error.code(), snapshot, "{key}: {error}");
    }
}
