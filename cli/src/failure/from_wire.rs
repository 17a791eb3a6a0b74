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
    let message = match (status.code(), status.message()) {
        (tonic::Code::Cancelled | tonic::Code::DeadlineExceeded, _) => {
            "the coordinator did not answer in time".to_owned()
        }
        (other, "") => format!("the coordinator answered {other:?}"),
        (_, text) => text.to_owned(),
    };
    refused(action, code, Failure::new(code, message))
}

/// Says why a job ended without success.
pub(crate) fn from_job_failure(action: Action, failure: Option<&v1::Failure>) -> Failure {
    match failure {
        // Whatever its code: a job that ran may have done a part of its work.
        Some(failure) => {
            let (code, told) = in_its_words(failure);
            advise(code, told).risking(action.risk())
        }
        None => advise(
            Code::JobFailed,
            Failure::new(Code::JobFailed, "the job failed without saying why"),
        )
        .risking(action.risk()),
    }
}

/// A failure of this kind with the usual advice.
pub(crate) fn advised(code: Code, message: String) -> Failure {
    advise(code, Failure::new(code, message))
}

/// A refusal in the coordinator's words.
pub(crate) fn from_failure(action: Action, failure: &v1::Failure) -> Failure {
    let (code, told) = in_its_words(failure);
    refused(action, code, told)
}

/// An unknown code (of a newer coordinator) is kept as it is.
fn in_its_words(failure: &v1::Failure) -> (Code, Failure) {
    let code = failure.code.parse().unwrap_or(Code::JobFailed);
    let mut told = Failure::new(code, failure.message.clone());
    told.0.code.clone_from(&failure.code);
    if failure.retryable && advice::todo(code).is_none() {
        told = told.todo("try again: it may succeed without any change");
    }
    (code, told)
}

/// A call that was answered with an error, so that no job began.
fn refused(action: Action, code: Code, failure: Failure) -> Failure {
    let risk = if advice::refuses_before_anything_is_done(code) && action != Action::Read {
        "nothing: it was refused before anything was done"
    } else {
        action.risk()
    };
    advise(code, failure).risking(risk)
}

fn advise(code: Code, mut failure: Failure) -> Failure {
    if failure.0.todo.is_none() {
        failure.0.todo = advice::todo(code).map(str::to_owned);
    }
    failure
}

fn code_of(code: tonic::Code) -> Code {
    match code {
        // A local deadline surfaces as Cancelled; jobs that were cancelled say so in their details.
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => {
            Code::CoordinatorUnreachable
        }
        tonic::Code::PermissionDenied => Code::PermissionDenied,
        tonic::Code::Unauthenticated => Code::Certificate,
        tonic::Code::NotFound => Code::PointNotFound,
        tonic::Code::AlreadyExists => Code::TargetExists,
        tonic::Code::InvalidArgument => Code::Usage,
        tonic::Code::Unimplemented => Code::VersionMismatch,
        tonic::Code::FailedPrecondition => Code::PlanBlocked,
        tonic::Code::Aborted => Code::JobConflict,
        tonic::Code::ResourceExhausted => Code::DiskFull,
        tonic::Code::DataLoss => Code::RepositoryDamaged,
        // OutOfRange is what an answer above the message limit becomes.
        tonic::Code::Ok
        | tonic::Code::Unknown
        | tonic::Code::Internal
        | tonic::Code::OutOfRange => Code::Internal,
    }
}
