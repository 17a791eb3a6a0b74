//! What operators say of nodes, in wire form.

use super::{apart, peer};
use crate::core::Core;
use crate::enrolment::{self, Ended, TokenRecord};
use crate::fault::{Fault, chain};
use crate::members::{self, Mark, Removal};
use holdfast_certs::ServerTls;
use holdfast_proto::v1;
use holdfast_proto::v1::nodes_server::Nodes;
use holdfast_service::failure::Code;
use holdfast_types::{NodeId, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// Longest reason, in bytes.
const MAX_REASON_BYTES: usize = 1024;

/// The service.
#[derive(Clone, Debug)]
pub struct NodesService(Arc<Core>, ServerTls);

impl NodesService {
    /// The service of this coordinator, which is known by `tls`.
    #[must_use]
    pub fn new(core: Arc<Core>, tls: ServerTls) -> Self {
        Self(core, tls)
    }

    fn mark(&self, by: String, reason: String) -> Result<Mark, Fault> {
        if reason.len() > MAX_REASON_BYTES {
            return Err(Fault::new(
                Code::Usage,
                format!("the reason is longer than {MAX_REASON_BYTES} bytes"),
            ));
        }
        Ok(Mark {
            since: self.0.clock.now(),
            by,
            reason,
        })
    }
}

#[tonic::async_trait]
impl Nodes for NodesService {
    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::DrainNodeResponse>, Status> {
        let by = peer::name(&request)?;
        let request = request.into_inner();
        let node = node("node", &request.node)?;
        let mark = self.mark(by, request.reason)?;
        let (core, of) = (Arc::clone(&self.0), node.clone());
        let said = async move { members::set_drained(&core, &of, Some(mark)).await };
        let (before, mark) = apart(said).await?;
        let seen = self.0.nodes.observation(self.0.epoch, None, 0);
        let only_here = members::only_on(&seen, &node).into_iter();
        Ok(Response::new(v1::DrainNodeResponse {
            was_drained: before.is_some(),
            mark: mark.as_ref().map(self::wire),
            only_here: only_here
                .map(|(collection, shard)| format!("{collection}/{shard}"))
                .collect(),
        }))
    }

    async fn undrain_node(
        &self,
        request: Request<v1::UndrainNodeRequest>,
    ) -> Result<Response<v1::UndrainNodeResponse>, Status> {
        let node = node("node", &request.into_inner().node)?;
        let core = Arc::clone(&self.0);
        let said = async move { members::set_drained(&core, &node, None).await };
        let (before, _) = apart(said).await?;
        Ok(Response::new(v1::UndrainNodeResponse {
            was_drained: before.is_some(),
        }))
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        let by = peer::name(&request)?;
        let request = request.into_inner();
        let node = node("node", &request.node)?;
        let successor = match request.successor.as_str() {
            "" => None,
            name => Some(self::node("successor", name)?),
        };
        let mark = self.mark(by, request.reason)?;
        let core = Arc::clone(&self.0);
        let removing = async move {
            let successor = successor.as_ref();
            Box::pin(members::remove(
                &core,
                &node,
                successor,
                mark,
                request.confirm,
            ))
            .await
        };
        let done = apart(removing).await?;
        Ok(Response::new(v1::RemoveNodeResponse {
            removed: done.removed,
            was_removed: done.before,
            risks: done.risks,
            effects: done.effects,
        }))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let by = peer::name(&request)?;
        let request = request.into_inner();
        let node = node("node", &request.node)?;
        let valid = Duration::from_secs(request.valid_secs.into());
        let valid = Some(valid).filter(|valid| !valid.is_zero());
        let (core, pin) = (Arc::clone(&self.0), self.1.authority());
        let listen = core.enrolments.section()?.listen.to_string();
        let making = async move { enrolment::create(&core, pin, node, valid, by).await };
        let (token, record) = apart(making).await?;
        Ok(Response::new(v1::CreateTokenResponse {
            token: token.to_string(),
            about: Some(self::token(&record, self.0.clock.now())),
            listen,
        }))
    }

    async fn list_tokens(
        &self,
        _request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let now = self.0.clock.now();
        let tokens = self.0.enrolments.list();
        Ok(Response::new(v1::ListTokensResponse {
            tokens: tokens.iter().map(|record| token(record, now)).collect(),
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let by = peer::name(&request)?;
        let id = request.into_inner().id;
        let core = Arc::clone(&self.0);
        let revoking = async move { enrolment::revoke(&core, &id, by).await };
        let record = apart(revoking).await?;
        Ok(Response::new(v1::RevokeTokenResponse {
            token: Some(token(&record, self.0.clock.now())),
        }))
    }
}

fn token(record: &TokenRecord, now: Timestamp) -> v1::EnrolmentToken {
    let (ended, by, serial) = match &record.ended {
        None => (0, "", ""),
        Some(Ended::Used { at, from, serial }) => (at.as_micros(), from.as_str(), serial.as_str()),
        Some(Ended::Revoked { at, by }) => (at.as_micros(), by.as_str(), ""),
    };
    v1::EnrolmentToken {
        id: record.id().to_owned(),
        node: record.node.to_string(),
        made: Some(wire(&record.made)),
        expires_us: record.expires.as_micros(),
        state: record.state(now).as_str().to_owned(),
        ended_us: ended,
        ended_by: by.to_owned(),
        serial: serial.to_owned(),
    }
}

/// An operator's word.
pub(super) fn wire(mark: &Mark) -> v1::NodeMark {
    v1::NodeMark {
        since_us: mark.since.as_micros(),
        by: mark.by.clone(),
        reason: mark.reason.clone(),
    }
}

/// Nodes that are gone for good.
pub(super) fn removed(core: &Core) -> Vec<v1::RemovedNode> {
    let wire = |(node, removal): (NodeId, Removal)| v1::RemovedNode {
        node: node.to_string(),
        mark: Some(self::wire(&removal.mark)),
        successor: removal
            .successor
            .map(|node| node.to_string())
            .unwrap_or_default(),
    };
    core.members.removals().into_iter().map(wire).collect()
}

fn node(field: &str, text: &str) -> Result<NodeId, Fault> {
    let parsed: Result<NodeId, _> = text.parse();
    parsed.map_err(|error| {
        Fault::new(
            Code::Usage,
            format!("{field} is not valid: {}", chain(&error)),
        )
    })
}
