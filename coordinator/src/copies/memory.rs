//! What is remembered of a copy, across restarts.

use crate::fault::Fault;
use crate::verify::VerifyMemory;
use holdfast_decide::schedule::backoff;
use holdfast_types::{Epoch, RecoveryPointId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is remembered of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyMemory {
    /// Since when it is configured.
    pub since: Option<Timestamp>,
    /// Set once it was made, or found.
    pub made: bool,
    /// Recovery points that it holds and that are not marked for removal there, as last seen.
    pub listed: Option<BTreeSet<RecoveryPointId>>,
    /// When the newest run began.
    pub begun: Option<Timestamp>,
    /// A run that has not ended.
    pub open: Option<OpenRun>,
    /// The last run that ended well.
    pub last: Option<EndedRun>,
    /// Why no run has ended well since.
    pub trouble: Option<CopyTrouble>,
    /// Whether an operator has asked for a run.
    pub asked: bool,
    /// Whether an operator has asked for a check, and for one of everything.
    pub check_asked: Option<bool>,
    /// Points that could not be copied, and why.
    pub uncopied: BTreeMap<RecoveryPointId, String>,
    /// Holds, pins and keys that only the copy has.
    pub only_here: BTreeSet<String>,
    /// Holds and pins of the primary that can't be read: until they can, nothing is removed from the copy.
    pub unread_marks: Vec<String>,
    /// When its rules were last applied.
    pub pruned: Option<Timestamp>,
    /// A term that the copy was written in, and that is newer than ours.
    pub newer_term: Option<Epoch>,
    /// Its checks.
    pub verify: Option<VerifyMemory>,
    /// When somebody cancelled a run: for a while after that none begins by itself.
    #[serde(default)]
    pub cancelled: Option<Timestamp>,
}

/// A run that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// When it began.
    pub started: Timestamp,
    /// Points that it had to bring.
    pub total: u64,
    /// Of them, those that came.
    pub done: u64,
    /// Bytes of packs that came.
    pub bytes: u64,
}

/// A run that ended well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRun {
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Points that came.
    pub points: u64,
    /// Bytes of packs that came.
    pub bytes: u64,
}

/// What is wrong with a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyTrouble {
    /// When it showed last.
    pub at: Timestamp,
    /// What.
    pub fault: Fault,
    /// Attempts that failed, one after the other.
    pub attempts: u32,
    /// When it is tried again.
    pub again: Timestamp,
}

impl CopyMemory {
    /// A run begins, or goes on.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.asked = false;
        self.cancelled = None;
        self.begun = Some(now);
        self.open.get_or_insert(OpenRun {
            started: now,
            total: 0,
            done: 0,
            bytes: 0,
        });
    }

    /// A run ended well.
    pub(super) fn end(&mut self, now: Timestamp) {
        self.trouble = None;
        self.newer_term = None;
        if let Some(open) = self.open.take() {
            self.last = Some(EndedRun {
                started: open.started,
                ended: now,
                points: open.done,
                bytes: open.bytes,
            });
        }
    }

    /// A run was cancelled.
    pub(super) fn cancel(&mut self, now: Timestamp) {
        self.open = None;
        self.cancelled = Some(now);
    }

    /// An attempt failed.
    pub(super) fn fail(&mut self, now: Timestamp, fault: Fault) {
        let attempts = self.trouble.as_ref().map_or(0, |before| before.attempts) + 1;
        self.open = None;
        self.trouble = Some(CopyTrouble {
            at: now,
            fault,
            attempts,
            again: now.after(backoff(attempts)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::CopyMemory;
    use crate::fault::Fault;
    use holdfast_service::failure::Code;
    use holdfast_types::Timestamp;
    use std::time::Duration;

    #[test]
    fn failures_are_tried_again_less_and_less_often_and_forgotten_by_a_success() {
        let mut memory = CopyMemory::default();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let now = Timestamp::EPOCH;
            memory.begin(now);
            memory.fail(now, Fault::new(Code::DiskFull, "full"));
            let again = memory.trouble.as_ref().unwrap().again;
            pauses.push(again.since(now).as_secs() / 60);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        let later = Timestamp::EPOCH.after(Duration::from_secs(60));
        memory.begin(later);
        memory.end(later);
        assert_eq!(memory.trouble, None);
        assert_eq!(memory.last.unwrap().started, later);
    }
}
