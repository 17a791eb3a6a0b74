//! The archived logs as they are listed: which stretch of which log goes on from a base, and until when.

use super::Ground;
use crate::fault::Fault;
use holdfast_decide::instant::Base;
use holdfast_decide::{LogReach, LogRun};
use holdfast_repository::{RepositoryError, StoredPart, WalListing};
use holdfast_types::{CollectionName, ShardId, TimelineId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// A run of entries of one shard.
pub(super) type LogKey = (TimelineId, ShardId);

/// What is listed, and where damage is known.
#[derive(Default)]
pub(super) struct Archive {
    /// Every log.
    pub(super) listed: Vec<WalListing>,
    places: BTreeMap<LogKey, usize>,
    /// First entries of damaged parts.
    damaged: BTreeMap<LogKey, BTreeSet<u64>>,
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
        let mut damaged: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
        for (series, part) in repository.known_wal_damage().await {
            let log = damaged.entry((series.timeline, series.shard));
            log.or_default().insert(part.first);
        }
        let numbered = listed.iter().enumerate();
        let places = numbered.map(|(nth, log)| ((log.series.timeline, log.series.shard), nth));
        Ok(Self {
            places: places.collect(),
            listed,
            damaged,
        })
    }

    /// The collections all of whose captured shards belong to a log, with the stretches that go on from there. `captured` says when each log was
    /// last captured.
    pub(super) async fn runs(
        &self,
        ground: &Ground<'_>,
        bases: &BTreeMap<CollectionName, Vec<Base>>,
        captured: &BTreeMap<LogKey, Timestamp>,
    ) -> Result<BTreeMap<CollectionName, BTreeMap<LogRun, LogReach>>, Fault> {
        let mut all = BTreeMap::new();
        if ground.followed.is_none() {
            return Ok(all);
        }
        for (name, bases) in bases {
            let mut runs = BTreeMap::new();
            for base in bases {
                let (Some(certain), Some(timeline)) = (base.certain, base.timeline) else {
                    runs.clear();
                    break;
                };
                let key = (timeline, base.shard);
                let (run, mut reach) = self.run(ground, key, certain).await?;
                // A log to which nothing is written reaches as far as what was captured of it.
                let captured = captured.get(&key).copied();
                reach.at_most = reach.at_most.max(captured.unwrap_or(reach.at_most));
                runs.insert(run, reach);
            }
            if !runs.is_empty() {
                all.insert(name.clone(), runs);
            }
        }
        Ok(all)
    }

    async fn run(
        &self,
        ground: &Ground<'_>,
        key: LogKey,
        certain: u64,
    ) -> Result<(LogRun, LogReach), Fault> {
        let (none, nothing) = (BTreeSet::new(), BTreeMap::new());
        let damaged = self.damaged.get(&key).unwrap_or(&none);
        let listing = self.places.get(&key).map(|nth| &self.listed[*nth]);
        let parts = listing.map_or(&nothing, |listing| &listing.parts);
        let (stretch, last) = stretch(parts, damaged, certain);
        let newest = parts.last_key_value().map(|(_, newest)| newest);
        let followed = ground.followed.as_ref();
        let is_live = followed.is_some_and(|logs| logs.get(&key) == Some(&true));
        let reach = match (listing, last) {
            // Whatever is written to a log that an agent reads is on its way.
            (_, last) if is_live && last == newest => LogReach::until(ground.now),
            (Some(listing), Some(last)) => reach_of(ground, listing, last).await?,
            (None, _) | (_, None) => LogReach::until(Timestamp::EPOCH),
        };
        let (timeline, shard) = key;
        let run = LogRun {
            shard,
            timeline,
            stretch,
        };
        Ok((run, reach))
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

/// What stands for the entries before the first part that is there: odd, as nothing can be gone on from within it.
const BEFORE_ALL: usize = usize::MAX;

/// Which stretch of a log holds the entry, and its last part. A damaged part is a stretch without parts, and so are entries that were deleted.
fn stretch<'a>(
    parts: &'a BTreeMap<u64, StoredPart>,
    damaged: &BTreeSet<u64>,
    certain: u64,
) -> (usize, Option<&'a StoredPart>) {
    if parts
        .first_key_value()
        .is_some_and(|(first, _)| *first > certain)
    {
        return (BEFORE_ALL, None);
    }
    let (mut stretch, mut last) = (0, None);
    for (first, part) in parts {
        let is_damaged = damaged.contains(first);
        // A sound stretch ends before damage, and one begins behind it.
        let begins = usize::from(is_damaged != (stretch % 2 == 1));
        if *first > certain && begins == 1 {
            break;
        }
        stretch += begins;
        last = (!is_damaged).then_some(part);
    }
    (stretch, last)
}

/// How far the last part of a stretch leads. A merged one was stored later than its entries were.
async fn reach_of(
    ground: &Ground<'_>,
    listing: &WalListing,
    last: &StoredPart,
) -> Result<LogReach, Fault> {
    if last.part.merged.is_none() {
        return Ok(LogReach::until(last.stored));
    }
    let read = ground.repository.read_wal(&listing.series, last.part).await;
    match read {
        Ok(Some(part)) => Ok(LogReach::until(
            part.looks().last().map_or(last.stored, |look| look.by),
        )),
        Ok(None) | Err(RepositoryError::Damaged { .. } | RepositoryError::NewerFormat { .. }) => {
            Ok(LogReach {
                surely: Timestamp::EPOCH,
                at_most: last.stored,
            })
        }
        Err(error) => Err((ground.failed)(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::{BEFORE_ALL, stretch};
    use holdfast_repository::{StoredPart, WalPart};
    use holdfast_types::Timestamp;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn damage_divides_a_log_into_stretches() {
        let part = |first: u64| StoredPart {
            part: WalPart::appended(first),
            size: 1,
            stored: Timestamp::EPOCH,
        };
        let parts: BTreeMap<u64, StoredPart> =
            (0..6).map(|nth| (nth * 10, part(nth * 10))).collect();
        let at = |certain: u64, damaged: &[u64]| {
            let (nth, last) = stretch(&parts, &damaged.iter().copied().collect(), certain);
            (nth, last.map(|last| last.part.first))
        };
        assert_eq!(at(15, &[]), (0, Some(50)));
        assert_eq!(at(200, &[]), (0, Some(50)), "nothing is archived behind it");
        assert_eq!(at(15, &[30]), (0, Some(20)));
        assert_eq!(at(30, &[30]), (1, None));
        assert_eq!(at(39, &[30, 40]), (1, None));
        assert_eq!(at(50, &[30, 40]), (2, Some(50)));
        assert_eq!(at(45, &[0, 30, 50]), (4, Some(40)));
        assert_eq!(at(55, &[50]), (1, None));
        assert_eq!(at(5, &[99]), (0, Some(50)), "of a part that is gone");
        let rest = parts.range(20..).map(|(first, part)| (*first, *part));
        let rest: BTreeMap<u64, StoredPart> = rest.collect();
        let none = BTreeSet::new();
        assert_eq!(stretch(&rest, &none, 19), (BEFORE_ALL, None), "deleted");
        assert_eq!(stretch(&rest, &none, 20).0, 0);
        assert_eq!(stretch(&BTreeMap::new(), &none, 5), (0, None));
    }
}
