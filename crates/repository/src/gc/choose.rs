//! Which packs are deleted and which are rewritten: a function of what the marks weigh.

use super::GarbageOptions;
use crate::catalog::Weight;

/// Small packs that are let be: fewer cost nothing worth a rewrite.
const SMALL_PACKS: usize = 8;

/// A pack that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its number in the catalogue.
    pub(super) number: u32,
    /// Bytes of the whole object.
    pub(super) size: u64,
    /// Whether it can be read in full, as far as is known.
    pub(super) sound: bool,
    pub(super) weight: Weight,
}

/// What happens to the packs that are not simply kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Nothing in them is needed.
    pub(super) dead: Vec<u32>,
    /// What is needed of them is copied into new packs; the emptiest come first.
    pub(super) rewrite: Vec<u32>,
}

/// A pack is dead if nothing in it is needed. It is rewritten if too little of it is, or if it is one of
/// many small ones, as long as the bytes to be copied stay within the limit.
pub(super) fn choose(packs: &[Candidate], options: &GarbageOptions) -> Chosen {
    let (dead, live): (Vec<_>, Vec<_>) = packs
        .iter()
        .copied()
        .partition(|pack| pack.weight.live_chunks == 0);
    let small = |pack: &Candidate| pack.size < options.small_pack_bytes;
    let sound: Vec<_> = live.into_iter().filter(|pack| pack.sound).collect();
    let many_small = sound.iter().filter(|pack| small(pack)).count() >= SMALL_PACKS;
    let mut rewrite: Vec<_> = sound
        .into_iter()
        .filter(|pack| is_sparse(pack, options.rewrite_below_percent) || many_small && small(pack))
        .collect();
    rewrite.sort_by_key(|pack| (pack.weight.live_bytes, pack.number));
    let mut left = options.max_rewrite_bytes;
    let fits = |pack: &Candidate| {
        let fits = pack.weight.live_bytes <= left;
        left = left.saturating_sub(pack.weight.live_bytes);
        fits
    };
    Chosen {
        dead: dead.into_iter().map(|pack| pack.number).collect(),
        rewrite: rewrite
            .into_iter()
            .take_while(fits)
            .map(|pack| pack.number)
            .collect(),
    }
}

fn is_sparse(pack: &Candidate, percent: u8) -> bool {
    let (live, size) = (u128::from(pack.weight.live_bytes), u128::from(pack.size));
    live * 100 < size * u128::from(percent)
}

#[cfg(test)]
mod tests {
    use super::{Candidate, Chosen, choose};
    use crate::catalog::Weight;
    use crate::gc::GarbageOptions;

    fn pack(number: u32, size: u64, live_bytes: u64) -> Candidate {
        Candidate {
            number,
            size,
            sound: true,
            weight: Weight {
                live_chunks: u32::from(live_bytes > 0),
                live_bytes,
            },
        }
    }

    fn options() -> GarbageOptions {
        GarbageOptions {
            rewrite_below_percent: 50,
            small_pack_bytes: 10,
            max_rewrite_bytes: 100,
            ..GarbageOptions::default()
        }
    }

    #[test]
    fn the_dead_go_and_the_sparse_are_rewritten() {
        let packs = [
            pack(0, 100, 0),
            pack(1, 100, 49),
            pack(2, 100, 50),
            pack(3, 100, 7),
        ];
        let want = Chosen {
            dead: vec![0],
            rewrite: vec![3, 1],
        };
        assert_eq!(choose(&packs, &options()), want);
    }

    #[test]
    fn damaged_packs_are_deleted_only_if_nothing_needs_them() {
        let damaged = |number, live| Candidate {
            sound: false,
            ..pack(number, 100, live)
        };
        let chosen = choose(&[damaged(0, 0), damaged(1, 7)], &options());
        assert_eq!((chosen.dead, chosen.rewrite), (vec![0], vec![]));
    }

    #[test]
    fn small_packs_are_joined_when_they_are_many() {
        let packs: Vec<_> = (0..8).map(|n| pack(n, 9, 9)).collect();
        assert_eq!(choose(&packs, &options()).rewrite.len(), 8);
        assert_eq!(choose(&packs[1..], &options()).rewrite.len(), 0);
    }

    #[test]
    fn no_more_is_copied_than_allowed() {
        let packs: Vec<_> = (0..9).map(|n| pack(n, 100, 30 + u64::from(n))).collect();
        assert_eq!(choose(&packs, &options()).rewrite, [0, 1, 2]);
    }
}
