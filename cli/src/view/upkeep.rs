//! What `repo check`, `repo rebuild-index` and `repo heal` found and did.

use super::text::{grouped, table};
use crate::output::View;
use holdfast_repository::{HealPlan, Healed, Leftovers, RebuiltIndex, VerifyReport};
use holdfast_store::ObjectMeta;
use holdfast_types::ByteCount;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a listing of the store can't show.
const NOT_LOOKED_AT: [&str; 2] = [
    "temporary files of a directory (.tmp/): removed whenever a program opens it",
    "unfinished multipart uploads of a bucket: let a lifecycle rule end them",
];

/// What stands in a repository beside what is needed.
#[derive(Debug, Serialize)]
pub(crate) struct LeftoversView {
    place: String,
    tidy: bool,
    objects: Vec<ObjectsView>,
    orphan_packs: Option<u64>,
    orphan_bytes: Option<u64>,
    orphans_unknown: Option<String>,
    unindexed_packs: Vec<String>,
    hollow_indexes: Vec<HollowView>,
    differing_keys: Vec<String>,
    settled_records: Vec<String>,
    probe_objects: Vec<ObjectView>,
    unknown: Vec<ObjectView>,
    not_looked_at: [&'static str; 2],
}

/// Objects under one first name.
#[derive(Debug, Serialize)]
struct ObjectsView {
    name: String,
    objects: u64,
    stored_bytes: u64,
}

/// An index that names packs which are not there.
#[derive(Debug, Serialize)]
struct HollowView {
    index: String,
    missing_packs: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ObjectView {
    object: String,
    stored_bytes: u64,
}

impl LeftoversView {
    pub(crate) fn new(place: String, found: &Leftovers) -> Self {
        let strings =
            |ids: &[holdfast_types::PackId]| ids.iter().map(ToString::to_string).collect();
        let objects = found.objects.iter();
        let objects = objects.map(|(name, (objects, bytes))| ObjectsView {
            name: name.clone(),
            objects: *objects,
            stored_bytes: *bytes,
        });
        let hollow = found.hollow_indexes.iter();
        let hollow = hollow.map(|(index, missing)| HollowView {
            index: index.clone(),
            missing_packs: strings(missing),
        });
        let orphans = found.orphan_packs.as_ref().ok();
        Self {
            place,
            tidy: found.is_tidy(),
            objects: objects.collect(),
            orphan_packs: orphans.map(|packs| packs.len() as u64),
            orphan_bytes: orphans.map(|packs| packs.iter().map(|(_, size)| size).sum()),
            orphans_unknown: found.orphan_packs.as_ref().err().cloned(),
            unindexed_packs: strings(&found.unindexed_packs),
            hollow_indexes: hollow.collect(),
            differing_keys: found.differing_keys.clone(),
            settled_records: found.settled_records.clone(),
            probe_objects: found.probe_objects.iter().map(ObjectView::from).collect(),
            unknown: found.unknown.iter().map(ObjectView::from).collect(),
            not_looked_at: NOT_LOOKED_AT,
        }
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        match (&self.orphans_unknown, self.orphan_packs, self.orphan_bytes) {
            (Some(why), ..) => remarks.push(format!(
                "which packs are needed is not known, because not every recovery point can be read: {why}"
            )),
            (None, Some(packs @ 1..), Some(bytes)) => remarks.push(format!(
                "{} packs ({}) are needed by no recovery point: garbage, or of a backup under way",
                grouped(packs),
                ByteCount(bytes)
            )),
            (None, ..) => {}
        }
        let counts = [
            (
                self.unindexed_packs.len(),
                "packs are in no index: the next backup indexes them",
            ),
            (
                self.hollow_indexes.len(),
                "indexes name packs that are missing: `holdfast repo verify` says what that concerns",
            ),
            (
                self.differing_keys.len(),
                "key files should be equal and are not: the coordinator mends them when it starts",
            ),
            (
                self.settled_records.len(),
                "records of quarantine are settled: `holdfast repo heal --confirm` removes them",
            ),
            (
                self.probe_objects.len(),
                "objects of an interrupted `repo probe` may be removed",
            ),
            (
                self.unknown.len(),
                "objects have names that are none of Holdfast's",
            ),
        ];
        let found = counts.iter().filter(|(count, _)| *count > 0);
        remarks.extend(found.map(|(count, what)| format!("{} {what}", grouped(*count as u64))));
        if remarks.is_empty() {
            remarks.push(format!("nothing is left over at {}", self.place));
        }
        remarks
    }
}

impl View for LeftoversView {
    const KIND: &'static str = "repo-check";

    fn text(&self) -> String {
        let rows = self.objects.iter().map(|line| {
            let bytes = ByteCount(line.stored_bytes).to_string();
            vec![line.name.clone(), grouped(line.objects), bytes]
        });
        let mut parts = vec![
            table(&["NAME", "OBJECTS", "SIZE"], rows),
            self.remarks().join("\n"),
        ];
        let odd: Vec<_> = self.probe_objects.iter().chain(&self.unknown).collect();
        if !odd.is_empty() {
            let rows = odd.iter().map(|object| {
                let bytes = ByteCount(object.stored_bytes).to_string();
                vec![object.object.clone(), bytes]
            });
            parts.push(table(&["OBJECT", "SIZE"], rows));
        }
        parts.push(format!(
            "not looked at:\n  {}",
            self.not_looked_at.join("\n  ")
        ));
        parts.join("\n\n")
    }
}

impl From<&ObjectMeta> for ObjectView {
    fn from(object: &ObjectMeta) -> Self {
        Self {
            object: object.key.to_string(),
            stored_bytes: object.size,
        }
    }
}

/// What a rebuild of the indexes did, or would do.
#[derive(Debug, Serialize)]
pub(crate) struct RebuiltIndexView {
    place: String,
    /// False: nothing was done.
    confirmed: bool,
    packs: u64,
    chunks: u64,
    carried_over: Vec<String>,
    unreadable: Vec<String>,
    written: u64,
    removed: u64,
    removed_damaged: u64,
}

impl RebuiltIndexView {
    pub(crate) fn new(place: String, rebuilt: &RebuiltIndex, confirmed: bool) -> Self {
        Self {
            place,
            confirmed,
            packs: rebuilt.packs,
            chunks: rebuilt.chunks,
            carried_over: rebuilt
                .carried_over
                .iter()
                .map(ToString::to_string)
                .collect(),
            unreadable: rebuilt.unreadable.iter().map(ToString::to_string).collect(),
            written: rebuilt.written,
            removed: rebuilt.removed,
            removed_damaged: rebuilt.damaged,
        }
    }
}

impl View for RebuiltIndexView {
    const KIND: &'static str = "repo-rebuild-index";

    fn text(&self) -> String {
        let are = if self.confirmed { "are" } else { "would be" };
        let mut lines = vec![format!(
            "{}: {} packs with {} chunks {are} in {} new indexes; {} old ones {are} removed, {} of them damaged",
            self.place,
            grouped(self.packs),
            grouped(self.chunks),
            self.written,
            self.removed,
            self.removed_damaged
        )];
        for pack in &self.carried_over {
            lines.push(format!(
                "taken over from an old index, because the pack is missing or damaged: {pack}"
            ));
        }
        for pack in &self.unreadable {
            lines.push(format!("in no index: {pack}"));
        }
        if !self.confirmed {
            let again = "nothing was changed: repeat it with --confirm while no coordinator runs";
            lines.push(again.to_owned());
        }
        lines.join("\n")
    }
}

/// What a second copy can heal, or has healed.
#[derive(Debug, Serialize)]
pub(crate) struct HealView {
    place: String,
    copy: String,
    confirmed: bool,
    objects: Vec<ObjectView>,
    left: BTreeMap<String, String>,
    only_in_copy: Vec<String>,
    records_cleared: u64,
    needs_attention: bool,
}

impl HealView {
    pub(crate) fn new(
        place: &str,
        copy: &str,
        plan: &HealPlan,
        healed: Option<&Healed>,
        report: &VerifyReport,
    ) -> Self {
        let objects = healed.map_or(&plan.objects, |healed| &healed.objects);
        let objects = objects.iter().map(|(object, bytes)| ObjectView {
            object: object.clone(),
            stored_bytes: *bytes,
        });
        let mut left = plan.unhealable.clone();
        left.extend(healed.into_iter().flat_map(|healed| healed.left.clone()));
        Self {
            place: place.to_owned(),
            copy: copy.to_owned(),
            confirmed: healed.is_some(),
            objects: objects.collect(),
            left,
            only_in_copy: plan.only_in_copy.clone(),
            records_cleared: healed.map_or(0, |healed| healed.cleared),
            needs_attention: report.needs_attention(),
        }
    }

    /// One sentence on how it stands.
    pub(crate) fn headline(&self) -> String {
        let (place, copy, count) = (&self.place, &self.copy, self.objects.len());
        match (self.confirmed, self.needs_attention) {
            (true, false) => format!("{place} is healed: {count} objects came from {copy}"),
            (true, true) => format!("{place} is still damaged: {count} objects came from {copy}"),
            (false, true) => format!("{place} is damaged, and {copy} can heal {count} objects"),
            (false, false) => format!("nothing is known to be damaged at {place}"),
        }
    }
}

impl View for HealView {
    const KIND: &'static str = "repo-heal";

    fn text(&self) -> String {
        let mut parts = vec![self.headline()];
        if !self.objects.is_empty() {
            let rows = self.objects.iter().map(|object| {
                let bytes = ByteCount(object.stored_bytes).to_string();
                vec![object.object.clone(), bytes]
            });
            let head = if self.confirmed {
                "HEALED"
            } else {
                "WOULD BE HEALED"
            };
            parts.push(table(&[head, "SIZE"], rows));
        }
        if !self.left.is_empty() {
            let rows = self
                .left
                .iter()
                .map(|(object, why)| vec![object.clone(), why.clone()]);
            parts.push(table(&["NOT HEALED", "WHY"], rows));
        }
        if !self.only_in_copy.is_empty() {
            let ids = self.only_in_copy.iter().map(|object| {
                let id = object.rsplit('/').next().unwrap_or(object);
                vec![id.to_owned()]
            });
            parts.push(table(&["ONLY IN THE COPY"], ids));
            parts.push(
                "These may have been removed here on purpose: --lost-points brings all of them back, --lost-point ID one"
                    .to_owned(),
            );
        }
        parts.join("\n\n")
    }
}
