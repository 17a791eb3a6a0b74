//! How much was written to what a schedule covers since the newest captures of it.
//!
//! It errs on one side: what is not known for certain to be unchanged is captured.

use crate::core::Core;
use crate::logs::{Settings, SinceCapture, since_capture};
use crate::observe::NodeRecord;
use crate::retention::proofs::known as known_proofs;
use holdfast_decide::policy::{Policy, select};
use holdfast_decide::schedule::{Changes, Schedule, Unchanged};
use holdfast_proto::v1;
use holdfast_types::{CollectionName, NodeId, RecoveryPointId, ShardId, Timestamp};
use serde_json::Value;
use std::collections::BTreeSet;

/// What is known now; nothing where the schedule does not ask.
pub(super) async fn changes(core: &Core, policy: &Policy, schedule: &Schedule) -> Changes {
    let skips = schedule.unchanged == Unchanged::Skip;
    if !skips && schedule.early.is_none() {
        return Changes::default();
    }
    let seen = core.nodes.observation(core.epoch, None, 0);
    let selection = select(policy, &schedule.name, &seen, core.clock.now());
    let Ok(good) = good_points(core).await else {
        // A catalogue that can't be read is told elsewhere.
        return Changes::default();
    };
    let nodes = core.nodes.list();
    let whole = skips && selection.left_out.is_empty() && !selection.capture.is_empty();
    let mut unchanged_until = whole.then_some(Timestamp::MAX);
    let mut operations = 0_u64;
    for name in &selection.capture {
        let since = since_capture(core, name, |id| good.contains(&(id.clone(), name.clone())));
        let written = since.as_ref().and_then(|since| since.written);
        operations = operations.saturating_add(written.map_or(0, |written| written.operations));
        let until = since.filter(|since| looks_the_same(since, name, &nodes));
        let until = until
            .and_then(|since| since.written)
            .filter(|written| written.operations == 0);
        unchanged_until = unchanged_until
            .zip(until)
            .map(|(all, one)| all.min(one.until));
    }
    Changes {
        operations,
        unchanged_until,
    }
}

/// Collections of recovery points that are there, were captured for their own sake, and are not known to be damaged.
async fn good_points(
    core: &Core,
) -> Result<BTreeSet<(RecoveryPointId, CollectionName)>, crate::catalog::CatalogError> {
    let points = core.catalog.points().await?;
    let (marks, affected) = (core.retention.marks(), core.verified.get().affected());
    let live = points.iter().filter(|point| {
        !marks.tombstones.contains_key(&point.id)
            && point.safety_for.is_none()
            && point.imported.is_none()
    });
    let mut good = BTreeSet::new();
    for point in live {
        let known = known_proofs(&point.id, point.collections.iter(), &marks, &affected);
        let bad: BTreeSet<_> = known
            .into_iter()
            .filter(|(_, known)| known.is_bad())
            .map(|(name, _)| name)
            .collect();
        let collections = point.collections.iter().filter(|name| !bad.contains(name));
        good.extend(collections.map(|name| (point.id.clone(), name.clone())));
    }
    Ok(good)
}

/// Whether the collection has the captured settings, aliases and shards on every node that has told of it, and one has.
fn looks_the_same(
    since: &SinceCapture,
    name: &CollectionName,
    nodes: &[(NodeId, NodeRecord)],
) -> bool {
    let told = nodes.iter().filter(|(_, record)| record.connected);
    let told = told.filter_map(|(_, record)| record.inventory.as_ref());
    let told = told.flat_map(|inventory| &inventory.collections);
    let told: Vec<&v1::CollectionInfo> = told.filter(|info| info.name == name.as_str()).collect();
    let same = |info: &&v1::CollectionInfo| {
        let found = serde_json::from_str::<Value>(&info.info_json).ok();
        found.is_some_and(|found| Settings::new(&found, info.aliases.iter()) == since.settings)
    };
    let shards = told.iter().flat_map(|info| &info.local_shards);
    let shards: BTreeSet<ShardId> = shards.map(|shard| ShardId(shard.shard_id)).collect();
    !told.is_empty() && told.iter().all(same) && shards == since.shards
}
