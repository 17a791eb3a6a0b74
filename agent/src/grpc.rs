//! What a gRPC status means to the agent.

use crate::failure::{Failed, chain};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use prost::Message as _;
use std::error::Error as _;
use tonic::{Code as Grpc, Status};

/// Metadata in which the coordinator names the failure's code.
pub const CODE_HEADER: &str = "holdfast-code";

/// A status as a failure to report.
#[must_use]
pub fn failed(status: &Status) -> Failed {
    if let Some(failure) = detailed(status) {
        return Failed {
            code: failure.code.parse().unwrap_or(Code::JobFailed),
            message: format!("the coordinator: {}", failure.message),
            retryable: failure.retryable,
        };
    }
    let mut message = status.message().to_owned();
    if let Some(cause) = status.source() {
        let cause = chain(cause);
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    let code = named_code(status).unwrap_or_else(|| code_of(status.code()));
    Failed {
        code,
        message: format!("the coordinator: {message}"),
        retryable: code.is_retryable() || is_transient(status),
    }
}

/// Whether the connection or the session broke, so that the same work may go on over a new one.
#[must_use]
pub fn is_transient(status: &Status) -> bool {
    if let Some(failure) = detailed(status) {
        return failure.retryable;
    }
    if let Some(code) = named_code(status) {
        return code.is_retryable();
    }
    match status.code() {
        // A broken HTTP/2 connection surfaces as one of the first four.
        Grpc::Unavailable
        | Grpc::Unknown
        | Grpc::Internal
        | Grpc::Cancelled
        | Grpc::Aborted
        | Grpc::DeadlineExceeded => true,
        Grpc::Ok
        | Grpc::InvalidArgument
        | Grpc::NotFound
        | Grpc::AlreadyExists
        | Grpc::PermissionDenied
        | Grpc::ResourceExhausted
        | Grpc::FailedPrecondition
        | Grpc::OutOfRange
        | Grpc::Unimplemented
        | Grpc::DataLoss
        | Grpc::Unauthenticated => false,
    }
}

/// The coordinator puts the whole failure into the status's details.
fn detailed(status: &Status) -> Option<v1::Failure> {
    let failure = v1::Failure::decode(status.details()).ok()?;
    (!failure.code.is_empty()).then_some(failure)
}

fn named_code(status: &Status) -> Option<Code> {
    status
        .metadata()
        .get(CODE_HEADER)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn code_of(code: Grpc) -> Code {
    match code {
        Grpc::Unavailable
        | Grpc::Unknown
        | Grpc::Cancelled
        | Grpc::Aborted
        | Grpc::DeadlineExceeded => Code::CoordinatorUnreachable,
        Grpc::PermissionDenied => Code::PermissionDenied,
        Grpc::Unauthenticated => Code::Certificate,
        Grpc::ResourceExhausted => Code::DiskFull,
        Grpc::DataLoss => Code::RepositoryDamaged,
        Grpc::FailedPrecondition | Grpc::NotFound => Code::JobFailed,
        Grpc::Ok
        | Grpc::Internal
        | Grpc::InvalidArgument
        | Grpc::AlreadyExists
        | Grpc::OutOfRange
        | Grpc::Unimplemented => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::{CODE_HEADER, failed, is_transient};
    use holdfast_proto::v1;
    use holdfast_service::failure::Code;
    use prost::Message as _;
    use tonic::Status;

    #[test]
    fn the_code_named_by_the_coordinator_wins() {
        let mut status = Status::unavailable("the repository's disk is full");
        assert!(is_transient(&status));
        assert_eq!(failed(&status).code, Code::CoordinatorUnreachable);
        status
            .metadata_mut()
            .insert(CODE_HEADER, "disk-full".parse().unwrap());
        assert!(!is_transient(&status));
        let failed = failed(&status);
        assert_eq!(failed.code, Code::DiskFull);
        assert_eq!(
            failed.message,
            "the coordinator: the repository's disk is full"
        );
    }

    #[test]
    fn the_failure_in_the_details_is_taken_whole() {
        let failure = v1::Failure {
            code: "repository-locked".into(),
            message: "another writer".into(),
            retryable: true,
        };
        let details = failure.encode_to_vec().into();
        let status = Status::with_details(tonic::Code::FailedPrecondition, "x", details);
        assert!(is_transient(&status));
        let failed = failed(&status);
        assert_eq!(failed.code, Code::RepositoryLocked);
        assert_eq!(failed.message, "the coordinator: another writer");
    }

    #[test]
    fn refusals_are_final() {
        for status in [
            Status::failed_precondition("x"),
            Status::permission_denied("x"),
            Status::invalid_argument("x"),
            Status::not_found("x"),
        ] {
            assert!(!is_transient(&status), "{status}");
        }
    }
}
