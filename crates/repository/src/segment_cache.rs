//! Recently read stretches of packs, so that a sequential restore reads each pack once.
//!
//! Chunks stand in their pack in random order, so neighbours of a file are spread over the whole
//! pack: whole stretches are read at once and kept. Several readers of one stretch share one read.

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// Bytes kept: two packs, because the chunks of a file lie in the order of their packs.
const KEPT_BYTES: u64 = 64 << 20;

/// A segment: number of the pack, number of the segment in it.
pub(crate) type SegmentKey = (u32, u32);

/// A segment that is there or being read.
pub(crate) type Segment = Arc<OnceCell<Bytes>>;

/// The segments used last.
pub(crate) struct SegmentCache {
    state: Mutex<State>,
    segment_bytes: u64,
    most: usize,
}

#[derive(Default)]
struct State {
    segments: HashMap<SegmentKey, (Segment, u64)>,
    clock: u64,
}

impl SegmentCache {
    /// Segments of this many bytes; the last one of a pack is shorter.
    pub(crate) fn new(segment_bytes: u64) -> Self {
        let segment_bytes = segment_bytes.clamp(4 << 10, KEPT_BYTES);
        Self {
            state: Mutex::default(),
            segment_bytes,
            most: usize::try_from(KEPT_BYTES / segment_bytes).unwrap_or(1),
        }
    }

    /// Length of a segment in bytes.
    pub(crate) const fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// The segment of this key, to be filled if it is empty. Drops the one unused for longest when
    /// there are too many; whoever still reads that one keeps it alive.
    pub(crate) fn segment(&self, key: SegmentKey) -> Segment {
        // The map is consistent between any two statements.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let now = state.clock;
        let (segment, used) = state.segments.entry(key).or_default();
        *used = now;
        let segment = segment.clone();
        if state.segments.len() > self.most {
            let oldest = state.segments.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                state.segments.remove(&oldest);
            }
        }
        segment
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT_BYTES, SegmentCache};
    use bytes::Bytes;

    #[test]
    fn keeps_the_segments_used_last() {
        let cache = SegmentCache::new(KEPT_BYTES / 8);
        let fill = |key| drop(cache.segment(key).set(Bytes::from_static(b"x")));
        let is_filled = |key| cache.segment(key).get().is_some();
        fill((0, 0));
        for pack in 1..8 {
            fill((pack, 0));
        }
        assert!(is_filled((0, 0)), "used again, so (1, 0) is the oldest");
        fill((99, 0));
        assert!(is_filled((0, 0)));
        assert!(is_filled((99, 0)));
        assert!(!is_filled((1, 0)));
    }
}
