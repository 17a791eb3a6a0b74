//! The entries of an archived log: those that take the place of a captured shard's own, for Qdrant to replay ([`LogSource`]), and those that
//! are sent to the running collection as requests ([`lane`], [`requests`]).
//!
//! Sizes must be known before the first byte of an archive: so the lengths are fetched first ([`Layout`]), then the entries, which
//! are verified here once more: they must be as many as ordered, as long as was said, and each CRC must continue the one before.
//! At most one entry and one piece are in memory.

use crate::failure::Failed;
use crate::job::Halt;
use bytes::{Bytes, BytesMut};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::ShardId;
use holdfast_wal::format::{MAX_DATA_BYTES, entry_crc};
use holdfast_wal::splice::{self, SpliceFile};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use tokio::sync::{mpsc, oneshot};

pub mod lane;
pub mod requests;

/// Bytes of one file of the log: as many as Qdrant's own have.
const FILE_BYTES: u64 = 32 << 20;

/// Which entries are replayed on a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOrder {
    /// The shard.
    pub shard: ShardId,
    /// Index of the first entry.
    pub from: u64,
    /// Index after the last one.
    pub until: u64,
}

impl LogOrder {
    /// How many.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.until.saturating_sub(self.from)
    }

    /// A failure because of what came.
    #[must_use]
    pub fn damaged(&self, what: &str) -> Failed {
        Failed::new(
            Code::RepositoryDamaged,
            format!(
                "the archived log of shard {} for operations {} to {} {what}",
                self.shard,
                self.from,
                self.until.saturating_sub(1)
            ),
        )
    }
}

/// Lays the files of the log out, from the lengths of its entries as they come.
#[derive(Debug)]
pub struct Layout {
    order: LogOrder,
    files: splice::Layout,
    entries: u64,
}

impl Layout {
    /// Of nothing yet.
    #[must_use]
    pub fn new(order: LogOrder) -> Self {
        Self {
            order,
            files: splice::Layout::new(order.from, FILE_BYTES),
            entries: 0,
        }
    }

    /// The next lengths.
    ///
    /// # Errors
    /// A length that no entry has.
    pub fn push(&mut self, piece: &v1::LogPiece) -> Result<(), Failed> {
        for entry in &piece.entries {
            let length = u64::from(entry.length);
            let fits = length <= MAX_DATA_BYTES && self.files.push(length).is_some();
            if !fits {
                return Err(self.order.damaged("has an entry of no possible length"));
            }
            self.entries += 1;
        }
        Ok(())
    }

    /// The files.
    ///
    /// # Errors
    /// Another number of entries than was ordered.
    pub fn finish(self) -> Result<Vec<SpliceFile>, Failed> {
        let files = self.files.finish();
        match files.filter(|_| self.entries == self.order.entries()) {
            Some(files) => Ok(files),
            None => Err(self
                .order
                .damaged(&format!("came with {} entries", self.entries))),
        }
    }
}

/// The entries, in order. Blocking.
#[derive(Debug)]
pub struct LogSource {
    order: LogOrder,
    pieces: mpsc::Receiver<v1::LogPiece>,
    /// Dropped or used up when entries are wanted: until then nothing is fetched.
    begin: Option<oneshot::Sender<()>>,
    ready: VecDeque<v1::LogEntry>,
    /// CRC of the entry before the next one.
    chain: Option<u32>,
    taken: u64,
}

impl LogSource {
    /// What comes from `pieces`, once `begin` was told.
    #[must_use]
    pub fn new(
        order: LogOrder,
        pieces: mpsc::Receiver<v1::LogPiece>,
        begin: oneshot::Sender<()>,
    ) -> Self {
        Self {
            order,
            pieces,
            begin: Some(begin),
            ready: VecDeque::new(),
            chain: None,
            taken: 0,
        }
    }

    /// A seed for a file of the log: random, so that no other log has the same CRCs.
    #[must_use]
    pub fn seed(&self) -> u32 {
        let random = RandomState::new().hash_one((self.order.from, self.taken));
        u32::try_from(random >> 32).unwrap_or(7)
    }

    /// The data of the next entry, proven.
    ///
    /// # Errors
    /// One that does not follow the one before; [`Halt::Stopped`] if the sender has gone: its own error is the one to report.
    pub fn entry(&mut self) -> Result<Bytes, Halt> {
        while self.ready.is_empty() {
            let piece = self.receive().ok_or(Halt::Stopped)?;
            if !piece.rest.is_empty() {
                return Err(self
                    .order
                    .damaged("goes on with an entry that has ended")
                    .into());
            }
            self.take(piece);
        }
        let entry = self.ready.pop_front().ok_or(Halt::Stopped)?;
        let (seed, crc, length) = (entry.seed, entry.crc, entry.length as usize);
        let data = self.whole(entry.data, length)?;
        let before = seed.or(self.chain);
        if before.is_none_or(|before| entry_crc(before, &data) != crc) {
            let index = self.order.from.saturating_add(self.taken);
            let what = format!("is damaged: operation {index} does not follow the one before");
            return Err(self.order.damaged(&what).into());
        }
        self.chain = Some(crc);
        self.taken += 1;
        Ok(data)
    }

    /// Whether nothing more comes than was ordered.
    ///
    /// # Errors
    /// There is more.
    pub fn finish(mut self) -> Result<(), Halt> {
        if self.ready.is_empty() && self.receive().is_none() {
            Ok(())
        } else {
            Err(self
                .order
                .damaged("has more entries than were ordered")
                .into())
        }
    }

    /// All data of an entry whose first bytes are at hand.
    fn whole(&mut self, first: Bytes, length: usize) -> Result<Bytes, Halt> {
        if first.len() == length {
            return Ok(first);
        }
        let mut data = BytesMut::from(&first[..]);
        while data.len() < length {
            // Only the last entry of a piece goes on in the next.
            let piece = match self.ready.is_empty() {
                true => self.receive().ok_or(Halt::Stopped)?,
                false => return Err(self.order.damaged("has an entry that is cut").into()),
            };
            if piece.rest.is_empty() {
                return Err(self.order.damaged("has an entry that is cut").into());
            }
            data.extend_from_slice(&piece.rest);
            self.take(piece);
        }
        if data.len() > length {
            return Err(self.order.damaged("has an entry that is too long").into());
        }
        Ok(data.freeze())
    }

    fn take(&mut self, piece: v1::LogPiece) {
        if self.taken == 0 && self.chain.is_none() {
            self.chain = piece.before;
        }
        self.ready.extend(piece.entries);
    }

    fn receive(&mut self) -> Option<v1::LogPiece> {
        if let Some(begin) = self.begin.take() {
            // If nobody listens, nothing comes.
            let _gone = begin.send(());
        }
        self.pieces.blocking_recv()
    }
}

#[cfg(test)]
mod tests {
    use super::{Layout, LogOrder, LogSource};
    use crate::job::Halt;
    use bytes::Bytes;
    use holdfast_proto::v1;
    use holdfast_types::ShardId;
    use holdfast_wal::format::entry_crc;
    use tokio::sync::{mpsc, oneshot};

    const ORDER: LogOrder = LogOrder {
        shard: ShardId(3),
        from: 41,
        until: 45,
    };

    /// Four entries: one continues, one begins a file, one is in three pieces, one is empty.
    fn pieces() -> Vec<v1::LogPiece> {
        let data: [&[u8]; 4] = [b"one", b"two", b"a longer one", b""];
        let mut crc = 9;
        let mut entries = data.iter().enumerate().map(|(n, data)| {
            let seed = (n == 1).then_some(77);
            crc = entry_crc(seed.unwrap_or(crc), data);
            v1::LogEntry {
                seed,
                crc,
                length: u32::try_from(data.len()).unwrap(),
                data: Bytes::copy_from_slice(&data[..data.len().min(4)]),
            }
        });
        let mut next = || entries.next().unwrap();
        let first = v1::LogPiece {
            before: Some(9),
            rest: Bytes::new(),
            entries: vec![next(), next(), next()],
        };
        let rest = |rest: &'static [u8]| v1::LogPiece {
            rest: Bytes::from_static(rest),
            ..Default::default()
        };
        let mut last = rest(b" one");
        last.entries.push(next());
        vec![first, rest(b"nger"), last]
    }

    fn read(pieces: Vec<v1::LogPiece>) -> Result<Vec<Bytes>, Halt> {
        let (send, receive) = mpsc::channel(10);
        for piece in pieces {
            send.try_send(piece).unwrap();
        }
        drop(send);
        let (begin, mut begun) = oneshot::channel();
        let mut source = LogSource::new(ORDER, receive, begin);
        assert!(begun.try_recv().is_err(), "nothing is wanted yet");
        let read: Vec<Bytes> = (0..ORDER.entries())
            .map(|_| source.entry())
            .collect::<Result<_, _>>()?;
        begun.try_recv().unwrap();
        source.finish()?;
        Ok(read)
    }

    #[test]
    fn entries_come_whole_and_proven() {
        let read = read(pieces()).unwrap();
        assert_eq!(read, [&b"one"[..], b"two", b"a longer one", b""]);
        let mut layout = Layout::new(ORDER);
        for piece in pieces() {
            layout.push(&piece).unwrap();
        }
        let files = layout.finish().unwrap();
        assert_eq!((files[0].first, files[0].entries, files.len()), (41, 4, 1));
    }

    #[test]
    fn every_way_in_which_entries_can_be_wrong_is_found() {
        type Change = fn(&mut Vec<v1::LogPiece>);
        let changes: [Change; 12] = [
            |p| p[0].before = Some(8),
            |p| p[0].before = None,
            |p| p[0].entries[1].seed = None,
            |p| p[0].entries[0].data = Bytes::from_static(b"eno"),
            |p| p[0].entries[0].crc ^= 1,
            |p| p[0].entries.swap(0, 1),
            |p| p[0].entries[0].length = 2,
            |p| p[1].rest = Bytes::from_static(b"ngfr"),
            |p| p[1].rest = Bytes::from_static(b"nger and more"),
            |p| p[2].rest = Bytes::new(),
            |p| p[0].rest = Bytes::from_static(b"x"),
            |p| {
                let entry = p[2].entries[0].clone();
                p[2].entries.push(entry);
            },
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut changed = pieces();
            change(&mut changed);
            assert!(matches!(read(changed), Err(Halt::Failed(_))), "change {n}");
        }
        let mut cut = pieces();
        cut.pop();
        assert!(matches!(read(cut), Err(Halt::Stopped)));
    }

    #[test]
    fn another_number_of_entries_is_refused_before_anything_is_done() {
        for (more, fewer) in [(true, false), (false, true)] {
            let mut layout = Layout::new(ORDER);
            let mut all = pieces();
            if more {
                all.push(pieces().remove(0));
            }
            if fewer {
                all.pop();
            }
            for piece in all {
                layout.push(&piece).unwrap();
            }
            assert!(layout.finish().is_err());
        }
        let mut layout = Layout::new(ORDER);
        let mut piece = pieces().remove(0);
        piece.entries[0].length = u32::MAX;
        assert!(layout.push(&piece).is_err());
    }
}
