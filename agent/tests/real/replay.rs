//! Logical replay: the logs of a collection's shards, made into requests to a collection with another number of shards, lead it
//! through the states that the first one had.

use crate::server::{Server, poll};
use holdfast_agent::tail::LogFolder;
use holdfast_tests::history::Dice;
use holdfast_wal::change::{Entry, PointId};
use holdfast_wal::replay::{Due, Outcome, Plan, Request, Ring, Select, Source, Together, plan};
use holdfast_wal::{Frame, Tail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Operations of the history.
const OPERATIONS: u64 = 400;

/// The log of one shard, and how far it has been replayed.
pub(crate) struct Log {
    folder: LogFolder,
    tail: Tail,
    pub(crate) frames: Vec<Frame>,
    source: Source,
    done: usize,
}

impl Log {
    pub(crate) fn open(dir: &Path, collection: &str, shard: u32, count: u32) -> Self {
        let source = Source {
            shard,
            ring: Ring::of(count),
            key: None,
        };
        Self::of(dir, collection, source)
    }

    fn of(dir: &Path, collection: &str, source: Source) -> Self {
        let shard = source.shard;
        let wal = dir.join(format!("storage/collections/{collection}/{shard}/wal"));
        Self {
            folder: LogFolder::open(wal).unwrap(),
            tail: Tail::new(),
            frames: Vec::new(),
            source,
            done: 0,
        }
    }

    pub(crate) fn poll(&mut self) {
        poll(&mut self.folder, &mut self.tail, &mut self.frames);
    }
}

/// Where replay goes to, and what it met.
pub(crate) struct Target<'s> {
    server: &'s Server,
    name: &'s str,
    kinds: BTreeMap<String, u64>,
    missed: u64,
    refused: BTreeMap<String, u64>,
}

impl<'s> Target<'s> {
    pub(crate) fn new(server: &'s Server, name: &'s str) -> Self {
        Self {
            server,
            name,
            kinds: BTreeMap::new(),
            missed: 0,
            refused: BTreeMap::new(),
        }
    }

    async fn request(&self, request: Request) -> (u16, Value) {
        let path = format!("/collections/{}/{}", self.name, request.path);
        self.server.send(request.method, &path, request.body).await
    }

    async fn all(&mut self, requests: Vec<Request>) {
        for request in requests {
            assert_eq!(request.inexact, 0, "{request:?}");
            let (status, answer) = self.request(request.clone()).await;
            match request.outcome(status, &answer.to_string()) {
                Outcome::Applied => continue,
                Outcome::Missed => self.missed += 1,
                Outcome::Refused(_) => {
                    let error = answer["status"]["error"].as_str().unwrap();
                    *self.refused.entry(error.to_owned()).or_default() += 1;
                }
                Outcome::Failed(why) => assert!(why.is_empty(), "{status} {why}: {request:?}"),
            }
            break;
        }
    }

    async fn select(&mut self, select: &Select<'_>) {
        let (mut ids, mut from) = (Vec::new(), None);
        loop {
            let (status, page) = self.request(select.page(from)).await;
            assert_eq!(status, 200, "{page}");
            let found = page["result"]["points"].as_array().unwrap();
            ids.extend(found.iter().map(|point| id(&point["id"])));
            let next = &page["result"]["next_page_offset"];
            from = (!next.is_null()).then(|| id(next));
            if from.is_none_or(|id| select.is_behind(id)) {
                break;
            }
        }
        ids.retain(|id| select.keeps(*id));
        self.all(select.requests(&ids).unwrap()).await;
    }

    /// Replays a log up to a place, or to what concerns the whole collection.
    async fn advance(&mut self, log: &mut Log, until: usize) -> Option<Request> {
        while log.done < until {
            let frame = &log.frames[log.done];
            let entry = Entry::read(&frame.data).unwrap();
            let kind = entry.kind.to_owned();
            match plan(entry.change, &log.source).unwrap() {
                Plan::Send(requests) => self.all(requests).await,
                Plan::Select(select) => self.select(&select).await,
                Plan::Everywhere(request) => return Some(request),
            }
            *self.kinds.entry(kind).or_default() += 1;
            log.done += 1;
        }
        None
    }

    /// Replays all logs up to their places.
    pub(crate) async fn advance_all(&mut self, logs: &mut [Log], until: &[usize]) {
        let mut together = Together::new(logs.len());
        let mut running: Vec<usize> = (0..logs.len()).collect();
        loop {
            for at in running {
                while let Some(request) = self.advance(&mut logs[at], until[at]).await {
                    if !together.arrive(at, request) {
                        break;
                    }
                    logs[at].done += 1;
                }
                if logs[at].done == until[at] {
                    together.end(at);
                }
            }
            let Some(Due { request, go_on }) = together.due() else {
                return;
            };
            assert_eq!(go_on.len(), logs.len(), "operations came one by one");
            for at in &go_on {
                logs[*at].done += 1;
            }
            let kind = request.path.split(['/', '?']).next().unwrap();
            let kind = format!("{} {kind}", request.method);
            *self.kinds.entry(kind).or_default() += 1;
            self.all(vec![request]).await;
            running = go_on;
        }
    }
}

fn id(json: &Value) -> PointId {
    let number = json.as_u64().map(PointId::Number);
    number.unwrap_or_else(|| PointId::parse_uuid(json.as_str().unwrap()).unwrap())
}

fn config(named: bool, shards: u32) -> Value {
    if !named {
        return json!({"vectors": {"size": 4, "distance": "Dot"}, "shard_number": shards});
    }
    json!({
        "vectors": {
            "d": {"size": 4, "distance": "Dot"},
            "c": {"size": 3, "distance": "Cosine"},
            "m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        },
        "sparse_vectors": {"s": {}},
        "shard_number": shards,
    })
}

/// What a collection is made of, apart from its points: the named vectors and the payload indexes.
async fn schema(server: &Server, name: &str) -> Value {
    let path = format!("/collections/{name}");
    let info = server.call("GET", &path, &Value::Null).await;
    let mut indexes = info["payload_schema"].clone();
    for index in indexes.as_object_mut().unwrap().values_mut() {
        index.as_object_mut().unwrap().remove("points");
    }
    let params = &info["config"]["params"];
    json!({"indexes": indexes, "vectors": params["vectors"], "sparse": params["sparse_vectors"]})
}

struct Moment {
    until: Vec<usize>,
    points: Vec<Value>,
    words: Vec<String>,
    schema: Value,
}

/// What is replayed into what.
#[derive(Clone, Copy)]
struct Scene {
    named: bool,
    shards: u32,
    others: u32,
    key: Option<&'static str>,
}

impl Scene {
    /// Both collections; the logs of the first.
    async fn begin(self, server: &Server, dir: &Path) -> Vec<Log> {
        for (name, shards) in [("a", self.shards), ("b", self.others)] {
            let path = format!("/collections/{name}");
            let mut config = config(self.named, shards);
            if self.key.is_some() {
                config["sharding_method"] = json!("custom");
            }
            server.call("PUT", &path, &config).await;
            let Some(key) = self.key else {
                continue;
            };
            for (key, shards) in [("other", 1), (key, shards)] {
                let body = json!({"shard_key": key, "shards_number": shards});
                let path = format!("/collections/{name}/shards");
                server.call("PUT", &path, &body).await;
            }
            // Under another key, points with the same ids.
            let points: Vec<_> = (0..40)
                .map(|id| json!({"id": id, "vector": {}, "payload": {"group": id % 6}}))
                .collect();
            let body = json!({"points": points, "shard_key": "other"});
            let path = format!("/collections/{name}/points?wait=true");
            server.call("PUT", &path, &body).await;
        }
        let cluster = server
            .call("GET", "/collections/a/cluster", &Value::Null)
            .await;
        let local = cluster["local_shards"].as_array().unwrap().iter();
        let ours = local.filter(|shard| shard["shard_key"].as_str() == self.key);
        let ids = ours.map(|shard| shard["shard_id"].as_u64().unwrap().try_into().unwrap());
        let ids: Vec<u32> = ids.collect();
        assert_eq!(ids.len(), self.shards as usize);
        let log = |shard| {
            let (ring, key) = (Ring::new(&ids), self.key.map(|key| format!("\"{key}\"")));
            Log::of(dir, "a", Source { shard, ring, key })
        };
        ids.iter().copied().map(log).collect()
    }

    /// The same operation for the points under the key.
    fn keyed(self, mut body: Value) -> Value {
        let Some(key) = self.key else {
            return body;
        };
        if let Some(operations) = body["operations"].as_array_mut() {
            for operation in operations {
                for (_, body) in operation.as_object_mut().unwrap() {
                    body["shard_key"] = json!(key);
                }
            }
        } else {
            body["shard_key"] = json!(key);
        }
        body
    }

    /// Has a collection changed in every way; what it was at some moments.
    async fn history(self, server: &Server, dice: &mut Dice, logs: &mut [Log]) -> Vec<Moment> {
        let (mut moments, mut failed) = (Vec::new(), 0);
        for n in 0..OPERATIONS {
            let (method, path, mut body) = dice.operation(self.named, n);
            if path.starts_with("points") {
                body = self.keyed(body);
            }
            let path = format!("/collections/a/{path}?wait=true");
            let answer = server.try_call(method, &path, &body).await;
            failed += u64::from(answer["status"] != "ok");
            logs.iter_mut().for_each(Log::poll);
            if dice.below(25) == 0 || n + 1 == OPERATIONS {
                moments.push(Moment {
                    until: logs.iter().map(|log| log.frames.len()).collect(),
                    points: server.points_of("a", self.key).await,
                    words: server.words("a", self.key).await,
                    schema: schema(server, "a").await,
                });
            }
        }
        println!("{} moments, {failed} calls failed", moments.len());
        moments
    }
}

impl Moment {
    async fn compare(&self, server: &Server, key: Option<&str>, seed: u64) {
        let at = format!("at {:?}, HOLDFAST_SEED={seed}", self.until);
        let points = server.points_of("b", key).await;
        for (replayed, point) in points.iter().zip(&self.points) {
            assert_eq!(replayed, point, "{at}");
        }
        assert_eq!(points.len(), self.points.len(), "{at}");
        assert!(server.words("b", key).await == self.words, "numbers {at}");
        assert_eq!(schema(server, "b").await, self.schema, "{at}");
    }
}

async fn there_and_back(server: &Server, dir: &Path, scene: Scene) {
    let given = std::env::var("HOLDFAST_SEED").ok();
    let seed = given.map_or(u64::from(std::process::id()), |text| text.parse().unwrap());
    let Scene {
        shards,
        others,
        key,
        ..
    } = scene;
    println!("HOLDFAST_SEED={seed}, {shards} shards to {others}");
    let mut dice = Dice::new(seed ^ u64::from(shards));
    let mut logs = scene.begin(server, dir).await;
    let moments = scene.history(server, &mut dice, &mut logs).await;
    let mut target = Target::new(server, "b");
    for moment in &moments {
        target.advance_all(&mut logs, &moment.until).await;
        moment.compare(server, key, seed).await;
    }
    if key.is_some() {
        let other = server.points_of("a", Some("other")).await;
        assert_eq!(server.points_of("b", Some("other")).await, other);
        assert_eq!(other.len(), 40, "they are not meant");
    }
    println!("replayed {:?}", target.kinds);
    println!(
        "{} missed a point, refused {:?}",
        target.missed, target.refused
    );
    assert!(moments.last().unwrap().points.len() > 10, "too few points");
    let kinds = [
        "upsert_points",
        "upsert_points_conditional",
        "delete_points",
        "delete_points_by_filter",
        "update_vectors",
        "set_payload",
        "overwrite_payload",
        "delete_payload",
        "clear_payload",
        "clear_payload_by_filter",
        "PUT index",
    ];
    for kind in kinds {
        assert!(target.kinds.contains_key(kind), "no {kind} was replayed");
    }
}

async fn alone(named: bool, shards: u32, others: u32) {
    holdfast_certs::install_crypto_provider();
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene {
        named,
        shards,
        others,
        key: None,
    };
    if let Some(server) = Server::start(dir.path()).await {
        there_and_back(&server, dir.path(), scene).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_shard_is_replayed_into_several() {
    alone(true, 1, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_shards_are_replayed_into_fewer() {
    alone(true, 3, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vector_without_a_name() {
    alone(false, 2, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_points_under_a_shard_key() {
    holdfast_certs::install_crypto_provider();
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene {
        named: true,
        shards: 2,
        others: 3,
        key: Some("tenant \u{e9}"),
    };
    if let Some(server) = Server::start_cluster(dir.path()).await {
        there_and_back(&server, dir.path(), scene).await;
    }
}
