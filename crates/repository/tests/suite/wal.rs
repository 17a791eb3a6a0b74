//! Archived logs: durable when acknowledged, never overwritten, found again, and let alone by everything that deletes.

use crate::garbage::{GRACE, at, options, tombstone};
use crate::place::TestStore;
use crate::support::{capture, copy_of, create, files, kek, open, point_id};
use holdfast_archive::{WalFrame, WalLook, WalObject, WalOrigin};
use holdfast_repository::{
    LostPoints, Repository, RepositoryError, VerifyLevel, WalPart, WalSeries,
};
use holdfast_store::{FaultPlan, FaultStore, ObjectStore, PutMode, StopAt, StopEffect};
use holdfast_types::{Epoch, IncarnationId, ShardId, TimelineId};
use holdfast_wal::format::entry_crc;
use std::sync::Arc;

const SEED: u32 = 77;

fn origin(timeline: u8) -> WalOrigin {
    WalOrigin {
        namespace: "demo".parse().unwrap(),
        node: "n1".parse().unwrap(),
        server_version: "1.18.3".parse().unwrap(),
        collection: "docs".parse().unwrap(),
        incarnation: IncarnationId::from_bytes([1; 16]),
        shard: ShardId(0),
        timeline: TimelineId::from_bytes([timeline; 16]),
        because: None,
    }
}

pub(crate) fn series(timeline: u8) -> WalSeries {
    WalSeries::from(&origin(timeline))
}

fn crc_of(index: u64) -> u32 {
    (0..=index).fold(SEED, |crc, index| entry_crc(crc, &index.to_le_bytes()))
}

/// The entries of a log that has always been the same.
pub(crate) fn part(timeline: u8, indexes: std::ops::Range<u64>) -> WalObject {
    let frame = |index: u64| WalFrame {
        seed: (index == 0).then_some(SEED),
        crc: crc_of(index),
        data: index.to_le_bytes().to_vec(),
    };
    let before = indexes.start.checked_sub(1).map(crc_of);
    let first = indexes.start;
    let look = WalLook {
        after: at(first),
        by: at(indexes.end),
        frames: indexes.map(frame).collect(),
    };
    WalObject::new(origin(timeline), first, before, vec![look]).unwrap()
}

/// Indexes of the run's parts.
pub(crate) async fn parts(repository: &Repository, timeline: u8) -> Vec<u64> {
    let namespace = repository.namespace();
    let listings = repository.list_wal(&namespace).await.unwrap();
    let listing = listings
        .into_iter()
        .find(|found| found.series == series(timeline));
    listing
        .map(|found| found.parts.into_keys().collect())
        .unwrap_or_default()
}

#[tokio::test]
async fn what_was_appended_is_found_again() {
    let store = Arc::new(TestStore::new());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for (timeline, indexes) in [(1, 0..5), (1, 5..6), (2, 0..3), (1, 6..400)] {
        let whole = part(timeline, indexes);
        let appended = repository.append_wal(epoch, whole.clone()).await.unwrap();
        assert_eq!((appended.run, appended.was_there), (*whole.run(), false));
    }
    let reader = open(store.clone()).await;
    assert_eq!(parts(&reader, 1).await, [0, 5, 6]);
    assert_eq!(parts(&reader, 2).await, [0]);
    let found = reader
        .read_wal(&series(1), WalPart::appended(5))
        .await
        .unwrap();
    assert_eq!(found, Some(part(1, 5..6)));
    assert_eq!(
        reader
            .read_wal(&series(1), WalPart::appended(4))
            .await
            .unwrap(),
        None
    );
    let last = reader.last_wal(&series(1)).await.unwrap().unwrap();
    assert_eq!(last.run().next, 400);
    assert_eq!(reader.last_wal(&series(3)).await.unwrap(), None);
    let leftovers = reader.find_leftovers().await.unwrap();
    assert!(leftovers.is_tidy(), "{leftovers:?}");
    assert_eq!(leftovers.objects["wal"].0, 4);
}

#[tokio::test]
async fn a_superseded_writer_appends_nothing() {
    let store = Arc::new(TestStore::without_locks());
    let old = create(store.clone()).await;
    let old_epoch = old.claim_epoch().await.unwrap();
    old.append_wal(old_epoch, part(1, 0..5)).await.unwrap();
    let new = open(store.clone()).await;
    let new_epoch = new.claim_epoch().await.unwrap();
    let refused = old.append_wal(old_epoch, part(1, 5..9)).await.unwrap_err();
    assert!(
        matches!(refused, RepositoryError::StaleEpoch { .. }),
        "{refused}"
    );
    assert_eq!(parts(&new, 1).await, [0]);
    new.append_wal(new_epoch, part(1, 5..9)).await.unwrap();
    assert_eq!(parts(&new, 1).await, [0, 5]);
}

#[tokio::test]
async fn whoever_comes_second_is_told_what_is_there() {
    let repository = create(Arc::new(TestStore::new())).await;
    let epoch = repository.claim_epoch().await.unwrap();
    repository.append_wal(epoch, part(1, 0..5)).await.unwrap();
    for indexes in [0..5, 0..2, 0..9] {
        let again = repository
            .append_wal(epoch, part(1, indexes))
            .await
            .unwrap();
        assert!(again.was_there);
        assert_eq!(again.run, *part(1, 0..5).run(), "the end that is durable");
    }
    let kept = repository
        .read_wal(&series(1), WalPart::appended(0))
        .await
        .unwrap();
    assert_eq!(kept, Some(part(1, 0..5)));
}

/// The store fails before or after the put: nothing is acknowledged, and doing it again tells.
#[tokio::test]
async fn an_append_of_unknown_outcome_is_done_again() {
    for effect in [StopEffect::Before, StopEffect::After] {
        let memory = Arc::new(TestStore::without_locks());
        let epoch = create(memory.clone()).await.claim_epoch().await.unwrap();
        let plan = FaultPlan {
            stop_at: Some(StopAt {
                mutation: 1,
                effect,
            }),
            ..FaultPlan::default()
        };
        let store = Arc::new(FaultStore::new(memory.clone(), plan));
        let repository = Repository::open(store.clone(), kek()).await.unwrap();
        let failed = repository
            .append_wal(epoch, part(1, 0..5))
            .await
            .unwrap_err();
        assert!(matches!(failed, RepositoryError::Store(_)), "{failed}");
        store.heal();
        let again = repository.append_wal(epoch, part(1, 0..5)).await.unwrap();
        assert_eq!(again.was_there, effect == StopEffect::After);
        assert_eq!(again.run, *part(1, 0..5).run());
    }
}

#[tokio::test]
async fn removal_of_points_and_garbage_collection_leave_logs_alone() {
    let store = Arc::new(TestStore::new());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &files(1)).await.unwrap();
    repository.append_wal(epoch, part(1, 0..5)).await.unwrap();
    let stone = tombstone(1, at(0));
    repository.tombstone_point(epoch, &stone).await.unwrap();
    let due = at(0).after(GRACE);
    repository
        .sweep_point(epoch, &point_id(1), due)
        .await
        .unwrap();
    for now in [200, 400, 600] {
        repository
            .collect_garbage(epoch, options(at(now)))
            .await
            .unwrap();
    }
    let packs = store.list(&"packs".parse().unwrap()).await.unwrap();
    assert!(packs.is_empty(), "the garbage is gone");
    let reader = open(store.clone()).await;
    assert_eq!(parts(&reader, 1).await, [0]);
    let kept = reader
        .read_wal(&series(1), WalPart::appended(0))
        .await
        .unwrap();
    assert_eq!(kept, Some(part(1, 0..5)));
}

#[tokio::test]
async fn damage_and_gaps_are_found_and_healed_from_a_copy() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for indexes in [0..2, 2..4, 4..6, 6..8] {
        repository
            .append_wal(epoch, part(1, indexes))
            .await
            .unwrap();
    }
    let verified = repository.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
    let copy = open(copy_of(store.as_ref()).await).await;

    let listed = store.list(&"wal".parse().unwrap()).await.unwrap();
    let keys: Vec<_> = listed.into_iter().map(|found| found.key).collect();
    let mut bytes = store.get(&keys[0]).await.unwrap().to_vec();
    bytes[100] ^= 1;
    store
        .put(&keys[0], bytes.into(), PutMode::Overwrite)
        .await
        .unwrap();
    store.delete(&keys[2]).await.unwrap();
    let error = repository
        .read_wal(&series(1), WalPart::appended(0))
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Damaged { .. }), "{error}");
    let found = repository.verify(VerifyLevel::Full).await.unwrap();
    let told: Vec<_> = found.damaged.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with(keys[0].as_str()), "{told:?}");
    let gap = format!("{}: archived log goes on at 6 in place of 4", keys[3]);
    assert_eq!(told[1], gap);

    let epoch: Epoch = repository.claim_epoch().await.unwrap();
    let plan = repository
        .plan_heal(&copy, &found, &LostPoints::None)
        .await
        .unwrap();
    repository.heal(&copy, epoch, &plan).await.unwrap();
    let healed = repository
        .read_wal(&series(1), WalPart::appended(0))
        .await
        .unwrap();
    assert_eq!(healed, Some(part(1, 0..2)));
}

/// A part that stands under another name is believed nowhere: an attacker who can write must not move history.
#[tokio::test]
async fn a_part_under_another_name_is_refused() {
    let store = Arc::new(TestStore::new());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    repository.append_wal(epoch, part(1, 0..2)).await.unwrap();
    let from = &store.list(&"wal".parse().unwrap()).await.unwrap()[0].key;
    let bytes = store.get(from).await.unwrap();
    let to = from.as_str().replace(&"01".repeat(16), &"02".repeat(16));
    store
        .put(&to.parse().unwrap(), bytes, PutMode::CreateNew)
        .await
        .unwrap();
    let moved = WalSeries {
        incarnation: IncarnationId::from_bytes([2; 16]),
        ..series(2)
    };
    let error = repository
        .read_wal(&moved, WalPart::appended(0))
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Damaged { .. }), "{error}");
}
