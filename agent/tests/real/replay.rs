//! Logical replay: the logs of a collection's shards, made into requests to a collection with another number of shards, lead it
//! through the states that the first one had.

use crate::history::Dice;
use crate::server::{Server, poll};
use holdfast_agent::tail::LogFolder;
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
        let wal = dir.join(format!("storage/collections/{collection}/{shard}/wal"));
        Self {
            folder: LogFolder::open(wal).unwrap(),
            tail: Tail::new(),
            frames: Vec::new(),
            source: Source {
                shard,
                ring: Ring::of(count),
                key: None,
            },
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

/// Has a collection changed in every way; its logs, and what it was at some moments.
async fn history(
    server: &Server,
    dir: &Path,
    dice: &mut Dice,
    named: bool,
    shards: u32,
) -> (Vec<Log>, Vec<Moment>) {
    let logs = (0..shards).map(|shard| Log::open(dir, "a", shard, shards));
    let (mut logs, mut moments, mut failed) = (logs.collect::<Vec<_>>(), Vec::new(), 0);
    for n in 0..OPERATIONS {
        let (method, path, body) = dice.operation(named, n);
        let path = format!("/collections/a/{path}?wait=true");
        let answer = server.try_call(method, &path, &body).await;
        failed += u64::from(answer["status"] != "ok");
        logs.iter_mut().for_each(Log::poll);
        if dice.below(25) == 0 || n + 1 == OPERATIONS {
            moments.push(Moment {
                until: logs.iter().map(|log| log.frames.len()).collect(),
                points: server.points("a").await,
                words: server.words("a").await,
                schema: schema(server, "a").await,
            });
        }
    }
    println!("{} moments, {failed} calls failed", moments.len());
    (logs, moments)
}

impl Moment {
    async fn compare(&self, server: &Server, seed: u64) {
        let at = format!("at {:?}, HOLDFAST_SEED={seed}", self.until);
        let points = server.points("b").await;
        for (replayed, point) in points.iter().zip(&self.points) {
            assert_eq!(replayed, point, "{at}");
        }
        assert_eq!(points.len(), self.points.len(), "{at}");
        assert!(server.words("b").await == self.words, "numbers {at}");
        assert_eq!(schema(server, "b").await, self.schema, "{at}");
    }
}

async fn there_and_back(named: bool, shards: u32, others: u32) {
    holdfast_certs::install_crypto_provider();
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(dir.path()).await else {
        return;
    };
    let given = std::env::var("HOLDFAST_SEED").ok();
    let seed = given.map_or(u64::from(std::process::id()), |text| text.parse().unwrap());
    println!("HOLDFAST_SEED={seed}, {shards} shards to {others}");
    let mut dice = Dice::new(seed ^ u64::from(shards));
    for (name, shards) in [("a", shards), ("b", others)] {
        let path = format!("/collections/{name}");
        server.call("PUT", &path, &config(named, shards)).await;
    }
    let (mut logs, moments) = history(&server, dir.path(), &mut dice, named, shards).await;
    let mut target = Target::new(&server, "b");
    for moment in &moments {
        target.advance_all(&mut logs, &moment.until).await;
        moment.compare(&server, seed).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_shard_is_replayed_into_several() {
    there_and_back(true, 1, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_shards_are_replayed_into_fewer() {
    there_and_back(true, 3, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vector_without_a_name() {
    there_and_back(false, 2, 1).await;
}
