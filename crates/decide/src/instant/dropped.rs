//! Restore to just before a collection was dropped: to the end of the newest of its lives that is over.
//!
//! Agents give each folder of a collection that they find an id of its own, its life, and read the log of one that is dropped to its end. A life
//! is over if the agent of its node has told of every log that is there, and this one's is none of them. What is not known for certain is refused:
//! a collection that is there, or an earlier life than the one that was dropped, must never come back in its place.

use super::choose::{Choice, InstantRequest, latest};
use super::doubt::Doubt;
use super::extend::Index;
use super::history::{ArchivedLog, Base, BasePoint, History, PartView};
use crate::blocker::Blocker;
use holdfast_types::{CollectionName, IncarnationId, NodeId};
use std::collections::BTreeSet;

pub(super) fn choose(
    index: &Index<'_>,
    candidates: &[&BasePoint],
    request: &InstantRequest,
) -> Result<Choice, Box<Blocker>> {
    let [name] = request.collections.as_slice() else {
        let collections = request.collections.clone();
        return Err(Box::new(Blocker::DropNeedsCollection { collections }));
    };
    let history = index.history;
    let over = newest_over(history, candidates, name)?;
    if !over.is_disjoint(&history.present.arriving) {
        let collection = name.clone();
        return Err(Box::new(Blocker::StillArriving { collection }));
    }
    let same = |point: &&&BasePoint| {
        let lives = lives(history, point, name);
        lives.is_some_and(|lives| !lives.is_disjoint(&over))
    };
    let points: Vec<&BasePoint> = candidates.iter().filter(same).copied().collect();
    let mut choice = latest(index, &points, request)?;
    let present = &history.present;
    if present.lives.values().any(|(there, _)| there == name) {
        let collection = name.clone();
        choice.warnings.push(Doubt::Returned { collection });
    }
    let chosen = points.iter().find(|point| point.id == choice.point);
    let bases = chosen.and_then(|point| point.collections.get(name));
    let bases = bases.map_or(&[][..], Vec::as_slice);
    let lives = bases.iter().filter_map(|base| life(history, base));
    let over: BTreeSet<IncarnationId> = over.into_iter().chain(lives).collect();
    choice.warnings.extend(went_on(history, &choice, &over));
    let is_of_it = |point: &&&BasePoint| {
        let mut bases = point.collections.get(name).into_iter().flatten();
        bases.any(|base| life(history, base).is_some_and(|life| over.contains(&life)))
    };
    let mut newer = candidates.iter().filter(|point| point.id > choice.point);
    if let Some(newest) = newer.find(is_of_it) {
        choice.warnings.push(Doubt::PassedOver {
            point: newest.id.clone(),
            collection: name.clone(),
        });
    }
    let is_whole = |base: &Base| {
        life(history, base).is_some_and(|life| present.whole.contains(&(life, base.shard)))
    };
    if !bases.iter().all(is_whole) {
        let complete_before = choice.complete_before;
        choice.warnings.push(Doubt::EndUnseen { complete_before });
    }
    Ok(choice)
}

/// Logs of the same lives that were written to later than those that are replayed: no recovery point goes on with them.
fn went_on(history: &History, choice: &Choice, over: &BTreeSet<IncarnationId>) -> Vec<Doubt> {
    let chosen: BTreeSet<_> = choice
        .collections
        .iter()
        .flat_map(|logs| &logs.shards)
        .map(|log| (log.timeline, log.shard))
        .collect();
    let others = history.logs.iter().filter(|log| {
        over.contains(&log.incarnation) && !chosen.contains(&(log.timeline, log.shard))
    });
    let told = |log: &ArchivedLog| {
        let until = match log.parts.last()? {
            PartView::Read(part) => Ok(part
                .looks
                .last()
                .filter(|look| look.by > choice.instant)?
                .by),
            PartView::Unreadable { why, .. } => Err(why.clone()),
        };
        let shard = log.shard;
        Some(Doubt::WentOn { shard, until })
    };
    others.filter_map(told).collect()
}

/// The lives of the newest recovery point of the name whose collection is not there any more.
fn newest_over(
    history: &History,
    points: &[&BasePoint],
    name: &CollectionName,
) -> Result<BTreeSet<IncarnationId>, Box<Blocker>> {
    let present = &history.present;
    let collection = name.clone();
    for point in points {
        let Some(bases) = point.collections.get(name) else {
            continue;
        };
        // A log whose last entries are not stored yet is followed for as long, though its collection is gone.
        let nodes = || bases.iter().map(|base| &base.node);
        let disputed = |node: &&NodeId| {
            let whose = (name.clone(), (*node).clone());
            present.disputed.contains(&whose)
        };
        if let Some(node) = nodes().find(disputed) {
            let node = node.clone();
            return Err(Box::new(Blocker::PresenceUnknown { collection, node }));
        }
        if bases.iter().any(|base| is_there(history, base)) {
            continue;
        }
        if let Some(node) = nodes().find(|node| !present.nodes.contains(*node)) {
            let node = node.clone();
            return Err(Box::new(Blocker::PresenceUnknown { collection, node }));
        }
        let Some(lives) = lives(history, point, name) else {
            let point = point.id.clone();
            return Err(Box::new(Blocker::LifeUnknown { collection, point }));
        };
        return match elsewhere(history, bases, name) {
            Some(holder) => Err(Box::new(Blocker::PerhapsMoved { collection, holder })),
            None => Ok(lives),
        };
    }
    Err(Box::new(Blocker::NotDropped { collection }))
}

/// Whether the agents follow the log that goes on from a captured shard, or another one of that life.
fn is_there(history: &History, base: &Base) -> bool {
    let present = &history.present;
    let followed = |timeline| present.timelines.contains(&(timeline, base.shard));
    base.timeline.is_some_and(followed)
        || life(history, base).is_some_and(|life| present.lives.contains_key(&life))
}

/// Who has a collection of the name, if none of those nodes has it of which shards were captured.
fn elsewhere(history: &History, bases: &[Base], name: &CollectionName) -> Option<String> {
    let present = &history.present;
    let followed = present.lives.values();
    let having: BTreeSet<&NodeId> = followed
        .chain(&present.disputed)
        .filter(|(there, _)| there == name)
        .map(|(_, node)| node)
        .collect();
    if bases.iter().any(|base| having.contains(&base.node)) {
        return None;
    }
    let known = having.first().map(|node| format!("node {node}"));
    known.or_else(|| present.remote.get(name).cloned())
}

/// The lives of a collection with which a recovery point goes on; `None` if that is not known of every shard.
fn lives(
    history: &History,
    point: &BasePoint,
    name: &CollectionName,
) -> Option<BTreeSet<IncarnationId>> {
    let bases = point.collections.get(name)?;
    bases.iter().map(|base| life(history, base)).collect()
}

fn life(history: &History, base: &Base) -> Option<IncarnationId> {
    let mut logs = history.logs.iter();
    let log = logs.find(|log| Some(log.timeline) == base.timeline && log.shard == base.shard)?;
    Some(log.incarnation)
}

#[cfg(test)]
mod tests;
