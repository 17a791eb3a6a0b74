//! What the optimizers of a collection do, and did.

use super::QdrantClient;
use crate::QdrantError;
use holdfast_types::CollectionName;
use reqwest::Method;
use serde::Deserialize;
use std::time::Duration;

/// More than a server keeps of a collection (1.18.3: 16 of each shard, and all that failed).
const ALL: u32 = 1_000_000;
/// Answered in milliseconds, unless another node of the cluster hangs: of that one Qdrant gives up after 9 s, which every capture
/// would wait for.
const WITHIN: Duration = Duration::from_secs(3);

/// The optimizations that a server tells of, of all shards and nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptimizationLog {
    /// Under way. Qdrant (1.18.3, read in the source) lists one before it does anything to a segment, and calls it
    /// ended only after the last one is in place.
    pub running: Vec<Optimization>,
    /// The last ones that ended, however they did.
    pub ended: Vec<Optimization>,
}

/// One run of an optimizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Optimization {
    /// Its id, which becomes that of the segment it makes.
    pub id: String,
    /// Ids of the segments that it replaces.
    pub segments: Vec<String>,
}

#[derive(Deserialize)]
struct LogWire {
    running: Vec<OptimizationWire>,
    completed: Vec<OptimizationWire>,
}

#[derive(Deserialize)]
struct OptimizationWire {
    uuid: String,
    segments: Vec<SegmentWire>,
}

#[derive(Deserialize)]
struct SegmentWire {
    uuid: String,
}

impl QdrantClient {
    /// `GET /collections/{c}/optimizations`: read access is enough.
    pub async fn optimizations(
        &self,
        collection: &CollectionName,
    ) -> Result<OptimizationLog, QdrantError> {
        let path = ["collections", collection.as_str(), "optimizations"];
        let request = self.call(Method::GET, &path);
        let request = request.query(&[("with", "completed")]);
        let request = request.query(&[("completed_limit", ALL)]);
        let log: LogWire = self
            .json(request, self.timeouts.request.min(WITHIN))
            .await?;
        let plain = |wire: OptimizationWire| Optimization {
            id: wire.uuid,
            segments: wire.segments.into_iter().map(|s| s.uuid).collect(),
        };
        Ok(OptimizationLog {
            running: log.running.into_iter().map(plain).collect(),
            ended: log.completed.into_iter().map(plain).collect(),
        })
    }
}
