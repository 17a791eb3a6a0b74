//! The entries of an ordered stretch of a log, part by part, each opened, proven, and continuing the one before.

use crate::core::Core;
use crate::fault::Fault;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use holdfast_archive::{WalObject, WalRun};
use holdfast_decide::instant::ShardLog;
use holdfast_proto::v1;
use holdfast_repository::{RepositoryError, StoredPart, WalPart, WalSeries};
use holdfast_service::failure::Code;
use holdfast_types::CollectionName;
use std::sync::Arc;

/// Bytes of data in one piece.
const PIECE_BYTES: usize = 1 << 20;

/// Entries in one piece.
const PIECE_ENTRIES: usize = 8192;

/// Parts, as stored, that count as small.
const SMALL: u64 = 2 << 20;

/// Parts that are read at once: small ones are many, of large ones one is used while the next is opened. What was merged may hold far more
/// than it takes as stored.
#[must_use]
pub(super) fn at_once<'a>(mut parts: impl Iterator<Item = &'a StoredPart>) -> usize {
    if parts.any(|stored| stored.size > SMALL || stored.part.merged.is_some()) {
        2
    } else {
        8
    }
}

/// Reads the parts of one stretch, in order.
pub struct Reader {
    core: Arc<Core>,
    collection: CollectionName,
    log: ShardLog,
    parts: BoxStream<'static, Result<Option<WalObject>, RepositoryError>>,
    /// The entry that comes next.
    next: u64,
    /// What was read last.
    before: Option<WalRun>,
}

impl Reader {
    /// A reader of what is replayed on a shard of `collection`.
    ///
    /// # Errors
    /// `repository-damaged` if its beginning is not there; a store that can't be read.
    pub async fn open(
        core: &Arc<Core>,
        collection: &CollectionName,
        log: &ShardLog,
    ) -> Result<Self, Fault> {
        let mut this = Self {
            core: Arc::clone(core),
            collection: collection.clone(),
            log: log.clone(),
            parts: stream::empty().boxed(),
            next: log.from,
            before: None,
        };
        let incarnation = log.incarnation.ok_or_else(|| this.lacking())?;
        let series = WalSeries {
            namespace: core.namespace.clone(),
            incarnation,
            shard: log.shard,
            timeline: log.timeline,
        };
        let listed = core.repository.list_wal_parts(&series).await;
        let listed = listed.map_err(|error| core.repository_failed(&error))?;
        let begin = listed.range(..=log.from).next_back();
        let begin = *begin.ok_or_else(|| this.lacking())?.0;
        let needed = listed.range(begin..log.until);
        let needed: Vec<WalPart> = needed.map(|(_, stored)| stored.part).collect();
        let repository = core.repository.clone();
        let read = stream::iter(needed).map(move |part| {
            let (repository, series) = (repository.clone(), series.clone());
            async move { repository.read_wal(&series, part).await }
        });
        this.parts = read.buffered(at_once(listed.values())).boxed();
        Ok(this)
    }

    /// The next part; `None` when all entries were handed out.
    ///
    /// # Errors
    /// `repository-damaged` where the archive does not go on; a store that can't be read.
    pub async fn part(&mut self) -> Result<Option<WalObject>, Fault> {
        if self.next >= self.log.until {
            return Ok(None);
        }
        let Some(part) = self.parts.next().await else {
            return Err(self.lacking());
        };
        let part = part.map_err(|error| self.core.repository_failed(&error))?;
        let part = part.ok_or_else(|| self.lacking())?;
        let (origin, run) = (part.origin(), *part.run());
        if origin.collection != self.collection || origin.node != self.log.node {
            return Err(self.damaged("is another replica's"));
        }
        let follows = match &self.before {
            Some(before) => run.follows(before).is_ok(),
            None => (run.first..run.next).contains(&self.next),
        };
        if !follows {
            return Err(self.lacking());
        }
        (self.next, self.before) = (run.next, Some(run));
        Ok(Some(part))
    }

    /// Reads and proves everything.
    ///
    /// # Errors
    /// As [`Self::part`].
    pub async fn prove(mut self) -> Result<(), Fault> {
        while self.part().await?.is_some() {}
        Ok(())
    }

    fn lacking(&self) -> Fault {
        self.damaged(&format!("lacks operation {}", self.next))
    }

    fn damaged(&self, what: &str) -> Fault {
        let (collection, shard) = (&self.collection, self.log.shard);
        Fault::new(
            Code::RepositoryDamaged,
            format!(
                "the archived log of shard {shard} of {collection} {what}: choose another instant; `holdfast restore window {collection}` shows which there are"
            ),
        )
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("log", &self.log)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// What the wire carries of a part: its entries within the stretch, in pieces.
#[must_use]
pub fn pieces(part: &WalObject, log: &ShardLog, lengths_only: bool) -> Vec<v1::LogPiece> {
    let mut pieces = Pieces::default();
    if part.run().first <= log.from {
        let earlier = part.frames().take_while(|(index, ..)| *index < log.from);
        let last = earlier.last().map(|(_, _, frame)| frame.crc);
        pieces.open.before = last.or(part.run().before);
    }
    for (index, _, frame) in part.frames() {
        if !(log.from..log.until).contains(&index) {
            continue;
        }
        let data = if lengths_only {
            &[][..]
        } else {
            &frame.data[..]
        };
        let (now, rest) = data.split_at(data.len().min(PIECE_BYTES));
        pieces.make_room(now.len());
        pieces.bytes += now.len();
        pieces.open.entries.push(v1::LogEntry {
            seed: frame.seed,
            crc: frame.crc,
            length: u32::try_from(frame.data.len()).unwrap_or(u32::MAX),
            data: Bytes::copy_from_slice(now),
        });
        for rest in rest.chunks(PIECE_BYTES) {
            pieces.close();
            pieces.open.rest = Bytes::copy_from_slice(rest);
            pieces.bytes = rest.len();
        }
    }
    pieces.close();
    pieces.done
}

#[derive(Default)]
struct Pieces {
    done: Vec<v1::LogPiece>,
    open: v1::LogPiece,
    bytes: usize,
}

impl Pieces {
    fn make_room(&mut self, bytes: usize) {
        if self.bytes + bytes > PIECE_BYTES || self.open.entries.len() >= PIECE_ENTRIES {
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.open.entries.is_empty() || !self.open.rest.is_empty() {
            self.done.push(std::mem::take(&mut self.open));
        }
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{PIECE_BYTES, pieces};
    use holdfast_archive::{WalFrame, WalLook, WalObject, WalOrigin};
    use holdfast_decide::instant::ShardLog;
    use holdfast_types::{IncarnationId, ShardId, TimelineId, Timestamp};
    use holdfast_wal::format::entry_crc;

    fn part(lengths: &[usize]) -> WalObject {
        let mut crc = 5;
        let frames = lengths.iter().enumerate().map(|(n, length)| {
            let data = vec![u8::try_from(n).unwrap(); *length];
            crc = entry_crc(crc, &data);
            let seed = (n == 0).then_some(5);
            WalFrame { seed, crc, data }
        });
        let look = WalLook {
            after: Timestamp::EPOCH,
            by: Timestamp::EPOCH,
            frames: frames.collect(),
        };
        let origin = WalOrigin {
            namespace: "demo".parse().unwrap(),
            node: "n1".parse().unwrap(),
            server_version: "1.18.3".parse().unwrap(),
            collection: "docs".parse().unwrap(),
            incarnation: IncarnationId::from_bytes([1; 16]),
            shard: ShardId(0),
            timeline: TimelineId::from_bytes([2; 16]),
            because: None,
        };
        WalObject::new(origin, 10, None, vec![look]).unwrap()
    }

    fn log(from: u64, until: u64) -> ShardLog {
        ShardLog {
            shard: ShardId(0),
            node: "n1".parse().unwrap(),
            incarnation: Some(IncarnationId::from_bytes([1; 16])),
            timeline: TimelineId::from_bytes([2; 16]),
            from,
            until,
            bytes: 0,
            complete_before: Timestamp::EPOCH,
        }
    }

    #[test]
    fn pieces_hold_exactly_what_was_ordered() {
        let big = 2 * PIECE_BYTES + 7;
        let lengths = [3, big, 0, 9, PIECE_BYTES, 1];
        let part = part(&lengths);
        for (from, until) in [(10, 16), (11, 15), (12, 13), (15, 16)] {
            for lengths_only in [false, true] {
                let made = pieces(&part, &log(from, until), lengths_only);
                let (mut found, mut data): (Vec<u32>, Vec<u8>) = (vec![], vec![]);
                for piece in &made {
                    let inside: usize = piece.entries.iter().map(|e| e.data.len()).sum();
                    assert!(inside + piece.rest.len() <= PIECE_BYTES);
                    data.extend_from_slice(&piece.rest);
                    for entry in &piece.entries {
                        found.push(entry.length);
                        data.extend_from_slice(&entry.data);
                    }
                }
                let wanted = part.frames().filter(|(n, ..)| (from..until).contains(n));
                let frames: Vec<&WalFrame> = wanted.map(|(_, _, frame)| frame).collect();
                let lens: Vec<u32> = frames
                    .iter()
                    .map(|f| u32::try_from(f.data.len()).unwrap())
                    .collect();
                assert_eq!(found, lens);
                let bytes: Vec<u8> = frames.iter().flat_map(|f| f.data.clone()).collect();
                assert_eq!(data, if lengths_only { vec![] } else { bytes });
                let before = part.frames().take_while(|(n, ..)| *n < from).last();
                assert_eq!(made[0].before, before.map(|(_, _, f)| f.crc));
            }
        }
    }
}
