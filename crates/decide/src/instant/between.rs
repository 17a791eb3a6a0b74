//! Which archived entries were written between two instants, for whoever asks what happened, and what of that time is not known.
//!
//! An entry counts if it had been seen by the second instant and not by the first: it is what a restore to the second has and one to the first
//! has not. Each shard is followed along the replica whose log is known furthest ([`known`]); where that one ends, another goes on, or something
//! is lacking ([`walk`]).
//!
//! **No answer is complete that isn't.** What stands against each way to leave something out in silence:
//!
//! | danger | answer |
//! |---|---|
//! | a shard of which nothing is archived | shards are those of the recovery points around, of what nodes list now, and of every log; if neither of the first two knows the collection, that is lacking |
//! | a log that can't be read | its shard is followed all the same, and nothing is said to have come before another log of it |
//! | a log that begins with operation 0 | it may be that of a replica that was moved, or of a later life of the collection: see [`before`] |
//! | another replica goes on | its agent has another clock: what was written about then is lacking |
//! | another life of the collection, dropped and made anew under its name | the drop stands in no log: lacking |
//! | a shard to which nothing was written has no entry in the archive | captures and agents say how far that is known |

mod before;
mod known;
mod walk;

use self::before::Before;
use self::known::{Known, quiet};
use self::walk::Walk;
use super::choose::ShardLog;
use super::extend::Index;
use super::history::{ArchivedLog, Base, BasePoint, History, Look, PartView};
use holdfast_types::{CollectionName, NodeId, RecoveryPointId, ShardId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What is archived of a collection's logs between two instants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// What counts: by shard, in the order in which it was written.
    pub pieces: Vec<Piece>,
    /// What is not known: by shard, earliest first. None if the pieces are everything.
    pub gaps: Vec<Lack>,
    /// What a person should know beside.
    pub notes: Vec<String>,
    /// Entries that count and were found by a look that began before the first instant: they may be older.
    pub perhaps_earlier: u64,
    /// Entries that don't count and were found by a look that began before the second instant: they may have been there.
    pub perhaps_later: u64,
    /// Whether anything is known of any log of the collection, at any time.
    pub has_log: bool,
}

/// Entries of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which.
    pub log: ShardLog,
    /// The looks that found them.
    pub looks: Vec<Look>,
}

impl Piece {
    /// The look that found an entry.
    #[must_use]
    pub fn look_of(&self, index: u64) -> Option<&Look> {
        let begun = self.looks.partition_point(|look| look.first <= index);
        self.looks[..begun].last()
    }
}

/// A time of which not everything is known that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Which shard; `None` if nobody knows which ones there were.
    pub shard: Option<ShardId>,
    /// From here on …
    pub after: Timestamp,
    /// … up to here.
    pub before: Timestamp,
    /// Why.
    pub why: String,
}

/// What nodes list of a collection now: for each shard who has a replica, `None` for nodes that Holdfast does not know.
pub type Listed = BTreeMap<ShardId, BTreeSet<Option<NodeId>>>;

/// What is known of a collection between two instants.
#[must_use]
pub fn between(
    history: &History,
    listed: &Listed,
    collection: &CollectionName,
    from: Timestamp,
    to: Timestamp,
) -> Between {
    let index = Index::new(history);
    let mut found = Between::default();
    let shards = shards(history, listed, collection, (from, to), &mut found);
    let mut logs: BTreeMap<ShardId, Logs<'_>> = shards
        .into_iter()
        .map(|shard| (shard, Logs::default()))
        .collect();
    for (log, runs) in index.logs() {
        match &log.owner {
            Some((owner, _)) if owner != collection => continue,
            Some(_) => found.has_log = true,
            None => {}
        }
        let logs = logs.entry(log.shard).or_default();
        let known = runs
            .iter()
            .filter_map(|run| Known::of_run(&index, log, run));
        logs.known.extend(known);
        let unreadable = unreadable(log, runs.is_empty(), collection);
        logs.unreadable.extend(unreadable);
    }
    for (shard, mut logs) in logs {
        logs.complete(
            &index,
            &captures(history, collection, shard),
            listed.get(&shard),
        );
        found.has_log |= !logs.known.is_empty();
        let told = found.gaps.len();
        Walk::new(shard, &logs, (from, to), &mut found).run();
        if found.gaps.len() == told {
            let unreadable = logs.unreadable.into_iter();
            found
                .notes
                .extend(unreadable.map(|why| format!("shard {shard}: {why}")));
        }
    }
    found
}

/// A captured shard, and in which recovery point.
type Captured<'a> = (&'a RecoveryPointId, &'a Base);

fn captures<'a>(
    history: &'a History,
    collection: &CollectionName,
    shard: ShardId,
) -> Vec<Captured<'a>> {
    let points = history.points.iter();
    let bases = points.flat_map(|point| {
        let bases = point.collections.get(collection).into_iter().flatten();
        bases.map(|base| (&point.id, base))
    });
    bases.filter(|(_, base)| base.shard == shard).collect()
}

/// What is known of one shard's logs.
#[derive(Default)]
struct Logs<'a> {
    known: Vec<Known<'a>>,
    /// Logs of which nothing in question can be read: in words.
    unreadable: Vec<String>,
    /// What speaks against a log's operation 0 being the first of all.
    before: Before,
}

impl<'a> Logs<'a> {
    /// Adds what captures tell beside the archived entries.
    fn complete(
        &mut self,
        index: &Index<'a>,
        captures: &[Captured<'a>],
        listed: Option<&BTreeSet<Option<NodeId>>>,
    ) {
        for known in &mut self.known {
            known.extend_back(captures);
        }
        let quiet = quiet(index, captures, &self.known);
        self.known.extend(quiet);
        self.before = Before::new(&self.known, captures, listed);
    }
}

/// The shards that the collection is known to have had at any time in between.
fn shards(
    history: &History,
    listed: &Listed,
    collection: &CollectionName,
    (from, to): (Timestamp, Timestamp),
    found: &mut Between,
) -> BTreeSet<ShardId> {
    let captured = history
        .points
        .iter()
        .filter_map(|point| Some((captured_at(point, collection)?, point)));
    let captured: Vec<(Timestamp, &BasePoint)> = captured.collect();
    let earlier = captured.iter().filter(|(at, _)| *at <= from);
    let later = captured.iter().filter(|(at, _)| *at > to);
    let within = captured.iter().filter(|(at, _)| from < *at && *at <= to);
    let around: Vec<_> = within
        .chain(earlier.max_by_key(|(at, _)| *at))
        .chain(later.min_by_key(|(at, _)| *at))
        .collect();
    if listed.is_empty() {
        match around.iter().max_by_key(|(at, _)| *at) {
            None => found.gaps.push(Lack {
                shard: None,
                after: from,
                before: to,
                why: format!(
                    "no recovery point holds {collection} and no node lists it now: whether it had other shards than those that are named here is not known"
                ),
            }),
            Some((at, point)) if *at < to => found.notes.push(format!(
                "no node lists {collection} now: its shards are those of recovery point {} of {at}",
                point.id
            )),
            Some(_) => {}
        }
    }
    let bases = around
        .into_iter()
        .filter_map(|(_, point)| point.collections.get(collection));
    let bases = bases.flatten().map(|base| base.shard);
    bases.chain(listed.keys().copied()).collect()
}

/// When the last shard of a collection was captured.
fn captured_at(point: &BasePoint, collection: &CollectionName) -> Option<Timestamp> {
    let bases = point.collections.get(collection)?.iter();
    bases.map(|base| base.captured_at).max()
}

/// A log of which nothing in question can be read.
fn unreadable(log: &ArchivedLog, is_empty: bool, collection: &CollectionName) -> Option<String> {
    let why = log.parts.iter().find_map(|part| match part {
        PartView::Unreadable { why, .. } => Some(why),
        PartView::Read(_) => None,
    });
    let why = why.filter(|_| is_empty)?;
    let timeline = log.timeline;
    Some(match &log.owner {
        Some((_, node)) => {
            format!("an archived log of node {node} can't be read (timeline {timeline}): {why}")
        }
        None => format!(
            "an archived log can't be read that may be one of {collection} (timeline {timeline}): {why}"
        ),
    })
}
