//! Calls about the node itself.

use super::reply;
use crate::Node;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

/// Says that this isn't the real server, and begins like it, because some clients look.
const TITLE: &str =
    "qdrant - vector search engine (holdfast-devnode: for demonstrations and tests)";

pub(super) async fn root(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(json!({"title": TITLE, "version": node.version()}))
}

pub(super) async fn healthz() -> &'static str {
    "healthz check passed"
}

pub(super) async fn readyz() -> &'static str {
    "all shards are ready"
}

pub(super) async fn telemetry(State(node): State<Arc<Node>>) -> Response {
    reply::ok(node.telemetry(), Instant::now())
}

pub(super) async fn cluster() -> Response {
    reply::ok(json!({"status": "disabled"}), Instant::now())
}

pub(super) async fn unknown(uri: Uri) -> Response {
    let text = format!("holdfast-devnode has no {}", uri.path());
    (StatusCode::NOT_FOUND, text).into_response()
}
