//! Archived entries of a write-ahead log: a part of one timeline, as it stands under `wal/`.
//!
//! A timeline is a run of entries in which each follows the one before, in the log of one replica. Its objects are contiguous:
//! the first index of each is the one after the last of the object before, and each repeats the CRC with which that one ends.
//! The CRCs are those that Qdrant wrote, so whoever reads an entry back can prove that it is the one that the server logged.
//!
//! Entries come in *looks*: those that one look at the log found. Of each look two instants are known: when the look before it
//! began, which did not find them, and when they had been read. What lies between is the error of "when it was written".
//!
//! The payload is specified byte by byte in `docs/format/wal.md`; sealing and compression are those of every [sealed
//! object](crate::sealed).

use crate::cursor::Cursor;
use holdfast_types::{
    CollectionName, IncarnationId, Namespace, NodeId, ServerVersion, ShardId, TimelineId, Timestamp,
};
use holdfast_wal::format::{MAX_DATA_BYTES, entry_crc};
use serde::{Deserialize, Serialize};

const VERSION: u16 = 1;
/// A description beyond this many bytes is damage.
const MAX_DESCRIPTION_BYTES: u32 = 64 << 10;
/// Set on a frame that begins a file of the log: its CRC is computed from a seed of its own.
const BEGINS_FILE: u8 = 1;

/// Data, in bytes, beyond which a writer closes an object. One entry may be larger.
pub const USUAL_MAX_BYTES: usize = 32 << 20;

/// Whose log it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalOrigin {
    /// The deployment's namespace.
    pub namespace: Namespace,
    /// The node whose replica it is. The replicas of a shard number their entries each in its own way.
    pub node: NodeId,
    /// Version of its server.
    pub server_version: ServerVersion,
    /// The collection's name.
    pub collection: CollectionName,
    /// Which collection of that name.
    pub incarnation: IncarnationId,
    /// The shard.
    pub shard: ShardId,
    /// The run of entries.
    pub timeline: TimelineId,
    /// Why it does not go on with an earlier one; in the timeline's first object only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// Which part of a timeline an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalRun {
    /// Index of the first entry.
    pub first: u64,
    /// Index after the last one.
    pub next: u64,
    /// CRC of the entry before the first; absent in the timeline's first object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u32>,
    /// CRC of the last entry.
    pub end: u32,
    /// No entry was in the log before this instant.
    pub after: Timestamp,
    /// Every entry was in the log by this instant.
    pub by: Timestamp,
}

/// A part of an archived log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalObject {
    origin: WalOrigin,
    run: WalRun,
    looks: Vec<WalLook>,
}

/// The entries that one look at the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalLook {
    /// When the look before it began: they were not in the log then.
    pub after: Timestamp,
    /// When they had been read.
    pub by: Timestamp,
    /// The entries, at least one.
    pub frames: Vec<WalFrame>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalFrame {
    /// Seed of the file that it begins; `None` if its CRC continues that of the entry before.
    pub seed: Option<u32>,
    /// Its CRC in the log.
    pub crc: u32,
    /// The operation, as the server logged it.
    pub data: Vec<u8>,
}

/// Why bytes are not a part of a log, or entries can't become one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalObjectError {
    /// Written by a newer program.
    #[error("format {0} of archived logs is newer than this program knows (1)")]
    NewerFormat(u16),
    /// The bytes break a rule of the format.
    #[error("archived log is damaged: {0}")]
    Damaged(&'static str),
    /// The entry's CRC is not that of the chain.
    #[error("entry {0} of an archived log does not follow the one before")]
    Chain(u64),
    /// An object does not continue the one before it.
    #[error("archived log goes on at {found} in place of {expected}")]
    Gap {
        /// The index that should come next.
        expected: u64,
        /// The first index of the object.
        found: u64,
    },
    /// Two objects were written by servers of different versions.
    #[error("from entry {0} on an archived log is of another server version")]
    OtherVersion(u64),
    /// Two objects belong to different timelines.
    #[error("archived log belongs to another timeline")]
    OtherTimeline,
}

impl WalObject {
    /// Makes a part of a timeline of what was read. `before` is the CRC of the entry before `first`, `None` at the beginning
    /// of the timeline.
    ///
    /// # Errors
    /// [`WalObjectError`] for what could not be read back: no entries, a broken chain, instants that go back.
    pub fn new(
        origin: WalOrigin,
        first: u64,
        before: Option<u32>,
        looks: Vec<WalLook>,
    ) -> Result<Self, WalObjectError> {
        let damaged = WalObjectError::Damaged;
        let mut chain = before;
        let mut next = first;
        let mut latest = (Timestamp::EPOCH, Timestamp::EPOCH);
        for look in &looks {
            if look.frames.is_empty() {
                return Err(damaged("a look without entries"));
            }
            let (after, by) = latest;
            if look.after < after || look.by < by || look.by < look.after {
                return Err(damaged("instants go back"));
            }
            latest = (look.after, look.by);
            for frame in &look.frames {
                let from = frame.seed.or(chain);
                let from = from.ok_or(damaged("a timeline that begins within a file"))?;
                if frame.data.len() as u64 > MAX_DATA_BYTES {
                    return Err(damaged("an entry is too large"));
                }
                if entry_crc(from, &frame.data) != frame.crc {
                    return Err(WalObjectError::Chain(next));
                }
                chain = Some(frame.crc);
                next = next.checked_add(1).ok_or(damaged("indexes end"))?;
            }
        }
        let (Some(oldest), Some(newest), Some(end)) = (looks.first(), looks.last(), chain) else {
            return Err(damaged("no entries"));
        };
        let run = WalRun {
            first,
            next,
            before,
            end,
            after: oldest.after,
            by: newest.by,
        };
        Ok(Self { origin, run, looks })
    }

    /// One part of parts that follow one another, for whoever stores few large ones in place of many small ones. Instants that go back
    /// between two of them are replaced by those that came before, as every reader does.
    ///
    /// # Errors
    /// What is between two of them; another server version counts, since a part names one.
    pub fn join(parts: Vec<Self>) -> Result<Self, WalObjectError> {
        let mut parts = parts.into_iter();
        let mut whole = parts.next().ok_or(WalObjectError::Damaged("no entries"))?;
        for part in parts {
            part.follows(&whole)?;
            if part.origin.server_version != whole.origin.server_version {
                return Err(WalObjectError::OtherVersion(part.run.first));
            }
            let (mut after, mut by) = (whole.run.after, whole.run.by);
            if let Some(last) = whole.looks.last() {
                (after, by) = (last.after, last.by);
            }
            for look in part.looks {
                (after, by) = (after.max(look.after), by.max(look.by));
                whole.looks.push(WalLook { after, by, ..look });
            }
            whole.run = WalRun {
                next: part.run.next,
                end: part.run.end,
                by,
                ..whole.run
            };
        }
        Ok(whole)
    }

    /// Bytes of all entries' data.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        let frames = self.looks.iter().flat_map(|look| &look.frames);
        frames.map(|frame| frame.data.len() as u64).sum()
    }

    /// Whose log it is.
    #[must_use]
    pub fn origin(&self) -> &WalOrigin {
        &self.origin
    }

    /// Which part of the timeline it is.
    #[must_use]
    pub fn run(&self) -> &WalRun {
        &self.run
    }

    /// Its entries as they were found.
    #[must_use]
    pub fn looks(&self) -> &[WalLook] {
        &self.looks
    }

    /// The same, for whoever needs nothing else.
    #[must_use]
    pub fn into_looks(self) -> Vec<WalLook> {
        self.looks
    }

    /// Each entry with its index, and the look that found it.
    pub fn frames(&self) -> impl Iterator<Item = (u64, &WalLook, &WalFrame)> {
        let looks = self.looks.iter();
        let frames = looks.flat_map(|look| look.frames.iter().map(move |frame| (look, frame)));
        let first = self.run.first;
        (first..)
            .zip(frames)
            .map(|(index, (look, frame))| (index, look, frame))
    }

    /// Whether it continues `earlier` without a gap.
    ///
    /// # Errors
    /// What is between them.
    pub fn follows(&self, earlier: &Self) -> Result<(), WalObjectError> {
        let (mine, other) = (&self.origin, &earlier.origin);
        let same = mine.timeline == other.timeline
            && mine.incarnation == other.incarnation
            && mine.shard == other.shard
            && mine.node == other.node;
        if !same {
            return Err(WalObjectError::OtherTimeline);
        }
        self.run.follows(&earlier.run)
    }

    /// The payload of its sealed object.
    ///
    /// # Errors
    /// [`WalObjectError::Damaged`] if it is too large for its format.
    pub fn encode(&self) -> Result<Vec<u8>, WalObjectError> {
        let large = |_| WalObjectError::Damaged("too large");
        let length = |len: usize| u32::try_from(len).map(u32::to_le_bytes).map_err(large);
        let description = Description {
            origin: self.origin.clone(),
            run: self.run,
        };
        let description = serde_json::to_vec(&description)
            .map_err(|_| WalObjectError::Damaged("it has no description"))?;
        let mut out = VERSION.to_le_bytes().to_vec();
        out.extend_from_slice(&length(description.len())?);
        out.extend_from_slice(&description);
        out.extend_from_slice(&length(self.looks.len())?);
        for look in &self.looks {
            for instant in [look.after, look.by] {
                let micros = u64::try_from(instant.as_micros()).map_err(large)?;
                out.extend_from_slice(&micros.to_le_bytes());
            }
            out.extend_from_slice(&length(look.frames.len())?);
            for frame in &look.frames {
                frame.encode(&mut out)?;
            }
        }
        Ok(out)
    }

    /// Reads a payload, and proves every entry by the chain of CRCs.
    ///
    /// # Errors
    /// Anything but a consistent object of a known format.
    pub fn decode(payload: &[u8]) -> Result<Self, WalObjectError> {
        let mut cursor = Cursor::new(payload);
        let described = read_description(&mut cursor)?;
        let looks = read_looks(&mut cursor).ok_or(WalObjectError::Damaged("it is cut"))?;
        if cursor.remaining() > 0 {
            return Err(WalObjectError::Damaged("something follows its end"));
        }
        let Description { origin, run } = described;
        let object = Self::new(origin, run.first, run.before, looks)?;
        if object.run == run {
            Ok(object)
        } else {
            Err(WalObjectError::Damaged("its description contradicts it"))
        }
    }
}

impl WalFrame {
    /// Appends the entry as it stands in a payload (`docs/format/wal.md`).
    ///
    /// # Errors
    /// [`WalObjectError::Damaged`] if its length does not fit its field.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), WalObjectError> {
        let len = u32::try_from(self.data.len());
        let len = len.map_err(|_| WalObjectError::Damaged("an entry is too large"))?;
        out.push(if self.seed.is_some() { BEGINS_FILE } else { 0 });
        if let Some(seed) = self.seed {
            out.extend_from_slice(&seed.to_le_bytes());
        }
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&self.data);
        Ok(())
    }

    /// So many entries, one behind the other, and nothing else. Nothing is proven by this: [`WalObject::new`] does.
    ///
    /// # Errors
    /// [`WalObjectError::Damaged`] if they are cut or something follows.
    pub fn decode_all(bytes: &[u8], count: u32) -> Result<Vec<Self>, WalObjectError> {
        let mut cursor = Cursor::new(bytes);
        let mut frames = Vec::new();
        for _ in 0..count {
            frames.push(Self::read(&mut cursor).ok_or(WalObjectError::Damaged("it is cut"))?);
        }
        if cursor.remaining() > 0 {
            return Err(WalObjectError::Damaged("something follows its end"));
        }
        Ok(frames)
    }

    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let seed = match cursor.u8()? {
            0 => None,
            BEGINS_FILE => Some(cursor.u32()?),
            _ => return None,
        };
        let crc = cursor.u32()?;
        let len = cursor.u32()?;
        let data = cursor.take(len as usize)?.to_vec();
        Some(Self { seed, crc, data })
    }
}

impl WalRun {
    /// Whether it continues another run of the same timeline.
    ///
    /// # Errors
    /// [`WalObjectError::Gap`], or [`WalObjectError::Chain`] where the indexes fit and the CRCs don't.
    pub fn follows(&self, earlier: &Self) -> Result<(), WalObjectError> {
        if self.first != earlier.next {
            return Err(WalObjectError::Gap {
                expected: earlier.next,
                found: self.first,
            });
        }
        if self.before == Some(earlier.end) {
            Ok(())
        } else {
            Err(WalObjectError::Chain(self.first))
        }
    }
}

/// What stands before the entries.
#[derive(Serialize, Deserialize)]
struct Description {
    #[serde(flatten)]
    origin: WalOrigin,
    #[serde(flatten)]
    run: WalRun,
}

fn read_description(cursor: &mut Cursor<'_>) -> Result<Description, WalObjectError> {
    let damaged = WalObjectError::Damaged;
    match cursor.u16().ok_or(damaged("it is cut"))? {
        VERSION => {}
        0 => return Err(damaged("it has no version")),
        newer => return Err(WalObjectError::NewerFormat(newer)),
    }
    let len = cursor.u32().filter(|len| *len <= MAX_DESCRIPTION_BYTES);
    let json = len.and_then(|len| cursor.take(len as usize));
    let json = json.ok_or(damaged("its description is cut"))?;
    serde_json::from_slice(json).map_err(|_| damaged("its description makes no sense"))
}

fn read_looks(cursor: &mut Cursor<'_>) -> Option<Vec<WalLook>> {
    // Nothing is reserved by a number that was read: lists grow with what is there.
    let mut looks = Vec::new();
    for _ in 0..cursor.u32()? {
        let mut instant = || {
            let micros = i64::try_from(cursor.u64()?).ok()?;
            Some(Timestamp::from_micros(micros))
        };
        let (after, by) = (instant()?, instant()?);
        let mut frames = Vec::new();
        for _ in 0..cursor.u32()? {
            frames.push(WalFrame::read(cursor)?);
        }
        looks.push(WalLook { after, by, frames });
    }
    Some(looks)
}

#[cfg(test)]
mod tests;
