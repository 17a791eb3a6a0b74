//! Locks and storage classes: what recovery points need can't be removed for a time, and what only old ones need is kept
//! at a lower price.
//!
//! One walk over the points, the newest first, says of every pack which point is the newest that needs it. From that
//! follow both its lock and its class. A lock is set after the commit, so a new point is without one for a moment; it is
//! only ever extended. What is locked is neither deleted by us (`gc`, `marks`), nor rewritten, nor moved.
//!
//! Memory: every manifest, one recipe at a time, 32 bytes for each distinct recipe, 16 bytes a pack, and 100 bytes for each
//! object whose lock is known.

use crate::catalog::{Pack, PackState};
use crate::core_state::CoreState;
use crate::points::{self, read_stored_recipe};
use crate::reader::Reader;
use crate::{PackCount, RepositoryError, epochs, layout, system};
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::Manifest;
use holdfast_store::{ColdClass, LockMode, ObjectKeeper, ObjectKey, StoreError};
use holdfast_types::{ChunkId, Epoch, PackId, RecoveryPointId, Timestamp};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Objects locked or moved at once.
const AHEAD: usize = 16;
/// Locks end at the steps of a grid, so that not every new point costs a request for each pack that it shares: a
/// sixteenth of the period, and at most this.
const LONGEST_STEP: Duration = Duration::from_hours(24);

/// How long what a recovery point needs is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRule {
    /// Who may still remove it.
    pub mode: LockMode,
    /// From the commit of the newest point that needs it. The lock may end up to a sixteenth later, at most a day.
    pub period: Duration,
}

/// When packs are moved to a cheaper class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColdRule {
    /// Which.
    pub class: ColdClass,
    /// So long after the commit of the newest point that needs them.
    pub after: Duration,
}

/// What is to be done for the objects of the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepOptions {
    /// Now.
    pub now: Timestamp,
    /// Locks, if wanted.
    pub lock: Option<LockRule>,
    /// Cheaper classes, if wanted.
    pub cold: Option<ColdRule>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeepReport {
    /// Recovery points that were looked at.
    pub points: usize,
    /// Objects that are locked now because of them.
    pub locked: usize,
    /// Of these, locks that were set or extended.
    pub extended: usize,
    /// Packs that were moved.
    pub moved: PackCount,
    /// Points that can't be read: what they need is not locked by them, and nothing is moved.
    pub unreadable: Vec<RecoveryPointId>,
}

/// What is known of locks and classes without asking, since the last look at everything.
#[derive(Default)]
pub(crate) struct Kept {
    /// Whether the place has locks.
    can_lock: tokio::sync::OnceCell<bool>,
    locks: Mutex<HashMap<ObjectKey, Timestamp>>,
    cold: Mutex<HashSet<PackId>>,
}

impl Kept {
    /// Whether an object is known to be locked.
    pub(crate) fn is_locked(&self, key: &ObjectKey, now: Timestamp) -> bool {
        self.lock_of(key).is_some_and(|until| now < until)
    }

    fn lock_of(&self, key: &ObjectKey) -> Option<Timestamp> {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.get(key).copied()
    }

    fn locked(&self, key: &ObjectKey, until: Timestamp) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.insert(key.clone(), until);
    }

    /// Trusts nothing that was known.
    fn forget(&self) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.clear();
    }

    fn is_cold(&self, pack: &PackId) -> bool {
        let cold = self.cold.lock().unwrap_or_else(PoisonError::into_inner);
        cold.contains(pack)
    }

    fn became_cold(&self, pack: PackId) {
        let mut cold = self.cold.lock().unwrap_or_else(PoisonError::into_inner);
        cold.insert(pack);
    }
}

/// Until when the store keeps everybody from removing an object; `None` if it does not, or the object is gone.
pub(crate) async fn locked_until(
    core: &CoreState,
    key: &ObjectKey,
) -> Result<Option<Timestamp>, RepositoryError> {
    let Some(keeper) = core.store.keeper() else {
        return Ok(None);
    };
    let asked = async || match keeper.can_lock().await {
        // Who opened the repository was told so.
        Err(StoreError::Permission { .. }) => Ok(false),
        other => other,
    };
    if !*core.kept.can_lock.get_or_try_init(asked).await? {
        return Ok(None);
    }
    match keeper.lock_of(key).await {
        Ok(lock) => Ok(lock.map(|lock| lock.until)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Locks and moves what is due. With `only`, just what these points need is locked, and nothing is moved.
pub(crate) async fn keep(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    epoch: Epoch,
    options: KeepOptions,
    only: Option<&[RecoveryPointId]>,
) -> Result<KeepReport, RepositoryError> {
    let Some(keeper) = core.store.keeper() else {
        return Ok(KeepReport::default());
    };
    epochs::check(core, epoch).await?;
    if only.is_none() {
        // Somebody may have removed locks, or written objects anew.
        core.kept.forget();
    }
    let (points, unreadable) = read_points(core, only).await?;
    let mut report = KeepReport {
        points: points.len(),
        unreadable,
        ..KeepReport::default()
    };
    let (needed, unread) = needed_by(core, reader, &points).await?;
    report.unreadable.extend(unread);
    if let Some(rule) = options.lock {
        lock(
            core,
            keeper,
            rule,
            options.now,
            &points,
            &needed,
            &mut report,
        )
        .await?;
    }
    if let (Some(rule), None) = (options.cold, only)
        // What they need may be needed by nothing older.
        && report.unreadable.is_empty()
    {
        move_cold(core, keeper, rule, options.now, &needed, &mut report).await?;
    }
    Ok(report)
}

/// The points, the newest first, and those that can't be read.
async fn read_points(
    core: &Arc<CoreState>,
    only: Option<&[RecoveryPointId]>,
) -> Result<(Vec<Manifest>, Vec<RecoveryPointId>), RepositoryError> {
    let ids = match only {
        Some(ids) => ids.to_vec(),
        None => {
            let listed = core.store.list(&layout::points()).await?;
            let ids = listed.iter().map(|found| layout::parse_point(&found.key));
            ids.flatten().collect()
        }
    };
    let mut points = Vec::new();
    let mut unreadable = Vec::new();
    for id in ids {
        match points::read(core, &id).await {
            Ok(manifest) => points.push(manifest),
            Err(RepositoryError::PointNotFound { .. }) => {}
            Err(error @ RepositoryError::Store(_)) => return Err(error),
            Err(error) => {
                tracing::warn!(point = %id, %error, "what a recovery point needs is not known");
                unreadable.push(id);
            }
        }
    }
    points.sort_by_key(|point| std::cmp::Reverse(point.committed));
    Ok((points, unreadable))
}

/// When the newest point that needs it was committed, by number of the pack; and the points of which that is not wholly known.
async fn needed_by(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
    points: &[Manifest],
) -> Result<(HashMap<u32, Timestamp>, Vec<RecoveryPointId>), RepositoryError> {
    let mut needed = HashMap::new();
    let mut unread = Vec::new();
    let mut recipes: HashSet<[u8; 32]> = HashSet::new();
    for point in points {
        for (owner, stored) in point.recipes() {
            let digest = stored.digest();
            // A newer point has the same.
            if digest.is_some_and(|digest| !recipes.insert(digest)) {
                continue;
            }
            let mut chunks = stored.chunks.to_vec();
            match read_stored_recipe(reader, &owner.to_string(), stored).await {
                Ok(recipe) => chunks.extend(recipe.chunks().map(|(id, _)| id)),
                Err(error @ RepositoryError::Store(_)) => return Err(error),
                // The check of the repository names it. What is left of it is kept by its other chunks' packs.
                Err(error) => {
                    tracing::warn!(point = %point.id, %error, "a recipe can't be read");
                    unread.push(point.id.clone());
                }
            }
            for pack in homes(core, chunks).await? {
                needed.entry(pack).or_insert(point.committed);
            }
        }
    }
    Ok((needed, unread))
}

/// The packs in which these chunks are read.
async fn homes(
    core: &Arc<CoreState>,
    chunks: Vec<ChunkId>,
) -> Result<HashSet<u32>, RepositoryError> {
    let core = core.clone();
    system::blocking(move || {
        let home = |id: &ChunkId| core.catalog().home_of(id);
        Ok(chunks.iter().filter_map(home).collect())
    })
    .await
}

async fn lock(
    core: &CoreState,
    keeper: &dyn ObjectKeeper,
    rule: LockRule,
    now: Timestamp,
    points: &[Manifest],
    needed: &HashMap<u32, Timestamp>,
    report: &mut KeepReport,
) -> Result<(), RepositoryError> {
    let mut wanted = Vec::new();
    for (pack, newest) in packs_of(core, needed) {
        wanted.push((layout::pack(&pack.id), rule.until(newest)));
    }
    for point in points {
        wanted.push((layout::point(&point.id), rule.until(point.committed)));
    }
    if let Some(newest) = points.first() {
        // Without these nothing opens, or what was to be kept is not.
        let until = rule.until(newest.committed);
        let mut keys = vec![layout::description()];
        for prefix in [
            layout::keys(),
            layout::copies(),
            layout::holds(),
            layout::pins(),
        ] {
            let listed = core.store.list(&prefix).await?;
            keys.extend(listed.into_iter().map(|found| found.key));
        }
        wanted.extend(keys.into_iter().map(|key| (key, until)));
    }
    wanted.retain(|(_, until)| now < *until);
    report.locked = wanted.len();
    wanted.retain(|(key, until)| core.kept.lock_of(key).is_none_or(|known| known < *until));
    let mut extending = stream::iter(wanted)
        .map(|(key, until)| async move {
            match keeper.extend_lock(&key, rule.mode, until).await {
                Ok(lock) => core.kept.locked(&key, lock.until),
                // Deleted since it was listed.
                Err(StoreError::NotFound { .. }) => return Ok(false),
                Err(error) => return Err(RepositoryError::from(error)),
            }
            Ok(true)
        })
        .buffer_unordered(AHEAD);
    // One object that can't be locked must not leave the others without.
    let mut failed = None;
    while let Some(extended) = extending.next().await {
        match extended {
            Ok(extended) => report.extended += usize::from(extended),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn move_cold(
    core: &CoreState,
    keeper: &dyn ObjectKeeper,
    rule: ColdRule,
    now: Timestamp,
    needed: &HashMap<u32, Timestamp>,
    report: &mut KeepReport,
) -> Result<(), RepositoryError> {
    let due = |(pack, newest): &(Pack, Timestamp)| {
        newest.after(rule.after) <= now && !core.kept.is_cold(&pack.id)
    };
    let due = packs_of(core, needed).into_iter().filter(due);
    let moved: Vec<Option<Pack>> = stream::iter(due)
        .map(|(pack, _)| async move {
            let key = layout::pack(&pack.id);
            // Its locked version would stay, and be paid for beside the new one.
            if locked_until(core, &key)
                .await?
                .is_some_and(|until| now < until)
            {
                return Ok(None);
            }
            let moved = match keeper.move_to(&key, rule.class).await {
                Ok(moved) => moved,
                Err(StoreError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(RepositoryError::from(error)),
            };
            core.kept.became_cold(pack.id);
            Ok(moved.then_some(pack))
        })
        .buffer_unordered(AHEAD)
        .try_collect()
        .await?;
    moved
        .iter()
        .flatten()
        .for_each(|pack| report.moved.add(pack));
    Ok(())
}

/// The packs by their numbers, without those that are not there or are going.
fn packs_of(core: &CoreState, needed: &HashMap<u32, Timestamp>) -> Vec<(Pack, Timestamp)> {
    let catalog = core.catalog();
    let there = |(number, newest): (&u32, &Timestamp)| {
        let pack = catalog.pack(*number)?;
        let sound = pack.state == PackState::Sound && catalog.doom_of(*number).is_none();
        sound.then_some((pack, *newest))
    };
    needed.iter().filter_map(there).collect()
}

impl LockRule {
    /// When the lock of what a point needs ends that was committed then.
    fn until(&self, committed: Timestamp) -> Timestamp {
        let step = (self.period / 16).clamp(Duration::from_secs(1), LONGEST_STEP);
        let step = i64::try_from(step.as_micros()).unwrap_or(i64::MAX);
        let end = committed.after(self.period).as_micros();
        let over = end.rem_euclid(step);
        let up = if over == 0 { 0 } else { step - over };
        Timestamp::from_micros(end.saturating_add(up))
    }
}

#[cfg(test)]
mod tests {
    use super::LockRule;
    use holdfast_store::LockMode;
    use holdfast_types::Timestamp;
    use std::time::Duration;

    #[test]
    fn locks_end_on_a_grid_and_never_early() {
        for (period, step) in [(30 * 86_400, 86_400), (3_600, 225), (1, 1)] {
            let rule = LockRule {
                mode: LockMode::Governance,
                period: Duration::from_secs(period),
            };
            for micros in [0, 1, 999_999, 1_795_256_130_250_000] {
                let committed = Timestamp::from_micros(micros);
                let (end, until) = (committed.after(rule.period), rule.until(committed));
                assert!(until >= end && until.since(end) < Duration::from_secs(step));
                assert_eq!(
                    until.as_micros() % (i64::try_from(step).unwrap() * 1_000_000),
                    0
                );
            }
        }
    }
}
