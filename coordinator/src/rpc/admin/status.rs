//! The coordinator, its nodes and their collections at a glance.

use super::wire;
use crate::catalog::PointSummary;
use crate::core::Core;
use crate::fault::chain;
use crate::job::{JobRecord, JobState};
use crate::logs::{self, CollectionStanding};
use crate::members::{self, Mark};
use crate::observe::NodeRecord;
use crate::repository::fault_of;
use crate::storage;
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{CollectionName, NodeId, RecoveryPointId, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// A store that takes longer to list a few claims is told of.
const STORE_ANSWERS: Duration = Duration::from_secs(5);
/// Jobs shown.
const JOBS_SHOWN: usize = 20;

pub(in crate::rpc) async fn status(core: &Core, points: &[PointSummary]) -> v1::StatusResponse {
    let nodes = core.nodes.list();
    let jobs = core.book.list().await;
    let stats = core.repository.stats();
    let connected = nodes.iter().filter(|(_, node)| node.connected).count();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    v1::StatusResponse {
        program: Some(wire::program()),
        cluster: core.cluster.to_string(),
        epoch: core.epoch.0,
        now_us: core.clock.now().as_micros(),
        started_us: core.started.as_micros(),
        repository: core.repository.place(),
        recovery_points: points.len() as u64,
        stored_bytes: stats.stored_bytes,
        chunks: stats.chunks,
        nodes_connected: count(connected),
        nodes_known: count(nodes.len()),
        newest_recovery_point: points
            .iter()
            .find(|p| p.imported.is_none())
            .map(|p| p.id.to_string())
            .unwrap_or_default(),
        warnings: warnings(&Situation {
            now: core.clock.now(),
            nodes: &nodes,
            jobs: &jobs,
            damaged_points: &core.damaged_points,
            missed: missed(core).await,
            damaged_packs: stats.damaged_packs,
            damaged_objects: core.repository.report().damaged.len(),
            points,
            checks: core
                .verified
                .get()
                .warnings(&core.verify, core.started, core.clock.now()),
            gone: gone(core).await,
            keeping: core
                .clock_fault()
                .map(|fault| fault.message)
                .into_iter()
                .chain(core.keeping.warnings())
                .collect(),
            known_damage: known_damage(core).await,
            copies: crate::copies::warnings(core).await,
            logs: {
                let known = crate::schedule::known_collections(core);
                logs::warnings(core, &logs::standings(core, points, &known))
            },
            schedules: {
                let busy = core.book.running().await.map(|job| job.id);
                crate::schedule::warnings(core, points, busy)
            },
            members: members::warnings(core),
            kept_out: core.nodes.kept_out(core.clock.now()),
        }),
        last_check: core.verified.get().last.map(|last| v1::RepositoryCheck {
            ended_us: last.at.as_micros(),
            covered: last.covered,
            needs_attention: last.needs_attention,
        }),
        copies: super::super::copies::statuses(core).await,
        drained: drained(core),
        jobs: jobs
            .iter()
            .take(JOBS_SHOWN)
            .map(wire::job_summary)
            .collect(),
    }
}

fn drained(core: &Core) -> Vec<String> {
    let drained = core.members.drained();
    drained.keys().map(ToString::to_string).collect()
}

/// Why nothing can be written to the repository. A store that does not answer must not keep the rest from being told.
async fn gone(core: &Core) -> Option<String> {
    let checked = core.repository.check_epoch(core.epoch);
    match tokio::time::timeout(STORE_ANSWERS, checked).await {
        Ok(checked) => checked.err().map(|error| fault_of(&error).message),
        Err(_) => Some(format!(
            "the repository at {} did not answer within {} s: backups and restores wait or fail until it does; look at its storage or network",
            core.repository.place(),
            STORE_ANSWERS.as_secs()
        )),
    }
}

/// Objects that are known to be damaged, whoever found that, unless the last check of this coordinator says so already.
async fn known_damage(core: &Core) -> Vec<String> {
    let told = core.verified.get().last;
    if told.is_some_and(|last| last.needs_attention) {
        return Vec::new();
    }
    // What a store that fails or is slow has to say of it comes later; that it does not answer is a warning of its own.
    let heeded = tokio::time::timeout(STORE_ANSWERS, core.repository.heed_damage()).await;
    if !matches!(heeded, Ok(Ok(()))) {
        tracing::debug!("records of damage could not be read");
    }
    core.repository.known_damage().await
}

/// Recovery points that are gone, in words.
async fn missed(core: &Core) -> Vec<String> {
    let copies: Vec<_> = core.copies.iter().map(|copy| copy.name()).collect();
    match core.catalog.astray().await {
        Ok(astray) => crate::missed::warnings(&astray, &copies),
        Err(error) => vec![format!(
            "what the catalogue knows of missed recovery points can't be read: {}",
            chain(&error)
        )],
    }
}

/// What warnings are drawn from.
struct Situation<'a> {
    now: Timestamp,
    nodes: &'a [(NodeId, NodeRecord)],
    jobs: &'a [JobRecord],
    damaged_points: &'a [(RecoveryPointId, String)],
    /// Recovery points that are gone.
    missed: Vec<String>,
    damaged_packs: u64,
    damaged_objects: usize,
    points: &'a [PointSummary],
    /// Why nothing can be written to the repository.
    gone: Option<String>,
    checks: Vec<String>,
    known_damage: Vec<String>,
    keeping: Vec<String>,
    copies: Vec<String>,
    logs: Vec<String>,
    schedules: Vec<String>,
    /// Of what was said of nodes.
    members: Vec<String>,
    /// Agents that were not let in, and why.
    kept_out: Vec<(NodeId, String)>,
}

/// Things that need a person, most urgent first.
fn warnings(situation: &Situation<'_>) -> Vec<String> {
    let mut warnings: Vec<String> = situation.gone.iter().cloned().collect();
    for (id, why) in situation.damaged_points {
        warnings.push(format!(
            "recovery point {id} can't be read ({why}): restore its object from a copy of the repository"
        ));
    }
    warnings.extend(situation.missed.iter().cloned());
    if situation.damaged_packs > 0 {
        warnings.push(format!(
            "{} packs of the repository are missing or cut short: back up now, what is still there is stored anew",
            situation.damaged_packs
        ));
    } else if situation.damaged_objects > 0 {
        warnings.push(format!(
            "{} damaged objects were found in the repository at the start: see the coordinator's log",
            situation.damaged_objects
        ));
    }
    if let Some(first) = situation.known_damage.first() {
        warnings.push(format!(
            "{} objects of the repository are known to be damaged, {first} among them: back up now, what Qdrant still has is stored anew; then `holdfast repo verify` names the recovery points that are affected",
            situation.known_damage.len()
        ));
    }
    warnings.extend(situation.checks.iter().cloned());
    warnings.extend(situation.keeping.iter().cloned());
    warnings.extend(situation.copies.iter().cloned());
    warnings.extend(situation.logs.iter().cloned());
    warnings.extend(situation.schedules.iter().cloned());
    warnings.extend(situation.members.iter().cloned());
    for (node, why) in &situation.kept_out {
        warnings.push(format!("the agent of node {node} is not let in: {why}"));
    }
    for (node, record) in situation.nodes {
        if !record.connected {
            warnings.push(format!(
                "node {node} is not connected: check its holdfast-agent"
            ));
        } else if let Some(error) = &record.error {
            warnings.push(format!("node {node}: {}", error.message));
        }
        warnings.extend(storage::warnings(node, record, situation.now));
        if let Some(apart) = record.clock_skew() {
            warnings.push(format!(
                "{}: the clocks of node {node} and of the coordinator are {} s apart: set both by NTP",
                Code::ClockSkew,
                apart.as_secs()
            ));
        }
    }
    if situation.nodes.is_empty() {
        warnings.push("no agent has connected yet: start holdfast-agent beside Qdrant".to_owned());
    }
    let mut ended = situation
        .jobs
        .iter()
        .filter(|job| job.state != JobState::Running && !job.is_upkeep());
    let newest = ended.next().filter(|job| job.state == JobState::Failed);
    if let Some((job, failure)) = newest.and_then(|job| Some((job, job.failure.as_ref()?))) {
        warnings.push(format!(
            "the last {} failed: {}",
            job.kind(),
            failure.message
        ));
    }
    if situation.points.is_empty() {
        warnings
            .push("there is no recovery point yet: `holdfast backup create` makes one".to_owned());
    }
    warnings
}

pub(super) fn nodes(
    nodes: &[(NodeId, NodeRecord)],
    drained: &BTreeMap<NodeId, Mark>,
) -> Vec<v1::NodeStatus> {
    let status = |(node, record): &(NodeId, NodeRecord)| v1::NodeStatus {
        node: node.to_string(),
        connected: record.connected,
        last_seen_us: record.last_seen.as_micros(),
        program: Some(v1::ProgramVersion {
            version: record.program.clone(),
        }),
        inventory: record.inventory.clone(),
        qdrant_error: record.error.clone(),
        clock_offset_ms: record.clock_offset_us / 1000,
        storage: record.storage.clone(),
        drained: drained.get(node).map(super::super::nodes::wire),
    };
    nodes.iter().map(status).collect()
}

/// Up to when each could be brought back.
pub(super) fn add_recency(
    collections: &mut [v1::CollectionStatus],
    standings: &BTreeMap<CollectionName, CollectionStanding>,
    now: Timestamp,
) {
    for status in collections {
        let standing = status.name.parse().ok();
        let standing = standing.and_then(|name: CollectionName| standings.get(&name));
        if let Some(until) = standing.and_then(|standing| standing.recoverable_until) {
            status.recoverable_until_us = until.as_micros();
            status.rpo_ms = u64::try_from(now.since(until).as_millis()).unwrap_or(u64::MAX);
        }
        status.continuous = standing.is_some_and(|standing| standing.continuous);
    }
}

/// Nodes whose collections are not among [`collections`], and why.
pub(super) fn unseen(nodes: &[(NodeId, NodeRecord)]) -> Vec<String> {
    let why = |(node, record): &(NodeId, NodeRecord)| {
        if !record.connected {
            return Some(format!("node {node} is not connected"));
        }
        match (&record.error, &record.inventory) {
            (Some(error), _) => Some(format!("node {node}: {}", error.message)),
            (None, None) => Some(format!("node {node} has not reported yet")),
            (None, Some(_)) => None,
        }
    };
    nodes.iter().filter_map(why).collect()
}

/// The collections of connected nodes. A shard with several replicas counts its points once.
pub(super) fn collections(
    nodes: &[(NodeId, NodeRecord)],
    points: &[PointSummary],
) -> Vec<v1::CollectionStatus> {
    let mut found: BTreeMap<&str, (v1::CollectionStatus, BTreeMap<u32, u64>)> = BTreeMap::new();
    let connected = nodes.iter().filter(|(_, record)| record.connected);
    for (node, record) in connected {
        let inventory = record.inventory.iter().filter(|_| record.error.is_none());
        for info in inventory.flat_map(|inventory| &inventory.collections) {
            let (status, shards) = found.entry(&info.name).or_insert_with(|| {
                // An imported one is older than it looks: it must not pass for a capture.
                let newest = points
                    .iter()
                    .filter(|point| point.imported.is_none())
                    .find(|point| {
                        point
                            .collections
                            .iter()
                            .any(|name| name.as_str() == info.name)
                    });
                let status = v1::CollectionStatus {
                    name: info.name.clone(),
                    status: info.status.clone(),
                    shard_count: info.shard_count,
                    aliases: info.aliases.clone(),
                    newest_recovery_point: newest.map(|p| p.id.to_string()).unwrap_or_default(),
                    ..Default::default()
                };
                (status, BTreeMap::new())
            });
            status.nodes.push(node.to_string());
            for shard in &info.local_shards {
                let points = shards.entry(shard.shard_id).or_default();
                *points = (*points).max(shard.points_approx);
            }
        }
    }
    let total = |(mut status, shards): (v1::CollectionStatus, BTreeMap<u32, u64>)| {
        status.points_approx = shards.values().sum();
        status
    };
    found.into_values().map(total).collect()
}

#[cfg(test)]
mod tests {
    use super::{Situation, collections, warnings};
    use crate::catalog::PointSummary;
    use crate::fixture::{NOW, manifest};
    use crate::observe::{NodeRecord, Registry};
    use holdfast_proto::convert::Greeting;
    use holdfast_proto::v1;
    use holdfast_types::{NodeId, Timestamp};
    use std::time::Duration;

    fn nodes(clock: Timestamp) -> Vec<(NodeId, NodeRecord)> {
        let registry = Registry::default();
        for name in ["n1", "n2"] {
            let node: NodeId = name.parse().unwrap();
            let greeting = Greeting {
                node: node.clone(),
                cluster: "demo".parse().unwrap(),
                program: "0.1.0".into(),
                now: clock,
                open_commands: vec![],
            };
            registry.connected(&greeting, NOW);
            let info = v1::CollectionInfo {
                name: "docs".into(),
                local_shards: vec![v1::ShardInfo {
                    shard_id: 0,
                    state: "Active".into(),
                    points_approx: 5,
                    ..Default::default()
                }],
                ..Default::default()
            };
            let beat = v1::Heartbeat {
                now_us: clock.as_micros(),
                inventory: Some(v1::Inventory {
                    collections: vec![info],
                    ..Default::default()
                }),
                qdrant_error: None,
                ..Default::default()
            };
            registry.heard(&node, beat, NOW);
        }
        registry.list()
    }

    #[test]
    fn replicas_count_once() {
        let points = [PointSummary::of(&manifest("20261121t101530z-00000001", 1))];
        let found = collections(&nodes(NOW), &points);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].points_approx, 5);
        assert_eq!(found[0].nodes, ["n1", "n2"]);
        assert_eq!(found[0].newest_recovery_point, "20261121t101530z-00000001");
    }

    #[test]
    fn warnings_say_what_to_do() {
        let nodes = nodes(NOW.after(Duration::from_secs(7200)));
        let told = warnings(&Situation {
            now: NOW,
            nodes: &nodes[..1],
            jobs: &[],
            damaged_points: &[],
            missed: vec!["recovery point q is gone".to_owned()],
            damaged_packs: 1,
            damaged_objects: 1,
            points: &[],
            gone: None,
            known_damage: vec![],
            checks: vec!["recovery point p can't be restored in full".to_owned()],
            keeping: vec!["locks can't be set".to_owned()],
            copies: vec!["copy b is behind".to_owned()],
            logs: vec!["a log is not archived".to_owned()],
            schedules: vec!["schedule nightly is late".to_owned()],
            members: vec!["the policy names node n9".to_owned()],
            kept_out: vec![("n8".parse().unwrap(), "it is too old".to_owned())],
        });
        assert_eq!(
            told,
            [
                "recovery point q is gone",
                "1 packs of the repository are missing or cut short: back up now, what is still there is stored anew",
                "recovery point p can't be restored in full",
                "locks can't be set",
                "copy b is behind",
                "a log is not archived",
                "schedule nightly is late",
                "the policy names node n9",
                "the agent of node n8 is not let in: it is too old",
                "clock-skew: the clocks of node n1 and of the coordinator are 7200 s apart: set both by NTP",
                "there is no recovery point yet: `holdfast backup create` makes one",
            ]
        );
    }
}
