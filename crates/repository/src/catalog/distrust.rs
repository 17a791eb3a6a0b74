//! Places that are known to be bad: they count for nothing, and are tried last.

use super::{Catalog, PackState};
use crate::chunk_table::Location;
use crate::quarantine::BadPlace;
use holdfast_types::{ChunkId, PackId};

/// Why a place counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Distrust {
    /// What stands there can't be read, or is not what its name says.
    Bad(ChunkId),
    /// No known namespace explains its name.
    Unexplained,
}

impl Catalog {
    /// Remembers that a chunk can't be read at a place. Returns whether that is news.
    pub(crate) fn mark_bad(&mut self, place: &Location) -> bool {
        let entry = &place.entry;
        let at = (place.pack, entry.offset);
        self.bad.insert(at, Distrust::Bad(entry.id)).is_none()
    }

    /// [`mark_bad`](Self::mark_bad) of places that were recorded. Those of a pack that is not known say
    /// nothing.
    pub(crate) fn distrust(&mut self, pack: &PackId, places: &[BadPlace]) {
        self.note(pack, places, |place| Distrust::Bad(place.chunk));
    }

    /// Doubts chunks that are well sealed under names that nothing explains.
    pub(crate) fn doubt(&mut self, pack: &PackId, places: &[BadPlace]) {
        self.note(pack, places, |_| Distrust::Unexplained);
    }

    fn note(&mut self, pack: &PackId, places: &[BadPlace], why: impl Fn(&BadPlace) -> Distrust) {
        if let Some(number) = self.by_id.get(pack) {
            let places = places.iter();
            let marks = places.map(|place| ((*number, place.offset), why(place)));
            self.bad.extend(marks);
        }
    }

    /// Believes again in every place of a pack: it was just read, and its bad places are marked anew.
    pub(crate) fn trust(&mut self, pack: &PackId) {
        if let Some(trusted) = self.by_id.get(pack) {
            self.bad.retain(|(number, _), _| number != trusted);
        }
    }

    /// Packs that are there and have bad places.
    pub(crate) fn distrusted(&self) -> Vec<(PackId, Vec<BadPlace>)> {
        let mut places: Vec<_> = self.bad.iter().collect();
        places.sort();
        let mut packs: Vec<(PackId, Vec<BadPlace>)> = Vec::new();
        for ((number, offset), why) in places {
            let Distrust::Bad(chunk) = why else {
                continue;
            };
            let Some(pack) = self.packs.get(*number as usize) else {
                continue;
            };
            if matches!(pack.state, PackState::Missing | PackState::Removed) {
                continue;
            }
            let (offset, chunk) = (*offset, *chunk);
            let place = BadPlace { offset, chunk };
            match packs.last_mut() {
                Some((id, places)) if *id == pack.id => places.push(place),
                Some(_) | None => packs.push((pack.id, vec![place])),
            }
        }
        packs
    }
}
