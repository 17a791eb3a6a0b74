//! The optional API key: sent as `api-key` or as a bearer token. No JWT, no read-only key.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// The key that requests must carry, if any.
#[derive(Clone)]
pub(super) struct Key(Option<Arc<str>>);

/// Served without a key, as by the real server.
const OPEN_PATHS: [&str; 4] = ["/", "/healthz", "/livez", "/readyz"];

impl Key {
    pub(super) fn new(key: Option<String>) -> Self {
        Self(key.filter(|key| !key.is_empty()).map(Arc::from))
    }
}

pub(super) async fn check(State(Key(key)): State<Key>, request: Request, next: Next) -> Response {
    let Some(key) = key else {
        return next.run(request).await;
    };
    if OPEN_PATHS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let headers = request.headers();
    let plain = headers.get("api-key").and_then(|value| value.to_str().ok());
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match plain.or(bearer) {
        Some(given) if given == &*key => next.run(request).await,
        Some(_) => (StatusCode::UNAUTHORIZED, "Invalid API key or JWT").into_response(),
        None => {
            let text = "Must provide an API key or an Authorization bearer token";
            (StatusCode::UNAUTHORIZED, text).into_response()
        }
    }
}
