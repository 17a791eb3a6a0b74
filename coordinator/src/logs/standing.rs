//! What logs mean for each collection: up to when it could be brought back, and what needs a person.

use super::arrival::LogId;
use super::record::{LogRecord, SILENT};
use crate::catalog::PointSummary;
use crate::core::Core;
use holdfast_decide::recency::{LogFacts, recency};
use holdfast_types::{CollectionName, RecoveryPointId, ShardId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// One collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionStanding {
    /// Everything acknowledged before could be brought back; `None` without any capture.
    pub recoverable_until: Option<Timestamp>,
    /// Whether the archived logs of all shards go on from a capture, so that it advances by itself.
    pub continuous: bool,
    /// Shards of which a log is followed, and its timeline is known.
    pub followed: BTreeSet<ShardId>,
    /// What needs a person.
    pub troubles: Vec<String>,
    /// Why the last history ended, if there is no base of the next yet.
    pub ended: Option<(Timestamp, String)>,
}

/// Every collection that has a log, or a capture.
#[must_use]
pub fn standings(
    core: &Core,
    points: &[PointSummary],
    known: &BTreeSet<CollectionName>,
) -> BTreeMap<CollectionName, CollectionStanding> {
    let there: BTreeSet<&RecoveryPointId> = points.iter().map(|point| &point.id).collect();
    let state = core.logs.lock();
    let mut of: BTreeMap<&CollectionName, Vec<(&LogId, &LogRecord)>> = BTreeMap::new();
    for name in known {
        of.entry(name).or_default();
    }
    for (id, record) in &state.logs {
        if !record.dropped {
            of.entry(&id.collection).or_default().push((id, record));
        }
    }
    let now = core.clock.now();
    let standing = |(name, logs): (&CollectionName, Vec<(&LogId, &LogRecord)>)| {
        let bases = state.bases.of(name, |id| there.contains(id));
        let facts: Vec<LogFacts> = logs
            .iter()
            .filter_map(|(id, log)| state.facts(id, log))
            .collect();
        let recency = recency(&bases, &facts);
        let continuous = recency.as_ref().is_some_and(|recency| recency.continuous);
        let ended = logs.iter().filter_map(|(_, log)| log.ended.clone()).max();
        let standing = CollectionStanding {
            // After the clock was set back, a report may still speak of what is the future now.
            recoverable_until: recency.map(|recency| recency.until.min(now)),
            continuous,
            followed: logs
                .iter()
                .filter(|(id, log)| log.followed && log.facts(id.shard).is_some())
                .map(|(id, _)| id.shard)
                .collect(),
            // What no node tells of any more was dropped: its logs end with it.
            troubles: logs
                .iter()
                .filter(|_| known.contains(name))
                .filter_map(|(id, log)| trouble(id, log, now))
                .collect(),
            ended: ended.filter(|_| !continuous && known.contains(name)),
        };
        (name.clone(), standing)
    };
    of.into_iter().map(standing).collect()
}

fn trouble(id: &LogId, log: &LogRecord, now: Timestamp) -> Option<String> {
    let whose = format!(
        "the log of {}/{} on node {}",
        id.collection, id.shard, id.node
    );
    if let Some((since, why)) = log.unstored.as_ref().or(log.unread.as_ref()) {
        return Some(format!("{whose} is not archived since {since}: {why}"));
    }
    if !log.followed {
        return Some(format!(
            "{whose} is not sent at the moment: look at the holdfast-agent there, and at [wal] of its configuration"
        ));
    }
    let heard = log.heard?;
    (now.since(heard) > SILENT).then(|| {
        format!("the end of {whose} was last seen at {heard}: the agent or the connection is too slow, or something unreadable stands there")
    })
}

/// What of this needs a person.
#[must_use]
pub fn warnings(
    core: &Core,
    standings: &BTreeMap<CollectionName, CollectionStanding>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, standing) in standings {
        let until = standing.recoverable_until.map_or_else(
            || "it could not be brought back at all".to_owned(),
            |until| format!("it could be brought back to {until} only"),
        );
        warnings.extend(
            standing.troubles.iter().map(|trouble| {
                format!("collection {name}: {trouble}; if it were lost now, {until}")
            }),
        );
        if let Some((at, why)) = &standing.ended {
            let next = if core.wal.prompt_base {
                "a base is being made"
            } else {
                "run `holdfast backup create` for it"
            };
            warnings.push(format!(
                "collection {name}: the history of a log ended at {at} ({why}), and {until} until a new base is there: {next}"
            ));
        }
    }
    warnings
}
