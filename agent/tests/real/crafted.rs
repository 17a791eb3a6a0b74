//! Operations that no client can order: what the server makes of them when it replays a log that was spliced into a shard, and what
//! logical replay makes of them.

use crate::replay::{Log, Target};
use crate::server::Server;
use crate::splice::{Memory, spliced};
use holdfast_qdrant::read_shard_stream;
use holdfast_wal::Frame;
use serde_json::{Value, json};

/// The CBOR of a JSON value.
fn cbor(value: &Value, out: &mut Vec<u8>) {
    let mut head = |major: u8, value: u64| {
        out.push(major << 5 | 27);
        out.extend(value.to_be_bytes());
    };
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => head(0, value),
            (None, Some(value)) => head(1, value.unsigned_abs() - 1),
            (None, None) => head(7, number.as_f64().unwrap().to_bits()),
        },
        Value::String(text) => {
            head(3, text.len() as u64);
            out.extend(text.as_bytes());
        }
        Value::Array(items) => {
            head(4, items.len() as u64);
            items.iter().for_each(|item| cbor(item, out));
        }
        Value::Object(pairs) => {
            head(5, pairs.len() as u64);
            for (key, value) in pairs {
                cbor(&json!(key), out);
                cbor(value, out);
            }
        }
    }
}

fn point(id: u64, payload: Value) -> Value {
    json!({"id": id, "vector": [id as f32, 0.1, 0.2, 0.3], "payload": payload})
}

fn operations() -> Vec<Value> {
    let uuid = "00000000-0000-4000-8000-000000000001";
    let group = |n: u64| json!({"must": [{"key": "group", "match": {"value": n}}]});
    vec![
        // Of 5 to 19: one as it is, one changed, one new, the others gone.
        json!({"sync_points": {"from_id": 5, "to_id": 20, "points": [
            point(6, json!({"group": 6})), point(7, json!({"new": true})), {"id": 19, "vector": [9.0, 9.0, 9.0, 9.0], "payload": null}]}}),
        json!({"sync_points": {"from_id": null, "to_id": 2, "points": [point(0, json!({"group": 3}))]}}),
        json!({"sync_points": {"from_id": 40, "to_id": null, "points": [
            point(41, json!({})), {"id": uuid, "vector": [1.0, 2.0, 3.0, 4.0], "payload": {"u": 1}}]}}),
        json!({"delete_points_by_filter": group(5)}),
        // Columns of different lengths.
        json!({"upsert_points": {"batch": {"ids": [60, 61, 62], "vectors": [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], "payloads": null}}}),
        json!({"upsert_points": {"batch": {"ids": [63, 64], "vectors": [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], "payloads": [{"a": 1}]}}}),
        // One point twice.
        json!({"upsert_points": {"points": [point(65, json!({"n": 1})), point(65, json!({"n": 2}))]}}),
        json!({"update_vectors": {"points": [{"id": 65, "vector": [0.0, 0.0, 0.0, 1.0]}, {"id": 65, "vector": [0.0, 0.0, 0.0, 2.0]}]}}),
        json!({"upsert_points_conditional": {"points_op": {"points": [point(66, json!({"n": 1})), point(66, json!({"n": 2})), point(3, json!({"n": 3}))]},
            "condition": group(3), "update_mode": null}}),
        json!({"upsert_points_conditional": {"points_op": {"points": [point(67, json!({"n": 1})), point(4, json!({"n": 4}))]},
            "condition": {}, "update_mode": "insert_only"}}),
        // The path counts only where keys are set, ids before the filter, and without both nothing is done.
        json!({"overwrite_payload": {"payload": {"b": 1}, "points": [20, 21], "filter": null, "key": "a"}}),
        json!({"set_payload": {"payload": {"both": 1}, "points": [22], "filter": group(2), "key": null}}),
        json!({"set_payload": {"payload": {"neither": 1}, "points": null, "filter": null, "key": null}}),
        json!({"delete_payload": {"keys": ["group"], "points": null, "filter": null}}),
        json!({"create_index": {"field_name": "group", "field_schema": null}}),
        json!({"upsert_points": {"points": []}}),
        // Points that are not there: of the first 32 ids, of later ones.
        json!({"set_payload": {"payload": {"some": 1}, "points": [23, 1000, 24], "filter": null, "key": null}}),
        json!({"clear_payload": {"points": (20..40).chain(2000..2020).chain(30..40).collect::<Vec<u64>>()}}),
        json!({"delete_points": {"ids": [25, 25, 3000]}}),
        json!({"delete_vectors": [{"points": [27, 28]}, [""]]}),
        json!({"clear_payload_by_filter": {"must_not": {"key": "group", "match": {"value": 2}}}}),
        // Everything.
        json!({"delete_points_by_filter": {}}),
        json!({"upsert_points": {"points": [point(1, json!({"last": 1}))]}}),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logical_replay_does_what_the_server_does() {
    holdfast_certs::install_crypto_provider();
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(dir.path()).await else {
        return;
    };
    let config =
        |shards| json!({"vectors": {"size": 4, "distance": "Dot"}, "shard_number": shards});
    server.call("PUT", "/collections/a", &config(1)).await;
    server.call("PUT", "/collections/b", &config(3)).await;
    let mut log = Log::open(dir.path(), "a", 0, 1);
    let points: Vec<_> = (0..50)
        .map(|id| point(id, json!({"group": id % 7})))
        .collect();
    let body = json!({ "points": points });
    server
        .call("PUT", "/collections/a/points?wait=true", &body)
        .await;
    log.poll();
    let mut base = Memory::default();
    let snapshot = server.snapshot("a").await;
    let contents = read_shard_stream(snapshot.as_slice(), &mut base).unwrap();
    let next = contents.next_operation.unwrap();
    assert_eq!(log.frames.len() as u64, next, "nothing else was written");
    let mut target = Target::new(&server, "b");
    target
        .advance_all(
            std::slice::from_mut(&mut log),
            &[usize::try_from(next).unwrap()],
        )
        .await;
    assert_eq!(server.points("b").await, server.points("a").await);
    let mut before = server.points("b").await;
    for operation in operations() {
        let mut data = Vec::new();
        cbor(&operation, &mut data);
        let index = log.frames.len() as u64;
        let frame = Frame {
            index,
            data,
            ..log.frames[0].clone()
        };
        log.frames.push(frame);
        let native = format!("native-{index}");
        let path = format!("/collections/{native}");
        server.call("PUT", &path, &config(1)).await;
        server
            .upload(&native, &spliced(&base.files, &log.frames))
            .await;
        let until = log.frames.len();
        target
            .advance_all(std::slice::from_mut(&mut log), &[until])
            .await;
        let (native, replayed) = (server.points(&native).await, server.points("b").await);
        server.call("DELETE", &path, &Value::Null).await;
        assert_eq!(replayed, native, "{operation}");
        let changed = if replayed == before {
            "nothing"
        } else {
            "points"
        };
        println!(
            "{} changed {changed}",
            operation.as_object().unwrap().keys().next().unwrap()
        );
        before = replayed;
    }
    assert_eq!(before.len(), 1);
}
