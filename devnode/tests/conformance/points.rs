//! Points, payloads and payload indexes.

use crate::client::{ids, point};
use crate::server::Server;
use serde_json::{Value, json};

pub(crate) async fn points_are_written_read_and_deleted(server: Server) {
    server.create_c().await;
    server.fill_c(0..25).await;
    assert_eq!(server.count("c", Value::Null).await, 25);
    let all = server.all_points("c").await;
    let expected: Vec<_> = (0..25).map(point).collect();
    for (found, expected) in all.iter().zip(&expected) {
        assert_eq!(found["id"], expected["id"]);
        assert_eq!(found["payload"], expected["payload"]);
        let numbers = |value: &Value| -> Vec<f64> {
            let items = value["vector"].as_array().unwrap().iter();
            items.map(|item| item.as_f64().unwrap()).collect()
        };
        assert_eq!(numbers(found), numbers(expected));
    }

    let page = json!({"limit": 10});
    let first = server
        .post("/collections/c/points/scroll", page)
        .await
        .result();
    assert_eq!(ids(&first["points"]), (0..10).collect::<Vec<_>>());
    assert_eq!(first["next_page_offset"], 10);
    assert!(first["points"][0].get("vector").is_none());
    let page = json!({"limit": 100, "offset": 10, "with_payload": false});
    let rest = server
        .post("/collections/c/points/scroll", page)
        .await
        .result();
    assert_eq!(ids(&rest["points"]), (10..25).collect::<Vec<_>>());
    assert!(rest["points"][0].get("payload").is_none());

    let some = json!({"ids": [3, 99, 1], "with_payload": ["number"]});
    let some = server.post("/collections/c/points", some).await.result();
    let mut found = ids(&some);
    found.sort_unstable();
    assert_eq!(found, [1, 3]);
    assert_eq!(some[0]["payload"].as_object().unwrap().len(), 1);
    let one = server.get("/collections/c/points/7").await.result();
    assert_eq!(one["payload"]["number"], 7);
    server.get("/collections/c/points/99").await.error(404);

    let by_id = json!({"points": [0, 1]});
    let path = "/collections/c/points/delete?wait=true";
    let deleted = server.post(path, by_id).await.result();
    assert_eq!(deleted["status"], "completed");
    assert_eq!(deleted["operation_id"], 2);
    let filter = json!({"must": [{"key": "group", "match": {"value": "g2"}}]});
    let matching = server.count("c", filter.clone()).await;
    assert_eq!(matching, 6);
    server.post(path, json!({"filter": filter})).await.result();
    assert_eq!(server.count("c", Value::Null).await, 25 - 2 - 6);
}

pub(crate) async fn batches_and_uuids(server: Server) {
    server.create_c().await;
    let uuid = "550e8400-e29b-41d4-a716-446655440000";
    let batch = json!({"batch": {
        "ids": [7, uuid],
        "vectors": [[1, 2, 3, 4], [4, 3, 2, 1]],
        "payloads": [{"a": 1}, null],
    }});
    let path = "/collections/c/points?wait=true";
    server.put(path, batch).await.result();
    let one = server
        .get(&format!("/collections/c/points/{uuid}"))
        .await
        .result();
    assert_eq!(one["id"], uuid);
    assert_eq!(one["vector"], json!([4.0, 3.0, 2.0, 1.0]));
    let uneven = json!({"batch": {"ids": [1, 2], "vectors": [[1, 2, 3, 4]]}});
    assert!(server.put(path, uneven).await.status.is_client_error());
    let operations = json!({"operations": [
        {"set_payload": {"payload": {"b": 2}, "points": [7]}},
        {"delete": {"points": [uuid]}},
    ]});
    let results = server
        .post("/collections/c/points/batch?wait=true", operations)
        .await
        .result();
    assert_eq!(results.as_array().unwrap().len(), 2);
    let left = server.all_points("c").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["payload"], json!({"a": 1, "b": 2}));
}

pub(crate) async fn named_sparse_and_multi_vectors(server: Server) {
    let body = json!({
        "vectors": {
            "text": {"size": 2, "distance": "Dot"},
            "rows": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        },
        "sparse_vectors": {"words": {}},
    });
    server.put("/collections/c", body).await.result();
    let vectors = json!({
        "text": [1.0, 2.0],
        "rows": [[1.0, 0.0], [0.0, 1.0]],
        "words": {"indices": [3, 17], "values": [0.5, 0.25]},
    });
    let points = json!({"points": [
        {"id": 1, "vector": vectors, "payload": {}},
        {"id": 2, "vector": {"text": [3.0, 4.0]}},
    ]});
    let path = "/collections/c/points?wait=true";
    server.put(path, points).await.result();
    let all = server.all_points("c").await;
    assert_eq!(all[0]["vector"], vectors);
    assert_eq!(all[1]["vector"], json!({"text": [3.0, 4.0]}));

    let update =
        json!({"points": [{"id": 2, "vector": {"words": {"indices": [1], "values": [2.0]}}}]});
    server
        .put("/collections/c/points/vectors?wait=true", update)
        .await
        .result();
    let removal = json!({"points": [1], "vector": ["rows"]});
    server
        .post("/collections/c/points/vectors/delete?wait=true", removal)
        .await
        .result();
    let all = server.all_points("c").await;
    assert!(all[0]["vector"].get("rows").is_none());
    let expected = json!({"text": [3.0, 4.0], "words": {"indices": [1], "values": [2.0]}});
    assert_eq!(all[1]["vector"], expected);

    let sparse = json!({"query": {"indices": [17], "values": [1.0]}, "using": "words"});
    let found = server
        .post("/collections/c/points/query", sparse)
        .await
        .result();
    assert_eq!(ids(&found["points"]), [1]);
    let unknown = json!({"points": [{"id": 3, "vector": {"nope": [1.0, 2.0]}}]});
    server.put(path, unknown).await.error(400);
}

pub(crate) async fn payload_calls(server: Server) {
    server.create_c().await;
    server.fill_c(1..4).await;
    let at = |rest: &str| format!("/collections/c/points/payload{rest}?wait=true");
    let set = json!({"payload": {"new": {"deep": 1}}, "points": [1]});
    server.post(&at(""), set).await.result();
    let nested = json!({"payload": {"more": 2}, "points": [1], "key": "new"});
    server.post(&at(""), nested).await.result();
    let by_filter = json!({"payload": {"flag": true},
        "filter": {"must": [{"key": "number", "range": {"gte": 2}}]}});
    server.post(&at(""), by_filter).await.result();
    let overwrite = json!({"payload": {"only": "this"}, "points": [2]});
    server.put(&at(""), overwrite).await.result();
    let removal = json!({"keys": ["group", "new.deep"], "points": [1, 3]});
    server.post(&at("/delete"), removal).await.result();
    let payloads = |points: Vec<Value>| -> Vec<Value> {
        points
            .into_iter()
            .map(|point| point["payload"].clone())
            .collect()
    };
    let expected = [
        json!({"number": 1, "new": {"more": 2}}),
        json!({"only": "this"}),
        json!({"number": 3, "flag": true}),
    ];
    assert_eq!(payloads(server.all_points("c").await), expected);
    server
        .post(&at("/clear"), json!({"points": [1]}))
        .await
        .result();
    assert_eq!(payloads(server.all_points("c").await)[0], json!({}));
}

pub(crate) async fn indexes_are_created_used_and_dropped(server: Server) {
    server.create_c().await;
    server.fill_c(0..20).await;
    let path = "/collections/c/index?wait=true";
    for body in [
        json!({"field_name": "group", "field_schema": "keyword"}),
        json!({"field_name": "number", "field_schema": {"type": "integer", "lookup": true, "range": true}}),
    ] {
        server.put(path, body).await.result();
    }
    let server = server.restart().await;
    let schema = server.get("/collections/c").await.result()["payload_schema"].clone();
    assert_eq!(schema["group"]["data_type"], "keyword");
    // an estimate on the real server
    assert!(schema["group"]["points"].as_u64().unwrap() >= 20);
    assert_eq!(schema["number"]["data_type"], "integer");
    assert_eq!(schema["number"]["params"]["range"], true);
    let filter = json!({"must": [{"key": "number", "range": {"lt": 5}}],
        "must_not": [{"key": "group", "match": {"any": ["g1", "g2"]}}]});
    assert_eq!(server.count("c", filter).await, 3);
    let facet = json!({"key": "group", "exact": true});
    let hits = server.post("/collections/c/facet", facet).await.result();
    assert_eq!(hits["hits"][0]["count"], 5);
    server
        .delete("/collections/c/index/group?wait=true")
        .await
        .result();
    let schema = server.get("/collections/c").await.result()["payload_schema"].clone();
    assert_eq!(schema.as_object().unwrap().len(), 1);
}

pub(crate) async fn conditional_writes(server: Server) {
    server.create_c().await;
    server.fill_c(1..3).await;
    let new = |id: u64| json!({"id": id, "vector": [0, 0, 0, 0], "payload": {"new": true}});
    let path = "/collections/c/points?wait=true";
    let insert = json!({"points": [new(1), new(5)], "update_mode": "insert_only"});
    server.put(path, insert).await.result();
    let update = json!({"points": [new(2), new(6)], "update_mode": "update_only"});
    server.put(path, update).await.result();
    let filter = json!({"must": [{"key": "number", "match": {"value": 99}}]});
    let filtered = json!({"points": [new(1), new(7)], "update_filter": filter});
    server.put(path, filtered).await.result();
    let all = server.all_points("c").await;
    let found: Vec<_> = all
        .iter()
        .map(|point| {
            (
                point["id"].as_u64().unwrap(),
                point["payload"]["new"] == true,
            )
        })
        .collect();
    assert_eq!(found, [(1, false), (2, true), (5, true), (7, true)]);
}

pub(crate) async fn wrong_requests_are_refused(server: Server) {
    server.create_c().await;
    server.fill_c(0..2).await;
    let path = "/collections/c/points?wait=true";
    let short = json!({"points": [{"id": 1, "vector": [1, 2, 3]}]});
    let text = server.put(path, short).await.error(400);
    assert!(text.contains("dimension"), "{text}");
    let negative = json!({"points": [{"id": -1, "vector": [1, 2, 3, 4]}]});
    server.put(path, negative).await.error(400);
    server.put(path, json!({"nothing": 1})).await.error(400);
    let text = server
        .put("/collections/no/points", json!({"points": []}))
        .await;
    assert!(text.status.is_client_error());
    let wrong = json!({"query": [1, 2]});
    server
        .post("/collections/c/points/query", wrong)
        .await
        .error(400);
    server
        .post("/collections/no/points/scroll", json!({}))
        .await
        .error(404);
    let zero = json!({"vectors": {"size": 0, "distance": "Dot"}});
    let answer = server.put("/collections/z", zero).await;
    assert!(answer.status.is_client_error(), "{}", answer.status);
    let slash = json!({"vectors": {"size": 4, "distance": "Dot"}});
    let answer = server.put("/collections/a%2Fb", slash).await;
    assert!(answer.status.is_client_error(), "{}", answer.status);
    assert_eq!(server.count("c", Value::Null).await, 2);
}
