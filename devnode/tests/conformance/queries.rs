//! Queries and searches. The collections are small, so every answer is exact.

use crate::client::ids;
use crate::server::Server;
use serde_json::{Value, json};

async fn query(server: &Server, body: Value) -> Value {
    let answer = server.post("/collections/c/points/query", body).await;
    answer.result()["points"].clone()
}

/// Five points on a line: the larger the id, the larger the dot product with (1, 0, 0, 0).
async fn line(server: &Server) {
    server.create_c().await;
    let points: Vec<_> = (1..6)
        .map(|id| json!({"id": id, "vector": [id, 0, 0, 0], "payload": {"n": id, "odd": id % 2 == 1}}))
        .collect();
    server
        .put(
            "/collections/c/points?wait=true",
            json!({ "points": points }),
        )
        .await
        .result();
}

pub(crate) async fn nearest_filter_and_offset(server: Server) {
    line(&server).await;
    let found = query(&server, json!({"query": [1, 0, 0, 0], "limit": 3})).await;
    assert_eq!(ids(&found), [5, 4, 3]);
    assert_eq!(found[0]["score"], 5.0);
    assert!(found[0]["version"].is_u64());
    assert!(found[0].get("payload").is_none() && found[0].get("vector").is_none());
    let more = json!({"query": {"nearest": [1, 0, 0, 0]}, "limit": 2, "offset": 2,
        "with_payload": true, "with_vector": true});
    let found = query(&server, more).await;
    assert_eq!(ids(&found), [3, 2]);
    assert_eq!(found[0]["payload"], json!({"n": 3, "odd": true}));
    assert_eq!(found[0]["vector"], json!([3.0, 0.0, 0.0, 0.0]));
    let filtered = json!({"query": [1, 0, 0, 0], "score_threshold": 1.5,
        "filter": {"must": [{"key": "odd", "match": {"value": true}}]}});
    assert_eq!(ids(&query(&server, filtered).await), [5, 3]);
}

pub(crate) async fn queries_by_id_and_examples(server: Server) {
    line(&server).await;
    assert_eq!(
        ids(&query(&server, json!({"query": 2})).await),
        [5, 4, 3, 1]
    );
    let recommend =
        json!({"query": {"recommend": {"positive": [1], "negative": [[0.5, 0, 0, 0]]}}});
    assert_eq!(ids(&query(&server, recommend).await), [5, 4, 3, 2]);
    let best =
        json!({"query": {"recommend": {"positive": [5], "strategy": "best_score"}}, "limit": 2});
    assert_eq!(ids(&query(&server, best).await), [4, 3]);
    let unknown = json!({"query": 77});
    let answer = server.post("/collections/c/points/query", unknown).await;
    answer.error(404);
}

pub(crate) async fn fusion_and_order(server: Server) {
    line(&server).await;
    let index = json!({"field_name": "n", "field_schema": "integer"});
    server
        .put("/collections/c/index?wait=true", index)
        .await
        .result();
    let order = json!({"query": {"order_by": {"key": "n", "direction": "desc"}}, "limit": 2});
    assert_eq!(ids(&query(&server, order).await), [5, 4]);
    let scroll = json!({"order_by": "n", "limit": 2});
    let page = server
        .post("/collections/c/points/scroll", scroll)
        .await
        .result();
    assert_eq!(ids(&page["points"]), [1, 2]);
    let fusion = json!({
        "prefetch": [
            {"query": [1, 0, 0, 0], "limit": 2},
            {"query": [-1, 0, 0, 0], "limit": 2, "filter": {"must": [{"key": "n", "range": {"gte": 4}}]}},
        ],
        "query": {"fusion": "rrf"},
    });
    let mut fused = ids(&query(&server, fusion).await);
    fused.sort_unstable();
    assert_eq!(fused, [4, 5]);
    let sample = json!({"query": {"sample": "random"}, "limit": 3});
    assert_eq!(ids(&query(&server, sample).await).len(), 3);
}

pub(crate) async fn search_calls(server: Server) {
    line(&server).await;
    let search = json!({"vector": [1, 0, 0, 0], "limit": 2, "with_payload": ["n"]});
    let path = "/collections/c/points/search";
    let found = server.post(path, search.clone()).await.result();
    assert_eq!(ids(&found), [5, 4]);
    assert_eq!(found[0]["payload"], json!({"n": 5}));
    let path = "/collections/c/points/search/batch";
    let both = json!({"searches": [search, {"vector": [-1, 0, 0, 0], "limit": 1}]});
    let found = server.post(path, both).await.result();
    assert_eq!(ids(&found[0]), [5, 4]);
    assert_eq!(ids(&found[1]), [1]);
    let path = "/collections/c/points/query/batch";
    let both = json!({"searches": [{"query": [1, 0, 0, 0], "limit": 1}, {"query": 1, "limit": 1}]});
    let found = server.post(path, both).await.result();
    assert_eq!(ids(&found[0]["points"]), [5]);
    assert_eq!(ids(&found[1]["points"]), [5]);
}
