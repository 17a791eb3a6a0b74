//! For how long everything is known that was written to a shard, by one log.

use super::Captured;
use crate::instant::extend::{Index, newest_below};
use crate::instant::history::{ArchivedLog, Look, PartView};
use crate::instant::run::{Ended, Run};
use holdfast_types::{IncarnationId, NodeId, ShardId, TimelineId, Timestamp};
use std::collections::BTreeMap;

/// A stretch of a log without a gap, and the time for which it holds everything.
pub(super) struct Known<'a> {
    pub(super) shard: ShardId,
    pub(super) node: &'a NodeId,
    pub(super) timeline: TimelineId,
    /// `None` if no entry of the timeline is archived.
    pub(super) incarnation: Option<IncarnationId>,
    /// Why the timeline began, if that is known.
    pub(super) because: Option<&'a str>,
    /// The part right before it that can't be read: the index of its first entry, and why.
    pub(super) damaged: Option<(u64, &'a str)>,
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) looks: Vec<Look>,
    pub(super) ended: Ended,
    /// What was written from here on is in it.
    pub(super) since: Timestamp,
    /// Everything that had been seen by this instant is in it.
    pub(super) until: Timestamp,
    /// Everything that had been acknowledged by this one.
    pub(super) complete: Timestamp,
}

impl<'a> Known<'a> {
    /// Archived entries. None if nobody knows whose they are.
    pub(super) fn of_run(index: &Index<'_>, log: &'a ArchivedLog, run: &Run) -> Option<Self> {
        let (first, last) = (run.looks.first()?, run.looks.last()?);
        let (_, node) = log.owner.as_ref()?;
        let key = (log.timeline, log.shard);
        let still = newest_below(index.evidence(key), run.end).unwrap_or(Timestamp::EPOCH);
        let before = log.parts.iter().rfind(|part| part.first() < run.first);
        Some(Self {
            shard: log.shard,
            node,
            timeline: log.timeline,
            incarnation: Some(log.incarnation),
            because: log.because.as_deref(),
            damaged: match before {
                Some(PartView::Unreadable { first, why }) => Some((*first, why.as_str())),
                Some(PartView::Read(_)) | None => None,
            },
            first: run.first,
            end: run.end,
            looks: run.looks.clone(),
            ended: run.ended.clone(),
            // What is lacking before it had been written by then.
            since: first.by,
            until: last.by.max(still),
            complete: last.after.max(still),
        })
    }

    /// What a capture may lack has an index from `certain` on, so an earlier entry was written before it.
    pub(super) fn extend_back(&mut self, captures: &[Captured<'_>]) {
        let of_it = captures
            .iter()
            .filter(|(_, base)| base.timeline == Some(self.timeline));
        let within = of_it.filter(|(_, base)| {
            base.certain
                .is_some_and(|certain| (self.first..=self.end).contains(&certain))
        });
        let earliest = within.map(|(_, base)| base.captured_at).min();
        self.since = self.since.min(earliest.unwrap_or(self.since));
    }

    pub(super) fn is_same_log(&self, other: &Self) -> bool {
        (self.timeline, self.node) == (other.timeline, other.node)
    }

    /// Whether both are of one life of the collection, with instants of one clock.
    pub(super) fn is_same_life(&self, other: &Self) -> bool {
        let same = match (self.incarnation, other.incarnation) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => false,
        };
        same && self.node == other.node
    }

    fn touches(&self, timeline: TimelineId, index: u64) -> bool {
        self.timeline == timeline && (self.first..=self.end).contains(&index)
    }
}

/// Places of logs at which nothing was written for a while: a capture contains everything below one, and nobody has seen an entry there since.
pub(super) fn quiet<'a>(
    index: &Index<'_>,
    captures: &[Captured<'a>],
    known: &[Known<'_>],
) -> Vec<Known<'a>> {
    let mut quiet: BTreeMap<(TimelineId, u64), Known<'a>> = BTreeMap::new();
    for (_, base) in captures {
        let (Some(timeline), Some(certain)) = (base.timeline, base.certain) else {
            continue;
        };
        let is_archived = known.iter().any(|known| known.touches(timeline, certain));
        if is_archived || base.next != Some(certain) {
            continue;
        }
        let still = newest_below(index.evidence((timeline, base.shard)), certain);
        let still = still.unwrap_or(base.captured_at);
        let place = quiet.entry((timeline, certain)).or_insert(Known {
            shard: base.shard,
            node: &base.node,
            timeline,
            incarnation: None,
            because: None,
            damaged: None,
            first: certain,
            end: certain,
            looks: Vec::new(),
            ended: Ended::NothingMore,
            since: base.captured_at,
            until: still,
            complete: still,
        });
        place.since = place.since.min(base.captured_at);
    }
    let quiet = quiet.into_values();
    quiet.filter(|known| known.since < known.until).collect()
}
