//! How long the searches of others took, by the server's own count: what the database's users saw, not a probe of ours.
//!
//! `GET /telemetry` has, for each kind of request and each outcome, how many there were since the server's start and how long
//! they took together (1.18.3: `src/common/telemetry_ops/requests_telemetry.rs`). Two looks give the mean in between. A request
//! counts when it has ended: one that hangs is not in it.

use super::QdrantClient;
use crate::QdrantError;
use serde_json::Value;
use std::time::Duration;

/// From this level on the time that requests took is told.
const TIMES: u32 = 1;
/// Of what the REST paths of searches end in, after `/points/`. Scrolls, counts and matrices are no searches: they may take long on purpose.
const REST: [&str; 4] = ["query", "search", "recommend", "discover"];
/// The same after `/qdrant.Points/` and, between the peers of a cluster, `/qdrant.PointsInternal/`.
const GRPC: [&str; 5] = ["Query", "Search", "Recommend", "Discover", "CoreSearch"];

/// Searches that have ended well since the server's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchCounts {
    /// Asked by clients.
    pub clients: Searches,
    /// Asked by other peers of the cluster, for what this one holds.
    pub peers: Searches,
}

/// Some searches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Searches {
    /// How many requests; a batch is one.
    pub count: u64,
    /// How long they took together, in microseconds.
    pub micros: u64,
}

impl SearchCounts {
    /// How long a search took between an earlier look and this one: the mean of the clients' or of the peers', whichever is
    /// more. `None` if there was none, or if the server was started anew.
    #[must_use]
    pub fn mean_since(&self, before: &Self) -> Option<Duration> {
        let clients = self.clients.mean_since(before.clients);
        let peers = self.peers.mean_since(before.peers);
        clients.max(peers)
    }
}

impl Searches {
    fn mean_since(self, before: Self) -> Option<Duration> {
        let count = self.count.checked_sub(before.count)?;
        let micros = self.micros.checked_sub(before.micros)?;
        micros.checked_div(count).map(Duration::from_micros)
    }

    fn add(&mut self, stats: &Value) {
        let number = |name: &str| stats[name].as_u64();
        // What has no time counts for nothing: a mean must not be less than it was.
        if let (Some(count), Some(micros)) = (number("count"), number("total_duration_micros")) {
            self.count = self.count.saturating_add(count);
            self.micros = self.micros.saturating_add(micros);
        }
    }
}

impl QdrantClient {
    /// What the server counts of searches; `None` if it does not say, or not to this API key.
    pub async fn searches(&self) -> Result<Option<SearchCounts>, QdrantError> {
        let telemetry = self.telemetry(TIMES).await?;
        Ok(telemetry.as_ref().and_then(counts))
    }
}

fn counts(telemetry: &Value) -> Option<SearchCounts> {
    let requests = telemetry.get("requests")?;
    let mut found = SearchCounts::default();
    let responses = |kind: &str| requests[kind]["responses"].as_object();
    let (rest, grpc) = (responses("rest"), responses("grpc"));
    if rest.is_none() && grpc.is_none() {
        return None;
    }
    for (endpoint, outcomes) in rest.into_iter().flatten() {
        if let Some((_, asked)) = endpoint.rsplit_once("/points/")
            && REST.iter().any(|kind| rest_kind(asked, kind))
            && !asked.contains("matrix")
        {
            found.clients.add(&outcomes["200"]);
        }
    }
    for (endpoint, outcomes) in grpc.into_iter().flatten() {
        let (sum, method) = if let Some(method) = endpoint.strip_prefix("/qdrant.Points/") {
            (&mut found.clients, method)
        } else if let Some(method) = endpoint.strip_prefix("/qdrant.PointsInternal/") {
            (&mut found.peers, method)
        } else {
            continue;
        };
        if GRPC.iter().any(|kind| grpc_kind(method, kind)) {
            sum.add(&outcomes["0"]);
        }
    }
    Some(found)
}

/// `query`, `query/batch`, `query/groups`.
fn rest_kind(asked: &str, kind: &str) -> bool {
    asked
        .strip_prefix(kind)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `Query`, `QueryBatch`, `QueryGroups`.
fn grpc_kind(method: &str, kind: &str) -> bool {
    method
        .strip_prefix(kind)
        .is_some_and(|rest| ["", "Batch", "Groups"].contains(&rest))
}

#[cfg(test)]
mod tests {
    use super::{SearchCounts, Searches, counts};
    use serde_json::{Value, json};
    use std::time::Duration;

    fn stats(count: u64, micros: u64) -> Value {
        json!({"count": count, "avg_duration_micros": 1.0, "total_duration_micros": micros})
    }

    #[test]
    fn searches_are_told_from_everything_else() {
        let telemetry = json!({"id": "x", "requests": {
            "rest": {"responses": {
                "POST /collections/{collection_name}/points/query": {"200": stats(3, 300), "400": stats(9, 9)},
                "POST /collections/{name}/points/search/batch": {"200": stats(2, 1000)},
                "POST /collections/{name}/points/search/matrix/pairs": {"200": stats(1, 9_000_000)},
                "POST /collections/{name}/points/scroll": {"200": stats(1, 9_000_000)},
                "PUT /collections/{name}/points": {"200": stats(1, 9_000_000)},
                "POST /collections/{name}/points/recommend": {"200": {"count": 7}},
                "GET /telemetry": {"200": stats(1, 9_000_000)},
            }},
            "grpc": {"responses": {
                "/qdrant.Points/QueryGroups": {"0": stats(1, 50), "5": stats(1, 9_000_000)},
                "/qdrant.Points/Upsert": {"0": stats(1, 9_000_000)},
                "/qdrant.PointsInternal/CoreSearchBatch": {"0": stats(4, 8)},
                "/qdrant.Raft/Send": {"0": stats(1, 9_000_000)},
            }},
        }});
        let found = counts(&telemetry).unwrap();
        let some = |count, micros| Searches { count, micros };
        assert_eq!(found.clients, some(6, 1350));
        assert_eq!(found.peers, some(4, 8));
    }

    #[test]
    fn who_tells_nothing_is_not_quick() {
        for silent in [
            json!({}),
            json!({"requests": null}),
            json!({"requests": {"rest": {}}}),
            json!([1]),
        ] {
            assert_eq!(counts(&silent), None, "{silent}");
        }
        let odd = json!({"requests": {"rest": {"responses": {"POST /points/query": 7}}}});
        assert_eq!(counts(&odd), Some(SearchCounts::default()));
    }

    #[test]
    fn the_mean_is_of_what_came_between() {
        let at = |clients: [u64; 2], peers: [u64; 2]| {
            let some = |[count, micros]: [u64; 2]| Searches { count, micros };
            SearchCounts {
                clients: some(clients),
                peers: some(peers),
            }
        };
        let before = at([100, 1_000_000], [10, 10]);
        assert_eq!(before.mean_since(&before), None, "no search");
        let later = at([102, 1_240_000], [11, 500_010]);
        assert_eq!(
            later.mean_since(&before),
            Some(Duration::from_millis(500)),
            "the slower kind"
        );
        let only = at([102, 1_240_000], [10, 10]);
        assert_eq!(only.mean_since(&before), Some(Duration::from_millis(120)));
        assert_eq!(before.mean_since(&later), None, "another process");
    }
}
