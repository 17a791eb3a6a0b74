//! What was written to a collection since its newest capture, by the archived logs.

use super::arrival::LogId;
use super::bases::Settings;
use crate::core::Core;
use holdfast_decide::recency::{LogFacts, Written, written_since};
use holdfast_types::{CollectionName, RecoveryPointId, ShardId};
use std::collections::BTreeSet;

/// The newest capture of a collection, and what came after it.
#[derive(Clone, Debug)]
pub struct SinceCapture {
    /// What was written since; `None` where the logs do not tell.
    pub written: Option<Written>,
    /// The settings that were captured, as far as they are known.
    pub settings: Option<Settings>,
    /// The shards that were.
    pub shards: BTreeSet<ShardId>,
}

/// What came after the newest capture of a collection that `counts`; `None` if there is none.
#[must_use]
pub fn since_capture(
    core: &Core,
    name: &CollectionName,
    counts: impl Fn(&RecoveryPointId) -> bool,
) -> Option<SinceCapture> {
    let state = core.logs.lock();
    let (base, settings) = state.bases.newest(name, counts)?;
    let own = state
        .logs
        .iter()
        .filter(|(id, record)| id.collection == *name && !record.dropped);
    let facts = |(id, record): (&LogId, _)| state.facts(id, record);
    let facts: Vec<LogFacts> = own.filter_map(facts).collect();
    Some(SinceCapture {
        written: written_since(base, &facts),
        settings: settings.cloned(),
        shards: base.shards.iter().map(|shard| shard.shard).collect(),
    })
}
