//! What was found in a log and is not durable yet, in order.

use holdfast_archive::WalFrame;
use holdfast_types::{TimelineId, Timestamp};
use std::collections::VecDeque;

/// The last entry of a timeline that is durable at the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Durable {
    /// The timeline.
    pub(super) timeline: TimelineId,
    /// Index after the entry.
    pub(super) next: u64,
    /// The entry's CRC.
    pub(super) crc: u32,
    /// `after` of the look that found it.
    pub(super) after: Timestamp,
    /// `by` of that look.
    pub(super) by: Timestamp,
}

/// The entries that one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Their timeline.
    pub(super) timeline: TimelineId,
    /// In the first look of a timeline: why it does not go on with an earlier one.
    pub(super) because: Option<String>,
    /// Index of the first entry.
    pub(super) first: u64,
    /// CRC of the entry before; `None` in the first look of a timeline.
    pub(super) before: Option<u32>,
    /// When the look before it began.
    pub(super) after: Timestamp,
    /// When it had been read.
    pub(super) by: Timestamp,
    /// The entries, at least one.
    pub(super) frames: Vec<WalFrame>,
    /// Bytes of their data.
    pub(super) bytes: usize,
}

impl Look {
    /// Index after its last entry.
    #[must_use]
    pub(super) fn next(&self) -> u64 {
        self.first.saturating_add(self.frames.len() as u64)
    }
}

/// Something to send, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Entries.
    Look(Look),
    /// A timeline has ended.
    Ended {
        /// Which.
        timeline: TimelineId,
        /// Index that its next entry would have had.
        next: u64,
        /// Why.
        because: String,
    },
}

/// Looks that wait until they are durable. What was sent stays, for the connection may break.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    /// Items at the front that were sent over the current connection.
    sent: usize,
    bytes: usize,
}

impl Queue {
    /// Adds something at the end.
    pub(super) fn push(&mut self, item: Item) {
        if let Item::Look(look) = &item {
            self.bytes = self.bytes.saturating_add(look.bytes);
        }
        self.items.push_back(item);
    }

    /// Bytes of data that wait.
    #[must_use]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits at all.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether no entry waits, and everything else was sent: nobody acknowledges that a timeline has ended.
    #[must_use]
    pub(super) fn is_done(&self) -> bool {
        let look = |item: &Item| matches!(item, Item::Look(_));
        self.sent == self.items.len() && !self.items.iter().any(look)
    }

    /// What is to be sent next; from now on it counts as sent.
    pub(super) fn next_to_send(&mut self) -> Option<&Item> {
        let item = self.items.get(self.sent)?;
        self.sent += 1;
        Some(item)
    }

    /// Everything of the timeline before `next` is durable.
    pub(super) fn durable(&mut self, timeline: TimelineId, next: u64) {
        while let Some(front) = self.items.front() {
            let done = match front {
                Item::Look(look) => look.timeline == timeline && look.next() <= next,
                // Nobody acknowledges it: it is kept until something behind it is durable, or was sent.
                Item::Ended { .. } => self.sent > 0,
            };
            if !done {
                return;
            }
            self.drop_front();
        }
    }

    /// A new connection goes on behind `durable`. True if what waits does so: else the log has to be read again from there.
    pub(super) fn reconnect(&mut self, durable: Option<&Durable>) -> bool {
        self.sent = 0;
        if let Some(durable) = durable
            && self.holds(durable)
        {
            while let Some(front) = self.items.front() {
                let before = match front {
                    Item::Look(look) => {
                        look.timeline != durable.timeline || look.next() <= durable.next
                    }
                    Item::Ended { timeline, .. } => *timeline != durable.timeline,
                };
                if !before {
                    break;
                }
                self.drop_front();
            }
        }
        let first = self.items.iter().find_map(|item| match item {
            Item::Look(look) => Some(look),
            Item::Ended { .. } => None,
        });
        first.is_none_or(|look| match (look.before, durable) {
            (None, _) => true,
            (Some(before), Some(durable)) => {
                look.timeline == durable.timeline
                    && look.first == durable.next
                    && before == durable.crc
            }
            (Some(_), None) => false,
        })
    }

    /// Whether a look of the durable entry's timeline waits.
    fn holds(&self, durable: &Durable) -> bool {
        self.items.iter().any(|item| match item {
            Item::Look(look) => look.timeline == durable.timeline,
            Item::Ended { .. } => false,
        })
    }

    /// The connection has ended: whether what was sent has arrived is not known.
    pub(super) fn disconnected(&mut self) {
        self.sent = 0;
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn drop_front(&mut self) {
        if let Some(Item::Look(look)) = self.items.pop_front() {
            self.bytes = self.bytes.saturating_sub(look.bytes);
        }
        self.sent = self.sent.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::{Durable, Item, Look, Queue};
    use holdfast_archive::WalFrame;
    use holdfast_types::{TimelineId, Timestamp};

    fn line(n: u8) -> TimelineId {
        TimelineId::from_bytes([n; 16])
    }

    fn look(timeline: u8, first: u64, before: Option<u32>, frames: u32) -> Item {
        let frame = |n: u32| WalFrame {
            seed: None,
            crc: u32::try_from(first).unwrap() + n,
            data: vec![0; 10],
        };
        Item::Look(Look {
            timeline: line(timeline),
            because: None,
            first,
            before,
            after: Timestamp::EPOCH,
            by: Timestamp::EPOCH,
            frames: (0..frames).map(frame).collect(),
            bytes: 10 * frames as usize,
        })
    }

    fn at(timeline: u8, next: u64, crc: u32) -> Durable {
        Durable {
            timeline: line(timeline),
            next,
            crc,
            after: Timestamp::EPOCH,
            by: Timestamp::EPOCH,
        }
    }

    fn firsts(queue: &mut Queue) -> Vec<u64> {
        let mut firsts = Vec::new();
        while let Some(item) = queue.next_to_send() {
            firsts.push(match item {
                Item::Look(look) => look.first,
                Item::Ended { next, .. } => *next,
            });
        }
        firsts
    }

    /// Entries 5 to 9 of one timeline, its end, and entries 0 and 1 of the next.
    fn queue() -> Queue {
        let mut queue = Queue::default();
        queue.push(look(1, 5, Some(4), 3));
        queue.push(look(1, 8, Some(7), 2));
        queue.push(Item::Ended {
            timeline: line(1),
            next: 10,
            because: "rewound".to_owned(),
        });
        queue.push(look(2, 0, None, 2));
        queue
    }

    #[test]
    fn what_is_durable_goes_and_the_rest_is_sent_again() {
        let mut queue = queue();
        assert_eq!(queue.bytes(), 70);
        assert_eq!(firsts(&mut queue), [5, 8, 10, 0]);
        queue.durable(line(1), 7);
        assert_eq!(queue.bytes(), 70, "half a look is none");
        queue.durable(line(1), 8);
        assert_eq!(queue.bytes(), 40);
        assert!(queue.reconnect(Some(&at(1, 8, 7))));
        assert_eq!(firsts(&mut queue), [8, 10, 0]);
        queue.durable(line(1), 10);
        assert_eq!(queue.bytes(), 20);
        queue.durable(line(2), 2);
        assert!(queue.is_empty() && queue.is_done());
        queue.push(Item::Ended {
            timeline: line(2),
            next: 2,
            because: "replaced".to_owned(),
        });
        assert!(!queue.is_done(), "it is not sent yet");
        assert_eq!(firsts(&mut queue), [2]);
        assert!(queue.is_done());
    }

    #[test]
    fn the_acknowledgement_that_was_lost_is_made_up_for() {
        let mut one = queue();
        assert!(one.reconnect(Some(&at(1, 10, 9))));
        assert_eq!(firsts(&mut one), [10, 0]);
        let mut two = queue();
        assert!(two.reconnect(Some(&at(2, 2, 1))));
        assert_eq!(firsts(&mut two), Vec::<u64>::new());
    }

    #[test]
    fn what_does_not_go_on_there_is_read_again() {
        assert!(queue().reconnect(Some(&at(1, 5, 4))));
        for other in [at(1, 5, 9), at(1, 4, 3), at(3, 5, 4)] {
            assert!(!queue().reconnect(Some(&other)), "{other:?}");
        }
        assert!(!queue().reconnect(None), "the repository has lost it");
        let mut fresh = Queue::default();
        fresh.push(look(2, 7, None, 1));
        assert!(fresh.reconnect(None));
        assert!(fresh.reconnect(Some(&at(1, 3, 3))), "a timeline of its own");
        assert!(Queue::default().reconnect(None));
    }
}
