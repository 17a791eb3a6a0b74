//! The envelope around every JSON answer, and the way a handler reaches the node.

use crate::{Node, NodeError};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

#[derive(Serialize)]
struct Envelope<T> {
    result: T,
    status: &'static str,
    time: f64,
}

/// Runs `action` on a blocking thread and wraps what it returns.
pub(super) async fn blocking<T: Serialize + Send + 'static>(
    node: &Arc<Node>,
    action: impl FnOnce(&Node) -> Result<T, NodeError> + Send + 'static,
) -> Response {
    let begun = Instant::now();
    match unwrapped(node, action).await {
        Ok(result) => ok(result, begun),
        Err(error) => failed(&error, begun),
    }
}

/// Like [`blocking`], without the envelope.
pub(super) async fn unwrapped<T: Send + 'static>(
    node: &Arc<Node>,
    action: impl FnOnce(&Node) -> Result<T, NodeError> + Send + 'static,
) -> Result<T, NodeError> {
    let node = Arc::clone(node);
    tokio::task::spawn_blocking(move || action(&node))
        .await
        .unwrap_or_else(|_| Err(NodeError::Service("the request's task panicked".into())))
}

pub(super) fn ok<T: Serialize>(result: T, begun: Instant) -> Response {
    Json(Envelope {
        result,
        status: "ok",
        time: begun.elapsed().as_secs_f64(),
    })
    .into_response()
}

/// What a request with `wait=false` gets while its work goes on.
pub(super) fn accepted(begun: Instant) -> Response {
    let time = begun.elapsed().as_secs_f64();
    let body = json!({"status": "accepted", "time": time});
    (StatusCode::ACCEPTED, Json(body)).into_response()
}

pub(super) fn failed(error: &NodeError, begun: Instant) -> Response {
    log(error);
    let status = json!({"error": error.to_string()});
    let time = begun.elapsed().as_secs_f64();
    (
        status_code(error),
        Json(json!({"status": status, "time": time})),
    )
        .into_response()
}

/// Downloads answer errors in plain text.
pub(super) fn failed_plainly(error: &NodeError) -> Response {
    log(error);
    (status_code(error), error.to_string()).into_response()
}

fn log(error: &NodeError) {
    if status_code(error).is_server_error() {
        tracing::error!(%error, "request failed");
    }
}

fn status_code(error: &NodeError) -> StatusCode {
    match error {
        NodeError::BadInput(_) | NodeError::Format(_) | NodeError::Checksum { .. } => {
            StatusCode::BAD_REQUEST
        }
        NodeError::AlreadyExists(_) => StatusCode::CONFLICT,
        NodeError::NotFound(_) => StatusCode::NOT_FOUND,
        NodeError::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
        NodeError::Service(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Query parameters that don't parse are a 400 in Qdrant's envelope.
pub(super) fn bad_query(rejection: &QueryRejection) -> Response {
    let error = NodeError::BadInput(format!("query parameters: {}", rejection.body_text()));
    failed(&error, Instant::now())
}

/// The result of an update: an index in the log and whether the caller asked to wait for it.
pub(super) fn update_result(operation: u64, wait: bool) -> Value {
    let status = if wait { "completed" } else { "acknowledged" };
    json!({"operation_id": operation, "status": status})
}
