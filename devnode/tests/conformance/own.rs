//! What only holdfast-devnode does.

use crate::server::{Program, Server};
use serde_json::json;

/// The real server takes it with 200 and then serves a broken shard.
#[tokio::test]
async fn a_snapshot_of_another_dimension_is_refused() {
    let server = Server::start(Program::devnode()).await;
    server.create_c().await;
    server.fill_c(0..10).await;
    let points = server.all_points("c").await;
    let other = server.sibling().await;
    let body = json!({"vectors": {"size": 3, "distance": "Dot"}});
    other.put("/collections/c", body).await.result();
    let wrong = other.bytes("/collections/c/shards/0/snapshot").await;
    let answer = server.upload("c", wrong, "priority=snapshot").await;
    let text = answer.error(500);
    assert!(text.contains("incompatible"), "{text}");
    assert_eq!(server.all_points("c").await, points);
}

#[tokio::test]
async fn more_than_one_shard_is_refused() {
    let server = Server::start(Program::devnode()).await;
    let body = json!({"vectors": {"size": 3, "distance": "Dot"}, "shard_number": 2});
    let text = server.put("/collections/c", body).await.error(501);
    assert!(text.contains("exactly one shard"), "{text}");
    server.get("/collections/c").await.error(404);
}
