//! Failure codes: the stable identifiers that programs branch on, in `Failure.code` on the wire and
//! in JSON output, each with its exit code.
//!
//! A code is added only if a caller would act differently. Codes are never renamed.

use crate::exit::ExitCode;
use std::fmt;
use std::str::FromStr;

/// A text that is no failure code of this release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failure code {0:?} is not known")]
pub struct UnknownCode(pub String);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $exit:ident, $retry:ident;)*) => {
        /// Why an action failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, in the order of the reference.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The kebab-case identifier.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The exit code of a program that ends with this failure.
            #[must_use]
            pub const fn exit_code(self) -> ExitCode {
                match self { $(Self::$name => ExitCode::$exit,)* }
            }

            /// Whether the same request may succeed later without anyone changing anything.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$name => codes!(@$retry),)* }
            }
        }
    };
    (@again) => { true };
    (@never) => { false };
}

codes! {
    /// A defect of Holdfast, or something it did not foresee.
    Internal = "internal", Internal, never;
    /// Wrong command line or request.
    Usage = "usage", Usage, never;
    /// The configuration is missing or invalid.
    Config = "config", Config, never;
    /// A certificate, key or identity was refused.
    Certificate = "certificate", Certificate, never;
    /// Two clocks are too far apart.
    ClockSkew = "clock-skew", Certificate, never;
    /// The role of the certificate may not do this.
    PermissionDenied = "permission-denied", PermissionDenied, never;
    /// The coordinator can't be reached.
    CoordinatorUnreachable = "coordinator-unreachable", Coordinator, again;
    /// Qdrant can't be reached.
    QdrantUnreachable = "qdrant-unreachable", Qdrant, again;
    /// Qdrant refused the API key.
    QdrantUnauthorized = "qdrant-unauthorized", Qdrant, never;
    /// Qdrant is older than the oldest supported release.
    QdrantTooOld = "qdrant-too-old", Qdrant, never;
    /// Qdrant is starting or in recovery.
    QdrantNotReady = "qdrant-not-ready", Qdrant, again;
    /// Qdrant answered with an error.
    QdrantError = "qdrant-error", Qdrant, again;
    /// A snapshot ended before it was complete.
    SnapshotTruncated = "snapshot-truncated", Qdrant, again;
    /// The agent's spool reached its limit.
    SpoolFull = "spool-full", Storage, again;
    /// A disk or bucket is full.
    DiskFull = "disk-full", Storage, never;
    /// A disk or bucket is read-only, or grants no right to write.
    ReadOnly = "read-only", Storage, never;
    /// A disk or bucket does not answer.
    StoreUnreachable = "store-unreachable", Storage, again;
    /// A disk or bucket fails at what is asked of it.
    StoreFailed = "store-failed", Storage, never;
    /// The repository belongs to something else.
    RepositoryForeign = "repository-foreign", Repository, never;
    /// The repository was written by a newer release.
    RepositoryNewer = "repository-newer", Repository, never;
    /// An object of the repository is damaged or missing.
    RepositoryDamaged = "repository-damaged", Repository, never;
    /// Another writer holds the repository.
    RepositoryLocked = "repository-locked", Repository, again;
    /// The store is a copy of the repository, or was replaced by one, or is none.
    RepositoryRole = "repository-role", Repository, never;
    /// The repository key does not open this repository.
    WrongKey = "wrong-key", Repository, never;
    /// No key of that holder.
    KeyNotFound = "key-not-found", NotFound, never;
    /// The holder's name, or the key, is in use already.
    KeyExists = "key-exists", Refused, never;
    /// The key is the only one that is proven to be at hand.
    KeyInUse = "key-in-use", Refused, never;
    /// No such collection.
    CollectionNotFound = "collection-not-found", NotFound, never;
    /// No such copy of the repository.
    CopyNotFound = "copy-not-found", NotFound, never;
    /// No such recovery point.
    PointNotFound = "point-not-found", NotFound, never;
    /// No captured shards and archived logs lead to the instant.
    InstantNotRecoverable = "instant-not-recoverable", Refused, never;
    /// No such job.
    JobNotFound = "job-not-found", NotFound, never;
    /// No such node, or it is not connected.
    NodeNotFound = "node-not-found", NotFound, never;
    /// The node was removed, and its certificate is refused.
    NodeRemoved = "node-removed", Certificate, never;
    /// No enrolment token with this secret.
    TokenUnknown = "token-unknown", PermissionDenied, never;
    /// The enrolment token was made for another node.
    TokenOtherNode = "token-other-node", PermissionDenied, never;
    /// The enrolment token was used, or revoked.
    TokenUsed = "token-used", PermissionDenied, never;
    /// The enrolment token has expired.
    TokenExpired = "token-expired", PermissionDenied, never;
    /// Too many attempts failed from this address.
    Throttled = "throttled", Refused, again;
    /// The target of a restore exists.
    TargetExists = "target-exists", Refused, never;
    /// Source and target server versions don't fit.
    VersionMismatch = "version-mismatch", Refused, never;
    /// The plan can't be carried out.
    PlanBlocked = "plan-blocked", Refused, never;
    /// A hold, a pin, a rule or a grace keeps the recovery point.
    PointKept = "point-kept", Refused, never;
    /// A second operator must ask for the same.
    SecondOperator = "second-operator", Refused, never;
    /// A required extra could not be captured: its hook failed, or its files.
    ExtraFailed = "extra-failed", JobFailed, never;
    /// No such extra in the recovery point.
    ExtraNotFound = "extra-not-found", NotFound, never;
    /// Another job works on the same collection.
    JobConflict = "job-conflict", Refused, again;
    /// A newer coordinator has taken over.
    StaleEpoch = "stale-epoch", Refused, never;
    /// Cancelled on request.
    Cancelled = "cancelled", JobFailed, never;
    /// A job failed for a reason that has no code of its own.
    JobFailed = "job-failed", JobFailed, never;
    /// Interrupted by a signal.
    Interrupted = "interrupted", Interrupted, again;
    /// What was restored is not equal to what was captured.
    ProofFailed = "proof-failed", ProofFailed, never;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::Code;
    use crate::exit::ExitCode;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_kebab_case_and_parse_back() {
        let unique: BTreeSet<&str> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(unique.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(code.as_str().parse(), Ok(*code));
            assert!(
                code.as_str()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-')
            );
            assert_ne!(code.exit_code(), ExitCode::Ok, "{code}");
        }
        assert!("Internal".parse::<Code>().is_err());
        assert!("".parse::<Code>().is_err());
    }

    #[test]
    fn every_exit_code_but_success_has_a_failure() {
        let used: BTreeSet<u8> = Code::ALL.iter().map(|c| c.exit_code().code()).collect();
        for exit in ExitCode::ALL.into_iter().filter(|e| *e != ExitCode::Ok) {
            assert!(used.contains(&exit.code()), "{exit:?}");
        }
    }

    #[test]
    fn the_reference_lists_every_code_as_it_is() {
        let reference = include_str!("../../../docs/reference/errors.md");
        let rows = reference.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(rows.count(), Code::ALL.len());
        for code in Code::ALL {
            let retry = if code.is_retryable() { "yes" } else { "no" };
            let end = format!("| {} | {retry} |", code.exit_code() as u8);
            let start = format!("| `{code}` |");
            let listed = |line: &str| line.starts_with(&start) && line.ends_with(&end);
            assert!(reference.lines().any(listed), "{code}: {end}");
        }
    }
}
