//! What speaks against capturing a replica.

use holdfast_types::NodeId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A Qdrant that takes longer than this for its simplest answer is overloaded.
pub(super) const OVERLOADED: Duration = Duration::from_secs(2);
/// A Qdrant that has not answered for longer than this hangs.
pub(super) const HANGS: Duration = Duration::from_secs(15);
/// An optimizer that has been at work for longer than this is not waited for any more.
pub(super) const OPTIMIZING_FOR_LONG: Duration = Duration::from_mins(10);

/// One reason not to capture a replica, or to prefer another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// A transfer takes the replica away.
    Moving,
    /// Its optimizers have been at work for long: a snapshot may lack deletions.
    Optimizing {
        /// Whole minutes.
        minutes: u64,
    },
    /// Its Qdrant is slow to answer.
    Overloaded {
        /// Milliseconds that its simplest answer took.
        answer_ms: u64,
    },
    /// Its agent was asked to look and has not answered in time.
    Late,
    /// Its Qdrant does not answer.
    Hangs {
        /// Seconds since its last answer.
        seconds: u64,
    },
    /// An operator has drained the node. Data comes first: where it has the only replica, that is captured all the same.
    Drained,
    /// Qdrant does not call the replica Active.
    State {
        /// Qdrant's name of the state.
        state: String,
        /// The node that says so; absent if it says so itself.
        seen_by: Option<NodeId>,
    },
    /// There is no replica on it.
    Absent,
    /// It shares no snapshots volume, and a stored snapshot was asked for.
    NotShared,
    /// A capture from it failed, in the same job.
    Failed {
        /// Why.
        why: String,
    },
    /// Its agent can't use its Qdrant.
    Failing {
        /// The agent's sentence.
        message: String,
    },
    /// Its agent has not reported lately.
    Silent,
    /// Its agent is not connected.
    Away,
    /// Nobody knows of it.
    Unknown,
    /// An operator has removed the node.
    Removed,
}

impl Trouble {
    /// How bad it is; replicas with a lower number are preferred.
    #[must_use]
    pub(crate) fn severity(&self) -> u8 {
        match self {
            Self::Moving => 1,
            Self::Optimizing { .. } => 2,
            Self::Overloaded { .. } => 3,
            Self::Late => 4,
            Self::Hangs { .. } => 5,
            Self::Drained => 9,
            Self::State { .. } => 10,
            Self::Absent => 11,
            Self::NotShared => 12,
            Self::Failed { .. } => 13,
            Self::Failing { .. } => 14,
            Self::Silent => 15,
            Self::Away => 16,
            Self::Unknown => 17,
            Self::Removed => 18,
        }
    }

    /// Whether the replica must not be captured at all.
    #[must_use]
    pub(crate) fn forbids(&self) -> bool {
        self.severity() >= 10
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moving => f.write_str("a transfer takes the replica away"),
            Self::Optimizing { minutes } => {
                write!(f, "its optimizers have been at work for {minutes} min")
            }
            Self::Overloaded { answer_ms } => write!(
                f,
                "its Qdrant is overloaded ({answer_ms} ms for the simplest answer)"
            ),
            Self::Late => f.write_str("its agent did not answer in time"),
            Self::Hangs { seconds } => {
                write!(f, "its Qdrant has not answered for {seconds} s")
            }
            Self::Drained => f.write_str("it is drained"),
            Self::State {
                state,
                seen_by: None,
            } => write!(f, "its replica is {state}"),
            Self::State {
                state,
                seen_by: Some(node),
            } => write!(f, "its replica is {state}, as {node} sees it"),
            Self::Absent => f.write_str("it has no replica"),
            Self::NotShared => f.write_str("it shares no snapshots volume"),
            Self::Failed { why } => write!(f, "a capture from it failed: {why}"),
            Self::Failing { message } => write!(f, "its Qdrant can't be used: {message}"),
            Self::Silent => f.write_str("its agent has not reported lately"),
            Self::Away => f.write_str("its agent is not connected"),
            Self::Unknown => {
                f.write_str("its agent has not connected since the coordinator started")
            }
            Self::Removed => f.write_str("it was removed"),
        }
    }
}
