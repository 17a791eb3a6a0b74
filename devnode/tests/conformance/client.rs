//! Short calls for the checks: JSON in, JSON out, with the status.

use crate::server::Server;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// An answer: its status and JSON body (null if it isn't JSON).
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Answer {
    /// The result of a call that must have succeeded.
    pub(crate) fn result(self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, self.body);
        assert_eq!(self.body["status"], "ok", "{}", self.body);
        assert!(self.body["time"].is_number(), "{}", self.body);
        self.body["result"].clone()
    }

    /// The text of a call that must have failed with `status`.
    pub(crate) fn error(self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        let text = self.body["status"]["error"].as_str();
        text.unwrap_or_else(|| panic!("no error text in {}", self.body))
            .to_owned()
    }
}

impl Server {
    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        let mut request = reqwest::Client::new().request(method, format!("{}{path}", self.url));
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let bytes = response.bytes().await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Answer { status, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Value::Null).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, body).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, Value::Null).await
    }

    pub(crate) async fn bytes(&self, path: &str) -> Vec<u8> {
        let response = reqwest::Client::new()
            .get(format!("{}{path}", self.url))
            .header("accept-encoding", "identity")
            .send()
            .await
            .unwrap();
        assert!(
            response.status().is_success(),
            "{path}: {}",
            response.status()
        );
        response.bytes().await.unwrap().to_vec()
    }

    /// Sends a snapshot to the collection's shard.
    pub(crate) async fn upload(&self, collection: &str, archive: Vec<u8>, query: &str) -> Answer {
        let part = reqwest::multipart::Part::bytes(archive).file_name("any.snapshot");
        let form = reqwest::multipart::Form::new().part("snapshot", part);
        let path = format!("/collections/{collection}/shards/0/snapshots/upload?{query}");
        let request = reqwest::Client::new().post(format!("{}{path}", self.url));
        let response = request.multipart(form).send().await.unwrap();
        let status = response.status();
        let body = response.json().await.unwrap_or_default();
        Answer { status, body }
    }

    /// Creates the collection `c` with dot-product vectors of four elements.
    pub(crate) async fn create_c(&self) {
        self.put(
            "/collections/c",
            json!({"vectors": {"size": 4, "distance": "Dot"}}),
        )
        .await
        .result();
    }

    /// Writes points `ids` with vectors and payloads that follow from the id.
    pub(crate) async fn fill_c(&self, ids: std::ops::Range<u64>) {
        let points: Vec<_> = ids.map(point).collect();
        let body = json!({ "points": points });
        let result = self
            .put("/collections/c/points?wait=true", body)
            .await
            .result();
        assert_eq!(result["status"], "completed");
    }

    /// Every point of a collection with vectors and payload, by id.
    pub(crate) async fn all_points(&self, collection: &str) -> Vec<Value> {
        let path = format!("/collections/{collection}/points/scroll");
        let body = json!({"limit": 100_000, "with_payload": true, "with_vector": true});
        let page = self.post(&path, body).await.result();
        assert_eq!(page["next_page_offset"], Value::Null);
        page["points"].as_array().unwrap().clone()
    }

    /// Number of points.
    pub(crate) async fn count(&self, collection: &str, filter: Value) -> u64 {
        let path = format!("/collections/{collection}/points/count");
        let body = json!({"filter": filter, "exact": true});
        let result = self.post(&path, body).await.result();
        result["count"].as_u64().unwrap()
    }
}

/// The point with this id, as `fill_c` writes it.
pub(crate) fn point(id: u64) -> Value {
    json!({
        "id": id,
        "vector": [id % 7, id % 5, id % 3, 1],
        "payload": {"group": format!("g{}", id % 4), "number": id},
    })
}

/// The ids in an array of points.
pub(crate) fn ids(points: &Value) -> Vec<u64> {
    let points = points.as_array().unwrap().iter();
    points.map(|point| point["id"].as_u64().unwrap()).collect()
}
