//! A captured shard and the log that goes on from it.

use super::history::{ArchivedLog, Base, BasePoint, History, Look, PartView};
use super::run::{Ended, Run, runs};
use holdfast_types::{CollectionName, IncarnationId, ShardId, TimelineId, Timestamp};
use std::collections::HashMap;
use std::fmt;

/// The history, prepared for questions.
pub(super) struct Index<'a> {
    pub(super) history: &'a History,
    logs: HashMap<(TimelineId, ShardId), Vec<Indexed<'a>>>,
    evidence: HashMap<(TimelineId, ShardId), Evidence>,
}

struct Indexed<'a> {
    log: &'a ArchivedLog,
    runs: Vec<Run>,
}

/// By index: everything acknowledged before the instant has an index below it; of smaller indexes the newest instant.
type Evidence = Vec<(u64, Timestamp)>;

/// A captured shard that can be brought to instants.
pub(super) struct Extension<'a> {
    pub(super) base: &'a Base,
    pub(super) timeline: TimelineId,
    /// `None` if no entry of the timeline is archived.
    pub(super) incarnation: Option<IncarnationId>,
    /// Where replay begins.
    pub(super) certain: u64,
    /// Index after the last entry that can be replayed.
    pub(super) end: u64,
    pub(super) ended: Ended,
    /// The earliest instant for which it may be used.
    pub(super) floor: Timestamp,
    /// The newest up to which nothing is lacking.
    pub(super) reach: Timestamp,
    looks: &'a [Look],
    evidence: &'a [(u64, Timestamp)],
}

/// What a captured shard is at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Index after the last operation that is contained.
    pub(super) until: u64,
    /// Everything acknowledged before this instant is contained.
    pub(super) complete_before: Timestamp,
    /// Bytes of the entries to replay, those of the first and the last look in full.
    pub(super) bytes: u64,
}

/// Why a captured shard can't be brought to any instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing is known of its place in a log.
    NoMark,
    /// It belongs to no archived log.
    NotArchived,
    /// The log of that name is another's, or there are two.
    Contradiction,
    /// The archive does not tell when its last operations were written.
    Beyond {
        /// It may contain operations below this one.
        next: u64,
        /// The archive has those below this one.
        end: u64,
        /// Why it has no more.
        ended: Ended,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMark => f.write_str(
                "its capture does not say how far it goes (set qdrant.storage_dir in the agent's configuration)",
            ),
            Self::NotArchived => f.write_str("its log was not archived when it was captured"),
            Self::Contradiction => {
                f.write_str("the archived log that it names is not that of its replica")
            }
            Self::Beyond { next, end, ended } => write!(
                f,
                "it may contain operations below {next}, and the archive knows those below {end}: {ended}"
            ),
        }
    }
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        let mut logs: HashMap<_, Vec<Indexed<'a>>> = HashMap::new();
        for log in &history.logs {
            let runs = runs(log);
            let named = logs.entry((log.timeline, log.shard)).or_default();
            named.push(Indexed { log, runs });
        }
        let mut evidence: HashMap<_, Evidence> = HashMap::new();
        let captured = history.points.iter().flat_map(|point| {
            let bases = point.collections.values().flatten();
            bases.filter_map(|base| {
                let known = (base.next?, base.captured_at);
                Some(((base.timeline?, base.shard), known))
            })
        });
        let said = history.standings.iter();
        let said = said.map(|said| ((said.timeline, said.shard), (said.next, said.at)));
        for (key, known) in captured.chain(said) {
            evidence.entry(key).or_default().push(known);
        }
        for known in evidence.values_mut() {
            known.sort_unstable();
            let mut newest = Timestamp::EPOCH;
            for (_, at) in known {
                newest = newest.max(*at);
                *at = newest;
            }
        }
        Self {
            history,
            logs,
            evidence,
        }
    }

    /// All logs, with their runs.
    pub(super) fn logs(&self) -> impl Iterator<Item = (&'a ArchivedLog, &[Run])> {
        // In the order of the history, which depends on nothing but what is archived.
        self.history.logs.iter().filter_map(|log| {
            let named = self.logs.get(&(log.timeline, log.shard))?;
            let own = named
                .iter()
                .find(|indexed| std::ptr::eq(indexed.log, log))?;
            Some((log, own.runs.as_slice()))
        })
    }

    /// Of a log, besides its looks: everything acknowledged before the instant has an index below the number.
    pub(super) fn evidence(&self, log: (TimelineId, ShardId)) -> &[(u64, Timestamp)] {
        self.evidence.get(&log).map_or(&[][..], Vec::as_slice)
    }

    /// A captured shard with its log.
    pub(super) fn extend(
        &'a self,
        collection: &CollectionName,
        base: &'a Base,
    ) -> Result<Extension<'a>, Why> {
        let (Some(next), Some(certain)) = (base.next, base.certain) else {
            return Err(Why::NoMark);
        };
        let timeline = base.timeline.ok_or(Why::NotArchived)?;
        let key = (timeline, base.shard);
        let indexed = match self.logs.get(&key).map_or(&[][..], Vec::as_slice) {
            [] => None,
            [only] if is_owner(only.log, collection, base) => Some(only),
            [_, ..] => return Err(Why::Contradiction),
        };
        let runs = indexed.map_or(&[][..], |indexed| &indexed.runs);
        let run = runs
            .iter()
            .find(|run| run.first <= certain && certain < run.end);
        let (looks, end, ended) = match run {
            Some(run) => (run.looks_from(certain), run.end, run.ended.clone()),
            None => {
                let parts = indexed.map_or(&[][..], |indexed| &indexed.log.parts);
                (&[][..], certain, nothing_from(certain, parts))
            }
        };
        if next > end {
            return Err(Why::Beyond { next, end, ended });
        }
        // What is contained for certain was found by a look that began before the capture, unless the clock was set back since.
        let contained = runs.iter().filter_map(|run| run.look_below(certain));
        let set_back = contained.filter(|look| look.after > base.captured_at);
        let stamp = set_back.map(|look| look.by).max();
        let mut floor = base.captured_at.max(stamp.unwrap_or(Timestamp::EPOCH));
        if let Some(last) = looks
            .iter()
            .find(|look| next > certain && look.next >= next)
        {
            floor = floor.max(last.by);
        }
        let known = self.evidence(key);
        let archived = looks.last().map_or(Timestamp::EPOCH, |look| look.by);
        let still = newest_below(known, end).unwrap_or(Timestamp::EPOCH);
        Ok(Extension {
            base,
            timeline,
            incarnation: run.and(indexed).map(|indexed| indexed.log.incarnation),
            certain,
            end,
            ended,
            floor,
            reach: floor.max(archived).max(still),
            looks,
            evidence: known,
        })
    }

    /// Every shard of these collections in a recovery point, or why not: a sentence for each shard that can't be.
    pub(super) fn extend_all(
        &'a self,
        point: &'a BasePoint,
        wanted: &[CollectionName],
    ) -> Result<Together<'a>, Vec<String>> {
        let (mut shards, mut whys) = (Vec::new(), Vec::new());
        for name in wanted {
            let Some((name, bases)) = point.collections.get_key_value(name) else {
                whys.push(format!("recovery point {} has no {name}", point.id));
                continue;
            };
            for base in bases {
                match self.extend(name, base) {
                    Ok(extension) => shards.push((name, extension)),
                    Err(why) => whys.push(format!(
                        "shard {} of {name} in {}: {why}",
                        base.shard, point.id
                    )),
                }
            }
        }
        let floor = shards.iter().map(|(_, shard)| shard.floor).max();
        let reach = shards.iter().map(|(_, shard)| shard.reach).min();
        match (floor, reach) {
            (Some(floor), Some(reach)) if whys.is_empty() => Ok(Together {
                point,
                shards,
                floor,
                reach,
            }),
            _ => Err(whys),
        }
    }
}

/// Shards of one recovery point that are brought to an instant together.
pub(super) struct Together<'a> {
    pub(super) point: &'a BasePoint,
    pub(super) shards: Vec<(&'a CollectionName, Extension<'a>)>,
    /// The earliest instant to which all can be brought …
    pub(super) floor: Timestamp,
    /// … and the latest. Earlier than `floor` if there is none.
    pub(super) reach: Timestamp,
}

impl Together<'_> {
    pub(super) fn contains(&self, instant: Timestamp) -> bool {
        (self.floor..=self.reach).contains(&instant)
    }
}

impl Extension<'_> {
    /// What it is at an instant that is not before its floor.
    pub(super) fn at(&self, instant: Timestamp) -> Cut {
        let taken = self.looks.partition_point(|look| look.by <= instant);
        let last = self.looks[..taken].last();
        let until = last.map_or(self.certain, |look| look.next);
        // Either the first look that is left out, or the last one of all: neither begins behind `until`.
        let seen = self.looks.get(taken).or(last).map(|look| look.after);
        let known = seen.max(newest_below(self.evidence, until));
        Cut {
            until,
            complete_before: known.unwrap_or(self.base.captured_at).min(instant),
            bytes: self.looks[..taken].iter().map(|look| look.bytes).sum(),
        }
    }

    /// The look that found an operation.
    pub(super) fn look_of(&self, operation: u64) -> Option<&Look> {
        let found = self.looks.iter().find(|look| operation < look.next);
        found.filter(|look| look.first <= operation)
    }

    /// What it is right after an operation, which is archived or the last one that is contained.
    pub(super) fn after_operation(&self, operation: u64) -> Cut {
        let until = operation.saturating_add(1);
        let taken = self.looks.partition_point(|look| look.first < until);
        let begun = self.looks.partition_point(|look| look.first <= until);
        let seen = self.looks[..begun].last().map(|look| look.after);
        let known = seen.max(newest_below(self.evidence, until));
        Cut {
            until,
            complete_before: known.unwrap_or(self.base.captured_at),
            bytes: self.looks[..taken].iter().map(|look| look.bytes).sum(),
        }
    }
}

fn is_owner(log: &ArchivedLog, collection: &CollectionName, base: &Base) -> bool {
    let owner = log.owner.as_ref();
    owner.is_none_or(|(name, node)| name == collection && *node == base.node)
}

/// Why no entry from `index` on can be replayed.
fn nothing_from(index: u64, parts: &[PartView]) -> Ended {
    let begins = |part: &&PartView| part.first() <= index;
    if let Some(PartView::Unreadable { first, why }) = parts.iter().rfind(begins) {
        let (first, why) = (*first, why.clone());
        return Ended::Unreadable { first, why };
    }
    match parts.iter().find(|part| part.first() > index) {
        Some(PartView::Read(later)) => Ended::Missing {
            from: index,
            to: later.first,
        },
        Some(PartView::Unreadable { first, why }) => {
            let (first, why) = (*first, why.clone());
            Ended::Unreadable { first, why }
        }
        None => Ended::NothingMore,
    }
}

pub(super) fn newest_below(evidence: &[(u64, Timestamp)], index: u64) -> Option<Timestamp> {
    let below = evidence.partition_point(|(next, _)| *next <= index);
    evidence[..below].last().map(|(_, at)| *at)
}
