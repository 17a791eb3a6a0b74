//! What is found damaged is not believed after a restart, until it is healed; and without being
//! written down if nothing may be written.

use crate::place::TestStore;
use crate::support::{
    capture, copy_of, create, files, is_bad_pack, open, point_id, restore, rot, rotten,
};
use holdfast_repository::{
    QuarantineState, Recording, Repository, VerifyLevel, VerifyOptions, VerifyReport,
};
use holdfast_store::{
    CountingStore, FaultKind, FaultPlan, FaultStore, KeyPrefix, ObjectKey, ObjectStore, StopAt,
    StopEffect,
};
use holdfast_types::Timestamp;
use std::sync::Arc;

fn recording(level: VerifyLevel, now: i64) -> VerifyOptions {
    let mut options = VerifyOptions::read_only(level, Timestamp::from_micros(now));
    options.record = true;
    options
}

async fn verify(repository: &Repository, level: VerifyLevel, now: i64) -> VerifyReport {
    let options = recording(level, now);
    repository.verify_with(&options, &()).await.unwrap()
}

async fn records(store: &TestStore) -> Vec<ObjectKey> {
    let prefix: KeyPrefix = "quarantine".parse().unwrap();
    let listed = store.list(&prefix).await.unwrap().into_iter();
    listed.map(|found| found.key).collect()
}

/// A writer that runs, and another process that checks.
#[tokio::test]
async fn a_running_writer_heeds_what_another_process_has_found() {
    let (store, pack) = rotten().await;
    let running = open(store.clone()).await;
    let epoch = running.claim_epoch().await.unwrap();
    assert!(running.known_damage().await.is_empty());
    verify(&open(store.clone()).await, VerifyLevel::Full, 1).await;
    running.heed_damage().await.unwrap();
    assert_eq!(running.known_damage().await, [pack.to_string()]);
    // The same files again: what was bad of point 1 is sent once more, and both restore.
    capture(&running, epoch, 3, &files(1)).await.unwrap();
    for (n, seed) in [(1, 1), (3, 1), (2, 2)] {
        assert_eq!(restore(&running, n).await.unwrap(), files(seed), "{n}");
    }
}

#[tokio::test]
async fn known_damage_outlives_a_restart_and_ends_with_a_capture() {
    let (store, pack) = rotten().await;
    let before = store.get(&pack).await.unwrap();
    let full = verify(&open(store.clone()).await, VerifyLevel::Full, 1).await;
    assert_eq!(full.recording, Recording::Written(1));
    let flat = pack.as_str().replace('/', ".");
    let name: ObjectKey = format!("quarantine/{flat}").parse().unwrap();
    assert_eq!(records(&store).await, [name]);
    assert_eq!(store.get(&pack).await.unwrap(), before, "left where it is");

    // A restart: nothing is read, and yet it is known.
    let repository = open(store.clone()).await;
    let opened = &repository.report().quarantine;
    assert_eq!((opened.len(), &*opened[0].object), (1, pack.as_str()));
    let bad = &opened[0].places;
    assert!(!bad.is_empty());
    for place in bad {
        assert!(!repository.has_chunk(&place.chunk), "dedup must say no");
    }
    let quick = verify(&repository, VerifyLevel::Quick, 2).await;
    assert_eq!(quick.recording, Recording::Written(0), "nothing is new");
    assert_eq!(quick.affected.len(), 1, "{quick:?}");
    assert_eq!(quick.affected[0].id, point_id(1));
    assert_eq!(quick.affected[0].shards[0].collection.as_str(), "docs");
    assert!(quick.needs_attention());

    // The next capture stores what is bad anew.
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 3, &files(1)).await.unwrap();
    let healed = verify(&open(store.clone()).await, VerifyLevel::Full, 3).await;
    assert!(
        healed.affected.is_empty() && !healed.needs_attention(),
        "{healed:?}"
    );
    assert!(healed.superseded.contains(pack.as_str()));
    let record = &healed.quarantine[0];
    assert_eq!(record.state, QuarantineState::Superseded);
    let (found, changed) = (record.found.as_micros(), record.changed.as_micros());
    assert_eq!((found, changed), (1, 3));
    // The bad places are still not believed.
    let reopened = open(store.clone()).await;
    assert_eq!(reopened.report().quarantine[0].places, record.places);
    assert_eq!(restore(&reopened, 1).await.unwrap(), files(1));
}

#[tokio::test]
async fn what_is_put_back_is_believed_again() {
    let (store, pack) = rotten().await;
    verify(&open(store.clone()).await, VerifyLevel::Full, 1).await;
    rot(&store, &pack).await;
    let repository = open(store.clone()).await;
    assert!(is_bad_pack(&repository, &pack).await, "not read yet");
    let full = verify(&repository, VerifyLevel::Full, 2).await;
    assert!(full.is_sound(), "{full:?}");
    assert_eq!(full.quarantine[0].state, QuarantineState::Sound);
    assert_eq!(records(&store).await.len(), 1, "verify removes nothing");
    for repository in [repository, open(store).await] {
        let quick = verify(&repository, VerifyLevel::Quick, 3).await;
        assert!(quick.is_sound(), "{quick:?}");
    }
}

#[tokio::test]
async fn nothing_is_written_unless_it_may_be() {
    let (store, _) = rotten().await;
    let counting = Arc::new(CountingStore::new(store.clone()));
    let repository = open(counting.clone()).await;
    let full = repository.verify(VerifyLevel::Full).await.unwrap();
    assert_eq!(full.recording, Recording::ReadOnly);
    assert_eq!((full.affected.len(), full.quarantine.len()), (1, 1));
    let counts = counting.counts();
    assert_eq!((counts.puts, counts.deletes), (0, 0));

    let plan = FaultPlan {
        kind: FaultKind::ReadOnly,
        stop_at: Some(StopAt {
            mutation: 1,
            effect: StopEffect::Before,
        }),
        ..FaultPlan::default()
    };
    let refusing = Arc::new(FaultStore::new(store.clone(), plan));
    let full = verify(&open(refusing).await, VerifyLevel::Full, 1).await;
    assert!(matches!(full.recording, Recording::Failed(_)), "{full:?}");
    assert_eq!(full.affected.len(), 1, "the report is whole all the same");
    assert!(records(&store).await.is_empty());
}

#[tokio::test]
async fn a_lost_point_leaves_nothing_superseded() {
    let (store, pack) = rotten().await;
    let store = copy_of(store.as_ref()).await;
    let repository = open(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    repository.verify(VerifyLevel::Full).await.unwrap();
    capture(&repository, epoch, 3, &files(1)).await.unwrap();
    rot(&store, &format!("points/{}", point_id(2)).parse().unwrap()).await;
    let full = repository.verify(VerifyLevel::Full).await.unwrap();
    // Who knows what else that point needs of the pack.
    assert!(full.superseded.is_empty(), "{full:?}");
    let named: Vec<_> = full.open().map(|found| found.object.as_str()).collect();
    assert!(named.contains(&pack.as_str()), "{named:?}");
}

#[tokio::test]
async fn a_new_repository_has_no_quarantine() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let full = verify(&repository, VerifyLevel::Full, 1).await;
    assert!(full.is_sound() && full.quarantine.is_empty());
    assert!(records(&store).await.is_empty());
}
