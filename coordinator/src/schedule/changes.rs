//! How much was written to what a schedule covers since the newest captures of it.
//!
//! It errs on one side: what is not known for certain to be unchanged is captured.

use crate::catalog::CatalogError;
use crate::core::Core;
use crate::logs::{Settings, SinceCapture, since_capture};
use crate::observe::NodeRecord;
use crate::retention::proofs::known as known_proofs;
use holdfast_decide::policy::{Policy, select};
use holdfast_decide::schedule::{Changes, Schedule};
use holdfast_types::{CollectionName, NodeId, RecoveryPointId, ShardId, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Collections of recovery points that count as captures.
type Good = BTreeSet<(RecoveryPointId, CollectionName)>;

/// What is known now. Whether nothing has changed is told only if that is `asked`: nodes have been asked anew for it.
pub(super) async fn changes(
    core: &Core,
    policy: &Policy,
    schedule: &Schedule,
    asked: bool,
) -> Changes {
    let seen = core.nodes.observation(core.epoch, None, 0);
    let selection = select(policy, &schedule.name, &seen, core.clock.now());
    let Ok(good) = good_points(core).await else {
        // A catalogue that can't be read is told elsewhere.
        return Changes::default();
    };
    let of = |name: &CollectionName| {
        since_capture(core, name, |id| good.contains(&(id.clone(), name.clone())))
    };
    let since: BTreeMap<_, _> = selection
        .capture
        .iter()
        .map(|name| (name, of(name)))
        .collect();
    let written = since.values().flatten().filter_map(|since| since.written);
    let operations = written.fold(0_u64, |sum, one| sum.saturating_add(one.operations));
    // Damage of which it is not known yet whom it concerns asks for a capture, too.
    let whole = asked
        && selection.left_out.is_empty()
        && !since.is_empty()
        && core.repository.known_damage().await.is_empty();
    Changes {
        operations,
        unchanged_until: if whole {
            let nodes = core.nodes.list();
            let until = |(name, since): (&&CollectionName, &Option<SinceCapture>)| {
                let since = since.as_ref()?;
                let same = looks_the_same(since, name, &nodes);
                let written = since.written.filter(|written| same && written.nothing);
                written.map(|written| written.until)
            };
            let all: Option<Vec<Timestamp>> = since.iter().map(until).collect();
            all.and_then(|all| all.into_iter().min())
        } else {
            None
        },
    }
}

/// Those that are there, were captured for their own sake, and are not known to be damaged.
async fn good_points(core: &Core) -> Result<Good, CatalogError> {
    let points = core.catalog.points().await?;
    let (marks, affected) = (core.retention.marks(), core.verified.get().affected());
    let live = points.iter().filter(|point| {
        !marks.tombstones.contains_key(&point.id)
            && point.safety_for.is_none()
            && point.imported.is_none()
    });
    let mut good = Good::new();
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

/// Whether a collection has the captured settings, aliases, shards and servers on every node that has told of it, one has, and all agree
/// that every replica is active and none is on its way: of one that is cut off, the log is quiet as well.
fn looks_the_same(
    since: &SinceCapture,
    name: &CollectionName,
    nodes: &[(NodeId, NodeRecord)],
) -> bool {
    let told = nodes
        .iter()
        .filter(|(_, record)| record.connected)
        .filter_map(|(_, record)| record.inventory.as_ref())
        .flat_map(|inventory| {
            let own = inventory.collections.iter();
            let own = own.filter(|info| info.name == name.as_str());
            own.map(|info| (&inventory.qdrant_version, info))
        });
    let told: Vec<_> = told.collect();
    let versions: BTreeSet<&String> = told.iter().map(|(version, _)| *version).collect();
    let mut shards = BTreeSet::new();
    for (_, info) in &told {
        let found = serde_json::from_str::<Value>(&info.info_json).ok();
        let found =
            found.and_then(|found| Settings::new(&found, info.aliases.iter(), versions.iter()));
        let local = info.local_shards.iter().map(|shard| &shard.state);
        let remote = info.remote_shards.iter().map(|shard| &shard.state);
        let settled =
            info.transfers.is_empty() && local.chain(remote).all(|state| state == "Active");
        if found.is_none() || found != since.settings || !settled {
            return false;
        }
        shards.extend(
            info.local_shards
                .iter()
                .map(|shard| ShardId(shard.shard_id)),
        );
    }
    !told.is_empty() && shards == since.shards
}

#[cfg(test)]
mod tests;
