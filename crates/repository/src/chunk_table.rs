//! Where chunks stand: 48 bytes each, sorted within 4096 shelves by the first 12 bits of the id.
//!
//! Ids are hashes, so shelves fill evenly: with ten million chunks a shelf has 2,400 of them
//! (117 KiB), where a search takes a dozen steps and an insertion moves half of that. Growth is by an
//! eighth, so at most an eighth of the memory is spare: about 540 MB for ten million chunks.

use holdfast_archive::{Codec, PackEntry};
use holdfast_types::ChunkId;

const SHELF_BITS: u32 = 12;
/// The codec stands above the plain length, which is at most 2²⁰.
const CODEC_SHIFT: u32 = 24;
/// Above both stands the mark of garbage collection, so that marking takes no memory.
const MARK: u32 = 1 << 31;

/// A place of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// Number of the pack in the catalogue.
    pub(crate) pack: u32,
    /// The chunk within it.
    pub(crate) entry: PackEntry,
}

#[derive(Clone, Copy)]
struct Record {
    id: [u8; 32],
    pack: u32,
    offset: u32,
    len: u32,
    codec_and_plain_len: u32,
}

/// A set of places by chunk. A chunk may have several.
pub(crate) struct ChunkTable {
    shelves: Vec<Vec<Record>>,
    len: usize,
    unsorted: bool,
}

impl ChunkTable {
    pub(crate) fn new() -> Self {
        Self {
            shelves: (0..1 << SHELF_BITS).map(|_| Vec::new()).collect(),
            len: 0,
            unsorted: false,
        }
    }

    /// Number of places.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a place.
    pub(crate) fn insert(&mut self, pack: u32, entry: &PackEntry) {
        let record = Record::new(pack, entry);
        let shelf = &mut self.shelves[shelf_of(&record.id)];
        let at = shelf.partition_point(|other| other.id <= record.id);
        reserve(shelf);
        shelf.insert(at, record);
        self.len += 1;
    }

    /// Adds many places quickly; [`sort`](Self::sort) must follow before anything is looked up.
    pub(crate) fn append(&mut self, pack: u32, entries: &[PackEntry]) {
        for entry in entries {
            let record = Record::new(pack, entry);
            let shelf = &mut self.shelves[shelf_of(&record.id)];
            reserve(shelf);
            shelf.push(record);
        }
        self.len += entries.len();
        self.unsorted = true;
    }

    /// Puts appended places in order.
    pub(crate) fn sort(&mut self) {
        for shelf in &mut self.shelves {
            shelf.sort_by_key(|record| record.id);
        }
        self.unsorted = false;
    }

    /// Every chunk of a pack. Looks at the whole table: for checks of whole packs only.
    pub(crate) fn of_pack(&self, pack: u32) -> Vec<PackEntry> {
        let inside = |place: &Location| place.pack == pack;
        let places = self.iter().map(|(place, _)| place);
        places.filter(inside).map(|place| place.entry).collect()
    }

    /// Every place with its mark, shelf by shelf.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Location, bool)> + '_ {
        let records = self.shelves.iter().flatten();
        records.map(|record| (record.location(), record.is_marked()))
    }

    /// Takes every mark away.
    pub(crate) fn clear_marks(&mut self) {
        for record in self.shelves.iter_mut().flatten() {
            record.codec_and_plain_len &= !MARK;
        }
    }

    /// Marks those places of a chunk that `wanted` names.
    pub(crate) fn mark(&mut self, id: &ChunkId, mut wanted: impl FnMut(&Location) -> bool) {
        debug_assert!(!self.unsorted, "looked up before sorting");
        let id = *id.as_bytes();
        let shelf = &mut self.shelves[shelf_of(&id)];
        let first = shelf.partition_point(|record| record.id < id);
        let same = shelf[first..]
            .iter_mut()
            .take_while(|record| record.id == id);
        for record in same {
            if wanted(&record.location()) {
                record.codec_and_plain_len |= MARK;
            }
        }
    }

    /// Forgets every place in packs that `gone` names.
    pub(crate) fn forget_packs(&mut self, gone: impl Fn(u32) -> bool) {
        for shelf in &mut self.shelves {
            shelf.retain(|record| !gone(record.pack));
        }
        self.len = self.shelves.iter().map(Vec::len).sum();
    }

    /// Every place of a chunk, in the order of their addition.
    pub(crate) fn find<'a>(&'a self, id: &ChunkId) -> impl Iterator<Item = Location> + 'a {
        debug_assert!(!self.unsorted, "looked up before sorting");
        let id = *id.as_bytes();
        let shelf = &self.shelves[shelf_of(&id)];
        let first = shelf.partition_point(|record| record.id < id);
        shelf[first..]
            .iter()
            .take_while(move |record| record.id == id)
            .map(Record::location)
    }
}

fn shelf_of(id: &[u8; 32]) -> usize {
    usize::from(u16::from_be_bytes([id[0], id[1]]) >> (16 - SHELF_BITS))
}

fn reserve(shelf: &mut Vec<Record>) {
    if shelf.len() == shelf.capacity() {
        shelf.reserve_exact((shelf.len() / 8).max(4));
    }
}

impl Record {
    fn new(pack: u32, entry: &PackEntry) -> Self {
        Self {
            id: *entry.id.as_bytes(),
            pack,
            offset: entry.offset,
            len: entry.len,
            codec_and_plain_len: u32::from(entry.codec) << CODEC_SHIFT | entry.plain_len,
        }
    }

    fn is_marked(&self) -> bool {
        self.codec_and_plain_len & MARK != 0
    }

    fn location(&self) -> Location {
        let codec = Codec::try_from((self.codec_and_plain_len & !MARK) >> CODEC_SHIFT)
            .expect("the number was taken from a codec");
        Location {
            pack: self.pack,
            entry: PackEntry {
                id: ChunkId::from_bytes(self.id),
                codec,
                plain_len: self.codec_and_plain_len & ((1 << CODEC_SHIFT) - 1),
                offset: self.offset,
                len: self.len,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ChunkTable, Record};
    use holdfast_archive::{Codec, PackEntry};
    use holdfast_types::ChunkId;
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
    use std::collections::BTreeMap;

    fn entry(id: [u8; 32], n: u32) -> PackEntry {
        PackEntry {
            id: ChunkId::from_bytes(id),
            codec: Codec::try_from(n % 4).unwrap(),
            plain_len: 1 << 20,
            offset: n,
            len: n + 16,
        }
    }

    #[test]
    fn a_place_takes_48_bytes() {
        assert_eq!(size_of::<Record>(), 48);
    }

    /// Memory of the table itself, in bytes.
    fn bytes(table: &ChunkTable) -> usize {
        let records: usize = table.shelves.iter().map(Vec::capacity).sum();
        records * size_of::<Record>() + table.shelves.capacity() * size_of::<Vec<Record>>()
    }

    /// What docs/reference/retention.md states: 48 MB per million chunks and up to an eighth spare, and garbage collection, whose
    /// marks are bits of the records, takes nothing beyond.
    #[test]
    fn a_million_chunks_take_what_is_stated() {
        const MILLION: usize = 1_000_000;
        let stated = 48 * MILLION;
        let most = stated + stated / 8;
        let id = |n: u64| {
            let mut id = [0; 32];
            // SplitMix64, for ids that are spread as hashes are.
            let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            id[..8].copy_from_slice(&(z ^ (z >> 31)).to_be_bytes());
            id
        };
        let mut table = ChunkTable::new();
        let fixed = bytes(&table);
        assert!(fixed < 100_000, "{fixed} bytes for no chunk");
        let ids: Vec<_> = (0..MILLION as u64).map(id).collect();
        // Packs of 32 MiB hold some hundred chunks each; half of them are loaded, half come later.
        let (loaded, later) = ids.split_at(MILLION / 2);
        for (pack, some) in (0..).zip(loaded.chunks(500)) {
            let entries: Vec<_> = some.iter().map(|id| entry(*id, pack)).collect();
            table.append(pack, &entries);
        }
        table.sort();
        for (n, id) in (0..).zip(later) {
            table.insert(1000 + n / 500, &entry(*id, n));
        }
        assert_eq!(table.len(), MILLION);
        let taken = bytes(&table) - fixed;
        assert!(
            (stated..=most).contains(&taken),
            "{taken} bytes, {stated} to {most} are stated"
        );
        for id in &ids {
            table.mark(&ChunkId::from_bytes(*id), |_| true);
        }
        assert_eq!(table.iter().filter(|(_, marked)| *marked).count(), MILLION);
        table.clear_marks();
        table.forget_packs(|pack| pack % 2 == 0);
        assert_eq!(bytes(&table) - fixed, taken, "collecting takes nothing");
    }

    #[test]
    fn marks_and_what_is_forgotten() {
        let mut table = ChunkTable::new();
        for n in 0..4 {
            table.insert(n, &entry([u8::try_from(n / 2).unwrap(); 32], n));
        }
        let id = ChunkId::from_bytes([1; 32]);
        table.mark(&id, |place| place.pack == 3);
        table.mark(&ChunkId::from_bytes([9; 32]), |_| true);
        let marked = |table: &ChunkTable| {
            let marked = table.iter().filter(|(_, marked)| *marked);
            marked.map(|(place, _)| place.pack).collect::<Vec<_>>()
        };
        assert_eq!(marked(&table), [3]);
        let places: Vec<_> = table.find(&id).collect();
        assert_eq!(places[1].entry, entry([1; 32], 3), "a mark changes nothing");
        table.forget_packs(|pack| pack == 2);
        assert_eq!(table.len(), 3);
        assert_eq!(table.find(&id).count(), 1);
        table.clear_marks();
        assert!(marked(&table).is_empty());
    }

    fn ids() -> impl Strategy<Value = Vec<[u8; 32]>> {
        // Few distinct beginnings, so that shelves are shared and ids repeat.
        proptest::collection::vec(
            (0_u8..3, any::<bool>()).prop_map(|(first, last)| {
                let mut id = [7; 32];
                id[0] = first;
                id[31] = u8::from(last);
                id
            }),
            0..60,
        )
    }

    proptest! {
        #[test]
        fn finds_what_was_added(ids in ids(), bulk in 0_usize..60) {
            let mut table = ChunkTable::new();
            let mut want: BTreeMap<_, Vec<u32>> = BTreeMap::new();
            let bulk = bulk.min(ids.len());
            for (n, id) in (0_u32..).zip(&ids) {
                want.entry(*id).or_default().push(n);
                let entry = entry(*id, n);
                if (n as usize) < bulk {
                    table.append(n, &[entry]);
                } else {
                    if n as usize == bulk {
                        table.sort();
                    }
                    table.insert(n, &entry);
                }
            }
            table.sort();
            prop_assert_eq!(table.len(), ids.len());
            for (id, packs) in &want {
                let found: Vec<_> = table.find(&ChunkId::from_bytes(*id)).collect();
                let found_packs: Vec<_> = found.iter().map(|place| place.pack).collect();
                prop_assert_eq!(&found_packs, packs);
                for place in found {
                    prop_assert_eq!(place.entry, entry(*id, place.pack));
                }
            }
            prop_assert_eq!(table.find(&ChunkId::from_bytes([9; 32])).count(), 0);
        }
    }
}
