//! Calls about collections and aliases.

use super::reply::{blocking, failed};
use crate::node::{AliasAction, Node};
use crate::request;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

type TheNode = State<Arc<Node>>;

pub(super) async fn list(State(node): TheNode) -> Response {
    blocking(&node, |node| {
        let names = node.collection_names().into_iter();
        let collections: Vec<_> = names.map(|name| json!({"name": name})).collect();
        Ok(json!({"collections": collections}))
    })
    .await
}

pub(super) async fn info(State(node): TheNode, Path(name): Path<String>) -> Response {
    blocking(&node, move |node| node.collection(&name)?.info()).await
}

pub(super) async fn exists(State(node): TheNode, Path(name): Path<String>) -> Response {
    blocking(&node, move |node| {
        Ok(json!({"exists": node.collection(&name).is_ok()}))
    })
    .await
}

pub(super) async fn create(
    State(node): TheNode,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    blocking(&node, move |node| {
        let body: Value = request::body(&body)?;
        node.create_collection(&name, &body).map(|()| true)
    })
    .await
}

pub(super) async fn update(
    State(node): TheNode,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    blocking(&node, move |node| {
        let body: Value = request::body(&body)?;
        node.collection(&name)?.update_config(&body).map(|()| true)
    })
    .await
}

pub(super) async fn remove(State(node): TheNode, Path(name): Path<String>) -> Response {
    blocking(&node, move |node| node.delete_collection(&name)).await
}

pub(super) async fn cluster(State(node): TheNode, Path(name): Path<String>) -> Response {
    blocking(&node, move |node| node.collection_cluster(&name)).await
}

/// Optimizers run only on request here, and nobody sees them at work.
pub(super) async fn optimizations(State(node): TheNode, Path(name): Path<String>) -> Response {
    blocking(&node, move |node| {
        let segments = node.collection(&name)?.shard()?.info().segments_count;
        Ok(json!({
            "summary": {
                "queued_optimizations": 0, "queued_segments": 0, "queued_points": 0,
                "idle_segments": segments,
            },
            "running": [],
        }))
    })
    .await
}

pub(super) async fn all_aliases(State(node): TheNode) -> Response {
    blocking(&node, |node| Ok(alias_list(node.alias_pairs(None)?))).await
}

pub(super) async fn aliases(State(node): TheNode, Path(name): Path<String>) -> Response {
    blocking(&node, move |node| {
        Ok(alias_list(node.alias_pairs(Some(&name))?))
    })
    .await
}

fn alias_list(pairs: Vec<(String, String)>) -> Value {
    let aliases: Vec<_> = pairs
        .into_iter()
        .map(|(alias, collection)| json!({"alias_name": alias, "collection_name": collection}))
        .collect();
    json!({ "aliases": aliases })
}

pub(super) async fn change_aliases(State(node): TheNode, body: Bytes) -> Response {
    #[derive(serde::Deserialize)]
    struct Body {
        actions: Vec<AliasAction>,
    }
    match request::body::<Body>(&body) {
        Ok(body) => {
            blocking(&node, move |node| {
                node.change_aliases(body.actions).map(|()| true)
            })
            .await
        }
        Err(error) => failed(&error, Instant::now()),
    }
}
