//! Reading on: what the bytes of a file say, and where the log goes on when it ends.

use super::listing::{Listing, Next};
use super::place::{Noticed, Obstacle, Place, Read, Stop};
use super::{Cause, Event, Frame, Goal, Step, Tail};

impl Tail {
    /// The end of the file before was read: if it is as it was, the first entry of this one follows it.
    pub(super) fn confirm(&mut self, held: &[u8], end: &[u8]) {
        let Goal::Read(place) = &mut self.goal else {
            return;
        };
        let prior = place.prior.take();
        if prior.is_some_and(|prior| prior.anchor != end) {
            let next = self.next();
            self.restart(next, Cause::Rewound);
        } else {
            self.take(held);
        }
    }

    /// Takes the bytes at the place.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let mut place = match std::mem::replace(&mut self.goal, Goal::Oldest) {
            Goal::Read(place) => place,
            other @ (Goal::Oldest | Goal::Find(_) | Goal::Named { .. }) => {
                self.goal = other;
                return;
            }
        };
        if place.prior.is_some() && place.begins_with_entry(bytes) {
            self.goal = Goal::Read(place);
            self.step = Step::Confirm(bytes.to_vec());
            return;
        }
        let mut seek = place.seek;
        let stop = place.take(bytes, |read| match seek {
            None => {
                self.pass_on(read);
                true
            }
            Some(position) if read.index.saturating_add(1) < position.next => true,
            Some(position) if read.crc == position.crc => {
                seek = None;
                let next = position.next;
                self.events.push_back(Event::Resumed { next });
                true
            }
            Some(_) => false,
        });
        place.seek = seek;
        match stop {
            Stop::More => self.read_on(place),
            Stop::Rewound => self.rewound(&place),
            // The server writes the header before the file gets its name.
            Stop::NotALog(error) => self.give_up(&place, place.next, Cause::NotALog(error)),
            Stop::Blank => self.drained(place, None),
            Stop::Broken(obstacle) => self.drained(place, Some(obstacle)),
        }
    }

    fn pass_on(&mut self, read: Read) {
        self.events.push_back(Event::Frame(Frame {
            timeline: self.timeline,
            index: read.index,
            before: read.before,
            crc: read.crc,
            data: read.data,
        }));
    }

    fn read_on(&mut self, place: Place) {
        self.goal = Goal::Read(place);
        self.step = Step::Read;
    }

    fn wait(&mut self, place: Place) {
        self.goal = Goal::Read(place);
        self.step = Step::Wait;
    }

    fn rewound(&mut self, place: &Place) {
        let next = place.seek.map_or(place.next, |position| position.next);
        self.restart(next, Cause::Rewound);
    }

    /// No further entry can be read from the file, at least for now.
    fn drained(&mut self, mut place: Place, obstacle: Option<Obstacle>) {
        let file = place.file;
        let closed = match self.now() {
            Some(now) if now.has(file) => now.closed(file).is_some(),
            // Renamed and deleted since it was listed last.
            _ if self.agreed(|listing| listing.has(file)) == Some(false) => true,
            _ => {
                self.goal = Goal::Read(place);
                self.list_again();
                return;
            }
        };
        let obstacle = obstacle.map(|found| place.notice(found, self.polls));
        if closed {
            self.succeed(place, obstacle);
        } else if place.seek.is_some() && obstacle.is_none() {
            // What was read once is not in the log.
            self.rewound(&place);
        } else {
            if obstacle == Some(Noticed::Lasting) {
                let (next, offset) = (place.next, place.at);
                self.events.push_back(Event::Obstructed { next, offset });
            }
            self.caught_up = place.seek.is_none() && obstacle.is_none();
            self.wait(place);
        }
    }

    /// The file is full and read to its end: which one comes next?
    fn succeed(&mut self, place: Place, obstacle: Option<Noticed>) {
        let after = |listing: &Listing| listing.after(place.file, place.first, place.next);
        let agreed = self.agreed(after);
        let now = self.now();
        let left = now.is_some_and(|now| !now.has(place.file));
        let older = left && now.is_some_and(|now| now.has_older(place.first));
        match now.map(after) {
            Some(Next::Named(file)) if !left => {
                let next = place.follow(file);
                self.read_on(next);
            }
            _ if agreed.is_none() => {
                self.goal = Goal::Read(place);
                self.list_again();
            }
            // Deleted behind the reader, unless another file has its name, or one stayed that is older.
            Some(Next::Named(_)) if older || (place.name_taken && place.next > place.first) => {
                self.rewound(&place);
            }
            Some(Next::Named(file)) => {
                let next = place.follow(file);
                self.read_on(next);
            }
            // A read that saw half of a cut-back shows something else the next time.
            Some(_) if obstacle == Some(Noticed::New) => self.wait(place),
            Some(Next::Later { file, first }) => {
                if obstacle.is_some() {
                    self.damaged(&place);
                    return;
                }
                let next = place.seek.map_or(place.next, |position| position.next);
                self.end(next, Cause::Gap { found: first });
                self.begin(first);
                self.read_on(Place::new(file, first));
            }
            Some(Next::Open(file)) => {
                if left {
                    // The file before an open one is always kept.
                    self.rewound(&place);
                } else if obstacle.is_some() {
                    self.damaged(&place);
                } else {
                    let next = place.follow(file);
                    self.read_on(next);
                }
            }
            Some(Next::Nothing) | None => self.wait(place),
        }
    }

    /// An entry that can't be read. How many others its bytes stand for can't be told, so the indexes of those behind it are
    /// unknown until a file is named.
    fn damaged(&mut self, place: &Place) {
        let offset = place.at;
        let next = place.seek.map_or(place.next, |position| position.next);
        self.give_up(place, next, Cause::Damaged { offset });
    }

    fn give_up(&mut self, place: &Place, next: u64, cause: Cause) {
        let (after, file) = (place.first, place.file);
        self.end(next, cause);
        self.goal = Goal::Named { after, file };
        self.list_again();
    }
}
