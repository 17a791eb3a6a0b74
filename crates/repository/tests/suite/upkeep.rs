//! Indexes made anew from the packs, what nothing needs, and healing from a second copy.

use crate::place::TestStore;
use crate::support::{
    capture, copy_of, create, files, open, pack_of, point_id, restore, rot, rotten,
};
use bytes::Bytes;
use holdfast_repository::{
    LostPoints, QuarantineState, RebuiltIndex, Repository, VerifyLevel, VerifyOptions, VerifyReport,
};
use holdfast_store::{
    FaultPlan, FaultStore, KeyPrefix, ObjectKey, ObjectStore, PutMode, StopAt, StopEffect,
};
use holdfast_types::Timestamp;
use std::sync::Arc;

async fn names(store: &TestStore, prefix: &str) -> Vec<ObjectKey> {
    let prefix: KeyPrefix = prefix.parse().unwrap();
    let listed = store.list(&prefix).await.unwrap().into_iter();
    listed.map(|found| found.key).collect()
}

async fn captured() -> Arc<TestStore> {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=2 {
        let files = files(n.into());
        capture(&repository, epoch, n, &files).await.unwrap();
    }
    store
}

async fn full(repository: &Repository) -> VerifyReport {
    let mut options = VerifyOptions::read_only(VerifyLevel::Full, Timestamp::from_micros(5));
    options.record = true;
    repository.verify_with(&options, &()).await.unwrap()
}

async fn is_whole(store: Arc<TestStore>) {
    let repository = open(store).await;
    assert!(repository.report().damaged.is_empty());
    assert_eq!(repository.report().adopted_packs, 0, "all are indexed");
    let report = full(&repository).await;
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.unindexed, 0);
    for n in 1..=2 {
        let restored = restore(&repository, n).await.unwrap();
        assert_eq!(restored, files(n.into()), "point {n}");
    }
}

#[tokio::test]
async fn new_indexes_replace_lost_damaged_and_good_ones() {
    for harm in ["none", "lost", "damaged", "exchanged"] {
        let store = captured().await;
        let old = names(&store, "index").await;
        for key in &old {
            match harm {
                "lost" => store.delete(key).await.unwrap(),
                "damaged" => rot(&store, key).await,
                _ => {}
            }
        }
        if harm == "exchanged" {
            let bytes = store.get(&old[0]).await.unwrap();
            store.put(&old[1], bytes, PutMode::Overwrite).await.unwrap();
        }
        let repository = open(store.clone()).await;
        let before = names(&store, "index").await;
        let planned = repository.plan_rebuild_index().await.unwrap();
        assert_eq!(names(&store, "index").await, before, "{harm}: a plan");
        if harm == "lost" {
            let report = repository.verify(VerifyLevel::Quick).await.unwrap();
            assert_eq!((report.unindexed, report.is_sound()), (report.packs, true));
        }
        let epoch = repository.claim_epoch().await.unwrap();
        let rebuilt = repository.rebuild_index(epoch).await.unwrap();
        let counts = |of: &RebuiltIndex| (of.packs, of.chunks, of.written, of.removed, of.damaged);
        assert_eq!(counts(&planned), counts(&rebuilt), "{harm}");
        assert_eq!(rebuilt.packs, repository.stats().packs, "{harm}");
        assert_eq!(rebuilt.chunks, repository.stats().chunks, "{harm}");
        assert!(rebuilt.carried_over.is_empty() && rebuilt.unreadable.is_empty());
        let there = if harm == "lost" { 0 } else { old.len() as u64 };
        assert_eq!(rebuilt.removed, there, "{harm}");
        let new = names(&store, "index").await;
        assert_eq!(new.len(), 1, "{harm}");
        assert!(!old.contains(&new[0]));
        is_whole(store).await;
    }
}

#[tokio::test]
async fn what_only_an_old_index_knows_is_carried_over() {
    let store = captured().await;
    let pack = pack_of(&store, 1).await;
    let sound = store.get(&pack).await.unwrap();
    for missing in [false, true] {
        let store = copy_of(store.as_ref()).await;
        if missing {
            store.delete(&pack).await.unwrap();
        } else {
            // The end is the footer's.
            let mut bytes = sound.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            let bytes = Bytes::from(bytes);
            store.put(&pack, bytes, PutMode::Overwrite).await.unwrap();
        }
        let repository = open(store.clone()).await;
        let epoch = repository.claim_epoch().await.unwrap();
        let rebuilt = repository.rebuild_index(epoch).await.unwrap();
        assert_eq!(rebuilt.carried_over.len(), 1);
        assert!(
            pack.as_str()
                .ends_with(&rebuilt.carried_over[0].to_string())
        );
        // Once it is put back, all is well.
        store
            .put(&pack, sound.clone(), PutMode::Overwrite)
            .await
            .unwrap();
        is_whole(store).await;
    }
}

#[tokio::test]
async fn a_rebuild_that_dies_anywhere_loses_nothing() {
    let start = captured().await;
    let mut crashes = 0;
    for effect in [StopEffect::Before, StopEffect::After] {
        for mutation in 1.. {
            let memory = copy_of(start.as_ref()).await;
            let plan = FaultPlan {
                stop_at: Some(StopAt { mutation, effect }),
                ..FaultPlan::default()
            };
            let faulty = Arc::new(FaultStore::new(memory.clone(), plan));
            let repository = open(faulty.clone()).await;
            let outcome = match repository.claim_epoch().await {
                Ok(epoch) => repository.rebuild_index(epoch).await.map(drop),
                Err(error) => Err(error),
            };
            let finished = !faulty.is_stopped();
            assert_eq!(outcome.is_ok(), finished);
            is_whole(memory).await;
            if finished {
                break;
            }
            crashes += 1;
        }
    }
    assert_eq!(crashes, 8, "a claim, an index and two removals, twice");
}

#[tokio::test]
async fn what_nothing_needs_is_listed() {
    let store = captured().await;
    let tidy = open(store.clone()).await.find_leftovers().await.unwrap();
    assert!(tidy.is_tidy(), "{tidy:?}");
    assert_eq!(tidy.orphan_packs, Ok(Vec::new()));
    assert_eq!(tidy.objects["points"].0, 2);

    let point: ObjectKey = format!("points/{}", point_id(1)).parse().unwrap();
    store.delete(&point).await.unwrap();
    let pack = pack_of(&store, 2).await;
    store.delete(&pack).await.unwrap();
    for stray in ["probe/1234", "photos/1", "packs/readme", "holdfast.json/x"] {
        let bytes = Bytes::from_static(b"x");
        let key = stray.parse().unwrap();
        store.put(&key, bytes, PutMode::CreateNew).await.unwrap();
    }
    let found = open(store.clone()).await.find_leftovers().await.unwrap();
    assert!(!found.is_tidy());
    let orphans = found.orphan_packs.as_ref().unwrap().len();
    assert!(orphans > 0 && orphans < names(&store, "packs").await.len());
    assert_eq!(found.hollow_indexes.len(), 1, "{found:?}");
    assert_eq!(found.probe_objects[0].key.as_str(), "probe/1234");
    let unknown = found.unknown.iter().map(|object| object.key.as_str());
    let unknown: Vec<_> = unknown.collect();
    assert_eq!(unknown, ["holdfast.json/x", "packs/readme", "photos/1"]);

    let point: ObjectKey = format!("points/{}", point_id(2)).parse().unwrap();
    rot(&store, &point).await;
    let found = open(store.clone()).await.find_leftovers().await.unwrap();
    assert!(found.orphan_packs.is_err(), "what it needs is not known");
    store.delete(&point).await.unwrap();
    let found = open(store.clone()).await.find_leftovers().await.unwrap();
    let orphans = found.orphan_packs.unwrap();
    let packs = names(&store, "packs").await.len() - 1;
    assert_eq!(orphans.len(), packs, "no point is left");
}

#[tokio::test]
async fn a_copy_heals_every_kind_of_object_and_quarantine_is_cleared() {
    let copy = captured().await;
    let pack = pack_of(&copy, 1).await;
    let targets = [
        pack.to_string(),
        format!("points/{}", point_id(1)),
        names(&copy, "index").await[0].to_string(),
        "holdfast.json".to_owned(),
    ];
    for object in targets {
        for remove in [false, true] {
            let what = format!("{object} {remove}");
            let store = copy_of(copy.as_ref()).await;
            let key: ObjectKey = object.parse().unwrap();
            let sound = store.get(&key).await.unwrap();
            if remove {
                store.delete(&key).await.unwrap();
            } else {
                rot(&store, &key).await;
            }
            let ours = open(store.clone()).await;
            let theirs = open(copy.clone()).await;
            let found = full(&ours).await;
            let plan = ours
                .plan_heal(&theirs, &found, &LostPoints::All)
                .await
                .unwrap();
            assert_eq!(
                names(&store, "points").await.len(),
                2 - usize::from(remove && object.starts_with("points")),
                "a plan changes nothing"
            );
            assert!(plan.unhealable.is_empty(), "{what}: {plan:?}");
            let epoch = ours.claim_epoch().await.unwrap();
            ours.heal(&theirs, epoch, &plan).await.unwrap();
            // A lost index is made anew from the packs, under another name.
            if !(remove && object.starts_with("index")) {
                assert_eq!(store.get(&key).await.unwrap(), sound, "{what}");
            }
            let after = full(&ours).await;
            assert!(after.is_sound(), "{what}: {after:?}");
            let records = after.quarantine.iter();
            let mut states = records.map(|record| record.state);
            assert!(
                states.all(|state| state == QuarantineState::Sound),
                "{what}"
            );
            is_whole(store).await;
        }
    }
}

/// Of two points that only the copy has, the one comes back that was asked for.
#[tokio::test]
async fn one_lost_point_comes_back_alone() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=3 {
        capture(&repository, epoch, n, &files(n.into()))
            .await
            .unwrap();
    }
    let copy = copy_of(store.as_ref()).await;
    for n in 1..=2 {
        let key = format!("points/{}", point_id(n)).parse().unwrap();
        store.delete(&key).await.unwrap();
    }
    let (ours, theirs) = (open(store.clone()).await, open(copy).await);
    let found = full(&ours).await;
    let lost = LostPoints::These([point_id(2), point_id(3)].into());
    let plan = ours.plan_heal(&theirs, &found, &lost).await.unwrap();
    assert_eq!(plan.only_in_copy.len(), 2);
    let epoch = ours.claim_epoch().await.unwrap();
    let healed = ours.heal(&theirs, epoch, &plan).await.unwrap();
    let back: Vec<_> = healed.objects.into_keys().collect();
    assert_eq!(back, [format!("points/{}", point_id(2))]);
    assert_eq!(restore(&ours, 2).await.unwrap(), files(2));
    assert!(restore(&ours, 1).await.is_err());
}

#[tokio::test]
async fn a_bad_or_foreign_copy_makes_nothing_worse() {
    let (store, pack) = rotten().await;
    let before = store.get(&pack).await.unwrap();
    let ours = open(store.clone()).await;
    let found = full(&ours).await;
    // The same damage there: nothing to heal with.
    let theirs = open(copy_of(store.as_ref()).await).await;
    let plan = ours
        .plan_heal(&theirs, &found, &LostPoints::None)
        .await
        .unwrap();
    assert!(plan.objects.is_empty(), "{plan:?}");
    assert!(plan.unhealable.contains_key(pack.as_str()));
    let epoch = ours.claim_epoch().await.unwrap();
    let healed = ours.heal(&theirs, epoch, &plan).await.unwrap();
    assert!(healed.objects.is_empty());
    assert_eq!(store.get(&pack).await.unwrap(), before);

    let stranger = create(Arc::new(TestStore::without_locks())).await;
    assert!(
        ours.plan_heal(&stranger, &found, &LostPoints::None)
            .await
            .is_err()
    );
}

/// A point that was removed here on purpose does not come back by healing something else.
#[tokio::test]
async fn points_that_only_the_copy_has_are_told_and_left() {
    let copy = captured().await;
    let store = copy_of(copy.as_ref()).await;
    let point: ObjectKey = format!("points/{}", point_id(2)).parse().unwrap();
    store.delete(&point).await.unwrap();
    let ours = open(store.clone()).await;
    let theirs = open(copy).await;
    let found = full(&ours).await;
    let plan = ours
        .plan_heal(&theirs, &found, &LostPoints::None)
        .await
        .unwrap();
    assert_eq!(plan.only_in_copy, [point.as_str()]);
    assert!(plan.objects.is_empty());
}
