//! The little of Qdrant's REST API that the demo needs to load, look and destroy. It goes straight to
//! the server, past everything of Holdfast, so that what it sees proves something.

use crate::failure::{Failure, Outcome};
use holdfast_service::failure::Code;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A bulk call to a busy two-core machine may take this long.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A Qdrant on loopback.
#[derive(Clone, Debug)]
pub(crate) struct Qdrant {
    http: reqwest::Client,
    base: String,
}

/// `GET /`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Root {
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) commit: Option<String>,
}

/// What the demo reads of `GET /collections/{c}`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Info {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) config: Value,
    #[serde(default)]
    pub(crate) payload_schema: BTreeMap<String, Value>,
    #[serde(default)]
    pub(crate) indexed_vectors_count: Option<u64>,
}

/// A point as a scroll returns it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) vector: Vec<f32>,
    #[serde(default)]
    pub(crate) payload: Option<BTreeMap<String, Value>>,
}

/// One page of a scroll.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) points: Vec<Record>,
    pub(crate) next_page_offset: Option<u64>,
}

/// One result of a query.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(crate) struct Hit {
    pub(crate) id: u64,
    pub(crate) score: f64,
}

#[derive(Deserialize)]
struct Answer<T> {
    result: T,
}

#[derive(Deserialize)]
struct Count {
    count: u64,
}

#[derive(Deserialize)]
struct Hits {
    points: Vec<Hit>,
}

#[derive(Deserialize)]
struct Aliases {
    aliases: Vec<Alias>,
}

#[derive(Deserialize)]
struct Alias {
    alias_name: String,
}

impl Qdrant {
    /// The server whose HTTP port on 127.0.0.1 is `port`.
    pub(crate) fn new(port: u16) -> Outcome<Self> {
        let http = reqwest::Client::builder()
            // Plain HTTP on loopback: works without the system's certificates too.
            .tls_certs_only([])
            // A proxy in the environment must not come between us and loopback.
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| {
                Failure::new(Code::Internal, "can't make an HTTP client").caused_by(&error)
            })?;
        Ok(Self {
            http,
            base: format!("http://127.0.0.1:{port}"),
        })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    /// Whether it answers that it is ready.
    pub(crate) async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/readyz", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Which server it is.
    pub(crate) async fn root(&self) -> Outcome<Root> {
        let text = self.text(Method::GET, "/", None::<&Value>).await?;
        parse("/", &text)
    }

    /// Makes the demo's collection.
    pub(crate) async fn create_collection(&self, name: &str, dim: u32) -> Outcome<()> {
        // Settings that are not the defaults, so that the proof sees whether they come back.
        let body = json!({
            "vectors": { "size": dim, "distance": "Cosine" },
            "hnsw_config": { "m": 12, "ef_construct": 48 },
        });
        self.order(Method::PUT, &format!("/collections/{name}"), &body)
            .await
    }

    /// Drops a collection.
    pub(crate) async fn delete_collection(&self, name: &str) -> Outcome<()> {
        self.order(Method::DELETE, &format!("/collections/{name}"), &json!({}))
            .await
    }

    /// Makes a payload index and waits for it.
    pub(crate) async fn create_index(
        &self,
        name: &str,
        field: &str,
        schema: &Value,
    ) -> Outcome<()> {
        let body = json!({ "field_name": field, "field_schema": schema });
        self.order(
            Method::PUT,
            &format!("/collections/{name}/index?wait=true"),
            &body,
        )
        .await
    }

    /// Points aliases at a collection.
    pub(crate) async fn create_aliases(&self, name: &str, aliases: &[&str]) -> Outcome<()> {
        let action = |alias: &&str| json!({ "create_alias": { "collection_name": name, "alias_name": alias } });
        let actions: Vec<Value> = aliases.iter().map(action).collect();
        self.order(
            Method::POST,
            "/collections/aliases",
            &json!({ "actions": actions }),
        )
        .await
    }

    /// Inserts or overwrites points and waits until that is applied.
    pub(crate) async fn upsert(&self, name: &str, points: &impl Serialize) -> Outcome<()> {
        #[derive(Serialize)]
        struct Body<'a, P> {
            points: &'a P,
        }
        let path = format!("/collections/{name}/points?wait=true");
        self.order(Method::PUT, &path, &Body { points }).await
    }

    /// Deletes points by id.
    pub(crate) async fn delete_points(&self, name: &str, ids: &[u64]) -> Outcome<()> {
        let path = format!("/collections/{name}/points/delete?wait=true");
        self.order(Method::POST, &path, &json!({ "points": ids }))
            .await
    }

    /// Replaces the whole payload of each point.
    pub(crate) async fn overwrite_payloads(
        &self,
        name: &str,
        payloads: &[(u64, Value)],
    ) -> Outcome<()> {
        let operation = |(id, payload): &(u64, Value)| json!({ "overwrite_payload": { "payload": payload, "points": [id] } });
        let operations: Vec<Value> = payloads.iter().map(operation).collect();
        let path = format!("/collections/{name}/points/batch?wait=true");
        self.order(Method::POST, &path, &json!({ "operations": operations }))
            .await
    }

    /// State and settings of a collection.
    pub(crate) async fn info(&self, name: &str) -> Outcome<Info> {
        self.ask(Method::GET, &format!("/collections/{name}"), None::<&Value>)
            .await
    }

    /// Names that point at a collection, sorted.
    pub(crate) async fn aliases(&self, name: &str) -> Outcome<Vec<String>> {
        let path = format!("/collections/{name}/aliases");
        let answer: Aliases = self.ask(Method::GET, &path, None::<&Value>).await?;
        let mut names: Vec<String> = answer.aliases.into_iter().map(|a| a.alias_name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The exact number of points.
    pub(crate) async fn count(&self, name: &str) -> Outcome<u64> {
        let path = format!("/collections/{name}/points/count");
        let answer: Count = self
            .ask(Method::POST, &path, Some(&json!({ "exact": true })))
            .await?;
        Ok(answer.count)
    }

    /// One page of all points with everything they have, by ascending id.
    pub(crate) async fn scroll(
        &self,
        name: &str,
        offset: Option<u64>,
        limit: u64,
    ) -> Outcome<Page> {
        let body =
            json!({ "offset": offset, "limit": limit, "with_payload": true, "with_vector": true });
        self.ask(
            Method::POST,
            &format!("/collections/{name}/points/scroll"),
            Some(&body),
        )
        .await
    }

    /// The ten nearest points by an exact search.
    pub(crate) async fn nearest(
        &self,
        name: &str,
        vector: &[f32],
        filter: &Value,
    ) -> Outcome<Vec<Hit>> {
        let body = json!({
            "query": vector, "filter": filter, "limit": 10, "params": { "exact": true },
            "with_payload": false, "with_vector": false,
        });
        let path = format!("/collections/{name}/points/query");
        let answer: Hits = self.ask(Method::POST, &path, Some(&body)).await?;
        Ok(answer.points)
    }

    async fn order(&self, method: Method, path: &str, body: &impl Serialize) -> Outcome<()> {
        self.text(method, path, Some(body)).await.map(drop)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Outcome<T> {
        let text = self.text(method, path, body).await?;
        parse::<Answer<T>>(path, &text).map(|answer| answer.result)
    }

    async fn text(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Outcome<String> {
        let failed = |error: reqwest::Error| {
            Failure::new(
                Code::QdrantUnreachable,
                format!("Qdrant did not answer {path}"),
            )
            .caused_by(&error.without_url())
        };
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed)?;
        if status.is_success() {
            return Ok(text);
        }
        let short: String = text.chars().take(500).collect();
        Err(Failure::new(
            Code::QdrantError,
            format!("Qdrant answered {path} with {status}"),
        )
        .because(short))
    }
}

fn parse<T: DeserializeOwned>(path: &str, text: &str) -> Outcome<T> {
    serde_json::from_str(text).map_err(|error| {
        Failure::new(
            Code::QdrantError,
            format!("Qdrant's answer to {path} is not what the demo expects"),
        )
        .caused_by(&error)
    })
}
