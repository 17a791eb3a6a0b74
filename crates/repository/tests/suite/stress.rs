//! I1, I2 and I4 under everything at once: concurrent captures, restores, removals and garbage collection,
//! pins, legal holds and locks of the store, crashes at any put, delete or lock, lost epochs. A simple list of what was promised is the oracle.
//!
//! Every run has a few fixed seeds and a fresh one, which it prints. `HOLDFAST_STRESS_SEED` repeats one run, `HOLDFAST_STRESS_STEPS` makes
//! runs longer.

mod protection;
mod takeover;

use crate::garbage::{GRACE, at, options, tombstone};
use crate::place::TestStore;
use crate::support::{Files, SMALL, create, kek, noise, open, point_id, restore, store_files};
use holdfast_archive::Manifest;
use holdfast_repository::{GarbageOptions, Repository, RepositoryError, VerifyLevel, WriteSession};
use holdfast_store::{FaultPlan, FaultStore, StopAt, StopEffect};
use holdfast_types::Epoch;
use protection::Promises;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use takeover::Road;

const SEEDS: [u64; 6] = [1, 2, 3, 4, 5, 6];
const STEPS: u32 = 120;

/// What was promised of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It restores; a tombstone may be on it.
    Kept,
    /// It was asked to be swept and may or may not be gone.
    Unsure,
    Gone,
}

/// A capture that has stored everything and not committed yet.
struct Pending {
    n: u32,
    content: u32,
    session: WriteSession,
    manifest: Manifest,
}

struct Coordinator {
    store: Arc<FaultStore<Arc<Road>>>,
    road: Arc<Road>,
    repository: Repository,
    epoch: Epoch,
    pending: Vec<Pending>,
}

struct World {
    random: u64,
    memory: Arc<TestStore>,
    now: u64,
    next_point: u32,
    /// Content and fate of every point whose commit was acknowledged, or found after a crash.
    points: BTreeMap<u32, (u32, Fate)>,
    /// Points whose commit was not acknowledged.
    unacknowledged: BTreeMap<u32, u32>,
    promises: Promises,
    leader: Coordinator,
    deposed: Option<Coordinator>,
    done: BTreeMap<&'static str, u32>,
}

/// Small packs are mostly let be, so that packs die, too.
fn garbage(now: u64) -> GarbageOptions {
    GarbageOptions {
        small_pack_bytes: 2 << 10,
        ..options(at(now))
    }
}

/// One of a few contents that share parts with one another.
fn content(which: u32) -> Files {
    let own = u64::from(which % 40);
    let shared = own / 3;
    BTreeMap::from([
        ("own".to_owned(), noise(own + 10, 90_000)),
        ("shared".to_owned(), noise(shared + 100, 120_000)),
        ("common".to_owned(), noise(7, 20_000)),
    ])
}

impl Coordinator {
    async fn start(memory: &Arc<TestStore>, plan: FaultPlan) -> Option<Self> {
        let road = Arc::new(Road::to(memory.clone()));
        let store = Arc::new(FaultStore::new(road.clone(), plan));
        let repository = Repository::open_with(store.clone(), kek(), SMALL)
            .await
            .ok()?;
        assert!(
            repository.report().damaged.is_empty(),
            "{:?}",
            repository.report()
        );
        let epoch = repository.claim_epoch().await.ok()?;
        Some(Self {
            store,
            road,
            repository,
            epoch,
            pending: Vec::new(),
        })
    }
}

impl World {
    fn draw(&mut self, below: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u32::try_from((self.random >> 32) % u64::from(below)).unwrap()
    }

    async fn new(seed: u64) -> Self {
        let memory = Arc::new(TestStore::locking());
        create(memory.clone()).await;
        let leader = Coordinator::start(&memory, FaultPlan::default())
            .await
            .unwrap();
        Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            memory,
            now: 0,
            next_point: 0,
            points: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            promises: Promises::default(),
            leader,
            deposed: None,
            done: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    fn kept(&self) -> Vec<u32> {
        let kept = self
            .points
            .iter()
            .filter(|(_, (_, fate))| *fate == Fate::Kept);
        kept.map(|(n, _)| *n).collect()
    }

    fn pick(&mut self) -> Option<u32> {
        let kept = self.kept();
        let len = u32::try_from(kept.len()).unwrap();
        (len > 0).then(|| kept[self.draw(len) as usize])
    }

    async fn step(&mut self) {
        match self.draw(100) {
            0..14 => self.protect_something().await,
            14..30 => self.capture_beside_garbage_collection().await,
            30..34 => self.begin_capture().await,
            34..37 => self.commit_pending().await,
            37..45 => self.restore_one().await,
            45..57 => self.tombstone_one().await,
            57..60 => self.undelete_one().await,
            60..69 => self.sweep_all().await,
            69..80 => self.collect().await,
            80..92 => self.now += u64::from(self.draw(150)),
            92..95 => self.plan_crash(),
            95..98 => self.depose_in_mid_collection().await,
            _ => self.depose().await,
        }
        if self.leader.store.is_stopped() {
            self.restart("crash").await;
        }
        self.check().await;
    }

    fn new_point(&mut self) -> (u32, u32) {
        self.next_point += 1;
        (self.next_point, self.draw(1000))
    }

    /// Two captures, a restore and a collection at the same time.
    async fn capture_beside_garbage_collection(&mut self) {
        let new = [self.new_point(), self.new_point()];
        let old = self.pick().map(|n| (n, self.points[&n].0));
        let Coordinator {
            repository, epoch, ..
        } = &self.leader;
        let committed = at(self.now);
        let capture = |(n, which): (u32, u32)| async move {
            let session = repository.begin(*epoch).await?;
            let mut manifest = store_files(repository, &session, n, &content(which)).await?;
            manifest.committed = committed;
            repository.commit_point(&manifest).await
        };
        let restoring = async {
            let Some((n, which)) = old else { return };
            let _protection = repository.protect();
            match restore(repository, n).await {
                Ok(files) => assert_eq!(files, content(which), "point {n}"),
                Err(error) => assert!(self.leader.store.is_stopped(), "point {n}: {error}"),
            }
        };
        let (one, two, collected, ()) = tokio::join!(
            capture(new[0]),
            capture(new[1]),
            repository.collect_garbage(*epoch, garbage(self.now)),
            restoring
        );
        let stopped = self.leader.store.is_stopped();
        assert!(stopped || collected.is_ok(), "{collected:?}");
        for ((n, which), outcome) in new.into_iter().zip([one, two]) {
            assert!(stopped || outcome.is_ok(), "{outcome:?}");
            self.committed(n, which, &outcome);
        }
        self.count("capture");
    }

    fn committed(&mut self, n: u32, which: u32, outcome: &Result<(), RepositoryError>) {
        if outcome.is_ok() {
            self.points.insert(n, (which, Fate::Kept));
        } else {
            self.unacknowledged.insert(n, which);
        }
    }

    async fn begin_capture(&mut self) {
        let (n, which) = self.new_point();
        let leader = &mut self.leader;
        let Ok(session) = leader.repository.begin(leader.epoch).await else {
            assert!(leader.store.is_stopped());
            return;
        };
        match store_files(&leader.repository, &session, n, &content(which)).await {
            Ok(manifest) => leader.pending.push(Pending {
                n,
                content: which,
                session,
                manifest,
            }),
            Err(error) => assert!(leader.store.is_stopped(), "{error}"),
        }
    }

    async fn commit_pending(&mut self) {
        let Some(pending) = self.leader.pending.pop() else {
            return;
        };
        let outcome = self.leader.repository.commit_point(&pending.manifest).await;
        assert!(
            outcome.is_ok() || self.leader.store.is_stopped(),
            "{outcome:?}"
        );
        self.committed(pending.n, pending.content, &outcome);
        drop(pending.session);
        self.count("late commit");
    }

    async fn restore_one(&mut self) {
        let Some(n) = self.pick() else { return };
        let restored = restore(&self.leader.repository, n).await;
        match restored {
            Ok(files) => assert_eq!(files, content(self.points[&n].0), "point {n}"),
            Err(error) => assert!(self.leader.store.is_stopped(), "point {n}: {error}"),
        }
        self.count("restore");
    }

    async fn tombstone_one(&mut self) {
        let Some(n) = self.pick() else { return };
        let stone = tombstone(n, at(self.now));
        let outcome = self
            .leader
            .repository
            .tombstone_point(self.leader.epoch, &stone)
            .await;
        assert!(
            outcome.is_ok() || self.leader.store.is_stopped(),
            "{outcome:?}"
        );
        self.count("tombstone");
    }

    async fn undelete_one(&mut self) {
        let Some(n) = self.pick() else { return };
        let outcome = self
            .leader
            .repository
            .undelete_point(self.leader.epoch, &point_id(n))
            .await;
        assert!(
            outcome.is_ok() || self.leader.store.is_stopped(),
            "{outcome:?}"
        );
        self.count("undelete");
    }

    /// Sweeps whatever may be: I4 is that the grace is never cut short.
    async fn sweep_all(&mut self) {
        let Ok(marks) = self.leader.repository.read_marks().await else {
            assert!(self.leader.store.is_stopped());
            return;
        };
        for (id, stone) in marks.tombstones {
            let early = at(self.now) < stone.tombstone.since.after(GRACE);
            let n = self.points.keys().copied().find(|n| point_id(*n) == id);
            let epoch = self.leader.epoch;
            if !stone.swept && stone.marked != epoch {
                // Decide again in the new term, as a coordinator must.
                let again = self.leader.repository.tombstone_point(epoch, &stone).await;
                if again.is_err() {
                    return;
                }
            }
            let keeper = n.and_then(|n| self.promises.keeper_of(n, self.now));
            let outcome = self
                .leader
                .repository
                .sweep_point(epoch, &id, at(self.now))
                .await;
            match (outcome, n) {
                (
                    Err(RepositoryError::PointHeld { .. } | RepositoryError::PointLocked { .. }),
                    _,
                ) => {
                    self.count(keeper.expect("nothing keeps it"));
                }
                (Ok(()), Some(n)) => {
                    assert!(!early || stone.swept, "swept within the grace");
                    assert_eq!(keeper, None, "point {n} was swept");
                    self.promises.pins.remove(&n);
                    self.points
                        .entry(n)
                        .and_modify(|(_, fate)| *fate = Fate::Gone);
                    self.count("swept point");
                }
                (Ok(()), None) => {}
                (Err(RepositoryError::NotYet { .. }), _) => assert!(early),
                (Err(error), n) => {
                    assert!(self.leader.store.is_stopped(), "{error}");
                    if let (Some(n), false) = (n, early) {
                        self.points
                            .entry(n)
                            .and_modify(|(_, fate)| *fate = Fate::Unsure);
                    }
                    return;
                }
            }
        }
    }

    async fn collect(&mut self) {
        let Coordinator {
            repository, epoch, ..
        } = &self.leader;
        let outcome = repository.collect_garbage(*epoch, garbage(self.now)).await;
        match outcome {
            Ok(report) => {
                for (what, packs) in [
                    ("dead pack", report.dead.packs),
                    ("rewritten pack", report.rewritten.packs),
                    ("swept pack", report.swept.packs),
                    ("spared pack", report.spared.packs),
                ] {
                    if packs > 0 {
                        self.count(what);
                    }
                }
            }
            Err(error) => assert!(self.leader.store.is_stopped(), "{error:?}"),
        }
    }

    fn plan_crash(&mut self) {
        let effect = if self.draw(2) == 0 {
            StopEffect::Before
        } else {
            StopEffect::After
        };
        let mutation = self.leader.store.mutations() + 1 + u64::from(self.draw(12));
        let stop_at = Some(StopAt { mutation, effect });
        self.leader.store.set_plan(FaultPlan {
            stop_at,
            ..FaultPlan::default()
        });
    }

    /// Another coordinator takes over; the old one does not know yet.
    async fn depose(&mut self) {
        let new = Coordinator::start(&self.memory, FaultPlan::default())
            .await
            .unwrap();
        let mut old = std::mem::replace(&mut self.leader, new);
        // What it had under way is refused, or lands whole.
        while let Some(pending) = old.pending.pop() {
            let outcome = old.repository.commit_point(&pending.manifest).await;
            self.committed(pending.n, pending.content, &outcome);
            assert!(outcome.is_err(), "an epoch that is over commits nothing");
        }
        let stale = old
            .repository
            .collect_garbage(old.epoch, garbage(self.now))
            .await;
        assert!(stale.is_err(), "{stale:?}");
        self.deposed_protects_nothing(&old).await;
        self.deposed = Some(old);
        self.count("deposed");
        self.settle().await;
    }

    async fn restart(&mut self, why: &'static str) {
        self.count(why);
        let new = Coordinator::start(&self.memory, FaultPlan::default())
            .await
            .unwrap();
        self.leader = new;
        self.settle().await;
    }

    /// After a crash the store says what became of what was not acknowledged.
    async fn settle(&mut self) {
        let listed = self.listed().await;
        for (n, which) in std::mem::take(&mut self.unacknowledged) {
            if listed.contains(&n) {
                self.points.insert(n, (which, Fate::Kept));
            }
        }
        let marks = self.leader.repository.read_marks().await.unwrap();
        for (n, (_, fate)) in &mut self.points {
            if *fate == Fate::Unsure {
                let stone = marks.tombstones.get(&point_id(*n));
                let swept = stone.is_some_and(|stone| stone.swept);
                *fate = if swept || !listed.contains(n) {
                    Fate::Gone
                } else {
                    Fate::Kept
                };
            }
        }
        self.settle_promises().await;
    }

    async fn listed(&self) -> BTreeSet<u32> {
        let listed = self.leader.repository.list_points().await.unwrap();
        for listing in &listed {
            assert!(listing.manifest.is_ok(), "{listing:?}");
        }
        let names: BTreeSet<_> = listed.into_iter().map(|listing| listing.id).collect();
        (0..=self.next_point)
            .filter(|n| names.contains(&point_id(*n)))
            .collect()
    }

    /// Everything promised is there; a full restore of everything now and then.
    async fn check(&mut self) {
        let listed = self.listed().await;
        for n in self.kept() {
            assert!(listed.contains(&n), "point {n} is lost");
        }
        self.check_locks().await;
        if self.draw(12) == 0 {
            self.check_all(&open(self.memory.clone()).await).await;
        }
    }

    async fn check_all(&self, repository: &Repository) {
        assert!(
            repository.report().damaged.is_empty(),
            "{:?}",
            repository.report()
        );
        for n in self.kept() {
            let restored = restore(repository, n).await;
            let restored = restored.unwrap_or_else(|error| panic!("point {n}: {error:?}"));
            assert_eq!(restored, content(self.points[&n].0), "point {n}");
        }
    }

    /// In the end nothing but what is kept is left.
    async fn end(&mut self) {
        self.leader.pending.clear();
        self.restart("end").await;
        self.sweep_all().await;
        self.lift_all().await;
        for _ in 0..6 {
            self.now += 200;
            self.sweep_all().await;
            let Coordinator {
                repository, epoch, ..
            } = &self.leader;
            repository
                .collect_garbage(*epoch, garbage(self.now))
                .await
                .unwrap();
        }
        let repository = open(self.memory.clone()).await;
        self.check_all(&repository).await;
        let verified = repository.verify(VerifyLevel::Full).await.unwrap();
        assert!(verified.is_sound(), "{verified:?}");
        let contents: BTreeSet<u64> = self
            .kept()
            .iter()
            .map(|n| u64::from(self.points[n].0 % 40))
            .collect();
        let shared: BTreeSet<u64> = contents.iter().map(|own| own / 3).collect();
        let needed = contents.len() * 90_000 + shared.len() * 120_000 + 20_000;
        let recipes = self.kept().len() * 4_000;
        let stored = usize::try_from(repository.stats().stored_bytes).unwrap();
        // Packs of which half is needed are left as they are.
        let allowed = (needed + recipes) * 2 + 200_000;
        assert!(stored <= allowed, "{stored} bytes stored, {needed} needed");
    }
}

async fn run(seed: u64, steps: u32) -> BTreeMap<&'static str, u32> {
    let mut world = World::new(seed).await;
    for _ in 0..steps {
        world.step().await;
    }
    world.end().await;
    world.done
}

/// Printed before it is used.
pub(crate) fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0)
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_loses_nothing() {
    let steps = setting("HOLDFAST_STRESS_STEPS").unwrap_or(STEPS);
    let seeds = match setting("HOLDFAST_STRESS_SEED") {
        Some(seed) => vec![seed],
        None => SEEDS.into_iter().chain([fresh_seed()]).collect(),
    };
    let mut done: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in seeds {
        println!("HOLDFAST_STRESS_SEED={seed} HOLDFAST_STRESS_STEPS={steps}");
        for (what, times) in run(seed, steps).await {
            *done.entry(what).or_default() += times;
        }
    }
    println!("{done:?}");
    if setting::<u64>("HOLDFAST_STRESS_SEED").is_some() {
        return;
    }
    for what in [
        "capture",
        "late commit",
        "restore",
        "tombstone",
        "undelete",
        "swept point",
        "dead pack",
        "rewritten pack",
        "swept pack",
        "deposed",
        "deposed in mid-collection",
        "refused in mid-collection",
        "crash",
        "pin",
        "unpin",
        "hold",
        "release",
        "lock",
        "kept by a pin",
        "kept by a hold",
    ] {
        assert!(done.contains_key(what), "never happened: {what}; {done:?}");
    }
}
