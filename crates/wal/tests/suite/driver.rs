//! Gives the tail what it wants, with the log changing in the middle of a listing or a read.

use crate::model::Model;
use holdfast_wal::{Event, FileName, Listed, Listing, Tail, Want};
use std::collections::BTreeMap;

/// A tail, what came out of it, and how unkindly it is served.
pub(crate) struct Driver {
    pub(crate) tail: Tail,
    pub(crate) events: Vec<Event>,
}

impl Driver {
    pub(crate) fn new(tail: Tail) -> Self {
        let events = Vec::new();
        Self { tail, events }
    }

    /// Serves one wish. `meanwhile` changes the log in the middle of it; `luck` decides which side of the change each
    /// part of the answer shows.
    pub(crate) fn step(
        &mut self,
        model: &mut Model,
        luck: u64,
        meanwhile: impl FnOnce(&mut Model),
    ) {
        match self.tail.want() {
            Want::Wait => {
                meanwhile(model);
                self.tail.wake();
            }
            Want::List => {
                let (dir, old) = (model.dir, model.names());
                meanwhile(model);
                let listing = if dir == model.dir {
                    mixed(model, &old, luck)
                } else {
                    listing(model, &model.names())
                };
                self.tail.listed(listing);
            }
            Want::Read { file, offset, len } => {
                let old = part(model.bytes(file), offset, len).to_vec();
                meanwhile(model);
                let new = part(model.bytes(file), offset, len);
                let from = usize::try_from(luck).unwrap() % (old.len() + 1);
                let mut bytes = old[..from].to_vec();
                bytes.extend_from_slice(new.get(from..).unwrap_or_default());
                self.tail.read(&bytes);
            }
        }
        self.events.extend(self.tail.events());
    }

    /// Polls an unchanging log until nothing more can come of it.
    pub(crate) fn settle(&mut self, model: &mut Model) {
        for _ in 0..4 {
            let mut steps = 0;
            self.step(model, 0, |_| {});
            while self.tail.want() != Want::Wait {
                self.step(model, 0, |_| {});
                steps += 1;
                assert!(steps < 10_000, "the tail never rests");
            }
        }
    }

    pub(crate) fn ended(&self) -> usize {
        let ended = self.events.iter();
        ended.filter(|e| matches!(e, Event::Ended { .. })).count()
    }

    /// Numbers of the entries that came out.
    pub(crate) fn entries(&self) -> Vec<u64> {
        let frames = self.events.iter().filter_map(|event| match event {
            Event::Frame(frame) => Some(entry_of(&frame.data)),
            Event::Resumed { .. }
            | Event::Began { .. }
            | Event::Obstructed { .. }
            | Event::Ended { .. } => None,
        });
        frames.collect()
    }
}

/// The number in an entry's data.
pub(crate) fn entry_of(data: &[u8]) -> u64 {
    u64::from_le_bytes(*data.first_chunk().unwrap())
}

fn part(bytes: &[u8], offset: u64, len: usize) -> &[u8] {
    let begin = usize::try_from(offset).unwrap().min(bytes.len());
    let end = begin.saturating_add(len).min(bytes.len());
    &bytes[begin..end]
}

fn listing(model: &Model, names: &[(String, u64)]) -> Listing {
    let files = names.iter().map(|(name, inode)| {
        let file = Model::id(*inode);
        Listed {
            name: FileName::parse(name).unwrap(),
            file,
            len: model.bytes(file).len() as u64,
        }
    });
    Listing {
        dir: Model::id(model.dir),
        files: files.collect(),
    }
}

/// A listing that was made while names changed: what changed shows its old name, its new one, both or neither.
fn mixed(model: &Model, old: &[(String, u64)], luck: u64) -> Listing {
    let new = model.names();
    let by_file = |names: &[(String, u64)]| -> BTreeMap<u64, String> {
        let names = names.iter().cloned();
        names.map(|(name, inode)| (inode, name)).collect()
    };
    let (before, after) = (by_file(old), by_file(&new));
    let mut shown = Vec::new();
    let mut luck = luck;
    for inode in before
        .keys()
        .chain(after.keys().filter(|i| !before.contains_key(i)))
    {
        let (was, is) = (before.get(inode), after.get(inode));
        let changed = was != is;
        luck = luck.rotate_right(2);
        let (show_old, show_new) = match (changed, luck & 3) {
            (false, _) => (false, true),
            (true, 0) => (true, false),
            (true, 1) => (false, true),
            (true, 2) => (true, true),
            (true, _) => (false, false),
        };
        shown.extend(was.filter(|_| show_old).map(|name| (name.clone(), *inode)));
        shown.extend(is.filter(|_| show_new).map(|name| (name.clone(), *inode)));
    }
    listing(model, &shown)
}
