//! Write-ahead logs that agents send: taken in, stored, and what follows from them for each collection.
//!
//! [`arrival`] proves what comes, [`stream`] stores it and acknowledges, [`record`] keeps how far a log is durable, and
//! [`prompt`] has a base made where a log goes on from none, [`compact`](mod@compact) makes
//! few large parts of many small ones. [`Logs`] is what they share. It is in memory: what is durable stands in the
//! repository, and the rest is told by the agents again.
//!
//! | while … | another stream of the node begins | the coordinator is superseded | the store fails |
//! |---|---|---|---|
//! | a part is stored | the second reads where it ends, or meets it (create-only) and asks the agent to begin anew | refused, or proven by its CRCs | not acknowledged: tried again, the agent keeps it |

pub mod arrival;
mod bases;
mod compact;
mod presence;
mod prompt;
mod record;
mod since;
mod standing;
mod stream;

pub use bases::{Bases, Settings};
pub(crate) use compact::facts_of;
pub use compact::{Compacted, compact, run as compact_logs};
pub use prompt::run as prompt_bases;
pub use since::{SinceCapture, since_capture};
pub use standing::{CollectionStanding, standings, warnings};
pub use stream::{ANSWERS, serve};

use arrival::{End, LogId};
use holdfast_decide::instant::Standing;
use holdfast_decide::recency::LogFacts;
use holdfast_types::{CollectionName, NodeId, ShardId, TimelineId, Timestamp};
use record::LogRecord;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Where a log begins of which nothing is left.
const GONE: u64 = u64::MAX;

/// What is known of logs.
#[derive(Debug, Default)]
pub struct Logs {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    logs: BTreeMap<LogId, LogRecord>,
    bases: Bases,
    /// Where logs begin of which entries were deleted since the start.
    begin: BTreeMap<(TimelineId, ShardId), u64>,
    streams: BTreeMap<NodeId, Opened>,
    opened: u64,
}

/// The newest stream of a node.
#[derive(Debug)]
struct Opened {
    number: u64,
    replaced: CancellationToken,
    /// Its agent has told of every log that is there.
    all_seen: bool,
}

impl State {
    /// What a log means for the decision how recent a collection is: what was deleted is not gone on with.
    fn facts(&self, id: &LogId, record: &LogRecord) -> Option<LogFacts> {
        let mut facts = record.facts(id.shard)?;
        if let Some(begin) = self.begin.get(&(facts.timeline, facts.shard)) {
            facts.first = facts.first.max(*begin);
        }
        Some(facts)
    }

    /// Nobody sends the logs of a node any more.
    fn leave_logs(&mut self, node: &NodeId) {
        for (_, log) in self.logs.iter_mut().filter(|(id, _)| id.node == *node) {
            log.is_left();
        }
    }
}

impl Logs {
    /// With the bases that the repository holds.
    #[must_use]
    pub fn new(bases: Bases) -> Self {
        let state = State {
            bases,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// A recovery point is there.
    pub fn committed(&self, manifest: &holdfast_archive::Manifest) {
        self.lock().bases.learn(manifest);
    }

    /// The ends of logs, for restores to an instant: up to when each is complete, by what is durable.
    #[must_use]
    pub fn ends(&self) -> Vec<Standing> {
        let state = self.lock();
        let end = |(id, record): (&LogId, &LogRecord)| {
            let facts = state.facts(id, record)?;
            Some(Standing {
                timeline: facts.timeline,
                shard: id.shard,
                at: facts.complete_until?,
                next: facts.next,
            })
        };
        state.logs.iter().filter_map(end).collect()
    }

    /// The timelines that agents follow, and whether all that is written to each is on its way: it could be read and stored at the last look,
    /// which is not long ago.
    #[must_use]
    pub fn followed_now(&self, now: Timestamp) -> BTreeMap<(TimelineId, ShardId), bool> {
        let state = self.lock();
        let followed = state.logs.iter().filter(|(_, record)| record.followed);
        let lines = followed.filter_map(|(id, record)| {
            let timeline = record.facts(id.shard)?.timeline;
            Some(((timeline, id.shard), record.is_live(now)))
        });
        lines.collect()
    }

    /// Entries of a log are about to be deleted: it will begin with this one, or not at all. Said before it is done, so that what is shown is
    /// never more than what is there.
    pub(crate) fn begins(&self, (timeline, shard): (TimelineId, ShardId), first: Option<u64>) {
        let mut state = self.lock();
        let begin = state.begin.entry((timeline, shard)).or_default();
        *begin = first.unwrap_or(GONE).max(*begin);
    }

    /// A node's agent has opened a stream. The one before it ends.
    fn enter(&self, node: &NodeId) -> (u64, CancellationToken) {
        let mut state = self.lock();
        state.opened += 1;
        let (number, replaced) = (state.opened, CancellationToken::new());
        let opened = Opened {
            number,
            replaced: replaced.clone(),
            all_seen: false,
        };
        if let Some(earlier) = state.streams.insert(node.clone(), opened) {
            earlier.replaced.cancel();
        }
        // Whether they still are is said by the new stream.
        state.leave_logs(node);
        (number, replaced)
    }

    /// The agent of a stream has told of every log that is there.
    fn all_seen(&self, node: &NodeId, number: u64) {
        let mut state = self.lock();
        if let Some(stream) = state.streams.get_mut(node) {
            stream.all_seen |= stream.number == number;
        }
    }

    /// Its stream has ended.
    fn leave(&self, node: &NodeId, number: u64) {
        let mut state = self.lock();
        let current = state.streams.get(node);
        if current.is_some_and(|stream| stream.number == number) {
            state.streams.remove(node);
            state.leave_logs(node);
        }
    }

    /// A node is gone for good: its stream ends, and nobody misses its logs. What is archived of them stays.
    pub fn forget(&self, node: &NodeId) {
        let mut state = self.lock();
        if let Some(stream) = state.streams.remove(node) {
            stream.replaced.cancel();
        }
        state.logs.retain(|id, _| id.node != *node);
    }

    /// Collections and shards whose logs a node sends.
    #[must_use]
    pub fn sent_by(&self, node: &NodeId) -> Vec<(CollectionName, ShardId)> {
        let state = self.lock();
        let of = |(id, record): &(&LogId, &LogRecord)| id.node == *node && record.followed;
        let sent = state.logs.iter().filter(of);
        sent.map(|(id, _)| (id.collection.clone(), id.shard))
            .collect()
    }

    /// The durable end of a log, if it is known without asking the repository. Of a timeline without entries it is not: an earlier
    /// one may have entries that are still on their way.
    fn known(&self, id: &LogId) -> Option<End> {
        self.lock().logs.get(id).and_then(LogRecord::end)
    }

    /// What is believed of a log is not what the repository says.
    fn doubt(&self, id: &LogId) {
        self.change(id, LogRecord::is_doubted);
    }

    /// The log is followed from now on; `found` is what the repository says of it, where it was asked.
    fn followed(&self, id: &LogId, found: Option<Option<(u64, End)>>) {
        let mut state = self.lock();
        // A collection has one life at a time at a node.
        let other = |log: &LogId| {
            log.node == id.node
                && log.collection == id.collection
                && log.incarnation != id.incarnation
        };
        for (_, log) in state.logs.iter_mut().filter(|(log, _)| other(log)) {
            log.is_replaced();
        }
        let record = state.logs.entry(id.clone()).or_default();
        if let Some(found) = found {
            *record = LogRecord::found(found);
        }
        record.is_read();
    }

    fn change(&self, id: &LogId, change: impl FnOnce(&mut LogRecord)) {
        if let Some(record) = self.lock().logs.get_mut(id) {
            change(record);
        }
    }

    fn durable(&self, id: &LogId, first: u64, end: End) {
        self.change(id, |record| {
            record.durable(first, end);
        });
        // Its agent was away for long, and goes on with it.
        let mut state = self.lock();
        let begin = state.begin.get_mut(&(end.timeline, id.shard));
        if let Some(begin) = begin.filter(|begin| **begin == GONE) {
            *begin = first;
        }
    }

    fn reported(
        &self,
        id: &LogId,
        (timeline, first, next): (TimelineId, Option<u64>, u64),
        until: Timestamp,
        now: Timestamp,
    ) {
        self.change(id, |record| {
            record.reported(timeline, first, next, until, now);
        });
    }

    /// Its agent can't read it.
    fn unread(&self, id: &LogId, now: Timestamp, why: String) {
        self.change(id, |record| {
            let since = record.unread.take().map_or(now, |(since, _)| since);
            record.unread = Some((since, why));
        });
    }

    /// What came of it can't be stored.
    fn unstored(&self, id: &LogId, now: Timestamp, why: String) {
        self.change(id, |record| {
            let since = record.unstored.take().map_or(now, |(since, _)| since);
            record.unstored = Some((since, why));
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
