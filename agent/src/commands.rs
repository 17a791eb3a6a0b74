//! The command table: which commands the agent has, how far they are, and how they ended.
//!
//! Pure: it is the content of the journal, and every change to it is one method. It runs nothing and
//! writes nothing; [`crate::journal::Journal`] makes it durable, [`crate::executor`] acts on it.

use crate::order::{Command, CommandId, Order, Work};
use crate::outcome::Outcome;
use holdfast_types::{CollectionName, Epoch, ShardId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

pub mod cleanup;
pub mod phase;

use cleanup::Cleanup;
use phase::Phase;

/// Outcomes kept so that a repeated command is answered instead of run again.
pub const KEPT_OUTCOMES: usize = 64;

/// Commands accepted and not yet finished, at most; more are refused.
pub const MAX_OPEN: usize = 1024;

/// Everything the agent must remember across a crash.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandTable {
    highest_epoch: Epoch,
    open: Vec<OpenCommand>,
    done: VecDeque<DoneCommand>,
    cleanups: Vec<Cleanup>,
}

/// A command that was accepted and has no outcome yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenCommand {
    /// Its id.
    pub id: CommandId,
    /// What it does.
    pub work: Work,
    /// What it has done so far to the outside.
    pub phase: Phase,
}

/// A command that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DoneCommand {
    /// Its id.
    pub id: CommandId,
    /// How it ended.
    pub outcome: Outcome,
}

/// What to do with a command that was offered.
#[derive(Clone, Debug, PartialEq)]
pub enum Offer {
    /// New: it is in the table now and must be run.
    Run,
    /// Already accepted: report its progress.
    Running,
    /// Already ended: report this again.
    Ended(Outcome),
    /// An order to stop the named command, which is open.
    Stop(CommandId),
    /// An order to stop the named command, which is not open: its outcome, if it is still known.
    NotOpen(CommandId, Option<Outcome>),
    /// Its epoch is older than one already seen.
    Stale {
        /// The newest epoch seen.
        newest: Epoch,
    },
    /// Too many commands wait.
    TooMany,
}

impl CommandTable {
    /// The newest epoch ever seen.
    #[must_use]
    pub fn highest_epoch(&self) -> Epoch {
        self.highest_epoch
    }

    /// Commands without an outcome, oldest first.
    #[must_use]
    pub fn open(&self) -> &[OpenCommand] {
        &self.open
    }

    /// The last outcomes, oldest first.
    pub fn done(&self) -> impl Iterator<Item = &DoneCommand> {
        self.done.iter()
    }

    /// What ended commands left on Qdrant and must still be removed.
    #[must_use]
    pub fn cleanups(&self) -> &[Cleanup] {
        &self.cleanups
    }

    /// The open command with this id.
    #[must_use]
    pub fn find_open(&self, id: &CommandId) -> Option<&OpenCommand> {
        self.open.iter().find(|open| open.id == *id)
    }

    /// Whether this command was accepted once and its outcome, if it has one, is still known.
    #[must_use]
    pub fn knows(&self, id: &CommandId) -> bool {
        self.find_open(id).is_some() || self.find_done(id).is_some()
    }

    /// Notes an epoch. False if it is older than one seen before, which must then be refused.
    pub fn note_epoch(&mut self, epoch: Epoch) -> bool {
        let fresh = epoch >= self.highest_epoch;
        self.highest_epoch = self.highest_epoch.max(epoch);
        fresh
    }

    /// Takes a command in, or says why not.
    pub fn offer(&mut self, command: Command) -> Offer {
        if !self.note_epoch(command.epoch) {
            return Offer::Stale {
                newest: self.highest_epoch,
            };
        }
        match command.order {
            Order::Cancel(id) if self.find_open(&id).is_some() => Offer::Stop(id),
            Order::Cancel(id) => {
                let outcome = self.find_done(&id).map(|done| done.outcome.clone());
                Offer::NotOpen(id, outcome)
            }
            Order::Work(work) => self.offer_work(command.id, work),
        }
    }

    fn offer_work(&mut self, id: CommandId, work: Work) -> Offer {
        if let Some(done) = self.find_done(&id) {
            return Offer::Ended(done.outcome.clone());
        }
        if self.find_open(&id).is_some() {
            return Offer::Running;
        }
        if self.open.len() >= MAX_OPEN {
            return Offer::TooMany;
        }
        self.open.push(OpenCommand {
            id,
            work,
            phase: Phase::Accepted,
        });
        Offer::Run
    }

    /// Records how far a command is. Does nothing if it has ended. A restore that begins takes over what
    /// an earlier one left under the same name: the name is no longer that of a leftover.
    pub fn advance(&mut self, id: &CommandId, phase: Phase) {
        let Some(open) = self.open.iter_mut().find(|open| open.id == *id) else {
            return;
        };
        open.phase = phase;
        if let (
            Work::Restore(order) | Work::RestorePart(order),
            Phase::Restoring(_) | Phase::Replaying(_),
        ) = (&open.work, &open.phase)
        {
            let target = &order.target;
            self.cleanups
                .retain(|left| !matches!(left, Cleanup::Collection { name, .. } if name == target));
        }
    }

    /// Ends a command. What its last phase left behind becomes a cleanup in the same step: a stored
    /// snapshot always, a collection that the restore created unless all its data is there.
    pub fn finish(&mut self, id: &CommandId, outcome: Outcome, now: Timestamp) {
        let Some(at) = self.open.iter().position(|open| open.id == *id) else {
            return;
        };
        let open = self.open.remove(at);
        let succeeded = matches!(
            outcome,
            Outcome::Captured(_) | Outcome::Restored(_) | Outcome::ExtraCaptured(_)
        );
        self.cleanups
            .extend(Cleanup::left_by(&open, succeeded, now));
        self.done.push_back(DoneCommand {
            id: open.id,
            outcome,
        });
        while self.done.len() > KEPT_OUTCOMES {
            self.done.pop_front();
        }
    }

    /// Adds something to be removed from Qdrant.
    pub fn add_cleanup(&mut self, cleanup: Cleanup) {
        if !self.cleanups.contains(&cleanup) {
            self.cleanups.push(cleanup);
        }
    }

    /// Forgets a cleanup that has been carried out or is moot.
    pub fn cleaned(&mut self, cleanup: &Cleanup) {
        self.cleanups.retain(|other| other != cleanup);
    }

    /// Whether a snapshot of this shard belongs to an open command, so that nothing else may delete it.
    #[must_use]
    pub fn owns_snapshot(&self, collection: &CollectionName, shard: ShardId, name: &str) -> bool {
        self.open
            .iter()
            .any(|open| match (&open.work, &open.phase) {
                (Work::Capture(order), Phase::Snapshot(taken)) => {
                    order.collection == *collection && order.shard == shard && taken.name == name
                }
                _ => false,
            })
    }

    /// Whether this snapshot is accounted for: an open command reads it, or a cleanup names it. It is
    /// then not the one that an unanswered request made.
    #[must_use]
    pub fn names_snapshot(&self, collection: &CollectionName, shard: ShardId, name: &str) -> bool {
        let named = Cleanup::Snapshot {
            collection: collection.clone(),
            shard,
            name: name.to_owned(),
        };
        self.owns_snapshot(collection, shard, name) || self.cleanups.contains(&named)
    }

    fn find_done(&self, id: &CommandId) -> Option<&DoneCommand> {
        self.done.iter().find(|done| done.id == *id)
    }
}

#[cfg(test)]
mod tests;
