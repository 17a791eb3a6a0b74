//! Whether a shard was empty before operation 0 of a log.
//!
//! A replica that is moved, or a collection that is made anew, begins with operation 0 as well, whatever had been written before. So operation 0
//! is the first one of all only if nothing speaks of an earlier history: no capture, no log that begins later within, no log that can't be
//! read, and no replica whose log is not archived.

use super::Captured;
use super::known::Known;
use holdfast_types::{NodeId, RecoveryPointId, TimelineId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What speaks of an earlier history of a shard.
#[derive(Default)]
pub(super) struct Before {
    captures: Vec<(Timestamp, Option<TimelineId>, RecoveryPointId)>,
    /// With which operation the earliest known log of each node begins.
    begins: BTreeMap<NodeId, u64>,
    /// Replicas that are listed and of which no log is known.
    strangers: Vec<String>,
}

impl Before {
    pub(super) fn new(
        known: &[Known<'_>],
        captures: &[Captured<'_>],
        listed: Option<&BTreeSet<Option<NodeId>>>,
    ) -> Self {
        let mut earliest: BTreeMap<&NodeId, (Timestamp, u64)> = BTreeMap::new();
        for known in known {
            let found = (known.since, known.first);
            let earliest = earliest.entry(known.node).or_insert(found);
            *earliest = found.min(*earliest);
        }
        let written = captures.iter().filter(|(_, base)| base.next != Some(0));
        let listed = listed.into_iter().flatten();
        let strangers = listed.filter_map(|node| match node {
            Some(node) if earliest.contains_key(node) => None,
            Some(node) => Some(format!(
                "the log of its replica on node {node} is not archived"
            )),
            None => Some("it has a replica on a node without an agent".to_owned()),
        });
        Self {
            captures: written
                .map(|(id, base)| (base.captured_at, base.timeline, (*id).clone()))
                .collect(),
            strangers: strangers.collect(),
            begins: earliest
                .into_iter()
                .map(|(node, (_, first))| (node.clone(), first))
                .collect(),
        }
    }

    /// Why something may have been written before a log that begins with operation 0, if anything says so.
    pub(super) fn doubt(&self, log: &Known<'_>, unreadable: &[String]) -> Option<String> {
        let is_earlier = |(at, timeline, _): &&(Timestamp, Option<TimelineId>, RecoveryPointId)| {
            *at <= log.since && *timeline != Some(log.timeline)
        };
        if let Some((at, _, id)) = self.captures.iter().rfind(is_earlier) {
            return Some(format!(
                "recovery point {id} holds it as of {at}, of another log"
            ));
        }
        let is_other = |(node, first): &(&NodeId, &u64)| *node != log.node && **first != 0;
        if let Some((node, first)) = self.begins.iter().find(is_other) {
            return Some(format!(
                "what is archived of node {node} begins with operation {first}"
            ));
        }
        let stranger = self.strangers.first();
        stranger.or(unreadable.first()).cloned()
    }
}
