//! Snapshots of one kind of server restored on the other.

use crate::server::{Program, Server};
use serde_json::{Value, json};

async fn exchange(from: Program, to: Program) {
    let (from, to) = (Server::start(from).await, Server::start(to).await);
    from.create_c().await;
    let index = json!({"field_name": "group", "field_schema": "keyword"});
    for server in [&from, &to] {
        if server.get("/collections/c").await.status.as_u16() == 404 {
            server.create_c().await;
        }
        let path = "/collections/c/index?wait=true";
        server.put(path, index.clone()).await.result();
    }
    from.fill_c(0..500).await;
    let body = json!({"points": [3, 4]});
    from.post("/collections/c/points/delete?wait=true", body)
        .await
        .result();
    let points = from.all_points("c").await;
    let snapshots = "/collections/c/shards/0/snapshots";
    let made = from.post(snapshots, Value::Null).await.result();
    let stored = format!("{snapshots}/{}", made["name"].as_str().unwrap());
    for source in [stored.as_str(), "/collections/c/shards/0/snapshot"] {
        let archive = from.bytes(source).await;
        let query = "priority=snapshot&wait=true";
        to.upload("c", archive, query).await.result();
        assert_eq!(to.all_points("c").await, points, "{source}");
        let filter = json!({"must": [{"key": "group", "match": {"value": "g1"}}]});
        assert_eq!(to.count("c", filter).await, 125, "{source}");
        to.fill_c(1000..1010).await;
        assert_eq!(to.count("c", Value::Null).await, 508, "{source}");
    }
    let to = to.kill_and_restart().await;
    assert_eq!(to.count("c", Value::Null).await, 508);
}

#[tokio::test]
async fn a_devnode_snapshot_restores_on_a_real_server() {
    match Program::real() {
        Some(real) => exchange(Program::devnode(), real).await,
        None => println!("SKIPPED: devnode to real server: set HOLDFAST_QDRANT_BIN"),
    }
}

#[tokio::test]
async fn a_real_snapshot_restores_on_a_devnode() {
    match Program::real() {
        Some(real) => exchange(real, Program::devnode()).await,
        None => println!("SKIPPED: real server to devnode: set HOLDFAST_QDRANT_BIN"),
    }
}
