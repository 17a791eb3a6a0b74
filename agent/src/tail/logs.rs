//! All logs of the node: finds them, reads on in each, forgets those that are gone. It blocks, and sends nothing.

use super::board::{Board, Reading};
use super::follower::{Follower, Now, Standing};
use super::incarnations::Incarnations;
use super::look::{Durable, Item};
use super::scan::{FoundCollection, LogKey, scan};
use crate::failure::chain;
use holdfast_types::{CollectionName, NodeId, TimelineId};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The storage directory is listed so often.
const SCAN_EVERY: Duration = Duration::from_secs(1);
/// Bytes of entries that are read of one log before the next one has its turn.
const TURN_BYTES: usize = 8 << 20;
/// One of which nothing waits may read so much, however much waits of others.
const LEAST_BYTES: usize = 64 << 10;
/// A log that has had no entry for so many looks is looked at less often …
const IDLE_AFTER: u32 = 50;
/// … by this factor.
const IDLE_EVERY: u64 = 4;

/// Told where that is so for more than one look.
const OBSTRUCTED: &str = "what stands behind the last entry is none, as after a kill in the middle of a write: whether more was written can't be told before the next write";

/// What the coordinator knows of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing.
    New,
    /// It was told of it, and has not said yet where to go on.
    Asked,
    /// It takes its entries.
    Open,
}

/// One log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) key: LogKey,
    pub(super) follower: Follower,
    pub(super) phase: Phase,
    /// The end of the log as it was reported last, and when.
    pub(super) reported: Option<(Standing, Instant)>,
    /// Its folder is gone: it is forgotten when nothing of it waits any more.
    pub(super) leaving: bool,
    /// Why it can't be read now.
    pub(super) trouble: Option<String>,
    /// The trouble that the coordinator was told of.
    pub(super) told: Option<String>,
    idle: u32,
    /// How often in a row what was sent of it was refused.
    refusals: u32,
}

/// All logs, by number.
#[derive(Debug)]
pub(super) struct Logs {
    storage: PathBuf,
    board: Board,
    incarnations: Incarnations,
    next: u32,
    scanned: Option<Instant>,
    turns: u64,
    logs: BTreeMap<u32, Log>,
    limit: usize,
    /// Why the storage directory can't be listed.
    blind: Option<String>,
    /// Every log that the last listing showed is followed.
    complete: bool,
}

impl Logs {
    /// Nothing is known yet. At most `limit` bytes of entries, and a little of each log beyond it, wait to be durable; what one reading of a
    /// file yields is taken whole.
    pub(super) fn new(
        storage: &Path,
        (state, node): (&Path, &NodeId),
        limit: usize,
        board: Board,
    ) -> Self {
        Self {
            storage: storage.to_owned(),
            board,
            incarnations: Incarnations::open(state, node),
            next: 0,
            scanned: None,
            turns: 0,
            logs: BTreeMap::new(),
            limit,
            blind: None,
            complete: false,
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Log)> {
        self.logs.iter_mut().map(|(number, log)| (*number, log))
    }

    /// A new connection: the coordinator knows nothing of any log.
    pub(super) fn disconnected(&mut self) {
        for log in self.logs.values_mut() {
            log.phase = Phase::New;
            log.follower.queue_mut().disconnected();
            log.reported = None;
            log.told = None;
        }
        self.logs
            .retain(|_, log| !log.leaving || !log.follower.queue().is_done());
    }

    /// Whether the coordinator was told of every log that there is.
    pub(super) fn are_all_told(&self) -> bool {
        self.complete && self.logs.values().all(|log| log.phase != Phase::New)
    }

    /// Where a log goes on.
    pub(super) fn place(&mut self, number: u32, durable: Option<Durable>) {
        if let Some(log) = self.logs.get_mut(&number) {
            log.follower.place(durable);
            log.phase = Phase::Open;
        }
    }

    /// What was sent of a log can't be used. It is sent once more, since the coordinator may have had other parts of it; if that does not
    /// help, it is read once more, behind what is durable.
    pub(super) fn refused(&mut self, number: u32) {
        if let Some(log) = self.logs.get_mut(&number) {
            log.phase = Phase::New;
            log.refusals += 1;
            if log.refusals > 1 && !log.leaving {
                log.follower.forget();
            }
        }
    }

    pub(super) fn durable(&mut self, number: u32, timeline: TimelineId, next: u64) {
        if let Some(log) = self.logs.get_mut(&number) {
            log.refusals = 0;
            log.follower.queue_mut().durable(timeline, next);
        }
    }

    /// What is to be sent of a log next.
    pub(super) fn next_to_send(&mut self, number: u32) -> Option<&Item> {
        let log = self.logs.get_mut(&number)?;
        if log.phase == Phase::Open {
            log.follower.queue_mut().next_to_send()
        } else {
            None
        }
    }

    /// Forgets a log.
    pub(super) fn forget(&mut self, number: u32) {
        self.logs.remove(&number);
    }

    /// If `now`, the next turn looks for logs, whenever the last one did.
    pub(super) fn look_for_others(&mut self, now: bool) {
        self.scanned = self.scanned.filter(|_| !now);
    }

    /// Looks for logs, if it is time, and reads on in each.
    pub(super) fn turn(&mut self, now: &dyn Fn() -> Now) {
        let at = now().steady;
        let due = self.scanned.is_none_or(|last| at >= last + SCAN_EVERY);
        // A folder was replaced: whose the new one is must be known before it is read.
        let replaced = |log: &Log| !log.leaving && log.follower.is_draining();
        if due || self.logs.values().any(replaced) {
            self.scanned = Some(at);
            self.find(now);
        }
        self.turns += 1;
        let mut waiting: usize = self.logs.values().map(|l| l.follower.queue().bytes()).sum();
        for (number, log) in &mut self.logs {
            let rests = log.idle > IDLE_AFTER
                && !(self.turns + u64::from(*number)).is_multiple_of(IDLE_EVERY);
            let before = log.follower.queue().bytes();
            // What waits of one log must not keep the others from being read at all.
            if log.leaving || rests || (waiting >= self.limit && before > 0) {
                continue;
            }
            let budget = self.limit.saturating_sub(waiting);
            log.read_on(now, budget.clamp(LEAST_BYTES, TURN_BYTES));
            waiting += log.follower.queue().bytes().saturating_sub(before);
            let reading = log.reading();
            if reading.is_some() || log.follower.standing().is_none() {
                self.board.put(&log.key, reading);
            }
        }
    }

    /// What the newest logs and those that are gone are.
    fn find(&mut self, now: &dyn Fn() -> Now) {
        let found = match scan(&self.storage) {
            Ok(found) => found,
            Err(error) => {
                self.complete = false;
                let why = chain(&error);
                if self.blind.as_ref() != Some(&why) {
                    tracing::error!(reason = %why, "the storage directory can't be listed: new logs are not found");
                    self.blind = Some(why);
                }
                return;
            }
        };
        self.blind = None;
        self.complete = true;
        for (name, collection) in &found {
            if let Err(error) = self.enter(name, collection, now) {
                // Gone since it was listed, most likely; else the next scan meets it again.
                self.complete = false;
                tracing::debug!(collection = %name, reason = %chain(&error), "a log can't be opened");
            }
        }
        let there = |key: &LogKey| {
            let collection = found.get(&key.collection);
            collection.is_some_and(|found| found.logs.contains_key(&key.shard))
        };
        for log in self.logs.values_mut().filter(|log| !log.leaving) {
            if !there(&log.key) {
                log.leave(now);
                self.board.put(&log.key, None);
            }
        }
        self.incarnations.keep(|name| found.contains_key(name));
    }

    /// Follows the logs of a collection that are not followed yet.
    fn enter(
        &mut self,
        name: &CollectionName,
        collection: &FoundCollection,
        now: &dyn Fn() -> Now,
    ) -> io::Result<()> {
        let incarnation = self.incarnations.of(name, &collection.folder)?;
        for (shard, path) in &collection.logs {
            let key = LogKey {
                collection: name.clone(),
                shard: *shard,
            };
            let mut known = false;
            for log in self
                .logs
                .values_mut()
                .filter(|log| log.key == key && !log.leaving)
            {
                known = log.follower.incarnation() == incarnation;
                if !known {
                    log.leave(now);
                }
            }
            if known {
                continue;
            }
            let follower = Follower::open(path.clone(), incarnation)?;
            self.logs.insert(
                self.next,
                Log {
                    key,
                    follower,
                    phase: Phase::New,
                    reported: None,
                    leaving: false,
                    trouble: None,
                    told: None,
                    idle: 0,
                    refusals: 0,
                },
            );
            self.next = self.next.wrapping_add(1);
        }
        Ok(())
    }
}

impl Log {
    fn read_on(&mut self, now: &dyn Fn() -> Now, budget: usize) {
        let before = self.follower.queue().bytes();
        match self.follower.poll(now, budget) {
            Ok(_) => self.trouble = self.follower.is_obstructed().then(|| OBSTRUCTED.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.trouble = None,
            Err(error) => self.trouble = Some(chain(&error)),
        }
        if self.follower.queue().bytes() > before {
            self.idle = 0;
        } else {
            self.idle = self.idle.saturating_add(1);
        }
    }

    /// Its folder is gone: what was written to it last is read, as long as it is held.
    fn leave(&mut self, now: &dyn Fn() -> Now) {
        let mut looks = 0;
        // The look that is under way may end on the old listing; the next one meets the change.
        while self.follower.is_placed() && !self.follower.is_drained() && looks < 2 {
            match self.follower.poll(now, TURN_BYTES) {
                Ok(over) => looks += u32::from(over),
                Err(_) => break,
            }
        }
        self.leaving = true;
    }

    /// Whether it is gone, and all of it was read and waited here until it was durable.
    pub(super) fn is_whole(&self) -> bool {
        self.leaving && self.follower.is_whole()
    }

    /// For captures.
    fn reading(&self) -> Option<Reading> {
        let standing = self.follower.standing()?;
        Some(Reading {
            timeline: standing.timeline,
            folder: self.follower.folder_id().ok()?,
            began: standing.began,
        })
    }
}

#[cfg(test)]
mod tests;
