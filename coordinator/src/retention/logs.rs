//! Archived entries that no recovery point needs for the instants that the rules keep.
//!
//! | while … | parts are removed |
//! |---|---|
//! | entries are archived | they come behind the last part, and only leading ones go |
//! | a base is captured | it begins no earlier than the earlier ones of its log; see `holdfast_decide::logs` |
//! | a restore reads a log | its recovery point is in use, and so are the entries from it on |
//! | a point is taken back | its entries are there: marked points count while their manifest stands |
//! | kill −9 | the oldest went first: what is left has no new gap, and the next run goes on |

use super::Ground;
use super::facts::Facts;
use super::prune::LogRemoval;
use crate::fault::{Fault, chain};
use crate::logs::facts_of;
use holdfast_decide::logs::{LogFacts, LogPoint, LogVerdict, check_logs, plan_logs};
use holdfast_repository::{RemovedParts, RepositoryError, StoredPart, WalListing};
use holdfast_service::failure::Code;
use holdfast_types::{CollectionName, ShardId, TimelineId};
use std::collections::BTreeMap;

/// Parts that are deleted in one run.
const REMOVED: usize = 2_000;

/// The logs of which something may go, and what that is. Changes nothing.
pub(super) async fn plan(
    ground: &Ground<'_>,
    facts: &Facts,
) -> Result<Vec<(LogRemoval, WalListing)>, Fault> {
    let Some(policy) = &ground.settings.policy else {
        return Ok(Vec::new());
    };
    if !facts.unreadable.is_empty() {
        // Nobody knows what it needs. The report says of the point itself why it stays.
        return Ok(Vec::new());
    }
    let Some(followed) = &ground.followed else {
        return Ok(Vec::new());
    };
    if ground.now < ground.logs_rest_until {
        tracing::info!(until = %ground.logs_rest_until, "archived log entries rest: nothing was written here for long before this start");
        return Ok(Vec::new());
    }
    let points = facts.log_points();
    let listed = &facts.archive.listed;
    let owners = owners(&points);
    let mut logs = Vec::new();
    for listing in listed {
        logs.push(log_facts(ground, listing, followed, &owners).await?);
    }
    let (grace, now) = (ground.settings.grace, ground.now);
    let verdicts = plan_logs(&points, &logs, policy, grace, now);
    let wrong = check_logs(&verdicts, &points, &logs, policy, grace, now);
    if !wrong.is_empty() {
        let texts = wrong.join("; ");
        tracing::error!(
            violations = texts,
            "a plan for archived logs was refused by its checker"
        );
        return Err(Fault::new(
            Code::Internal,
            format!(
                "the plan for archived logs was refused by its checker ({texts}); no log was removed: please report this"
            ),
        ));
    }
    let judged = verdicts.iter().zip(&logs).zip(listed);
    let surplus = judged.filter(|((verdict, _), _)| verdict.surplus > 0);
    Ok(surplus
        .map(|((verdict, log), listing)| (removal(verdict, log), listing.clone()))
        .collect())
}

/// Deletes what a plan names, up to [`REMOVED`] parts: restores wait meanwhile, and the next run goes on.
pub(super) async fn carry_out(
    ground: &Ground<'_>,
    planned: Vec<(LogRemoval, WalListing)>,
) -> Result<Vec<LogRemoval>, Fault> {
    let (mut done, mut left) = (Vec::new(), REMOVED);
    for (mut removal, listing) in planned {
        let count = usize::try_from(removal.parts).unwrap_or(usize::MAX);
        let count = count.min(left);
        if count == 0 {
            tracing::info!(
                "more archived entries than are deleted in one run: the next one goes on"
            );
            break;
        }
        left -= count;
        let parts: Vec<StoredPart> = listing.parts.values().take(count).copied().collect();
        // What a merged part stands for goes before it does: else it would count again.
        let end = listing.parts.values().nth(count);
        let covered =
            |stored: &&StoredPart| end.is_none_or(|end| stored.part.first < end.part.first);
        let replaced: Vec<StoredPart> = listing.replaced.iter().filter(covered).copied().collect();
        let series = &listing.series;
        if let Some(logs) = ground.logs {
            let begin = end.map(|part| part.part.first);
            logs.begins((series.timeline, series.shard), begin);
        }
        let mut gone = RemovedParts::default();
        for parts in [replaced, parts] {
            let removed = ground.repository.remove_wal(ground.epoch, series, &parts);
            gone = removed.await.map_err(|error| (ground.failed)(&error))?;
            removal.refused += gone.refused;
            if let Some(why) = &gone.why {
                tracing::warn!(timeline = %series.timeline, reason = why, "the store refuses to delete parts of an archived log: they stay");
            }
        }
        // Of the parts that counted.
        (removal.parts, removal.bytes) = (gone.objects, gone.bytes);
        tracing::info!(
            timeline = %series.timeline, shard = %removal.shard, parts = removal.parts, bytes = removal.bytes,
            "archived entries that nothing needs are deleted"
        );
        done.push(removal);
    }
    Ok(done)
}

/// Whose the logs are that points name.
fn owners(points: &[LogPoint]) -> BTreeMap<(TimelineId, ShardId), CollectionName> {
    let shards = points.iter().flat_map(|point| {
        let named = point.collections.iter();
        named.flat_map(|(name, bases)| bases.iter().map(move |base| (name, base)))
    });
    let owner =
        shards.filter_map(|(name, base)| Some(((base.timeline?, base.shard), name.clone())));
    owner.collect()
}

async fn log_facts(
    ground: &Ground<'_>,
    listing: &WalListing,
    followed: &BTreeMap<(TimelineId, ShardId), bool>,
    owners: &BTreeMap<(TimelineId, ShardId), CollectionName>,
) -> Result<LogFacts, Fault> {
    let series = &listing.series;
    let key = (series.timeline, series.shard);
    let collection = match owners.get(&key) {
        Some(owner) => Some(owner.clone()),
        None => owner(ground, listing).await?,
    };
    Ok(LogFacts {
        timeline: series.timeline,
        shard: series.shard,
        collection,
        followed: followed.contains_key(&key),
        parts: listing.parts.values().map(facts_of).collect(),
    })
}

/// Whose a log is that no point names: any of its parts says so.
async fn owner(ground: &Ground<'_>, listing: &WalListing) -> Result<Option<CollectionName>, Fault> {
    let Some(stored) = listing.parts.values().next() else {
        return Ok(None);
    };
    match ground
        .repository
        .read_wal(&listing.series, stored.part)
        .await
    {
        Ok(part) => Ok(part.map(|part| part.origin().collection.clone())),
        Err(error @ (RepositoryError::Damaged { .. } | RepositoryError::NewerFormat { .. })) => {
            tracing::warn!(timeline = %listing.series.timeline, reason = chain(&error), "whose archived log this is can't be told: it stays");
            Ok(None)
        }
        Err(error) => Err((ground.failed)(&error)),
    }
}

fn removal(verdict: &LogVerdict, log: &LogFacts) -> LogRemoval {
    let gone = log.parts.iter().take(verdict.surplus);
    LogRemoval {
        collection: log.collection.clone(),
        shard: log.shard,
        timeline: log.timeline,
        parts: verdict.surplus as u64,
        of: log.parts.len() as u64,
        bytes: gone.map(|part| part.size).sum(),
        refused: 0,
        why: verdict.why.to_string(),
    }
}
