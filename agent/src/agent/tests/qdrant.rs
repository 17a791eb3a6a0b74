//! A stand-in for Qdrant: as much of its REST interface as the agent uses, in memory, with its stored
//! snapshots in a directory.

use super::living::LivingShard;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Multipart, Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;
use url::Url;

#[derive(Clone)]
pub(super) struct FakeQdrant {
    pub(super) url: Url,
    state: Arc<Mutex<Inner>>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) snapshots_dir: PathBuf,
    pub(super) collections: BTreeMap<String, Collection>,
    pub(super) aliases: BTreeMap<String, String>,
    /// Stored snapshots made so far.
    pub(super) snapshots_made: u32,
    /// Hold requests for snapshots back until told.
    pub(super) hold_snapshots: Option<Arc<Notify>>,
    /// Hold requests to create a collection back until told.
    pub(super) hold_creations: Option<Arc<Notify>>,
    /// Requests that are held back or were.
    pub(super) held: u32,
    /// Refuse to count points.
    pub(super) refuse_counts: bool,
    /// The replicas' state, if it is not Active.
    pub(super) replica_state: Option<String>,
    /// Answer requests for snapshots with this status after having made one.
    pub(super) snapshot_status: Option<u16>,
    /// Fail to delete snapshots.
    pub(super) keep_snapshots: bool,
    /// Refuse uploads.
    pub(super) refuse_uploads: bool,
    /// End streams after this many bytes.
    pub(super) cut_streams: Option<usize>,
    /// The shard of `docs` on disk, for partial snapshots.
    pub(super) living: Option<LivingShard>,
    /// How long its searches take, in microseconds: ten of them end between any two looks. Not told where `None`.
    pub(super) search_us: Option<u64>,
    /// Searches that have ended, and how long they took together.
    pub(super) searches: (u64, u64),
    /// When this server says that it was started.
    pub(super) started: String,
    /// Everything that changed something, in order.
    pub(super) changes: Vec<String>,
    /// Statuses with which the next changes to points are answered, and texts; when there are none, they succeed.
    pub(super) change_answers: VecDeque<(u16, &'static str)>,
    /// Hold changes to points back until told.
    pub(super) hold_changes: Option<Arc<Notify>>,
    /// Ids that a question for points is answered with.
    pub(super) matching: Vec<u64>,
}

#[derive(Clone, Default)]
pub(super) struct Collection {
    pub(super) config: Value,
    pub(super) indexes: BTreeMap<String, Value>,
    pub(super) points: u64,
    /// The only shard.
    pub(super) archive: Vec<u8>,
}

impl FakeQdrant {
    pub(super) async fn start(snapshots_dir: PathBuf) -> Self {
        let state = Arc::new(Mutex::new(Inner {
            snapshots_dir,
            ..Inner::default()
        }));
        let app = Router::new()
            .route(
                "/collections/{c}/shards/{s}/snapshots/upload",
                post(upload).layer(DefaultBodyLimit::disable()),
            )
            .fallback(any(serve))
            .with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url: url.parse().unwrap(),
            state,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap()
    }

    pub(super) fn add(&self, name: &str, archive: Vec<u8>) {
        self.lock().collections.insert(
            name.to_owned(),
            Collection {
                config: config(4),
                indexes: [("title".to_owned(), json!("keyword"))].into(),
                points: 77,
                archive,
            },
        );
    }

    pub(super) fn snapshot_files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut dirs = vec![self.lock().snapshots_dir.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    dirs.push(entry.path());
                } else {
                    found.push(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        found
    }
}

pub(super) fn config(size: u32) -> Value {
    json!({"params": {"vectors": {"size": size, "distance": "Dot"}, "shard_number": 1, "replication_factor": 1}})
}

impl Inner {
    fn shard_dir(&self, collection: &str) -> PathBuf {
        self.snapshots_dir.join(collection).join("shards/0")
    }

    fn respond(&mut self, method: &Method, parts: &[&str], body: &Value) -> Response {
        if let (&Method::PUT, ["collections", name]) = (method, parts)
            && self.collections.contains_key(*name)
        {
            return error(StatusCode::CONFLICT, "the collection already exists");
        }
        match self.answer(method, parts, body) {
            Some(result) => ok(&result),
            None => error(StatusCode::NOT_FOUND, "not found"),
        }
    }

    fn answer(&mut self, method: &Method, parts: &[&str], body: &Value) -> Option<Value> {
        let get = method == Method::GET;
        Some(match parts {
            ["telemetry"] => self.telemetry(),
            ["cluster"] => json!({"status": "disabled"}),
            ["aliases"] => {
                let all = self.aliases.iter();
                let all = all.map(|(a, c)| json!({"alias_name": a, "collection_name": c}));
                json!({"aliases": all.collect::<Vec<_>>()})
            }
            ["collections"] => {
                let names = self.collections.keys().map(|name| json!({"name": name}));
                json!({"collections": names.collect::<Vec<_>>()})
            }
            ["collections", "aliases"] => {
                for action in body["actions"].as_array()? {
                    let create = &action["create_alias"];
                    let alias = create["alias_name"].as_str()?.to_owned();
                    let to = create["collection_name"].as_str()?.to_owned();
                    self.changes.push(format!("alias {alias} -> {to}"));
                    self.aliases.insert(alias, to);
                }
                json!(true)
            }
            ["collections", name] if method == Method::PUT => {
                let params = json!({"vectors": body["vectors"], "shard_number": body["shard_number"],
                    "replication_factor": body["replication_factor"]});
                self.changes.push(format!("create {name}"));
                self.collections.insert(
                    (*name).to_owned(),
                    Collection {
                        config: json!({"params": params}),
                        ..Collection::default()
                    },
                );
                json!(true)
            }
            ["collections", name] if method == Method::DELETE => {
                self.changes.push(format!("delete {name}"));
                self.aliases.retain(|_, collection| collection != name);
                json!(self.collections.remove(*name).is_some())
            }
            ["collections", name] if get => self.describe(name)?,
            ["collections", _, "optimizations"] if get => match &mut self.living {
                Some(living) => living.optimizations()?,
                None => json!({"summary": {}, "running": [], "completed": []}),
            },
            ["collections", name, "cluster"] => self.describe_shards(name)?,
            [
                "collections",
                name,
                what @ ("points" | "vectors"),
                rest @ ..,
            ] => {
                return self.answer_points(method, name, what, rest, body);
            }
            ["collections", name, "index"] => {
                let field = body["field_name"].as_str()?.to_owned();
                let schema = body["field_schema"].clone();
                let collection = self.collections.get_mut(*name)?;
                if collection.indexes.insert(field.clone(), schema).is_none() {
                    self.changes.push(format!("index {name}.{field}"));
                }
                json!({"status": "completed"})
            }
            ["collections", name, "shards", "0", rest @ ..] => {
                return self.answer_shard(get, name, rest);
            }
            _ => return None,
        })
    }

    fn answer_points(
        &mut self,
        method: &Method,
        name: &str,
        what: &str,
        rest: &[&str],
        body: &Value,
    ) -> Option<Value> {
        Some(match rest {
            ["count"] if self.refuse_counts => return None,
            ["count"] => json!({"count": self.collections.get(name)?.points}),
            ["scroll"] => {
                let found: Vec<_> = self.matching.iter().map(|id| json!({"id": id})).collect();
                json!({"points": found, "next_page_offset": null})
            }
            _ => {
                let rest = rest.join("/");
                self.changes
                    .push(format!("{method} {name} {what}/{rest} {body}"));
                json!({"status": "completed"})
            }
        })
    }

    /// What holds a request back.
    fn holds(&self, method: &Method, path: &str, parts: &[&str]) -> Option<Arc<Notify>> {
        let asks_snapshot = asks_snapshot(method, path);
        let creates = method == Method::PUT && matches!(parts, ["collections", _]);
        let snapshots = self.hold_snapshots.clone().filter(|_| asks_snapshot);
        let creations = self.hold_creations.clone().filter(|_| creates);
        let changes = self.hold_changes.clone();
        let changes = changes.filter(|_| changes_points(parts));
        snapshots.or(creations).or(changes)
    }

    fn telemetry(&mut self) -> Value {
        let app = json!({"startup": self.started});
        let Some(each) = self.search_us else {
            return json!({"app": app});
        };
        self.searches.0 += 10;
        self.searches.1 += 10 * each;
        let (count, micros) = self.searches;
        let stats = json!({"200": {"count": count, "total_duration_micros": micros}});
        let query = "POST /collections/{collection_name}/points/query";
        json!({"app": app, "requests": {"rest": {"responses": {query: stats}}, "grpc": {"responses": {}}}})
    }

    fn describe(&self, name: &str) -> Option<Value> {
        let mut info = self.collections.get(name)?.describe();
        let status = self.living.as_ref().map_or("", |living| living.status);
        if !status.is_empty() {
            info["status"] = json!(status);
        }
        Some(info)
    }

    fn describe_shards(&self, name: &str) -> Option<Value> {
        let points = self.collections.get(name)?.points;
        let state = self.replica_state.as_deref().unwrap_or("Active");
        let count = 1 + self.living.as_ref().map_or(0, |living| living.others);
        Some(
            json!({"peer_id": 1, "shard_count": count, "remote_shards": [], "shard_transfers": [],
            "local_shards": [{"shard_id": 0, "points_count": points, "state": state}]}),
        )
    }

    fn answer_shard(&mut self, get: bool, name: &str, parts: &[&str]) -> Option<Value> {
        Some(match parts {
            ["snapshot", "partial", "manifest"] if get => self.living.as_ref()?.manifest(),
            ["snapshots"] if get => {
                self.collections.get(name)?;
                let files = std::fs::read_dir(self.shard_dir(name))
                    .into_iter()
                    .flatten();
                let files = files.flatten().map(|file| {
                    json!({"name": file.file_name().to_string_lossy(), "size": file.metadata().unwrap().len()})
                });
                json!(files.collect::<Vec<_>>())
            }
            ["snapshots"] => {
                let archive = self.collections.get(name)?.archive.clone();
                self.snapshots_made += 1;
                let now = jiff::Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S");
                let file = format!("{name}-shard-0-{now}.snapshot");
                let dir = self.shard_dir(name);
                std::fs::create_dir_all(&dir).unwrap();
                std::fs::write(dir.join(&file), &archive).unwrap();
                self.whole_made();
                json!({"name": file, "size": archive.len()})
            }
            ["snapshots", file] => {
                std::fs::remove_file(self.shard_dir(name).join(file)).ok()?;
                json!(true)
            }
            _ => return None,
        })
    }

    /// What happens when a whole snapshot has been made.
    fn whole_made(&mut self) {
        let Some(living) = &mut self.living else {
            return;
        };
        if let Some(act) = living.at_whole.pop_front() {
            act(living);
        }
    }

    fn bytes(&mut self, parts: &[&str]) -> Option<Vec<u8>> {
        match parts {
            ["collections", name, "shards", "0", "snapshot"] => {
                self.whole_made();
                let mut archive = self.collections.get(*name)?.archive.clone();
                archive.truncate(self.cut_streams.unwrap_or(archive.len()));
                Some(archive)
            }
            ["collections", name, "shards", "0", "snapshots", file] => {
                std::fs::read(self.shard_dir(name).join(file)).ok()
            }
            _ => None,
        }
    }
}

impl Collection {
    fn describe(&self) -> Value {
        let indexes = self.indexes.iter();
        let schema: serde_json::Map<_, _> = indexes
            .map(|(field, kind)| {
                (
                    field.clone(),
                    json!({"data_type": kind, "points": self.points}),
                )
            })
            .collect();
        json!({"status": "green", "optimizer_status": "ok", "points_count": self.points,
            "config": self.config, "payload_schema": schema})
    }
}

type Shared = State<Arc<Mutex<Inner>>>;

fn asks_snapshot(method: &Method, path: &str) -> bool {
    method == Method::POST && path.ends_with("/snapshots")
}

/// Whether this is sent by logical replay to have an effect.
fn changes_points(parts: &[&str]) -> bool {
    matches!(parts, ["collections", _, "points" | "vectors", rest @ ..] if !matches!(rest, ["count" | "scroll"]))
}

async fn serve(State(state): Shared, request: Request) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .unwrap();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if parts.is_empty() {
        let root = json!({"title": "qdrant - vector search engine", "version": "1.18.3"});
        return axum::Json(root).into_response();
    }
    let asks_snapshot = asks_snapshot(&method, &path);
    if method == Method::DELETE
        && path.contains("/snapshots/")
        && state.lock().unwrap().keep_snapshots
    {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "can't delete it");
    }
    let held = state.lock().unwrap().holds(&method, &path, &parts);
    if let Some(release) = held {
        // Like the real server: what was begun goes on when the client has gone.
        let released = release.notified_owned();
        state.lock().unwrap().held += 1;
        let making = tokio::spawn(async move {
            released.await;
            let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
            state.lock().unwrap().respond(&method, &parts, &body)
        });
        return making.await.unwrap();
    }
    let mut state = state.lock().unwrap();
    let answer = changes_points(&parts).then(|| state.change_answers.pop_front());
    let answer = answer.flatten();
    if let Some((status, text)) = answer.filter(|(status, _)| *status != 200) {
        return error(StatusCode::from_u16(status).unwrap(), text);
    }
    let refused = state.living.as_ref().and_then(|living| living.refuse);
    if let Some((what, status)) = refused
        && path.ends_with(what)
    {
        return error(StatusCode::from_u16(status).unwrap(), "not with this key");
    }
    if method == Method::GET
        && let Some(bytes) = state.bytes(&parts)
    {
        let pieces: Vec<_> = bytes
            .chunks(64 << 10)
            .map(|piece| Ok::<_, std::io::Error>(bytes::Bytes::copy_from_slice(piece)))
            .collect();
        return Body::from_stream(futures::stream::iter(pieces)).into_response();
    }
    if path.ends_with("/snapshot/partial/create")
        && let Some(living) = &mut state.living
    {
        return match living.partial(&body) {
            Some(archive) => archive.into_response(),
            None => StatusCode::NOT_MODIFIED.into_response(),
        };
    }
    let response = state.respond(&method, &parts, &body);
    let status = state.snapshot_status.filter(|_| asks_snapshot);
    if let Some(status) = status {
        return error(StatusCode::from_u16(status).unwrap(), "made, but not told");
    }
    response
}

async fn upload(
    State(state): Shared,
    Path((name, _shard)): Path<(String, u32)>,
    mut form: Multipart,
) -> Response {
    let field = form.next_field().await.ok().flatten();
    let Some(field) = field else {
        return error(StatusCode::BAD_REQUEST, "no file");
    };
    let Ok(bytes) = field.bytes().await else {
        return error(StatusCode::BAD_REQUEST, "broken off");
    };
    let mut state = state.lock().unwrap();
    if state.refuse_uploads {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "no space left on device");
    }
    state.changes.push(format!("upload {name}"));
    let Some(collection) = state.collections.get_mut(&name) else {
        return error(StatusCode::NOT_FOUND, "no such collection");
    };
    collection.archive = bytes.to_vec();
    collection.points = 77;
    ok(&Value::Null)
}

fn ok(result: &Value) -> Response {
    axum::Json(json!({"result": result, "status": "ok", "time": 0.0})).into_response()
}

fn error(status: StatusCode, text: &str) -> Response {
    let body = json!({"status": {"error": text}, "time": 0.0});
    (status, axum::Json(body)).into_response()
}
