//! Which entries of an archived log go on from a base, and until when, by a listing and by what is known of damage.
//!
//! A part is *doubted* if it is known to be damaged, or not to continue the one before. That ends the stretch before it. But it may be readable
//! all the same: only what came before it is lost, its damage is mended, or those that it stands for are still there. So a doubted part is a
//! stretch of its own, of which nothing is sure, and from where nothing is out of reach.

use super::PartFacts;
use crate::retention::LogReach;
use holdfast_types::Timestamp;
use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

/// What stands for the entries before the first part that is there: nothing can be gone on from among them.
const BEFORE_ALL: usize = usize::MAX;

/// The part of a log that goes on from a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Counts doubted parts: sound stretches are even, each doubted part is odd.
    pub number: usize,
    /// Its last part; `None` of a doubted one, and where nothing is archived.
    pub last: Option<PartFacts>,
    /// Whether no doubted part lies in it or behind it.
    pub leads_to_end: bool,
}

/// What is known of the end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// All that is written to it is on its way.
    pub is_live: bool,
    /// The last look of its newest part, or when that was stored if it can't be read.
    pub newest: Timestamp,
    /// When it was last captured, or an agent last said where it ends: nothing was written to it between its last entry and then.
    pub known: Timestamp,
}

/// The stretch that holds entry `certain`. `parts` are in order; `doubted` are first entries of parts, be they there or not.
#[must_use]
pub fn stretch(parts: &[PartFacts], doubted: &BTreeSet<u64>, certain: u64) -> Stretch {
    let begun = parts.partition_point(|part| part.first <= certain);
    let Some(own) = begun.checked_sub(1).and_then(|nth| parts.get(nth)) else {
        let is_empty = parts.is_empty();
        return Stretch {
            number: if is_empty { 0 } else { BEFORE_ALL },
            last: None,
            leads_to_end: is_empty,
        };
    };
    let is_there = |first: &&u64| {
        parts
            .binary_search_by_key(*first, |part| part.first)
            .is_ok()
    };
    let earlier = doubted.range(..own.first).filter(is_there).count();
    if doubted.contains(&own.first) {
        return Stretch {
            number: 2 * earlier + 1,
            last: None,
            leads_to_end: false,
        };
    }
    let mut later = doubted.range((Excluded(own.first), Unbounded));
    let ends = later.find(is_there);
    let until = ends.map_or(parts.len(), |ends| {
        parts.partition_point(|part| part.first < *ends)
    });
    Stretch {
        number: 2 * earlier,
        last: parts[..until].last().copied(),
        leads_to_end: ends.is_none(),
    }
}

/// How far a stretch leads. `found` is the last look of its last part, by its contents: when the object was stored says nothing, since copying
/// a repository renews it.
#[must_use]
pub fn reach(
    stretch: &Stretch,
    found: Option<Timestamp>,
    end: &LogEnd,
    now: Timestamp,
) -> LogReach {
    let archived = found.unwrap_or(Timestamp::EPOCH);
    if stretch.number == BEFORE_ALL {
        // Its entries were deleted: it is what was captured.
        return LogReach {
            surely: Timestamp::EPOCH,
            at_most: end.known,
        };
    }
    let last = if end.is_live { now } else { end.newest };
    LogReach {
        surely: if end.is_live && stretch.leads_to_end {
            now
        } else {
            archived
        },
        at_most: last.max(archived).max(end.known),
    }
}

#[cfg(test)]
mod tests {
    use super::{BEFORE_ALL, LogEnd, PartFacts, Stretch, reach, stretch};
    use crate::fixture::NOW;
    use crate::retention::LogReach;
    use crate::retention::fixture::ago;
    use holdfast_types::Timestamp;

    fn parts(firsts: &[u64]) -> Vec<PartFacts> {
        let part = |first: &u64| PartFacts {
            first: *first,
            size: 1,
            stored: NOW,
            merged: false,
        };
        firsts.iter().map(part).collect()
    }

    fn of(firsts: &[u64], doubted: &[u64], certain: u64) -> (usize, Option<u64>, bool) {
        let doubted = doubted.iter().copied().collect();
        let found = stretch(&parts(firsts), &doubted, certain);
        let last = found.last.map(|last| last.first);
        (found.number, last, found.leads_to_end)
    }

    #[test]
    fn doubt_divides_a_log_into_stretches() {
        let all = [0, 10, 20, 30, 40, 50];
        let at = |certain: u64, doubted: &[u64]| of(&all, doubted, certain);
        assert_eq!(at(15, &[]), (0, Some(50), true));
        assert_eq!(at(200, &[]), (0, Some(50), true), "nothing behind it");
        assert_eq!(at(15, &[30]), (0, Some(20), false));
        assert_eq!(at(29, &[30]), (0, Some(20), false));
        assert_eq!(at(30, &[30]), (1, None, false));
        assert_eq!(at(40, &[30]), (2, Some(50), true));
        assert_eq!(at(5, &[99]), (0, Some(50), true), "of a part that is gone");
        assert_eq!(at(55, &[50]), (1, None, false));
        assert_eq!(at(45, &[0, 30, 50]), (4, Some(40), false));
    }

    /// The second may be sound behind a hole, so that its base is the only one of its instants.
    #[test]
    fn doubted_neighbours_are_stretches_of_their_own() {
        let all = [0, 10, 20, 30, 40, 50];
        let numbers = |doubted: &[u64]| {
            let at = |certain: u64| of(&all, doubted, certain).0;
            [at(25), at(35), at(45), at(55)]
        };
        assert_eq!(numbers(&[30, 40]), [0, 1, 3, 4]);
        assert_eq!(numbers(&[20, 30, 40, 50]), [1, 3, 5, 7]);
    }

    #[test]
    fn what_was_deleted_leads_nowhere() {
        assert_eq!(of(&[20, 30], &[], 19), (BEFORE_ALL, None, false));
        assert_eq!(of(&[20, 30], &[], 20), (0, Some(30), true));
        assert_eq!(of(&[], &[], 5), (0, None, true));
        let end = LogEnd {
            is_live: true,
            newest: NOW,
            known: ago(2),
        };
        let before = stretch(&parts(&[20]), &[].into(), 5);
        let expected = LogReach {
            surely: Timestamp::EPOCH,
            at_most: ago(2),
        };
        assert_eq!(reach(&before, None, &end, NOW), expected);
    }

    #[test]
    fn how_far_is_said_by_contents() {
        let end = |is_live| LogEnd {
            is_live,
            newest: ago(3),
            known: ago(9),
        };
        let of = |stretch: &Stretch, found: Option<i64>, is_live: bool| {
            let reach = reach(stretch, found.map(ago), &end(is_live), NOW);
            (reach.surely, reach.at_most)
        };
        let doubted = [30].into();
        let all = parts(&[10, 20, 30, 40]);
        let whole = stretch(&all, &[].into(), 15);
        // When the parts were stored, which is now, is asked of none.
        assert_eq!(of(&whole, Some(3), false), (ago(3), ago(3)));
        assert_eq!(of(&whole, None, false), (Timestamp::EPOCH, ago(3)));
        assert_eq!(of(&whole, Some(3), true), (NOW, NOW));
        // Beyond doubt, and from within it, whatever is archived may be reached.
        let before = stretch(&all, &doubted, 15);
        assert_eq!(of(&before, Some(7), false), (ago(7), ago(3)));
        assert_eq!(of(&before, Some(7), true), (ago(7), NOW));
        let within = stretch(&all, &doubted, 35);
        assert_eq!(of(&within, None, false), (Timestamp::EPOCH, ago(3)));
        assert_eq!(of(&within, None, true), (Timestamp::EPOCH, NOW));
        let behind = stretch(&all, &doubted, 45);
        assert_eq!(of(&behind, Some(3), true), (NOW, NOW));
        // A log to which nothing is written reaches as far as is known of it.
        let idle = LogEnd {
            known: ago(1),
            ..end(false)
        };
        assert_eq!(reach(&whole, Some(ago(3)), &idle, NOW).at_most, ago(1));
    }
}
