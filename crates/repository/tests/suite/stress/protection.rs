//! What keeps points whatever anybody asks: pins, legal holds with and without an end, locks of the store. The oracle
//! remembers what was promised, and after every step looks whether it was kept.

use super::{Coordinator, World};
use crate::garbage::at;
use crate::support::point_id;
use holdfast_decide::Hold;
use holdfast_repository::{KeepOptions, LockRule, Pin, PlacedHold, RepositoryError};
use holdfast_store::{LockMode, ObjectKey, ObjectStore};
use holdfast_types::HoldId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long what a point needs is locked.
const LOCKED: Duration = Duration::from_secs(160);

/// What was promised.
#[derive(Default)]
pub(super) struct Promises {
    pub(super) pins: BTreeSet<u32>,
    pub(super) holds: BTreeMap<HoldId, PlacedHold>,
    /// Objects, and until when.
    locks: BTreeMap<ObjectKey, holdfast_types::Timestamp>,
    /// Whether what was asked last was not acknowledged: then only the store knows.
    unsure: bool,
    next_hold: u32,
}

impl Promises {
    /// What keeps a point now, as the name of what happened.
    pub(super) fn keeper_of(&self, n: u32, now: u64) -> Option<&'static str> {
        let id = point_id(n);
        let on =
            |placed: &PlacedHold| placed.points.contains(&id) || !placed.collections.is_empty();
        if self.pins.contains(&n) {
            return Some("kept by a pin");
        }
        let mut holds = self.holds.values().filter(|placed| on(placed));
        if holds.any(|placed| placed.hold.is_active(at(now))) {
            return Some("kept by a hold");
        }
        let lock = self.locks.get(&format!("points/{id}").parse().unwrap());
        lock.is_some_and(|until| at(now) < *until)
            .then_some("kept by a lock")
    }
}

impl World {
    pub(super) async fn protect_something(&mut self) {
        match self.draw(10) {
            0..2 => self.pin_one().await,
            2..4 => self.unpin_one().await,
            4..6 => self.place_hold().await,
            6..8 => self.release_hold().await,
            _ => self.lock_one().await,
        }
    }

    async fn pin_one(&mut self) {
        let Some(n) = self.pick() else { return };
        let Coordinator {
            repository, epoch, ..
        } = &self.leader;
        let pinned = repository.pin_point(*epoch, &pin(n, self.now)).await;
        self.acknowledged(&pinned);
        self.promises.pins.insert(n);
        self.count("pin");
    }

    async fn unpin_one(&mut self) {
        let Some(n) = self.promises.pins.first().copied() else {
            return;
        };
        let Coordinator {
            repository, epoch, ..
        } = &self.leader;
        let unpinned = repository.unpin_point(*epoch, &point_id(n)).await;
        self.acknowledged(&unpinned);
        self.promises.pins.remove(&n);
        self.count("unpin");
    }

    /// On a point, or now and then on the collection that all points hold.
    async fn place_hold(&mut self) {
        let Some(n) = self.pick() else { return };
        self.promises.next_hold += 1;
        let id: HoldId = format!("case-{}", self.promises.next_hold).parse().unwrap();
        let expires = (self.draw(3) > 0).then(|| at(self.now + u64::from(self.draw(200))));
        let whole = self.draw(4) == 0;
        let placed = PlacedHold {
            hold: Hold {
                id: id.clone(),
                reason: "a dispute".to_owned(),
                owner: "counsel".to_owned(),
                placed: at(self.now),
                expires,
            },
            points: if whole {
                [].into()
            } else {
                [point_id(n)].into()
            },
            collections: if whole {
                vec!["do*".parse().unwrap()]
            } else {
                Vec::new()
            },
        };
        let Coordinator {
            repository, epoch, ..
        } = &self.leader;
        let outcome = repository.place_hold(*epoch, &placed).await;
        self.acknowledged(&outcome);
        self.promises.holds.insert(id, placed);
        self.count("hold");
    }

    async fn release_hold(&mut self) {
        let ids: Vec<HoldId> = self.promises.holds.keys().cloned().collect();
        let Some(id) = ids.first() else { return };
        let Coordinator {
            repository, epoch, ..
        } = &self.leader;
        let released = repository.release_hold(*epoch, id).await;
        self.acknowledged(&released);
        self.promises.holds.remove(id);
        self.count("release");
    }

    async fn lock_one(&mut self) {
        let Some(n) = self.pick() else { return };
        let options = KeepOptions {
            now: at(self.now),
            lock: Some(LockRule {
                mode: LockMode::Governance,
                period: LOCKED,
            }),
            cold: None,
        };
        let only = (self.draw(3) > 0).then(|| [point_id(n)]);
        let Coordinator {
            repository, epoch, ..
        } = &self.leader;
        let only = only.as_ref().map(<[_; 1]>::as_slice);
        let outcome = repository.keep(*epoch, options, only).await;
        assert!(
            outcome.is_ok() || self.leader.store.is_stopped(),
            "{outcome:?}"
        );
        // What the store says is locked is so, whoever was told.
        let Some(keeper) = self.memory.keeper() else {
            return;
        };
        for prefix in ["points", "packs"] {
            for found in self.memory.list(&prefix.parse().unwrap()).await.unwrap() {
                if let Some(lock) = keeper.lock_of(&found.key).await.unwrap() {
                    self.promises.locks.insert(found.key, lock.until);
                }
            }
        }
        self.count("lock");
    }

    fn acknowledged<T: std::fmt::Debug>(&mut self, outcome: &Result<T, RepositoryError>) {
        assert!(
            outcome.is_ok() || self.leader.store.is_stopped(),
            "{outcome:?}"
        );
        self.promises.unsure |= outcome.is_err();
    }

    /// A coordinator that was superseded neither protects nor lifts anything.
    pub(super) async fn deposed_protects_nothing(&mut self, old: &Coordinator) {
        let Some(n) = self.pick() else { return };
        let (repository, epoch) = (&old.repository, old.epoch);
        let outcomes = [
            repository.pin_point(epoch, &pin(n, 0)).await.map(drop),
            repository.unpin_point(epoch, &point_id(n)).await.map(drop),
            repository
                .sweep_point(epoch, &point_id(n), at(u64::MAX >> 24))
                .await,
        ];
        for outcome in outcomes {
            assert!(outcome.is_err(), "an epoch that is over changes nothing");
        }
    }

    /// What is said of points is what was acknowledged; only of what was under way in a crash the store decides.
    pub(super) async fn settle_promises(&mut self) {
        let marks = self.leader.repository.read_marks().await.unwrap();
        let pins = (0..=self.next_point).filter(|n| marks.pins.contains_key(&point_id(*n)));
        let pins: BTreeSet<u32> = pins.collect();
        if std::mem::take(&mut self.promises.unsure) {
            self.promises.pins = pins;
            self.promises.holds = marks.holds;
            return;
        }
        let kept: BTreeSet<u32> = self.kept().into_iter().collect();
        let of_kept = |pins: &BTreeSet<u32>| -> BTreeSet<u32> { pins & &kept };
        assert_eq!(of_kept(&pins), of_kept(&self.promises.pins));
        assert_eq!(marks.holds, self.promises.holds);
    }

    /// I4: what is locked is there, manifests and packs.
    pub(super) async fn check_locks(&mut self) {
        let now = at(self.now);
        let ended = |until: &holdfast_types::Timestamp| now >= *until;
        self.promises.locks.retain(|_, until| !ended(until));
        for key in self.promises.locks.keys() {
            let found = self.memory.head(key).await.unwrap();
            assert!(found.is_some(), "{key} is locked and gone");
        }
    }

    /// Nothing keeps anything any more.
    pub(super) async fn lift_all(&mut self) {
        let Coordinator {
            repository, epoch, ..
        } = &self.leader;
        for n in std::mem::take(&mut self.promises.pins) {
            repository.unpin_point(*epoch, &point_id(n)).await.unwrap();
        }
        for id in std::mem::take(&mut self.promises.holds).into_keys() {
            repository.release_hold(*epoch, &id).await.unwrap();
        }
        self.now += LOCKED.as_secs() * 2;
        self.check_locks().await;
    }
}

fn pin(n: u32, now: u64) -> Pin {
    Pin {
        point: point_id(n),
        reason: "golden".to_owned(),
        by: "test".to_owned(),
        at: at(now),
    }
}
