//! The manifest of a recovery point out of its committed captures.

use crate::core::Core;
use crate::fault::Fault;
use crate::job::{BackupWork, CommittedExtra, CommittedShard, ExtraState};
use crate::repository::PROGRAM;
use holdfast_archive::{
    CollectionEntry, ExtraEntry, Manifest, NodeEntry, PeerEntry, PointStats, ShardEntry,
};
use holdfast_decide::ServerView;
use holdfast_service::failure::Code;
use holdfast_types::{ClusterName, CollectionName, Epoch, Namespace, NodeId, Timestamp};
use std::collections::BTreeMap;

mod placement;

/// What a manifest says of its writer.
#[derive(Clone, Debug)]
struct Writer {
    cluster: ClusterName,
    namespace: Namespace,
    epoch: Epoch,
    now: Timestamp,
    peers: Vec<PeerEntry>,
}

/// Puts the manifest together.
///
/// # Errors
/// `internal` if a capture is missing: then there must be no recovery point.
pub(super) fn assemble(core: &Core, work: &BackupWork) -> Result<Manifest, Fault> {
    let writer = Writer {
        cluster: core.cluster.clone(),
        namespace: core.namespace.clone(),
        epoch: core.epoch,
        now: core.clock.now(),
        peers: peers(core, work),
    };
    build(work, writer)
}

/// The peers of the cluster that was captured from, as any node of it that is seen now tells of them.
fn peers(core: &Core, work: &BackupWork) -> Vec<PeerEntry> {
    let captured = |peer: u64| work.plan.nodes.iter().any(|n| n.peer_id == Some(peer));
    let seen = core.nodes.observation(core.epoch, None, 0);
    let servers = seen
        .nodes
        .iter()
        .filter_map(|(node, view)| match &view.server {
            ServerView::Seen(server) => Some((node, server)),
            ServerView::Unknown | ServerView::Failing { .. } => Some((node, view.before.as_ref()?)),
        });
    let servers: Vec<_> = servers.collect();
    let cluster = servers.iter().map(|(_, server)| &server.cluster);
    let cluster = cluster.filter(|peers| peers.keys().any(|peer| captured(*peer)));
    let peers: BTreeMap<u64, String> = cluster.flat_map(|peers| peers.clone()).collect();
    peers
        .into_iter()
        .map(|(peer_id, uri)| {
            let own = servers.iter().find(|(_, s)| s.peer_id == Some(peer_id));
            PeerEntry {
                peer_id,
                uri,
                node: own.map(|(node, _)| (*node).clone()),
                qdrant_version: own.map(|(_, server)| server.version.clone()),
            }
        })
        .collect()
}

fn build(work: &BackupWork, writer: Writer) -> Result<Manifest, Fault> {
    let missing = work.open().count() + work.open_extras().count();
    if missing > 0 {
        return Err(Fault::new(
            Code::Internal,
            format!("{missing} captures are not committed: there is no recovery point"),
        ));
    }
    let nodes = nodes(work);
    let names = work.plan.collections.iter();
    let collections = names
        .map(|name| collection(work, name))
        .collect::<Result<_, _>>()?;
    let total = |of: fn(&CommittedShard) -> u64, extra: fn(&CommittedExtra) -> u64| {
        let extras = work.captured_extras().map(|(_, captured)| extra(captured));
        work.committed.values().map(of).chain(extras).sum()
    };
    let elapsed = writer.now.since(work.begun).as_millis();
    Ok(Manifest {
        format: Manifest::format_of(&nodes),
        id: work.point.clone(),
        cluster: writer.cluster,
        namespace: writer.namespace,
        begun: work.begun,
        committed: writer.now,
        epoch: writer.epoch,
        program: PROGRAM.to_owned(),
        note: work.note.clone(),
        tags: work.tags.clone(),
        nodes,
        collections,
        stats: PointStats {
            logical_bytes: total(|shard| shard.shard.logical_bytes, |extra| extra.extra.bytes),
            sent_bytes: total(|shard| shard.sent_bytes, |extra| extra.sent_bytes),
            stored_bytes: total(|shard| shard.stored_bytes, |extra| extra.stored_bytes),
            elapsed_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
        },
        safety_for: work.safety_for.clone(),
        left_out: work.left_out.clone(),
        peers: writer.peers,
    })
}

/// The nodes that were captured from, or of whose extras something is to be told.
fn nodes(work: &BackupWork) -> Vec<NodeEntry> {
    let captured = |node: &NodeId| work.committed.values().any(|c| c.shard.node == *node);
    let entries = work.plan.nodes.iter().map(|facts| NodeEntry {
        node: facts.node.clone(),
        qdrant_version: facts.version.clone(),
        qdrant_commit: facts.commit.clone(),
        peer_id: facts.peer_id.unwrap_or(0),
        extras: extras(work, &facts.node),
        extras_unknown: work.plan.extras_unknown.get(&facts.node).cloned(),
    });
    let told = |entry: &NodeEntry| !entry.extras.is_empty() || entry.extras_unknown.is_some();
    entries
        .filter(|entry| captured(&entry.node) || told(entry))
        .collect()
}

fn extras(work: &BackupWork, node: &NodeId) -> Vec<ExtraEntry> {
    let steps = work.plan.extras.iter().enumerate();
    let own = steps.filter(|(_, step)| step.node == *node);
    own.map(|(index, step)| {
        let (captured, missing) = match (&step.absent, work.extras.get(&index)) {
            (None, Some(ExtraState::Captured(extra))) => (Some(extra.extra.clone()), None),
            (None, Some(ExtraState::Missing { why })) => (None, Some(why.clone())),
            (Some(why), _) => (None, Some(why.clone())),
            // None is open by now.
            (None, None) => (None, Some("nothing came of it".to_owned())),
        };
        ExtraEntry {
            name: step.name.clone(),
            config: step.config,
            captured,
            missing,
        }
    })
    .collect()
}

/// One collection with all its shards. What the captures say of the collection as a whole must agree where
/// it is to be relied on: the number of points is kept only if every capture saw the same.
fn collection(work: &BackupWork, name: &CollectionName) -> Result<CollectionEntry, Fault> {
    let steps = work.plan.captures.iter().enumerate();
    let mut captured: Vec<&CommittedShard> = steps
        .filter(|(_, step)| step.collection == *name)
        .filter_map(|(index, _)| work.committed.get(&index))
        .collect();
    captured.sort_by_key(|shard| shard.shard.shard_id);
    let newest = captured.iter().max_by_key(|shard| shard.shard.captured_at);
    let newest = newest
        .ok_or_else(|| Fault::new(Code::Internal, format!("nothing of {name} was captured")))?;
    let params = |shard: &CommittedShard| shard.collection.info.pointer("/config/params").cloned();
    if captured.iter().any(|shard| params(shard) != params(newest)) {
        return Err(changed(format!(
            "the parameters of collection {name} differ between its shards' captures"
        )));
    }
    // One that could not be learnt says nothing.
    let mut uuids = captured.iter().filter_map(|c| c.collection.uuid.as_ref());
    let first = uuids.next();
    if uuids.any(|uuid| Some(uuid) != first) {
        return Err(changed(format!(
            "collection {name} was dropped and made anew between its shards' captures"
        )));
    }
    let mut entry = newest.collection.clone();
    entry.shard_keys = placement::shard_keys(entry.cluster.as_ref());
    if captured
        .iter()
        .any(|shard| shard.collection.points != entry.points)
    {
        entry.points = None;
    }
    let shards = captured.iter().map(|captured| {
        let (shard, cluster) = (&captured.shard, captured.collection.cluster.as_ref());
        ShardEntry {
            replicas: placement::replicas(cluster, shard.shard_id),
            ..shard.clone()
        }
    });
    entry.shards = shards.collect();
    if entry.shards.len() != entry.shard_count as usize {
        return Err(changed(format!(
            "collection {name} has {} shards now, {} were captured",
            entry.shard_count,
            entry.shards.len()
        )));
    }
    Ok(entry)
}

fn changed(what: String) -> Fault {
    Fault {
        retryable: true,
        ..Fault::new(
            Code::JobFailed,
            format!("{what}: it was changed meanwhile, run the backup again"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Writer, build};
    use crate::fixture::{NOW, backup_work, committed};
    use crate::job::{BackupWork, CommittedExtra, ExtraState};
    use holdfast_archive::CapturedExtra;
    use holdfast_decide::ExtraStep;
    use holdfast_types::{Epoch, ShardId};
    use std::time::Duration;

    fn writer() -> Writer {
        Writer {
            cluster: "demo".parse().unwrap(),
            namespace: "demo".parse().unwrap(),
            epoch: Epoch(4),
            now: NOW.after(Duration::from_millis(1500)),
            peers: vec![],
        }
    }

    fn complete() -> BackupWork {
        let mut work = backup_work();
        work.committed.insert(0, committed("books", 0, 1));
        work.committed.insert(1, committed("docs", 0, 2));
        work.committed.insert(2, committed("docs", 1, 2));
        work
    }

    #[test]
    fn a_manifest_holds_every_capture() {
        let manifest = build(&complete(), writer()).unwrap();
        assert!(manifest.to_json().is_ok());
        let shards: Vec<(&str, ShardId)> = manifest
            .shards()
            .map(|(collection, shard)| (collection.name.as_str(), shard.shard_id))
            .collect();
        assert_eq!(
            shards,
            [
                ("books", ShardId(0)),
                ("docs", ShardId(0)),
                ("docs", ShardId(1))
            ]
        );
        assert_eq!(manifest.stats.logical_bytes, 3000);
        assert_eq!(manifest.stats.elapsed_ms, 1500);
        assert_eq!(manifest.epoch, Epoch(4));
    }

    #[test]
    fn nothing_incomplete_becomes_a_recovery_point() {
        for missing in 0..3 {
            let mut work = complete();
            work.committed.remove(&missing);
            assert!(build(&work, writer()).is_err(), "{missing}");
        }
        let mut work = complete();
        work.committed.get_mut(&0).unwrap().collection.shard_count = 2;
        assert!(
            build(&work, writer())
                .unwrap_err()
                .message
                .contains("changed meanwhile")
        );
    }

    fn step(name: &str, absent: Option<&str>) -> ExtraStep {
        ExtraStep {
            node: "n1".parse().unwrap(),
            name: name.parse().unwrap(),
            config: name == "qdrant",
            required: false,
            absent: absent.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn extras_stand_with_their_node_and_raise_the_format() {
        let mut work = complete();
        work.plan.extras = vec![
            step("qdrant", None),
            step("redis", None),
            step("x", Some("away")),
        ];
        assert!(build(&work, writer()).is_err(), "they are open");
        let missing = |why: &str| ExtraState::Missing { why: why.into() };
        work.extras = [(0, missing("no such file")), (1, missing("no room"))].into();
        let plain = build(&work, writer()).unwrap();
        assert_eq!(plain.format, 1, "an older program may read what it lacks");
        let extra = CapturedExtra {
            captured_at: NOW,
            recipe: vec![holdfast_types::ChunkId::from_bytes([3; 32])],
            recipe_len: 9,
            recipe_hash: "ab".repeat(32),
            files: 1,
            bytes: 50,
            warnings: vec![],
        };
        let captured = CommittedExtra {
            extra,
            sent_bytes: 5,
            stored_bytes: 4,
        };
        work.extras
            .insert(1, ExtraState::Captured(Box::new(captured)));
        let manifest = build(&work, writer()).unwrap();
        assert!(manifest.to_json().is_ok());
        assert_eq!((manifest.format, manifest.recipes().count()), (2, 4));
        assert_eq!(manifest.stats.logical_bytes, 3050);
        let told: Vec<_> = manifest.nodes[0]
            .extras
            .iter()
            .map(|extra| (extra.name.as_str(), extra.config, extra.missing.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                ("qdrant", true, Some("no such file")),
                ("redis", false, None),
                ("x", false, Some("away")),
            ]
        );
    }

    #[test]
    fn captures_under_other_parameters_are_no_collection() {
        let info =
            |size: u32| serde_json::json!({"config": {"params": {"vectors": {"size": size}}}});
        let mut work = complete();
        work.committed.get_mut(&1).unwrap().collection.info = info(4);
        work.committed.get_mut(&2).unwrap().collection.info = info(4);
        assert!(build(&work, writer()).is_ok());
        work.committed.get_mut(&2).unwrap().collection.info = info(8);
        let fault = build(&work, writer()).unwrap_err();
        assert!(fault.message.contains("collection docs differ"), "{fault}");
        assert!(fault.retryable);
    }

    #[test]
    fn a_collection_that_was_made_anew_is_none() {
        let mut work = complete();
        work.committed.get_mut(&1).unwrap().collection.uuid = Some("a".into());
        work.committed.get_mut(&2).unwrap().collection.uuid = Some("a".into());
        assert!(build(&work, writer()).is_ok());
        work.committed.get_mut(&2).unwrap().collection.uuid = Some("b".into());
        let fault = build(&work, writer()).unwrap_err();
        assert!(fault.message.contains("made anew"), "{fault}");
    }

    #[test]
    fn a_count_is_kept_only_if_all_captures_agree() {
        let mut work = complete();
        work.committed.get_mut(&2).unwrap().collection.points = Some(11);
        let manifest = build(&work, writer()).unwrap();
        assert_eq!(manifest.collections[0].points, Some(10));
        assert_eq!(manifest.collections[1].points, None);
    }
}
