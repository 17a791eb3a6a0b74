//! What Qdrant's log library does to its folder, written from its description (QDRANT's `wal/mod.rs`), not from the reader.
//!
//! Every entry's data is a unique number and filler. The model knows each entry's index and which entry it was appended to.

use holdfast_wal::FileId;
use std::collections::BTreeMap;

const DEVICE: u64 = 7;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    begin: usize,
    end: usize,
}

#[derive(Clone, Debug)]
struct Segment {
    inode: u64,
    name: String,
    entries: Vec<Entry>,
}

/// Where an entry stood in the log when it was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) index: u64,
    /// Its predecessor; 0 for the first of a folder.
    pub(crate) parent: u64,
}

/// A log folder, and every file that was ever in it.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) dir: u64,
    contents: BTreeMap<u64, Vec<u8>>,
    closed: Vec<(u64, Segment)>,
    open: Segment,
    spare: Segment,
    open_id: u64,
    next_inode: u64,
    next_entry: u64,
    seed: u32,
    capacity: usize,
    retain: usize,
    /// Whether a file was given up with half an entry at its end: the entry after it didn't fit any more.
    pub(crate) gave_up: bool,
    pub(crate) origins: BTreeMap<u64, Origin>,
}

impl Model {
    pub(crate) fn new(capacity: usize, retain: usize) -> Self {
        let none = || Segment {
            inode: 0,
            name: String::new(),
            entries: Vec::new(),
        };
        let mut model = Self {
            dir: 1000,
            contents: BTreeMap::new(),
            closed: Vec::new(),
            open: none(),
            spare: none(),
            open_id: 1,
            next_inode: 1,
            next_entry: 1,
            seed: 0x9e37_79b9,
            capacity,
            retain,
            gave_up: false,
            origins: BTreeMap::new(),
        };
        model.open = model.create();
        model.spare = model.create();
        model
    }

    fn create(&mut self) -> Segment {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.seed = self
            .seed
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        let mut bytes = vec![0; self.capacity];
        bytes[..4].copy_from_slice(b"wal\0");
        bytes[4..8].copy_from_slice(&self.seed.to_le_bytes());
        self.contents.insert(inode, bytes);
        let name = format!("open-{}", self.open_id);
        self.open_id += 1;
        Segment {
            inode,
            name,
            entries: Vec::new(),
        }
    }

    pub(crate) fn id(inode: u64) -> FileId {
        let device = DEVICE;
        FileId { device, inode }
    }

    /// Names of the folder: name, inode.
    pub(crate) fn names(&self) -> Vec<(String, u64)> {
        let closed = self.closed.iter().map(|(_, segment)| segment);
        let all = closed.chain([&self.open, &self.spare]);
        all.map(|s| (s.name.clone(), s.inode)).collect()
    }

    pub(crate) fn bytes(&self, file: FileId) -> &[u8] {
        &self.contents[&file.inode]
    }

    fn open_first(&self) -> u64 {
        let last = self.closed.last();
        last.map_or(0, |(first, segment)| first + segment.entries.len() as u64)
    }

    /// Index of the next entry.
    pub(crate) fn next(&self) -> u64 {
        self.open_first() + self.open.entries.len() as u64
    }

    pub(crate) fn first(&self) -> u64 {
        self.closed.first().map_or(0, |(first, _)| *first)
    }

    /// The newest entry that is in the log.
    pub(crate) fn newest(&self) -> Option<u64> {
        let segments = self.closed.iter().map(|(_, segment)| segment);
        let all = segments.chain([&self.open]);
        all.flat_map(|s| &s.entries).last().map(|e| e.id)
    }

    fn end(segment: &Segment) -> usize {
        segment.entries.last().map_or(8, |e| e.end)
    }

    fn encode(&self, id: u64, filler: usize) -> Vec<u8> {
        let mut data = id.to_le_bytes().to_vec();
        data.extend((0..filler).map(|n| (n as u64 ^ id).to_le_bytes()[0]));
        let mut entry = (data.len() as u64).to_le_bytes().to_vec();
        entry.extend(&data);
        while entry.len() % 8 != 4 {
            entry.push(0);
        }
        let bytes = &self.contents[&self.open.inode];
        let end = Self::end(&self.open);
        let before = u32::from_le_bytes(bytes[end - 4..end].try_into().unwrap());
        let crc = crc32c_of(before, &entry);
        entry.extend(crc.to_le_bytes());
        entry
    }

    /// Makes room for an entry of so many bytes: a new file, or a larger one.
    fn make_room(&mut self, size: usize) {
        let fits =
            |model: &Self| Self::end(&model.open) + size <= model.contents[&model.open.inode].len();
        if !fits(self) && !self.open.entries.is_empty() {
            self.rotate();
        }
        if !fits(self) {
            let end = Self::end(&self.open) + size;
            let bytes = self.contents.get_mut(&self.open.inode).unwrap();
            bytes.resize(end, 0);
        }
    }

    fn rotate(&mut self) {
        self.gave_up |= self.is_torn();
        let first = self.open_first();
        let spare = self.create();
        let next = std::mem::replace(&mut self.spare, spare);
        let mut full = std::mem::replace(&mut self.open, next);
        full.name = format!("closed-{first}");
        if self
            .closed
            .last()
            .is_some_and(|(_, s)| s.entries.is_empty())
        {
            self.closed.pop();
        }
        self.closed.push((first, full));
    }

    pub(crate) fn append(&mut self, filler: usize) {
        let id = self.next_entry;
        self.next_entry += 1;
        let size = self.encode(id, filler).len();
        self.make_room(size);
        let entry = self.encode(id, filler);
        let origin = Origin {
            index: self.next(),
            parent: self.newest().unwrap_or(0),
        };
        let begin = Self::end(&self.open);
        let bytes = self.contents.get_mut(&self.open.inode).unwrap();
        bytes[begin..begin + size].copy_from_slice(&entry);
        let end = begin + size;
        self.open.entries.push(Entry { id, begin, end });
        self.origins.insert(id, origin);
    }

    /// Half an entry, as after a kill: everything but its end. Nothing, if an earlier one stands there.
    pub(crate) fn tear(&mut self, filler: usize, cut: usize) {
        if self.is_torn() {
            return;
        }
        let size = self.encode(self.next_entry, filler).len();
        self.make_room(size);
        let entry = self.encode(self.next_entry, filler);
        self.next_entry += 1;
        let kept = entry.len() - 4 - cut % (entry.len() - 4);
        let begin = Self::end(&self.open);
        let bytes = self.contents.get_mut(&self.open.inode).unwrap();
        bytes[begin..begin + kept].copy_from_slice(&entry[..kept]);
    }

    /// Whether half an entry stands at the end.
    pub(crate) fn is_torn(&self) -> bool {
        let rest = &self.contents[&self.open.inode][Self::end(&self.open)..];
        rest.iter().any(|byte| *byte != 0)
    }

    /// Entries before `until` are no longer needed.
    pub(crate) fn acknowledge(&mut self, until: u64) {
        if until <= self.first() {
            return;
        }
        let retained = self.closed.len().saturating_sub(self.retain);
        let holding = |(first, segment): &(u64, Segment)| {
            until >= *first && until < first + segment.entries.len() as u64
        };
        let index = if until >= self.open_first() {
            retained
        } else {
            self.closed.iter().position(holding).unwrap().min(retained)
        };
        self.closed.drain(..index);
    }

    /// Entries from `from` on never happened.
    pub(crate) fn cut_back(&mut self, from: u64) {
        let open_first = self.open_first();
        if from >= open_first {
            let keep = usize::try_from(from - open_first).unwrap();
            let mut open = self.open.clone();
            self.zero(&mut open, keep);
            self.open = open;
            return;
        }
        let mut open = self.open.clone();
        self.zero(&mut open, 0);
        self.open = open;
        let holding = |(first, segment): &(u64, Segment)| {
            from >= *first && from < first + segment.entries.len() as u64
        };
        let Some(at) = self.closed.iter().position(holding) else {
            self.closed.clear();
            return;
        };
        let first = self.closed[at].0;
        if from == first {
            self.closed.truncate(at);
            return;
        }
        let mut segment = self.closed[at].1.clone();
        self.zero(&mut segment, usize::try_from(from - first).unwrap());
        self.closed[at].1 = segment;
        self.closed.truncate(at + 1);
    }

    fn zero(&mut self, segment: &mut Segment, keep: usize) {
        let old = Self::end(segment);
        segment.entries.truncate(keep);
        let new = Self::end(segment);
        let bytes = self.contents.get_mut(&segment.inode).unwrap();
        if new < old {
            bytes[new..old].fill(0);
        }
    }

    /// The shard is recovered from a snapshot whose next operation is `next`: another folder with an empty file.
    pub(crate) fn replace(&mut self, next: u64) {
        self.dir += 1;
        self.open_id = 1;
        self.closed.clear();
        self.open = self.create();
        self.spare = self.create();
        if next > 0 {
            let mut empty = self.create();
            self.open_id -= 1;
            empty.name = format!("closed-{next}");
            self.closed.push((next, empty));
        }
    }

    /// Flips a bit of an entry that is in the log.
    pub(crate) fn damage(&mut self, pick: usize, bit: usize) -> bool {
        let closed = self.closed.iter().map(|(_, segment)| segment);
        let all = closed.chain([&self.open]);
        let all: Vec<_> = all
            .flat_map(|s| s.entries.iter().map(|e| (s.inode, e.clone())))
            .collect();
        if all.is_empty() {
            return false;
        }
        let (inode, entry) = &all[pick % all.len()];
        let at = entry.begin + (bit / 8) % (entry.end - entry.begin);
        self.contents.get_mut(inode).unwrap()[at] ^= 1 << (bit % 8);
        true
    }
}

/// CRC-32C with the chain's own beginning, bit by bit.
fn crc32c_of(before: u32, bytes: &[u8]) -> u32 {
    let mut state = before.reverse_bits();
    for byte in bytes {
        state ^= u32::from(*byte);
        for _ in 0..8 {
            state = (state >> 1) ^ (0x82f6_3b78 & (state & 1).wrapping_neg());
        }
    }
    !state
}
