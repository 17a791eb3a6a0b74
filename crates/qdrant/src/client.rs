//! The REST client: how calls are made and their failures sorted.
//!
//! It does not retry: that is a decorator's task. Every call has a limit of time and of answer size.

mod changes;
mod collections;
mod listed;
mod optimizations;
mod partial;
mod searches;
mod snapshots;
mod stream;
mod telemetry;

pub use changes::ChangeAnswer;
pub use listed::Listed;
pub use optimizations::{Optimization, OptimizationLog};
pub use searches::{SearchCounts, Searches};
pub use stream::SnapshotStream;

use crate::{ClusterState, QdrantError, ServerInfo};
use holdfast_types::{AliasName, CollectionName, ServerVersion};
use listed::shown;
use reqwest::header::{CONNECTION, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use url::Url;

/// Largest JSON answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// Most of a server's error text that is passed on, in characters.
const MAX_MESSAGE: usize = 500;

/// How long calls may take.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// To open a connection.
    pub connect: Duration,
    /// For an ordinary call, from request to whole answer.
    pub request: Duration,
    /// For the server to make a stored snapshot.
    pub snapshot: Duration,
    /// For an upload and the server's work on it.
    pub upload: Duration,
    /// Between two pieces of a streamed snapshot.
    pub stream_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(60),
            snapshot: Duration::from_secs(3600),
            upload: Duration::from_secs(6 * 3600),
            stream_idle: Duration::from_secs(120),
        }
    }
}

/// Where and how to reach a server.
#[derive(Clone, Debug)]
pub struct QdrantConfig {
    /// Base address of the REST API, such as `http://127.0.0.1:6333`.
    pub url: Url,
    /// Sent as `api-key`. Capture needs write access to the collection, restore needs manage access.
    pub api_key: Option<SecretString>,
    /// Limits of time.
    pub timeouts: Timeouts,
}

impl QdrantConfig {
    /// A server without API key, with the default limits.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            api_key: None,
            timeouts: Timeouts::default(),
        }
    }
}

/// A client of one Qdrant server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QdrantClient {
    http: reqwest::Client,
    url: Url,
    timeouts: Timeouts,
}

/// The envelope of every JSON answer.
#[derive(Deserialize)]
struct Envelope<T> {
    result: T,
}

#[derive(Deserialize)]
struct RootWire {
    title: String,
    version: String,
    #[serde(default)]
    commit: Option<String>,
}

impl QdrantClient {
    /// A client; nothing is sent yet. The process must have installed a rustls provider.
    pub fn new(config: QdrantConfig) -> Result<Self, QdrantError> {
        let QdrantConfig {
            url,
            api_key,
            timeouts,
        } = config;
        if !url.username().is_empty() || url.password().is_some() {
            // It would get into logs and error texts, which name the address.
            let why =
                "the address must not hold a user name or password: Qdrant knows API keys only";
            return Err(QdrantError::Config(why.to_owned()));
        }
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            let why = format!("{url} is no http or https address");
            return Err(QdrantError::Config(why));
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // The HTTP library would panic.
            let why = "the process has not installed a TLS provider";
            return Err(QdrantError::Config(why.to_owned()));
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = api_key {
            let mut value = HeaderValue::from_str(key.expose_secret()).map_err(|_| {
                QdrantError::Config("the API key holds characters that no header may".to_owned())
            })?;
            value.set_sensitive(true);
            headers.insert("api-key", value);
        }
        let mut builder = reqwest::Client::builder();
        if url.scheme() == "http" {
            // Without this the client wants the system's certificates, which a slim image does not have.
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .default_headers(headers)
            .connect_timeout(timeouts.connect)
            // A redirect of a database call is a misconfiguration, and would carry the key elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            // A proxy from the environment must not see the data of a server that is next door.
            .no_proxy()
            .build()
            .map_err(|e| QdrantError::Config(causes(&e)))?;
        Ok(Self {
            http,
            url,
            timeouts,
        })
    }

    /// The server's base address.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Who answers: `GET /`. Any version is accepted; see [`Self::check_supported`].
    pub async fn root(&self) -> Result<ServerInfo, QdrantError> {
        self.root_by(self.call(Method::GET, &[])).await
    }

    /// The same over a connection of its own: a server that stops waits for connections that are kept open and used again and again.
    pub async fn root_apart(&self) -> Result<ServerInfo, QdrantError> {
        let call = self.call(Method::GET, &[]);
        self.root_by(call.header(CONNECTION, "close")).await
    }

    async fn root_by(&self, call: RequestBuilder) -> Result<ServerInfo, QdrantError> {
        let answer = self.send(call, self.timeouts.request).await?;
        let (context, body) = self.body(answer).await?;
        let not = |why: String| QdrantError::NotQdrant {
            url: self.url.to_string(),
            why,
        };
        let root: RootWire =
            serde_json::from_slice(&body).map_err(|e| not(format!("{context}: {e}")))?;
        if !root.title.to_ascii_lowercase().contains("qdrant") {
            return Err(not(format!("it calls itself {:?}", root.title)));
        }
        let version = root
            .version
            .parse()
            .map_err(|_| not(format!("its version {:?} can't be read", root.version)))?;
        Ok(ServerInfo {
            version,
            commit: root.commit.filter(|c| !c.is_empty()),
        })
    }

    /// Like [`Self::root`], but refuses a server that is too old or runs in recovery mode, and notices a wrong API
    /// key, which `GET /` does not ask for.
    pub async fn check_supported(&self) -> Result<ServerInfo, QdrantError> {
        let info = self.root().await?;
        if !info.version.is_supported() {
            return Err(QdrantError::TooOld {
                found: info.version,
                needed: ServerVersion::oldest_supported(),
            });
        }
        // Level 0 leaves the features out.
        let request = self.call(Method::GET, &["telemetry"]);
        let request = request.query(&[("details_level", 1)]);
        let telemetry: Value = match self.json(request, self.timeouts.request).await {
            Ok(telemetry) => telemetry,
            // A key for some collections may not ask; the mode then shows itself at the first capture.
            Err(QdrantError::Forbidden { .. }) => Value::Null,
            Err(error) => return Err(error),
        };
        let mode = telemetry.pointer("/app/features/recovery_mode");
        if mode.and_then(Value::as_bool) == Some(true) {
            return Err(QdrantError::InRecovery);
        }
        Ok(info)
    }

    /// The node's place in its cluster: `GET /cluster`.
    pub async fn cluster(&self) -> Result<ClusterState, QdrantError> {
        let raw: Value = self.get(&["cluster"]).await?;
        Ok(ClusterState {
            peer_id: raw.get("peer_id").and_then(Value::as_u64).unwrap_or(0),
            enabled: raw.get("status").and_then(Value::as_str) == Some("enabled"),
            raw,
        })
    }

    /// Every alias and the collection it points at, if both names are valid. [`Self::alias_names`] tells of the
    /// others.
    pub async fn aliases(&self) -> Result<Vec<(AliasName, CollectionName)>, QdrantError> {
        Ok(self.alias_names().await?.usable)
    }

    /// Every alias and the collection it points at, and those that have, or point at, a name that must not be used.
    pub async fn alias_names(&self) -> Result<Listed<(AliasName, CollectionName)>, QdrantError> {
        #[derive(Deserialize)]
        struct Aliases {
            aliases: Vec<Alias>,
        }
        #[derive(Deserialize)]
        struct Alias {
            alias_name: String,
            collection_name: String,
        }
        let found: Aliases = self.get(&["aliases"]).await?;
        let mut listed = Listed::default();
        for Alias {
            alias_name: alias,
            collection_name: target,
        } in found.aliases
        {
            match (alias.parse(), target.parse()) {
                (Ok(alias), Ok(target)) => listed.usable.push((alias, target)),
                (Err(_), _) | (_, Err(_)) => {
                    let (alias, target) = (shown(&alias), shown(&target));
                    let what = format!("alias {alias} of collection {target}");
                    listed.unusable.push(what);
                }
            }
        }
        Ok(listed)
    }

    /// A request to the path made of `segments`, each escaped.
    fn call(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        self.http.request(method, url)
    }

    async fn get<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, QdrantError> {
        self.json(self.call(Method::GET, segments), self.timeouts.request)
            .await
    }

    /// Sends a request and reads the `result` of its answer.
    async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        limit: Duration,
    ) -> Result<T, QdrantError> {
        let answer = self.send(request.timeout(limit), limit).await?;
        let (context, body) = self.body(answer).await?;
        let envelope: Envelope<T> =
            serde_json::from_slice(&body).map_err(|e| QdrantError::NotQdrant {
                url: self.url.to_string(),
                why: format!("its answer to {context} can't be read: {e}"),
            })?;
        Ok(envelope.result)
    }

    /// Sends a request; every status but success is an error. `limit` bounds the time to the head of the answer.
    async fn send(
        &self,
        request: RequestBuilder,
        limit: Duration,
    ) -> Result<(String, Response), QdrantError> {
        let (context, answer) = self.answer(request, limit).await?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok((context, answer));
        }
        let body = self
            .read_limited(answer, &context)
            .await
            .unwrap_or_default();
        Err(status_error(status, context, &message(&body)))
    }

    /// Sends a request; the head of its answer, whatever its status.
    async fn answer(
        &self,
        request: RequestBuilder,
        limit: Duration,
    ) -> Result<(String, Response), QdrantError> {
        let request = request
            .build()
            .map_err(|e| QdrantError::Config(e.to_string()))?;
        let context = format!("{} {}", request.method(), request.url().path());
        let sent = tokio::time::timeout(limit, self.http.execute(request)).await;
        match sent {
            Ok(Ok(answer)) => Ok((context, answer)),
            Ok(Err(error)) => Err(self.transport_error(error, context)),
            Err(_) => Err(QdrantError::Timeout { context }),
        }
    }

    async fn body(
        &self,
        (context, answer): (String, Response),
    ) -> Result<(String, Vec<u8>), QdrantError> {
        let body = self.read_limited(answer, &context).await?;
        Ok((context, body))
    }

    /// The body of an answer that is no snapshot. A server that trickles or falls silent must not hold the caller
    /// for ever.
    async fn read_limited(&self, answer: Response, context: &str) -> Result<Vec<u8>, QdrantError> {
        let reading = self.read_body(answer, context);
        tokio::time::timeout(self.timeouts.request, reading)
            .await
            .unwrap_or_else(|_| {
                Err(QdrantError::Timeout {
                    context: context.to_owned(),
                })
            })
    }

    async fn read_body(&self, mut answer: Response, context: &str) -> Result<Vec<u8>, QdrantError> {
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => {
                    return Err(QdrantError::NotQdrant {
                        url: self.url.to_string(),
                        why: format!("its answer to {context} is longer than {MAX_ANSWER} bytes"),
                    });
                }
                Ok(None) => return Ok(body),
                Err(error) => return Err(self.transport_error(error, context.to_owned())),
            }
        }
    }

    fn transport_error(&self, source: reqwest::Error, context: String) -> QdrantError {
        // The address is in the text already; a user name in it must not get into a log.
        let source = source.without_url();
        if source.is_connect() {
            QdrantError::Unreachable {
                url: self.url.to_string(),
                source,
            }
        } else if source.is_timeout() {
            QdrantError::Timeout { context }
        } else if source.is_body() || source.is_decode() {
            QdrantError::Truncated { context, source }
        } else {
            QdrantError::Unreachable {
                url: self.url.to_string(),
                source,
            }
        }
    }
}

/// The server's own words: JSON with `status.error`, or plain text on downloads.
fn message(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let text = json
        .as_ref()
        .and_then(|v| v.pointer("/status/error"))
        .and_then(Value::as_str)
        .map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_MESSAGE)
        .collect();
    match clean.trim() {
        "" => "no reason given".to_owned(),
        text => text.to_owned(),
    }
}

fn status_error(status: StatusCode, context: String, message: &str) -> QdrantError {
    let message = message.to_owned();
    match status.as_u16() {
        401 => QdrantError::Unauthorized { context },
        403 => QdrantError::Forbidden { context, message },
        404 => QdrantError::NotFound { context, message },
        408 => QdrantError::Timeout { context },
        409 => QdrantError::AlreadyExists { context, message },
        // Servers before 1.9 call it bad input.
        400 if message.contains("already exists") => {
            QdrantError::AlreadyExists { context, message }
        }
        400 | 422 => QdrantError::BadRequest { context, message },
        202 | 429 | 503 => QdrantError::NotReady { context, message },
        status => QdrantError::Server {
            context,
            status,
            message,
        },
    }
}

/// An error and everything behind it in one line: the HTTP library says nothing in the first.
fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests;
