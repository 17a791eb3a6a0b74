//! The REST interface, in the shapes and status codes of Qdrant's.
//!
//! Handlers parse, call the node on a blocking thread and wrap the outcome; they decide nothing. Answers are never
//! compressed.

mod auth;
mod collections;
mod points;
mod reply;
mod service;
mod snapshots;

use crate::Node;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post, put};
use std::sync::Arc;

/// Largest request body in bytes, apart from uploads: the real server's default.
const MAX_BODY_BYTES: usize = 32 << 20;

/// Every route, with the key check if a key is set.
pub fn router(node: Arc<Node>, api_key: Option<String>) -> Router {
    Router::new()
        .merge(service_routes())
        .merge(collection_routes())
        .merge(point_routes())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .merge(snapshot_routes())
        .fallback(service::unknown)
        .layer(axum::middleware::from_fn_with_state(
            auth::Key::new(api_key),
            auth::check,
        ))
        .with_state(node)
}

fn service_routes() -> Router<Arc<Node>> {
    Router::new()
        .route("/", get(service::root))
        .route("/healthz", get(service::healthz))
        .route("/livez", get(service::healthz))
        .route("/readyz", get(service::readyz))
        .route("/telemetry", get(service::telemetry))
        .route("/cluster", get(service::cluster))
}

fn collection_routes() -> Router<Arc<Node>> {
    Router::new()
        .route("/collections", get(collections::list))
        .route("/collections/aliases", post(collections::change_aliases))
        .route("/aliases", get(collections::all_aliases))
        .route(
            "/collections/{name}",
            get(collections::info)
                .put(collections::create)
                .patch(collections::update)
                .delete(collections::remove),
        )
        .route("/collections/{name}/exists", get(collections::exists))
        .route("/collections/{name}/aliases", get(collections::aliases))
        .route("/collections/{name}/cluster", get(collections::cluster))
        .route(
            "/collections/{name}/optimizations",
            get(collections::optimizations),
        )
        .route("/collections/{name}/index", put(points::create_index))
        .route(
            "/collections/{name}/index/{field}",
            delete(points::delete_index),
        )
}

fn point_routes() -> Router<Arc<Node>> {
    let at = |rest: &str| format!("/collections/{{name}}/points{rest}");
    Router::new()
        .route(&at(""), put(points::upsert).post(points::retrieve))
        .route(&at("/{id}"), get(points::retrieve_one))
        .route(&at("/delete"), post(points::delete_points))
        .route(&at("/batch"), post(points::batch))
        .route(&at("/vectors"), put(points::update_vectors))
        .route(&at("/vectors/delete"), post(points::delete_vectors))
        .route(
            &at("/payload"),
            post(points::set_payload).put(points::overwrite_payload),
        )
        .route(&at("/payload/delete"), post(points::delete_payload))
        .route(&at("/payload/clear"), post(points::clear_payload))
        .route(&at("/scroll"), post(points::scroll))
        .route(&at("/count"), post(points::count))
        .route(&at("/query"), post(points::query))
        .route(&at("/query/batch"), post(points::query_batch))
        .route(&at("/search"), post(points::search))
        .route(&at("/search/batch"), post(points::search_batch))
        .route("/collections/{name}/facet", post(points::facet))
}

fn snapshot_routes() -> Router<Arc<Node>> {
    let at = |rest: &str| format!("/collections/{{name}}/shards/{{shard}}{rest}");
    Router::new()
        .route(
            &at("/snapshots"),
            get(snapshots::list).post(snapshots::create),
        )
        .route(
            &at("/snapshots/{snapshot}"),
            get(snapshots::download).delete(snapshots::remove),
        )
        .route(
            &at("/snapshots/upload"),
            post(snapshots::upload).layer(DefaultBodyLimit::disable()),
        )
        .route(&at("/snapshots/recover"), put(snapshots::recover))
        .route(&at("/snapshot"), get(snapshots::stream))
}
