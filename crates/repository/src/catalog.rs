//! What is known of packs and chunks, in memory: rebuilt at every open from indexes and footers.
//!
//! Knowledge only, no IO. A chunk counts as present only where its pack was listed with the right
//! size, is not about to be deleted, and no read of it has failed; so whatever is found damaged or
//! doomed is stored anew by the next capture that meets it.

use crate::RepositoryStats;
use crate::chunk_table::{ChunkTable, Location};
use holdfast_archive::pack::ENTRY_LEN;
use holdfast_archive::{PackEntry, PackIndex};
use holdfast_types::{ChunkId, PackId};
use std::collections::{HashMap, HashSet};

mod distrust;

use distrust::Distrust;

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
    /// Deleted as garbage. Its number is not given to another.
    Removed,
}

/// Who decided that a pack is to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    /// This process, as its n-th such decision: it may be taken back.
    Ours(u64),
    /// An earlier writer, who may still be deleting: nothing relies on the pack ever again.
    Anothers,
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
            PackState::Sound | PackState::Missing | PackState::Removed => self.size,
        }
    }
}

/// Packs by number, and the places of chunks in them.
pub(crate) struct Catalog {
    packs: Vec<Pack>,
    by_id: HashMap<PackId, u32>,
    chunks: ChunkTable,
    /// Places that don't count: pack number and offset.
    bad: HashMap<(u32, u32), Distrust>,
    /// Packs that are to be deleted.
    doomed: HashMap<u32, Doom>,
    /// How often this process has doomed packs.
    dooms: u64,
}

impl Catalog {
    pub(crate) fn new() -> Self {
        Self {
            packs: Vec::new(),
            by_id: HashMap::new(),
            chunks: ChunkTable::new(),
            bad: HashMap::new(),
            doomed: HashMap::new(),
            dooms: 0,
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
        let number = self.next_number();
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

    /// Every pack by number, those that were removed apart.
    pub(crate) fn packs(&self) -> impl Iterator<Item = (u32, Pack)> + '_ {
        let numbered = (0..).zip(self.packs.iter().copied());
        numbered.filter(|(_, pack)| pack.state != PackState::Removed)
    }

    /// The number that the next pack will get.
    pub(crate) fn next_number(&self) -> u32 {
        u32::try_from(self.packs.len()).expect("2^32 packs would fill 128 PiB")
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
                PackState::Removed => (0, 0, 0),
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

    /// Whether the chunk can be read, although perhaps not for long.
    pub(crate) fn is_readable(&self, id: &ChunkId) -> bool {
        self.chunks.find(id).any(|place| self.is_good(&place))
    }

    /// Plain length in bytes of a chunk that can be relied upon.
    pub(crate) fn plain_len(&self, id: &ChunkId) -> Option<u32> {
        let mut places = self.chunks.find(id);
        let good = places.find(|place| self.is_good(place) && !self.is_doomed(place))?;
        Some(good.entry.plain_len)
    }

    /// Every place of a chunk that is worth a try, the best first.
    pub(crate) fn places(&self, id: &ChunkId) -> Vec<(Location, Pack)> {
        let mut places: Vec<_> = self
            .chunks
            .find(id)
            .filter_map(|place| Some((place, self.pack(place.pack)?)))
            .collect();
        places.sort_by_key(|(place, _)| (!self.is_good(place), self.is_doomed(place)));
        places
    }

    /// Numbers of the packs that have a place that is known to be bad, or whose name nothing explains.
    pub(crate) fn distrusted_numbers(&self) -> HashSet<u32> {
        self.bad.keys().map(|(number, _)| *number).collect()
    }

    fn is_doomed(&self, place: &Location) -> bool {
        self.doomed.contains_key(&place.pack)
    }

    fn is_good(&self, place: &Location) -> bool {
        let sound = self
            .packs
            .get(place.pack as usize)
            .is_some_and(|pack| pack.state == PackState::Sound);
        sound && !self.bad.contains_key(&(place.pack, place.entry.offset))
    }

    /// Compares the first `known` packs with a listing that was begun when there were that many.
    /// Returns those whose state changed.
    pub(crate) fn compare(&mut self, known: usize, listed: &HashMap<PackId, u64>) -> Vec<Pack> {
        let mut changed = Vec::new();
        for pack in self.packs.iter_mut().take(known) {
            let state = state_of(pack.size, listed.get(&pack.id).copied());
            if state != pack.state && pack.state != PackState::Removed {
                pack.state = state;
                changed.push(*pack);
            }
        }
        changed
    }
}

/// What garbage collection asks and does.
impl Catalog {
    /// The number of a pack that is known.
    pub(crate) fn number_of(&self, id: &PackId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// Packs in which a place is known to be bad.
    pub(crate) fn packs_with_bad_places(&self) -> HashSet<u32> {
        self.bad.keys().map(|(pack, _)| *pack).collect()
    }

    /// How often this process has doomed packs.
    pub(crate) fn dooms(&self) -> u64 {
        self.dooms
    }

    /// Whether the pack is to be deleted, and who said so.
    pub(crate) fn doom_of(&self, pack: u32) -> Option<Doom> {
        self.doomed.get(&pack).copied()
    }

    /// From now on nothing new relies on these packs.
    pub(crate) fn doom(&mut self, packs: impl IntoIterator<Item = u32>) {
        self.dooms += 1;
        let doom = Doom::Ours(self.dooms);
        for pack in packs {
            self.doomed.entry(pack).or_insert(doom);
        }
    }

    /// Takes note of what an earlier writer has doomed.
    pub(crate) fn doom_by_another(&mut self, packs: impl IntoIterator<Item = u32>) {
        self.doomed
            .extend(packs.into_iter().map(|pack| (pack, Doom::Anothers)));
    }

    /// Takes our own decision back. What another has doomed stays so.
    pub(crate) fn spare(&mut self, pack: u32) {
        if let Some(Doom::Ours(_)) = self.doomed.get(&pack) {
            self.doomed.remove(&pack);
        }
    }

    /// Spares the pack that holds a chunk, if that makes the chunk one that can be relied upon.
    pub(crate) fn rescue(&mut self, id: &ChunkId) -> bool {
        let ours = |place: &Location| matches!(self.doom_of(place.pack), Some(Doom::Ours(_)));
        let mut places = self.chunks.find(id);
        let Some(place) = places.find(|place| self.is_good(place) && ours(place)) else {
            return false;
        };
        drop(places);
        self.spare(place.pack);
        true
    }

    /// Forgets packs that are being deleted.
    pub(crate) fn remove_packs(&mut self, gone: &HashSet<u32>) {
        for number in gone {
            if let Some(pack) = self.packs.get_mut(*number as usize) {
                pack.state = PackState::Removed;
                self.by_id.remove(&pack.id);
            }
            self.doomed.remove(number);
        }
        self.bad.retain(|(pack, _), _| !gone.contains(pack));
        self.chunks.forget_packs(|pack| gone.contains(&pack));
    }

    /// Begins to mark what is needed: nothing is.
    pub(crate) fn clear_marks(&mut self) {
        self.chunks.clear_marks();
    }

    /// Marks a chunk as needed, at its best place; at every place if none of them is good.
    pub(crate) fn mark(&mut self, id: &ChunkId) {
        let best = self.chunks.find(id).filter(|place| self.is_good(place));
        let best = best.min_by_key(|place| self.is_doomed(place));
        self.chunks
            .mark(id, |place| best.is_none_or(|best| best == *place));
    }

    /// The pack from which a needed chunk is read; `None` if it has no good place.
    pub(crate) fn home_of(&self, id: &ChunkId) -> Option<u32> {
        let good = self.chunks.find(id).filter(|place| self.is_good(place));
        let best = good.min_by_key(|place| self.is_doomed(place))?;
        Some(best.pack)
    }

    /// What the marks say of every pack, by number.
    pub(crate) fn weigh(&self) -> Vec<Weight> {
        let mut weights = vec![Weight::default(); self.packs.len()];
        for (place, marked) in self.chunks.iter() {
            if let (Some(weight), true) = (weights.get_mut(place.pack as usize), marked) {
                weight.live_chunks += 1;
                weight.live_bytes += u64::from(place.entry.len) + ENTRY_LEN as u64;
            }
        }
        weights
    }

    /// The marked chunks of some packs, in the order in which they stand in them.
    pub(crate) fn marked_in(&self, packs: &HashSet<u32>) -> Vec<Location> {
        let places = self.chunks.iter();
        let mut marked: Vec<_> = places
            .filter(|(place, marked)| *marked && packs.contains(&place.pack))
            .map(|(place, _)| place)
            .collect();
        marked.sort_by_key(|place| (place.pack, place.entry.offset));
        marked
    }
}

/// What of a pack is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Chunks that are marked.
    pub(crate) live_chunks: u32,
    /// Their sealed bytes, and those of their entries in the footer: of tiny chunks these are the most.
    pub(crate) live_bytes: u64,
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
    use std::collections::{HashMap, HashSet};

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
    fn what_is_doomed_is_not_relied_upon_but_can_be_rescued() {
        let mut catalog = Catalog::new();
        catalog.add(&pack(1));
        catalog.doom([0]);
        assert!(!catalog.has(&CHUNK));
        assert_eq!(catalog.places(&CHUNK).len(), 1, "still readable");
        assert!(catalog.is_readable(&CHUNK));
        catalog.mark(&CHUNK);
        assert_eq!(catalog.weigh()[0].live_chunks, 1, "still marked");
        assert!(catalog.rescue(&CHUNK));
        assert!(catalog.has(&CHUNK));
        assert!(!catalog.rescue(&CHUNK), "nothing left to rescue");
        catalog.doom_by_another([0]);
        assert!(!catalog.rescue(&CHUNK), "another may still delete it");
        catalog.spare(0);
        assert!(!catalog.has(&CHUNK));
    }

    #[test]
    fn the_best_place_is_marked() {
        let mut catalog = Catalog::new();
        for n in 1..=3 {
            catalog.add(&pack(n));
        }
        let live = |catalog: &Catalog| -> Vec<u32> {
            let weights = catalog.weigh();
            weights.iter().map(|weight| weight.live_chunks).collect()
        };
        catalog.doom([0]);
        catalog.mark(&CHUNK);
        assert_eq!(live(&catalog), [0, 1, 0]);
        catalog.clear_marks();
        for (place, _) in catalog.places(&CHUNK) {
            catalog.mark_bad(&place);
        }
        catalog.mark(&CHUNK);
        assert_eq!(live(&catalog), [1, 1, 1], "all, while none is good");
    }

    #[test]
    fn removed_packs_leave_no_trace_but_their_number() {
        let mut catalog = Catalog::new();
        catalog.add(&pack(1));
        catalog.add(&pack(2));
        catalog.remove_packs(&HashSet::from([0]));
        assert_eq!(
            catalog
                .packs()
                .map(|(number, _)| number)
                .collect::<Vec<_>>(),
            [1]
        );
        assert_eq!((catalog.stats().packs, catalog.chunk_count()), (1, 1));
        assert!(
            catalog.compare(2, &HashMap::new()).len() == 1,
            "not the removed one"
        );
        catalog.add(&pack(1));
        assert_eq!(catalog.number_of(&PackId::from_bytes([1; 32])), Some(2));
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
