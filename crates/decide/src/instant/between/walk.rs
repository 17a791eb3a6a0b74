//! Along the time of one shard: what counts, and what is lacking.

use super::known::Known;
use super::{Between, Lack, Logs, Piece};
use crate::instant::choose::ShardLog;
use crate::instant::history::Look;
use crate::instant::run::Ended;
use holdfast_types::{ShardId, Timestamp};
use std::cmp::Reverse;
use std::time::Duration;

/// The least width of what is lacking.
const MICROSECOND: Duration = Duration::from_micros(1);

pub(super) struct Walk<'a, 'f> {
    shard: ShardId,
    logs: &'a Logs<'a>,
    from: Timestamp,
    to: Timestamp,
    /// Everything is told up to here.
    at: Timestamp,
    /// What was followed last.
    last: Option<&'a Known<'a>>,
    found: &'f mut Between,
}

impl<'a, 'f> Walk<'a, 'f> {
    pub(super) fn new(
        shard: ShardId,
        logs: &'a Logs<'a>,
        (from, to): (Timestamp, Timestamp),
        found: &'f mut Between,
    ) -> Self {
        Self {
            shard,
            logs,
            from,
            to,
            at: from,
            last: None,
            found,
        }
    }

    pub(super) fn run(mut self) {
        while self.at < self.to {
            match self.best() {
                Some(next) => {
                    if !self.joins(next) {
                        let is_elsewhere = self.last.is_some_and(|last| last.node != next.node);
                        let until = if is_elsewhere { self.at } else { next.since };
                        self.lacks(Some(next), until);
                    }
                    self.follow(next);
                }
                None => self.skip(),
            }
        }
        self.end();
    }

    /// The look that found the last entry of a log may have found the beginning of the next one as well, with one instant for both. So at that very
    /// instant a log is not known for certain.
    fn end(&mut self) {
        let (logs, to) = (self.logs, self.to);
        let ends_there = |last: &&Known<'_>| last.until == to && last.complete < to;
        let Some(last) = self.last.filter(ends_there) else {
            return;
        };
        let here = logs.known.iter().filter(|known| {
            let first = known.looks.first().map(|look| look.by);
            first == Some(to) && known.node == last.node && !known.is_same_log(last)
        });
        self.lacks(here.clone().next(), to);
        for next in here {
            self.follow(next);
        }
    }

    /// What is known at this place: without a gap if possible, and as far beyond it as possible.
    fn best(&self) -> Option<&'a Known<'a>> {
        let here = self.logs.known.iter();
        let here = here.filter(|known| known.since <= self.at && self.at < known.until);
        here.max_by_key(|known| {
            let reach = known.until.min(self.to);
            let longest = Reverse(known.since);
            (self.joins(known), reach, longest, known.timeline)
        })
    }

    /// Whether nothing is lacking between what was followed last and this.
    fn joins(&self, next: &Known<'_>) -> bool {
        let Some(last) = self.last else {
            return next.since <= self.from;
        };
        if last.is_same_log(next) {
            let contradicts = matches!(last.ended, Ended::Contradicts { .. });
            return next.first <= last.end && !contradicts;
        }
        // Of another node the clock is another one, and of another life the drop is told by nobody.
        last.is_same_life(next) && next.since <= last.complete.max(self.from)
    }

    fn follow(&mut self, next: &'a Known<'a>) {
        // What was told already: by its instant, or within one log by its index.
        let (mut seen, mut told) = (self.from, 0);
        match self.last {
            Some(last) if last.is_same_log(next) => told = last.end,
            Some(last) => seen = seen.max(last.complete.min(self.at)),
            None => {}
        }
        let begin = next
            .looks
            .partition_point(|look| look.by <= seen || look.next <= told);
        let end = next.looks.partition_point(|look| look.by <= self.to);
        let taken = next.looks.get(begin..end).unwrap_or_default();
        let earlier = taken.iter().filter(|look| look.after < self.from);
        self.found.perhaps_earlier += earlier.map(entries).sum::<u64>();
        self.found.pieces.extend(piece(next, taken, told));
        if begin == 0 {
            self.begins_anew(next, taken);
        }
        self.at = next.until.min(self.to);
        if self.at == self.to {
            self.count_later(next, end);
        }
        self.last = Some(next);
    }

    /// The first look at a log finds all that stands there, whenever that was written.
    fn begins_anew(&mut self, next: &Known<'_>, taken: &[Look]) {
        let Some((last, first)) = self.last.zip(taken.first()) else {
            return;
        };
        if last.node == next.node && !last.is_same_log(next) {
            self.found.notes.push(format!(
                "the log of shard {} begins anew at {}{}: the operations that were there then ({}) count as of then; they may be older, and some may count twice",
                self.shard,
                next.since,
                because(next),
                entries(first)
            ));
        }
    }

    fn count_later(&mut self, known: &Known<'_>, from: usize) {
        let later = known.looks.iter().skip(from);
        let later = later.take_while(|look| look.after < self.to);
        self.found.perhaps_later += later.map(entries).sum::<u64>();
    }

    /// Nothing is known at this place: goes on where something is.
    fn skip(&mut self) {
        let later = self.logs.known.iter().filter(|known| known.since > self.at);
        let later = later.min_by_key(|known| (known.since, Reverse(known.until)));
        let until = later.map_or(self.to, |known| known.since).min(self.to);
        match later {
            // Its next operation is the next one.
            Some(later) if self.last.is_some() && self.joins(later) => {}
            Some(later) if self.is_first_of_all(later) => self.found.notes.push(format!(
                "the log of shard {} begins with operation 0, known from {} on: nothing is known to have come before",
                self.shard, later.since
            )),
            Some(_) | None => self.lacks(later, until),
        }
        self.at = until;
        match later {
            Some(later) if later.since <= self.to => self.follow(later),
            Some(later) => self.count_later(later, 0),
            None => {}
        }
    }

    fn is_first_of_all(&self, log: &Known<'_>) -> bool {
        let doubt = || self.logs.before.doubt(log, &self.logs.unreadable);
        log.first == 0 && self.earlier().is_none() && doubt().is_none()
    }

    fn lacks(&mut self, later: Option<&Known<'_>>, before: Timestamp) {
        // What was written since, and had not been seen, is lacking as well.
        let told = self.last.map_or(self.at, |last| last.complete);
        let latest = self.to.before(MICROSECOND);
        let after = told.min(self.at).max(self.from).min(latest);
        let mut why = self.why(later);
        if let Some(unreadable) = self.logs.unreadable.first() {
            why = format!("{why}; {unreadable}");
        }
        self.found.gaps.push(Lack {
            shard: Some(self.shard),
            after,
            before: before.min(self.to).max(after.after(MICROSECOND)),
            why,
        });
    }

    /// What is known of before this place.
    fn earlier(&self) -> Option<&'a Known<'a>> {
        let known = self.logs.known.iter();
        let over = known.filter(|known| known.until <= self.at);
        self.last.or_else(|| over.max_by_key(|known| known.until))
    }

    fn why(&self, later: Option<&Known<'_>>) -> String {
        match (self.earlier(), later) {
            (None, None) => "no log of it that can be read is archived".to_owned(),
            (None, Some(later)) => self.why_not_before(later),
            (Some(earlier), Some(later)) if earlier.node != later.node => format!(
                "the log of node {} is known until {}, that of node {} from {} on: as their clocks may differ, what was written about then may count twice, or not at all",
                earlier.node, earlier.until, later.node, later.since
            ),
            (Some(earlier), Some(later)) if !earlier.is_same_log(later) => {
                format!("{}; its log begins anew{}", earlier.ended, beginning(later))
            }
            (Some(earlier), None) if earlier.ended == Ended::NothingMore => {
                format!("its log is known until {} only", earlier.until)
            }
            (Some(earlier), Some(_) | None) => earlier.ended.to_string(),
        }
    }

    fn why_not_before(&self, later: &Known<'_>) -> String {
        let begins = format!("what is archived of its log begins{}", beginning(later));
        if let Some((first, why)) = later.damaged {
            return format!("{begins}; the part from operation {first} on can't be read ({why})");
        }
        let doubt = self.logs.before.doubt(later, &[]);
        match doubt.filter(|_| later.first == 0) {
            Some(doubt) => format!("{begins}, but there may have been others before: {doubt}"),
            None => begins,
        }
    }
}

fn beginning(log: &Known<'_>) -> String {
    let because = because(log);
    format!(
        " with operation {}, known from {} on{because}",
        log.first, log.since
    )
}

fn because(log: &Known<'_>) -> String {
    let because = log.because.map(|why| format!(" ({why})"));
    because.unwrap_or_default()
}

fn entries(look: &Look) -> u64 {
    look.next - look.first
}

fn piece(known: &Known<'_>, looks: &[Look], told: u64) -> Option<Piece> {
    let (first, last) = (looks.first()?, looks.last()?);
    let log = ShardLog {
        shard: known.shard,
        node: known.node.clone(),
        incarnation: known.incarnation,
        timeline: known.timeline,
        from: first.first.max(told),
        until: last.next,
        bytes: looks.iter().map(|look| look.bytes).sum(),
        complete_before: known.complete,
    };
    Some(Piece {
        log,
        looks: looks.to_vec(),
    })
}
