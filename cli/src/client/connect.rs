//! Makes the connection, and explains why there is none.

use super::Coordinator;
use crate::failure::{Action, Failure, Outcome};
use crate::settings::Settings;
use holdfast_certs::{ClientTls, ConnectError, ConnectOptions, Role, TlsPaths, connect as dial};
use holdfast_proto::limits;
use holdfast_proto::v1::admin_client::AdminClient;
use holdfast_proto::v1::copies_client::CopiesClient;
use holdfast_proto::v1::jobs_client::JobsClient;
use holdfast_proto::v1::nodes_client::NodesClient;
use holdfast_proto::v1::retention_client::RetentionClient;
use holdfast_proto::v1::schedules_client::SchedulesClient;
use holdfast_service::failure::Code;

const NOTHING: &str = "nothing: the coordinator was not asked to do anything";

/// Connects to the coordinator and returns when it has accepted us.
pub(crate) async fn connect(settings: &Settings) -> Outcome<Coordinator> {
    let paths = TlsPaths {
        cert: settings.cert.clone(),
        key: settings.key.clone(),
        ca: settings.ca.clone(),
    };
    let tls = ClientTls::load(paths).map_err(|error| {
        Failure::new(
            Code::Certificate,
            "this program's own certificate can't be used",
        )
        .caused_by(&error)
        .risking(NOTHING)
        .todo("check the paths, and the files with `holdfast certs show`")
    })?;
    let channel = dial(&settings.coordinator, &tls, &options())
        .await
        .map_err(|error| explain(&error, Action::Read))?;
    let retention = RetentionClient::new(channel.clone())
        .max_decoding_message_size(limits::MAX_ADMIN_MESSAGE_BYTES)
        .max_encoding_message_size(limits::MAX_MESSAGE_BYTES);
    let schedules = SchedulesClient::new(channel.clone())
        .max_decoding_message_size(limits::MAX_ADMIN_MESSAGE_BYTES)
        .max_encoding_message_size(limits::MAX_MESSAGE_BYTES);
    let copies = CopiesClient::new(channel.clone())
        .max_decoding_message_size(limits::MAX_ADMIN_MESSAGE_BYTES)
        .max_encoding_message_size(limits::MAX_MESSAGE_BYTES);
    let jobs = JobsClient::new(channel.clone())
        .max_decoding_message_size(limits::MAX_ADMIN_MESSAGE_BYTES)
        .max_encoding_message_size(limits::MAX_MESSAGE_BYTES);
    let members = NodesClient::new(channel.clone())
        .max_decoding_message_size(limits::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(limits::MAX_MESSAGE_BYTES);
    let admin = AdminClient::new(channel.clone())
        .max_decoding_message_size(limits::MAX_ADMIN_MESSAGE_BYTES)
        .max_encoding_message_size(limits::MAX_MESSAGE_BYTES);
    Ok(Coordinator {
        admin,
        retention,
        schedules,
        copies,
        jobs,
        members,
        copy: String::new(),
        channel,
        endpoint: settings.coordinator.clone(),
    })
}

/// Why a connection was not made, also if that only shows at a later call.
pub(crate) fn explain(error: &ConnectError, action: Action) -> Failure {
    let code = error.code().parse().unwrap_or(Code::CoordinatorUnreachable);
    let risk = match action {
        Action::Read => NOTHING,
        Action::Backup
        | Action::Restore
        | Action::Cancel
        | Action::Copy
        | Action::Verify
        | Action::Remove
        | Action::Member => "nothing was asked of the coordinator by this call",
    };
    Failure::new(code, "there is no connection to the coordinator")
        .caused_by(error)
        .risking(risk)
        .todo(error.advice())
}

fn options() -> ConnectOptions {
    ConnectOptions {
        server_role: Role::Coordinator,
        connect_timeout: limits::CONNECT_TIMEOUT,
        keep_alive_interval: limits::KEEP_ALIVE_INTERVAL,
        keep_alive_timeout: limits::KEEP_ALIVE_TIMEOUT,
        stream_window: limits::STREAM_WINDOW_BYTES,
        connection_window: limits::CONNECTION_WINDOW_BYTES,
        max_frame: limits::FRAME_BYTES,
    }
}
