//! What happened between two places of logs: operations by kind, the points that they name, and those that name none.
//!
//! A log says what was ordered, not what was there. So a point that was put may be new or have been there; whom an operation by filter met is
//! not known; and an operation that the server refused counts like any other. Entries that can't be read in full count by their kind, and are
//! listed with what is not known of them.
//!
//! Several logs may be summed up in one [`Diff`], each in its own order: the caller says with each entry where it stands, in an order of its
//! choice, and of which shard it is: under shard keys, one id may be that of several points. Memory is bounded by [`Limits`], whatever is read.

use crate::change::{Change, Entry, PointId, Selection, Unread};
use crate::replay::{points, selection};
use crate::{Operation, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// How much a [`Diff`] remembers. What is beyond is counted, not kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Different points.
    pub points: usize,
    /// Entries of each list: kinds, filters, changes of the collection, reasons.
    pub listed: usize,
    /// Different filters, of which the earliest are listed.
    pub filters: usize,
    /// Operations of which most points are named.
    pub largest: usize,
    /// Bytes of a text that comes from an operation, such as a filter. What is longer is cut.
    pub text: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            points: 1_000_000,
            listed: 100,
            filters: 10_000,
            largest: 10,
            text: 1_000,
        }
    }
}

/// What happened to a point, by the operations that name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It was put, whole: it is new, or in the place of an earlier one.
    Put,
    /// It was put only under a condition, so nothing may have happened.
    PerhapsPut,
    /// Its payload or some of its vectors were changed.
    Changed,
    /// It was removed, and not put again.
    Removed,
}

impl Fate {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Put, Self::PerhapsPut, Self::Changed, Self::Removed];
}

/// Operations of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally<At> {
    /// How many.
    pub count: u64,
    /// How many points they name, each as often as it is named.
    pub points: u64,
    /// Place of the first one.
    pub first: At,
    /// Place of the last one.
    pub last: At,
}

/// An operation on whatever matches a filter, as often as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByFilter<At> {
    /// Qdrant's name for the kind.
    pub kind: String,
    /// The filter, JSON; its beginning if it is long.
    pub filter: String,
    /// How often it came.
    pub count: u64,
    /// Place of the first one.
    pub first: At,
    /// Place of the last one.
    pub last: At,
}

/// An operation that names many points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Large<At> {
    /// How many.
    pub points: u64,
    /// Its place.
    pub at: At,
    /// Qdrant's name for the kind.
    pub kind: String,
}

/// A change of a payload index or of a named vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfCollection<At> {
    /// Its place.
    pub at: At,
    /// Qdrant's name for the kind.
    pub kind: String,
    /// The field or the vector.
    pub name: String,
}

/// Operations, summed up. `At` says where one stands: its index, if there is one log.
#[derive(Clone, Debug)]
pub struct Diff<At = u64> {
    /// How many there were of each kind; what is no operation counts as `?`.
    pub kinds: BTreeMap<String, Tally<At>>,
    /// Operations that are not in `kinds` because there are too many kinds.
    pub kinds_left_out: u64,
    /// What happened to points that were named, each in its shard.
    pub points: BTreeMap<(PointId, u32), Fate>,
    /// How often a point was named that is not in `points` because there are too many.
    pub points_left_out: u64,
    /// Changes of the collection, the earliest first.
    pub of_collection: Vec<OfCollection<At>>,
    /// Changes of the collection that are not in `of_collection` because there are too many.
    pub of_collection_left_out: u64,
    /// Operations that name most points, the largest first.
    pub largest: Vec<Large<At>>,
    /// Why entries could not be read in full, and how many. Points that they name are not among `points`.
    pub unread: BTreeMap<String, u64>,
    /// Entries that could not be read in full for reasons that are not in `unread` because there are too many.
    pub unread_left_out: u64,
    /// Operations by filter, by its kind and all of its text.
    filters: BTreeMap<(u64, usize), ByFilter<At>>,
    /// Operations by filter that are not in `filters` because there are too many.
    filters_left_out: u64,
    limits: Limits,
}

impl<At: Copy + Ord> Diff<At> {
    /// Of no operation.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            kinds: BTreeMap::new(),
            kinds_left_out: 0,
            points: BTreeMap::new(),
            points_left_out: 0,
            of_collection: Vec::new(),
            of_collection_left_out: 0,
            largest: Vec::new(),
            unread: BTreeMap::new(),
            unread_left_out: 0,
            filters: BTreeMap::new(),
            filters_left_out: 0,
            limits,
        }
    }

    /// Adds the next entry of a shard's log.
    pub fn add(&mut self, shard: u32, at: At, entry: &[u8]) {
        let entry = match Entry::read(entry) {
            Ok(entry) => entry,
            Err(why) => return self.add_unread(at, entry, &why),
        };
        let named = self.add_points(shard, at, &entry);
        self.count_kind(at, entry.kind, named);
        if let Some(Selection::Filter(filter)) = selection(&entry.change) {
            self.add_filter(at, entry.kind, &json::text(*filter));
        }
        let name = match entry.change {
            Change::CreateIndex { field, .. } | Change::DeleteIndex { field } => field,
            Change::CreateVector { name, .. } | Change::DeleteVector { name } => name,
            Change::Sync { from, to, .. } => {
                let end = |id: Option<PointId>| id.map_or("…".to_owned(), |id| id.to_string());
                // Of the points in this range only the named ones are left.
                return self.add_filter(at, entry.kind, &format!("{}..{}", end(from), end(to)));
            }
            Change::Upsert { .. }
            | Change::Delete(_)
            | Change::UpdateVectors { .. }
            | Change::DeleteVectors { .. }
            | Change::SetPayload { .. }
            | Change::OverwritePayload { .. }
            | Change::DeletePayload { .. }
            | Change::ClearPayload(_) => return,
        };
        let change = OfCollection {
            at,
            kind: entry.kind.to_owned(),
            name: self.cut(name),
        };
        let place = self.of_collection.partition_point(|known| known.at <= at);
        self.of_collection.insert(place, change);
        if self.of_collection.len() > self.limits.listed {
            self.of_collection.pop();
            self.of_collection_left_out += 1;
        }
    }

    fn count_kind(&mut self, at: At, kind: &str, points: u64) {
        if let Some(tally) = self.kinds.get_mut(kind) {
            tally.count += 1;
            tally.points += points;
            tally.first = tally.first.min(at);
            tally.last = tally.last.max(at);
        } else if self.kinds.len() < self.limits.listed {
            let tally = Tally {
                count: 1,
                points,
                first: at,
                last: at,
            };
            self.kinds.insert(kind.to_owned(), tally);
        } else {
            self.kinds_left_out += 1;
        }
    }

    fn add_unread(&mut self, at: At, entry: &[u8], why: &Unread) {
        let kind = Operation::read(entry).map_or("?".to_owned(), |operation| operation.kind);
        self.count_kind(at, &self.cut(&kind), 0);
        let why = self.cut(&why.to_string());
        if self.unread.len() < self.limits.listed || self.unread.contains_key(&why) {
            *self.unread.entry(why).or_default() += 1;
        } else {
            self.unread_left_out += 1;
        }
    }

    fn add_filter(&mut self, at: At, kind: &str, filter: &str) {
        let mut hasher = DefaultHasher::new();
        (kind, filter).hash(&mut hasher);
        let whole = (hasher.finish(), filter.len());
        if let Some(known) = self.filters.get_mut(&whole) {
            known.count += 1;
            known.first = known.first.min(at);
            known.last = known.last.max(at);
        } else if self.filters.len() < self.limits.filters {
            let one = ByFilter {
                kind: kind.to_owned(),
                filter: self.cut(filter),
                count: 1,
                first: at,
                last: at,
            };
            self.filters.insert(whole, one);
        } else {
            self.filters_left_out += 1;
        }
    }

    /// Operations by filter, the earliest first, and how many operations are not among them.
    #[must_use]
    pub fn earliest_filters(&self) -> (Vec<&ByFilter<At>>, u64) {
        let mut all: Vec<&ByFilter<At>> = self.filters.values().collect();
        all.sort_by_key(|one| one.first);
        let more = all.split_off(all.len().min(self.limits.listed));
        let more = more.iter().map(|one| one.count).sum::<u64>();
        (all, more + self.filters_left_out)
    }

    /// How many points it names.
    fn add_points(&mut self, shard: u32, at: At, entry: &Entry<'_>) -> u64 {
        let fate = match &entry.change {
            Change::Upsert { guard: None, .. } | Change::Sync { .. } => Fate::Put,
            Change::Upsert { guard: Some(_), .. } => Fate::PerhapsPut,
            Change::Delete(_) => Fate::Removed,
            Change::UpdateVectors { .. }
            | Change::DeleteVectors { .. }
            | Change::SetPayload { .. }
            | Change::OverwritePayload { .. }
            | Change::DeletePayload { .. }
            | Change::ClearPayload(_)
            | Change::CreateIndex { .. }
            | Change::DeleteIndex { .. }
            | Change::CreateVector { .. }
            | Change::DeleteVector { .. } => Fate::Changed,
        };
        let mut named = 0;
        if let Some(Selection::Ids(ids)) = selection(&entry.change) {
            for id in ids {
                self.touch((*id, shard), fate);
                named += 1;
            }
        }
        for point in points(&entry.change) {
            self.touch((point.id, shard), fate);
            named += 1;
        }
        if named > 0 {
            self.keep_largest(named, at, entry.kind);
        }
        named
    }

    fn touch(&mut self, id: (PointId, u32), fate: Fate) {
        let full = self.points.len() >= self.limits.points;
        match self.points.entry(id) {
            Slot::Occupied(mut known) => drop(known.insert(after(*known.get(), fate))),
            Slot::Vacant(_) if full => self.points_left_out += 1,
            Slot::Vacant(slot) => drop(slot.insert(fate)),
        }
    }

    fn keep_largest(&mut self, points: u64, at: At, kind: &str) {
        // Of equal ones the earlier.
        let place = self.largest.partition_point(|known| {
            known.points > points || (known.points == points && known.at <= at)
        });
        if place < self.limits.largest {
            let kind = kind.to_owned();
            self.largest.insert(place, Large { points, at, kind });
            self.largest.truncate(self.limits.largest);
        }
    }

    /// As much of a text as is kept.
    fn cut(&self, text: &str) -> String {
        let end = text.floor_char_boundary(self.limits.text);
        match text.get(..end) {
            Some(kept) if kept.len() < text.len() => format!("{kept}…"),
            Some(_) | None => text.to_owned(),
        }
    }
}

impl<At> Diff<At> {
    /// How many points have this fate, of those that are remembered.
    #[must_use]
    pub fn count(&self, fate: Fate) -> usize {
        self.points.values().filter(|found| **found == fate).count()
    }
}

/// The fate of a point that had one already.
fn after(known: Fate, next: Fate) -> Fate {
    match (known, next) {
        (_, Fate::Put) => Fate::Put,
        (_, Fate::Removed) => Fate::Removed,
        // It is there, and has been put.
        (Fate::Put, Fate::Changed | Fate::PerhapsPut) => Fate::Put,
        // A change of what is not there is refused.
        (Fate::Removed, Fate::Changed) => Fate::Removed,
        (Fate::Removed | Fate::PerhapsPut | Fate::Changed, Fate::PerhapsPut) => Fate::PerhapsPut,
        (Fate::PerhapsPut, Fate::Changed) => Fate::PerhapsPut,
        (Fate::Changed, Fate::Changed) => Fate::Changed,
    }
}

#[cfg(test)]
mod tests;
