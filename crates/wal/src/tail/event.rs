//! What following a log yields.

use super::FileId;
use crate::format::HeaderError;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which run of entries without a break it belongs to: 0 for the one that was resumed or found first.
    pub timeline: u32,
    /// Its index: Qdrant's number of the operation.
    pub index: u64,
    /// CRC from which its own was computed: that of the entry before, or the seed of the file that it begins.
    pub before: u32,
    /// Its CRC.
    pub crc: u32,
    /// The operation, as it stands in the log.
    pub data: Vec<u8>,
}

/// Something to keep or to tell, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The entry before `next` was found again, and is the one that it was: timeline 0 goes on.
    Resumed {
        /// Index of the next frame.
        next: u64,
    },
    /// A run of entries begins.
    Began {
        /// Its number.
        timeline: u32,
        /// Index of its first frame.
        first: u64,
    },
    /// The next entry.
    Frame(Frame),
    /// Something stands where the next entry belongs, and has stood there for more than one poll: the rest of a write that a kill
    /// ended, over which the next entry will be written, or an entry that is damaged. Said once. Until it is over, nobody
    /// can tell whether everything was read.
    Obstructed {
        /// Index of the next frame.
        next: u64,
        /// Where in its file.
        offset: u64,
    },
    /// No entry can be added to this run any more: between it and the next one something is missing or was replaced.
    Ended {
        /// Its number.
        timeline: u32,
        /// Index that its next frame would have had.
        next: u64,
        /// Why.
        cause: Cause,
    },
}

/// Why a timeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Files were deleted before they were read.
    #[error("entries were deleted before they were read: the log goes on at {found}")]
    Gap {
        /// First index that is there.
        found: u64,
    },
    /// Entries that were read are no longer in the log, or others stand in their place.
    #[error("the log was cut back behind what was read")]
    Rewound,
    /// The folder is another one: the shard was recovered, or dropped and made anew.
    #[error("the log's folder was replaced")]
    Replaced,
    /// An entry in the middle of the log can't be read.
    #[error("the entry at byte {offset} of its file is damaged")]
    Damaged {
        /// Where it begins in its file.
        offset: u64,
    },
    /// A file got another first index than its place in the log said.
    #[error("a file was named {named} where {counted} was counted")]
    Misnumbered {
        /// Index in its name.
        named: u64,
        /// Index that was counted.
        counted: u64,
    },
    /// The entry before the next one is gone, so that nobody can tell whether it was the one that was read.
    #[error("the last entry that was read is no longer in the log")]
    Unproven,
    /// A file of the log does not begin as one.
    #[error("a file of the log is none: {0}")]
    NotALog(#[source] HeaderError),
}

/// What the tail needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// A fresh listing of the folder.
    List,
    /// Bytes of a file. Fewer are right where the file ends.
    Read {
        /// Which; it stood in the newest listing, or in an earlier one and was still held.
        file: FileId,
        /// From here.
        offset: u64,
        /// So many.
        len: usize,
    },
    /// Nothing until [`Tail::wake`](super::Tail::wake): everything that is there was read.
    Wait,
}
