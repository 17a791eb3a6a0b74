//! What `repo verify` found.

use super::text::{grouped, millis, table};
use crate::output::View;
use holdfast_repository::{
    AffectedExtra, AffectedPoint, AffectedShard, Recording, VerifyLevel, VerifyReport,
};
use holdfast_types::ByteCount;
use serde::Serialize;
use std::time::Duration;

/// The outcome of a check.
#[derive(Debug, Serialize)]
pub(crate) struct VerifyView {
    place: String,
    level: &'static str,
    sample: Option<SampleView>,
    resumed: bool,
    pub(crate) needs_attention: bool,
    packs: u64,
    packs_read: u64,
    chunks: u64,
    unexplained_chunks: u64,
    unindexed_packs: u64,
    pub(crate) recovery_points: u64,
    bytes_read: u64,
    elapsed_ms: u64,
    damaged: Vec<DamagedView>,
    pub(crate) affected: Vec<AffectedView>,
    recorded: bool,
    not_recorded: Option<String>,
    not_resumable: Option<String>,
}

/// Which packs a sample read.
#[derive(Debug, Serialize)]
struct SampleView {
    percent: u8,
    seed: u64,
    from_slot: u8,
    next_slot: u8,
}

/// A damaged object.
#[derive(Debug, Serialize)]
struct DamagedView {
    object: String,
    damage: String,
    /// Whether nothing needs what is bad of it.
    superseded: bool,
}

/// A recovery point that can't be restored in full.
#[derive(Debug, Serialize)]
pub(crate) struct AffectedView {
    recovery_point: String,
    /// Why its manifest can't be read; `None` if it can.
    manifest: Option<String>,
    shards: Vec<AffectedShardView>,
    /// Extras that can't be exported in full.
    extras: Vec<AffectedExtraView>,
}

/// A shard that can't be restored in full.
#[derive(Debug, Serialize)]
struct AffectedShardView {
    collection: String,
    shard: u32,
    missing_chunks: u64,
    /// Why its recipe can't be read; `None` if it can.
    recipe: Option<String>,
}

/// An extra that can't be exported in full.
#[derive(Debug, Serialize)]
struct AffectedExtraView {
    node: String,
    name: String,
    missing_chunks: u64,
    /// Why its recipe can't be read; `None` if it can.
    recipe: Option<String>,
}

/// How the check stands to those before and after it.
pub(crate) struct Resumption {
    /// Whether it went on with an interrupted one.
    pub(crate) resumed: bool,
    /// Why the next one can't know of it.
    pub(crate) unkept: Option<String>,
}

impl VerifyView {
    pub(crate) fn new(
        place: String,
        report: &VerifyReport,
        resumption: Resumption,
        elapsed: Duration,
    ) -> Self {
        let (level, sample) = match report.level {
            VerifyLevel::Quick => ("quick", None),
            VerifyLevel::Full => ("full", None),
            VerifyLevel::Sample(sample) => {
                let view = SampleView {
                    percent: sample.percent(),
                    seed: sample.seed(),
                    from_slot: sample.from(),
                    next_slot: sample.next(),
                };
                ("sample", Some(view))
            }
        };
        let damaged = report.damaged.iter().map(|found| DamagedView {
            object: found.object.clone(),
            damage: found.damage.to_string(),
            superseded: report.superseded.contains(&found.object),
        });
        let (recorded, not_recorded) = match &report.recording {
            Recording::Written(_) => (true, None),
            Recording::ReadOnly => (false, Some("nothing was to be written".to_owned())),
            Recording::Failed(reason) => (false, Some(reason.clone())),
        };
        Self {
            place,
            level,
            sample,
            resumed: resumption.resumed,
            needs_attention: report.needs_attention(),
            packs: report.packs,
            packs_read: report.packs_read,
            chunks: report.chunks,
            unexplained_chunks: report.unexplained,
            unindexed_packs: report.unindexed,
            recovery_points: report.points,
            bytes_read: report.bytes_read,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            damaged: damaged.collect(),
            affected: report.affected.iter().map(AffectedView::from).collect(),
            recorded,
            not_recorded,
            not_resumable: resumption.unkept,
        }
    }

    /// One sentence on how it stands.
    pub(crate) fn headline(&self) -> String {
        let open = self.damaged.iter().filter(|found| !found.superseded);
        let open = open.count();
        let place = &self.place;
        match (open, self.affected.len()) {
            (0, 0) => format!("{place} is sound as far as it was checked"),
            (open, 0) => format!("{place} has {open} damaged objects"),
            (_, affected) => format!(
                "{place} is damaged: {affected} of {} recovery points can't be restored in full",
                self.recovery_points
            ),
        }
    }

    fn checked(&self) -> String {
        let read = format!(
            "{} of {} packs ({} chunks, {}) were read",
            grouped(self.packs_read),
            grouped(self.packs),
            grouped(self.chunks),
            ByteCount(self.bytes_read),
        );
        let how = match &self.sample {
            None if self.level == "quick" => format!(
                "{} packs were listed and none read; --sample and --full do",
                grouped(self.packs)
            ),
            None => read,
            Some(sample) => {
                let SampleView {
                    seed,
                    percent,
                    from_slot,
                    next_slot,
                } = sample;
                format!(
                    "{read}: {percent} slots from {from_slot}, seed {seed}; the next sample begins at slot {next_slot}"
                )
            }
        };
        let resumed = if self.resumed {
            ", going on with an interrupted check"
        } else {
            ""
        };
        format!(
            "checked ({}{resumed}) in {}: {} recovery points; {how}",
            self.level,
            millis(self.elapsed_ms),
            grouped(self.recovery_points),
        )
    }
}

impl View for VerifyView {
    const KIND: &'static str = "verify";

    fn text(&self) -> String {
        let mut parts = vec![format!("{}\n{}", self.headline(), self.checked())];
        if self.unexplained_chunks > 0 {
            parts.push(format!(
                "{} chunks are well sealed and belong to no recovery point's namespace: left by captures that were not committed",
                grouped(self.unexplained_chunks)
            ));
        }
        if self.unindexed_packs > 0 {
            parts.push(format!(
                "{} of {} packs are in no index: a backup writes them just now or was cut off, or an index is lost. No data is missing, but every start reads these packs' own lists; if no backup runs, write them anew: stop the coordinator, `holdfast repo rebuild-index --confirm`",
                grouped(self.unindexed_packs),
                grouped(self.packs)
            ));
        }
        if !self.affected.is_empty() {
            let rows = self.affected.iter().flat_map(AffectedView::rows);
            parts.push(table(
                &["RECOVERY POINT", "COLLECTION", "SHARD", "LOST"],
                rows,
            ));
        }
        if !self.damaged.is_empty() {
            let rows = self.damaged.iter().map(|found| {
                let note = if found.superseded {
                    " (nothing needs it)"
                } else {
                    ""
                };
                vec![found.object.clone(), format!("{}{note}", found.damage)]
            });
            parts.push(table(&["DAMAGED OBJECT", "HOW"], rows));
        }
        if let (Some(reason), false) = (&self.not_recorded, self.damaged.is_empty()) {
            parts.push(format!(
                "not recorded ({reason}): coordinators don't learn of it from this check"
            ));
        }
        if let Some(reason) = &self.not_resumable {
            parts.push(format!(
                "not kept for the next check ({reason}): name a writable --state FILE"
            ));
        }
        parts.join("\n\n")
    }
}

impl AffectedView {
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |collection: &str, shard: String, lost: String| {
            vec![
                self.recovery_point.clone(),
                collection.to_owned(),
                shard,
                lost,
            ]
        };
        if let Some(why) = &self.manifest {
            return vec![row("-", "-".to_owned(), format!("everything: {why}"))];
        }
        let lost = |what: &str, recipe: &Option<String>, chunks: u64| match recipe {
            Some(why) => format!("the {what}: {why}"),
            None => format!("{} chunks", grouped(chunks)),
        };
        let shards = self.shards.iter().map(|shard| {
            let lost = lost("shard", &shard.recipe, shard.missing_chunks);
            row(&shard.collection, shard.shard.to_string(), lost)
        });
        let extras = self.extras.iter().map(|extra| {
            let what = format!("extra {} of {}", extra.name, extra.node);
            let lost = lost("extra", &extra.recipe, extra.missing_chunks);
            row(&what, "-".to_owned(), lost)
        });
        shards.chain(extras).collect()
    }
}

impl From<&AffectedPoint> for AffectedView {
    fn from(point: &AffectedPoint) -> Self {
        Self {
            recovery_point: point.id.to_string(),
            manifest: point.manifest.as_ref().map(ToString::to_string),
            shards: point.shards.iter().map(AffectedShardView::from).collect(),
            extras: point.extras.iter().map(AffectedExtraView::from).collect(),
        }
    }
}

impl From<&AffectedExtra> for AffectedExtraView {
    fn from(extra: &AffectedExtra) -> Self {
        Self {
            node: extra.node.to_string(),
            name: extra.name.to_string(),
            missing_chunks: extra.missing_chunks as u64,
            recipe: extra.recipe.as_ref().map(ToString::to_string),
        }
    }
}

impl From<&AffectedShard> for AffectedShardView {
    fn from(shard: &AffectedShard) -> Self {
        Self {
            collection: shard.collection.to_string(),
            shard: shard.shard.0,
            missing_chunks: shard.missing_chunks as u64,
            recipe: shard.recipe.as_ref().map(ToString::to_string),
        }
    }
}
