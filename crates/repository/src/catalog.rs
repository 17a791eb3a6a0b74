//! What is known of packs and chunks, in memory: rebuilt at every open from indexes and footers.
//!
//! Knowledge only, no IO. A chunk counts as present only where its pack was listed with the right
//! size and no read of it has failed; so whatever is found damaged is stored anew by the next capture
//! that meets it.

use crate::RepositoryStats;
use crate::chunk_table::{ChunkTable, Location};
use holdfast_archive::{PackEntry, PackIndex};
use holdfast_types::{ChunkId, PackId};
use std::collections::{HashMap, HashSet};

/// How a pack was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PackState {
    /// Listed with the size that its index says.
    Sound,
    /// Listed with another size: parts of it may still be readable.
    WrongSize {
        /// Bytes that are there.
        found: u64,
    },
    /// Not listed.
    Missing,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Pack {
    pub(crate) id: PackId,
    /// Size in bytes when written.
    pub(crate) size: u64,
    pub(crate) state: PackState,
}

impl Pack {
    /// Bytes that can be read.
    pub(crate) fn readable(&self) -> u64 {
        match self.state {
            PackState::WrongSize { found } => found.min(self.size),
            // A missing pack may have come back since: reading it tells.
            PackState::Sound | PackState::Missing => self.size,
        }
    }
}

/// Packs by number, and the places of chunks in them.
pub(crate) struct Catalog {
    packs: Vec<Pack>,
    by_id: HashMap<PackId, u32>,
    chunks: ChunkTable,
    /// Places at which a chunk was found unreadable.
    bad: HashSet<(u32, u32)>,
}

impl Catalog {
    pub(crate) fn new() -> Self {
        Self {
            packs: Vec::new(),
            by_id: HashMap::new(),
            chunks: ChunkTable::new(),
            bad: HashSet::new(),
        }
    }

    /// Adds a pack that was just written. Adding one twice changes nothing.
    pub(crate) fn add(&mut self, index: &PackIndex) {
        if let Some(pack) = self.add_pack(index, PackState::Sound) {
            for entry in &index.entries {
                self.chunks.insert(pack, entry);
            }
        }
    }

    /// Adds a pack while opening; [`loaded`](Self::loaded) must follow the last.
    pub(crate) fn load(&mut self, index: &PackIndex, state: PackState) {
        if let Some(pack) = self.add_pack(index, state) {
            self.chunks.append(pack, &index.entries);
        }
    }

    /// Ends the loading.
    pub(crate) fn loaded(&mut self) {
        self.chunks.sort();
    }

    fn add_pack(&mut self, index: &PackIndex, state: PackState) -> Option<u32> {
        if self.by_id.contains_key(&index.id) {
            return None;
        }
        let number = u32::try_from(self.packs.len()).expect("2^32 packs would fill 128 PiB");
        self.by_id.insert(index.id, number);
        self.packs.push(Pack {
            id: index.id,
            size: index.size,
            state,
        });
        Some(number)
    }

    pub(crate) fn contains_pack(&self, id: &PackId) -> bool {
        self.by_id.contains_key(id)
    }

    pub(crate) fn pack(&self, number: u32) -> Option<Pack> {
        self.packs.get(number as usize).copied()
    }

    pub(crate) fn packs(&self) -> &[Pack] {
        &self.packs
    }

    /// What an index says of a pack's content.
    pub(crate) fn entries_of(&self, number: u32) -> Vec<PackEntry> {
        self.chunks.of_pack(number)
    }

    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    pub(crate) fn stats(&self) -> RepositoryStats {
        let mut stats = RepositoryStats {
            chunks: self.chunks.len() as u64,
            ..RepositoryStats::default()
        };
        for pack in &self.packs {
            let (there, bytes, damaged) = match pack.state {
                PackState::Sound => (1, pack.size, 0),
                PackState::WrongSize { found } => (1, found, 1),
                PackState::Missing => (0, 0, 1),
            };
            stats.packs += there;
            stats.stored_bytes += bytes;
            stats.damaged_packs += damaged;
        }
        stats
    }

    /// Whether the chunk can be relied upon.
    pub(crate) fn has(&self, id: &ChunkId) -> bool {
        self.plain_len(id).is_some()
    }

    /// Plain length in bytes of a chunk that can be relied upon.
    pub(crate) fn plain_len(&self, id: &ChunkId) -> Option<u32> {
        let good = self.chunks.find(id).find(|place| self.is_good(place))?;
        Some(good.entry.plain_len)
    }

    /// Every place of a chunk that is worth a try, the best first.
    pub(crate) fn places(&self, id: &ChunkId) -> Vec<(Location, Pack)> {
        let mut places: Vec<_> = self
            .chunks
            .find(id)
            .filter_map(|place| Some((place, self.pack(place.pack)?)))
            .collect();
        places.sort_by_key(|(place, _)| !self.is_good(place));
        places
    }

    fn is_good(&self, place: &Location) -> bool {
        let sound = self
            .packs
            .get(place.pack as usize)
            .is_some_and(|pack| pack.state == PackState::Sound);
        sound && !self.bad.contains(&(place.pack, place.entry.offset))
    }

    /// Remembers that a chunk can't be read at a place. Returns whether that is news.
    pub(crate) fn mark_bad(&mut self, place: &Location) -> bool {
        self.bad.insert((place.pack, place.entry.offset))
    }

    /// Compares the first `known` packs with a listing that was begun when there were that many.
    /// Returns those whose state changed.
    pub(crate) fn compare(&mut self, known: usize, listed: &HashMap<PackId, u64>) -> Vec<Pack> {
        let mut changed = Vec::new();
        for pack in self.packs.iter_mut().take(known) {
            let state = state_of(pack.size, listed.get(&pack.id).copied());
            if state != pack.state {
                pack.state = state;
                changed.push(*pack);
            }
        }
        changed
    }
}

/// How a pack of this size stands to what was listed of it.
pub(crate) fn state_of(size: u64, listed: Option<u64>) -> PackState {
    match listed {
        Some(found) if found == size => PackState::Sound,
        Some(found) => PackState::WrongSize { found },
        None => PackState::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::{Catalog, PackState};
    use holdfast_archive::{Codec, PackEntry, PackIndex};
    use holdfast_types::{ChunkId, PackId};
    use std::collections::HashMap;

    const CHUNK: ChunkId = ChunkId::from_bytes([1; 32]);

    fn pack(n: u8) -> PackIndex {
        PackIndex {
            id: PackId::from_bytes([n; 32]),
            size: 1000,
            entries: vec![PackEntry {
                id: CHUNK,
                codec: Codec::Stored,
                plain_len: 10,
                offset: 56,
                len: 26,
            }],
        }
    }

    #[test]
    fn a_chunk_counts_where_its_pack_is_sound() {
        let mut catalog = Catalog::new();
        catalog.load(&pack(1), PackState::Missing);
        catalog.load(&pack(2), PackState::WrongSize { found: 900 });
        catalog.loaded();
        assert!(!catalog.has(&CHUNK));
        assert_eq!(catalog.places(&CHUNK).len(), 2);
        catalog.add(&pack(3));
        catalog.add(&pack(3));
        assert!(catalog.has(&CHUNK));
        assert_eq!(catalog.chunk_count(), 3);
        assert_eq!(catalog.places(&CHUNK)[0].0.pack, 2, "the sound one first");
    }

    #[test]
    fn a_place_found_bad_no_longer_counts() {
        let mut catalog = Catalog::new();
        catalog.add(&pack(1));
        let (place, _) = catalog.places(&CHUNK)[0];
        assert!(catalog.mark_bad(&place));
        assert!(!catalog.mark_bad(&place), "known already");
        assert!(!catalog.has(&CHUNK));
        catalog.add(&pack(2));
        assert!(catalog.has(&CHUNK));
    }

    #[test]
    fn a_listing_finds_what_went_away_and_came_back() {
        let mut catalog = Catalog::new();
        catalog.add(&pack(1));
        assert_eq!(catalog.compare(1, &HashMap::new()).len(), 1);
        assert!(!catalog.has(&CHUNK));
        let listed = HashMap::from([(PackId::from_bytes([1; 32]), 1000)]);
        assert_eq!(catalog.compare(1, &listed).len(), 1);
        assert!(catalog.has(&CHUNK));
        assert!(catalog.compare(1, &listed).is_empty());
    }
}
