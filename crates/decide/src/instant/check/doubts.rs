//! Whether a person is told of everything that the history gives reason to doubt.

use super::owned;
use crate::instant::choose::{Choice, CollectionLogs, InstantRequest, InstantTarget, ShardLog};
use crate::instant::doubt::Doubt;
use crate::instant::history::{BasePoint, History, PartView};
use holdfast_types::{CollectionName, IncarnationId, ShardId, Timestamp};
use std::collections::BTreeSet;

/// What must be told.
enum Due<'a> {
    LeftOut,
    BreaksOff(&'a CollectionName, ShardId),
    Behind(&'a CollectionName, ShardId),
    NewerPoint,
    Returned,
    WentOn(ShardId),
    PassedOver,
    EndUnseen,
}

/// What nobody is told of.
pub(super) fn check_doubts(
    choice: &Choice,
    request: &InstantRequest,
    history: &History,
) -> Vec<&'static str> {
    let mut due = Vec::new();
    if is_left_out(choice, request, history) {
        due.push(Due::LeftOut);
    }
    match choice.target {
        InstantTarget::Instant(_) | InstantTarget::Operation(_) => {}
        InstantTarget::Latest => {
            due.extend(of_ends(choice, history));
            due.extend(of_latest(choice, history));
        }
        InstantTarget::BeforeDrop => {
            due.extend(of_ends(choice, history));
            let dropped = choice.collections.iter();
            due.extend(dropped.flat_map(|logs| of_drop(choice, logs, request, history)));
        }
    }
    due.retain(|due| !choice.warnings.iter().any(|told| due.is(told)));
    due.iter().map(Due::untold).collect()
}

impl Due<'_> {
    fn is(&self, told: &Doubt) -> bool {
        match (self, told) {
            (Self::LeftOut, Doubt::LeftOut { .. })
            | (Self::NewerPoint, Doubt::NewerPoint { .. })
            | (Self::Returned, Doubt::Returned { .. })
            | (Self::PassedOver, Doubt::PassedOver { .. })
            | (Self::EndUnseen, Doubt::EndUnseen { .. }) => true,
            (
                Self::BreaksOff(whose, which),
                Doubt::BreaksOff {
                    collection, shard, ..
                },
            )
            | (
                Self::Behind(whose, which),
                Doubt::Behind {
                    collection, shard, ..
                },
            ) => *whose == collection && which == shard,
            (Self::WentOn(which), Doubt::WentOn { shard, .. }) => which == shard,
            _ => false,
        }
    }

    fn untold(&self) -> &'static str {
        match self {
            Self::LeftOut => "nobody is told that collections are left out",
            Self::BreaksOff(..) => "nobody is told that a log breaks off",
            Self::Behind(..) => "nobody is told that a log is behind the others",
            Self::NewerPoint => "nobody is told of a newer recovery point",
            Self::Returned => "nobody is told that a collection of the name is there",
            Self::WentOn(_) => "nobody is told that another log went on",
            Self::PassedOver => "nobody is told that a newer recovery point is passed over",
            Self::EndUnseen => "nobody is told that the end of a log was not seen",
        }
    }
}

/// Of all, other recovery points hold more.
fn is_left_out(choice: &Choice, request: &InstantRequest, history: &History) -> bool {
    let is_contained = |name: &CollectionName| choice.collection(name).is_some();
    let ordinary = history.points.iter().filter(|point| point.ordinary);
    let mut names = ordinary.flat_map(|point| point.collections.keys());
    // An operation is of one collection, which is the only one.
    let of_all = !matches!(choice.target, InstantTarget::Operation(_));
    of_all && request.collections.is_empty() && !names.all(is_contained)
}

/// Logs that were to be replayed to their ends.
fn of_ends<'a>(choice: &'a Choice, history: &History) -> Vec<Due<'a>> {
    let mut due = Vec::new();
    for CollectionLogs { name, shards } in &choice.collections {
        for log in shards {
            if breaks_off(log, name, history) {
                due.push(Due::BreaksOff(name, log.shard));
            }
            if known_until(log, name, choice, history) < choice.instant {
                due.push(Due::Behind(name, log.shard));
            }
        }
    }
    due
}

/// Whether something of the log stands behind the last entry that is replayed.
fn breaks_off(log: &ShardLog, collection: &CollectionName, history: &History) -> bool {
    let archived = owned(history, log, collection);
    let parts = archived.iter().flat_map(|archived| &archived.parts);
    parts.map(PartView::first).any(|first| first >= log.until)
}

/// The latest instant of which anything says that the log was no longer then.
fn known_until(
    log: &ShardLog,
    collection: &CollectionName,
    choice: &Choice,
    history: &History,
) -> Timestamp {
    let mut known = Timestamp::EPOCH;
    let archived = owned(history, log, collection);
    for part in archived.iter().flat_map(|archived| &archived.parts) {
        if let PartView::Read(part) = part {
            let looks = part.looks.iter().filter(|look| look.first < log.until);
            known = looks.fold(known, |known, look| known.max(look.by));
        }
    }
    for point in &history.points {
        for base in point.collections.values().flatten() {
            let own = base.timeline == Some(log.timeline) && base.shard == log.shard;
            let is_within = base.next.is_some_and(|next| next <= log.until);
            if own && (is_within || point.id == choice.point) {
                known = known.max(base.captured_at);
            }
        }
    }
    let said = history.standings.iter().filter(|said| {
        let own = said.timeline == log.timeline && said.shard == log.shard;
        own && said.next <= log.until
    });
    said.fold(known, |known, said| known.max(said.at))
}

fn of_latest<'a>(choice: &Choice, history: &History) -> Option<Due<'a>> {
    let is_later = |point: &BasePoint| {
        choice.collections.iter().all(|logs| {
            let bases = point.collections.get(&logs.name);
            let mut bases = bases.into_iter().flatten().peekable();
            bases.peek().is_some() && bases.all(|base| base.captured_at > choice.instant)
        })
    };
    history
        .points
        .iter()
        .any(is_later)
        .then_some(Due::NewerPoint)
}

fn of_drop<'a>(
    choice: &Choice,
    logs: &CollectionLogs,
    request: &InstantRequest,
    history: &History,
) -> Vec<Due<'a>> {
    let present = &history.present;
    let life = |log: &ShardLog| {
        let mut logs = history.logs.iter();
        let own = logs.find(|own| own.timeline == log.timeline && own.shard == log.shard);
        own.map(|own| own.incarnation)
    };
    let lives: BTreeSet<IncarnationId> = logs.shards.iter().filter_map(life).collect();
    let mut due = Vec::new();
    if present.lives.values().any(|(name, _)| *name == logs.name) {
        due.push(Due::Returned);
    }
    let is_seen =
        |log: &ShardLog| life(log).is_some_and(|life| present.whole.contains(&(life, log.shard)));
    if !logs.shards.iter().all(is_seen) {
        due.push(Due::EndUnseen);
    }
    for other in &history.logs {
        let replayed = |log: &ShardLog| log.timeline == other.timeline && log.shard == other.shard;
        if !lives.contains(&other.incarnation) || logs.shards.iter().any(replayed) {
            continue;
        }
        let went_on = match other.parts.last() {
            Some(PartView::Read(part)) => {
                let last = part.looks.last().map(|look| look.by);
                last.is_some_and(|by| by > choice.instant)
            }
            Some(PartView::Unreadable { .. }) => true,
            None => false,
        };
        if went_on {
            due.push(Due::WentOn(other.shard));
        }
    }
    let is_of_it = |point: &BasePoint| {
        let bases = point.collections.get(&logs.name);
        bases.into_iter().flatten().any(|base| {
            let mut own = history
                .logs
                .iter()
                .filter(|log| lives.contains(&log.incarnation));
            own.any(|log| base.timeline == Some(log.timeline) && base.shard == log.shard)
        })
    };
    let mut newer = history.points.iter();
    if request.point.is_none() && newer.any(|point| point.id > choice.point && is_of_it(point)) {
        due.push(Due::PassedOver);
    }
    due
}
