//! What arrives of one log: a look is put together of its messages, proven, and kept until it is durable.
//!
//! Everything that an agent sends is looked at here. A look must go on where the one before ended, by index and CRC, or begin a
//! timeline. It does no IO.

use holdfast_archive::{WalFrame, WalLook, WalObject, WalOrigin, WalRun};
use holdfast_proto::v1;
use holdfast_types::{
    CollectionName, IncarnationId, Namespace, NodeId, ServerVersion, ShardId, TimelineId, Timestamp,
};
use std::collections::VecDeque;
use std::time::Instant;

/// Most bytes of a look, as sent, unless it has a single entry.
pub const MAX_LOOK_BYTES: u64 = 8 << 20;
/// Most bytes of a look with one entry: the longest entry, and what stands before it.
const MAX_ENTRY_BYTES: u64 = (128 << 20) + 64;

/// Whose log it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId {
    /// The node.
    pub node: NodeId,
    /// The collection.
    pub collection: CollectionName,
    /// Which collection of that name.
    pub incarnation: IncarnationId,
    /// The shard.
    pub shard: ShardId,
}

/// The end of what was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The timeline.
    pub timeline: TimelineId,
    /// Index after the last entry.
    pub next: u64,
    /// Its CRC.
    pub crc: u32,
    /// `after` of the look that found it.
    pub after: Timestamp,
    /// `by` of that look.
    pub by: Timestamp,
}

impl End {
    /// The end of a part that is stored.
    #[must_use]
    pub fn of(part: &WalObject) -> Self {
        let WalRun { next, end, by, .. } = *part.run();
        let last = part.looks().last();
        Self {
            timeline: part.origin().timeline,
            next,
            crc: end,
            after: last.map_or(part.run().after, |look| look.after),
            by,
        }
    }
}

/// A message that can't be right.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Looks of one timeline that are proven and not durable yet.
#[derive(Debug)]
pub struct Pending {
    /// Whose they are.
    pub origin: WalOrigin,
    /// Index of the first entry.
    pub first: u64,
    /// CRC of the entry before.
    pub before: Option<u32>,
    /// The looks.
    pub looks: Vec<WalLook>,
    /// Bytes of their entries.
    pub bytes: u64,
    /// When the first of them had arrived.
    pub since: Instant,
    /// Their end.
    pub end: End,
}

/// One log of one stream.
#[derive(Debug)]
pub struct Arrival {
    /// Whose it is.
    pub id: LogId,
    namespace: Namespace,
    version: ServerVersion,
    end: Option<End>,
    incoming: Option<Incoming>,
    pending: VecDeque<Pending>,
}

#[derive(Debug)]
struct Incoming {
    head: v1::LogLook,
    timeline: TimelineId,
    bytes: Vec<u8>,
}

impl Arrival {
    /// A log whose durable end is this.
    #[must_use]
    pub fn new(id: LogId, namespace: Namespace, version: ServerVersion, end: Option<End>) -> Self {
        Self {
            id,
            namespace,
            version,
            end,
            incoming: None,
            pending: VecDeque::new(),
        }
    }

    /// What waits to be stored, oldest first.
    #[must_use]
    pub fn pending(&self) -> &VecDeque<Pending> {
        &self.pending
    }

    /// The oldest of it is stored.
    pub fn stored(&mut self) {
        self.pending.pop_front();
    }

    /// The head of a look.
    ///
    /// # Errors
    /// [`Refusal`]: it does not go on where the one before ended, or breaks a limit.
    pub fn head(&mut self, head: v1::LogLook) -> Result<(), Refusal> {
        let refused = |what: &str| Err(Refusal(what.to_owned()));
        if self.incoming.is_some() {
            return refused("a look begins before the one before it is complete");
        }
        let Ok(timeline) = <[u8; 16]>::try_from(&head.timeline[..]) else {
            return refused("a timeline's id has 16 bytes");
        };
        let timeline = TimelineId::from_bytes(timeline);
        let limit = if head.entries == 1 {
            MAX_ENTRY_BYTES
        } else {
            MAX_LOOK_BYTES
        };
        if head.entries == 0 || head.len > limit {
            return refused("a look has at least one entry, and at most 8 MiB unless it has one");
        }
        match (head.before, &self.end) {
            (None, Some(end)) if end.timeline == timeline => {
                return refused("a timeline begins that is there already");
            }
            (None, _) => {}
            (Some(_), None) => return refused("a timeline goes on of which nothing is stored"),
            (Some(before), Some(end)) => {
                if (timeline, head.first, before) != (end.timeline, end.next, end.crc) {
                    return Err(Refusal(format!(
                        "entries from {} on do not follow what is stored, which ends before {}",
                        head.first, end.next
                    )));
                }
            }
        }
        self.incoming = Some(Incoming {
            head,
            timeline,
            bytes: Vec::new(),
        });
        Ok(())
    }

    /// Bytes of the look. True if it is complete now.
    ///
    /// # Errors
    /// [`Refusal`]: there is no look, it has too many bytes, or its entries are not what they should be.
    pub fn bytes(&mut self, data: &[u8], now: Instant) -> Result<bool, Refusal> {
        let Some(incoming) = &mut self.incoming else {
            return Err(Refusal("bytes of no look".to_owned()));
        };
        incoming.bytes.extend_from_slice(data);
        let (got, wanted) = (incoming.bytes.len() as u64, incoming.head.len);
        if got < wanted {
            return Ok(false);
        }
        if got > wanted {
            return Err(Refusal("a look has more bytes than it said".to_owned()));
        }
        match self.incoming.take() {
            Some(incoming) => self.take(incoming, now).map(|()| true),
            None => Ok(false),
        }
    }

    fn take(&mut self, incoming: Incoming, now: Instant) -> Result<(), Refusal> {
        let Incoming {
            head,
            timeline,
            bytes,
        } = incoming;
        let refused = |error: &dyn std::error::Error| Refusal(error.to_string());
        let frames = WalFrame::decode_all(&bytes, head.entries).map_err(|e| refused(&e))?;
        let look = WalLook {
            after: Timestamp::from_micros(head.after_us),
            by: Timestamp::from_micros(head.by_us),
            frames,
        };
        let last = self.end.filter(|end| end.timeline == timeline);
        if last.is_some_and(|last| look.after < last.after || look.by < last.by) {
            return Err(Refusal("instants go back".to_owned()));
        }
        let origin = WalOrigin {
            namespace: self.namespace.clone(),
            node: self.id.node.clone(),
            server_version: self.version.clone(),
            collection: self.id.collection.clone(),
            incarnation: self.id.incarnation,
            shard: self.id.shard,
            timeline,
            because: (!head.because.is_empty()).then(|| head.because.chars().take(500).collect()),
        };
        // Proves every entry, before anything is added to it.
        let proven = WalObject::new(origin.clone(), head.first, head.before, vec![look]);
        let proven = proven.map_err(|e| refused(&e))?;
        let end = End::of(&proven);
        self.end = Some(end);
        match self.pending.back_mut() {
            Some(pending)
                if pending.origin.timeline == timeline
                    && pending.bytes.saturating_add(head.len) <= MAX_LOOK_BYTES =>
            {
                pending.looks.extend(proven.into_looks());
                pending.bytes += head.len;
                pending.end = end;
            }
            Some(_) | None => self.pending.push_back(Pending {
                origin,
                first: head.first,
                before: head.before,
                looks: proven.into_looks(),
                bytes: head.len,
                since: now,
                end,
            }),
        }
        Ok(())
    }
}

impl Pending {
    /// The part of the log that they make.
    ///
    /// # Errors
    /// Never, since each look was proven behind the one before.
    pub fn part(&self) -> Result<WalObject, holdfast_archive::WalObjectError> {
        WalObject::new(
            self.origin.clone(),
            self.first,
            self.before,
            self.looks.clone(),
        )
    }
}

#[cfg(test)]
mod tests;
