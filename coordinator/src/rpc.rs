//! The gRPC services, and what Prometheus is told: wire in, domain values inside, wire out. They hold no state of their own.

pub mod admin;
pub mod control;
pub mod copies;
pub mod enrolment;
mod follow;
pub mod ingest;
pub mod jobs;
pub mod logs;
pub mod metrics;
pub mod nodes;
mod peer;
pub mod restore;
pub mod retention;
pub mod schedules;
pub mod wire;

use crate::fault::Fault;
use tonic::Status;

/// On a task of its own: a caller that goes away does not stop it half way.
async fn apart<T: Send + 'static>(
    work: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::spawn(work).await;
    Ok(done.map_err(|join| Status::internal(join.to_string()))??)
}
