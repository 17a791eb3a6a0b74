//! Which recovery point is brought to an instant, and by which entries.

use super::doubt::Doubt;
use super::extend::{Cut, Extension, Index, Together};
use super::history::{BasePoint, History};
use super::run::Ended;
use super::{dropped, operation};
use crate::blocker::Blocker;
use holdfast_types::{
    CollectionName, IncarnationId, NodeId, RecoveryPointId, ShardId, TimelineId, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstantTarget {
    /// Nothing that was written after it, and all that was before.
    Instant(Timestamp),
    /// The end of each archived log.
    Latest,
    /// Right after this operation of the only shard.
    Operation(u64),
    /// The end of the logs of a collection that was dropped since.
    BeforeDrop,
}

/// How operations of an archived log get into the collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplayWay {
    /// They take the place of the captured shard's own log, which Qdrant replays when it loads the shard.
    #[default]
    Splice,
    /// They are sent to the running collection.
    Requests,
}

/// What to bring there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstantRequest {
    /// Where to.
    pub target: InstantTarget,
    /// Collections; empty means all of the recovery point.
    pub collections: Vec<CollectionName>,
    /// From which recovery point; `None` means the newest that will do.
    pub point: Option<RecoveryPointId>,
    /// How.
    pub way: ReplayWay,
}

/// What is restored, and what is replayed on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The recovery point.
    pub point: RecoveryPointId,
    /// What was asked for.
    pub target: InstantTarget,
    /// How it is brought there.
    #[serde(default)]
    pub way: ReplayWay,
    /// Nothing is contained that was written after this instant.
    pub instant: Timestamp,
    /// Everything is contained that was acknowledged before this one.
    pub complete_before: Timestamp,
    /// The collections.
    pub collections: Vec<CollectionLogs>,
    /// What a person should know before saying yes.
    #[serde(skip)]
    pub warnings: Vec<Doubt>,
}

/// A collection and its logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionLogs {
    /// Its name in the recovery point.
    pub name: CollectionName,
    /// All of its shards.
    pub shards: Vec<ShardLog>,
}

/// What is replayed on a captured shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardLog {
    /// Which shard.
    pub shard: ShardId,
    /// Whose log it is.
    pub node: NodeId,
    /// The collection's life; `None` if there is nothing to replay.
    pub incarnation: Option<IncarnationId>,
    /// The run of entries.
    pub timeline: TimelineId,
    /// The first entry.
    pub from: u64,
    /// The entry after the last.
    pub until: u64,
    /// Bytes of their data, about: looks that are taken in part count in full.
    pub bytes: u64,
    /// Everything acknowledged before this instant is contained.
    pub complete_before: Timestamp,
}

impl ShardLog {
    /// Entries to replay.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.until.saturating_sub(self.from)
    }

    pub(super) fn new(extension: &Extension<'_>, cut: Cut, instant: Timestamp) -> Self {
        Self {
            shard: extension.base.shard,
            node: extension.base.node.clone(),
            incarnation: extension.incarnation,
            timeline: extension.timeline,
            from: extension.certain,
            until: cut.until,
            bytes: cut.bytes,
            complete_before: cut.complete_before.min(instant),
        }
    }
}

impl Choice {
    /// The logs of a collection.
    #[must_use]
    pub fn collection(&self, name: &CollectionName) -> Option<&CollectionLogs> {
        self.collections.iter().find(|logs| logs.name == *name)
    }
}

/// Chooses what is brought to the target, or says what is in the way.
///
/// # Errors
/// Why it can't be done; the nearest instants and what to type are in the texts.
pub fn choose(history: &History, request: &InstantRequest) -> Result<Choice, Box<Blocker>> {
    let index = Index::new(history);
    let points = candidates(history, request)?;
    match request.target {
        InstantTarget::Instant(instant) => at(&index, &points, request, instant),
        InstantTarget::Latest => latest(&index, &points, request),
        InstantTarget::Operation(number) => operation::choose(&index, &points, request, number),
        InstantTarget::BeforeDrop => dropped::choose(&index, &points, request),
    }
}

/// Recovery points that hold what is asked for, newest first.
fn candidates<'a>(
    history: &'a History,
    request: &InstantRequest,
) -> Result<Vec<&'a BasePoint>, Box<Blocker>> {
    let named = |point: &&BasePoint| match &request.point {
        Some(id) => point.id == *id,
        None => point.ordinary || !request.collections.is_empty(),
    };
    let points: Vec<&BasePoint> = history.points.iter().filter(named).collect();
    if let (Some(point), []) = (&request.point, points.as_slice()) {
        let point = point.clone();
        return Err(Box::new(Blocker::PointUnknown { point }));
    }
    for name in &request.collections {
        if !points.iter().any(|p| p.collections.contains_key(name)) {
            let known = points.iter().flat_map(|p| p.collections.keys());
            let known: BTreeSet<_> = known.cloned().collect();
            return Err(Box::new(Blocker::CollectionInNoPoint {
                collection: name.clone(),
                known: known.into_iter().collect(),
            }));
        }
    }
    if points.is_empty() {
        return Err(Box::new(Blocker::NoPoint));
    }
    Ok(points)
}

/// What is asked for of a recovery point.
pub(super) fn wanted(point: &BasePoint, request: &InstantRequest) -> Vec<CollectionName> {
    match request.collections.as_slice() {
        [] => point.collections.keys().cloned().collect(),
        named => named.to_vec(),
    }
}

fn at(
    index: &Index<'_>,
    points: &[&BasePoint],
    request: &InstantRequest,
    instant: Timestamp,
) -> Result<Choice, Box<Blocker>> {
    let mut near = Nearest::default();
    for point in points {
        match index.extend_all(point, &wanted(point, request)) {
            Ok(together) if together.contains(instant) => {
                return Ok(choice(index.history, &together, request, instant));
            }
            Ok(together) => near.note(&together, instant),
            Err(whys) => near.unusable(point, request, whys, instant),
        }
    }
    if request.collections.len() > 1 {
        let alone = |name: &&CollectionName| {
            let ways = points.iter().filter_map(|point| {
                let only = std::slice::from_ref(*name);
                index.extend_all(point, only).ok()
            });
            ways.into_iter().any(|together| together.contains(instant))
        };
        if request.collections.iter().all(|name| alone(&name)) {
            return Err(Box::new(Blocker::NoCommonPoint {
                instant,
                collections: request.collections.clone(),
            }));
        }
    }
    Err(Box::new(Blocker::InstantOutOfReach {
        instant,
        earlier: near.earlier,
        later: near.later,
        why: near.why,
    }))
}

/// The instants next to one that can't be reached.
#[derive(Default)]
struct Nearest {
    earlier: Option<Timestamp>,
    later: Option<Timestamp>,
    /// Of the newest recovery point that was captured before it.
    why: Vec<String>,
}

impl Nearest {
    fn note(&mut self, together: &Together<'_>, instant: Timestamp) {
        if together.floor <= together.reach {
            if together.reach < instant {
                self.earlier = self.earlier.max(Some(together.reach));
            }
            if together.floor > instant {
                let later = self.later.unwrap_or(Timestamp::MAX);
                self.later = Some(later.min(together.floor));
            }
        }
        if !self.why.is_empty() || captured(together.point) > instant {
            return;
        }
        for (name, shard) in &together.shards {
            let number = shard.base.shard;
            if shard.reach < instant {
                self.why.push(format!(
                    "the log of shard {number} of {name} is known until {}: {}",
                    shard.reach, shard.ended
                ));
            } else if shard.floor > instant {
                self.why.push(format!(
                    "shard {number} of {name} in {} may contain what was written until {}",
                    together.point.id, shard.floor
                ));
            }
        }
    }

    fn unusable(
        &mut self,
        point: &BasePoint,
        request: &InstantRequest,
        whys: Vec<String>,
        instant: Timestamp,
    ) {
        let mut names = request.collections.iter();
        let holds_all = names.all(|name| point.collections.contains_key(name));
        if self.why.is_empty() && holds_all && captured(point) <= instant {
            self.why = whys;
        }
    }
}

/// When the last shard of a recovery point was captured.
fn captured(point: &BasePoint) -> Timestamp {
    let bases = point.collections.values().flatten();
    let at = bases.map(|base| base.captured_at).max();
    at.unwrap_or(Timestamp::EPOCH)
}

pub(super) fn latest(
    index: &Index<'_>,
    points: &[&BasePoint],
    request: &InstantRequest,
) -> Result<Choice, Box<Blocker>> {
    let mut first_why = Vec::new();
    for point in points {
        match index.extend_all(point, &wanted(point, request)) {
            Ok(together) => {
                let reaches = together.shards.iter().map(|(_, shard)| shard.reach);
                let instant = reaches.max().unwrap_or(together.reach);
                return Ok(choice(index.history, &together, request, instant));
            }
            Err(whys) if first_why.is_empty() => first_why = whys,
            Err(_) => {}
        }
    }
    Err(Box::new(Blocker::NoLog { why: first_why }))
}

fn choice(
    history: &History,
    together: &Together<'_>,
    request: &InstantRequest,
    instant: Timestamp,
) -> Choice {
    let to_the_end = match request.target {
        InstantTarget::Latest | InstantTarget::BeforeDrop => true,
        InstantTarget::Instant(_) | InstantTarget::Operation(_) => false,
    };
    let mut collections: Vec<CollectionLogs> = Vec::new();
    let mut warnings = Vec::new();
    for (name, extension) in &together.shards {
        if to_the_end && extension.ended != Ended::NothingMore {
            warnings.push(Doubt::BreaksOff {
                collection: (*name).clone(),
                shard: extension.base.shard,
                ended: extension.ended.clone(),
            });
        }
        let log = ShardLog::new(extension, extension.at(instant), instant);
        if extension.reach < instant {
            warnings.push(Doubt::Behind {
                collection: (*name).clone(),
                shard: log.shard,
                until: log.complete_before,
            });
        }
        match collections.last_mut().filter(|last| last.name == **name) {
            Some(last) => last.shards.push(log),
            None => collections.push(CollectionLogs {
                name: (*name).clone(),
                shards: vec![log],
            }),
        }
    }
    warnings.extend(left_out(history, together.point, request));
    if request.target == InstantTarget::Latest {
        warnings.extend(newer_point(history, &collections, instant));
    }
    let shards = collections.iter().flat_map(|logs| &logs.shards);
    let complete = shards.map(|log| log.complete_before).min();
    Choice {
        point: together.point.id.clone(),
        target: request.target,
        way: request.way,
        instant,
        complete_before: complete.unwrap_or(instant),
        collections,
        warnings,
    }
}

/// "All" is what one recovery point holds: tells of collections that only others do.
fn left_out(history: &History, chosen: &BasePoint, request: &InstantRequest) -> Option<Doubt> {
    if !request.collections.is_empty() {
        return None;
    }
    let others = history.points.iter().filter(|point| point.ordinary);
    let names = others.flat_map(|point| point.collections.keys());
    let missing: BTreeSet<_> = names
        .filter(|name| !chosen.collections.contains_key(*name))
        .cloned()
        .collect();
    (!missing.is_empty()).then(|| Doubt::LeftOut {
        point: chosen.id.clone(),
        collections: missing.into_iter().collect(),
    })
}

/// A capture can be newer than the newest archived entry.
fn newer_point(
    history: &History,
    collections: &[CollectionLogs],
    instant: Timestamp,
) -> Option<Doubt> {
    let newer = history.points.iter().find(|point| {
        collections.iter().all(|logs| {
            let bases = point.collections.get(&logs.name);
            bases.is_some_and(|bases| bases.iter().all(|base| base.captured_at > instant))
        })
    })?;
    let point = newer.id.clone();
    Some(Doubt::NewerPoint { point })
}
