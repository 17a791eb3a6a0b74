//! Tests of the client against scripted answers.

use super::{Optimization, QdrantClient, QdrantConfig, message};
use crate::{PayloadIndex, QdrantError, SecretString, inventory};
use bytes::Bytes;
use futures::{StreamExt, stream};
use holdfast_types::{CollectionName, ShardId};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::time::Duration;
use wiremock::matchers::{body_json, body_string_contains, header, method, path, query_param};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

fn docs() -> CollectionName {
    "my docs".parse().unwrap()
}

/// A client with short limits.
fn client(url: &str) -> QdrantClient {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = QdrantConfig::new(url.parse().unwrap());
    config.api_key = Some(SecretString::from("secret"));
    config.timeouts.connect = Duration::from_secs(2);
    config.timeouts.request = Duration::from_secs(2);
    config.timeouts.stream_idle = Duration::from_millis(300);
    QdrantClient::new(config).unwrap()
}

fn ok(result: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"result": result, "status": "ok", "time": 0.1}))
}

async fn answering(template: ResponseTemplate) -> (MockServer, QdrantClient) {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any())
        .respond_with(template)
        .mount(&server)
        .await;
    let client = client(&server.uri());
    (server, client)
}

#[tokio::test]
async fn root_tells_version_and_commit() {
    let body =
        json!({"title": "qdrant - vector search engine", "version": "1.18.3", "commit": "db8f"});
    let (_server, client) = answering(ResponseTemplate::new(200).set_body_json(body)).await;
    let info = client.root().await.unwrap();
    assert_eq!(info.version.to_string(), "1.18.3");
    assert_eq!(info.commit.as_deref(), Some("db8f"));
    assert!(
        client.check_supported().await.is_err(),
        "telemetry is no such answer"
    );
}

#[tokio::test]
async fn what_is_no_qdrant_is_named() {
    for body in [
        "<html>",
        "{}",
        r#"{"title":"elastic","version":"8.0.0"}"#,
        r#"{"title":"qdrant","version":"new"}"#,
    ] {
        let (_server, client) = answering(ResponseTemplate::new(200).set_body_string(body)).await;
        let error = client.root().await.unwrap_err();
        assert!(
            matches!(error, QdrantError::NotQdrant { .. }),
            "{body}: {error}"
        );
        let error = client.collections().await.unwrap_err();
        assert!(
            matches!(error, QdrantError::NotQdrant { .. }),
            "{body}: {error}"
        );
    }
}

#[tokio::test]
async fn an_old_server_and_recovery_mode_are_refused() {
    for (version, recovery, code) in [
        ("1.17.9", false, Some("qdrant-too-old")),
        ("1.18.2", true, Some("qdrant-not-ready")),
        ("1.18.2", false, None),
    ] {
        let server = MockServer::start().await;
        let root = json!({"title": "qdrant", "version": version});
        let telemetry = json!({"app": {"features": {"recovery_mode": recovery}}});
        Mock::given(path("/"))
            .respond_with(ResponseTemplate::new(200).set_body_json(root))
            .mount(&server)
            .await;
        Mock::given(path("/telemetry"))
            .and(query_param("details_level", "1"))
            .respond_with(ok(&telemetry))
            .mount(&server)
            .await;
        let checked = client(&server.uri()).check_supported().await;
        assert_eq!(checked.err().map(|e| e.code()), code, "{version}");
    }
}

#[tokio::test]
async fn every_status_has_its_error() {
    for (status, code, retryable) in [
        (400, "qdrant-error", false),
        (401, "qdrant-unauthorized", false),
        (403, "qdrant-unauthorized", false),
        (404, "collection-not-found", false),
        (408, "qdrant-unreachable", true),
        (409, "target-exists", false),
        (422, "qdrant-error", false),
        (429, "qdrant-not-ready", true),
        (500, "qdrant-error", true),
        (503, "qdrant-not-ready", true),
        (202, "qdrant-not-ready", true),
        (302, "qdrant-error", true),
    ] {
        let body = json!({"status": {"error": "the server's words"}, "time": 0.0});
        let (_server, client) = answering(ResponseTemplate::new(status).set_body_json(body)).await;
        let error = client.collection(&docs()).await.unwrap_err();
        assert_eq!(
            (error.code(), error.is_retryable()),
            (code, retryable),
            "{status}: {error}"
        );
        let text = error.to_string();
        assert!(text.contains("GET /collections/my%20docs"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn an_existing_collection_is_told_from_a_bad_request() {
    let body = json!({"status": {"error": "Wrong input: Collection `docs` already exists!"}});
    let (_server, client) = answering(ResponseTemplate::new(400).set_body_json(body)).await;
    let error = client.collection(&docs()).await.unwrap_err();
    assert!(
        matches!(error, QdrantError::AlreadyExists { .. }),
        "{error}"
    );
}

#[test]
fn messages_are_short_and_clean() {
    assert_eq!(message(b""), "no reason given");
    assert_eq!(
        message(b"Not found:\n \x1b[31mx"),
        "Not found:  \u{20}[31mx"
    );
    assert_eq!(message(br#"{"status":{"error":"e"}}"#), "e");
    assert_eq!(message(&[b'x'; 10_000]).len(), 500);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    // Bound and dropped: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = client(&format!("http://127.0.0.1:{port}"))
        .root()
        .await
        .unwrap_err();
    assert!(matches!(error, QdrantError::Unreachable { .. }), "{error}");
    assert!(error.is_retryable());
    assert!(error.to_string().contains("check that it runs"), "{error}");
}

#[tokio::test]
async fn no_answer_in_time_is_a_timeout() {
    let slow = ok(&json!({})).set_delay(Duration::from_secs(30));
    let (_server, client) = answering(slow).await;
    let error = client.collection(&docs()).await.unwrap_err();
    assert!(matches!(error, QdrantError::Timeout { .. }), "{error}");
}

#[test]
fn settings_that_make_no_client() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for (url, key) in [
        ("ftp://x", "k"),
        ("mailto:x", "k"),
        ("http://x", "a\nb"),
        ("http://user@x", "k"),
        ("http://user:hunter2@x", "k"),
        ("ftp://:hunter2@x", "k"),
    ] {
        let mut config = QdrantConfig::new(url.parse().unwrap());
        config.api_key = Some(SecretString::from(key));
        let error = QdrantClient::new(config).unwrap_err();
        assert_eq!(error.code(), "config", "{url}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn requests_carry_key_path_and_body() {
    let server = MockServer::start().await;
    Mock::given(method("PUT"))
        .and(path("/base/collections/my%20docs/index"))
        .and(query_param("wait", "true"))
        .and(header("api-key", "secret"))
        .and(body_json(
            json!({"field_name": "a.b", "field_schema": "keyword"}),
        ))
        .respond_with(ok(&json!({"operation_id": 1, "status": "completed"})))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/base/collections/aliases"))
        .and(body_json(json!({"actions": [{"create_alias": {"collection_name": "my docs", "alias_name": "d"}}]})))
        .respond_with(ok(&json!(true)))
        .expect(1)
        .mount(&server)
        .await;
    let client = client(&format!("{}/base/", server.uri()));
    let index = PayloadIndex {
        field: "a.b".to_owned(),
        schema: json!("keyword"),
    };
    client.create_payload_index(&docs(), &index).await.unwrap();
    client
        .set_aliases(&docs(), &["d".parse().unwrap()])
        .await
        .unwrap();
    client.set_aliases(&docs(), &[]).await.unwrap();
}

#[tokio::test]
async fn the_inventory_joins_what_the_server_tells() {
    let server = MockServer::start().await;
    let info = json!({"status": "green", "points_count": 5, "config": {"params": {"vectors": {}, "shard_number": 2}}});
    let shards = json!({"peer_id": 9, "shard_count": 2, "local_shards": [{"shard_id": 1, "points_count": 5, "state": "Active"}]});
    for (at, answer) in [
        ("/cluster", json!({"status": "enabled", "peer_id": 9})),
        (
            "/collections",
            json!({"collections": [{"name": "my docs"}, {"name": "gone"}, {"name": "bad/name"}, {"name": "bell\u{7}"}]}),
        ),
        (
            "/aliases",
            json!({"aliases": [{"alias_name": "z", "collection_name": "my docs"}, {"alias_name": "a", "collection_name": "my docs"}, {"alias_name": "x\n", "collection_name": "my docs"}, {"alias_name": "y", "collection_name": "bad/name"}]}),
        ),
        ("/collections/my%20docs", info.clone()),
        ("/collections/my%20docs/cluster", shards.clone()),
    ] {
        Mock::given(path(at))
            .respond_with(ok(&answer))
            .mount(&server)
            .await;
    }
    let root = json!({"title": "qdrant", "version": "1.18.3"});
    Mock::given(path("/"))
        .respond_with(ResponseTemplate::new(200).set_body_json(root))
        .mount(&server)
        .await;
    let found = inventory(&client(&server.uri())).await.unwrap();
    assert_eq!((found.peer_id, found.commit), (9, None));
    let [collection] = &found.collections[..] else {
        panic!("{:?}", found.collections);
    };
    assert_eq!(collection.name, docs());
    assert_eq!(
        collection.aliases,
        ["a".parse().unwrap(), "z".parse().unwrap()]
    );
    assert_eq!(
        (
            collection.shards.shard_count,
            collection.shards.local_shards[0].shard_id
        ),
        (2, ShardId(1))
    );
    assert_eq!(collection.info, info);
    // Nothing vanishes silently.
    let collections = [r#"collection "bad/name""#, r#"collection "bell\u{7}""#];
    assert_eq!(found.unusable_collections, collections);
    let aliases = [
        r#"alias "x\n" of collection "my docs""#,
        r#"alias "y" of collection "bad/name""#,
    ];
    assert_eq!(found.unusable_aliases, aliases);
}

#[tokio::test]
async fn waiting_ends_when_settled_red_or_late() {
    for (status, state, want) in [
        ("green", "Active", "ready"),
        ("grey", "Active", "ready"),
        ("red", "Active", "qdrant-error"),
        ("yellow", "Active", "qdrant-not-ready"),
        ("green", "Recovery", "qdrant-not-ready"),
    ] {
        let server = MockServer::start().await;
        let info = json!({"status": status, "config": {"params": {}}});
        let shards = json!({"peer_id": 1, "shard_count": 1, "local_shards": [{"shard_id": 0, "points_count": 0, "state": state}]});
        Mock::given(path("/collections/my%20docs"))
            .respond_with(ok(&info))
            .mount(&server)
            .await;
        Mock::given(path("/collections/my%20docs/cluster"))
            .respond_with(ok(&shards))
            .mount(&server)
            .await;
        let waited = client(&server.uri())
            .wait_green(&docs(), Duration::ZERO)
            .await;
        assert_eq!(
            waited.map_or_else(|e| e.code(), |_| "ready"),
            want,
            "{status} {state}"
        );
        let loaded = client(&server.uri())
            .wait_loaded(&docs(), Duration::ZERO)
            .await;
        let want = if status == "yellow" { "ready" } else { want };
        assert_eq!(
            loaded.map_or_else(|e| e.code(), |_| "ready"),
            want,
            "loaded: {status} {state}"
        );
    }
}

#[tokio::test]
async fn a_stream_asks_for_plain_bytes_and_reads_them() {
    let server = MockServer::start().await;
    Mock::given(path("/collections/my%20docs/shards/3/snapshot"))
        .and(header("accept-encoding", "identity"))
        .respond_with(ResponseTemplate::new(200).set_body_bytes(vec![7; 100_000]))
        .expect(1)
        .mount(&server)
        .await;
    let stream = client(&server.uri())
        .stream_shard_snapshot(&docs(), ShardId(3))
        .await
        .unwrap();
    assert_eq!(stream.content_len(), Some(100_000));
    let mut reader = stream.into_reader();
    let bytes = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    assert_eq!(bytes.await.unwrap().unwrap(), vec![7; 100_000]);
}

#[tokio::test]
async fn an_error_in_plain_text_is_an_error() {
    let answer = ResponseTemplate::new(404).set_body_string("Not found: shard 7 not found");
    let (_server, client) = answering(answer).await;
    let error = client
        .stream_shard_snapshot(&docs(), ShardId(7))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("shard 7 not found"), "{error}");
    let zipped = ResponseTemplate::new(200).insert_header("content-encoding", "gzip");
    let (_server, client) = answering(zipped).await;
    assert!(
        client
            .stream_shard_snapshot(&docs(), ShardId(7))
            .await
            .is_err()
    );
}

/// A server that sends a head and some bytes and then closes, or stays silent.
fn broken_server(
    close: bool,
) -> (
    String,
    std::thread::JoinHandle<()>,
    std::sync::mpsc::Sender<()>,
) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = socket.read(&mut request).unwrap();
        socket
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc")
            .unwrap();
        if !close {
            let _ = wait.recv();
        }
    });
    (url, thread, done)
}

#[tokio::test]
async fn a_broken_stream_is_truncated_and_a_silent_one_times_out() {
    for close in [true, false] {
        let (url, thread, done) = broken_server(close);
        let stream = client(&url)
            .stream_shard_snapshot(&docs(), ShardId(0))
            .await
            .unwrap();
        let items: Vec<_> = stream.take(2).collect().await;
        assert_eq!(items[0].as_ref().unwrap(), "abc");
        let error = items[1].as_ref().unwrap_err();
        match close {
            true => assert!(matches!(error, QdrantError::Truncated { .. }), "{error}"),
            false => assert!(matches!(error, QdrantError::Timeout { .. }), "{error}"),
        }
        assert!(error.is_retryable());
        drop(done);
        thread.join().unwrap();
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_a_timeout() {
    let (url, thread, done) = broken_server(false);
    let error = client(&url).root().await.unwrap_err();
    assert!(matches!(error, QdrantError::Timeout { .. }), "{error}");
    drop(done);
    thread.join().unwrap();
}

#[tokio::test]
async fn an_upload_is_a_form_of_known_length() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/collections/my%20docs/shards/0/snapshots/upload"))
        .and(query_param("priority", "snapshot"))
        .and(query_param("wait", "true"))
        .and(body_string_contains(
            "name=\"snapshot\"; filename=\"shard.snapshot\"",
        ))
        .and(body_string_contains("abcdef"))
        .and(|request: &Request| {
            let len = request
                .headers
                .get("content-length")
                .and_then(|v| v.to_str().ok());
            len == Some(request.body.len().to_string().as_str())
        })
        .respond_with(ok(&Value::Null))
        .expect(1)
        .mount(&server)
        .await;
    let body = stream::iter([
        Ok::<_, std::io::Error>(Bytes::from("abc")),
        Ok(Bytes::from("def")),
    ]);
    let client = client(&server.uri());
    client
        .upload_shard_snapshot(&docs(), ShardId(0), body, Some(6))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_body_that_fails_aborts_the_upload() {
    let (server, client) = answering(ok(&Value::Null)).await;
    let body = stream::iter([
        Ok(Bytes::from("abc")),
        Err(std::io::Error::other("no more chunks")),
    ]);
    let error = client
        .upload_shard_snapshot(&docs(), ShardId(0), body, Some(6))
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_wrong_key_is_noticed_although_the_root_is_open() {
    for (status, want) in [(401, Some("qdrant-unauthorized")), (403, None)] {
        let server = MockServer::start().await;
        let root = json!({"title": "qdrant", "version": "1.18.3"});
        Mock::given(path("/"))
            .respond_with(ResponseTemplate::new(200).set_body_json(root))
            .mount(&server)
            .await;
        Mock::given(path("/telemetry"))
            .respond_with(ResponseTemplate::new(status).set_body_string("Invalid API key or JWT"))
            .mount(&server)
            .await;
        let checked = client(&server.uri()).check_supported().await;
        assert_eq!(checked.err().map(|e| e.code()), want, "{status}");
    }
}

#[tokio::test]
async fn an_inventory_in_recovery_mode_says_so() {
    let server = MockServer::start().await;
    let root = json!({"title": "qdrant", "version": "1.18.3"});
    Mock::given(path("/"))
        .respond_with(ResponseTemplate::new(200).set_body_json(root))
        .mount(&server)
        .await;
    for (at, answer) in [
        ("/cluster", json!({"status": "disabled"})),
        ("/aliases", json!({"aliases": []})),
        ("/collections", json!({"collections": [{"name": "docs"}]})),
        (
            "/telemetry",
            json!({"app": {"features": {"recovery_mode": true}}}),
        ),
    ] {
        Mock::given(path(at))
            .respond_with(ok(&answer))
            .mount(&server)
            .await;
    }
    for at in ["/collections/docs", "/collections/docs/cluster"] {
        Mock::given(path(at))
            .respond_with(ResponseTemplate::new(500).set_body_string("Failed to Get Info"))
            .mount(&server)
            .await;
    }
    let error = inventory(&client(&server.uri())).await.unwrap_err();
    assert!(matches!(error, QdrantError::InRecovery), "{error}");
}

#[tokio::test]
async fn optimizations_are_read_as_the_server_lists_them() {
    let one = |id: &str| json!({"uuid": id, "optimizer": "merge", "status": "optimizing", "segments": [{"uuid": "a", "points_count": 3}]});
    let server = MockServer::start().await;
    let list = json!({"summary": {"queued_optimizations": 1}, "running": [one("r")], "completed": [one("c")]});
    Mock::given(path("/collections/my%20docs/optimizations"))
        .and(query_param("with", "completed"))
        .and(query_param("completed_limit", "1000000"))
        .respond_with(ok(&list))
        .mount(&server)
        .await;
    let log = client(&server.uri()).optimizations(&docs()).await.unwrap();
    let plain = |id: &str| Optimization {
        id: id.to_owned(),
        segments: vec!["a".to_owned()],
    };
    assert_eq!(
        (log.running, log.ended),
        (vec![plain("r")], vec![plain("c")])
    );
    // a list without what was asked for is no list
    let (_server, client) = answering(ok(&json!({"running": []}))).await;
    assert!(client.optimizations(&docs()).await.is_err());
}
