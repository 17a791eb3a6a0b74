//! Enrolment of this agent: a token in, a certificate where the configuration wants it.
//!
//! It asks once and does not try again by itself: whoever typed it sees what came of it. What can be known to fail without the
//! coordinator fails before the token is spent.

use crate::config::AgentConfig;
use crate::control::protocol::PROGRAM_VERSION;
use crate::failure::{Failed, chain};
use crate::grpc;
use holdfast_certs::enrol::{Answer, Applicant, EnrolError, EnrolToken, PinnedServer};
use holdfast_certs::{CertificateInfo, ClientTls, ConnectOptions, Role};
use holdfast_proto::limits;
use holdfast_proto::v1;
use holdfast_proto::v1::enrolment_client::EnrolmentClient;
use holdfast_service::clock::{Clock as _, SystemClock};
use holdfast_service::failure::Code;
use std::fmt;
use tonic::Request;

/// What became of it.
#[derive(Debug)]
pub enum Enrolled {
    /// This certificate is there now.
    Now(Box<CertificateInfo>),
    /// A certificate of this node was there, and is valid.
    Before(Box<CertificateInfo>),
}

impl fmt::Display for Enrolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (said, info) = match self {
            Self::Now(info) => ("enrolled", info),
            Self::Before(info) => ("a certificate is there already, nothing was done", info),
        };
        let identity = info.identity.as_ref().map(ToString::to_string);
        writeln!(
            f,
            "{said}: {}, valid until {}",
            identity.unwrap_or_default(),
            info.not_after
        )
    }
}

/// The certificate of this node, if it is there and can be used: then there is nothing to do.
#[must_use]
pub fn before(config: &AgentConfig) -> Option<Enrolled> {
    let tls = ClientTls::load(config.tls.clone()).ok()?;
    let identity = tls.identity();
    let ours = identity.role() == Role::Agent && identity.name() == config.node.as_str();
    ours.then(|| Enrolled::Before(Box::new(tls.certificate())))
}

/// Presents the token at `endpoint`, `https://host:port` of the coordinator's enrolment, and puts key, certificate and
/// authorities into place.
///
/// # Errors
/// Why not; nothing is written then.
pub async fn run(
    config: &AgentConfig,
    endpoint: &str,
    token: &EnrolToken,
) -> Result<Enrolled, Failed> {
    let applicant = Applicant::begin(&config.node, &config.tls, token.pin())
        .map_err(|error| refused(&error))?;
    let options = ConnectOptions {
        connect_timeout: limits::CONNECT_TIMEOUT,
        ..ConnectOptions::default()
    };
    let server = PinnedServer::connect(endpoint, token, &options).await;
    let server = server.map_err(|error| {
        let code = error.code().parse().unwrap_or(Code::CoordinatorUnreachable);
        Failed::new(code, chain(&error)).and(error.advice())
    })?;
    let mut request = Request::new(v1::EnrolRequest {
        secret: token.secret().as_bytes().to_vec().into(),
        node: config.node.to_string(),
        cluster: config.cluster.to_string(),
        csr: applicant.csr().to_vec().into(),
        now_us: SystemClock.now().as_micros(),
        program: Some(v1::ProgramVersion {
            version: PROGRAM_VERSION.to_owned(),
        }),
    });
    request.set_timeout(limits::UNARY_DEADLINE);
    let answered = EnrolmentClient::new(server.channel.clone())
        .max_decoding_message_size(limits::MAX_MESSAGE_BYTES)
        .enrol(request)
        .await;
    let answer = answered
        .map_err(|status| grpc::failed(&status))?
        .into_inner();
    let ders = |list: Vec<bytes::Bytes>| list.iter().map(|der| der.to_vec()).collect();
    let answer = Answer::new(ders(answer.chain), ders(answer.authorities));
    let info = applicant.finish(&config.node, &server, &answer);
    let info =
        info.map_err(|error| refused(&error).and("the token is spent: have a new one made"))?;
    Ok(Enrolled::Now(Box::new(info)))
}

fn refused(error: &EnrolError) -> Failed {
    Failed::from_error(Code::Certificate, error)
}
