//! Restore to an operation's number, which means something for one shard of one replica only.

use super::choose::{Choice, CollectionLogs, InstantRequest, InstantTarget, ShardLog, wanted};
use super::extend::{Extension, Index};
use super::history::BasePoint;
use crate::blocker::Blocker;
use holdfast_types::{CollectionName, TimelineId, Timestamp};
use std::collections::BTreeMap;

/// A captured shard to which the operation can be replayed.
struct Way<'a> {
    point: &'a BasePoint,
    shard: Extension<'a>,
}

pub(super) fn choose(
    index: &Index<'_>,
    points: &[&BasePoint],
    request: &InstantRequest,
    number: u64,
) -> Result<Choice, Box<Blocker>> {
    let name = only_collection(points, request)?;
    let (mut ways, mut spans, mut whys) = (Vec::new(), Vec::new(), Vec::new());
    for point in points {
        let Some(bases) = point.collections.get(&name) else {
            continue;
        };
        let [base] = bases.as_slice() else {
            return Err(Box::new(Blocker::OperationNeedsOneShard {
                collection: name,
                shards: bases.len(),
            }));
        };
        match index.extend(&name, base) {
            Ok(shard) => {
                let next = base.next.unwrap_or(shard.certain);
                spans.push((next.saturating_sub(1), shard.end.saturating_sub(1)));
                if (next..=shard.end).contains(&number.saturating_add(1)) {
                    ways.push(Way { point, shard });
                }
            }
            Err(why) => whys.push(format!("shard {} in {}: {why}", base.shard, point.id)),
        }
    }
    let mut by_timeline: BTreeMap<TimelineId, Timestamp> = BTreeMap::new();
    for way in &ways {
        by_timeline.insert(way.shard.timeline, instant_of(&way.shard, number));
    }
    if by_timeline.len() > 1 {
        return Err(Box::new(Blocker::OperationAmbiguous {
            operation: number,
            collection: name,
            instants: by_timeline.into_values().collect(),
        }));
    }
    let Some(Way { point, shard }) = ways.first() else {
        return Err(Box::new(Blocker::OperationOutOfReach {
            operation: number,
            collection: name,
            spans,
            why: whys.into_iter().next(),
        }));
    };
    let instant = instant_of(shard, number);
    let log = ShardLog::new(shard, shard.after_operation(number), instant);
    Ok(Choice {
        point: point.id.clone(),
        target: InstantTarget::Operation(number),
        way: request.way,
        instant,
        complete_before: log.complete_before,
        collections: vec![CollectionLogs {
            name,
            shards: vec![log],
        }],
        warnings: Vec::new(),
    })
}

/// When the operation had been written for certain.
fn instant_of(shard: &Extension<'_>, number: u64) -> Timestamp {
    let found = shard.look_of(number).map(|look| look.by);
    found.unwrap_or(shard.floor).max(shard.floor)
}

fn only_collection(
    points: &[&BasePoint],
    request: &InstantRequest,
) -> Result<CollectionName, Box<Blocker>> {
    let named = match points.first() {
        Some(newest) => wanted(newest, request),
        None => request.collections.clone(),
    };
    match <[CollectionName; 1]>::try_from(named) {
        Ok([only]) => Ok(only),
        Err(several) => Err(Box::new(Blocker::OperationNeedsCollection {
            collections: several,
        })),
    }
}
