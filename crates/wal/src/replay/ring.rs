//! Which shard a point belongs to: Qdrant's hash ring (`lib/collection/src/hash_ring.rs`, with the crates `hashring` and `siphasher`).
//!
//! Each shard has 100 places on a ring of 64-bit hashes; a point belongs to the shard of the next place from its own hash on. Hashes are
//! SipHash-2-4 with the key 0.

use crate::change::PointId;

/// Places of each shard.
const SCALE: u32 = 100;

/// The shards among which points are distributed.
#[derive(Clone, Debug)]
pub struct Ring {
    /// By hash.
    places: Vec<(u64, u32)>,
    shards: Vec<u32>,
}

impl Ring {
    /// A ring of these shards.
    #[must_use]
    pub fn new(shards: &[u32]) -> Self {
        let mut shards = shards.to_vec();
        shards.sort_unstable();
        shards.dedup();
        let mut places = Vec::new();
        for shard in &shards {
            for place in 0..SCALE {
                places.push((sip(&[&shard.to_le_bytes(), &place.to_le_bytes()]), *shard));
            }
        }
        places.sort_unstable();
        Self { places, shards }
    }

    /// The ring of a collection with so many shards and without shard keys.
    #[must_use]
    pub fn of(count: u32) -> Self {
        Self::new(&(0..count).collect::<Vec<_>>())
    }

    /// The shards, ascending.
    #[must_use]
    pub fn shards(&self) -> &[u32] {
        &self.shards
    }

    /// The shard of a point; `None` without shards.
    #[must_use]
    pub fn shard_of(&self, id: PointId) -> Option<u32> {
        let hash = match id {
            PointId::Number(number) => sip(&[&0u64.to_le_bytes(), &number.to_le_bytes()]),
            PointId::Uuid(uuid) => sip(&[&1u64.to_le_bytes(), &16u64.to_le_bytes(), &uuid]),
        };
        let next = self.places.partition_point(|(place, _)| *place < hash);
        let place = self.places.get(next).or(self.places.first());
        place.map(|(_, shard)| *shard)
    }
}

/// SipHash-2-4 of the pieces, one after the other, with the key 0.
fn sip(pieces: &[&[u8]]) -> u64 {
    let message = pieces.concat();
    let mut state = [
        0x736f_6d65_7073_6575u64,
        0x646f_7261_6e64_6f6d,
        0x6c79_6765_6e65_7261,
        0x7465_6462_7974_6573,
    ];
    let (words, rest) = message.as_chunks::<8>();
    for word in words {
        absorb(&mut state, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let length = (message.len() as u64) << 56;
    absorb(&mut state, u64::from_le_bytes(last) | length);
    state[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    round(state);
    state[0] ^= word;
}

fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::{Ring, sip};
    use crate::change::PointId;

    /// The reference vectors of SipHash-2-4 have another key; these are of the standard library's hasher, which has this one.
    #[test]
    #[expect(deprecated, reason = "nothing else has this function")]
    fn hashes_are_those_of_siphash_2_4() {
        use std::hash::{Hasher as _, SipHasher};
        for len in 0..40u8 {
            let message: Vec<u8> = (0..len).collect();
            let mut hasher = SipHasher::new();
            hasher.write(&message);
            assert_eq!(sip(&[&message]), hasher.finish(), "{len}");
        }
    }

    #[test]
    fn points_are_spread_over_every_shard() {
        let ring = Ring::of(4);
        let mut counts = [0; 4];
        for number in 0..4_000 {
            let shard = ring.shard_of(PointId::Number(number)).unwrap();
            counts[shard as usize] += 1;
        }
        assert!(
            counts.iter().all(|n| (700..1_400).contains(n)),
            "{counts:?}"
        );
        assert_eq!(Ring::of(0).shard_of(PointId::Number(1)), None);
        assert_eq!(Ring::of(1).shard_of(PointId::Uuid([7; 16])), Some(0));
        assert_eq!(Ring::new(&[9, 3, 9]).shards(), [3, 9]);
    }
}
