//! Reads of the archive what a decision needs: recovery points that stay, and the parts of the logs that they go on with.
//!
//! Few parts are in memory at a time ([`at_once`]); what remains of each are the instants of its looks.

use super::known::{KnownPart, base_point};
use super::pieces::at_once;
use crate::catalog::{CatalogError, PointSummary};
use crate::core::Core;
use crate::fault::{Fault, chain};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_decide::instant::{
    ArchivedLog, Base, BasePoint, History, InstantTarget, LogPart, PartView, Present,
};
use holdfast_decide::{NodeView, Observation, ServerSeen, ServerView};
use holdfast_repository::{RepositoryError, StoredPart, WalListing, WalPart, WalSeries};
use holdfast_service::failure::Code;
use holdfast_types::{CollectionName, NodeId, ShardId, TimelineId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Manifests that are read at once.
const POINTS_AT_ONCE: usize = 8;

/// What is asked about.
pub(super) struct Scope<'a> {
    /// Collections; empty means all.
    pub(super) collections: &'a [CollectionName],
    /// Where to; `None` asks for every instant.
    pub(super) target: Option<InstantTarget>,
    /// How far back.
    pub(super) depth: Depth,
}

/// How far back logs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// From the newest so many captures on that may be gone on from.
    Newest(usize),
    /// From the oldest on.
    All,
}

/// The history within a scope, and whether it is all that there is.
pub(super) async fn history(core: &Core, scope: &Scope<'_>) -> Result<(History, bool), Fault> {
    // Before the parts are listed: these then hold everything that is said here.
    let standings = core.logs.ends();
    let present = match scope.target {
        Some(InstantTarget::BeforeDrop) => present(core).await,
        Some(InstantTarget::Instant(_) | InstantTarget::Latest | InstantTarget::Operation(_))
        | None => Present::default(),
    };
    let points = points(core).await?;
    let starts = starts(&points, scope);
    let whole = starts.values().all(|start| start.oldest == start.needed);
    let listed = core.repository.list_wal(&core.namespace).await;
    let listed = listed.map_err(|error| core.repository_failed(&error))?;
    let mut logs = Vec::new();
    for listing in &listed {
        let key = (listing.series.timeline, listing.series.shard);
        let from = starts.get(&key).map(|start| start.needed);
        // Of logs that nothing goes on with, only why they began is of use to people, and whether one of them went on last.
        let needless = match scope.target {
            None | Some(InstantTarget::BeforeDrop) => false,
            Some(
                InstantTarget::Instant(_) | InstantTarget::Latest | InstantTarget::Operation(_),
            ) => true,
        };
        if from.is_none() && needless {
            continue;
        }
        logs.push(log(core, listing, from, scope).await?);
    }
    let history = History {
        points,
        logs,
        standings,
        present,
    };
    Ok((history, whole))
}

/// Which collections are there, by what agents follow, and by what their Qdrants list.
async fn present(core: &Core) -> Present {
    let seen = core.observe().await;
    agreed(&seen, core.logs.present())
}

/// What agents follow, compared with what their Qdrants list.
fn agreed(seen: &Observation, mut present: Present) -> Present {
    // Of a node that hangs or is away nothing is known, whatever its agent has told before.
    let fresh = |view: &NodeView| {
        view.connected && !view.late && matches!(view.server, ServerView::Seen(_))
    };
    let is_fresh = |node: &NodeId| seen.nodes.get(node).is_some_and(fresh);
    present.nodes.retain(is_fresh);
    let servers = seen
        .nodes
        .iter()
        .filter_map(|(node, view)| match &view.server {
            ServerView::Seen(server) => Some((node, server)),
            ServerView::Unknown | ServerView::Failing { .. } => None,
        });
    let servers: Vec<(&NodeId, &ServerSeen)> = servers.collect();
    for (node, server) in &servers {
        let (here, away): (Vec<_>, Vec<_>) = server
            .collections
            .iter()
            .partition(|(_, collection)| !collection.shards.is_empty());
        let listed: BTreeSet<_> = here
            .into_iter()
            .map(|(name, _)| (name.clone(), (*node).clone()))
            .collect();
        let followed: BTreeSet<_> = present
            .lives
            .values()
            .filter(|(_, at)| at == *node)
            .cloned()
            .collect();
        let disputed = listed.symmetric_difference(&followed).cloned();
        present.disputed.extend(disputed);
        for (name, collection) in away {
            let Some(replica) = collection.remote.first() else {
                continue;
            };
            let holds =
                |(_, server): &&(&NodeId, &ServerSeen)| server.peer_id == Some(replica.peer);
            let holder = servers.iter().find(holds).map_or_else(
                || format!("peer {}, of which no agent is known", replica.peer),
                |(node, _)| format!("node {node}"),
            );
            present.remote.insert(name.clone(), holder);
        }
    }
    present
}

/// Names of all collections that recovery points hold.
pub(super) async fn collections(core: &Core) -> Result<BTreeSet<CollectionName>, Fault> {
    let points = points(core).await?;
    let names = points.into_iter().flat_map(|p| p.collections.into_keys());
    Ok(names.collect())
}

/// Recovery points that stay and can be read, newest first.
pub(super) async fn points(core: &Core) -> Result<Vec<BasePoint>, Fault> {
    let listed = core.catalog.points().await;
    let mut listed =
        listed.map_err(|error: CatalogError| Fault::from_error(Code::Internal, &error))?;
    let marks = core.retention.marks();
    listed.retain(|point| !marks.tombstones.contains_key(&point.id));
    let ids: BTreeSet<_> = listed.iter().map(|point| point.id.clone()).collect();
    core.known.keep_points(|id| ids.contains(id));
    let read = stream::iter(listed).map(|summary| async move { point(core, &summary).await });
    let read: Vec<Option<Arc<BasePoint>>> = read.buffered(POINTS_AT_ONCE).try_collect().await?;
    let mut points: Vec<BasePoint> = read.into_iter().flatten().map(|p| (*p).clone()).collect();
    points.sort_by(|a, b| b.id.cmp(&a.id));
    Ok(points)
}

async fn point(core: &Core, summary: &PointSummary) -> Result<Option<Arc<BasePoint>>, Fault> {
    if let Some(known) = core.known.point(&summary.id) {
        return Ok(Some(known));
    }
    let manifest = match core.repository.read_point(&summary.id).await {
        Ok(manifest) if manifest.namespace == core.namespace => manifest,
        Ok(_) | Err(RepositoryError::PointNotFound { .. }) => return Ok(None),
        Err(error @ (RepositoryError::Damaged { .. } | RepositoryError::NewerFormat { .. })) => {
            tracing::warn!(point = %summary.id, reason = chain(&error), "a recovery point is passed over");
            return Ok(None);
        }
        Err(error) => return Err(core.repository_failed(&error)),
    };
    let ordinary = summary.safety_for.is_none() && summary.imported.is_none();
    let point = Arc::new(base_point(&manifest, ordinary));
    core.known.remember_point(&point);
    Ok(Some(point))
}

/// Where reading of a log begins.
struct Start {
    /// Where the captures that are tried first stand.
    needed: u64,
    /// Where the oldest one does.
    oldest: u64,
}

/// For each log that captures within the scope belong to, where it has to be read from.
fn starts(points: &[BasePoint], scope: &Scope<'_>) -> HashMap<(TimelineId, ShardId), Start> {
    let in_scope =
        |name: &CollectionName| scope.collections.is_empty() || scope.collections.contains(name);
    let not_later = |base: &Base| match scope.target {
        Some(InstantTarget::Instant(instant)) => base.captured_at <= instant,
        Some(InstantTarget::Latest | InstantTarget::Operation(_) | InstantTarget::BeforeDrop)
        | None => true,
    };
    // By collection and shard: newest first, as the points are.
    let mut taken: BTreeMap<(&CollectionName, ShardId), usize> = BTreeMap::new();
    let mut starts: HashMap<(TimelineId, ShardId), Start> = HashMap::new();
    let bases = points.iter().flat_map(|point| {
        let named = point.collections.iter().filter(|(name, _)| in_scope(name));
        named.flat_map(|(name, bases)| bases.iter().map(move |base| (name, base)))
    });
    for (name, base) in bases.filter(|(_, base)| not_later(base)) {
        let nth = taken.entry((name, base.shard)).or_default();
        *nth += 1;
        let (Some(timeline), Some(certain)) = (base.timeline, base.certain) else {
            continue;
        };
        let first_tries = match scope.depth {
            Depth::Newest(few) => *nth <= few,
            Depth::All => true,
        };
        let start = starts.entry((timeline, base.shard)).or_insert(Start {
            needed: u64::MAX,
            oldest: u64::MAX,
        });
        start.oldest = start.oldest.min(certain);
        if first_tries {
            start.needed = start.needed.min(certain);
        }
    }
    starts
}

/// A log, from the part before the one with the entry `from` on: that one says when what is contained was written.
pub(super) async fn log(
    core: &Core,
    listing: &WalListing,
    from: Option<u64>,
    scope: &Scope<'_>,
) -> Result<ArchivedLog, Fault> {
    let series = &listing.series;
    let mut needed: BTreeMap<u64, StoredPart> = BTreeMap::new();
    if let Some(from) = from {
        let below = from.saturating_sub(1);
        let begin = listing.parts.range(..=below).next_back();
        let begin = begin.map_or(from, |(first, _)| *first);
        needed.extend(
            listing
                .parts
                .range(begin..)
                .map(|(first, part)| (*first, *part)),
        );
    }
    let ends = match (scope.target, from) {
        (None, _) => listing.parts.first_key_value(),
        (Some(InstantTarget::BeforeDrop), None) => listing.parts.last_key_value(),
        (Some(_), _) => None,
    };
    needed.extend(ends.map(|(first, part)| (*first, *part)));
    let mut log = ArchivedLog {
        timeline: series.timeline,
        incarnation: series.incarnation,
        shard: series.shard,
        owner: None,
        because: None,
        parts: Vec::new(),
    };
    let at_once = at_once(needed.values());
    let read = stream::iter(needed).map(move |(first, stored)| async move {
        let part = part(core, series, stored.part).await;
        (first, part)
    });
    let mut read = Box::pin(read.buffered(at_once));
    while let Some((first, part)) = read.next().await {
        let view = match part? {
            Read::Part(known) => {
                log.because = log.because.or(known.because);
                let owner = log.owner.get_or_insert_with(|| known.owner.clone());
                if *owner == known.owner {
                    PartView::Read(known.part)
                } else {
                    let why = "it is another replica's".to_owned();
                    PartView::Unreadable { first, why }
                }
            }
            Read::Damaged(why) => PartView::Unreadable { first, why },
            Read::Gone => continue,
        };
        let enough = is_later(&view, scope.target);
        log.parts.push(view);
        if enough {
            break;
        }
    }
    Ok(log)
}

/// Whether nothing behind this part matters: its last entries were written after the instant for certain.
fn is_later(part: &PartView, target: Option<InstantTarget>) -> bool {
    let last = |part: &LogPart| part.looks.last().map(|look| look.after);
    match (part, target) {
        (PartView::Read(part), Some(InstantTarget::Instant(instant))) => {
            last(part).is_some_and(|after: Timestamp| after > instant)
        }
        (PartView::Read(part), Some(InstantTarget::Operation(number))) => part.first > number,
        (PartView::Read(_), Some(InstantTarget::Latest | InstantTarget::BeforeDrop) | None)
        | (PartView::Unreadable { .. }, _) => false,
    }
}

/// What came of reading a part.
pub(super) enum Read {
    Part(KnownPart),
    Damaged(String),
    Gone,
}

pub(super) async fn part(core: &Core, series: &WalSeries, name: WalPart) -> Result<Read, Fault> {
    if let Some(known) = core.known.part(series, name) {
        return Ok(Read::Part(known));
    }
    match core.repository.read_wal(series, name).await {
        Ok(Some(object)) => {
            let known = KnownPart::from(&object);
            core.known.remember(series, name, &known);
            Ok(Read::Part(known))
        }
        Ok(None) => Ok(Read::Gone),
        Err(error @ (RepositoryError::Damaged { .. } | RepositoryError::NewerFormat { .. })) => {
            Ok(Read::Damaged(chain(&error)))
        }
        Err(error) => Err(core.repository_failed(&error)),
    }
}

#[cfg(test)]
mod tests;
