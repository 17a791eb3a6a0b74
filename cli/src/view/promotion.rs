//! `repo copy promote`: what the copy is worth, and what was done.

use super::text::{pairs, short_time};
use crate::output::View;
use holdfast_coordinator::config::{CopySection, promoted_config};
use holdfast_repository::{PointListing, VerifyLevel, VerifyReport};
use holdfast_types::{Epoch, RecoveryPointId, Timestamp};
use serde::Serialize;

/// What is known of the points that the primary holds and the copy does not.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// By the primary itself.
    Primary(Vec<RecoveryPointId>),
    /// By the catalogue of its coordinator, because the primary can't be reached.
    Catalog {
        why: String,
        missing: Vec<RecoveryPointId>,
    },
    /// Nobody can say.
    Nothing { why: String, catalog: String },
}

/// What was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promoted {
    /// The term of the promotion.
    pub(crate) epoch: Epoch,
    /// Whether the old primary was told.
    pub(crate) retired: bool,
}

/// `repo copy promote`.
#[derive(Debug, Serialize)]
pub(crate) struct PromotionView {
    name: String,
    place: String,
    promoted: bool,
    epoch: Option<u64>,
    primary_told: bool,
    /// Null if it was reached.
    primary_unreachable: Option<String>,
    recovery_points: u64,
    newest: Option<String>,
    newest_committed: Option<Timestamp>,
    /// Whether every chunk was read.
    read_in_full: bool,
    damaged_objects: Vec<String>,
    /// Points that can't be restored in full.
    affected: Vec<String>,
    /// Points that the copy lacks; null if nobody can say.
    missing: Option<Vec<String>>,
    missing_known_by: &'static str,
    /// Why nobody can say.
    missing_unknown: Option<String>,
    /// What has to stand under `[repository]` from now on.
    config: String,
    /// What becomes of the rules of the copy.
    #[serde(skip)]
    rules: &'static str,
}

impl PromotionView {
    pub(crate) fn new(
        section: &CopySection,
        place: &str,
        points: &[PointListing],
        checked: &VerifyReport,
        known: Known,
        promoted: Option<Promoted>,
    ) -> Self {
        let readable = points
            .iter()
            .filter_map(|point| point.manifest.as_ref().ok());
        let newest = readable.max_by_key(|manifest| manifest.committed);
        let strings = |ids: Vec<RecoveryPointId>| ids.iter().map(ToString::to_string).collect();
        let (why, missing, by, unknown) = match known {
            Known::Primary(ids) => (None, Some(strings(ids)), "primary", None),
            Known::Catalog { why, missing } => {
                (Some(why), Some(strings(missing)), "catalogue", None)
            }
            Known::Nothing { why, catalog } => (Some(why), None, "nobody", Some(catalog)),
        };
        Self {
            name: section.name.to_string(),
            place: place.to_owned(),
            promoted: promoted.is_some(),
            epoch: promoted.map(|done| done.epoch.0),
            primary_told: promoted.is_some_and(|done| done.retired),
            primary_unreachable: why,
            recovery_points: points.len() as u64,
            newest: newest.map(|manifest| manifest.id.to_string()),
            newest_committed: newest.map(|manifest| manifest.committed),
            read_in_full: checked.level == VerifyLevel::Full,
            damaged_objects: checked.open().map(|found| found.object.clone()).collect(),
            affected: checked
                .affected
                .iter()
                .map(|point| point.id.to_string())
                .collect(),
            missing,
            missing_known_by: by,
            missing_unknown: unknown,
            config: promoted_config(section),
            rules: if section.retention.policy.is_some() {
                "[copy.retention] of this copy"
            } else {
                "that this copy has no rules and keeps everything"
            },
        }
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if !self.affected.is_empty() {
            remarks.push(format!(
                "WARNING: of these recovery points something is damaged on the copy: {}",
                self.affected.join(", ")
            ));
        }
        match (&self.missing, &self.missing_unknown) {
            (Some(missing), _) if missing.is_empty() => remarks.push(format!(
                "nothing is missing that the {} knows",
                self.missing_known_by
            )),
            (Some(missing), _) => remarks.push(format!(
                "WARNING: the copy lacks {} recovery points that the {} knows: {}",
                missing.len(),
                self.missing_known_by,
                missing.join(", ")
            )),
            (None, why) => remarks.push(format!(
                "WARNING: what the copy lacks is not known: neither the primary nor the coordinator's catalogue can be read ({})",
                why.as_deref().unwrap_or_default()
            )),
        }
        match (&self.primary_unreachable, self.promoted) {
            (Some(why), _) => remarks.push(format!(
                "WARNING: the primary can't be reached, so it is not told that it is replaced ({why}): when it comes back, keep its coordinator from starting, and make it a copy (`holdfast repo copy add NAME --take-over --confirm`)"
            )),
            (None, false) => remarks.push(
                "the primary can be reached: it will be told that it is replaced; bring the copy up to date first (`holdfast repo copy sync NAME --wait`)".to_owned(),
            ),
            (None, true) => remarks.push(
                "the old primary was told that it is replaced".to_owned(),
            ),
        }
        remarks.push(format!(
            "WARNING: from now on [retention] of the coordinator's configuration judges everything that is here, in place of {}: before it is started, see that [retention] keeps at least as much, or take it out (`holdfast backup prune` shows what it would remove)",
            self.rules
        ));
        if !self.read_in_full {
            remarks.push("no chunk was read: --full reads every one".to_owned());
        }
        remarks
    }
}

impl View for PromotionView {
    const KIND: &'static str = "copy-promotion";

    fn text(&self) -> String {
        let newest = self.newest.as_ref().zip(self.newest_committed);
        let mut text = pairs([
            ("Copy", format!("{} at {}", self.name, self.place)),
            ("Recovery points", self.recovery_points.to_string()),
            (
                "Newest",
                newest.map_or_else(
                    || "none".to_owned(),
                    |(id, at)| format!("{id}, {}", short_time(at)),
                ),
            ),
            ("Damaged objects", self.damaged_objects.len().to_string()),
        ]);
        for remark in self.remarks() {
            text += &format!("\n{remark}");
        }
        match self.epoch {
            None => text += "\nnothing was changed: repeat it with --confirm",
            Some(epoch) => {
                text += &format!(
                    "\n{} is the primary now, in term {epoch}. In the coordinator's configuration, take [[copy]] {} out, and let [repository] name this place (its key stays as it is); then start the coordinator:\n\n{}",
                    self.place, self.name, self.config
                );
            }
        }
        text
    }
}
