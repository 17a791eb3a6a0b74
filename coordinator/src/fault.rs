//! Why a request or a job failed, as one value: recorded in the catalogue, sent to callers as
//! `Failure`, and attached to gRPC statuses as their details.

use holdfast_decide::Blocker;
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use std::error::Error;
use tonic::Status;

/// Metadata of a status that names the failure's code.
pub const CODE_HEADER: &str = "holdfast-code";

/// A failure for a caller: a code to branch on and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Kebab-case; possibly one that only a newer agent knows.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
    /// Whether the same request may succeed later without anyone changing anything.
    pub retryable: bool,
}

impl Fault {
    /// A failure that is as retryable as its code says.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code: code.as_str().to_owned(),
            message: message.into(),
            retryable: code.is_retryable(),
        }
    }

    /// A failure out of an error and its causes.
    #[must_use]
    pub fn from_error(code: Code, error: &dyn Error) -> Self {
        Self::new(code, chain(error))
    }

    /// The code if this release knows it, else `job-failed`.
    #[must_use]
    pub fn known_code(&self) -> Code {
        self.code.parse().unwrap_or(Code::JobFailed)
    }

    /// Puts the circumstances before the message.
    #[must_use]
    pub fn within(mut self, circumstances: &str) -> Self {
        self.message = format!("{circumstances}: {}", self.message);
        self
    }

    /// The wire's form.
    #[must_use]
    pub fn to_wire(&self) -> v1::Failure {
        v1::Failure {
            code: self.code.clone(),
            message: self.message.clone(),
            retryable: self.retryable,
        }
    }

    /// The status of a call that failed so: the failure itself is in its details, its code also in the
    /// metadata, for callers that look no further.
    #[must_use]
    pub fn to_status(&self) -> Status {
        let details = self.to_wire().encode_to_vec().into();
        let code = grpc_code(self.known_code());
        let mut status = Status::with_details(code, self.message.clone(), details);
        if let Ok(value) = self.code.parse() {
            status.metadata_mut().insert(CODE_HEADER, value);
        }
        status
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        fault.to_status()
    }
}

impl From<v1::Failure> for Fault {
    fn from(wire: v1::Failure) -> Self {
        Self {
            code: wire.code,
            message: wire.message,
            retryable: wire.retryable,
        }
    }
}

impl From<&Blocker> for Fault {
    fn from(blocker: &Blocker) -> Self {
        let code = match blocker {
            Blocker::JobRunning { .. } => Code::JobConflict,
            Blocker::NoNode
            | Blocker::NodeUnknown { .. }
            | Blocker::NodeDisconnected { .. }
            | Blocker::NodeSilent { .. }
            | Blocker::PresenceUnknown { .. } => Code::NodeNotFound,
            Blocker::SeveralNodes { .. } | Blocker::TargetTwice { .. } => Code::Usage,
            Blocker::Server { code, .. } => code.parse().unwrap_or(Code::QdrantError),
            Blocker::ServerTooOld { .. } => Code::QdrantTooOld,
            Blocker::CollectionUnknown { .. }
            | Blocker::NothingToCapture
            | Blocker::NothingFits { .. }
            | Blocker::Dropped { .. }
            | Blocker::CollectionNotInPoint { .. } => Code::CollectionNotFound,
            Blocker::NoReplicaLeft { .. } => Code::JobFailed,
            Blocker::IndependentCopies { .. }
            | Blocker::ShardsMissing { .. }
            | Blocker::MethodUnavailable { .. }
            | Blocker::UnusableName { .. }
            | Blocker::PointForeign { .. }
            | Blocker::KeysNeedCluster { .. }
            | Blocker::TooFewNodes { .. }
            | Blocker::InstantInCluster
            | Blocker::PeerUnusable { .. }
            | Blocker::AgentWithoutParts { .. } => Code::PlanBlocked,
            Blocker::PointUnknown { .. } => Code::PointNotFound,
            Blocker::PointDamaged { .. } => Code::RepositoryDamaged,
            Blocker::NoPoint => Code::PointNotFound,
            Blocker::CollectionInNoPoint { .. } => Code::CollectionNotFound,
            Blocker::OperationNeedsCollection { .. }
            | Blocker::DropNeedsCollection { .. }
            | Blocker::CopyHoldsNoLog { .. } => Code::Usage,
            Blocker::InstantOutOfReach { .. }
            | Blocker::NoCommonPoint { .. }
            | Blocker::NoLog { .. }
            | Blocker::NotDropped { .. }
            | Blocker::LifeUnknown { .. }
            | Blocker::StillArriving { .. }
            | Blocker::PerhapsMoved { .. }
            | Blocker::OperationNeedsOneShard { .. }
            | Blocker::OperationAmbiguous { .. }
            | Blocker::OperationOutOfReach { .. } => Code::InstantNotRecoverable,
            Blocker::AgentTooOld { .. } | Blocker::AgentWithoutRequests { .. } => Code::PlanBlocked,
            Blocker::TargetExists { .. } | Blocker::TargetIsAlias { .. } => Code::TargetExists,
            Blocker::VersionMismatch { .. } => Code::VersionMismatch,
        };
        Self {
            retryable: blocker.retryable(),
            ..Self::new(code, blocker.to_string())
        }
    }
}

/// All blockers as one failure: the first one's code, every sentence.
#[must_use]
pub fn blocked(blockers: &[Blocker]) -> Fault {
    let faults: Vec<Fault> = blockers.iter().map(Fault::from).collect();
    let sentences: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
    let message = sentences.join("; ");
    match faults.first() {
        Some(first) => Fault {
            message,
            retryable: faults.iter().all(|fault| fault.retryable),
            ..first.clone()
        },
        None => Fault::new(Code::PlanBlocked, "the plan can't be carried out"),
    }
}

/// The code of a failed write, where the kind of IO error tells one.
#[must_use]
pub fn storage_code(kind: std::io::ErrorKind) -> Option<Code> {
    use std::io::ErrorKind as Kind;
    [
        (Kind::StorageFull, Code::DiskFull),
        (Kind::QuotaExceeded, Code::DiskFull),
        (Kind::ReadOnlyFilesystem, Code::ReadOnly),
    ]
    .into_iter()
    .find_map(|(of, code)| (of == kind).then_some(code))
}

/// An error and its causes as one line; a cause that its effect repeats already is left out.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

fn grpc_code(code: Code) -> tonic::Code {
    match code {
        Code::Usage | Code::Config => tonic::Code::InvalidArgument,
        Code::Certificate
        | Code::PermissionDenied
        | Code::NodeRemoved
        | Code::TokenOtherNode
        | Code::TokenUsed
        | Code::TokenExpired => tonic::Code::PermissionDenied,
        Code::CollectionNotFound
        | Code::TokenUnknown
        | Code::PointNotFound
        | Code::JobNotFound
        | Code::NodeNotFound
        | Code::CopyNotFound
        | Code::KeyNotFound
        | Code::ExtraNotFound => tonic::Code::NotFound,
        Code::TargetExists | Code::KeyExists => tonic::Code::AlreadyExists,
        Code::JobConflict => tonic::Code::Aborted,
        Code::SpoolFull | Code::DiskFull | Code::Throttled => tonic::Code::ResourceExhausted,
        Code::RepositoryDamaged => tonic::Code::DataLoss,
        Code::CoordinatorUnreachable
        | Code::StoreUnreachable
        | Code::RepositoryLocked
        | Code::Interrupted => tonic::Code::Unavailable,
        Code::Cancelled => tonic::Code::Cancelled,
        Code::ClockSkew
        | Code::QdrantUnreachable
        | Code::QdrantUnauthorized
        | Code::QdrantTooOld
        | Code::QdrantNotReady
        | Code::QdrantError
        | Code::SnapshotTruncated
        | Code::ReadOnly
        | Code::StoreFailed
        | Code::RepositoryForeign
        | Code::RepositoryNewer
        | Code::RepositoryRole
        | Code::WrongKey
        | Code::KeyInUse
        | Code::VersionMismatch
        | Code::InstantNotRecoverable
        | Code::PlanBlocked
        | Code::PointKept
        | Code::SecondOperator
        | Code::StaleEpoch
        | Code::ExtraFailed
        | Code::ProofFailed => tonic::Code::FailedPrecondition,
        Code::Internal | Code::JobFailed => tonic::Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, blocked};
    use holdfast_decide::Blocker;
    use holdfast_proto::v1;
    use holdfast_service::failure::Code;
    use prost::Message as _;

    #[test]
    fn a_status_carries_the_failure() {
        let fault = Fault::new(Code::PointNotFound, "no such point");
        let status = fault.to_status();
        assert_eq!(status.code(), tonic::Code::NotFound);
        let wire = v1::Failure::decode(status.details()).unwrap();
        assert_eq!(Fault::from(wire), fault);
    }

    #[test]
    fn several_blockers_are_one_failure() {
        let fault = blocked(&[Blocker::NoNode, Blocker::NothingToCapture]);
        assert_eq!(fault.code, "node-not-found");
        assert!(fault.message.contains("; there is no collection"));
    }

    #[test]
    fn an_agents_own_code_is_kept() {
        let blocker = Blocker::Server {
            node: "n1".parse().unwrap(),
            code: "qdrant-unauthorized".into(),
            message: "wrong key".into(),
        };
        assert_eq!(Fault::from(&blocker).known_code(), Code::QdrantUnauthorized);
    }
}
