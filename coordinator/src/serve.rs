//! The gRPC server: our own TLS accept loop, the authorisation table in front of every service, limits
//! for bulk streams.

use crate::core::Core;
use crate::fault::{Fault, chain};
use crate::rpc::admin::AdminService;
use crate::rpc::control::Control;
use crate::rpc::copies::CopiesService;
use crate::rpc::enrolment::EnrolmentService;
use crate::rpc::ingest::IngestService;
use crate::rpc::jobs::JobsService;
use crate::rpc::logs::LogService;
use crate::rpc::nodes::NodesService;
use crate::rpc::restore::RestoreService;
use crate::rpc::retention::RetentionService;
use crate::rpc::schedules::SchedulesService;
use holdfast_certs::authz::{AuthzLayer, Gate};
use holdfast_certs::{ServerTls, incoming, incoming_strangers};
use holdfast_proto::FILE_DESCRIPTOR_SET;
use holdfast_proto::limits::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT,
    MAX_ADMIN_MESSAGE_BYTES, MAX_MESSAGE_BYTES, STREAM_WINDOW_BYTES,
};
use holdfast_proto::v1::admin_server::AdminServer;
use holdfast_proto::v1::agent_control_server::AgentControlServer;
use holdfast_proto::v1::copies_server::CopiesServer;
use holdfast_proto::v1::enrolment_server::EnrolmentServer;
use holdfast_proto::v1::ingest_server::IngestServer;
use holdfast_proto::v1::jobs_server::JobsServer;
use holdfast_proto::v1::log_archive_server::LogArchiveServer;
use holdfast_proto::v1::nodes_server::NodesServer;
use holdfast_proto::v1::restore_server::RestoreServer;
use holdfast_proto::v1::retention_server::RetentionServer;
use holdfast_proto::v1::schedules_server::SchedulesServer;
use holdfast_service::failure::Code;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::Server;

/// Calls of one connection at once. An agent needs a handful.
const CONCURRENT_STREAMS: u32 = 64;

/// How long open calls may take to end when the process stops.
const GRACE: Duration = Duration::from_secs(5);

/// A token, a name and a request for a certificate.
const MAX_APPLICATION_BYTES: usize = 16 << 10;

/// A caller without a certificate has this long for all it wants.
const ENROLMENT_WITHIN: Duration = Duration::from_secs(30);

/// A service with limits on its messages.
macro_rules! bounded {
    ($server:expr) => {
        bounded!($server, MAX_MESSAGE_BYTES)
    };
    ($server:expr, $answer:expr) => {
        $server
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size($answer)
    };
}

/// Nobody whose node was removed.
fn members_only(core: &Arc<Core>) -> Gate {
    let core = Arc::clone(core);
    Gate::new(move |peer| core.members.check(peer).map_err(|fault| fault.to_status()))
}

/// Returns a while after the core's shutdown was requested.
async fn stopped(core: &Core) {
    core.shutdown.token().cancelled().await;
    core.dispatcher.close();
    // A peer that never closes its side must not keep the process.
    tokio::time::sleep(GRACE).await;
}

/// Serves enrolment, and nothing else, to callers without a certificate until the core's shutdown is requested.
pub async fn serve_enrolment(core: Arc<Core>, listener: TcpListener, tls: ServerTls) {
    let stop = core.shutdown.token();
    let service = EnrolmentServer::new(EnrolmentService::new(Arc::clone(&core), tls.clone()))
        .max_decoding_message_size(MAX_APPLICATION_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let server = Server::builder()
        .max_concurrent_streams(Some(1))
        .timeout(ENROLMENT_WITHIN)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .max_connection_age(ENROLMENT_WITHIN)
        // Else a caller that says nothing after the handshake would stay.
        .max_connection_age_grace(Duration::from_secs(1))
        .add_service(service)
        .serve_with_incoming_shutdown(incoming_strangers(listener, tls), stop.cancelled_owned());
    tokio::select! {
        served = server => if let Err(error) = served {
            tracing::error!(reason = chain(&error), "nobody is enrolled any more");
        },
        () = stopped(&core) => {}
    }
}

/// Serves until the core's shutdown is requested.
///
/// # Errors
/// If the server can't go on.
pub async fn serve(core: Arc<Core>, listener: TcpListener, tls: ServerTls) -> Result<(), Fault> {
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter
        .set_serving::<AdminServer<AdminService>>()
        .await;
    health_reporter
        .set_serving::<AgentControlServer<Control>>()
        .await;
    let reflect = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let no_reflection = |error| Fault::from_error(Code::Internal, &error);
    let reflection = reflect().build_v1().map_err(no_reflection)?;
    let reflection_alpha = reflect().build_v1alpha().map_err(no_reflection)?;

    let stop = core.shutdown.token();
    let server = Server::builder()
        .initial_stream_window_size(Some(STREAM_WINDOW_BYTES))
        .initial_connection_window_size(Some(CONNECTION_WINDOW_BYTES))
        .max_frame_size(Some(FRAME_BYTES))
        .max_concurrent_streams(Some(CONCURRENT_STREAMS))
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .layer(AuthzLayer::new().behind(members_only(&core)))
        .add_service(health)
        .add_service(reflection)
        .add_service(reflection_alpha)
        .add_service(bounded!(AgentControlServer::new(Control::new(
            core.clone()
        ))))
        .add_service(bounded!(IngestServer::new(IngestService::new(
            core.clone()
        ))))
        .add_service(bounded!(LogArchiveServer::new(LogService::new(
            core.clone()
        ))))
        .add_service(bounded!(RestoreServer::new(RestoreService::new(
            core.clone()
        ))))
        .add_service(bounded!(
            RetentionServer::new(RetentionService::new(core.clone())),
            MAX_ADMIN_MESSAGE_BYTES
        ))
        .add_service(bounded!(NodesServer::new(NodesService::new(
            core.clone(),
            tls.clone()
        ))))
        .add_service(bounded!(SchedulesServer::new(SchedulesService::new(
            core.clone()
        ))))
        .add_service(bounded!(
            JobsServer::new(JobsService::new(core.clone())),
            MAX_ADMIN_MESSAGE_BYTES
        ))
        .add_service(bounded!(
            CopiesServer::new(CopiesService::new(core.clone())),
            MAX_ADMIN_MESSAGE_BYTES
        ))
        .add_service(bounded!(
            AdminServer::new(AdminService::new(core.clone())),
            MAX_ADMIN_MESSAGE_BYTES
        ))
        .serve_with_incoming_shutdown(incoming(listener, tls), stop.cancelled_owned());
    tokio::select! {
        served = server => served.map_err(|error| Fault::from_error(Code::Internal, &error)),
        () = stopped(&core) => Ok(()),
    }
}
