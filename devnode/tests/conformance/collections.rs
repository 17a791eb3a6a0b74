//! The node itself, collections and aliases.

use crate::server::Server;
use reqwest::Method;
use serde_json::{Value, json};

pub(crate) async fn says_what_it_is(server: Server) {
    let root = server.get("/").await;
    let version = root.body["version"].as_str().unwrap();
    let parts: Vec<u64> = version
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect();
    assert!(
        parts.len() == 3 && parts[0] == 1 && parts[1] >= 18,
        "{version}"
    );
    assert!(root.body["title"].as_str().unwrap().starts_with("qdrant"));
    for path in ["/healthz", "/livez", "/readyz"] {
        assert!(server.get(path).await.status.is_success(), "{path}");
    }
    let cluster = server.get("/cluster").await.result();
    assert_eq!(cluster["status"], "disabled");
    let telemetry = server.get("/telemetry").await.result();
    assert_eq!(telemetry["app"]["version"], version);
    assert_eq!(telemetry["collections"]["number_of_collections"], 0);
}

pub(crate) async fn a_collection_lives_and_dies(server: Server) {
    server.create_c().await;
    let list = server.get("/collections").await.result();
    assert_eq!(list["collections"], json!([{"name": "c"}]));
    let exists = server.get("/collections/c/exists").await.result();
    assert_eq!(exists["exists"], true);
    let body = json!({"vectors": {"size": 4, "distance": "Dot"}});
    let text = server.put("/collections/c", body).await.error(409);
    assert!(text.contains("already exists"), "{text}");

    let info = server.get("/collections/c").await.result();
    assert_eq!(info["status"], "green");
    assert_eq!(info["optimizer_status"], "ok");
    assert_eq!(info["points_count"], 0);
    assert_eq!(info["payload_schema"], json!({}));
    assert_eq!(info["config"]["params"]["shard_number"], 1);
    let vectors = &info["config"]["params"]["vectors"];
    assert_eq!(*vectors, json!({"size": 4, "distance": "Dot"}));
    assert!(info["config"]["hnsw_config"]["m"].is_number());
    assert!(info["config"]["optimizer_config"]["indexing_threshold"].is_number());
    assert!(info["config"]["wal_config"]["wal_capacity_mb"].is_number());

    let cluster = server.get("/collections/c/cluster").await.result();
    assert_eq!(cluster["shard_count"], 1);
    let local = &cluster["local_shards"][0];
    assert_eq!(local["shard_id"], 0);
    assert_eq!(local["state"], "Active");
    assert_eq!(cluster["remote_shards"], json!([]));

    assert_eq!(server.delete("/collections/c").await.result(), true);
    assert_eq!(server.delete("/collections/c").await.result(), false);
    let text = server.get("/collections/c").await.error(404);
    assert!(text.contains("doesn't exist"), "{text}");
    let exists = server.get("/collections/c/exists").await.result();
    assert_eq!(exists["exists"], false);
    server.get("/collections/c/cluster").await.error(404);
}

pub(crate) async fn settings_come_back(server: Server) {
    let body = json!({
        "vectors": {
            "text": {"size": 8, "distance": "Cosine", "on_disk": true, "hnsw_config": {"m": 24}},
            "rows": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        },
        "sparse_vectors": {"words": {"modifier": "idf"}},
        "on_disk_payload": false,
        "hnsw_config": {"m": 32, "ef_construct": 123},
        "optimizers_config": {"indexing_threshold": 20000},
        "wal_config": {"wal_capacity_mb": 4, "wal_retain_closed": 3},
        "quantization_config": {"scalar": {"type": "int8", "always_ram": true}},
    });
    server.put("/collections/c", body).await.result();
    let update = json!({"optimizers_config": {"indexing_threshold": 30000}});
    let updated = server.call(Method::PATCH, "/collections/c", update).await;
    assert_eq!(updated.result(), true);
    let server = server.restart().await;

    let config = server.get("/collections/c").await.result()["config"].clone();
    let params = &config["params"];
    let text = &params["vectors"]["text"];
    assert_eq!(text["size"], 8);
    assert_eq!(text["distance"], "Cosine");
    assert_eq!(text["on_disk"], true);
    assert_eq!(text["hnsw_config"]["m"], 24);
    let rows = &params["vectors"]["rows"];
    assert_eq!(rows["multivector_config"]["comparator"], "max_sim");
    assert_eq!(params["sparse_vectors"]["words"]["modifier"], "idf");
    assert_eq!(params["on_disk_payload"], false);
    assert_eq!(config["hnsw_config"]["m"], 32);
    assert_eq!(config["hnsw_config"]["ef_construct"], 123);
    assert_eq!(config["optimizer_config"]["indexing_threshold"], 30000);
    assert_eq!(config["wal_config"]["wal_capacity_mb"], 4);
    assert_eq!(config["wal_config"]["wal_retain_closed"], 3);
    let scalar = &config["quantization_config"]["scalar"];
    assert_eq!(*scalar, json!({"type": "int8", "always_ram": true}));
}

pub(crate) async fn aliases_are_second_names(server: Server) {
    server.create_c().await;
    server.fill_c(0..3).await;
    let change = |actions: Value| json!({ "actions": actions });
    let create = json!([{"create_alias": {"collection_name": "c", "alias_name": "a"}}]);
    let answer = server.post("/collections/aliases", change(create)).await;
    assert_eq!(answer.result(), true);
    let expected = json!([{"alias_name": "a", "collection_name": "c"}]);
    for path in ["/aliases", "/collections/c/aliases"] {
        let result = server.get(path).await.result();
        assert_eq!(result["aliases"], expected, "{path}");
    }
    assert_eq!(server.count("a", Value::Null).await, 3);

    let rename = json!([{"rename_alias": {"old_alias_name": "a", "new_alias_name": "b"}}]);
    server
        .post("/collections/aliases", change(rename))
        .await
        .result();
    let server = server.restart().await;
    assert_eq!(server.count("b", Value::Null).await, 3);
    server.get("/collections/a").await.error(404);
    let unknown = json!([{"create_alias": {"collection_name": "no", "alias_name": "x"}}]);
    server
        .post("/collections/aliases", change(unknown))
        .await
        .error(404);

    server.delete("/collections/c").await.result();
    let aliases = server.get("/aliases").await.result();
    assert_eq!(aliases["aliases"], json!([]));
}

pub(crate) async fn the_key_is_required(server: Server) {
    let server = server.restart_with_key("secret").await;
    assert_eq!(server.get("/collections").await.status.as_u16(), 401);
    for (header, value, expected) in [
        ("api-key", "secret", 200),
        ("api-key", "wrong", 401),
        ("authorization", "Bearer secret", 200),
    ] {
        let request = reqwest::Client::new().get(format!("{}/collections", server.url));
        let answer = request.header(header, value).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{header}: {value}");
    }
    assert!(server.get("/").await.status.is_success());
}
