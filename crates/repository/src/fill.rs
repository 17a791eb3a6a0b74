//! When a pack is full. All full packs have one size; when they are closed must not show where chunks end.
//!
//! A pack ends before the chunk that would exceed its limit. The limit is drawn at random for each, and what a
//! pack leaves of its limit is added to the next one's: so how much the first n packs hold together depends on the draws,
//! and on the chunks by less than one of them. Without that, the last pack of a capture would tell the sum of
//! what all others left, which is a fingerprint of the captured files. For the same reason a pack that follows full
//! ones is padded by a random amount that is as large as a chunk can be.

use crate::system;
use holdfast_archive::pack::{PackSize, unpadded_len};

/// Limits of the packs to come.
pub(crate) struct Fill {
    full: usize,
    limit: usize,
    /// Whether the open pack follows a full one.
    follows: bool,
}

impl Fill {
    /// Packs of `full` bytes.
    pub(crate) fn new(full: usize) -> Self {
        let limit = draw(full, random());
        let follows = false;
        Self {
            full,
            limit,
            follows,
        }
    }

    /// Whether this is too much for the open pack.
    pub(crate) const fn exceeded(&self, encoded: usize, chunks: usize) -> bool {
        unpadded_len(encoded, chunks) > self.limit
    }

    /// Goes on with the next pack. The one that is closed holds this much, and is full unless it is the `last`
    /// for now. Returns the size that it is to have.
    pub(crate) fn next(&mut self, encoded: usize, chunks: usize, last: bool) -> PackSize {
        let holds = unpadded_len(encoded, chunks);
        let left = self.limit.saturating_sub(holds);
        // What is left of a limit is mostly less than a chunk; the rest of a longer one is lost.
        self.limit = draw(self.full, random()) + left.min(self.full / 64);
        let followed = std::mem::replace(&mut self.follows, !last);
        match (last, followed) {
            // Only where packs are hardly larger than chunks.
            (false, _) if holds < self.full / 8 * 7 => PackSize::Rest { spread: 0 },
            (false, _) => PackSize::Full(self.full),
            (true, false) => PackSize::Rest { spread: 0 },
            (true, true) => PackSize::Rest {
                spread: self.full / 32,
            },
        }
    }
}

/// Between 31/32 and 63/64 of a full pack, so that what the one before left over fits as well.
fn draw(full: usize, random: u64) -> usize {
    let range = (full / 64).max(1);
    let more = usize::try_from(random % range as u64).expect("below the range");
    full - full / 32 + more
}

/// Without random bytes nothing can be stored anyway: each pack needs a salt.
fn random() -> u64 {
    system::random().map(u64::from_le_bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Fill, PackSize};
    use holdfast_archive::pack::unpadded_len;

    /// Whatever the chunks: packs never exceed the full size, and together hold what the limits say.
    #[test]
    fn what_is_left_is_carried_on() {
        let full = 32 << 20;
        for chunk in [3000, 100_000, 300_000] {
            let mut fill = Fill::new(full);
            let (mut held, mut limits) = (0, 0);
            for _ in 0..200 {
                let mut chunks = 0;
                while !fill.exceeded((chunks + 1) * chunk, chunks + 1) {
                    chunks += 1;
                }
                let size = unpadded_len(chunks * chunk, chunks);
                assert!(size <= full && size > full / 32 * 30, "{chunk}: {size}");
                let carried = fill.limit - size;
                held += size;
                let closed = fill.next(chunks * chunk, chunks, false);
                assert_eq!(closed, PackSize::Full(full));
                limits += fill.limit - carried;
            }
            // The draws of 200 packs, and less than a pack's spread for the first and the last.
            let difference = limits.abs_diff(held);
            assert!(difference < full / 32 + chunk, "{chunk}: {difference}");
        }
    }
}
