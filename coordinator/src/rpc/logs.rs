//! The stream of write-ahead logs: opens it, and hands on.

use super::peer;
use crate::core::Core;
use crate::logs;
use holdfast_proto::v1;
use holdfast_proto::v1::log_archive_server::LogArchive;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// The service.
#[derive(Clone, Debug)]
pub struct LogService(Arc<Core>);

impl LogService {
    /// The service of this coordinator.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self(core)
    }
}

#[tonic::async_trait]
impl LogArchive for LogService {
    type FollowStream = ReceiverStream<Result<v1::FollowAnswer, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<v1::FollowMessage>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let node = peer::node(&request)?;
        let (out, answers) = mpsc::channel(logs::ANSWERS);
        let core = Arc::clone(&self.0);
        let serving = logs::serve(core, node, request.into_inner(), out);
        drop(self.0.shutdown.clone().spawn(serving));
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
