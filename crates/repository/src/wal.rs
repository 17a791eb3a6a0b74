//! Parts of write-ahead logs: written once, create-only, under a checked epoch; read with every entry proven.
//!
//! A part is named by its run and the index of its first entry, so two writers of one run meet at the same name: the second one is
//! told what is there and goes on behind it. That is right even if the first one was superseded in between: what it wrote are entries
//! that the server logged, proven by their CRCs.
//!
//! | while … | another appends the same part | it is read | parts are merged | parts are removed |
//! |---|---|---|---|---|
//! | a part is appended | one of them writes, both are told the same end | it is there or not | only parts that were listed | only parts that were listed |
//! | it is read | – | – | the part or what stands for it is there | "not there": list again |
//! | a newer epoch is claimed | the older writer is refused, before or after it has written one part more | goes on | refused, or the same entries under one more name | refused, or one batch more goes of what it had decided upon |
//!
//! Many small parts are **merged** into one object, named by its first entry and the one after its last. It is written create-only and read
//! back before a part that it stands for may go; as long as both are there, the merged one counts, or if it is damaged the others do.
//!
//! Garbage collection and the removal of points don't look at these objects. What goes is decided by `holdfast_decide::logs` and named one by one.

mod change;
mod rejoin;

pub(crate) use change::{merge, remove};
pub(crate) use rejoin::read_or_rejoin;

use crate::core_state::CoreState;
use crate::layout::{self, WalPart, WalSeries};
use crate::verify::VerifyReport;
use crate::{Damage, RepositoryError, epochs, system};
use bytes::Bytes;
use holdfast_archive::{ObjectKind, WalObject, WalOrigin, WalRun, sealed};
use holdfast_store::{KeyPrefix, ObjectKey, PutMode, StoreError};
use holdfast_types::{Epoch, IncarnationId, Namespace, ShardId, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An archived run of entries, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalListing {
    /// Which run.
    pub series: WalSeries,
    /// The parts that count, by the index of their first entries.
    pub parts: BTreeMap<u64, StoredPart>,
    /// Parts for which a merged one stands.
    pub replaced: Vec<StoredPart>,
}

/// An object of a log, as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// Its name.
    pub part: WalPart,
    /// Bytes as stored.
    pub size: u64,
    /// When it was stored, by the store's clock.
    pub stored: Timestamp,
}

/// What became of parts that were to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovedParts {
    /// Gone: how many, and their bytes.
    pub objects: u64,
    /// Bytes as stored.
    pub bytes: u64,
    /// Those that the store refuses to delete, and why it does (the last one's reason).
    pub refused: u64,
    /// See `refused`.
    pub why: Option<String>,
}

/// What is durable after a part was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The part that stands at this place of the run. Whoever appended another one goes on at its end.
    pub run: WalRun,
    /// Whether it was there before.
    pub was_there: bool,
}

impl From<&WalOrigin> for WalSeries {
    fn from(origin: &WalOrigin) -> Self {
        Self {
            namespace: origin.namespace.clone(),
            incarnation: origin.incarnation,
            shard: origin.shard,
            timeline: origin.timeline,
        }
    }
}

pub(crate) async fn append(
    core: &Arc<CoreState>,
    epoch: Epoch,
    part: WalObject,
) -> Result<Appended, RepositoryError> {
    epochs::check(core, epoch).await?;
    let (series, run) = (WalSeries::from(part.origin()), *part.run());
    let key = layout::wal_part(&series, WalPart::appended(run.first));
    let salt = system::random()?;
    let (sealing, what) = (core.clone(), key.clone());
    let object = system::blocking(move || {
        let invalid = |error: Damage| RepositoryError::invalid(&what, error);
        let payload = part.encode().map_err(|error| invalid(error.into()))?;
        let master = sealing.master.newest();
        sealed::seal(ObjectKind::Wal, epoch, salt, master, &payload)
            .map_err(|error| invalid(error.into()))
    })
    .await?;
    // Sealing took its time.
    epochs::check(core, epoch).await?;
    match core
        .store
        .put(&key, object.into(), PutMode::CreateNew)
        .await
    {
        Ok(()) => Ok(Appended {
            run,
            was_there: false,
        }),
        Err(StoreError::AlreadyExists { .. }) => {
            let there = read(core, &series, WalPart::appended(run.first)).await?;
            let there = there.ok_or_else(|| RepositoryError::damaged(&key, Damage::Missing))?;
            Ok(Appended {
                run: *there.run(),
                was_there: true,
            })
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn list(
    core: &CoreState,
    namespace: &Namespace,
) -> Result<Vec<WalListing>, RepositoryError> {
    list_below(core, &layout::wal_of(namespace)).await
}

pub(crate) async fn list_shard(
    core: &CoreState,
    namespace: &Namespace,
    incarnation: IncarnationId,
    shard: ShardId,
) -> Result<Vec<WalListing>, RepositoryError> {
    list_below(core, &layout::wal_of_shard(namespace, incarnation, shard)).await
}

async fn list_below(
    core: &CoreState,
    prefix: &KeyPrefix,
) -> Result<Vec<WalListing>, RepositoryError> {
    let mut all: BTreeMap<WalSeries, Vec<StoredPart>> = BTreeMap::new();
    for found in core.store.list(prefix).await? {
        if let Some((series, part)) = layout::parse_wal(&found.key) {
            all.entry(series).or_default().push(StoredPart {
                part,
                size: found.size,
                stored: found.modified,
            });
        }
    }
    let listings = all.into_iter();
    Ok(listings
        .map(|(series, found)| listing(series, found))
        .collect())
}

/// Merged parts count in place of those that they stand for: of several that begin at one entry the longest behind which another goes on. Two
/// coordinators can have merged parts that overlap, when one took over from the other: then one of these counts, with what it does not hold, and the
/// other is put aside.
fn listing(series: WalSeries, mut found: Vec<StoredPart>) -> WalListing {
    found.sort_by_key(|stored| (stored.part.first, Reverse(stored.part.merged)));
    let begin: BTreeSet<u64> = found.iter().map(|stored| stored.part.first).collect();
    let is_within = |at: u64| {
        let within = |part: WalPart| part.first < at && part.merged.is_some_and(|next| at < next);
        found.iter().any(|stored| within(stored.part))
    };
    let is_joint = |stored: &StoredPart| {
        let ends = stored.part.merged;
        ends.is_none_or(|next| begin.contains(&next) || !is_within(next))
    };
    let mut listing = WalListing {
        series,
        parts: BTreeMap::new(),
        replaced: Vec::new(),
    };
    let (mut covered, mut goes_on) = (0, true);
    for alike in found.chunk_by(|one, other| one.part.first == other.part.first) {
        let longest = alike[0].part;
        // Nothing else may hold what is behind the one before.
        let is_needed = !goes_on && longest.merged.is_some_and(|next| next > covered);
        let chosen = if longest.first >= covered || is_needed {
            let joint = alike.iter().position(is_joint);
            goes_on = joint.is_some();
            Some(joint.unwrap_or(0))
        } else {
            None
        };
        for (nth, stored) in alike.iter().enumerate() {
            if chosen == Some(nth) {
                covered = covered.max(stored.part.merged.unwrap_or(0));
                listing.parts.insert(stored.part.first, *stored);
            } else {
                listing.replaced.push(*stored);
            }
        }
    }
    listing
}

pub(crate) async fn read(
    core: &Arc<CoreState>,
    series: &WalSeries,
    part: WalPart,
) -> Result<Option<WalObject>, RepositoryError> {
    let key = layout::wal_part(series, part);
    let bytes = match core.store.get(&key).await {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(RepositoryError::damaged(&key, Damage::of_read(error)?)),
    };
    let (opening, name) = (core.clone(), key.clone());
    let opened = system::blocking(move || Ok(open(&name, &bytes, &opening))).await?;
    let part = opened.map_err(|damage| RepositoryError::damaged(&key, damage))?;
    Ok(Some(part))
}

pub(crate) async fn parts(
    core: &CoreState,
    series: &WalSeries,
) -> Result<BTreeMap<u64, StoredPart>, RepositoryError> {
    let runs = list_below(core, &layout::wal_series(series)).await?;
    let own = runs.into_iter().find(|run| run.series == *series);
    Ok(own.map(|run| run.parts).unwrap_or_default())
}

pub(crate) async fn last(
    core: &Arc<CoreState>,
    series: &WalSeries,
) -> Result<Option<WalObject>, RepositoryError> {
    let parts = parts(core, series).await?;
    match parts.last_key_value() {
        Some((_, last)) => read(core, series, last.part).await,
        None => Ok(None),
    }
}

/// Opens a part and proves it, and that it stands under its own name.
pub(crate) fn open(key: &ObjectKey, bytes: &Bytes, core: &CoreState) -> Result<WalObject, Damage> {
    let opened = sealed::open(bytes, ObjectKind::Wal, &core.master)?;
    let part = WalObject::decode(&opened.payload)?;
    let (series, run) = (WalSeries::from(part.origin()), part.run());
    let named = layout::parse_wal(key).filter(|(named, name)| {
        let whole = name.merged.is_none_or(|next| next == run.next);
        *named == series && name.first == run.first && whole
    });
    if named.is_some() {
        Ok(part)
    } else {
        Err(Damage::Misplaced)
    }
}

/// Every part opens, is proven, and continues the one before it.
pub(crate) async fn check(
    core: &Arc<CoreState>,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    for listing in list_below(core, &layout::wal()).await? {
        let mut before: Option<WalRun> = None;
        for stored in listing.parts.values() {
            let key = layout::wal_part(&listing.series, stored.part);
            match read(core, &listing.series, stored.part).await {
                Ok(Some(part)) => {
                    let run = *part.run();
                    let follows = before.map_or(Ok(()), |before| run.follows(&before));
                    if let Err(error) = follows {
                        report.damage(&key, error.into());
                    }
                    before = Some(run);
                }
                // Merged or removed since it was listed: what is next does not continue what was before.
                Ok(None) => before = None,
                Err(RepositoryError::Damaged { object, source }) => {
                    report.damage(object, source);
                    // What it says of its end is not known.
                    before = None;
                }
                Err(other) => return Err(other),
            }
        }
    }
    Ok(())
}
