//! Reads a choice again before anything is done with it: every entry from the captured shard to the instant must be there, and
//! nothing that is written after it.
//!
//! Deliberately shares no code with [`super::choose`]: it walks over the parts look by look.

use super::choose::{Choice, InstantRequest, InstantTarget, ShardLog};
use super::history::{ArchivedLog, Base, History, LogPart, Look, PartView};
use crate::violation::Violation;
use doubts::check_doubts;
use holdfast_types::{CollectionName, IncarnationId, Timestamp};
use std::collections::BTreeSet;

mod doubts;

/// Everything wrong with `choice`; empty if it leads where was asked for.
#[must_use]
pub fn check_choice(
    choice: &Choice,
    request: &InstantRequest,
    history: &History,
) -> Vec<Violation> {
    let Some(point) = history.points.iter().find(|point| point.id == choice.point) else {
        return vec![Violation::Instant("its recovery point is not there")];
    };
    let mut wrong = Vec::new();
    let other_point = request.point.as_ref().is_some_and(|id| *id != point.id);
    if choice.target != request.target || choice.way != request.way || other_point {
        wrong.push(Violation::Instant("something else was asked for"));
    }
    match request.target {
        InstantTarget::Instant(asked) if asked != choice.instant => {
            wrong.push(Violation::Instant("another instant was asked for"));
        }
        InstantTarget::Instant(_)
        | InstantTarget::Latest
        | InstantTarget::Operation(_)
        | InstantTarget::BeforeDrop => {}
    }
    let names: Vec<&CollectionName> = choice.collections.iter().map(|c| &c.name).collect();
    let asked: Vec<&CollectionName> = match request.collections.as_slice() {
        [] if !matches!(choice.target, InstantTarget::Operation(_)) => {
            point.collections.keys().collect()
        }
        [] => names.clone(),
        named => named.iter().collect(),
    };
    if names.len() != asked.len() || asked.iter().any(|name| !names.contains(name)) {
        wrong.push(Violation::Instant("other collections were asked for"));
    }
    for logs in &choice.collections {
        let bases = point
            .collections
            .get(&logs.name)
            .map_or(&[][..], Vec::as_slice);
        if bases.len() != logs.shards.len() {
            wrong.push(Violation::Instant("a collection has other shards"));
        }
        for log in &logs.shards {
            let base = bases.iter().find(|base| base.shard == log.shard);
            let found = base.map_or(Some("it is not in the recovery point"), |base| {
                check_shard(choice, log, base, &logs.name, history)
            });
            wrong.extend(found.map(|what| Violation::Replay {
                collection: logs.name.clone(),
                shard: log.shard,
                what,
            }));
            if log.complete_before < choice.complete_before {
                wrong.push(Violation::Instant("one shard is less complete than all"));
            }
        }
    }
    if choice.target == InstantTarget::BeforeDrop {
        let found = check_drop(choice, request, history);
        wrong.extend(found.map(Violation::Instant));
    }
    let untold = check_doubts(choice, request, history).into_iter();
    wrong.extend(untold.map(Violation::Instant));
    wrong
}

/// What is wrong with the belief that the collection was dropped, and no later one of its name.
fn check_drop(
    choice: &Choice,
    request: &InstantRequest,
    history: &History,
) -> Option<&'static str> {
    let [logs] = choice.collections.as_slice() else {
        return Some("several collections were not dropped together");
    };
    let present = &history.present;
    let lives: BTreeSet<IncarnationId> = logs
        .shards
        .iter()
        .filter_map(|log| Some(owned(history, log, &logs.name)?.incarnation))
        .collect();
    for log in &logs.shards {
        if !present.nodes.contains(&log.node) {
            return Some("nobody says that the collection is gone");
        }
        if present
            .disputed
            .contains(&(logs.name.clone(), log.node.clone()))
        {
            return Some("the collection may be there");
        }
    }
    if lives.iter().any(|life| present.arriving.contains(life)) {
        return Some("the end of a log is not there yet");
    }
    let newer = history
        .points
        .iter()
        .filter(|point| point.id > choice.point);
    for point in newer.filter(|_| request.point.is_none()) {
        let Some(bases) = point.collections.get(&logs.name) else {
            continue;
        };
        let known = bases.iter().any(|base| {
            let followed = |timeline| present.timelines.contains(&(timeline, base.shard));
            let of =
                |log: &&ArchivedLog| Some(log.timeline) == base.timeline && log.shard == base.shard;
            let life = history.logs.iter().find(of).map(|log| log.incarnation);
            base.timeline.is_some_and(followed)
                || life
                    .is_some_and(|life| lives.contains(&life) || present.lives.contains_key(&life))
        });
        if !known {
            return Some("a later one may have been dropped");
        }
    }
    None
}

/// The archived log of which a choice speaks.
fn owned<'a>(
    history: &'a History,
    log: &ShardLog,
    collection: &CollectionName,
) -> Option<&'a ArchivedLog> {
    history.logs.iter().find(|archived| {
        let own = archived.timeline == log.timeline && archived.shard == log.shard;
        let owner = archived.owner.as_ref();
        own && owner.is_some_and(|(name, node)| name == collection && *node == log.node)
    })
}

fn check_shard(
    choice: &Choice,
    log: &ShardLog,
    base: &Base,
    collection: &CollectionName,
    history: &History,
) -> Option<&'static str> {
    let (instant, by_time) = (
        choice.instant,
        !matches!(choice.target, InstantTarget::Operation(_)),
    );
    if base.timeline != Some(log.timeline) || base.node != log.node {
        return Some("the log is not its own");
    }
    if base.certain != Some(log.from) || log.until < log.from {
        return Some("replay does not begin where its certain content ends");
    }
    if base.next.is_none_or(|next| next > log.until) {
        return Some("it may contain more than what is replayed");
    }
    if by_time && base.captured_at > instant {
        return Some("it was captured later");
    }
    let archived = owned(history, log, collection);
    let incarnation = archived.map(|archived| archived.incarnation);
    let is_there = incarnation.is_some_and(|life| history.present.lives.contains_key(&life));
    if choice.target == InstantTarget::BeforeDrop && is_there {
        return Some("the collection is there");
    }
    if log.from < log.until && (log.incarnation.is_none() || log.incarnation != incarnation) {
        return Some("its log is not archived");
    }
    let mut newest = Timestamp::EPOCH;
    let mut last: Option<&LogPart> = None;
    let mut index = log.from;
    while index < log.until {
        let Some((part, look)) = archived.and_then(|archived| entry(archived, index)) else {
            return Some("an operation is missing");
        };
        if last.is_some_and(|last| last.first != part.first && part.before != Some(last.end)) {
            return Some("an operation does not follow the one before it");
        }
        (newest, last, index) = (newest.max(look.by), Some(part), look.next);
    }
    if by_time && newest > instant {
        return Some("an operation may have been written later");
    }
    let claimed = log.complete_before;
    if claimed > instant || claimed > evidence(history, archived, log, base) {
        return Some("nothing says that it is that complete");
    }
    let next = archived.and_then(|archived| entry(archived, log.until));
    let next = next.filter(|(part, _)| {
        last.is_none_or(|last| last.first == part.first || part.before == Some(last.end))
    });
    match choice.target {
        InstantTarget::Operation(number) => {
            (log.until != number.saturating_add(1)).then_some("it is another operation")
        }
        InstantTarget::Instant(_) | InstantTarget::Latest | InstantTarget::BeforeDrop => {
            let stops_early = next.is_some_and(|(_, look)| newest.max(look.by) <= instant);
            stops_early.then_some("an operation of before the instant is left out")
        }
    }
}

/// The part that holds an operation, and the look that found it.
fn entry(archived: &ArchivedLog, index: u64) -> Option<(&LogPart, &Look)> {
    let begun = archived.parts.partition_point(|part| part.first() <= index);
    let PartView::Read(part) = archived.parts[..begun].last()? else {
        return None;
    };
    let begun = part.looks.partition_point(|look| look.first <= index);
    let look = part.looks[..begun].last()?;
    (index < look.next).then_some((part.as_ref(), look))
}

/// The newest instant before which nothing was written from `until` on, by all that is known.
fn evidence(
    history: &History,
    archived: Option<&ArchivedLog>,
    log: &ShardLog,
    base: &Base,
) -> Timestamp {
    let mut newest = base.captured_at;
    for part in archived.iter().flat_map(|archived| &archived.parts) {
        if let PartView::Read(part) = part {
            let looks = part.looks.iter().filter(|look| look.first <= log.until);
            newest = looks.fold(newest, |newest, look| newest.max(look.after));
        }
    }
    for other in history
        .points
        .iter()
        .flat_map(|point| point.collections.values().flatten())
    {
        let same = other.timeline == Some(log.timeline) && other.shard == log.shard;
        if same && other.next.is_some_and(|next| next <= log.until) {
            newest = newest.max(other.captured_at);
        }
    }
    for said in &history.standings {
        if said.timeline == log.timeline && said.shard == log.shard && said.next <= log.until {
            newest = newest.max(said.at);
        }
    }
    newest
}
