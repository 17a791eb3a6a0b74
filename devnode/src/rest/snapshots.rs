//! Calls about shard snapshots. Bytes go through files, never whole through memory.

use super::reply::{accepted, bad_query, blocking, failed, failed_plainly, ok, unwrapped};
use crate::{Node, NodeError, request};
use axum::body::{Body, Bytes};
use axum::extract::multipart::Multipart;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

type TheNode = State<Arc<Node>>;
type Shard = Path<(String, u32)>;
type Snapshot = Path<(String, u32, String)>;

/// Buffer of a download, in bytes.
const READ_BUFFER: usize = 1 << 20;

/// Query parameters of an upload; `priority` has no meaning without replicas.
#[derive(Deserialize)]
pub(super) struct Upload {
    wait: Option<bool>,
    checksum: Option<String>,
    priority: Option<Priority>,
}

/// Which data wins over those of other replicas.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Priority {
    NoSync,
    Snapshot,
    Replica,
}

/// Body of a recovery: an HTTP URL, or the name of a stored snapshot of this shard.
#[derive(Deserialize)]
struct RecoverBody {
    location: String,
    checksum: Option<String>,
    api_key: Option<String>,
    #[expect(
        dead_code,
        reason = "parsed to refuse what isn't a priority; there are no replicas"
    )]
    priority: Option<Priority>,
}

pub(super) async fn list(State(node): TheNode, Path((name, shard)): Shard) -> Response {
    blocking(&node, move |node| node.list_shard_snapshots(&name, shard)).await
}

pub(super) async fn create(State(node): TheNode, Path((name, shard)): Shard) -> Response {
    blocking(&node, move |node| node.create_shard_snapshot(&name, shard)).await
}

pub(super) async fn remove(
    State(node): TheNode,
    Path((name, shard, snapshot)): Snapshot,
) -> Response {
    blocking(&node, move |node| {
        node.delete_shard_snapshot(&name, shard, &snapshot)
            .map(|()| true)
    })
    .await
}

pub(super) async fn download(
    State(node): TheNode,
    Path((name, shard, snapshot)): Snapshot,
) -> Response {
    let file = unwrapped(&node, move |node| {
        let path = node.shard_snapshot_path(&name, shard, &snapshot)?;
        Ok((std::fs::File::open(path)?, snapshot))
    });
    sent(file.await)
}

pub(super) async fn stream(State(node): TheNode, Path((name, shard)): Shard) -> Response {
    sent(unwrapped(&node, move |node| node.stream_shard_snapshot(&name, shard)).await)
}

fn sent(file: Result<(std::fs::File, String), NodeError>) -> Response {
    let (file, name) = match file {
        Ok(file) => file,
        Err(error) => return failed_plainly(&error),
    };
    let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), READ_BUFFER);
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, Body::from_stream(stream)).into_response()
}

pub(super) async fn upload(
    State(node): TheNode,
    Path((name, shard)): Shard,
    query: Result<Query<Upload>, QueryRejection>,
    multipart: Multipart,
) -> Response {
    let begun = Instant::now();
    let Query(Upload {
        wait,
        checksum,
        priority: _no_replicas,
    }) = match query {
        Ok(query) => query,
        Err(rejection) => return bad_query(&rejection),
    };
    let dir = match received(&node, multipart).await {
        Ok(dir) => dir,
        Err(error) => return failed(&error, begun),
    };
    let recovering = spawn_recovery(node, name, shard, dir, checksum);
    if wait == Some(false) {
        return accepted(begun);
    }
    match recovering.await {
        Ok(Ok(())) => ok(Value::Null, begun),
        Ok(Err(error)) => failed(&error, begun),
        Err(_) => failed(&NodeError::Service("the recovery panicked".into()), begun),
    }
}

pub(super) async fn recover(
    State(node): TheNode,
    Path((name, shard)): Shard,
    body: Bytes,
) -> Response {
    let begun = Instant::now();
    match recovered(node, name, shard, &body).await {
        Ok(()) => ok(true, begun),
        Err(error) => failed(&error, begun),
    }
}

async fn recovered(
    node: Arc<Node>,
    name: String,
    shard: u32,
    body: &Bytes,
) -> Result<(), NodeError> {
    let body: RecoverBody = request::body(body)?;
    let checksum = body.checksum;
    let Some((scheme, _)) = body.location.split_once("://") else {
        return unwrapped(&node, move |node| {
            let path = node.shard_snapshot_path(&name, shard, &body.location)?;
            node.recover_shard(&name, shard, &path, checksum.as_deref())
        })
        .await;
    };
    if scheme != "http" && scheme != "https" {
        return Err(NodeError::BadInput(format!(
            "Invalid snapshot URL {}: URLs with {scheme} scheme are not supported",
            body.location
        )));
    }
    let dir = fetched(&node, &body.location, body.api_key.as_deref()).await?;
    spawn_recovery(node, name, shard, dir, checksum)
        .await
        .unwrap_or_else(|_| Err(NodeError::Service("the recovery panicked".into())))
}

/// Goes on even if the client leaves.
fn spawn_recovery(
    node: Arc<Node>,
    name: String,
    shard: u32,
    dir: TempDir,
    checksum: Option<String>,
) -> tokio::task::JoinHandle<Result<(), NodeError>> {
    tokio::task::spawn_blocking(move || {
        let archive = dir.path().join(ARCHIVE);
        let outcome = node.recover_shard(&name, shard, &archive, checksum.as_deref());
        if let Err(error) = &outcome {
            tracing::warn!(collection = name, %error, "recovery failed");
        }
        outcome
    })
}

const ARCHIVE: &str = "archive";

/// Stores the form's field `snapshot` in a fresh directory.
async fn received(node: &Arc<Node>, mut multipart: Multipart) -> Result<TempDir, NodeError> {
    let malformed = |error| NodeError::BadInput(format!("Multipart: {error}"));
    while let Some(field) = multipart.next_field().await.map_err(malformed)? {
        if field.name() == Some("snapshot") {
            return stored(node, field.map_err(malformed)).await;
        }
    }
    Err(NodeError::BadInput(
        "Multipart: field 'snapshot' is required".into(),
    ))
}

async fn fetched(node: &Arc<Node>, url: &str, key: Option<&str>) -> Result<TempDir, NodeError> {
    let failed = |error: reqwest::Error| {
        NodeError::Service(format!("Failed to download snapshot from {url}: {error}"))
    };
    let mut request = reqwest::Client::new().get(url);
    if let Some(key) = key {
        request = request.header("api-key", key);
    }
    let response = request
        .send()
        .await
        .and_then(reqwest::Response::error_for_status);
    let stream = response.map_err(failed)?.bytes_stream();
    stored(node, stream.map_err(failed)).await
}

async fn stored(
    node: &Arc<Node>,
    stream: impl Stream<Item = Result<Bytes, NodeError>>,
) -> Result<TempDir, NodeError> {
    let dir = node.temporary_dir()?;
    let mut file = tokio::fs::File::create(dir.path().join(ARCHIVE)).await?;
    let mut stream = std::pin::pin!(stream);
    while let Some(bytes) = stream.next().await {
        file.write_all(&bytes?).await?;
    }
    file.flush().await?;
    Ok(dir)
}
