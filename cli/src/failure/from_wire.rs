//! Translates what the coordinator answers into a [`Failure`]. The only place that looks at gRPC codes.

use super::{Action, Failure, advice};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use prost::Message;
use tonic::Status;

/// Says why a call was refused or failed.
pub(crate) fn from_status(action: Action, status: &Status) -> Failure {
    if let Some(error) = holdfast_certs::ConnectError::from_status(status) {
        return crate::client::explain(&error, action);
    }
    let detail = v1::Failure::decode(status.details())
        .ok()
        .filter(|failure| !failure.code.is_empty());
    if let Some(failure) = detail {
        return from_failure(action, &failure);
    }
    let code = code_of(status.code());
    let message = match status.message() {
        "" => format!("the coordinator answered {:?}", status.code()),
        text => text.to_owned(),
    };
    advise(action, code, Failure::new(code, message))
}

/// Says why a job ended without success.
pub(crate) fn from_job_failure(action: Action, failure: Option<&v1::Failure>) -> Failure {
    match failure {
        Some(failure) => from_failure(action, failure),
        None => advise(
            action,
            Code::JobFailed,
            Failure::new(Code::JobFailed, "the job failed without saying why"),
        ),
    }
}

/// A failure in the coordinator's words. An unknown code (of a newer coordinator) is kept as it is.
pub(crate) fn from_failure(action: Action, failure: &v1::Failure) -> Failure {
    let code = failure.code.parse().unwrap_or(Code::JobFailed);
    let mut told = Failure::new(code, failure.message.clone());
    told.0.code.clone_from(&failure.code);
    if failure.retryable && advice::todo(code).is_none() {
        told = told.todo("try again: it may succeed without any change");
    }
    advise(action, code, told)
}

fn advise(action: Action, code: Code, mut failure: Failure) -> Failure {
    if failure.0.todo.is_none() {
        failure.0.todo = advice::todo(code).map(str::to_owned);
    }
    let risk = if advice::refuses_before_anything_is_done(code) && action != Action::Read {
        "nothing: it was refused before anything was done"
    } else {
        action.risk()
    };
    failure.risking(risk)
}

fn code_of(code: tonic::Code) -> Code {
    match code {
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => Code::CoordinatorUnreachable,
        tonic::Code::PermissionDenied => Code::PermissionDenied,
        tonic::Code::Unauthenticated => Code::Certificate,
        tonic::Code::NotFound => Code::PointNotFound,
        tonic::Code::AlreadyExists => Code::TargetExists,
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Code::Usage,
        tonic::Code::Cancelled => Code::Cancelled,
        tonic::Code::Unimplemented => Code::VersionMismatch,
        tonic::Code::FailedPrecondition => Code::PlanBlocked,
        tonic::Code::Aborted => Code::JobConflict,
        tonic::Code::ResourceExhausted => Code::DiskFull,
        tonic::Code::DataLoss => Code::RepositoryDamaged,
        tonic::Code::Ok | tonic::Code::Unknown | tonic::Code::Internal => Code::Internal,
    }
}
