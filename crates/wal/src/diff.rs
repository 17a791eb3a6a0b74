//! What happened between two places of a log: operations by kind, the points that they name, and those that name none.
//!
//! A log says what was ordered, not what was there. So a point that was put may be new or have been there; whom an operation by filter met is
//! not known; and an operation that the server refused counts like any other. Entries that can't be read in full count by their kind, and are
//! listed with what is not known of them.

use crate::change::{Change, Entry, PointId, Selection, Unread};
use crate::replay::{points, selection};
use crate::{Operation, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

/// How much a [`Diff`] remembers. What is beyond is counted, not kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Different points.
    pub points: usize,
    /// Different operations by filter, and different entries that can't be read.
    pub filters: usize,
    /// Operations of which most points are named.
    pub largest: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            points: 1_000_000,
            filters: 1_000,
            largest: 10,
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

/// An operation on whatever matches a filter, as often as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByFilter {
    /// Qdrant's name for the kind.
    pub kind: String,
    /// The filter, JSON.
    pub filter: String,
    /// How often it came.
    pub count: u64,
    /// Index of the first one.
    pub first: u64,
    /// Index of the last one.
    pub last: u64,
}

/// An operation that names many points.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Large {
    /// How many.
    pub points: u64,
    /// Its index.
    pub index: u64,
    /// Qdrant's name for the kind.
    pub kind: String,
}

/// A change of a payload index or of a named vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfCollection {
    /// Its index.
    pub index: u64,
    /// Qdrant's name for the kind.
    pub kind: String,
    /// The field or the vector.
    pub name: String,
}

/// The operations between two places of one log, summed up.
#[derive(Clone, Debug)]
pub struct Diff {
    /// How many there were of each kind; what is no operation counts as `?`.
    pub kinds: BTreeMap<String, u64>,
    /// What happened to points that were named.
    pub points: BTreeMap<PointId, Fate>,
    /// How often a point was named that is not in `points` because there are too many.
    pub points_left_out: u64,
    /// Operations by filter, in the order of their first.
    pub by_filter: Vec<ByFilter>,
    /// Operations by filter that are not in `by_filter` because there are too many.
    pub by_filter_left_out: u64,
    /// Changes of the collection, in order.
    pub of_collection: Vec<OfCollection>,
    /// Operations that name most points, the largest first.
    pub largest: Vec<Large>,
    /// Why entries could not be read in full, and how many. Points that they name are not among `points`.
    pub unread: BTreeMap<String, u64>,
    limits: Limits,
}

impl Diff {
    /// Of no operation.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            kinds: BTreeMap::new(),
            points: BTreeMap::new(),
            points_left_out: 0,
            by_filter: Vec::new(),
            by_filter_left_out: 0,
            of_collection: Vec::new(),
            largest: Vec::new(),
            unread: BTreeMap::new(),
            limits,
        }
    }

    /// How many points have this fate, of those that are remembered.
    #[must_use]
    pub fn count(&self, fate: Fate) -> usize {
        self.points.values().filter(|found| **found == fate).count()
    }

    /// Adds the next entry of the log.
    pub fn add(&mut self, index: u64, entry: &[u8]) {
        let entry = match Entry::read(entry) {
            Ok(entry) => entry,
            Err(why) => return self.add_unread(entry, &why),
        };
        self.count_kind(entry.kind);
        match selection(&entry.change) {
            Some(Selection::Filter(filter)) => {
                self.add_filter(index, entry.kind, json::text(*filter));
            }
            Some(Selection::Ids(_)) | None => self.add_points(index, &entry),
        }
        let name = match entry.change {
            Change::CreateIndex { field, .. } | Change::DeleteIndex { field } => field,
            Change::CreateVector { name, .. } | Change::DeleteVector { name } => name,
            Change::Sync { from, to, .. } => {
                let end = |id: Option<PointId>| id.map_or("…".to_owned(), |id| id.to_string());
                // Of the points in this range only the named ones are left.
                return self.add_filter(index, entry.kind, format!("{}..{}", end(from), end(to)));
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
        self.of_collection.push(OfCollection {
            index,
            kind: entry.kind.to_owned(),
            name: name.to_owned(),
        });
    }

    fn count_kind(&mut self, kind: &str) {
        match self.kinds.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.kinds.insert(kind.to_owned(), 1)),
        }
    }

    fn add_unread(&mut self, entry: &[u8], why: &Unread) {
        let kind = Operation::read(entry).map_or("?".to_owned(), |operation| operation.kind);
        self.count_kind(&kind);
        let why = why.to_string();
        if self.unread.len() < self.limits.filters || self.unread.contains_key(&why) {
            *self.unread.entry(why).or_default() += 1;
        }
    }

    fn add_filter(&mut self, index: u64, kind: &str, filter: String) {
        let same = |one: &&mut ByFilter| one.kind == kind && one.filter == filter;
        if let Some(known) = self.by_filter.iter_mut().find(same) {
            known.count += 1;
            known.last = index;
        } else if self.by_filter.len() < self.limits.filters {
            self.by_filter.push(ByFilter {
                kind: kind.to_owned(),
                filter,
                count: 1,
                first: index,
                last: index,
            });
        } else {
            self.by_filter_left_out += 1;
        }
    }

    fn add_points(&mut self, index: u64, entry: &Entry<'_>) {
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
                self.touch(*id, fate);
                named += 1;
            }
        }
        for point in points(&entry.change) {
            self.touch(point.id, fate);
            named += 1;
        }
        if named > 0 {
            self.keep_largest(Large {
                points: named,
                index,
                kind: entry.kind.to_owned(),
            });
        }
    }

    fn touch(&mut self, id: PointId, fate: Fate) {
        let full = self.points.len() >= self.limits.points;
        match self.points.entry(id) {
            Slot::Occupied(mut known) => drop(known.insert(after(*known.get(), fate))),
            Slot::Vacant(_) if full => self.points_left_out += 1,
            Slot::Vacant(slot) => drop(slot.insert(fate)),
        }
    }

    fn keep_largest(&mut self, large: Large) {
        // Of equal ones the earlier.
        let place = self
            .largest
            .partition_point(|known| known.points >= large.points);
        if place < self.limits.largest {
            self.largest.insert(place, large);
            self.largest.truncate(self.limits.largest);
        }
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
