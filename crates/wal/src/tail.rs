//! Follows a log that a server writes to, as a state machine: it says what it wants, is given it, and yields events.
//!
//! ```text
//! loop {
//!     match tail.want() {
//!         Want::List => tail.listed(the folder, each file opened and held),
//!         Want::Read { file, offset, len } => tail.read(bytes of that descriptor),
//!         Want::Wait => wait for the next poll, then tail.wake(),
//!     }
//!     keep what tail.events() yields
//! }
//! ```
//!
//! What a log does while it is read, and why nothing of it goes unnoticed:
//!
//! | the server … | … and the tail |
//! |---|---|
//! | appends | each read begins with bytes that were read before, and the CRCs are chained through them |
//! | writes half an entry and is killed | waits: an entry counts when its CRC is there, and the next one is written over what was left. If it stays: [`Event::Obstructed`] |
//! | fills a file: renames it `closed-N` and goes on in one made before | goes on when a read that began after the file was seen closed finds no further entry. The next file is the one that is named so; an open one only if three listings agree, for a listing may miss a file that is being made or renamed |
//! | deletes old files | a held descriptor stays readable. If files went before they were opened: [`Cause::Gap`] |
//! | cuts the log back and uses indexes again | the bytes before the place have changed: [`Cause::Rewound`]. Of a file's first entry, the end of the file before is read once more, after the entry was seen |
//! | replaces the folder (recover, drop and create) | the folder's identity has changed: [`Cause::Replaced`] |
//! | has a damaged entry | can't tell it from such a rest until the file is full; then [`Cause::Damaged`]. Since how many entries the damaged bytes stand for can't be told, a new timeline begins where the next name says an index |
//!
//! What it does not see: a log that is cut back to the beginning of a file, filled over that file and the next, and shortened by
//! both, all between two listings. Listings are far more frequent than files.
//!
//! Within a timeline every frame follows the one before, without a gap and on the same history.

mod event;
mod follow;
mod listing;
mod place;

pub use event::{Cause, Event, Frame, Want};
pub use listing::{FileId, Listed, Listing};

use place::Place;
use std::collections::VecDeque;

/// Listings within one poll: beyond them, what they contradict each other about waits for the next.
const MAX_LISTINGS: u8 = 6;
/// Listings in a row that must agree about what no name says. A listing may miss a file that is made or renamed meanwhile, and
/// each happens to a file once.
const AGREEING: usize = 3;

/// The last entry that is known to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Index of the entry after it.
    pub next: u64,
    /// Its CRC.
    pub crc: u32,
}

/// Follows one log. See the [module](self).
#[derive(Debug)]
pub struct Tail {
    /// Number of the current timeline, or of the last one that ended.
    timeline: u32,
    /// Whether frames may be added to it.
    running: bool,
    /// Whether there was a timeline at all.
    ever: bool,
    dir: Option<FileId>,
    /// The newest listings, the last one at the end.
    seen: VecDeque<Listing>,
    goal: Goal,
    step: Step,
    /// Listings since the last [`wake`](Self::wake).
    listings: u8,
    polls: u64,
    /// Whether the last poll came to the end of a file that is still written to.
    caught_up: bool,
    events: VecDeque<Event>,
}

/// What the tail is about.
#[derive(Debug)]
enum Goal {
    /// To begin with the oldest entry that is there.
    Oldest,
    /// To find the entry again after which reading goes on.
    Find(Position),
    /// To read on.
    Read(Place),
    /// To go on behind damage: with the next file that has an index in its name.
    Named { after: u64, file: FileId },
}

#[derive(Debug)]
enum Step {
    Wait,
    List,
    Read,
    /// The first entry of a file was seen, in these bytes; the folder is listed once more …
    Confirm(Vec<u8>),
    /// … and the end of the file before is looked at.
    Prior(Vec<u8>),
}

impl Default for Tail {
    fn default() -> Self {
        Self::new()
    }
}

impl Tail {
    /// Begins with the oldest entry that is there.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Goal::Oldest, false)
    }

    /// Goes on behind an entry that was kept earlier, if it is still there and the same; otherwise timeline 0 ends at once, and
    /// the next one begins with the oldest entry that is there.
    #[must_use]
    pub fn resume(position: Position) -> Self {
        Self::with(Goal::Find(position), true)
    }

    fn with(goal: Goal, running: bool) -> Self {
        Self {
            timeline: 0,
            running,
            ever: running,
            dir: None,
            seen: VecDeque::new(),
            goal,
            step: Step::List,
            listings: 0,
            polls: 0,
            caught_up: false,
            events: VecDeque::new(),
        }
    }

    /// What to do next.
    #[must_use]
    pub fn want(&self) -> Want {
        match (&self.step, &self.goal) {
            (Step::Wait, _) => Want::Wait,
            (Step::Read, Goal::Read(place)) => {
                let (offset, len) = place.wanted();
                let file = place.file;
                Want::Read { file, offset, len }
            }
            (Step::Prior(_), Goal::Read(place)) => {
                place.prior.as_ref().map_or(Want::List, |prior| Want::Read {
                    file: prior.file,
                    offset: prior.offset,
                    len: prior.anchor.len(),
                })
            }
            (Step::List | Step::Confirm(_) | Step::Read | Step::Prior(_), _) => Want::List,
        }
    }

    /// Begins another poll. Does nothing while one is under way.
    pub fn wake(&mut self) {
        if matches!(self.step, Step::Wait) {
            self.step = Step::List;
            self.listings = 0;
            self.polls += 1;
            self.caught_up = false;
            if let Goal::Read(place) = &mut self.goal {
                place.wake();
            }
        }
    }

    /// What happened, in order.
    pub fn events(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.events.drain(..)
    }

    /// Index of the next entry, if everything that is in the log was read and nothing is unclear: every entry that was in the log
    /// when the last poll began is before it.
    #[must_use]
    pub fn caught_up(&self) -> Option<u64> {
        match &self.goal {
            Goal::Read(place) if self.caught_up => Some(place.next),
            Goal::Read(_) | Goal::Oldest | Goal::Find(_) | Goal::Named { .. } => None,
        }
    }

    /// Whether the file may still be asked for, although it stands in no new listing.
    #[must_use]
    pub fn needs(&self, file: FileId) -> bool {
        match &self.goal {
            Goal::Read(place) => {
                let prior = place.prior.as_ref().map(|prior| prior.file);
                place.file == file || prior == Some(file)
            }
            Goal::Named { file: last, .. } => *last == file,
            Goal::Oldest | Goal::Find(_) => false,
        }
    }

    /// Takes the listing that was wanted. Every file of it is open, and stays so until a later listing lacks it and
    /// [`needs`](Self::needs) says no.
    pub fn listed(&mut self, listing: Listing) {
        if !matches!(self.want(), Want::List) {
            return;
        }
        self.listings = self.listings.saturating_add(1);
        let replaced = self.dir.is_some_and(|dir| dir != listing.dir);
        self.dir = Some(listing.dir);
        if replaced {
            self.seen.clear();
        }
        if self.seen.len() == AGREEING {
            self.seen.pop_front();
        }
        self.seen.push_back(listing);
        if replaced {
            let next = self.next();
            self.restart(next, Cause::Replaced);
            return;
        }
        match std::mem::replace(&mut self.goal, Goal::Oldest) {
            Goal::Read(place) => self.check(place),
            looking @ (Goal::Oldest | Goal::Find(_) | Goal::Named { .. }) => self.look(looking),
        }
    }

    /// Takes the bytes that were wanted.
    pub fn read(&mut self, bytes: &[u8]) {
        match std::mem::replace(&mut self.step, Step::Wait) {
            Step::Prior(held) => self.confirm(&held, bytes),
            Step::Read => self.take(bytes),
            other @ (Step::Wait | Step::List | Step::Confirm(_)) => self.step = other,
        }
    }

    /// What the newest listings agree about.
    fn agreed<T: PartialEq>(&self, ask: impl Fn(&Listing) -> T) -> Option<T> {
        let mut answers = self.seen.iter().map(ask);
        let first = answers.next()?;
        let all = self.seen.len() == AGREEING && answers.all(|answer| answer == first);
        all.then_some(first)
    }

    fn now(&self) -> Option<&Listing> {
        self.seen.back()
    }

    /// Looks for a place to begin at.
    fn look(&mut self, goal: Goal) {
        let found = self.agreed(|listing| match &goal {
            Goal::Oldest => listing.oldest(),
            Goal::Find(position) => listing.holding(position.next.saturating_sub(1)),
            Goal::Named { after, file } => listing.named_after(*after, *file),
            Goal::Read(_) => None,
        });
        let Some(start) = found.flatten() else {
            self.goal = goal;
            self.list_again();
            return;
        };
        let mut place = Place::new(start.file, start.first);
        match goal {
            Goal::Find(position) if start.first < position.next => place.seek = Some(position),
            Goal::Find(Position { next, .. }) => {
                let found = start.first;
                let gone = found == next;
                let gap = Cause::Gap { found };
                self.end(next, if gone { Cause::Unproven } else { gap });
                self.begin(found);
            }
            Goal::Oldest | Goal::Named { .. } | Goal::Read(_) => self.begin(start.first),
        }
        self.goal = Goal::Read(place);
        self.step = Step::Read;
    }

    /// Looks at what a listing says of the file that is being read, and of the one before.
    fn check(&mut self, mut place: Place) {
        let Some(now) = self.seen.back() else { return };
        place.listed(now.len(place.file));
        let named = now.closed(place.file);
        place.name_taken |= now.takes_name(place.file, place.first);
        let rewritten = now.rewrites(place.file, place.first, place.next);
        let confirmed = match std::mem::replace(&mut self.step, Step::Read) {
            Step::Confirm(bytes) => Some(bytes),
            Step::Wait | Step::List | Step::Read | Step::Prior(_) => None,
        };
        let prior_left = place.prior.as_ref().is_some_and(|p| !now.has(p.file));
        let here = now.has(place.file);
        if let Some(named) = named.filter(|named| *named != place.first) {
            let counted = place.first;
            self.restart(place.next, Cause::Misnumbered { named, counted });
        } else if rewritten || (prior_left && confirmed.is_some() && named.is_none()) {
            // The file before an open one is always kept.
            self.restart(place.next, Cause::Rewound);
        } else if confirmed.is_some() && !here {
            // Only of a file that is in the log is the place known.
            if self.agreed(|listing| listing.has(place.file)) == Some(false) {
                self.restart(place.next, Cause::Unproven);
            } else {
                self.goal = Goal::Read(place);
                self.list_again();
            }
        } else {
            self.goal = Goal::Read(place);
            self.step = confirmed.map_or(Step::Read, Step::Prior);
        }
    }

    /// Index that the next frame would have.
    fn next(&self) -> u64 {
        match &self.goal {
            Goal::Read(place) => place.seek.map_or(place.next, |position| position.next),
            Goal::Find(position) => position.next,
            Goal::Oldest | Goal::Named { .. } => 0,
        }
    }

    /// Another listing, unless this poll has seen enough of them.
    fn list_again(&mut self) {
        self.step = if self.listings < MAX_LISTINGS {
            Step::List
        } else {
            Step::Wait
        };
    }

    /// The timeline ends; another one begins with the oldest entry that is there.
    fn restart(&mut self, next: u64, cause: Cause) {
        self.end(next, cause);
        self.goal = Goal::Oldest;
        self.list_again();
    }

    fn end(&mut self, next: u64, cause: Cause) {
        if std::mem::take(&mut self.running) {
            let timeline = self.timeline;
            self.events.push_back(Event::Ended {
                timeline,
                next,
                cause,
            });
        }
    }

    fn begin(&mut self, first: u64) {
        if std::mem::replace(&mut self.ever, true) {
            self.timeline = self.timeline.saturating_add(1);
        }
        self.running = true;
        let timeline = self.timeline;
        self.events.push_back(Event::Began { timeline, first });
    }
}
