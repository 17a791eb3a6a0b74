//! Every decision of the coordinator as a pure function: observation and request in, plan or
//! reasons out.
//!
//! A plan is data and leaves its executor no choice. The checkers ([`check_backup`],
//! [`check_restore`], [`check_retention`], [`instant::check_choice`], [`logs::check_logs`], [`schedule::check_verdict`]) read plans again and share no
//! code with the planners.
//! This crate does no IO, reads no clock and knows neither the wire nor the repository.

mod backup;
mod backup_check;
mod blocker;
mod cluster_check;
pub mod instant;
pub mod logs;
mod observation;
mod placement;
pub mod policy;
pub mod recency;
mod recovery_order;
mod restore;
mod restore_check;
mod restore_target;
mod retention;
pub mod schedule;
mod violation;

#[cfg(test)]
mod fixture;

pub use backup::{
    Asked, BackupPlan, BackupRequest, CaptureStep, ExtraStep, Gone, Lane, Lanes, Method,
    MethodWish, NodeFacts, Repin, Settlement, Standing, Trouble, has_other_replica, plan_backup,
    settle_backup,
};
pub use backup_check::check_backup;
pub use blocker::Blocker;
pub use observation::{
    ACTIVE, CollectionView, ExtraSeen, MAX_REPORT_AGE, NodeView, Observation, Past, Pulse,
    RemoteView, RunningJob, ServerSeen, ServerView, ShardView, TransferView,
};
pub use placement::{Holders, Unsettled, Wanted, agreed, assign, is_whole};
pub use recovery_order::RecoveryOrder;
pub use restore::{
    CapturedCollection, Mapping, PointView, Receiver, RestorePlan, RestoreRequest, RestoreStep,
    plan_restore,
};
pub use restore_check::check_restore;
pub use retention::{
    Claim, Decision, Deletion, Hold, LogReach, LogRun, NamePattern, NotYet, ParsePatternError,
    Period, PointFacts, PointState, PolicyError, Proof, Reason, Refused, RetentionPolicy,
    RetentionViolation, Rule, Tombstone, Verdict, check_retention, judge_deletion, judge_deletions,
    lock_until, may_sweep, plan_retention,
};
pub use violation::Violation;
