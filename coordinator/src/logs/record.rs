//! What is known of one log: how far it is durable, and up to when it is complete.

use super::arrival::End;
use holdfast_decide::recency::LogFacts;
use holdfast_types::{ShardId, TimelineId, Timestamp};
use std::collections::VecDeque;
use std::time::Duration;

/// Reports that wait until what they speak of is durable.
const MAX_WAITING: usize = 64;

/// A log of which nothing was heard for so long is told of.
pub(super) const SILENT: Duration = Duration::from_secs(60);

/// One log.
#[derive(Clone, Debug, Default)]
pub(super) struct LogRecord {
    line: Option<Line>,
    /// Whether its agent follows it now.
    pub followed: bool,
    /// Its folder is gone.
    pub dropped: bool,
    /// If it is: what is known of its end.
    pub rest: Rest,
    /// Why its agent can't read it at the moment, and since when.
    pub unread: Option<(Timestamp, String)>,
    /// Why what came of it can't be stored.
    pub unstored: Option<(Timestamp, String)>,
    /// When and why the last timeline ended.
    pub ended: Option<(Timestamp, String)>,
    /// When a look was last reported.
    pub heard: Option<Timestamp>,
    /// Reports: index, and the instant before which everything has an index below it.
    waiting: VecDeque<(u64, Timestamp)>,
}

/// What is known of the end of a log whose folder is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rest {
    /// Whether all of it was read is not known.
    #[default]
    Unknown,
    /// Its agent has not said yet that it is done with it.
    Arriving,
    /// It was read to its end, and all of it is durable.
    Whole,
}

/// The timeline that runs.
#[derive(Clone, Debug)]
struct Line {
    id: TimelineId,
    first: u64,
    next: u64,
    /// `None` until it has an entry.
    end: Option<End>,
    complete_until: Option<Timestamp>,
    /// Nothing can be added to it any more.
    over: bool,
}

impl LogRecord {
    /// Whether all that is written to it is on its way.
    #[must_use]
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        let heard = self.heard.is_some_and(|heard| now.since(heard) <= SILENT);
        self.followed && heard && self.unread.is_none() && self.unstored.is_none()
    }

    /// What was found in the repository: the newest timeline, and the index with which it begins.
    #[must_use]
    pub(super) fn found(end: Option<(u64, End)>) -> Self {
        let line = end.map(|(first, end)| Line {
            id: end.timeline,
            first,
            next: end.next,
            end: Some(end),
            complete_until: None,
            over: false,
        });
        Self {
            line,
            ..Self::default()
        }
    }

    /// The durable end.
    #[must_use]
    pub(super) fn end(&self) -> Option<End> {
        self.line.as_ref()?.end
    }

    /// A part that begins with entry `first` and ends so is durable.
    pub(super) fn durable(&mut self, first: u64, end: End) {
        self.unstored = None;
        match &mut self.line {
            Some(line) if line.id == end.timeline => {
                line.next = end.next;
                line.end = Some(end);
            }
            Some(_) | None => {
                self.waiting.clear();
                self.line = Some(Line {
                    id: end.timeline,
                    first,
                    next: end.next,
                    end: Some(end),
                    complete_until: None,
                    over: false,
                });
            }
        }
        self.settle();
    }

    /// A look that came to the end of the log: everything acknowledged before `until` has an index below `next`.
    pub(super) fn reported(
        &mut self,
        timeline: TimelineId,
        first: Option<u64>,
        next: u64,
        until: Timestamp,
        now: Timestamp,
    ) {
        self.heard = Some(now);
        self.unread = None;
        // Whatever was believed: somebody reads it.
        self.is_read();
        if self.line.as_ref().is_none_or(|line| line.id != timeline) {
            // Of a timeline with entries the first part tells; one without any is told of only here.
            if first != Some(next) {
                return;
            }
            self.waiting.clear();
            self.line = Some(Line {
                id: timeline,
                first: next,
                next,
                end: None,
                complete_until: None,
                over: false,
            });
        }
        if self.waiting.len() == MAX_WAITING {
            // The newest says most, and is reached last.
            self.waiting.pop_back();
        }
        self.waiting.push_back((next, until));
        self.settle();
    }

    /// Its agent follows it.
    pub(super) fn is_read(&mut self) {
        (self.followed, self.dropped, self.rest) = (true, false, Rest::Unknown);
    }

    /// Its agent is done with it. `whole`: all of it was read and is durable.
    pub(super) fn is_gone(&mut self, whole: bool) {
        let rest = if whole { Rest::Whole } else { Rest::Unknown };
        (self.followed, self.dropped, self.rest) = (false, true, rest);
    }

    /// Another collection of its name has taken its place; its agent may still read it.
    pub(super) fn is_replaced(&mut self) {
        if self.followed {
            self.rest = Rest::Arriving;
        }
        (self.followed, self.dropped) = (false, true);
    }

    /// Nobody reads it any more, as far as is known.
    pub(super) fn is_left(&mut self) {
        if self.rest == Rest::Arriving {
            self.rest = Rest::Unknown;
        }
        self.followed = false;
    }

    /// What was believed to be durable is not what is stored.
    pub(super) fn is_doubted(&mut self) {
        let Self {
            followed,
            dropped,
            rest,
            ..
        } = *self;
        *self = Self {
            followed,
            dropped,
            rest,
            ..Self::default()
        };
    }

    /// Nothing can be added to the timeline any more.
    pub(super) fn ended(&mut self, timeline: TimelineId, why: String, now: Timestamp) {
        self.ended = Some((now, why));
        self.waiting.clear();
        if let Some(line) = self.line.as_mut().filter(|line| line.id == timeline) {
            line.over = true;
        }
    }

    fn settle(&mut self) {
        let Some(line) = &mut self.line else { return };
        while let Some((_, until)) = self.waiting.front().filter(|(next, _)| *next <= line.next) {
            // The newest counts: it says less only if the clock was set back, and then that is right.
            line.complete_until = Some(*until);
            self.waiting.pop_front();
        }
    }

    /// For the decision how recent a collection is.
    #[must_use]
    pub(super) fn facts(&self, shard: ShardId) -> Option<LogFacts> {
        let line = self.line.as_ref()?;
        Some(LogFacts {
            shard,
            timeline: line.id,
            first: line.first,
            next: line.next,
            complete_until: line.complete_until,
            open: self.followed && !line.over,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::LogRecord;
    use crate::logs::arrival::End;
    use holdfast_types::{ShardId, TimelineId, Timestamp};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn line(n: u8) -> TimelineId {
        TimelineId::from_bytes([n; 16])
    }

    fn end(timeline: u8, next: u64) -> End {
        End {
            timeline: line(timeline),
            next,
            crc: 0,
            after: at(0),
            by: at(0),
        }
    }

    fn until(record: &LogRecord) -> Option<i64> {
        let facts = record.facts(ShardId(0)).unwrap();
        facts.complete_until.map(|at| at.as_micros() / 1_000_000)
    }

    #[test]
    fn a_report_counts_when_what_it_speaks_of_is_durable() {
        let mut record = LogRecord::found(Some((0, end(1, 5))));
        assert_eq!(until(&record), None, "nobody has said so");
        record.reported(line(1), None, 5, at(10), at(11));
        assert_eq!(until(&record), Some(10));
        record.reported(line(1), None, 7, at(20), at(21));
        record.reported(line(1), None, 9, at(30), at(31));
        assert_eq!(until(&record), Some(10));
        record.durable(5, end(1, 8));
        assert_eq!(until(&record), Some(20));
        record.durable(8, end(1, 9));
        assert_eq!(until(&record), Some(30));
        // The clock was set back.
        record.reported(line(1), None, 9, at(25), at(33));
        assert_eq!(until(&record), Some(25));
    }

    #[test]
    fn another_timeline_begins_with_nothing() {
        let mut record = LogRecord::found(Some((0, end(1, 5))));
        record.reported(line(1), None, 5, at(10), at(11));
        record.reported(line(1), None, 8, at(12), at(13));
        assert!(record.facts(ShardId(0)).unwrap().open);
        record.ended(line(1), "rewound".into(), at(14));
        assert!(!record.facts(ShardId(0)).unwrap().open);
        // A report of a timeline of which nothing is stored: it has entries, so they are still to come.
        record.reported(line(2), Some(3), 4, at(20), at(21));
        assert_eq!(record.facts(ShardId(0)).unwrap().timeline, line(1));
        record.durable(3, end(2, 9));
        let facts = record.facts(ShardId(0)).unwrap();
        assert_eq!((facts.timeline, facts.first, facts.next), (line(2), 3, 9));
        assert_eq!(facts.complete_until, None, "index 8 was one of the other");
        // One without entries.
        record.reported(line(3), Some(6), 6, at(40), at(41));
        let facts = record.facts(ShardId(0)).unwrap();
        assert_eq!((facts.timeline, facts.first, facts.next), (line(3), 6, 6));
        assert_eq!(until(&record), Some(40));
        assert_eq!(record.end(), None);
    }

    #[test]
    fn many_reports_without_a_durable_entry_are_bounded() {
        let mut record = LogRecord::found(Some((0, end(1, 1))));
        for n in 2..1000 {
            record.reported(line(1), None, n, at(i64::try_from(n).unwrap()), at(0));
        }
        assert_eq!(record.waiting.len(), super::MAX_WAITING);
        record.durable(1, end(1, 1000));
        assert_eq!(until(&record), Some(999));
    }
}
