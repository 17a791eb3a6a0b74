//! The archived logs as they are listed: which stretch of which log goes on from a base, and until when.

use super::Ground;
use crate::fault::Fault;
use crate::logs::facts_of;
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_decide::instant::Base;
use holdfast_decide::logs::{LogEnd, PartFacts, Stretch, reach, stretch};
use holdfast_decide::{LogReach, LogRun};
use holdfast_repository::{RepositoryError, StoredPart, WalListing};
use holdfast_types::{CollectionName, ShardId, TimelineId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Parts that are read at a time.
const READ_AT_ONCE: usize = 16;

/// A run of entries of one shard.
pub(super) type LogKey = (TimelineId, ShardId);

/// What is listed, and where damage is known.
#[derive(Default)]
pub(super) struct Archive {
    /// Every log.
    pub(super) listed: Vec<WalListing>,
    logs: BTreeMap<LogKey, Known>,
}

/// A listed log.
struct Known {
    nth: usize,
    parts: Vec<PartFacts>,
    /// First entries of parts that are known to be damaged, or not to follow.
    doubted: BTreeSet<u64>,
    /// Last looks of parts that were read, by their first entries; `None` if one can't be.
    looked: BTreeMap<u64, Option<Timestamp>>,
}

impl Archive {
    /// Lists them. A copy has none.
    pub(super) async fn read(ground: &Ground<'_>) -> Result<Self, Fault> {
        if ground.followed.is_none() {
            return Ok(Self::default());
        }
        let failed = |error: RepositoryError| (ground.failed)(&error);
        let repository = ground.repository;
        repository.heed_damage().await.map_err(failed)?;
        let listed = repository.list_wal(&repository.namespace()).await;
        let listed = listed.map_err(failed)?;
        let mut doubted: BTreeMap<LogKey, BTreeSet<u64>> = BTreeMap::new();
        for (series, part) in repository.known_wal_damage().await {
            let log = doubted.entry((series.timeline, series.shard));
            log.or_default().insert(part.first);
        }
        let numbered = listed.iter().enumerate().map(|(nth, log)| {
            let key = (log.series.timeline, log.series.shard);
            let known = Known {
                nth,
                parts: log.parts.values().map(facts_of).collect(),
                doubted: doubted.remove(&key).unwrap_or_default(),
                looked: BTreeMap::new(),
            };
            (key, known)
        });
        let logs = numbered.collect();
        Ok(Self { listed, logs })
    }

    /// The collections all of whose captured shards belong to a log, with the stretches that go on from there. `captured` says when each log was
    /// last captured.
    pub(super) async fn runs(
        &mut self,
        ground: &Ground<'_>,
        bases: &BTreeMap<CollectionName, Vec<Base>>,
        captured: &BTreeMap<LogKey, Timestamp>,
    ) -> Result<BTreeMap<CollectionName, BTreeMap<LogRun, LogReach>>, Fault> {
        let mut all = BTreeMap::new();
        let Some(followed) = &ground.followed else {
            return Ok(all);
        };
        let is_live = |key: LogKey| followed.get(&key) == Some(&true);
        let every = bases.values().flatten();
        self.look(ground, every, is_live).await?;
        for (name, bases) in bases {
            let mut runs = BTreeMap::new();
            for base in bases {
                let (Some(certain), Some(timeline)) = (base.certain, base.timeline) else {
                    runs.clear();
                    break;
                };
                let key = (timeline, base.shard);
                let known = [captured.get(&key), ground.said.get(&key)];
                let known = known.into_iter().flatten().max().copied();
                let known = known.unwrap_or(Timestamp::EPOCH);
                let (run, reach) = self.reach(key, certain, (is_live(key), known), ground.now);
                runs.insert(run, reach);
            }
            if !runs.is_empty() {
                all.insert(name.clone(), runs);
            }
        }
        Ok(all)
    }

    /// Reads the parts that say how far the logs of these bases reach, some at a time.
    async fn look(
        &mut self,
        ground: &Ground<'_>,
        bases: impl Iterator<Item = &Base>,
        is_live: impl Fn(LogKey) -> bool,
    ) -> Result<(), Fault> {
        let mut wanted = BTreeSet::new();
        for base in bases {
            let (Some(certain), Some(timeline)) = (base.certain, base.timeline) else {
                continue;
            };
            let key = (timeline, base.shard);
            if let Some(log) = self.logs.get(&key) {
                let parts = log.telling(certain, is_live(key)).into_iter();
                let unread = parts.filter(|first| !log.looked.contains_key(first));
                wanted.extend(unread.map(|first| (key, first)));
            }
        }
        let (logs, listed) = (&self.logs, &self.listed);
        let reads = wanted.into_iter().filter_map(|(key, first)| {
            let listing = &listed[logs.get(&key)?.nth];
            let stored = listing.parts.get(&first)?;
            Some(async move {
                let by = last_look(ground, listing, stored).await?;
                Ok::<_, Fault>((key, first, by))
            })
        });
        let reads = stream::iter(reads).buffer_unordered(READ_AT_ONCE);
        let looked: Vec<_> = reads.try_collect().await?;
        for (key, first, by) in looked {
            if let Some(log) = self.logs.get_mut(&key) {
                log.looked.insert(first, by);
            }
        }
        Ok(())
    }

    /// What goes on from entry `certain` of a log, by what was read of it.
    fn reach(
        &self,
        (timeline, shard): LogKey,
        certain: u64,
        (is_live, known): (bool, Timestamp),
        now: Timestamp,
    ) -> (LogRun, LogReach) {
        let nothing = || (stretch(&[], &BTreeSet::new(), certain), None, None);
        let log = self.logs.get(&(timeline, shard));
        let (stretch, found, newest) = log.map_or_else(nothing, |log| log.ends(certain));
        let run = LogRun {
            shard,
            timeline,
            stretch: stretch.number,
        };
        let end = LogEnd {
            is_live,
            newest: newest.unwrap_or(Timestamp::EPOCH),
            known,
        };
        (run, reach(&stretch, found, &end, now))
    }
}

impl Known {
    /// First entries of the parts that say how far the stretch of an entry reaches, and how far the log. Of a log that an agent reads no part says
    /// that: it ends now.
    fn telling(&self, certain: u64, is_live: bool) -> Vec<u64> {
        let stretch = stretch(&self.parts, &self.doubted, certain);
        let last = stretch.last.filter(|_| !(is_live && stretch.leads_to_end));
        let newest = self.parts.last().filter(|_| !is_live);
        let parts = last.iter().chain(newest);
        parts.map(|part| part.first).collect()
    }

    /// The stretch of an entry, the last look of its last part, and that of the newest part of all, or when that was stored if it can't be read.
    fn ends(&self, certain: u64) -> (Stretch, Option<Timestamp>, Option<Timestamp>) {
        let stretch = stretch(&self.parts, &self.doubted, certain);
        let by = |part: &PartFacts| self.looked.get(&part.first).copied().flatten();
        let found = stretch.last.as_ref().and_then(by);
        let newest = self.parts.last();
        let seen = newest.map(|newest| by(newest).unwrap_or(newest.stored));
        (stretch, found, seen)
    }
}

/// When the last entry of a part was seen, by the part itself: the time at which the object was stored is renewed by whoever copies it.
async fn last_look(
    ground: &Ground<'_>,
    listing: &WalListing,
    stored: &StoredPart,
) -> Result<Option<Timestamp>, Fault> {
    let read = ground.repository.read_wal(&listing.series, stored.part);
    match read.await {
        Ok(part) => Ok(part.and_then(|part| Some(part.looks().last()?.by))),
        Err(RepositoryError::Damaged { .. } | RepositoryError::NewerFormat { .. }) => Ok(None),
        Err(error) => Err((ground.failed)(&error)),
    }
}

/// When each log was last captured.
pub(super) fn captured<'a>(bases: impl Iterator<Item = &'a Base>) -> BTreeMap<LogKey, Timestamp> {
    let mut captured: BTreeMap<LogKey, Timestamp> = BTreeMap::new();
    for base in bases {
        if let Some(timeline) = base.timeline {
            let last = captured.entry((timeline, base.shard));
            let last = last.or_insert(base.captured_at);
            *last = base.captured_at.max(*last);
        }
    }
    captured
}
