//! Sizes that tell little: Padmé after a secret random amount.
//!
//! Padmé alone (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files", 2019) is a function of the size: of two
//! known sizes on either side of a step each gets its own. A random amount, up to 1/32 of the size, is added first, so that two
//! sizes that differ by d lead to different results with a probability of about d / range only.

/// Pads `len` to the next size whose step is `grain` bytes at least, after up to `spread` bytes at random if that is
/// more than usual. `random` is any number, secret and never used twice.
pub(crate) fn padded(len: usize, grain: usize, spread: usize, random: u64) -> usize {
    // Grows evenly with the size: a range in steps would itself show on which side of a step a size is.
    let range = (len / 32).max(grain).max(spread);
    let more = usize::try_from(random % range as u64).expect("below the range");
    let len = len + more;
    len.next_multiple_of(step(len).max(grain))
}

/// A size of L bytes keeps about log2 log2 L significant bits: at most 12 %, 3 % for a full pack.
fn step(len: usize) -> usize {
    let exponent = len.max(2).ilog2();
    let kept = exponent.ilog2() + 1;
    1 << (exponent - kept.min(exponent))
}

#[cfg(test)]
mod tests {
    use super::padded;
    use std::collections::BTreeMap;

    #[test]
    fn sizes_grow_by_two_steps_at_most() {
        for len in (1..1 << 20).step_by(977).chain([33 << 20, 250 << 20]) {
            for random in [0, 1, 12345, u64::MAX] {
                let size = padded(len, 4096, 0, random);
                assert!(size >= len && size.is_multiple_of(4096), "{len}");
                let most = len / 32 + len / 8 + 2 * 4096;
                assert!(size - len <= most, "{len} {size}");
            }
        }
    }

    /// Two sizes on either side of a step can hardly be told apart by what they are padded to.
    #[test]
    fn a_step_between_two_sizes_does_not_show() {
        let edge = 1 << 20;
        let draws = 1_u64 << 16;
        let counts = |len: usize| {
            let mut counts = BTreeMap::<usize, i64>::new();
            for random in 0..draws {
                *counts.entry(padded(len, 4096, 0, random)).or_default() += 1;
            }
            counts
        };
        let (below, above) = (counts(edge - 200), counts(edge + 200));
        let sizes = below.keys().chain(above.keys());
        let differ: i64 = sizes
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .map(|size| (below.get(size).unwrap_or(&0) - above.get(size).unwrap_or(&0)).abs())
            .sum();
        // Half of it is the advantage of the best guess: 400 of 32768 bytes.
        assert!(differ / 2 < 1000, "{differ} of {draws}");
    }
}
