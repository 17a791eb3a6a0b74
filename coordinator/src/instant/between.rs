//! Reads of the archive what was written to a collection between two instants: of each of its logs the parts in question, found by bisection.
//!
//! That is right because the instants of a timeline never go back: an agent that comes back to one stamps no earlier than its last durable entry.

use super::read::{Depth, Read, Scope, log, part, points};
use crate::core::Core;
use crate::fault::Fault;
use holdfast_decide::instant::{ArchivedLog, History, InstantTarget, Listed, PartView, Present};
use holdfast_decide::{Observation, ServerSeen, ServerView};
use holdfast_repository::{StoredPart, WalListing};
use holdfast_types::{CollectionName, NodeId, Timestamp};

/// The logs of one collection as far as they matter to the time between two instants.
pub(super) async fn history(
    core: &Core,
    collection: &CollectionName,
    from: Timestamp,
    to: Timestamp,
) -> Result<History, Fault> {
    // Before the parts are listed: these then hold everything that is said here.
    let standings = core.logs.ends();
    let points = points(core).await?;
    let listed = core.repository.list_wal(&core.namespace).await;
    let listed = listed.map_err(|error| core.repository_failed(&error))?;
    let scope = Scope {
        collections: std::slice::from_ref(collection),
        target: Some(InstantTarget::Instant(to)),
        depth: Depth::All,
    };
    let mut logs = Vec::new();
    for listing in &listed {
        match whose(core, listing).await? {
            Whose::Of((owner, _)) if owner != *collection => {}
            Whose::Of(owner) => {
                let begin = begin(core, listing, from).await?;
                let mut log = log(core, listing, begin, &scope).await?;
                // Also if the parts in question can't be read.
                log.owner.get_or_insert(owner);
                logs.push(log);
            }
            Whose::Unknown(why) => logs.extend(unreadable(listing, &why)),
        }
    }
    Ok(History {
        points,
        logs,
        standings,
        present: Present::default(),
    })
}

/// The replicas of a collection that nodes list now, or listed when they were last heard of.
pub(super) async fn listed(core: &Core, collection: &CollectionName) -> Listed {
    replicas(&core.observe().await, collection)
}

pub(super) fn replicas(seen: &Observation, collection: &CollectionName) -> Listed {
    let servers = seen.nodes.iter().filter_map(|(node, view)| {
        let server = match &view.server {
            ServerView::Seen(server) => Some(server),
            ServerView::Unknown | ServerView::Failing { .. } => view.before.as_ref(),
        };
        server.map(|server| (node, server))
    });
    let servers: Vec<(&NodeId, &ServerSeen)> = servers.collect();
    let node_of = |peer: u64| {
        let found = servers
            .iter()
            .find(|(_, server)| server.peer_id == Some(peer));
        found.map(|(node, _)| (*node).clone())
    };
    let mut listed = Listed::new();
    for (node, server) in &servers {
        let Some(view) = server.collections.get(collection) else {
            continue;
        };
        for shard in view.shards.keys() {
            let replicas = listed.entry(*shard).or_default();
            replicas.insert(Some((*node).clone()));
        }
        for remote in &view.remote {
            let replicas = listed.entry(remote.shard).or_default();
            replicas.insert(node_of(remote.peer));
        }
    }
    listed
}

/// Whose log it is.
enum Whose {
    Of((CollectionName, NodeId)),
    /// None of its parts that were tried can be read, and why.
    Unknown(String),
}

/// The first part says whose log it is, or if it is damaged the last one.
async fn whose(core: &Core, listing: &WalListing) -> Result<Whose, Fault> {
    let mut why = "its parts are gone".to_owned();
    let ends = [
        listing.parts.first_key_value(),
        listing.parts.last_key_value(),
    ];
    for (_, stored) in ends.into_iter().flatten() {
        match part(core, &listing.series, stored.part).await? {
            Read::Part(known) => return Ok(Whose::Of(known.owner)),
            Read::Damaged(damage) => why = damage,
            Read::Gone => {}
        }
    }
    Ok(Whose::Unknown(why))
}

/// A log of which nothing is known but that it is there.
fn unreadable(listing: &WalListing, why: &str) -> Option<ArchivedLog> {
    let (first, _) = listing.parts.first_key_value()?;
    Some(ArchivedLog {
        timeline: listing.series.timeline,
        incarnation: listing.series.incarnation,
        shard: listing.series.shard,
        owner: None,
        because: None,
        parts: vec![PartView::Unreadable {
            first: *first,
            why: why.to_owned(),
        }],
    })
}

/// The first entry of the last part that had been seen by an instant; of a log that began later, its first.
async fn begin(core: &Core, listing: &WalListing, from: Timestamp) -> Result<Option<u64>, Fault> {
    let parts: Vec<(&u64, &StoredPart)> = listing.parts.iter().collect();
    // Every part below `low` had been seen.
    let (mut low, mut high) = (0, parts.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let seen = match part(core, &listing.series, parts[middle].1.part).await? {
            Read::Part(known) => known.part.looks.last().is_some_and(|look| look.by <= from),
            // Nobody knows: more is read than needed.
            Read::Damaged(_) | Read::Gone => false,
        };
        if seen {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(parts.get(low.saturating_sub(1)).map(|(first, _)| **first))
}
