//! Which small parts become one.

use super::PartFacts;
use holdfast_types::Timestamp;
use std::ops::Range;
use std::time::Duration;

/// Parts are left alone for so long: whoever appends or follows the log's end reads them.
const SETTLED: Duration = Duration::from_hours(1);

/// Parts of so many bytes, as stored, are large enough.
const LARGE: u64 = 2 << 20;

/// A merged part of so many bytes is left alone: else a log with little data would be written anew every time.
const MERGED_LARGE: u64 = 64 << 10;

/// A merged part has about so many bytes at most, as stored.
const MERGED: u64 = 4 << 20;

/// Fewer are not worth the writing.
const AT_LEAST: usize = 16;

/// Groups of neighbouring parts that may be stored as one each, as ranges of `parts`. The last one stays alone: it is read
/// by whoever asks how far the log reaches.
#[must_use]
pub fn merges(parts: &[PartFacts], now: Timestamp) -> Vec<Range<usize>> {
    let parts = &parts[..parts.len().saturating_sub(1)];
    let mut groups = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (nth, part) in parts.iter().enumerate() {
        let large = if part.merged { MERGED_LARGE } else { LARGE };
        let small = part.size < large && now.since(part.stored) > SETTLED;
        if small && bytes + part.size <= MERGED {
            bytes += part.size;
            continue;
        }
        groups.push(begin..nth);
        (begin, bytes) = if small {
            (nth, part.size)
        } else {
            (nth + 1, 0)
        };
    }
    groups.push(begin..parts.len());
    groups.retain(|group| group.len() >= AT_LEAST);
    groups
}

#[cfg(test)]
mod tests {
    use super::{AT_LEAST, LARGE, MERGED, MERGED_LARGE, PartFacts, merges};
    use crate::fixture::NOW;
    use crate::retention::fixture::ago;

    fn parts(sizes: &[u64], hours: i64) -> Vec<PartFacts> {
        let part = |(first, size): (u64, &u64)| PartFacts {
            first,
            size: *size,
            stored: ago(hours),
            merged: false,
        };
        (0..).zip(sizes).map(part).collect()
    }

    #[test]
    fn small_settled_neighbours_become_one() {
        let few = parts(&[10; AT_LEAST], 2);
        assert_eq!(merges(&few, NOW), []);
        let enough = parts(&[10; AT_LEAST + 1], 2);
        assert_eq!(merges(&enough, NOW), std::slice::from_ref(&(0..AT_LEAST)));
        assert_eq!(merges(&parts(&[10; 99], 1), NOW), [], "not settled");
        // A large one stays where it is, and what is young ends a group.
        let mut mixed = parts(&[10; 61], 2);
        mixed[20].size = LARGE;
        mixed[45].stored = NOW;
        assert_eq!(merges(&mixed, NOW), [0..20, 21..45]);
        // One that was merged is left alone sooner: it would be written again and again.
        mixed[2].merged = true;
        assert_eq!(merges(&mixed, NOW), [0..20, 21..45]);
        mixed[2].size = MERGED_LARGE;
        assert_eq!(merges(&mixed, NOW), [3..20, 21..45]);
    }

    #[test]
    fn a_merged_part_has_a_bounded_size() {
        let many = parts(&[MERGED / 40; 101], 2);
        let groups = merges(&many, NOW);
        assert_eq!(groups, [0..40, 40..80, 80..100]);
        assert_eq!(merges(&[], NOW), []);
    }
}
