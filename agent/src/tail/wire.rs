//! Looks and positions in their wire form.

use super::follower::Standing;
use super::look::{Durable, Item, Look};
use super::scan::LogKey;
use bytes::Bytes;
use holdfast_archive::WalObjectError;
use holdfast_proto::v1;
use holdfast_proto::v1::follow_message::Message;
use holdfast_types::{IncarnationId, ServerVersion, TimelineId, Timestamp};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes of entries in one message.
const PIECE: usize = 1 << 20;

fn id(timeline: TimelineId) -> Bytes {
    Bytes::copy_from_slice(timeline.as_bytes())
}

pub(super) fn timeline(bytes: &[u8]) -> Option<TimelineId> {
    bytes.try_into().ok().map(TimelineId::from_bytes)
}

pub(super) fn message(message: Message) -> v1::FollowMessage {
    v1::FollowMessage {
        message: Some(message),
    }
}

pub(super) fn seen(
    log: u32,
    key: &LogKey,
    incarnation: IncarnationId,
    version: &ServerVersion,
) -> v1::FollowMessage {
    message(Message::Seen(v1::LogSeen {
        log,
        collection: key.collection.to_string(),
        shard_id: key.shard.0,
        incarnation: Bytes::copy_from_slice(incarnation.as_bytes()),
        server_version: version.to_string(),
    }))
}

/// The messages that carry an item.
pub(super) fn item(log: u32, item: &Item) -> Result<VecDeque<v1::FollowMessage>, WalObjectError> {
    match item {
        Item::Look(found) => look(log, found),
        Item::Ended {
            timeline,
            next,
            because,
        } => Ok(VecDeque::from([message(Message::Ended(v1::LogEnded {
            log,
            timeline: id(*timeline),
            next: *next,
            because: because.clone(),
        }))])),
    }
}

fn look(log: u32, look: &Look) -> Result<VecDeque<v1::FollowMessage>, WalObjectError> {
    let mut entries = Vec::with_capacity(look.bytes + 16 * look.frames.len());
    for frame in &look.frames {
        frame.encode(&mut entries)?;
    }
    let entries = Bytes::from(entries);
    let head = v1::LogLook {
        log,
        timeline: id(look.timeline),
        because: look.because.clone().unwrap_or_default(),
        first: look.first,
        before: look.before,
        after_us: look.after.as_micros(),
        by_us: look.by.as_micros(),
        entries: u32::try_from(look.frames.len())
            .map_err(|_| WalObjectError::Damaged("too many entries"))?,
        len: entries.len() as u64,
    };
    let pieces = (0..entries.len()).step_by(PIECE).map(|from| {
        let data = entries.slice(from..entries.len().min(from + PIECE));
        message(Message::Bytes(v1::LogBytes { data }))
    });
    let head = std::iter::once(message(Message::Look(head)));
    Ok(head.chain(pieces).collect())
}

/// The end of the log as a look found it.
pub(super) fn standing(log: u32, found: &Standing, mark: (u64, Instant)) -> v1::FollowMessage {
    let (number, arrived) = mark;
    let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    let since_us = match found.began.checked_duration_since(arrived) {
        Some(later) => micros(later),
        None => -micros(arrived.duration_since(found.began)),
    };
    message(Message::Standing(v1::LogStanding {
        log,
        timeline: id(found.timeline),
        next: found.next,
        mark: number,
        since_us,
        first: found.first,
    }))
}

/// It can't be read now.
pub(super) fn unread(log: u32, because: String) -> v1::FollowMessage {
    message(Message::Gone(v1::LogGone {
        log,
        because,
        ..Default::default()
    }))
}

/// Its folder is gone. `whole`: it was read to its end.
pub(super) fn dropped(log: u32, whole: bool) -> v1::FollowMessage {
    let because = "its folder is gone: the collection was dropped, or the shard moved away";
    message(Message::Gone(v1::LogGone {
        log,
        because: because.to_owned(),
        dropped: true,
        whole,
    }))
}

/// Every log was told of.
pub(super) fn all_seen() -> v1::FollowMessage {
    message(Message::AllSeen(v1::AllLogsSeen {}))
}

/// `None` if the identifier is none.
pub(super) fn durable(position: &v1::LogPosition) -> Option<Durable> {
    Some(Durable {
        timeline: timeline(&position.timeline)?,
        next: position.next,
        crc: position.crc,
        after: Timestamp::from_micros(position.after_us),
        by: Timestamp::from_micros(position.by_us),
    })
}
