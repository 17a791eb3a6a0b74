//! A place in one file of the log, and what is needed to read on from there.
//!
//! Each read begins a little before the place: if those bytes have changed, the log was cut back, for a chain of checksums runs
//! through them. Where nothing of the file was read yet, that protection is missing; see [`Place::prior`].

use super::listing::Listed;
use super::{FileId, Position};
use crate::format::{HEADER_BYTES, HeaderError, Parsed, parse_entry, parse_header};

/// Bytes before the place that every read compares.
const ANCHOR_BYTES: usize = 32;
/// Bytes that are read where nothing new is expected.
const IDLE_BYTES: usize = 4 << 10;
/// Bytes that are read where entries were found.
const BUSY_BYTES: usize = 256 << 10;

/// Where reading goes on.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) file: FileId,
    /// Size of the file, when it was last listed.
    len: u64,
    /// Index of the file's first entry.
    pub(super) first: u64,
    /// Index of the next entry.
    pub(super) next: u64,
    /// Where the next entry begins.
    pub(super) at: u64,
    /// What its CRC is computed from.
    crc: u32,
    /// The bytes before `at`; empty as long as not even the header was read.
    anchor: Vec<u8>,
    /// End of the file before, as long as no entry of this one was accepted. If the log is cut back to before this file, its
    /// header stays as it is, so that the file before must tell.
    pub(super) prior: Option<Prior>,
    /// Whether another file was seen under the name of this one while this one was not there. An empty file may be, for a moment;
    /// one that stays away was deleted in a cut-back.
    pub(super) name_taken: bool,
    /// The entry that must be found before anything is passed on.
    pub(super) seek: Option<Position>,
    /// Length of the last read, as asked for.
    asked: usize,
    busy: bool,
    /// What was in the way of the chain at the last look.
    suspect: Option<Suspect>,
}

/// The end of the file that was read before this one.
#[derive(Clone, Debug)]
pub(super) struct Prior {
    pub(super) file: FileId,
    pub(super) offset: u64,
    pub(super) anchor: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Suspect {
    at: u64,
    obstacle: Obstacle,
    /// When it was seen first.
    poll: u64,
    said: bool,
}

/// An entry that was read.
pub(super) struct Read {
    pub(super) index: u64,
    pub(super) before: u32,
    pub(super) crc: u32,
    pub(super) data: Vec<u8>,
}

/// What stopped reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes at hand ended: read on.
    More,
    /// Nothing was written there yet.
    Blank,
    /// What stands there does not continue the chain.
    Broken(Obstacle),
    /// The bytes before the place have changed.
    Rewound,
    /// The file has no header.
    NotALog(HeaderError),
}

/// What stands where an entry should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Obstacle {
    /// The CRC that it ends with; 0 if none was written, or none can be told.
    stored: u32,
    /// Its size; 0 if its length makes no sense.
    size: u64,
}

/// Since when an obstacle is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noticed {
    /// Since this poll.
    New,
    /// Since an earlier poll; said for the first time.
    Lasting,
    /// As said before.
    Known,
}

impl Place {
    pub(super) fn new(file: Listed, first: u64) -> Self {
        Self {
            file: file.file,
            len: file.len,
            first,
            next: first,
            at: 0,
            crc: 0,
            anchor: Vec::new(),
            prior: None,
            name_taken: false,
            seek: None,
            asked: IDLE_BYTES,
            busy: true,
            suspect: None,
        }
    }

    /// The beginning of the file that follows.
    pub(super) fn follow(&self, file: Listed) -> Self {
        let mut next = Self::new(file, self.next);
        next.seek = self.seek;
        // Of an empty file (header only) the one before it must tell.
        next.prior = if self.at > HEADER_BYTES as u64 {
            Some(Prior {
                file: self.file,
                offset: self.anchor_offset(),
                anchor: self.anchor.clone(),
            })
        } else {
            self.prior.clone()
        };
        next
    }

    /// Takes note of the file's size, which grows for an entry that is larger than a file.
    pub(super) fn listed(&mut self, len: Option<u64>) {
        self.len = len.unwrap_or(self.len);
    }

    /// What to read: offset and length.
    pub(super) fn wanted(&self) -> (u64, usize) {
        (self.anchor_offset(), self.asked)
    }

    fn anchor_offset(&self) -> u64 {
        self.at - self.anchor.len() as u64
    }

    /// A new poll: little is expected, unless entries were just found.
    pub(super) fn wake(&mut self) {
        self.asked = self.usual();
    }

    fn usual(&self) -> usize {
        if self.busy { BUSY_BYTES } else { IDLE_BYTES }
    }

    /// Whether the bytes of a read hold the first entry of a file, of which nothing was accepted yet.
    pub(super) fn begins_with_entry(&self, bytes: &[u8]) -> bool {
        let Ok(seed) = parse_header(bytes) else {
            return false;
        };
        let rest = &bytes[HEADER_BYTES..];
        let entry = parse_entry(seed, rest, u64::MAX);
        matches!(entry, Parsed::Entry { .. })
    }

    /// Takes the bytes of a read. Entries are handed to `each` as long as it says so.
    pub(super) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Read) -> bool) -> Stop {
        if self.at == 0 {
            match parse_header(bytes) {
                Ok(seed) => {
                    self.crc = seed;
                    self.at = HEADER_BYTES as u64;
                    self.anchor = bytes[..HEADER_BYTES].to_vec();
                }
                Err(error) => return Stop::NotALog(error),
            }
        }
        if !bytes.starts_with(&self.anchor) {
            return Stop::Rewound;
        }
        let begin = self.anchor.len();
        let whole = bytes.len() >= self.asked;
        let end = self.anchor_offset().saturating_add(bytes.len() as u64);
        let mut used = begin;
        let stop = loop {
            let room = self.len.max(end).saturating_sub(self.at);
            let rest = &bytes[used..];
            match parse_entry(self.crc, rest, room) {
                Parsed::Entry { data, crc, size } => {
                    let read = Read {
                        index: self.next,
                        before: self.crc,
                        crc,
                        data: data.to_vec(),
                    };
                    used += size;
                    self.step(crc, size as u64);
                    if !each(read) {
                        break Stop::Rewound;
                    }
                }
                Parsed::Short(needed) if whole => {
                    self.busy = true;
                    self.remember(bytes, begin, used);
                    let needed = usize::try_from(needed).unwrap_or(usize::MAX);
                    self.asked = self.usual().max(self.anchor.len().saturating_add(needed));
                    return Stop::More;
                }
                // The file ends before its size: it is being made, or cut.
                Parsed::Short(_) | Parsed::Blank => break Stop::Blank,
                Parsed::Broken { stored, size } => {
                    let size = size as u64;
                    break Stop::Broken(Obstacle { stored, size });
                }
                Parsed::Implausible(_) => break Stop::Broken(Obstacle { stored: 0, size: 0 }),
            }
        };
        self.busy = used > begin;
        self.remember(bytes, begin, used);
        self.asked = self.usual();
        match stop {
            // Only a read without any entry may say that a file has ended: that one began after the newest listing.
            Stop::Blank | Stop::Broken(_) if self.busy => Stop::More,
            Stop::More | Stop::Blank | Stop::Broken(_) | Stop::Rewound | Stop::NotALog(_) => stop,
        }
    }

    fn step(&mut self, crc: u32, size: u64) {
        self.crc = crc;
        self.at = self.at.saturating_add(size);
        self.next = self.next.saturating_add(1);
        self.suspect = None;
    }

    /// The last bytes before `used` become the anchor.
    fn remember(&mut self, bytes: &[u8], begin: usize, used: usize) {
        if used > begin {
            self.anchor = bytes[used.saturating_sub(ANCHOR_BYTES)..used].to_vec();
        }
    }

    /// Takes note of an obstacle.
    pub(super) fn notice(&mut self, obstacle: Obstacle, poll: u64) -> Noticed {
        let at = self.at;
        let same = self
            .suspect
            .filter(|found| (found.at, found.obstacle) == (at, obstacle));
        let mut suspect = same.unwrap_or(Suspect {
            at,
            obstacle,
            poll,
            said: false,
        });
        let noticed = match suspect {
            Suspect { said: true, .. } => Noticed::Known,
            Suspect { poll: first, .. } if first < poll => Noticed::Lasting,
            Suspect { .. } => Noticed::New,
        };
        suspect.said |= noticed == Noticed::Lasting;
        self.suspect = Some(suspect);
        noticed
    }
}
