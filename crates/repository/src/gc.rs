//! Garbage collection: mark, tombstone, wait, mark again, sweep.
//!
//! **One run** marks what every manifest needs, confirms earlier tombstones against that, sweeps those
//! whose grace is over, and dooms the packs of which nothing (or too little, after copying the rest) is
//! needed. From the moment a pack is doomed, "do you have it?" is answered no for what only it holds.
//!
//! **Why nothing needed is deleted.** A pack is swept only if a mark of the same run finds nothing in it;
//! between the last listing of the points and the moment at which its chunks cease to exist for everybody,
//! no point is committed (the gate). A commit that needs a chunk of a doomed pack spares the pack. A capture
//! that was told "I have it" before the pack was doomed holds up the sweep until it ends.
//! Another coordinator can only be one whose epoch is over: what it may have doomed is never relied upon
//! again, what is needed of it is copied first, and the grace is for what it has still under way.
//!
//! | while … | a capture runs | a point commits | another run | the epoch is lost | kill −9 |
//! |---|---|---|---|---|---|
//! | mark | its packs are left alone | its chunks are sought by the sweep | waits | refused at the next write | nothing was changed |
//! | doom | sends what it lacks again | spares packs | waits | the tombstone binds nobody | marked again by the next run |
//! | sweep | waited for | waits | waits | refused before the first deletion | goes on by the swept tombstone |
//!
//! **Memory**: the mark is a bit in the catalogue's record, no byte more a chunk; 16 bytes a pack; one recipe
//! and one index (24 MB) at a time. This module decides about packs only; which points go is decided elsewhere.

mod choose;
mod indexes;
mod mark;
mod report;
pub(crate) mod stones;
mod sweep;

use crate::catalog::{Doom, Pack, PackState, Weight};
use crate::core_state::CoreState;
use crate::packer::Packer;
use crate::reader::Reader;
use crate::sessions::Sessions;
use crate::{RepositoryError, epochs, layout};
use choose::{Candidate, Chosen, choose};
use futures::StreamExt;
use holdfast_decide::{Tombstone, may_sweep};
use holdfast_types::{Epoch, PackId};
use mark::Marked;
pub use report::{GarbageOptions, GarbageReport, GarbageWatcher, PackCount};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use stones::{PackTombstone, Stone};

/// Chunks read at once when a pack is rewritten.
const READS_AHEAD: usize = 4;

/// Everything that a run works on.
pub(crate) struct Collector<'a> {
    pub(crate) core: &'a Arc<CoreState>,
    pub(crate) reader: &'a Arc<Reader>,
    pub(crate) packer: &'a Arc<Packer>,
    pub(crate) sessions: &'a Arc<Sessions>,
    pub(crate) epoch: Epoch,
    pub(crate) options: GarbageOptions,
    pub(crate) watcher: &'a dyn GarbageWatcher,
}

impl Collector<'_> {
    /// One run.
    pub(crate) async fn run(&self) -> Result<GarbageReport, RepositoryError> {
        let core = self.core;
        epochs::check(core, self.epoch).await?;
        core.compare_packs().await?;
        let mut stones = stones::read_all(core).await?;
        let known = core.catalog().next_number();
        let (mut marked, complete) = self.mark().await?;
        let mut report = GarbageReport {
            points: marked.points(),
            stopped: !complete,
            ..GarbageReport::default()
        };
        // With marks that are not complete nothing may be decided.
        if report.stopped {
            return Ok(report);
        }
        let weights = core.catalog().weigh();
        for stone in &mut stones {
            self.confirm(stone, &weights, &mut report).await?;
        }
        for stone in &mut stones {
            if self.watcher.is_stopped() {
                report.stopped = true;
                break;
            }
            self.sweep_if_due(stone, &mut marked, &mut report).await?;
        }
        sweep::finish(self, &mut stones).await?;
        // Sweeping has taken its time: points were committed meanwhile.
        let complete = marked.mark_points(core, self.reader, self.watcher).await?;
        report.stopped |= !complete || self.watcher.is_stopped();
        if report.stopped {
            return Ok(report);
        }
        report.points = marked.points();
        let weights = core.catalog().weigh();
        let chosen = self.choose(&weights, known);
        self.doom(chosen, &mut report).await?;
        report.kept = self.kept();
        Ok(report)
    }

    /// What a run would do now: changes nothing.
    pub(crate) async fn preview(&self) -> Result<GarbageReport, RepositoryError> {
        let core = self.core;
        core.compare_packs().await?;
        let stones = stones::read_all(core).await?;
        let known = core.catalog().next_number();
        let (marked, _) = self.mark().await?;
        let weights = core.catalog().weigh();
        let mut report = GarbageReport {
            points: marked.points(),
            ..GarbageReport::default()
        };
        for stone in stones.iter().filter(|stone| stone.content.swept.is_none()) {
            let due = stone
                .content
                .tombstone
                .since
                .after(stone.content.tombstone.grace);
            for (number, pack) in self.known(&stone.content.packs) {
                if is_live(&weights, number) {
                    report.spared.add(&pack);
                } else if due <= self.options.now {
                    report.swept.add(&pack);
                } else {
                    report.wait(&pack, due);
                }
            }
        }
        let chosen = self.choose(&weights, known);
        let catalog = core.catalog();
        for (count, numbers) in [
            (&mut report.dead, &chosen.dead),
            (&mut report.rewritten, &chosen.rewrite),
        ] {
            numbers
                .iter()
                .filter_map(|number| catalog.pack(*number))
                .for_each(|pack| count.add(&pack));
        }
        drop(catalog);
        let gone = chosen.dead.len() + chosen.rewrite.len();
        report.kept = self.kept();
        report.kept.packs = report.kept.packs.saturating_sub(gone as u64);
        let gone_bytes = report.dead.bytes + report.rewritten.bytes;
        report.kept.bytes = report.kept.bytes.saturating_sub(gone_bytes);
        Ok(report)
    }

    /// Whether everything is marked; not if the run was stopped.
    async fn mark(&self) -> Result<(Marked, bool), RepositoryError> {
        self.core.catalog_mut().clear_marks();
        let mut marked = Marked::default();
        let marking = marked.mark_points(self.core, self.reader, self.watcher);
        let complete = marking.await?;
        Ok((marked, complete))
    }

    /// The packs of a tombstone that are still there.
    fn known(&self, ids: &BTreeSet<PackId>) -> Vec<(u32, Pack)> {
        let catalog = self.core.catalog();
        let numbers = ids.iter().filter_map(|id| catalog.number_of(id));
        numbers
            .filter_map(|number| Some((number, catalog.pack(number)?)))
            .collect()
    }

    /// Brings a tombstone under our epoch, without the packs that turned out to be needed. What another
    /// epoch has doomed is not spared: what is needed of it is copied.
    async fn confirm(
        &self,
        stone: &mut Stone,
        weights: &[Weight],
        report: &mut GarbageReport,
    ) -> Result<(), RepositoryError> {
        if stone.content.swept.is_some() {
            return Ok(());
        }
        let mut packs = BTreeSet::new();
        let mut copy = Vec::new();
        for (number, pack) in self.known(&stone.content.packs) {
            let live = is_live(weights, number);
            let doom = self.core.catalog().doom_of(number);
            match doom {
                Some(Doom::Ours(_)) if !live => {}
                Some(Doom::Anothers) => copy.extend(live.then_some(number)),
                // A commit has spared it since, or the mark has found something in it.
                Some(Doom::Ours(_)) | None => {
                    self.core.catalog_mut().spare(number);
                    report.spared.add(&pack);
                    continue;
                }
            }
            packs.insert(pack.id);
        }
        match self.copy_live(&copy).await {
            Ok(()) => {}
            // It stays as it is, unconfirmed and so not swept, until the chunk is healed.
            Err(error) if is_damage(&error) => {
                tracing::warn!(%error, "packs are not deleted: a chunk that is needed of them can't be read");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        if packs.is_empty() && stone.content.packs.is_empty() {
            return Ok(());
        }
        if packs != stone.content.packs || stone.marked != self.epoch {
            epochs::check(self.core, self.epoch).await?;
            stone.content.packs = packs;
            stones::write(self.core, self.epoch, stone).await?;
        }
        Ok(())
    }

    async fn sweep_if_due(
        &self,
        stone: &mut Stone,
        marked: &mut Marked,
        report: &mut GarbageReport,
    ) -> Result<(), RepositoryError> {
        let PackTombstone {
            tombstone, packs, ..
        } = &stone.content;
        if stone.content.swept.is_some() || packs.is_empty() {
            return Ok(());
        }
        let until = tombstone.since.after(tombstone.grace);
        let due = may_sweep(*tombstone, self.options.now, self.epoch, stone.marked).is_ok();
        let known = self.known(packs);
        if due && !self.is_relied_upon(&known) {
            return sweep::sweep(self, stone, marked, report).await;
        }
        for (_, pack) in &known {
            report.wait(pack, until);
        }
        Ok(())
    }

    /// Whether a capture is under way that may have been told that a chunk of these is there.
    fn is_relied_upon(&self, packs: &[(u32, Pack)]) -> bool {
        let Some(oldest) = self.sessions.oldest() else {
            return false;
        };
        let catalog = self.core.catalog();
        packs
            .iter()
            .any(|(number, _)| match catalog.doom_of(*number) {
                Some(Doom::Ours(nth)) => oldest.dooms < nth,
                Some(Doom::Anothers) => false,
                None => true,
            })
    }

    /// Which packs to doom now, of those that had a number below `known` when the mark began: what was written since has no
    /// marks. Packs that a capture under way may have written are left alone, too.
    fn choose(&self, weights: &[Weight], known: u32) -> Chosen {
        let oldest = self.sessions.oldest();
        let upto = oldest.map_or(known, |oldest| oldest.next_pack.min(known));
        let catalog = self.core.catalog();
        let bad = catalog.packs_with_bad_places();
        let candidates = catalog
            .packs()
            .filter(|(number, _)| *number < upto && catalog.doom_of(*number).is_none())
            .filter_map(|(number, pack)| {
                Some(Candidate {
                    number,
                    size: pack.size,
                    // A chunk of which a place is bad must not become one that is trusted.
                    // One that is locked would stay beside its copy.
                    sound: pack.state == PackState::Sound
                        && !bad.contains(&number)
                        && !self
                            .core
                            .kept
                            .is_locked(&layout::pack(&pack.id), self.options.now),
                    weight: *weights.get(number as usize)?,
                })
            });
        choose(&candidates.collect::<Vec<_>>(), &self.options)
    }

    /// Dooms packs, after copying what is needed of them, and writes that down.
    async fn doom(
        &self,
        chosen: Chosen,
        report: &mut GarbageReport,
    ) -> Result<(), RepositoryError> {
        let all: Vec<u32> = chosen.dead.iter().chain(&chosen.rewrite).copied().collect();
        if all.is_empty() {
            return Ok(());
        }
        {
            // Between a commit's look at its chunks and its manifest nothing ceases to be relied upon.
            let _no_commits = self.core.gate.write().await;
            self.core.catalog_mut().doom(all.iter().copied());
        }
        let mut chosen = chosen;
        match self.copy_live(&chosen.rewrite).await {
            Ok(()) => {}
            Err(error) if is_damage(&error) => {
                // Those packs stay as they are; what is dead goes all the same.
                tracing::warn!(%error, "sparse packs are not rewritten: a chunk of them can't be read");
                let mut catalog = self.core.catalog_mut();
                chosen
                    .rewrite
                    .drain(..)
                    .for_each(|number| catalog.spare(number));
            }
            Err(error) => {
                let mut catalog = self.core.catalog_mut();
                all.iter().for_each(|number| catalog.spare(*number));
                return Err(error);
            }
        }
        if let Err(error) = self.doom_for_good(&chosen, report).await {
            // Whatever of the tombstone was written binds nobody: the next run marks again.
            let mut catalog = self.core.catalog_mut();
            all.iter().for_each(|number| catalog.spare(*number));
            return Err(error);
        }
        Ok(())
    }

    async fn doom_for_good(
        &self,
        chosen: &Chosen,
        report: &mut GarbageReport,
    ) -> Result<(), RepositoryError> {
        if chosen.dead.is_empty() && chosen.rewrite.is_empty() {
            return Ok(());
        }
        epochs::check(self.core, self.epoch).await?;
        let mut doomed = Vec::new();
        {
            let catalog = self.core.catalog();
            for (count, numbers) in [
                (&mut report.dead, &chosen.dead),
                (&mut report.rewritten, &chosen.rewrite),
            ] {
                for pack in numbers.iter().filter_map(|number| catalog.pack(*number)) {
                    count.add(&pack);
                    doomed.push(pack);
                }
            }
        }
        let packs = doomed.iter().map(|pack| pack.id).collect();
        let tombstone = Tombstone {
            since: self.options.now,
            grace: self.options.grace,
        };
        let content = PackTombstone {
            tombstone,
            swept: None,
            finished: false,
            packs,
        };
        stones::create(self.core, self.epoch, content).await?;
        let until = tombstone.since.after(tombstone.grace);
        doomed.iter().for_each(|pack| report.wait(pack, until));
        Ok(())
    }

    /// Copies the marked chunks of doomed packs into new ones, durably.
    async fn copy_live(&self, numbers: &[u32]) -> Result<(), RepositoryError> {
        if numbers.is_empty() {
            return Ok(());
        }
        let packs: HashSet<u32> = numbers.iter().copied().collect();
        let live = self.core.catalog().marked_in(&packs);
        let began = self.packer.failures();
        let ids = futures::stream::iter(live.into_iter().map(|place| place.entry.id));
        let mut chunks = std::pin::pin!(self.reader.clone().read_many(ids, READS_AHEAD));
        while let Some(chunk) = chunks.next().await {
            // Authenticated, and verified when it was first taken.
            let chunk = chunk?;
            if !self.core.catalog().is_readable(&chunk.id) {
                // It came from a place that is known to be bad.
                return Err(RepositoryError::ChunkMissing { id: chunk.id });
            }
            self.packer.put(chunk.into(), self.epoch, began).await?;
        }
        self.packer.flush(self.epoch, began).await
    }

    /// Packs that stay.
    fn kept(&self) -> PackCount {
        let catalog = self.core.catalog();
        let mut kept = PackCount::default();
        for (number, pack) in catalog.packs() {
            if catalog.doom_of(number).is_none() && pack.state != PackState::Missing {
                kept.add(&pack);
            }
        }
        kept
    }
}

/// Whether something in the repository, rather than its store, has failed.
fn is_damage(error: &RepositoryError) -> bool {
    matches!(
        error,
        RepositoryError::Damaged { .. } | RepositoryError::ChunkMissing { .. }
    )
}

/// Whether the mark has found something in the pack.
fn is_live(weights: &[Weight], number: u32) -> bool {
    let weight = weights.get(number as usize);
    weight.is_some_and(|weight| weight.live_chunks > 0)
}

/// Packs that are there and of which no point needs a chunk. Not while a run is under way: it marks anew.
pub(crate) async fn unneeded(
    core: &Arc<CoreState>,
    reader: &Arc<Reader>,
) -> Result<Vec<(PackId, u64)>, RepositoryError> {
    core.catalog_mut().clear_marks();
    Marked::default().mark_points(core, reader, &()).await?;
    let catalog = core.catalog();
    let weights = catalog.weigh();
    let packs = catalog.packs();
    let there = packs.filter(|(_, pack)| pack.state != PackState::Missing);
    let unneeded = there.filter(|(number, _)| !is_live(&weights, *number));
    Ok(unneeded.map(|(_, pack)| (pack.id, pack.size)).collect())
}

/// Packs that do not exist any more, although some may still be there.
pub(crate) async fn swept(core: &CoreState) -> Result<HashSet<PackId>, RepositoryError> {
    let stones = stones::read_all(core).await?.into_iter();
    let swept = stones.filter(|stone| stone.content.swept.is_some());
    Ok(swept.flat_map(|stone| stone.content.packs).collect())
}

/// Takes the tombstones that stand in the store for decisions of another: what they doom is not relied upon
/// any more, what they have swept does not exist. Returns the latter.
pub(crate) async fn heed(core: &CoreState) -> Result<HashSet<PackId>, RepositoryError> {
    let stones = stones::read_all(core).await?;
    let mut gone = HashSet::new();
    let mut catalog = core.catalog_mut();
    for stone in stones {
        let ids = stone.content.packs;
        let numbers: Vec<u32> = ids.iter().filter_map(|id| catalog.number_of(id)).collect();
        if stone.content.swept.is_some() {
            catalog.remove_packs(&numbers.into_iter().collect());
            gone.extend(ids);
        } else {
            catalog.doom_by_another(numbers);
        }
    }
    Ok(gone)
}
