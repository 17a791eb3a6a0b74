//! The gRPC interface, by the server traits that `qdrant-client` generates: collections, points and health.
//!
//! Requests become the bodies of the REST interface, so that both mean the same. What isn't here is UNIMPLEMENTED.

mod collections;
mod config_json;
mod filter_json;
mod points;
mod points_in;
mod query_json;
mod to_proto;

use crate::{Node, NodeError};
use qdrant_client::qdrant::collections_server::CollectionsServer;
use qdrant_client::qdrant::points_server::PointsServer;
use qdrant_client::qdrant::qdrant_server::{Qdrant, QdrantServer};
use qdrant_client::qdrant::{HealthCheckReply, HealthCheckRequest};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Largest message in bytes, as for REST bodies.
const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// The handler of every service.
#[derive(Clone)]
pub(crate) struct Service {
    node: Arc<Node>,
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// When the transport fails.
pub async fn serve(
    node: Arc<Node>,
    api_key: Option<String>,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = Service { node };
    let points = PointsServer::new(service.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let collections = CollectionsServer::new(service.clone());
    let key = api_key.filter(|key| !key.is_empty());
    let check = move |request: Request<()>| checked(request, key.as_deref());
    tonic::transport::Server::builder()
        .add_service(QdrantServer::new(service))
        .add_service(tonic::service::interceptor::InterceptedService::new(
            points,
            check.clone(),
        ))
        .add_service(tonic::service::interceptor::InterceptedService::new(
            collections,
            check,
        ))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
        .await
}

fn checked(request: Request<()>, key: Option<&str>) -> Result<Request<()>, Status> {
    let Some(key) = key else {
        return Ok(request);
    };
    let metadata = request.metadata();
    let plain = metadata
        .get("api-key")
        .and_then(|value| value.to_str().ok());
    let bearer = metadata
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match plain.or(bearer) {
        Some(given) if given == key => Ok(request),
        Some(_) => Err(Status::unauthenticated("Invalid API key or JWT")),
        None => Err(Status::unauthenticated(
            "Must provide an API key or an Authorization bearer token",
        )),
    }
}

#[tonic::async_trait]
impl Qdrant for Service {
    async fn health_check(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckReply>, Status> {
        Ok(Response::new(HealthCheckReply {
            title: "holdfast-devnode".into(),
            version: self.node.version().into(),
            commit: None,
        }))
    }
}

impl Service {
    /// Runs `action` on a blocking thread.
    async fn blocking<T: Send + 'static>(
        &self,
        action: impl FnOnce(&Node) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, Status> {
        let node = Arc::clone(&self.node);
        tokio::task::spawn_blocking(move || action(&node))
            .await
            .unwrap_or_else(|_| Err(NodeError::Service("the request's task panicked".into())))
            .map_err(status)
    }
}

fn status(error: NodeError) -> Status {
    let text = error.to_string();
    match error {
        NodeError::BadInput(_) | NodeError::Format(_) | NodeError::Checksum { .. } => {
            Status::invalid_argument(text)
        }
        NodeError::AlreadyExists(_) => Status::already_exists(text),
        NodeError::NotFound(_) => Status::not_found(text),
        NodeError::Unsupported(_) => Status::unimplemented(text),
        NodeError::Service(_) => {
            tracing::error!(%error, "request failed");
            Status::internal(text)
        }
    }
}
