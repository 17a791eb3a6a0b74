//! For each kind of failure what is at risk and what to do, said once for all commands.

use holdfast_service::failure::Code;

/// What the user was doing, as far as it matters for what is at risk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Looking only.
    Read,
    /// Making a recovery point.
    Backup,
    /// Bringing collections back.
    Restore,
    /// Stopping a job.
    Cancel,
    /// Doing something to a copy of the repository.
    Copy,
    /// Checking the repository.
    Verify,
    /// Removing recovery points, or saying which must stay.
    Remove,
    /// Saying which nodes take part.
    Member,
}

impl Action {
    /// What a failure of this action puts at risk.
    pub(super) fn risk(self) -> &'static str {
        match self {
            Self::Read => "nothing: this command only reads",
            Self::Backup => {
                "no new recovery point was committed; earlier ones and the data in Qdrant are untouched"
            }
            Self::Restore => {
                "the recovery point is untouched; check the target with `holdfast collections` before \
                 using it"
            }
            Self::Cancel => "the job goes on until it is cancelled or ends by itself",
            Self::Copy => {
                "the copy at most: the repository itself is not concerned, and nothing of the copy is deleted"
            }
            Self::Verify => {
                "nothing by the check itself, which changes no object; if it found damage, what its log names"
            }
            Self::Remove => {
                "no recovery point is deleted before its grace is over; see what is marked with \
                 `holdfast backup list --deleted`"
            }
            Self::Member => {
                "recovery points and the data in Qdrant are untouched; see how the node stands with `holdfast nodes`"
            }
        }
    }
}

/// Whether the coordinator only ever answers so before it begins.
pub(super) fn refuses_before_anything_is_done(code: Code) -> bool {
    const REFUSALS: [Code; 14] = [
        Code::Usage,
        Code::PermissionDenied,
        Code::CollectionNotFound,
        Code::PointNotFound,
        Code::CopyNotFound,
        Code::ExtraNotFound,
        Code::NodeNotFound,
        Code::TargetExists,
        Code::VersionMismatch,
        Code::InstantNotRecoverable,
        Code::PlanBlocked,
        Code::JobConflict,
        Code::PointKept,
        Code::SecondOperator,
    ];
    REFUSALS.contains(&code)
}

const MAKE_WRITABLE: &str = "make the file system writable for the service, or grant its access key the right to write to the \
     bucket (docs/reference/s3.md), then try again. RequestTimeTooSkewed: set the clock; a refused key or signature: renew the credentials";
const SEE_THAT_IT_ANSWERS: &str = "see that the bucket's service or the disk answers (`holdfast repo probe` asks it), then try again";
const LOOK_AT_THE_STORE: &str = "look at the disk, or at the bucket's settings, for what the message names; `holdfast repo probe` \
     says whether the place still holds a repository";
const MOUNT_ITS_OWN: &str = "see that [repository] names this cluster's own repository, and that its volume is mounted; \
     docs/runbooks, \"The repository is gone from its place\"";
const KEPT: &str = "end what keeps it (`holdfast backup unpin ID`, `holdfast hold release NAME`), or wait until a lock or a restore has ended; \
     --even-the-last removes what only the floor or a safety capture's age keeps";
const EXTRA_FAILED: &str = "mend the hook or the files on that node, then back up again; with `required = false` in its [[extra]] \
     points are made without it (docs/reference/extras.md)";
const BRING_IT_BACK: &str = "bring the damaged object back from a copy of the repository; undamaged recovery points still \
     restore";
const UPGRADE: &str = "upgrade the coordinator: a newer release has written to the repository";
const ENROL_ANEW: &str = "see when and by whom: `holdfast nodes`; to let it back in, enrol it anew (docs/reference/nodes.md)";
const ANOTHER: &str =
    "see how tokens stand: `holdfast nodes tokens`; `holdfast nodes enrol NODE` makes a new one";
const FITTING_SERVER: &str =
    "restore into a server of the captured minor version or of the next one";

/// What to do about a failure of this kind; `None` if only its own message can say.
pub(super) fn todo(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::CoordinatorUnreachable => {
            "check that holdfast-coordinator runs and that --coordinator names its address"
        }
        Code::Certificate => {
            "compare the certificates with `holdfast certs show`: all must come from one authority"
        }
        Code::ClockSkew => "set the clocks of both machines by NTP, then try again",
        Code::PermissionDenied => {
            "use a certificate whose role may do this (`holdfast certs issue --role operator`)"
        }
        Code::QdrantUnreachable => {
            "check that Qdrant runs and that [qdrant] url in the agent's configuration names it"
        }
        Code::QdrantUnauthorized => {
            "name a file with a key that may write in [qdrant] api_key_file of the agent's configuration"
        }
        Code::QdrantTooOld => "upgrade Qdrant to 1.18.2 or newer",
        Code::QdrantNotReady => "wait until Qdrant has recovered, then try again",
        Code::QdrantError => "look into Qdrant's log at the time of the failure",
        Code::SnapshotTruncated => {
            "look into Qdrant's log: it stopped sending in the middle; then try again"
        }
        Code::SpoolFull => "raise the agent's [spool] max_mib, or free space on its disk",
        Code::DiskFull => "free space on the disk that is full, then try again",
        Code::ReadOnly => MAKE_WRITABLE,
        Code::StoreUnreachable => SEE_THAT_IT_ANSWERS,
        Code::StoreFailed => LOOK_AT_THE_STORE,
        Code::RepositoryForeign => MOUNT_ITS_OWN,
        Code::RepositoryNewer => UPGRADE,
        Code::RepositoryDamaged => BRING_IT_BACK,
        Code::RepositoryLocked => "stop the other coordinator that uses this repository",
        Code::RepositoryRole => {
            "see what each store is: `holdfast repo copy list`; docs/runbooks, \"The primary repository is lost\""
        }
        Code::WrongKey => {
            "use a key that opens the repository; whoever has one sees them with `holdfast key list`"
        }
        Code::CollectionNotFound => {
            "see which there are: `holdfast collections`, `holdfast backup show ID`"
        }
        Code::KeyNotFound | Code::KeyExists | Code::KeyInUse => {
            "see which there are: `holdfast key list`"
        }
        Code::CopyNotFound => "see which there are: `holdfast repo copy list`",
        Code::PointNotFound => "see which there are: `holdfast backup list`",
        Code::ExtraNotFound => "see which there are: `holdfast backup files ID`",
        Code::ExtraFailed => EXTRA_FAILED,
        Code::JobNotFound => "see which there are: `holdfast jobs list`",
        Code::NodeNotFound => "see which there are: `holdfast nodes`",
        Code::NodeRemoved => ENROL_ANEW,
        Code::TokenUnknown | Code::TokenOtherNode | Code::TokenUsed | Code::TokenExpired => ANOTHER,
        Code::Throttled => "wait a minute, then try again",
        Code::TargetExists => {
            "restore under another name (--as NAME), or replace it with --overwrite (it is captured first)"
        }
        Code::VersionMismatch => FITTING_SERVER,
        Code::InstantNotRecoverable => "see which instants there are: `holdfast restore window`",
        Code::PlanBlocked => "see what forbids it: `holdfast restore plan`",
        Code::PointKept => KEPT,
        Code::SecondOperator => "have another operator run the same command within the hour",
        Code::JobConflict => "wait for the other job (`holdfast jobs list`), or cancel it",
        Code::StaleEpoch => "another coordinator has taken over: talk to that one",
        Code::Cancelled => "start it again when you want it",
        Code::Interrupted => "start it again: chunks that were stored already are not sent twice",
        Code::JobFailed => "look into the coordinator's and the agent's log",
        Code::ProofFailed => "keep all data, don't trust the restored copy, and report this",
        Code::Config | Code::Usage | Code::Internal => return None,
    })
}
