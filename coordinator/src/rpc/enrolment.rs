//! Enrolment in wire form: the one service for callers without a certificate.

use super::apart;
use crate::core::Core;
use crate::enrolment::{self, Application};
use crate::fault::{Fault, chain};
use holdfast_certs::enrol::Secret;
use holdfast_certs::{ServerTls, Stranger};
use holdfast_proto::v1;
use holdfast_proto::v1::enrolment_server::Enrolment;
use holdfast_service::failure::Code;
use holdfast_types::{ClusterName, NodeId, ParseNameError, Timestamp};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone, Debug)]
pub struct EnrolmentService {
    core: Arc<Core>,
    tls: ServerTls,
}

impl EnrolmentService {
    /// The service of this coordinator, which is known by `tls`.
    #[must_use]
    pub fn new(core: Arc<Core>, tls: ServerTls) -> Self {
        Self { core, tls }
    }
}

#[tonic::async_trait]
impl Enrolment for EnrolmentService {
    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        let stranger = Stranger::of(&request).copied();
        // At any other door, callers have certificates and need no token.
        let stranger = stranger.ok_or_else(|| Status::permission_denied("not at this address"))?;
        let application = application(request.into_inner())?;
        let core = Arc::clone(&self.core);
        let redeeming =
            async move { enrolment::redeem(&core, &application, stranger.remote()).await };
        let signed = apart(redeeming).await?;
        Ok(Response::new(v1::EnrolResponse {
            chain: vec![signed.der.to_vec().into()],
            authorities: self.tls.authorities().into_iter().map(Into::into).collect(),
        }))
    }
}

fn application(wire: v1::EnrolRequest) -> Result<Application, Fault> {
    let name = |field: &str, error: &ParseNameError| {
        let error = chain(error);
        Fault::new(Code::Usage, format!("{field} is not valid: {error}"))
    };
    let secret = Secret::from_bytes(&wire.secret);
    let node: Result<NodeId, _> = wire.node.parse();
    let cluster: Result<ClusterName, _> = wire.cluster.parse();
    Ok(Application {
        secret: secret.ok_or_else(|| Fault::new(Code::Usage, "the secret is not of 16 bytes"))?,
        node: node.map_err(|error| name("node", &error))?,
        cluster: cluster.map_err(|error| name("cluster", &error))?,
        csr: wire.csr.to_vec(),
        now: Timestamp::from_micros(wire.now_us),
        program: wire.program.map(|p| p.version).unwrap_or_default(),
    })
}
