//! I1, I2 and I4 on both sides at once: captures, removals, garbage collection and damage on the primary, syncs, removals,
//! garbage collection and crashes on the copy, new coordinators. Two lists of what was promised are the oracle.
//!
//! Every run has a few fixed seeds and a fresh one, which it prints. `HOLDFAST_STRESS_SEED` repeats one run, `HOLDFAST_STRESS_STEPS` makes runs longer.

use crate::copying::name;
use crate::garbage::{at, options, tombstone};
use crate::place::TestStore;
use crate::stress::fresh_seed;
use crate::support::{Files, SMALL, create, kek, noise, open, point_id, restore};
use holdfast_repository::{GarbageOptions, Repository, RepositoryError, VerifyLevel};
use holdfast_store::{FaultPlan, FaultStore, StopAt, StopEffect};
use holdfast_types::Epoch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SEEDS: [u64; 6] = [1, 2, 3, 4, 5, 6];
const STEPS: u32 = 110;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    /// It may be there or not.
    Unsure,
    Gone,
}

struct World {
    random: u64,
    ours: Arc<TestStore>,
    theirs: Arc<TestStore>,
    primary: Repository,
    epoch: Epoch,
    faulty: Arc<FaultStore<Arc<TestStore>>>,
    copy: Repository,
    now: u64,
    next_point: u32,
    /// Of every point ever committed.
    contents: BTreeMap<u32, u32>,
    on_primary: BTreeSet<u32>,
    on_copy: BTreeMap<u32, Fate>,
    done: BTreeMap<&'static str, u32>,
}

fn garbage(now: u64) -> GarbageOptions {
    GarbageOptions {
        small_pack_bytes: 2 << 10,
        ..options(at(now))
    }
}

/// Own and shared bytes come to lie in one pack, so that removing a point leaves half of one.
fn content(which: u32) -> Files {
    let own = u64::from(which % 40);
    BTreeMap::from([
        ("own".to_owned(), noise(own + 10, 40_000)),
        ("shared".to_owned(), noise(own / 3 + 100, 25_000)),
        ("z-common".to_owned(), noise(7, 20_000)),
    ])
}

async fn attach(
    primary: &Repository,
    term: Epoch,
    theirs: &Arc<TestStore>,
) -> (Arc<FaultStore<Arc<TestStore>>>, Repository) {
    let faulty = Arc::new(FaultStore::new(theirs.clone(), FaultPlan::default()));
    let made = primary.make_copy(faulty.as_ref(), &name(), at(0)).await;
    made.unwrap();
    let copy = primary.open_copy(faulty.clone(), &name(), SMALL).await;
    let copy = copy.unwrap();
    assert!(copy.report().damaged.is_empty(), "{:?}", copy.report());
    copy.claim_copy(primary, &name(), term).await.unwrap();
    (faulty, copy)
}

impl World {
    fn draw(&mut self, below: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u32::try_from((self.random >> 32) % u64::from(below)).unwrap()
    }

    async fn new(seed: u64) -> Self {
        let ours = Arc::new(TestStore::without_locks());
        let theirs = Arc::new(TestStore::without_locks());
        let primary = create(ours.clone()).await;
        let epoch = primary.claim_epoch().await.unwrap();
        let (faulty, copy) = attach(&primary, epoch, &theirs).await;
        Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            ours,
            theirs,
            primary,
            epoch,
            faulty,
            copy,
            now: 0,
            next_point: 0,
            contents: BTreeMap::new(),
            on_primary: BTreeSet::new(),
            on_copy: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    fn kept_on_copy(&self) -> Vec<u32> {
        let kept = self.on_copy.iter().filter(|(_, fate)| **fate == Fate::Kept);
        kept.map(|(n, _)| *n).collect()
    }

    fn pick(&mut self, from: &[u32]) -> Option<u32> {
        let len = u32::try_from(from.len()).unwrap();
        (len > 0).then(|| from[self.draw(len) as usize])
    }

    async fn step(&mut self) {
        match self.draw(100) {
            0..24 => self.capture_beside_sync().await,
            24..44 => self.sync_one().await,
            44..52 => self.remove_from_primary().await,
            52..62 => self.remove_from_copy().await,
            62..70 => self.collect_on_primary().await,
            70..80 => self.collect_on_copy().await,
            80..86 => self.now += u64::from(self.draw(150)),
            86..94 => self.plan_crash(),
            94..97 => self.damage_primary().await,
            _ => self.new_coordinator("new coordinator").await,
        }
        if self.faulty.is_stopped() {
            self.count("crash");
            (self.faulty, self.copy) = attach(&self.primary, self.epoch, &self.theirs).await;
        }
        self.check().await;
    }

    async fn capture_beside_sync(&mut self) {
        self.next_point += 1;
        let (n, which) = (self.next_point, self.draw(1000));
        let primary: Vec<u32> = self.on_primary.iter().copied().collect();
        let other = self.pick(&primary);
        let files = content(which);
        let (captured, synced) = tokio::join!(
            crate::support::capture(&self.primary, self.epoch, n, &files),
            async {
                let id = point_id(other?);
                Some(self.primary.sync_point(&self.copy, self.epoch, &id).await)
            }
        );
        captured.unwrap();
        self.contents.insert(n, which);
        self.on_primary.insert(n);
        if let (Some(other), Some(synced)) = (other, synced) {
            self.synced(other, synced.map(|synced| synced.new));
        }
        self.count("capture");
    }

    async fn sync_one(&mut self) {
        let primary: Vec<u32> = self.on_primary.iter().copied().collect();
        let Some(n) = self.pick(&primary) else { return };
        let id = point_id(n);
        let synced = self.primary.sync_point(&self.copy, self.epoch, &id).await;
        self.synced(n, synced.map(|synced| synced.new));
    }

    fn synced(&mut self, n: u32, outcome: Result<bool, RepositoryError>) {
        match outcome {
            Ok(new) => {
                self.count(if new { "sync" } else { "nothing to sync" });
                self.on_copy.insert(n, Fate::Kept);
            }
            Err(error) => {
                assert!(self.faulty.is_stopped(), "{error:?}");
                if self.on_copy.get(&n) != Some(&Fate::Kept) {
                    self.on_copy.insert(n, Fate::Unsure);
                }
            }
        }
    }

    async fn remove_from_primary(&mut self) {
        let primary: Vec<u32> = self.on_primary.iter().copied().collect();
        let Some(n) = self.pick(&primary) else { return };
        let stone = tombstone(n, at(self.now));
        self.primary
            .tombstone_point(self.epoch, &stone)
            .await
            .unwrap();
        self.now += 100;
        let id = point_id(n);
        let swept = self.primary.sweep_point(self.epoch, &id, at(self.now));
        swept.await.unwrap();
        self.on_primary.remove(&n);
        self.count("removed from the primary");
    }

    async fn remove_from_copy(&mut self) {
        let kept = self.kept_on_copy();
        let Some(n) = self.pick(&kept) else { return };
        let stone = tombstone(n, at(self.now));
        if let Err(error) = self.copy.tombstone_point(self.epoch, &stone).await {
            assert!(self.faulty.is_stopped(), "{error:?}");
            return;
        }
        self.now += 100;
        let id = point_id(n);
        let swept = self.copy.sweep_point(self.epoch, &id, at(self.now));
        let fate = match swept.await {
            Ok(()) => Fate::Gone,
            Err(error) => {
                assert!(self.faulty.is_stopped(), "{error:?}");
                Fate::Unsure
            }
        };
        self.on_copy.insert(n, fate);
        self.count("removed from the copy");
    }

    async fn collect_on_primary(&mut self) {
        let run = self.primary.collect_garbage(self.epoch, garbage(self.now));
        let report = run.await.unwrap();
        if report.rewritten.packs > 0 {
            self.count("rewritten on the primary");
        }
        if report.swept.packs > 0 {
            self.count("swept on the primary");
        }
    }

    async fn collect_on_copy(&mut self) {
        let run = self.copy.collect_garbage(self.epoch, garbage(self.now));
        match run.await {
            Ok(report) => {
                if report.rewritten.packs > 0 {
                    self.count("rewritten on the copy");
                }
                if report.swept.packs > 0 {
                    self.count("swept on the copy");
                }
            }
            Err(error) => assert!(self.faulty.is_stopped(), "{error:?}"),
        }
    }

    fn plan_crash(&mut self) {
        let effect = match self.draw(2) {
            0 => StopEffect::Before,
            _ => StopEffect::After,
        };
        let mutation = self.faulty.mutations() + 1 + u64::from(self.draw(12));
        let stop_at = Some(StopAt { mutation, effect });
        self.faulty.set_plan(FaultPlan {
            stop_at,
            ..FaultPlan::default()
        });
    }

    /// A pack of the primary rots, is in the way of a sync, and is mended.
    async fn damage_primary(&mut self) {
        use holdfast_store::ObjectStore as _;
        let packs = self.ours.list(&"packs".parse().unwrap()).await.unwrap();
        let len = u32::try_from(packs.len()).unwrap();
        if len == 0 {
            return;
        }
        let pack = packs[self.draw(len) as usize].key.clone();
        crate::support::rot(&self.ours, &pack).await;
        let primary: Vec<u32> = self.on_primary.iter().copied().collect();
        if let Some(n) = self.pick(&primary) {
            let id = point_id(n);
            // With a fresh eye: what the open one has read it may remember.
            let fresh = open(self.ours.clone()).await;
            match fresh.sync_point(&self.copy, self.epoch, &id).await {
                Ok(synced) => self.synced(n, Ok(synced.new)),
                Err(_) => {
                    self.count("refused for damage");
                    if self.on_copy.get(&n) != Some(&Fate::Kept) {
                        self.on_copy.insert(n, Fate::Unsure);
                    }
                }
            }
        }
        crate::support::rot(&self.ours, &pack).await;
        self.new_coordinator("mended").await;
    }

    async fn new_coordinator(&mut self, why: &'static str) {
        if self.faulty.is_stopped() {
            return;
        }
        let old = (self.primary.clone(), self.copy.clone(), self.epoch);
        self.primary = Repository::open_with(self.ours.clone(), kek(), SMALL)
            .await
            .unwrap();
        self.epoch = self.primary.claim_epoch().await.unwrap();
        (self.faulty, self.copy) = attach(&self.primary, self.epoch, &self.theirs).await;
        let late = old.1.collect_garbage(old.2, garbage(self.now)).await;
        assert!(late.is_err(), "{late:?}");
        self.count(why);
    }

    async fn check(&mut self) {
        let listed = self.copy.list_point_ids().await.unwrap();
        for (n, fate) in &mut self.on_copy {
            let there = listed.contains(&point_id(*n));
            match fate {
                Fate::Kept => assert!(there, "point {n} is lost on the copy"),
                Fate::Gone => assert!(!there, "point {n} is back on the copy"),
                // What is half removed may be there, and then is whole.
                Fate::Unsure => {}
            }
        }
        if self.draw(12) == 0 {
            self.check_copy().await;
        }
    }

    /// I1 with the copy alone.
    async fn check_copy(&self) {
        let alone = open(self.theirs.clone()).await;
        let damaged = &alone.report().damaged;
        assert!(damaged.is_empty(), "{damaged:?}");
        for id in alone.list_point_ids().await.unwrap() {
            let n = (0..=self.next_point).find(|n| point_id(*n) == id).unwrap();
            let restored = restore(&alone, n).await;
            let restored = restored.unwrap_or_else(|error| panic!("point {n}: {error:?}"));
            assert_eq!(restored, content(self.contents[&n]), "point {n}");
        }
    }

    /// In the end the copy has everything that the primary has, and nothing that nobody needs.
    async fn end(&mut self) {
        self.faulty.heal();
        self.new_coordinator("end").await;
        let primary: Vec<u32> = self.on_primary.iter().copied().collect();
        for n in &primary {
            let id = point_id(*n);
            let synced = self.primary.sync_point(&self.copy, self.epoch, &id).await;
            synced.unwrap();
            self.on_copy.insert(*n, Fate::Kept);
        }
        let there = self.copy.list_point_ids().await.unwrap();
        for n in 0..=self.next_point {
            if there.contains(&point_id(n)) && !primary.contains(&n) {
                let stone = tombstone(n, at(self.now));
                match self.copy.tombstone_point(self.epoch, &stone).await {
                    // Its deletion was left half way: it is ended.
                    Ok(_) | Err(RepositoryError::PointGone { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
                let later = at(self.now + 100);
                let id = point_id(n);
                let swept = self.copy.sweep_point(self.epoch, &id, later);
                swept.await.unwrap();
            }
        }
        for _ in 0..6 {
            self.now += 200;
            let run = self.copy.collect_garbage(self.epoch, garbage(self.now));
            run.await.unwrap();
        }
        self.check_copy().await;
        let alone = open(self.theirs.clone()).await;
        let verified = alone.verify(VerifyLevel::Full).await.unwrap();
        assert!(verified.is_sound(), "{verified:?}");
        assert_eq!(alone.list_point_ids().await.unwrap().len(), primary.len());
        let contents: BTreeSet<u32> = primary.iter().map(|n| self.contents[n] % 40).collect();
        let shared: BTreeSet<u32> = contents.iter().map(|own| own / 3).collect();
        let needed = contents.len() * 40_000 + shared.len() * 25_000 + 20_000;
        let recipes = primary.len() * 4_000;
        let stored = usize::try_from(alone.stats().stored_bytes).unwrap();
        let allowed = (needed + recipes) * 2 + 200_000;
        assert!(stored <= allowed, "{stored} bytes stored, {needed} needed");
    }
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_holds_what_it_was_given_whatever_happens() {
    let steps = setting("HOLDFAST_STRESS_STEPS").unwrap_or(STEPS);
    let seeds = match setting("HOLDFAST_STRESS_SEED") {
        Some(seed) => vec![seed],
        None => SEEDS.into_iter().chain([fresh_seed()]).collect(),
    };
    let mut done: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in seeds {
        println!("HOLDFAST_STRESS_SEED={seed} HOLDFAST_STRESS_STEPS={steps}");
        let mut world = World::new(seed).await;
        for _ in 0..steps {
            world.step().await;
        }
        world.end().await;
        for (what, times) in world.done {
            *done.entry(what).or_default() += times;
        }
    }
    println!("{done:?}");
    if setting::<u64>("HOLDFAST_STRESS_SEED").is_some() {
        return;
    }
    for what in [
        "capture",
        "sync",
        "nothing to sync",
        "removed from the primary",
        "removed from the copy",
        "rewritten on the primary",
        "swept on the primary",
        "rewritten on the copy",
        "swept on the copy",
        "refused for damage",
        "new coordinator",
        "crash",
    ] {
        assert!(done.contains_key(what), "never happened: {what}; {done:?}");
    }
}
