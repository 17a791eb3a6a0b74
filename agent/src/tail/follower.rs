//! One log, followed: its reader, what was found, and what is known of the times.
//!
//! Entries carry no time, so each look says between which two instants they were written (docs/rfcs/0002). Instants never go back
//! within a log: while the clock catches up after a step, looks share one.
//!
//! It reads only when told to, and never waits.

use super::LogFolder;
use super::look::{Durable, Item, Look, Queue};
use holdfast_archive::WalFrame;
use holdfast_types::{IncarnationId, TimelineId, Timestamp};
use holdfast_wal::{Event, FileId, Frame, Position, Tail};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A look is closed when its entries have so many bytes; one entry may be larger.
const LOOK_BYTES: usize = 4 << 20;
/// A server keeps the file ready to which it will write next, so a folder that was listed so short a time before it was gone had no file that was not
/// listed, unless more than one was filled since.
const FRESH: Duration = Duration::from_secs(3);
/// Why the first timeline of a log begins.
const FIRST_SEEN: &str = "the log was seen for the first time";

/// The end of a log, as a look that came to it found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The timeline.
    pub(super) timeline: TimelineId,
    /// Index of its first entry, if it began in this process.
    pub(super) first: Option<u64>,
    /// Index after the last entry.
    pub(super) next: u64,
    /// When the look began …
    pub(super) began: Instant,
    /// … and ended, by a clock that nobody sets.
    pub(super) ended: Instant,
}

/// The time, by the machine's clock and by one that nobody sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// May be set.
    pub(super) wall: Timestamp,
    /// Is not.
    pub(super) steady: Instant,
}

/// Follows one log.
#[derive(Debug)]
pub(super) struct Follower {
    incarnation: IncarnationId,
    /// The timelines of this process have their ids from it, and from their number.
    seed: [u8; 16],
    begun: u64,
    folder: LogFolder,
    /// `None` until it is known where to go on.
    tail: Option<Tail>,
    line: Option<Line>,
    /// Why the next timeline begins.
    why: String,
    /// The last instant that was given away.
    stamp: Timestamp,
    /// When the last look began that came to the end.
    since: Timestamp,
    /// When the look that is under way began.
    looking: Option<(Timestamp, Instant)>,
    queue: Queue,
    standing: Option<Standing>,
    obstructed: bool,
    /// When the last look began that listed a folder that was there.
    listed: Option<Instant>,
    /// What was read of a folder that is gone was all that was ever in it.
    end_seen: bool,
}

/// The timeline that runs.
#[derive(Debug)]
struct Line {
    id: TimelineId,
    /// Index of its first entry, if it began in this process.
    first: Option<u64>,
    /// Until its first look is made.
    because: Option<String>,
    /// CRC of its last entry.
    end: Option<u32>,
}

impl Follower {
    /// A follower of the log in this folder that does not know yet where to begin.
    ///
    /// # Errors
    /// When the folder can't be opened, or there are no random numbers.
    pub(super) fn open(path: PathBuf, incarnation: IncarnationId) -> io::Result<Self> {
        Ok(Self {
            incarnation,
            seed: random()?,
            begun: 0,
            folder: LogFolder::open(path)?,
            tail: None,
            line: None,
            why: FIRST_SEEN.to_owned(),
            stamp: Timestamp::EPOCH,
            since: Timestamp::EPOCH,
            looking: None,
            queue: Queue::default(),
            standing: None,
            obstructed: false,
            listed: None,
            end_seen: false,
        })
    }

    /// Which collection of its name.
    #[must_use]
    pub(super) fn incarnation(&self) -> IncarnationId {
        self.incarnation
    }

    /// What waits.
    #[must_use]
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What waits, to be sent.
    pub(super) fn queue_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// What the newest look found that came to the end; `None` while that is not sure.
    #[must_use]
    pub(super) fn standing(&self) -> Option<Standing> {
        self.standing
    }

    /// Whether it is known where to go on.
    #[must_use]
    pub(super) fn is_placed(&self) -> bool {
        self.tail.is_some()
    }

    /// Whether the folder that was read is no longer there, and the next look would read the one in its place.
    #[must_use]
    pub(super) fn is_draining(&self) -> bool {
        self.folder.is_draining()
    }

    /// Whether what was in the folder that is no longer there was read to its end.
    #[must_use]
    pub(super) fn is_drained(&self) -> bool {
        self.is_draining() && self.looking.is_none()
    }

    /// Whether all that was ever written to a folder that is no longer there was read.
    #[must_use]
    pub(super) fn is_whole(&self) -> bool {
        self.is_placed() && self.is_drained() && self.end_seen
    }

    /// Whether something stands behind the last entry of which nobody can tell what it is.
    #[must_use]
    pub(super) fn is_obstructed(&self) -> bool {
        self.obstructed
    }

    /// The identity of the folder that is read.
    ///
    /// # Errors
    /// When it can't be asked for.
    pub(super) fn folder_id(&self) -> io::Result<FileId> {
        self.folder.id()
    }

    /// The coordinator has said what is durable: goes on behind it, with what waits if that is possible.
    pub(super) fn place(&mut self, durable: Option<Durable>) {
        if self.tail.is_some() && self.queue.reconnect(durable.as_ref()) && self.goes_on(&durable) {
            return;
        }
        self.forget();
        self.line = durable.map(|durable| Line {
            id: durable.timeline,
            first: None,
            because: None,
            end: Some(durable.crc),
        });
        self.tail = Some(durable.map_or_else(Tail::new, |durable| {
            // What stands behind a durable entry was not there before it. What was looked at since then is read once more.
            self.since = durable.after;
            self.stamp = self.stamp.max(durable.by);
            Tail::resume(Position {
                next: durable.next,
                crc: durable.crc,
            })
        }));
        if durable.is_none() {
            self.since = Timestamp::EPOCH;
        }
    }

    /// What was read is read again, from where [`place`](Self::place) will say.
    pub(super) fn forget(&mut self) {
        self.tail = None;
        self.queue.clear();
        self.looking = None;
        self.standing = None;
        self.end_seen = false;
    }

    /// Where nothing waits, what is durable must be what was read last, or nothing of a timeline without entries.
    fn goes_on(&self, durable: &Option<Durable>) -> bool {
        if !self.queue.is_empty() {
            return true;
        }
        let Some(line) = &self.line else {
            return false;
        };
        match durable {
            Some(durable) => line.id == durable.timeline && line.end == Some(durable.crc),
            None => line.end.is_none(),
        }
    }

    /// Reads on for at most `budget` bytes of entries. What was begun goes on at the next call. True if the end was reached.
    ///
    /// # Errors
    /// When the folder or a file of it can't be read: nothing is lost, the next call tries again.
    pub(super) fn poll(&mut self, now: &dyn Fn() -> Now, budget: usize) -> io::Result<bool> {
        let Some(mut tail) = self.tail.take() else {
            return Ok(false);
        };
        let read = self.read_on(&mut tail, now, budget);
        self.tail = Some(tail);
        read
    }

    fn read_on(
        &mut self,
        tail: &mut Tail,
        now: &dyn Fn() -> Now,
        budget: usize,
    ) -> io::Result<bool> {
        let began = match self.looking {
            Some(began) => began,
            None => {
                tail.wake();
                self.folder.begin();
                let at = now();
                let began = (self.stamp(at.wall), at.steady);
                self.looking = Some(began);
                began
            }
        };
        let before = self.queue.bytes();
        let mut open = OpenLook::default();
        let mut served = Ok(true);
        while matches!(served, Ok(true)) && self.queue.bytes() + open.bytes < before + budget {
            served = self.folder.serve(tail);
            let events: Vec<Event> = tail.events().collect();
            for event in events {
                self.take(event, &mut open, now);
            }
        }
        self.close(&mut open, now);
        // An error leaves the look under way.
        if served? {
            return Ok(false);
        }
        self.looking = None;
        self.settle(tail, began, now());
        Ok(true)
    }

    /// A look has come to the end of what it could read.
    fn settle(&mut self, tail: &Tail, began: (Timestamp, Instant), now: Now) {
        if self.folder.is_draining() {
            // What stands behind the last entry is none, or files that nobody has listed may have come and gone.
            let is_fresh = |listed: Instant| began.1.duration_since(listed) <= FRESH;
            self.end_seen = tail.caught_up().is_some() && self.listed.is_some_and(is_fresh);
        } else {
            self.listed = Some(began.1);
        }
        let line = self.line.as_ref().map(|line| (line.id, line.first));
        // Of a folder that is gone, everything was read: of the one in its place, nothing.
        let whole = tail.caught_up().filter(|_| !self.folder.is_draining());
        self.standing = match (whole, line) {
            (Some(next), Some((timeline, first))) => {
                self.since = began.0;
                self.obstructed = false;
                Some(Standing {
                    timeline,
                    first,
                    next,
                    began: began.1,
                    ended: now.steady,
                })
            }
            (Some(_) | None, _) => None,
        };
    }

    fn take(&mut self, event: Event, open: &mut OpenLook, now: &dyn Fn() -> Now) {
        match event {
            Event::Resumed { .. } => {}
            Event::Began { first, .. } => {
                self.close(open, now);
                let why = std::mem::replace(&mut self.why, FIRST_SEEN.to_owned());
                self.line = Some(Line {
                    id: self.draw(),
                    first: Some(first),
                    because: Some(why),
                    end: None,
                });
                // Nobody has looked at this history before.
                self.since = Timestamp::EPOCH;
            }
            Event::Frame(frame) => {
                if open.bytes > 0 && open.bytes + frame.data.len() > LOOK_BYTES {
                    self.close(open, now);
                }
                self.add(frame, open);
            }
            Event::Obstructed { .. } => self.obstructed = true,
            Event::Ended { next, cause, .. } => {
                self.close(open, now);
                self.why = cause.to_string();
                if let Some(line) = self.line.take() {
                    self.queue.push(Item::Ended {
                        timeline: line.id,
                        next,
                        because: self.why.clone(),
                    });
                }
            }
        }
    }

    /// An id that no other timeline has.
    fn draw(&mut self) -> TimelineId {
        self.begun += 1;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed);
        hasher.update(&self.begun.to_le_bytes());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        TimelineId::from_bytes(id)
    }

    fn add(&mut self, frame: Frame, open: &mut OpenLook) {
        let Some(line) = &mut self.line else { return };
        if open.frames.is_empty() {
            open.first = frame.index;
            open.before = line.end;
        }
        let continues = line.end == Some(frame.before);
        line.end = Some(frame.crc);
        open.bytes += frame.data.len();
        open.frames.push(WalFrame {
            seed: (!continues).then_some(frame.before),
            crc: frame.crc,
            data: frame.data,
        });
    }

    /// Puts what was found into the queue.
    fn close(&mut self, open: &mut OpenLook, now: &dyn Fn() -> Now) {
        let OpenLook {
            first,
            before,
            frames,
            bytes,
        } = std::mem::take(open);
        if frames.is_empty() {
            return;
        }
        let by = self.stamp(now().wall);
        let Some(line) = &mut self.line else { return };
        self.queue.push(Item::Look(Look {
            timeline: line.id,
            because: line.because.take(),
            first,
            before,
            after: self.since,
            by,
            frames,
            bytes,
        }));
    }

    fn stamp(&mut self, wall: Timestamp) -> Timestamp {
        self.stamp = self.stamp.max(wall);
        self.stamp
    }
}

/// Entries that were found, not closed to a look yet.
#[derive(Debug, Default)]
struct OpenLook {
    first: u64,
    before: Option<u32>,
    frames: Vec<WalFrame>,
    bytes: usize,
}

/// 16 bytes that nobody else draws.
pub(super) fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
